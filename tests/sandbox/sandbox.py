# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real LiteLLM proxy with a real PostgreSQL on this machine, from PyPI and npm packages alone.

python3 tests/sandbox/sandbox.py start | stop | status | logs
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from _install import HERE, LITELLM, STATE, Release
from _postgres import DATABASE, ROLE, Postgres, account
from _system import MARK, SandboxError, belongs, end, free_port, locked, port_is_free, private_file, processes, step

INSTANCES = STATE / "instances"
DEFAULT_PORT = 4000
START_TIMEOUT = 300
NOT_RUNNING = 3

# LiteLLM must reach for nothing but its database, and be the same on every machine
SETTINGS = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "DISABLE_SCHEMA_UPDATE": "true",
    "LITELLM_MODE": "PRODUCTION",  # no .env file of somebody's
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_TELEMETRY": "False",
    "DISABLE_ADMIN_UI": "True",
    "QE_RAW_FORMAT": "cells",  # what prisma 0.11 reads
}
INHERITED = ("LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True)
class Wish:
    """What a sandbox is to be."""

    version: str
    workers: int
    config: Path
    port: int | None

    @property
    def native_engine(self) -> str | None:
        """The user's own native Prisma query engine, in place of the WebAssembly one."""
        engine = os.environ.get("PRISMA_QUERY_ENGINE_BINARY")
        return engine if engine and os.access(engine, os.X_OK) else None

    def described(self, release: Release) -> dict[str, Any]:
        """All that makes a difference, but the port."""
        return {
            "version": self.version,
            "release": release.id,
            "workers": self.workers,
            "config": hashlib.sha256(self.config.read_bytes()).hexdigest(),
            "native_engine": self.native_engine,
        }


class Instance:
    """A named sandbox."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = INSTANCES / name
        self.env_file = self.folder / "env"
        self.state_file = self.folder / "state.json"
        self.logs = {program: self.folder / f"{program}.log" for program in ("proxy", "postgres")}

    @property
    def state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return {}
        return state

    @property
    def running(self) -> bool:
        pids = self.state.get("pids", {})
        return bool(pids) and all(belongs(pid, self.folder) for pid in pids.values())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state['port']}"

    @property
    def usage(self) -> str:
        return f"To use it:\n  set -a; . {shlex.quote(_shown(self.env_file))}; set +a"

    def start(self, wish: Wish) -> None:
        release = Release(wish.version)
        wanted = wish.described(release)
        port = wish.port
        if self.running:
            same = self.state["wish"] == wanted and port in (None, 0, self.state["port"])
            if same:
                print(f"The sandbox {self.name} is running already: LiteLLM {wish.version} on {self.url}. {self.usage}")
                return
            port = self.state["port"] if port is None else port
        release.install(in_use=_releases_in_use())
        self.stop()
        port = DEFAULT_PORT if port is None else port
        if port and not port_is_free(port):
            raise SandboxError(f"Port {port} is taken: choose another with --port (0: any free one).")
        try:
            self._start(release, wish, wanted, port or free_port())
        except BaseException:
            for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(stop_signal, signal.SIG_IGN)
            self.stop()
            raise

    def _start(self, release: Release, wish: Wish, wanted: dict[str, Any], port: int) -> None:
        began = time.time()
        for log in self.logs.values():
            private_file(log)
        master_key, password = f"sk-{secrets.token_urlsafe(32)}", secrets.token_urlsafe(32)
        database_port = free_port()
        state = {"wish": wanted, "port": port, "started": began, "pids": {}}
        with step(f"starting LiteLLM {wish.version}"):
            postgres = Postgres.settle(self.folder / "postgres", release.packages, STATE)
            state["database"] = str(postgres.folder)
            private_file(self.state_file, json.dumps(state))
            postgres.copy_from(release.database)
            postgres.set_password(password, self.logs["postgres"])
            database = postgres.start(database_port, self.logs["postgres"], self.folder)
            proxy = self._start_proxy(release, wish, port, database_port, password, master_key)
            self._wait(proxy, port, master_key)
        lines = {
            "LITELLM_URL": f"http://127.0.0.1:{port}",
            "LITELLM_MASTER_KEY": master_key,
            "DATABASE_URL": f"postgresql://{ROLE}:{password}@127.0.0.1:{database_port}/{DATABASE}",
        }
        private_file(self.env_file, "".join(f"{name}={value}\n" for name, value in lines.items()))
        state["pids"] = {"proxy": proxy.pid, "postgres": database.pid}
        private_file(self.state_file, json.dumps(state))
        print(f"LiteLLM {wish.version} is ready on {self.url}. {self.usage}")

    def _start_proxy(
        self, release: Release, wish: Wish, port: int, database_port: int, password: str, master_key: str
    ) -> subprocess.Popen[bytes]:
        home = self.folder / "home"
        home.mkdir()
        # LiteLLM hands its DATABASE_URL to a command line, so the stand-in engine gets the password by another way
        credentials = f"{ROLE}:{password}" if wish.native_engine else ROLE
        env = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            **SETTINGS,
            "PATH": release.path,
            "HOME": str(home),
            "PRISMA_QUERY_ENGINE_BINARY": wish.native_engine or str(release.stand_ins / "query-engine"),
            "DATABASE_URL": f"postgresql://{credentials}@127.0.0.1:{database_port}/{DATABASE}",
            "PGPASSWORD": password,
            "LITELLM_MASTER_KEY": master_key,
            "LITELLM_SALT_KEY": f"sk-{secrets.token_urlsafe(32)}",
            MARK: str(self.folder),
        }
        options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", str(wish.workers)]
        with self.logs["proxy"].open("ab") as log:
            return subprocess.Popen(
                [release.python, release.venv / "bin" / "litellm", "--config", wish.config, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=home,
                start_new_session=True,
            )

    def _wait(self, proxy: subprocess.Popen[bytes], port: int, master_key: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(port, master_key):
            if proxy.poll() is not None:
                raise SandboxError("LiteLLM ended while it started.", self.logs["proxy"])
            if time.monotonic() > deadline:
                raise SandboxError(f"LiteLLM was not ready after {START_TIMEOUT} s.", self.logs["proxy"])
            time.sleep(0.1)

    def stop(self) -> bool:
        """End all processes and remove all but the logs; tell whether there was anything to end."""

        def postgres() -> list[int]:
            return [pid for pid in processes(self.folder) if _program(pid) == "postgres"]

        def others() -> list[int]:
            return [pid for pid in processes(self.folder) if _program(pid) != "postgres"]

        found = bool(processes(self.folder))
        end(others, signal.SIGTERM, 10)
        end(postgres, signal.SIGINT, 10)
        if database := self.state.get("database"):
            shutil.rmtree(database, ignore_errors=True)
        for left in (self.folder / "postgres", self.folder / "home"):
            shutil.rmtree(left, ignore_errors=True)
        for file in (self.env_file, self.state_file):
            file.unlink(missing_ok=True)
        return found

    def status(self) -> int:
        state = self.state
        if not self.running:
            print(f"The sandbox {self.name} is not running.")
            if state.get("pids"):
                print(f"It has ended by itself; see {_shown(self.logs['proxy'])}")
            return NOT_RUNNING
        uptime = time.strftime("%H:%M:%S", time.gmtime(time.time() - state["started"]))
        print(f"The sandbox {self.name} is running.")
        print(f"  url      {self.url}\n  LiteLLM  {state['wish']['version']}, {state['wish']['workers']} worker(s)")
        print(f"  pid      {state['pids']['proxy']}\n  uptime   {uptime}\n  keys     {_shown(self.env_file)}")
        return 0

    def show_log(self, program: str, follow: bool) -> None:
        if not self.logs[program].exists():
            raise SandboxError(f"The sandbox {self.name} has no log.")
        with self.logs[program].open(encoding="utf-8", errors="replace") as log:
            shutil.copyfileobj(log, sys.stdout)
            while follow:
                sys.stdout.flush()
                time.sleep(0.2)
                shutil.copyfileobj(log, sys.stdout)


def _releases_in_use() -> set[str]:
    states = [Instance(folder.name).state for folder in INSTANCES.iterdir() if processes(folder)]
    return {state["wish"]["release"] for state in states if state}


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def _answers(port: int, master_key: str) -> bool:
    """Is the proxy ready to work: does it know its database and its master key?"""
    try:
        ready = json.loads(_get(port, "/health/readiness", None))
        _get(port, "/key/list", master_key)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return bool(ready.get("db") == "connected")


def _get(port: int, path: str, key: str | None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(response.status)
        return response.read()
    finally:
        connection.close()


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}", value):
        raise argparse.ArgumentTypeError("letters, digits, dots, dashes and underscores only")
    return value


def _version(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\w+)+", value):
        raise argparse.ArgumentTypeError("a release like 1.85.0")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A real LiteLLM proxy with a real PostgreSQL, for tests and demos.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.add_argument("--name", type=_name, default="default", help="which sandbox (default: %(default)s)")
        return added

    start = command("start", "install what is missing and start a sandbox with an empty database")
    start.add_argument("--port", type=int, help=f"where LiteLLM listens (default: {DEFAULT_PORT}; 0: any free port)")
    start.add_argument(
        "--litellm-version", type=_version, default=LITELLM, help="which LiteLLM release (default: %(default)s)"
    )
    start.add_argument("--workers", type=int, default=1, help="processes of the proxy (default: %(default)s)")
    start.add_argument("--config", type=Path, default=HERE / "config.yaml", help="LiteLLM's configuration file")
    stop = command("stop", "stop a sandbox and remove its database and keys")
    stop.add_argument("--all", action="store_true", help="stop all sandboxes of this checkout")
    command("status", f"tell whether a sandbox runs (exit code 0) or not ({NOT_RUNNING})")
    logs = command("logs", "show the log of the proxy or the database")
    logs.add_argument("program", nargs="?", choices=["proxy", "postgres"], default="proxy")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what comes")
    arguments = parser.parse_args()
    if arguments.command == "start":
        if not arguments.config.is_file():
            parser.error(f"there is no file {arguments.config}")
        if arguments.workers < 1:
            parser.error("--workers must be 1 or more")
        if arguments.port is not None and not 0 <= arguments.port <= 65535:
            parser.error("--port must be 0 to 65535")
    return arguments


def _prepare_folders() -> None:
    os.umask(0o022)
    INSTANCES.mkdir(parents=True, exist_ok=True)
    _close(INSTANCES)


def _close(folder: Path) -> None:
    """Keep everybody out but ourselves and the account that PostgreSQL runs as."""
    owner = account()
    if owner:
        os.chown(folder, 0, owner["group"])
    folder.chmod(0o710 if owner else 0o700)


def _interrupted(*_unused: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    arguments = _arguments()
    for stop_signal in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop_signal, _interrupted)
    instance = Instance(arguments.name)
    if arguments.command == "status":
        return instance.status()
    if arguments.command == "logs":
        instance.show_log(arguments.program, arguments.follow)
        return 0
    _prepare_folders()
    if arguments.command == "start":
        wish = Wish(arguments.litellm_version, arguments.workers, arguments.config.resolve(), arguments.port)
        instance.folder.mkdir(exist_ok=True)
        _close(instance.folder)
        with locked(INSTANCES / f"{instance.name}.lock"):
            instance.start(wish)
        return 0
    names = sorted(path.name for path in INSTANCES.iterdir() if path.is_dir()) if arguments.all else [instance.name]
    for name in names:
        with locked(INSTANCES / f"{name}.lock"):
            stopped = Instance(name).stop()
        print(f"The sandbox {name} {'has been stopped' if stopped else 'is not running'}.")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        sys.exit(main())
    except SandboxError as error:
        if error.log:
            lines = error.log.read_text(encoding="utf-8", errors="replace").splitlines()
            print(*lines[-30:], sep="\n", file=sys.stderr)
        sys.exit(f"sandbox: {error}")
    except KeyboardInterrupt:
        sys.exit("sandbox: interrupted")
    except OSError as error:
        sys.exit(f"sandbox: {error}")
