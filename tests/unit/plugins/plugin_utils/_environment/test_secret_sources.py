# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test where the secrets of existing keys are found: in user data first, then in the facts of the play."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.secret_sources import known_keys

SAVED = {"litellm_key_alias": "virtkey-a", "litellm_virtual_key": "sk-saved"}
FACTS: dict[str, Any] = {
    "litellm_key_alias": "virtkey-a",
    "litellm_virtual_key": "sk-fact",
    "litellm_key_aliases": ["virtkey-a-ann", "virtkey-a-bob"],
    "litellm_virtual_keys": ["sk-ann", "sk-bob"],
}


def found(
    user_data: dict[str, Any], facts: dict[str, Any], aliases: set[str] | None = None
) -> list[tuple[str, str, str | None]]:
    return [(key.alias, key.secret, key.guid) for key in known_keys(user_data, facts.get, aliases)]


def test_user_data_come_before_facts() -> None:
    assert found(SAVED, FACTS) == [
        ("virtkey-a", "sk-saved", None),
        ("virtkey-a", "sk-fact", None),
        ("virtkey-a-ann", "sk-ann", None),
        ("virtkey-a-bob", "sk-bob", None),
    ]


def test_only_a_record_has_a_guid() -> None:
    assert found({"litellm_keys": {"virtkey-a": {"virtual_key": "sk-1", "guid": "a"}}}, {}) == [
        ("virtkey-a", "sk-1", "a")
    ]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"litellm_key_alias": "", "litellm_virtual_key": "", "litellm_key_aliases": [], "litellm_virtual_keys": []},
        {"litellm_key_alias": "virtkey-a"},
        {"litellm_virtual_key": "sk-1", "litellm_virtual_keys": ["sk-1"]},
        {"litellm_key_alias": None, "litellm_virtual_key": "sk-1"},
        {"litellm_key_aliases": {"a": 1}, "litellm_virtual_keys": ["sk-1"]},
        {"litellm_key_aliases": ["virtkey-a", ["b"]], "litellm_virtual_keys": ["", "sk-1"]},
    ],
)
def test_facts_without_both_an_alias_and_a_secret_are_ignored(facts: dict[str, Any]) -> None:
    assert found({}, facts) == []


def test_a_secret_is_read_from_a_fact_only_for_the_requested_aliases() -> None:
    """Because the fact may be a template with a lookup of the same key."""
    read: list[str] = []

    def read_fact(name: str) -> Any:
        read.append(name)
        return FACTS[name]

    assert list(known_keys({}, read_fact, {"virtkey-b"})) == []
    assert read == ["litellm_key_alias", "litellm_key_aliases"]
    read.clear()
    assert [key.secret for key in known_keys({}, read_fact, {"virtkey-a-bob"})] == ["sk-ann", "sk-bob"]
    assert read == ["litellm_key_alias", "litellm_key_aliases", "litellm_virtual_keys"]
