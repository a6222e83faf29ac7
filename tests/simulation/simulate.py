# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make simulate`: explore all histories of many scenarios, and random histories of larger ones."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation import histories, laws
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import (
    Scenario,
    Simulation,
    State,
    Violation,
    explore,
    walk,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import judge
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import OPERATIONS, STATES, shape, start
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.story import describe, story_of

# Operations that behave differently; the others are variants of them.
_DISTINCT = ("provision", "provision-seed", "recover", "regenerate-bare", "rotate", "extend", "budget", "destroy")
_FEW = ("provision", "recover", "regenerate-bare", "rotate", "destroy")


class Group(NamedTuple):
    """Scenarios that are explored: every start state, with every combination of the operations."""

    operations: Sequence[str]
    controllers: int = 2
    keys: int = 1
    faults: int = 0
    preemptions: int | None = None
    exact: bool = False


PLAN = (
    Group(tuple(OPERATIONS)),
    Group(_DISTINCT, exact=True),
    Group(_DISTINCT, faults=1),
    Group(_FEW, faults=2, preemptions=1),
    Group(_DISTINCT, keys=2, preemptions=2),
    Group(_FEW, keys=2, faults=1, preemptions=1),
    Group(_DISTINCT, controllers=3, preemptions=2),
    Group(_FEW, controllers=3, faults=1, preemptions=1),
)


@dataclass
class Totals:
    """What was found so far.

    :ivar shapes: for each shape of the keys that killed controllers have left, a scenario that leads to it.
    """

    histories: int = 0
    states: int = 0
    scenarios: int = 0
    violations: dict[str, Violation] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    shapes: dict[tuple[str, ...], str] = field(default_factory=dict)

    def add(self, other: Totals) -> None:
        self.histories += other.histories
        self.states += other.states
        self.scenarios += other.scenarios
        self.counts += other.counts
        self.shapes = other.shapes | self.shapes
        for law, violation in other.violations.items():
            self.add_violation(law, violation)

    def add_violation(self, law: str, violation: Violation) -> None:
        """Keep the shortest history."""
        known = self.violations.get(law)
        if known is None or len(violation.numbers) < len(known.numbers):
            self.violations[law] = violation


def scenarios(state: str) -> Iterator[Scenario]:
    """Return every scenario of the plan that starts with a state."""
    for group in PLAN:
        for chosen in itertools.combinations_with_replacement(group.operations, group.controllers):
            yield Scenario(state, chosen, group.faults, group.keys, exact=group.exact, preemptions=group.preemptions)


def random_scenario(dice: random.Random) -> Scenario:
    """Return a scenario without a bound on preemptions."""
    count = dice.choice((2, 2, 3))
    return Scenario(
        dice.choice(list(STATES)),
        tuple(dice.choice(list(OPERATIONS)) for _unused in range(count)),
        faults=dice.choice((0, 1, 2)),
        keys=dice.choice((1, 1, 2)),
        fair=dice.random() < 0.3,
        exact=dice.random() < 0.3,
    )


def sample(seed: int) -> Totals:
    """Run 20 random histories of each of 100 random scenarios."""
    dice, totals = random.Random(seed), Totals()
    for _scenario in range(100):
        scenario = random_scenario(dice)
        walks = [walk(scenario, dice, judge)[1] for _history in range(20)]
        broken = {violation.law: violation for violations in walks for violation in violations}
        totals.add(Totals(len(walks), 0, 1, broken, Counter(list(broken))))
    forget()
    return totals


def forget() -> None:
    """Free the memory of controllers that were run."""
    histories._CONTROLLERS.clear()
    laws._AFTERWARDS.clear()


def _explore_pair(task: Sequence[Scenario]) -> Totals:
    totals = Totals()

    def judge_and_note_shape(simulation: Simulation, state: State, ended: bool) -> Sequence[tuple[str, str]]:
        if ended and any(runner.killed for runner in state.runners):
            for alias in simulation.scenario.aliases:
                totals.shapes.setdefault(shape(state.world, alias), str(simulation.scenario))
        return judge(simulation, state, ended)

    for scenario in task:
        found = explore(scenario, judge_and_note_shape)
        totals.add(Totals(found.histories, found.states, 1, found.violations, Counter(list(found.violations))))
    forget()
    return totals


def _explore_all(processes: int, every: int) -> Totals:
    tasks = [
        tuple(task)
        for state in STATES
        for _operations, task in itertools.groupby(
            sorted(scenarios(state), key=lambda one: one.operations), key=lambda one: one.operations
        )
    ]
    random.Random(1).shuffle(tasks)  # so that the time that is left can be estimated
    tasks = tasks[::every]
    totals, began, last = Totals(), time.monotonic(), 0.0
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=20) as pool:
        for number, result in enumerate(pool.imap_unordered(_explore_pair, tasks), start=1):
            totals.add(result)
            elapsed = time.monotonic() - began
            if elapsed - last > 10 or number == len(tasks):
                last = elapsed
                left = elapsed / number * (len(tasks) - number)
                print(
                    f"{number} of {len(tasks)} groups of scenarios, {totals.histories} histories in {totals.states} "
                    f"states, {len(totals.violations)} laws broken; {elapsed / 60:.0f} min, "
                    f"about {left / 60:.0f} min left",
                    flush=True,
                )
    return totals


def _sample_for(minutes: float, processes: int, seed: int) -> Totals:
    totals, deadline = Totals(), time.monotonic() + minutes * 60
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        while (left := deadline - time.monotonic()) > 0:
            print(
                f"{totals.histories} random histories, {len(totals.violations)} laws broken; the next seed is {seed}, "
                f"about {left / 60:.0f} min left",
                flush=True,
            )
            for result in pool.map(sample, range(seed, seed + processes)):
                totals.add(result)
            seed += processes
    return totals


def _report(totals: Totals) -> None:
    alias = "virtkey-abc"
    for left in totals.shapes.keys() - {shape(start(state, (alias,)), alias) for state in STATES}:
        print(f"No scenario starts with {left}, which {totals.shapes[left]} can leave")
    for law, violation in sorted(totals.violations.items()):
        print(f"\n{story_of(violation)}\n({totals.counts[law]} scenarios with the law {law})")


def main(arguments: Sequence[str]) -> int:
    """Run the program and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replay", nargs="+", metavar=("SCENARIO", "NUMBER"), help="print one history")
    parser.add_argument("--explore", nargs="+", metavar="SCENARIO", help="explore these scenarios only")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="explore only one in N scenarios; 0 for none")
    parser.add_argument("--minutes", type=float, default=5, help="how long to run random histories (default: 5)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args(arguments)
    if options.replay:
        print("\n".join(describe(Scenario.parse(options.replay[0]), [int(number) for number in options.replay[1:]])))
        return 0
    if options.explore:
        totals = _explore_pair([Scenario.parse(text) for text in options.explore])
        for violation in totals.violations.values():
            print(f"{story_of(violation)}\n")
    else:
        totals = _explore_all(options.processes, options.every) if options.every else Totals()
        totals.add(_sample_for(options.minutes, options.processes, options.seed))
        _report(totals)
    print(f"{totals.scenarios} scenarios, {totals.histories} histories, {totals.states} states")
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
