# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What these tests share: proxies of other releases and with other settings, and tasks told as a list."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json, Proxy

HERE = Path(__file__).parent
SANDBOXES = Path(".cache", "sandbox")
ACTION, INFO = f"{COLLECTION}.litellm_key", f"{COLLECTION}.litellm_key_info"


@contextlib.contextmanager
def sandbox(name: str, *arguments: str) -> Iterator[Proxy]:
    """A proxy of our own. Its logs stay until the next run."""
    root = HERE.resolve().parents[1]
    name = f"proxies-{name}"
    program = [sys.executable, str(root / "tests" / "sandbox" / "sandbox.py")]
    instance = root / SANDBOXES / "instances" / f"{name}-{os.getpid()}"
    try:
        command = [*program, "start", "--name", instance.name, "--port", "0", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        values = dict(line.split("=", 1) for line in (instance / "env").read_text().splitlines())
        yield Proxy(values["LITELLM_URL"], values["LITELLM_MASTER_KEY"])
    finally:
        subprocess.run([*program, "stop", "--name", instance.name], check=False, stdout=subprocess.DEVNULL)
        logs = root / SANDBOXES / f"last-{name}"
        shutil.rmtree(logs, ignore_errors=True)
        if instance.exists():
            instance.rename(logs)
        instance.with_name(f"{instance.name}.lock").unlink(missing_ok=True)


def told(ansible: Ansible, *tasks: Json | tuple[str, Json]) -> list[Json]:
    """What each task has told, of which some may have failed. A task is what litellm_key is asked, or (action, what).

    A later task can refer to an earlier one as `step[0]`, `step[1]` …
    """
    written: list[Json] = [{"ansible.builtin.set_fact": {"step": []}}]
    for task in tasks:
        action, asked = task if isinstance(task, tuple) else (ACTION, task)
        written.append({action: asked, "register": "told", "ignore_errors": True})
        written.append({"ansible.builtin.set_fact": {"step": "{{ step + [told] }}"}, "no_log": True})
    kept = ansible.folder / "told.json"
    kept.unlink(missing_ok=True)
    written.append({"ansible.builtin.copy": {"content": "{{ step | to_json }}", "dest": str(kept), "mode": "0600"}})
    run = ansible.play({"hosts": "localhost", "tasks": written})
    assert run.code == 0, run.output
    results: list[Json] = json.loads(kept.read_text())
    return results


def operation(result: Json) -> str:
    return str(result["virtual_key"]["operation"])


class Stopwatch:
    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


def resident(pid: int) -> int:
    """The memory of a process and of all that it has started, in bytes: what they share counts each time."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        return 0
    return pages * 4096 + sum(resident(int(child)) for child in children)
