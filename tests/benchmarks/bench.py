# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the performance of the role with equivalent uri tasks and with a minimal HTTP client.

All contestants run in turns on one proxy, several times, and medians are compared. `make bench` runs this. It is not a
test: it fails if something does not work, but not if something is slow.
"""

from __future__ import annotations

import argparse
import contextlib
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

from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks import profile_report, report
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
    EXTEND,
    LARGE,
    LARGE_BARE,
    LOOKUP,
    ORIGINAL,
    PROFILED,
    PROFILED_BARE,
    PROFILED_EMPTY,
    PROVISION,
    PROXY_CPU,
    REPORT,
    ROLE,
    SECOND_PROVISION,
    URI_LOOPS,
    URI_TASKS,
    Case,
    Results,
    Sample,
    bare_client,
    part_of_profile,
)

# The parts of the benchmark that can be run alone, with the files for their results.
COMPARISON, PROFILE = "comparison", "profile"
RESULTS_FILES = {part: ROOT / ".cache" / f"bench-{part}.json" for part in (COMPARISON, PROFILE)}


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
    :ivar many_keys: numbers of keys of one environment that are reported and destroyed.
    :ivar many_keys_rounds: rounds for each of these numbers.
    :ivar profiled: the number of rounds of profiled runs, by the number of users.
    """

    rounds: dict[int, Rounds]
    unrelated_keys: tuple[int, ...]
    scaling_rounds: int
    users_among_unrelated_keys: int
    lookups: tuple[int, ...]
    lookup_rounds: int
    many_keys: tuple[int, ...]
    many_keys_rounds: int
    profiled: dict[int, int]


FULL = Extent(
    {1: Rounds(9, 9, 5, 2), 10: Rounds(5, 3, 3, 2), 50: Rounds(5, 3, 1, 3), 200: Rounds(3, 1, 0, 1)},
    (100, 10_000, 100_000, 1_000_000),
    3,
    50,
    (1, 1_000),
    5,
    (100, 1_000, 10_000),
    4,
    {1: 9, 50: 5, 200: 3, 1_000: 3},
)
QUICK = Extent(
    {1: Rounds(2, 2, 2, 1), 10: Rounds(2, 1, 1, 1)}, (100, 10_000), 1, 10, (1, 100), 1, (100,), 1, {1: 2, 10: 1}
)


class Bench:
    """Run the contestants and collect their samples.

    :param original: where another release of this collection is installed, with all that it needs.
    """

    def __init__(self, proxy: MeasuredProxy, playbooks: Playbooks, original: Path | None = None) -> None:
        self._proxy = proxy
        self._playbooks = playbooks
        self._original = original
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
                states = {
                    URI_TASKS: self._uri_tasks(users, destroy=number < rounds.uri_destroy),
                    URI_LOOPS: self._uri_loops(users),
                }
                for contestant, state in states.items():
                    if found := differences(role_state, state):
                        raise RuntimeError(f"The end states of the role and the {contestant} differ: {found}")
                self._run_original(users)
            self._requests(users, rounds.engine)

    def scale(self, extent: Extent) -> None:
        """Run the same operations with an increasing number of unrelated keys on the proxy."""
        users = extent.users_among_unrelated_keys
        cases = [*((unrelated, False) for unrelated in extent.unrelated_keys), (extent.unrelated_keys[-1], True)]
        for number in range(extent.scaling_rounds):
            for unrelated, indexed in cases:
                index = " and an index" if indexed else ""
                _log(f"{unrelated} unrelated keys{index}, round {number + 1} of {extent.scaling_rounds}")
                with self._proxy.index() if indexed else contextlib.nullcontext():
                    self._proxy.fill(unrelated)
                    self._role(users, unrelated, indexed=indexed)
                    self._requests(users, 1, unrelated, indexed=indexed)

    def look_up(self, extent: Extent) -> None:
        """Render a template that looks up one key many times."""
        self._proxy.fill(0)
        guid = self._new_guid()
        self._playbooks.role(PROVISION, guid, 1)
        for number in range(extent.lookup_rounds):
            _log(f"lookups, round {number + 1} of {extent.lookup_rounds}")
            for lookups in extent.lookups:
                self._add(LOOKUP, str(lookups), 1, self._playbooks.run("lookups.yml", guid, 1, lookups=lookups))

    def handle_many(self, keys: int, rounds: int) -> None:
        """Report and destroy the keys of a large environment. The role and the bare client take turns to go first."""
        bare = BareClient(self._proxy, CONCURRENCIES[0])

        def playbook(operation: str, guid: str) -> Sample:
            if operation == DESTROY:
                return self._playbooks.role(DESTROY, guid, keys)
            return self._playbooks.run("rhpds.litellm_virtual_keys.report_keys", guid, keys, guids=[guid])

        def requests(operation: str, guid: str) -> Sample:
            return measure(self._proxy, partial(bare.run, operation, guid, keys))

        contestants = [(LARGE, playbook), (LARGE_BARE, requests)]
        for number in range(rounds):
            _log(f"{keys} keys of one environment, round {number + 1} of {rounds}")
            for contestant, run_operation in contestants:
                self._proxy.fill(0)
                guid = self._new_guid()
                self._proxy.fill_environment(guid, keys)
                for operation in (REPORT, DESTROY):
                    self._add(contestant, operation, keys, run_operation(operation, guid))
            contestants.reverse()

    def profile(self, users: int, rounds: int) -> None:
        """Run the role, and measure how long each part of it takes."""
        bare = BareClient(self._proxy, CONCURRENCIES[0])
        for number in range(rounds):
            _log(f"profile of {users} users, round {number + 1} of {rounds}")
            self._proxy.fill(0)
            guid = self._new_guid()
            guid_of_bare = self._new_guid()
            for operation in (PROVISION, SECOND_PROVISION, EXTEND, DESTROY):
                action = PROVISION if operation == SECOND_PROVISION else operation
                self._add(PROFILED_EMPTY, operation, users, self._playbooks.empty(guid))
                cpu = self._proxy.cpu_seconds()
                sample, parts = self._playbooks.profiled_role(action, guid, users)
                self._add_seconds(PROXY_CPU, operation, users, self._proxy.cpu_seconds() - cpu)
                self._add(PROFILED, operation, users, sample)
                for part, seconds in parts.items():
                    self._add_seconds(part_of_profile(part), operation, users, seconds)
                found = measure(self._proxy, partial(bare.run, action, guid_of_bare, users))
                self._add(PROFILED_BARE, operation, users, found)

    def _role(self, users: int, unrelated: int = 0, *, indexed: bool = False) -> object:
        guid = self._new_guid()

        def run(operation: str, action: str) -> None:
            sample = self._playbooks.role(action, guid, users)
            self.results.add(Case(ROLE, operation, users, unrelated, indexed), sample)

        run(PROVISION, PROVISION)
        state = end_state(self._playbooks, guid, users)
        run(SECOND_PROVISION, PROVISION)
        run(DESTROY, DESTROY)
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

    def _uri_loops(self, users: int) -> object:
        guid = self._new_guid()
        self._add(URI_LOOPS, PROVISION, users, self._playbooks.uri_loops(PROVISION, guid, users))
        state = end_state(self._playbooks, guid, users)
        self._add(URI_LOOPS, DESTROY, users, self._playbooks.uri_loops(DESTROY, guid, users))
        return state

    def _run_original(self, users: int) -> None:
        """Run the other release, whose end state is its own."""
        if self._original:
            guid = self._new_guid()
            for action in (PROVISION, DESTROY):
                sample = self._playbooks.original(self._original, action, guid, users)
                self._add(ORIGINAL, action, users, sample)
            self._proxy.fill(0)

    def _requests(self, users: int, rounds: int, unrelated: int = 0, *, indexed: bool = False) -> None:
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
                    self.results.add(Case(name, operation, users, unrelated, indexed), sample)

    def _add(self, contestant: str, operation: str, users: int, sample: Sample) -> None:
        self.results.add(Case(contestant, operation, users), sample)

    def _add_seconds(self, contestant: str, operation: str, users: int, seconds: float) -> None:
        self._add(contestant, operation, users, Sample(seconds, 0, 0))

    def _new_guid(self) -> str:
        self._environments += 1
        return f"bench{self._environments:04}"


def run(
    extent: Extent,
    save: Callable[[Results], object],
    part: str,
    original: Path | None = None,
    earlier: Results | None = None,
) -> Results:
    """Run a part of the benchmark on a separate proxy. After each step, call `save` with the results so far.

    :param earlier: results of the other parts, which are kept.
    """
    with tempfile.TemporaryDirectory() as folder, sandbox() as proxy:
        bench = Bench(proxy, Playbooks.create(proxy, Path(folder)), original)
        bench.results = earlier or Results(environment(proxy))
        large = [partial(bench.handle_many, keys, extent.many_keys_rounds) for keys in extent.many_keys]
        if part == PROFILE:
            steps = [partial(bench.profile, users, rounds) for users, rounds in extent.profiled.items()]
        elif part == LARGE:
            steps = large
        else:
            steps = [partial(bench.look_up, extent), partial(bench.scale, extent), *large]
            steps += [partial(bench.compare, users, rounds) for users, rounds in extent.rounds.items()]
        if part == LARGE:
            own = environment(proxy)
            bench.results.machine["Large environments"] = f"measured {own['Measured']} with LiteLLM {own['LiteLLM']}"
        for step in steps:
            step()
            if part != LARGE or step is steps[-1]:  # until then, the earlier results are kept
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


def _log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {message}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="run a short benchmark (three minutes) without writing any files"
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--profile", action="store_true", help="measure where the time of the role goes instead")
    parts.add_argument(
        "--large", action="store_true", help="measure only large environments, and keep the other results"
    )
    parser.add_argument("--again", action="store_true", help="rewrite the page and the chart with the last results")
    parser.add_argument(
        "--original",
        type=Path,
        metavar="FOLDER",
        help="compare with the release of this collection that is installed in this folder, such as 1.3.2, too",
    )
    arguments = parser.parse_args()
    part = PROFILE if arguments.profile else LARGE if arguments.large else COMPARISON
    file, extent = RESULTS_FILES[PROFILE if arguments.profile else COMPARISON], QUICK if arguments.quick else FULL
    if (arguments.again or arguments.large) and not file.exists():
        parser.error("there are no results yet; run the whole benchmark first")
    if arguments.again:
        results = Results.from_json(json.loads(file.read_text()))
    else:

        def save(found: Results) -> None:
            if not arguments.quick:
                file.write_text(json.dumps(found.to_json()))

        earlier = None
        if arguments.large:
            earlier = Results.from_json(json.loads(file.read_text())).without(LARGE, LARGE_BARE)
        results = run(extent, save, part, arguments.original, earlier)
    section = profile_report.PROFILE if arguments.profile else report.COMPARISON
    if not arguments.quick:
        section.write(results, ROOT / "docs")
    print(section.text(results))


if __name__ == "__main__":
    main()
