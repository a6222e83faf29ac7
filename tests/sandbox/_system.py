# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes, files and messages: what every part of the sandbox needs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# In the environment of the processes of a sandbox, and inherited by their children: the folder of the sandbox.
# So its processes are found without a pid file, and a reused pid is never taken for one of them.
MARK = "SANDBOX_INSTANCE"
# The same as an argument of PostgreSQL, which runs as somebody else for root: in a container not even root may read the
# environment of others.
ARGUMENT = "sandbox.instance"


class SandboxError(Exception):
    """One sentence for the user and, where there is one, the log that explains it."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Tell what is being done, and how long it took; one line, in a terminal as in a CI log."""
    print(f"  {title} … ", end="", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - began:.1f} s", flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file. The kernel lets go of it when this process ends, however it ends."""
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  waiting for another start or stop …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def private_file(path: Path, text: str = "") -> None:
    """(Re)write a file that nobody else could read at any moment."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def run(
    command: Sequence[str | Path],
    failure: str,
    log: Path,
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    text: str = "",
    account: Mapping[str, Any] | None = None,
) -> None:
    """Run a program to its end, its output going to the log; raise SandboxError(failure) when it fails."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd or "/",
            process_group=0,
            **(account or {}),
        )
    try:
        process.communicate(text.encode())
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.wait()
        raise
    if process.returncode:
        raise SandboxError(failure, log)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def belongs(pid: int, instance: Path) -> bool:
    """Is this a process of the sandbox whose folder is `instance`?"""
    marks = {"environ": f"{MARK}={instance}", "cmdline": f"{ARGUMENT}={instance}"}
    for file, mark in marks.items():
        with contextlib.suppress(OSError):
            if os.fsencode(mark) in Path(f"/proc/{pid}/{file}").read_bytes().split(b"\0"):
                return True
    return False


def processes(instance: Path) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if belongs(pid, instance)]


def end(find: Callable[[], list[int]], polite: signal.Signals, patience: float) -> None:
    """End processes: ask those that lead a session, and kill what is left of all when patience runs out."""
    for pid in find():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid:
                os.kill(pid, polite)
    deadline = time.monotonic() + patience
    while left := find():
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
