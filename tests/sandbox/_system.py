# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers for processes, files and messages, shared by all parts of the sandbox."""

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

# Environment variable that every process of a sandbox has, with the sandbox's folder as its value. Child processes
# inherit it. It identifies the processes without a pid file, so that a reused pid is never mistaken for one of them.
INSTANCE_VARIABLE = "SANDBOX_INSTANCE"
# PostgreSQL has the same value as a command-line parameter instead. If root starts the sandbox, PostgreSQL runs as
# another user, and in a container even root cannot read the environment of another user's process.
INSTANCE_PARAMETER = "sandbox.instance"


class SandboxError(Exception):
    """An error message for the user and, optionally, the log file with the details."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print the title of a step and how long it took, on one line."""
    print(f"  {title} … ", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.1f} s", flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file. The kernel releases it when this process exits for any reason."""
    with path.open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  waiting for another start or stop to finish …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def private_file(path: Path, text: str = "") -> None:
    """Create or replace a file that other users can never read, not even while it is written."""
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
    """Run a program and append its output to the log; raise SandboxError(failure) if it fails."""
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
        os.killpg(process.pid, signal.SIGKILL)  # including its children
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


def belongs_to(pid: int, instance: Path) -> bool:
    """Check whether a process belongs to the sandbox whose folder is `instance`."""
    entries = {"environ": f"{INSTANCE_VARIABLE}={instance}", "cmdline": f"{INSTANCE_PARAMETER}={instance}"}
    for file, entry in entries.items():
        with contextlib.suppress(OSError):
            if os.fsencode(entry) in Path(f"/proc/{pid}/{file}").read_bytes().split(b"\0"):
                return True
    return False


def processes(instance: Path) -> list[int]:
    """Return the process ids of a sandbox."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if belongs_to(pid, instance)]


def terminate(find: Callable[[], list[int]], stop_signal: signal.Signals, timeout: float) -> None:
    """Send a signal to the session leaders among the processes; after the timeout, kill all that remain."""
    for pid in find():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == pid:
                os.kill(pid, stop_signal)
    deadline = time.monotonic() + timeout
    while remaining := find():
        if time.monotonic() > deadline:
            for pid in remaining:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
