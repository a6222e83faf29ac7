# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the performance of the role with equivalent uri tasks and with a minimal HTTP client.

All contestants run in turns on one proxy, several times, and medians are compared. `make bench` runs this. It is not a
test: it fails if something does not work, but not if something is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks import report
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.contestants import (
    BareClient,
    Engine,
    Playbooks,
    differences,
    end_state,
    measure,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.proxy import ROOT, MeasuredProxy, sandbox
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import (
    CONCURRENCIES,
    DESTROY,
    EMPTY,
    ENGINE,
    LOOKUP,
    PROVISION,
    ROLE,
    SECOND_PROVISION,
    URI_TASKS,
    Case,
    Results,
    Sample,
    bare_client,
)

RESULTS_FILE = ROOT / ".cache" / "bench.json"


@dataclass(frozen=True)
class Rounds:
    """The number of rounds for each contestant.

    :ivar uri_destroy: lower than `uri_provision`, because the number of requests grows with the square of the users.
    :ivar engine: repetitions in each round of the role, because these runs are short and vary most.
    """

    role: int
    uri_provision: int
    uri_destroy: int
    engine: int


@dataclass(frozen=True)
class Extent:
    """The extent of a benchmark run.

    :ivar rounds: by the number of users.
    :ivar unrelated_keys: numbers of keys of other environments on the proxy.
    :ivar scaling_rounds: rounds for each number of unrelated keys.
    :ivar lookups: numbers of lookups in one template.
    """

    rounds: dict[int, Rounds]
    unrelated_keys: tuple[int, ...]
    scaling_rounds: int
    users_among_unrelated_keys: int
    lookups: tuple[int, ...]
    lookup_rounds: int


FULL = Extent(
    {1: Rounds(9, 9, 5, 2), 10: Rounds(5, 3, 3, 2), 50: Rounds(5, 3, 1, 3), 200: Rounds(3, 1, 0, 1)},
    (100, 10_000, 100_000),
    5,
    50,
    (1, 1_000),
    5,
)
QUICK = Extent({1: Rounds(2, 2, 2, 1), 10: Rounds(2, 1, 1, 1)}, (100, 10_000), 1, 10, (1, 100), 1)


class Bench:
    """Run the contestants and collect their samples."""

    def __init__(self, proxy: MeasuredProxy, playbooks: Playbooks) -> None:
        self._proxy = proxy
        self._playbooks = playbooks
        self._environments = 0
        self.results = Results()

    def compare(self, users: int, rounds: Rounds) -> None:
        """Run the role, the uri tasks, the engine and the bare client in turns."""
        for number in range(rounds.role):
            _log(f"{users} users, round {number + 1} of {rounds.role}")
            self._proxy.fill(0)
            self._add(EMPTY, PROVISION, users, self._playbooks.empty(self._new_guid()))
            role_state = self._role(users)
            if number < rounds.uri_provision:
                uri_state = self._uri_tasks(users, destroy=number < rounds.uri_destroy)
                if found := differences(role_state, uri_state):
                    raise RuntimeError(f"The end states of the role and the uri tasks differ: {', '.join(found)}")
            self._requests(users, rounds.engine)

    def scale(self, extent: Extent) -> None:
        """Run the same operations with an increasing number of unrelated keys on the proxy."""
        for number in range(extent.scaling_rounds):
            for unrelated in extent.unrelated_keys:
                _log(f"{unrelated} unrelated keys, round {number + 1} of {extent.scaling_rounds}")
                self._proxy.fill(unrelated)
                self._role(extent.users_among_unrelated_keys, unrelated)
                self._requests(extent.users_among_unrelated_keys, 1, unrelated)

    def look_up(self, extent: Extent) -> None:
        """Render a template that looks up one key many times."""
        self._proxy.fill(0)
        guid = self._new_guid()
        self._playbooks.role(PROVISION, guid, 1)
        for number in range(extent.lookup_rounds):
            _log(f"lookups, round {number + 1} of {extent.lookup_rounds}")
            for lookups in extent.lookups:
                self._add(LOOKUP, str(lookups), 1, self._playbooks.run("lookups.yml", guid, 1, lookups=lookups))

    def _role(self, users: int, unrelated: int = 0) -> object:
        guid = self._new_guid()
        self._add(ROLE, PROVISION, users, self._playbooks.role(PROVISION, guid, users), unrelated)
        state = end_state(self._playbooks, guid, users)
        self._add(ROLE, SECOND_PROVISION, users, self._playbooks.role(PROVISION, guid, users), unrelated)
        self._add(ROLE, DESTROY, users, self._playbooks.role(DESTROY, guid, users), unrelated)
        return state

    def _uri_tasks(self, users: int, *, destroy: bool) -> object:
        guid = self._new_guid()
        self._add(URI_TASKS, PROVISION, users, self._playbooks.uri_tasks(PROVISION, guid, users))
        state = end_state(self._playbooks, guid, users)
        if destroy:
            self._add(URI_TASKS, DESTROY, users, self._playbooks.uri_tasks(DESTROY, guid, users))
        else:
            self._proxy.fill(0)
        return state

    def _requests(self, users: int, rounds: int, unrelated: int = 0) -> None:
        """Run the engine and the bare client without Ansible. They alternate which of them runs first."""
        contestants: list[tuple[str, Callable[[str, str, int], None]]] = [
            (ENGINE, Engine(self._proxy).run),
            *((bare_client(concurrency), BareClient(self._proxy, concurrency).run) for concurrency in CONCURRENCIES),
        ]
        for _round in range(rounds):
            contestants.reverse()
            for name, run in contestants:
                guid = self._new_guid()
                for operation in (PROVISION, SECOND_PROVISION, DESTROY):
                    action = DESTROY if operation == DESTROY else PROVISION
                    sample = measure(self._proxy, partial(run, action, guid, users))
                    self._add(name, operation, users, sample, unrelated)

    def _add(self, contestant: str, operation: str, users: int, sample: Sample, unrelated: int = 0) -> None:
        self.results.add(Case(contestant, operation, users, unrelated), sample)

    def _new_guid(self) -> str:
        self._environments += 1
        return f"bench{self._environments:04}"


def run(extent: Extent, save: Callable[[Results], object]) -> Results:
    """Run the benchmark on a separate proxy. After each part, call `save` with the results so far."""
    with tempfile.TemporaryDirectory() as folder, sandbox() as proxy:
        bench = Bench(proxy, Playbooks.create(proxy, Path(folder)))
        bench.results.machine = environment(proxy)
        parts = [partial(bench.look_up, extent), partial(bench.scale, extent)]
        parts += [partial(bench.compare, users, rounds) for users, rounds in extent.rounds.items()]
        for part in parts:
            part()
            save(bench.results)
        return bench.results


def environment(proxy: MeasuredProxy) -> dict[str, str]:
    """Describe the machine and the software versions."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "Measured": time.strftime("%Y-%m-%d"),
        "Machine": f"{model}, {os.cpu_count()} cores, {gigabytes:.0f} GB, Linux {platform.release().split('-')[0]}; "
        "shared by Ansible, LiteLLM and PostgreSQL",
        "Load before": f"{os.getloadavg()[0]:.1f} processes; if the machine has other load, rely on the ratios only",
        "Python": platform.python_version(),
        "ansible-core": metadata.version("ansible-core"),
        "urllib3": metadata.version("urllib3"),
        "LiteLLM": proxy.release,
        "PostgreSQL": proxy.sql("SHOW server_version").split()[0],
    }


def _save(results: Results) -> None:
    RESULTS_FILE.write_text(json.dumps(results.to_json()))


def _log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {message}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="run a short benchmark (two minutes) without writing any files"
    )
    parser.add_argument("--again", action="store_true", help="rewrite the page and the chart with the last results")
    arguments = parser.parse_args()
    if arguments.again:
        results = Results.from_json(json.loads(RESULTS_FILE.read_text()))
    elif arguments.quick:
        results = run(QUICK, save=lambda _results: None)
    else:
        results = run(FULL, save=_save)
    if not arguments.quick:
        report.write(results, ROOT / "docs")
    print(report.text(results))


if __name__ == "__main__":
    main()
