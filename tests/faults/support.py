# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run controllers in separate processes, and restart the programs of the sandbox."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Case

PROGRAM = Path(__file__).with_name("controller.py")
EXIT_TIMEOUT = 120  # seconds


class Controller:
    """A controller that runs an operation on the keys of a case in a separate process."""

    def __init__(self, case: Case, url: str, connection: Json | None = None, **further: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._case = case
        self._send({
            "url": url,
            "master_key": case.proxy.master_key,
            "operation": case.operation.name,
            "aliases": case.aliases,
            "key": further,
            "connection": connection or {},
        })  # fmt: skip
        assert self._process.stdout
        ready = self._process.stdout.readline()
        assert ready == "ready\n", self._process.stderr and self._process.stderr.read()

    def _send(self, message: Any) -> None:
        assert self._process.stdin
        print(json.dumps(message), file=self._process.stdin, flush=True)

    def start(self) -> Controller:
        self._send(None)
        return self

    def signal(self, number: int) -> None:
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()

    def wait(self) -> tuple[int, Json]:
        """Wait for the process to exit, and return its exit code and its printed result."""
        stdout, stderr = self._process.communicate(timeout=EXIT_TIMEOUT)
        if self._process.returncode == 1:
            return 1, {"failed": stderr.strip().splitlines()[-1]}
        result: Json = json.loads(stdout) if stdout.strip() else {"stderr": stderr}
        for key in result.get("keys", ()):
            if key["secret"]:
                self._case.known_secrets[key["alias"]].append(key["secret"])
        return self._process.returncode, result


@contextmanager
def controller(case: Case, url: str, connection: Json | None = None, **further: Any) -> Iterator[Controller]:
    process = Controller(case, url, connection, **further)
    try:
        yield process
    finally:
        process.signal(signal.SIGKILL)


def restart(pid: int) -> int:
    """Stop a program of the sandbox, as an upgrade or a crash does, start it again, and return its new process id."""
    process = Path(f"/proc/{pid}")
    command = (process / "cmdline").read_bytes().split(b"\0")[:-1]
    environment = dict(pair.split(b"=", 1) for pair in (process / "environ").read_bytes().split(b"\0") if pair)
    folder = (process / "cwd").readlink()
    owner = process.stat()
    account: Json = (
        {} if owner.st_uid == os.geteuid() else {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    )
    output = os.open((process / "fd" / "1").readlink(), os.O_WRONLY | os.O_APPEND)
    os.kill(pid, signal.SIGINT if b"postgres" in command[0] else signal.SIGKILL)
    while (process / "exe").exists():
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                break
        except ChildProcessError:  # not a child of this process
            if "\nState:\tZ" in (process / "status").read_text():
                break
    started = subprocess.Popen(
        command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        start_new_session=True, **account,
    )  # fmt: skip
    os.close(output)
    return started.pid
