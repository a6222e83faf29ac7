# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.test.duration import TestModule as Module

is_duration = Module().tests()["duration"]


@pytest.mark.parametrize("value", ["7d", "1 day 12 hours", "P1M", 168, 1.5])
def test_valid_durations(value):
    assert is_duration(value) is True


@pytest.mark.parametrize("value", ["1y", "", "0", "-1", 0, None, True, [], {"days": 7}, float("inf")])
def test_other_values(value):
    assert is_duration(value) is False


def test_in_a_template(template):
    assert template("{{ '7d' is rhpds.litellm_virtual_keys.duration }}") is True
    assert template("{{ '1y' is not rhpds.litellm_virtual_keys.duration }}") is True


@pytest.mark.parametrize("verb", ["is", "is not"])
def test_an_undefined_value_is_an_error(template, verb):
    with pytest.raises(AnsibleUndefinedVariable, match="'nowhere' is undefined"):
        template("{{ 'yes' if nowhere " + verb + " rhpds.litellm_virtual_keys.duration else 'no' }}")
