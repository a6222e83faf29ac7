# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scenarios in which a law was once broken. All their histories are explored."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import Scenario, explore
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import judge
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.story import story_of

FOUND = {
    "two creations, and both runs delete their key": "nothing: provision + provision (0 faults, 1 keys)",
    "of two creators, the one that must give way is killed": (
        "nothing: provision + provision (1 faults, 1 keys, 1 preemptions)"
    ),
    "a killed replacement takes away a new key, and its creator returns no secret": (
        "nothing: provision + recover (1 faults, 1 keys, 1 preemptions)"
    ),
    "a deleted key is created again with its old secret, which counts as a replacement": (
        "two keys, successor created: extend-saved + destroy (0 faults, 1 keys, 2 preemptions)"
    ),
    "two keys with one alias cannot be replaced": "two keys: provision + provision (0 faults, 1 keys, 1 preemptions)",
    "two replacements, and both runs delete the successor after one has deleted the old key": (
        "a key: regenerate-bare + regenerate-bare (0 faults, 1 keys, 3 preemptions)"
    ),
    "a third replacement finds no key and creates one without restrictions": (
        "a key: regenerate-bare + regenerate-bare + regenerate-bare (0 faults, 1 keys, 1 preemptions)"
    ),
    "a provision takes back a replacement that reports no error": (
        "old key deleted: provision + regenerate (0 faults, 1 keys, 2 preemptions)"
    ),
    "a provision takes back a replacement, and is killed": (
        "a key: provision + regenerate-bare (1 faults, 1 keys, 1 preemptions)"
    ),
    "an extension overlaps a replacement, and the old secret stays in force": (
        "a key: recover + extend (0 faults, 1 keys, 2 preemptions)"
    ),
    "an extension overlaps a replacement that is killed, and a destroy does not find the key": (
        "a key with a lost secret: recover + extend (1 faults, 1 keys, 1 preemptions)"
    ),
    "a destroy does not find a key that gets another alias meanwhile": (
        "old key deleted: provision + destroy (0 faults, 1 keys, 2 preemptions)"
    ),
    "a new budget is set on the key that is about to be deleted": (
        "old key deleted: recover + budget (0 faults, 1 keys, 2 preemptions)"
    ),
    "a new budget is set on the old key after its settings were copied": (
        "a key: regenerate + budget (0 faults, 1 keys, exact listings, 2 preemptions)"
    ),
    "an unused successor keeps another one from its alias": (
        "two successors created: provision-seed + recover-saved (0 faults, 1 keys, 2 preemptions)"
    ),
    "a successor that was listed before it was replaced": (
        "a key with a lost secret: regenerate-bare + regenerate-bare (0 faults, 1 keys, exact listings, 2 preemptions)"
    ),
    "an extension that overlaps a replacement, both with faults": (
        "a key with a lost secret: extend-saved + regenerate-saved (1 faults, 1 keys, 1 preemptions)"
    ),
    "a rotation deletes a successor that a killed run has left, and another run deletes the old key": (
        "successor created: rotate-saved + regenerate (0 faults, 1 keys, 2 preemptions)"
    ),
    "a delayed request gives a rotated key its alias again, and the new one is deleted": (
        "old key deleted: rotate-saved + rotate (0 faults, 1 keys, 2 preemptions)"
    ),
    "an extension is sent to a key that is retired meanwhile, which works until then": (
        "two successors created: rotate-saved + extend (0 faults, 1 keys, 2 preemptions)"
    ),
    "an update removes the mark of a key that is retired meanwhile, and a destroy does not find it": (
        "successor created: rotate + budget (0 faults, 1 keys, 2 preemptions)"
    ),
    "a rotation without the seed revokes a derived secret, which other runs know": (
        "rotation with the seed: successor created: rotate-seed + rotate (0 faults, 1 keys, 2 preemptions)"
    ),
    "a replacement and a rotation create the same derived secret": (
        "a key with the seed's secret: rotate-seed + recover-seed (0 faults, 1 keys, 2 preemptions)"
    ),
    "a rotation whose secret was lost retires the lost key in place of the old one": (
        "rotation: successor created: rotate-saved + regenerate (1 faults, 1 keys, 1 preemptions)"
    ),
    "a destroy whose request is lost does not find the key that is retired meanwhile": (
        "a key: rotate + destroy (1 faults, 1 keys, 2 preemptions)"
    ),
    "a saved secret belongs to a key that was replaced, which the run deletes after its failure": (
        "only a previous key: extend-saved (0 faults, 1 keys)"
    ),
}


@pytest.mark.parametrize("scenario", FOUND.values(), ids=FOUND)
def test_every_history_of_the_scenario_breaks_no_law(scenario):
    found = explore(Scenario.parse(scenario), judge)
    assert not found.violations, "\n\n".join(map(story_of, found.violations.values()))
