# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The histories that once broke a law.

If a scenario is small, all its histories are explored: after a change of the engine the numbers of the history may
stand for another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import (
    Scenario,
    Simulation,
    Violation,
    explore,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import judge
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.story import story_of


@dataclass(frozen=True)
class Found:
    """A history that broke a law.

    :ivar broken: why it still breaks the law; None if it does not.
    :ivar is_large: the scenario has too many histories to explore all of them in a test.
    """

    name: str
    law: str
    scenario: str
    numbers: str
    broken: str | None = None
    is_large: bool = False


_BOTH_GIVE_WAY = "both runs of a race give way if the look of one is slower than the pause of the other"
_RENAMED_BACK = "a run that replaces a key takes the key for replaced although another run has renamed it back"
_TWO_KEYS = "nothing repairs two keys with one alias"
_NO_MARKER = "an update that overlaps a rename removes the marker, because LiteLLM writes back the metadata it has read"
_TWO_LISTINGS = "the alias and its predecessor are listed by two requests, and another run renames the key between them"

FOUND = (
    Found(
        "two creations, and both runs delete their key",
        "a key stays",
        "nothing: provision + provision (0 faults, 1 keys)",
        "",
        _BOTH_GIVE_WAY,
    ),
    Found(
        "two replacements, and both runs delete the successor after one has deleted the old key",
        "always a key",
        "a key: regenerate-bare + regenerate-bare (0 faults, 1 keys, 3 preemptions)",
        "0 0 0 0 0 0 0 1 1 1 1 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 0",
        _BOTH_GIVE_WAY,
    ),
    Found(
        "a third replacement finds no key and creates one without restrictions",
        "restrictions",
        "a key: regenerate-bare + regenerate-bare + regenerate-bare (0 faults, 1 keys)",
        "0 0 0 0 0 0 0 1 1 1 1 0 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 0 1 1 1 1",
        _BOTH_GIVE_WAY,
        is_large=True,
    ),
    Found(
        "the two listings of a third replacement straddle the first one, and the second one frees the alias",
        "restrictions",
        "a key: regenerate-bare + regenerate-bare + regenerate-bare (0 faults, 1 keys)",
        "0 0 0 0 2 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 1 1",
        _TWO_LISTINGS,
        is_large=True,
    ),
    Found(
        "a provision renames the key back, and the replacement reports no error",
        "replaced",
        "renamed: provision + regenerate (0 faults, 1 keys, 1 preemptions)",
        "1 1 0 0 0 0 0 0 0 0",
        _RENAMED_BACK,
    ),
    Found(
        "a provision renames the key back during the replacement and is killed",
        "replaced",
        "a key: provision + regenerate-bare (1 faults, 1 keys, 1 preemptions)",
        "2 2 2 2 2 0 0 0 3 0 0 0 0",
        _RENAMED_BACK,
    ),
    Found(
        "a key is renamed back after its successor was created",
        "one key",
        "renamed: provision + recover (0 faults, 1 keys, 2 preemptions)",
        "0 0 0 1 1 1 1 1 0 0 0",
        _TWO_KEYS,
    ),
    Found(
        "of two creators, the one that must give way is killed",
        "one key",
        "nothing: provision + provision (1 faults, 1 keys, 1 preemptions)",
        "0 0 0 4 0 0 0 0 3",
        _TWO_KEYS,
    ),
    Found(
        "two keys with one alias cannot be replaced",
        "next run",
        "two keys: provision + provision (0 faults, 1 keys, 1 preemptions)",
        "0 0",
        _TWO_KEYS,
    ),
    Found(
        "an extension overlaps the rename of a replacement, and the old secret stays in force",
        "replaced",
        "a key: recover + extend (0 faults, 1 keys, 2 preemptions)",
        "1 1 0 0 0 0 0 0 0 1 0 0 0 0",
        _NO_MARKER,
    ),
    Found(
        "an extension overlaps the rename, and no later run knows the renamed key",
        "predecessors",
        "a key: recover + extend (0 faults, 1 keys, 2 preemptions)",
        "1 1 0 0 0 0 0 0 0 1 0 0 0 0",
        _NO_MARKER,
    ),
    Found(
        "an extension overlaps the rename, the replacement is killed, and a destroy does not find the key",
        "next run",
        "a key with a lost secret: recover + extend (1 faults, 1 keys, 1 preemptions)",
        "2 2 0 0 0 3 0 0",
        _NO_MARKER,
    ),
    Found(
        "a destroy lists the alias before, and its predecessor after a provision renames the key back",
        "destroyed",
        "renamed: provision + destroy (0 faults, 1 keys, 1 preemptions)",
        "1 0 0 0 0 0 0",
        _TWO_LISTINGS,
    ),
    Found(
        "a new budget is set on the key that is about to be deleted",
        "not lost",
        "renamed: recover + budget (0 faults, 1 keys, 2 preemptions)",
        "1 1 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0",
        "a plain run changes one of two keys, and another run deletes this one",
    ),
    Found(
        "a new key is renamed by a replacement that is killed, and its creator returns no secret",
        "secrets kept",
        "nothing: provision + recover (1 faults, 1 keys, 1 preemptions)",
        "0 0 0 0 2 0 0 3 0 0 0 0 0",
        "a creator does not look for its key under the alias of a predecessor",
    ),
)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(one, id=one.name, marks=[pytest.mark.xfail(strict=True, reason=one.broken)] if one.broken else [])
        for one in FOUND
    ],
)
def test_history_breaks_its_law_no_more(found):
    scenario = Scenario.parse(found.scenario)
    violation = None if found.is_large else explore(scenario, judge).violations.get(found.law)
    violation = violation or replayed(scenario, [int(number) for number in found.numbers.split()], found.law)
    assert violation is None, story_of(violation)


def replayed(scenario: Scenario, numbers: list[int], law: str) -> Violation | None:
    """Return how a history breaks a law. Missing and impossible numbers stand for the first possible move."""
    simulation = Simulation(scenario)
    chosen: list[int] = []
    state = simulation.first()
    while True:
        moves = simulation.moves(state)
        for broken, problem in judge(simulation, state, not moves):
            if broken == law:
                return Violation(scenario, law, problem, tuple(chosen))
        if not moves:
            return None
        number = numbers[len(chosen)] if len(chosen) < len(numbers) else 0
        chosen.append(number if number < len(moves) else 0)
        state = moves[chosen[-1]].state
