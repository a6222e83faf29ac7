# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A random sample of histories, and tests of the simulation itself."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation import simulate
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import Scenario, explore, replay, walk
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import LAWS, judge
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.story import describe, story_of

ROOT = Path(__file__).parents[2]


def seed_of_commit() -> int:
    """Return a number that is another one for each version of the files, and the same wherever it is tested."""
    git = ("git", "rev-parse", "HEAD^{tree}")
    tree = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return int(tree[:8] or "1", base=16)


@pytest.mark.parametrize("seed", [int(os.environ.get("SIMULATION_SEED") or seed_of_commit())])
def test_random_histories_break_no_law(seed):
    # Each commit explores new ones, and passes or fails whenever it is tested.
    totals = simulate.sample(seed)
    assert totals.histories == 2000
    assert not totals.violations, "\n\n".join(map(story_of, totals.violations.values()))


def test_every_operation_alone_breaks_no_law_from_nothing_and_from_a_key():
    for state in ("nothing", "a key"):
        for operation in OPERATIONS:
            found = explore(Scenario(state, (operation,)), judge)
            assert found.histories == 1
            assert not found.violations, "\n".join(map(story_of, found.violations.values()))


def test_scenarios_are_read_as_they_are_shown():
    dice = random.Random(1)
    for _unused in range(50):
        scenario = simulate.random_scenario(dice)
        assert Scenario.parse(str(scenario)) == scenario
    bounded = Scenario("a key", ("destroy", "destroy"), 1, 2, skewed=True, preemptions=3)
    assert Scenario.parse(str(bounded)) == bounded
    with pytest.raises(ValueError, match="not a scenario"):
        Scenario.parse("a key: explode (0 faults, 1 keys)")


def test_a_history_is_the_same_when_its_controllers_are_run_again():
    dice = random.Random(2)
    for _unused in range(20):
        scenario = simulate.random_scenario(dice)
        numbers, _violations = walk(scenario, dice, judge)
        first = list(describe(scenario, numbers))
        simulate.forget()
        assert list(describe(scenario, numbers)) == first


def test_a_state_is_counted_once_and_a_history_each_time():
    scenario = Scenario("a key", ("provision", "provision"))
    found = explore(scenario, lambda simulation, state, ended: ())
    steps = len(list(replay(scenario, ()))) - 1
    assert steps % 2 == 0
    # Two runs that only read: every order of their requests is a history.
    expected = 1
    for number in range(steps // 2):
        expected = expected * (steps - number) // (number + 1)
    assert found.histories == expected
    assert found.states == (steps // 2 + 1) ** 2


def test_the_guarantees_state_the_laws():
    lines = (ROOT / "docs" / "docsite" / "rst" / "guarantees.rst").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.removeprefix("- ") in LAWS.values()] == [
        f"- {text}" for text in LAWS.values()
    ]
