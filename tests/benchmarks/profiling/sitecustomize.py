# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure where an ansible-playbook command spends its time. Python imports this module at its start.

Each process writes its times in seconds to a file in the directory BENCH_PROFILE. The times do not overlap: the time of
a part does not include that of another part within it.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

FOLDER = os.environ.get("BENCH_PROFILE", "")
OURS = "ansible_collections.rhpds.litellm_virtual_keys."
# After this module is imported, everything that is measured can be imported, too.
LAST_MODULE = "ansible.plugins.strategy"

times: dict[str, float] = defaultdict(float)


class Stack(threading.local):
    """The parts that the current thread is in, and how long it has been in parts within them."""

    def __init__(self) -> None:
        self.within: list[float] = []


class Requests:
    """Whether a request is being sent or waited for, by any thread."""

    def __init__(self) -> None:
        self._lock, self._number, self._start = threading.Lock(), 0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._number:
                self._start = time.perf_counter()
            self._number += 1

    def __exit__(self, *_unused: object) -> None:
        with self._lock:
            self._number -= 1
            if not self._number:
                times["requests"] += time.perf_counter() - self._start


stack, requests = Stack(), Requests()


def measured(part: str, function: Callable[..., Any], counts: Callable[..., bool] = lambda *_unused: True) -> Any:
    """Return a function whose time counts as that of a part, unless it is called by another thread.

    :param counts: returns whether a call counts, from its arguments.
    """

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not counts(*arguments):
            return function(*arguments, **named)
        start = time.perf_counter()
        stack.within.append(0.0)
        try:
            return function(*arguments, **named)
        finally:
            seconds = time.perf_counter() - start
            times[part] += seconds - stack.within.pop()
            if stack.within:
                stack.within[-1] += seconds

    return wrapped


def measured_requests(function: Callable[..., Any]) -> Any:
    def wrapped(*arguments: Any, **named: Any) -> Any:
        with requests:
            return function(*arguments, **named)

    return wrapped


def replace(owner: Any, name: str, part: str, counts: Callable[..., bool] = lambda *_unused: True) -> None:
    setattr(owner, name, measured(part, getattr(owner, name), counts))


def measure() -> None:
    """Replace the functions that are measured in this process."""
    from ansible._internal._templating._engine import TemplateEngine
    from ansible.executor.process.worker import WorkerProcess
    from ansible.utils.collection_loader import _collection_finder

    loader = _collection_finder._AnsibleCollectionPkgLoaderBase
    replace(loader, "get_code", "compilation", lambda _loader, name: name.startswith(OURS))
    replace(loader, "exec_module", "imports", lambda _loader, module: module.__name__.startswith(OURS))
    for name in ("template", "evaluate_expression", "evaluate_conditional"):
        replace(TemplateEngine, name, "templates")
    replace(WorkerProcess, "start", "forks")
    run = WorkerProcess.run

    def run_worker(worker: Any) -> None:
        times.clear()
        action = sys.modules.get(f"{OURS}plugins.plugin_utils._ansible.action")
        if action:
            import urllib3

            pool: Any = urllib3.HTTPConnectionPool
            pool.urlopen = measured_requests(pool.urlopen)
            replace(action.ControllerAction, "run", "action")
        try:
            run(worker)
        finally:
            write()

    setattr(WorkerProcess, "run", run_worker)  # noqa: B010 - mypy refuses to assign to a method


def write() -> None:
    Path(FOLDER, f"{os.getpid()}.json").write_text(json.dumps(times))


class Finder(MetaPathFinder):
    """Finds nothing, but notices when Ansible is about to run a play."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name == LAST_MODULE:
            sys.meta_path.remove(self)
            measure()
            atexit.register(write)


if FOLDER:
    sys.meta_path.insert(0, Finder())
