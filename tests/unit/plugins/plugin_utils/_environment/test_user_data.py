# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the facts and user data: complete for the environment and for each user, with one table of names."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import saved_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import (
    build_facts,
    build_user_data,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.outcomes import USERS
from hypothesis import given

URL = "https://proxy.example.com"
BASE_URL = f"{URL}/v1"


def entry(user: str | None = None, secret: str | None = "sk-secret", **more: Any) -> dict[str, Any]:
    """Return an entry of a result."""
    alias = f"virtkey-abc-{user}" if user else "virtkey-abc"
    return {
        "key": secret,
        "key_alias": alias,
        "key_id": f"id of {alias}",
        "models": ["a", "b"],
        "duration": "7d",
        "expires": "2026-11-30T08:00:00Z",
        "user_id": f"{user}@x.org" if user else None,
        **({"user": user} if user else {}),
        **more,
    }


EMPTY_FACTS = {
    "litellm_virtual_key": "",
    "litellm_key_alias": "",
    "litellm_key_id": "",
    "litellm_api_endpoint": "",
    "litellm_api_base_url": "",
    "litellm_available_models": [],
    "litellm_key_duration": "",
    "litellm_key_expires": "",
    "litellm_virtual_keys": [],
    "litellm_key_aliases": [],
    "litellm_key_ids": [],
    "litellm_user_ids": [],
    "_litellm_user_data": {},
    "litellm_key_deleted": False,
    "litellm_key_was_missing": False,
}
FACTS_OF_ONE = {
    **EMPTY_FACTS,
    "litellm_virtual_key": "sk-secret",
    "litellm_key_alias": "virtkey-abc",
    "litellm_key_id": "id of virtkey-abc",
    "litellm_api_endpoint": URL,
    "litellm_api_base_url": BASE_URL,
    "litellm_available_models": ["a", "b"],
    "litellm_key_duration": "7d",
    "litellm_key_expires": "2026-11-30T08:00:00Z",
}


# Facts


def test_all_facts_are_empty_without_a_key() -> None:
    assert build_facts([], URL, BASE_URL) == EMPTY_FACTS


def test_the_facts_of_one_key_leave_those_of_many_empty() -> None:
    assert build_facts([entry()], URL, BASE_URL) == FACTS_OF_ONE


def test_the_facts_of_many_users() -> None:
    assert build_facts([entry("ann", "sk-1"), entry("bob", "sk-2")], URL, BASE_URL) == {
        **FACTS_OF_ONE,
        "litellm_virtual_key": "sk-1",
        "litellm_key_alias": "virtkey-abc-ann",
        "litellm_key_id": "id of virtkey-abc-ann",
        "litellm_virtual_keys": ["sk-1", "sk-2"],
        "litellm_key_aliases": ["virtkey-abc-ann", "virtkey-abc-bob"],
        "litellm_key_ids": ["id of virtkey-abc-ann", "id of virtkey-abc-bob"],
        "litellm_user_ids": ["ann@x.org", "bob@x.org"],
        "_litellm_user_data": {
            f"litellm_{user}_{name}": value
            for user, secret in (("ann", "sk-1"), ("bob", "sk-2"))
            for name, value in {
                "virtual_key": secret,
                "key_alias": f"virtkey-abc-{user}",
                "key_id": f"id of virtkey-abc-{user}",
                "user_email": f"{user}@x.org",
            }.items()
        },
    }


def test_unknown_values_are_empty_and_keep_the_lists_in_step() -> None:
    facts = build_facts([entry("ann", None, key_id=None, models=None), entry("bob", "sk-2")], URL, BASE_URL)
    assert (facts["litellm_virtual_key"], facts["litellm_key_id"], facts["litellm_available_models"]) == ("", "", [])
    assert facts["litellm_virtual_keys"] == ["", "sk-2"]
    assert facts["litellm_key_ids"] == ["", "id of virtkey-abc-bob"]
    assert "litellm_ann_virtual_key" not in facts["_litellm_user_data"]


@given(USERS)
def test_the_names_of_the_facts_never_differ(users: list[str]) -> None:
    facts = build_facts([entry(user) for user in users], URL, BASE_URL)
    assert facts.keys() == EMPTY_FACTS.keys()
    lists = [facts[f"litellm_{name}"] for name in ("virtual_keys", "key_aliases", "key_ids", "user_ids")]
    assert [len(values) for values in lists] == [len(users)] * 4


# User data


def test_the_user_data_of_one_key_name_no_users() -> None:
    data, users = build_user_data([entry()], URL, BASE_URL, {})
    assert users == {}
    assert data == {
        "litellm_api_endpoint": URL,
        "litellm_api_base_url": BASE_URL,
        "litellm_virtual_key": "sk-secret",
        "litellm_key_alias": "virtkey-abc",
        "litellm_key_id": "id of virtkey-abc",
        "litellm_available_models": ["a", "b"],
        "litellm_available_models_list": "a, b",
        "litellm_key_duration": "7d",
    }


def test_a_key_of_the_environment_comes_before_those_of_users() -> None:
    data, users = build_user_data([entry("ann", "sk-1"), entry(secret="sk-environment")], URL, BASE_URL, {})
    assert data["litellm_virtual_key"] == "sk-environment"
    assert (data["litellm_user_count"], data["litellm_virtual_keys"]) == (1, ["sk-1"])
    assert users["ann"]["litellm_virtual_key"] == "sk-1"


@pytest.mark.parametrize("user", ["ann", None])
def test_an_unknown_secret_is_left_out_so_that_a_saved_one_is_kept(user: str | None) -> None:
    data, users = build_user_data([entry(user, None)], URL, BASE_URL, {})
    assert not {name for one in (data, *users.values()) for name in one if "virtual_key" in name}


@given(USERS)
def test_the_names_of_users_never_collide_with_other_names(users: list[str]) -> None:
    """Also if the name of a user is part of another name, such as `key` or `virtual`."""
    entries = [entry(user, f"sk-{user}") for user in users]
    data, sections = build_user_data(entries, URL, BASE_URL, {})
    assert len(data) == 8 + 1 + 4 + 4 * len(users)
    found = {(key.alias, key.secret) for key in saved_keys({**data, "users": sections})}
    assert found == {(one["key_alias"], one["key"]) for one in entries}
    assert list(sections) == users


@given(USERS)
def test_facts_and_user_data_agree(users: list[str]) -> None:
    entries = [entry(user, f"sk-{user}") for user in users]
    data, _users = build_user_data(entries, URL, BASE_URL, {})
    facts = build_facts(entries, URL, BASE_URL)
    assert {name: data[name] for name in facts if name in data} == {
        name: value for name, value in facts.items() if name in data
    }
    assert data.items() >= facts["_litellm_user_data"].items()
