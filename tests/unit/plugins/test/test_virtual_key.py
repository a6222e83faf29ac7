# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.test.virtual_key import TestModule as Module

is_virtual_key = Module().tests()["virtual_key"]

SHORTEST = "sk-" + "x" * 13


@pytest.mark.parametrize("value", [SHORTEST, "sk-Zm9v_YmFy-" + "x" * 100])
def test_valid_virtual_keys(value):
    assert is_virtual_key(value) is True


@pytest.mark.parametrize(
    "value",
    [
        SHORTEST[:-1],
        "SK-" + "x" * 13,
        "pk-" + "x" * 13,
        f" {SHORTEST}",
        f"{SHORTEST}\n",
        f"{SHORTEST} {SHORTEST}",
        f"{SHORTEST}\0",
        f"{SHORTEST}\u00a0",
        "f" * 64,  # a key id
        "",
        None,
        42,
        [SHORTEST],
        SHORTEST.encode(),
    ],
)
def test_other_values(value):
    assert is_virtual_key(value) is False


def test_in_a_template(template):
    assert template("{{ secret is rhpds.litellm_virtual_keys.virtual_key }}", secret=SHORTEST) is True
    assert template("{{ secret is rhpds.litellm_virtual_keys.virtual_key }}", secret="") is False


@pytest.mark.parametrize("verb", ["is", "is not"])
def test_an_undefined_value_is_an_error(template, verb):
    with pytest.raises(AnsibleUndefinedVariable, match="'nowhere' is undefined"):
        template("{{ 'yes' if nowhere " + verb + " rhpds.litellm_virtual_keys.virtual_key else 'no' }}")
