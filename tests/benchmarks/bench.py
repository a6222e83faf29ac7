# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection takes, beside the same work written by hand and beside the least that is possible.

All contestants run in turns on one proxy, several times, and medians are compared. `make bench` runs this. It is no
test: it fails when something does not work, not when something is slow.
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
    Bare,
    Engine,
    Playbooks,
    different,
    end_state,
    timed,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.proxy import ROOT, Measured, sandbox
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import (
    AGAIN,
    CONCURRENCIES,
    DESTROY,
    EMPTY,
    ENGINE,
    HAND,
    LOOKUP,
    PROVISION,
    ROLE,
    Case,
    Results,
    Sample,
    bare,
)

KEPT = ROOT / ".cache" / "bench.json"


@dataclass(frozen=True)
class Rounds:
    """How often each is run. A destroy by hand asks as many questions as the square of the users, hence its own number.

    :ivar engine: repetitions in each round of the role's: they take little time and vary most.
    """

    role: int
    provision_by_hand: int
    destroy_by_hand: int
    engine: int


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    :ivar rounds: by the number of users.
    :ivar others: how many keys of others the proxy holds, and
    :ivar growing: how often each of these is tried.
    """

    rounds: dict[int, Rounds]
    others: tuple[int, ...]
    growing: int
    users_among_others: int
    lookups: tuple[int, ...]
    looking_up: int


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
    """Runs the contestants and keeps what they took."""

    def __init__(self, proxy: Measured, playbooks: Playbooks) -> None:
        self._proxy = proxy
        self._playbooks = playbooks
        self._environments = 0
        self.results = Results()

    def compare(self, users: int, rounds: Rounds) -> None:
        """The role, the work by hand, the engine and the bare client, in turns."""
        for number in range(rounds.role):
            _say(f"{users} users, round {number + 1} of {rounds.role}")
            self._proxy.fill(0)
            self._note(EMPTY, PROVISION, users, self._playbooks.empty(self._new()))
            provided = self._role(users)
            if number < rounds.provision_by_hand:
                by_hand = self._hand(users, destroy=number < rounds.destroy_by_hand)
                if differences := different(provided, by_hand):
                    raise RuntimeError(f"Not the same was done; these differ: {', '.join(differences)}")
            self._requests(users, rounds.engine)

    def grow(self, extent: Extent) -> None:
        """The same work while the proxy holds more and more keys of others."""
        for number in range(extent.growing):
            for others in extent.others:
                _say(f"{others} keys of others, round {number + 1} of {extent.growing}")
                self._proxy.fill(others)
                self._role(extent.users_among_others, others)
                self._requests(extent.users_among_others, 1, others)

    def look_up(self, extent: Extent) -> None:
        """A template that names one key many times."""
        self._proxy.fill(0)
        guid = self._new()
        self._playbooks.role(PROVISION, guid, 1)
        for number in range(extent.looking_up):
            _say(f"lookups, round {number + 1} of {extent.looking_up}")
            for lookups in extent.lookups:
                self._note(LOOKUP, str(lookups), 1, self._playbooks.run("lookups.yml", guid, 1, lookups=lookups))

    def _role(self, users: int, others: int = 0) -> object:
        guid = self._new()
        self._note(ROLE, PROVISION, users, self._playbooks.role(PROVISION, guid, users), others)
        provided = end_state(self._playbooks, guid, users)
        self._note(ROLE, AGAIN, users, self._playbooks.role(PROVISION, guid, users), others)
        self._note(ROLE, DESTROY, users, self._playbooks.role(DESTROY, guid, users), others)
        return provided

    def _hand(self, users: int, *, destroy: bool) -> object:
        guid = self._new()
        self._note(HAND, PROVISION, users, self._playbooks.by_hand(PROVISION, guid, users))
        provided = end_state(self._playbooks, guid, users)
        if destroy:
            self._note(HAND, DESTROY, users, self._playbooks.by_hand(DESTROY, guid, users))
        else:
            self._proxy.fill(0)
        return provided

    def _requests(self, users: int, rounds: int, others: int = 0) -> None:
        """Without Ansible: our engine and the bare client, which begins in one round and follows in the next."""
        contestants: list[tuple[str, Callable[[str, str, int], None]]] = [
            (ENGINE, Engine(self._proxy).do),
            *((bare(concurrency), Bare(self._proxy, concurrency).do) for concurrency in CONCURRENCIES),
        ]
        for _round in range(rounds):
            contestants.reverse()
            for name, do in contestants:
                guid = self._new()
                for work in (PROVISION, AGAIN, DESTROY):
                    action = DESTROY if work == DESTROY else PROVISION
                    sample = timed(self._proxy, partial(do, action, guid, users))
                    self._note(name, work, users, sample, others)

    def _note(self, contestant: str, work: str, users: int, sample: Sample, others: int = 0) -> None:
        self.results.add(Case(contestant, work, users, others), sample)

    def _new(self) -> str:
        self._environments += 1
        return f"bench{self._environments:04}"


def measured(extent: Extent, keep: Callable[[Results], object]) -> Results:
    """Everything, on a proxy of our own. After each part, what is known is there to keep."""
    with tempfile.TemporaryDirectory() as folder, sandbox() as proxy:
        bench = Bench(proxy, Playbooks.of(proxy, Path(folder)))
        bench.results.machine = machine(proxy)
        parts = [partial(bench.look_up, extent), partial(bench.grow, extent)]
        parts += [partial(bench.compare, users, rounds) for users, rounds in extent.rounds.items()]
        for part in parts:
            part()
            keep(bench.results)
        return bench.results


def machine(proxy: Measured) -> dict[str, str]:
    """On what was measured."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return {
        "Measured": time.strftime("%Y-%m-%d"),
        "Machine": f"{model}, {os.cpu_count()} cores, {gigabytes:.0f} GB, Linux {platform.release().split('-')[0]}; "
        "Ansible, LiteLLM and PostgreSQL share it",
        "Load before": f"{os.getloadavg()[0]:.1f} processes; on a machine with other work to do, only ratios count",
        "Python": platform.python_version(),
        "ansible-core": metadata.version("ansible-core"),
        "urllib3": metadata.version("urllib3"),
        "LiteLLM": proxy.release,
        "PostgreSQL": proxy.sql("SHOW server_version").split()[0],
    }


def _keep(results: Results) -> None:
    KEPT.write_text(json.dumps(results.plain()))


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="less of everything, in two minutes; writes and keeps nothing"
    )
    parser.add_argument("--again", action="store_true", help="write the pages anew from the numbers of the last run")
    arguments = parser.parse_args()
    if arguments.again:
        results = Results.of(json.loads(KEPT.read_text()))
    elif arguments.quick:
        results = measured(QUICK, keep=lambda _results: None)
    else:
        results = measured(FULL, keep=_keep)
    if not arguments.quick:
        report.write(results, ROOT / "docs")
    print(report.text(results))


if __name__ == "__main__":
    main()
