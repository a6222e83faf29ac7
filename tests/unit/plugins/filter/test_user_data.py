# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the filter `litellm_user_data`: from the result of `litellm_key` to the user data that lab guides read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.filter.user_data import FilterModule
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import saved_keys
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, Undefined

litellm_user_data = FilterModule().filters()["litellm_user_data"]

ENDPOINT = {"api_endpoint": "https://proxy.example.com", "api_base_url": "https://proxy.example.com/v1"}


def key(user: str | None = None, secret: str | None = "sk-secret", **more: Any) -> dict[str, Any]:
    """Return an entry of the result."""
    alias = f"virtkey-abc-{user}" if user else "virtkey-abc"
    return {
        "key": secret,
        "key_alias": alias,
        "key_id": f"id of {alias}",
        "models": ["a", "b"],
        "duration": "7d",
        "user_id": f"{user}@x.org",
        **({"user": user} if user else {}),
        **more,
    }


def user_data(*keys: dict[str, Any], further: dict[str, Any] | None = None) -> Any:
    return litellm_user_data({"virtual_keys": list(keys), **ENDPOINT}, further)


SINGLE = {
    "litellm_api_endpoint": "https://proxy.example.com",
    "litellm_api_base_url": "https://proxy.example.com/v1",
    "litellm_virtual_key": "sk-secret",
    "litellm_key_alias": "virtkey-abc",
    "litellm_key_id": "id of virtkey-abc",
    "litellm_available_models": ["a", "b"],
    "litellm_available_models_list": "a, b",
    "litellm_key_duration": "7d",
}


def test_a_single_key_has_data_and_no_users():
    assert user_data(key()) == {"data": SINGLE, "users": {}}


def test_each_user_has_complete_data_and_the_environment_those_of_all_users():
    users = user_data(key("ann", "sk-1"), key("bob", "sk-2"))["users"]
    data = user_data(key("ann", "sk-1"), key("bob", "sk-2"))["data"]
    assert users == {
        user: {
            **SINGLE,
            "litellm_virtual_key": secret,
            "litellm_key_alias": f"virtkey-abc-{user}",
            "litellm_key_id": f"id of virtkey-abc-{user}",
            "litellm_user_email": f"{user}@x.org",
        }
        for user, secret in (("ann", "sk-1"), ("bob", "sk-2"))
    }
    assert data == {
        **{name: value for name, value in users["ann"].items() if name != "litellm_user_email"},
        "litellm_user_count": 2,
        "litellm_virtual_keys": ["sk-1", "sk-2"],
        "litellm_key_aliases": ["virtkey-abc-ann", "virtkey-abc-bob"],
        "litellm_key_ids": ["id of virtkey-abc-ann", "id of virtkey-abc-bob"],
        "litellm_user_ids": ["ann@x.org", "bob@x.org"],
        "litellm_ann_virtual_key": "sk-1",
        "litellm_ann_key_alias": "virtkey-abc-ann",
        "litellm_ann_key_id": "id of virtkey-abc-ann",
        "litellm_ann_user_email": "ann@x.org",
        "litellm_bob_virtual_key": "sk-2",
        "litellm_bob_key_alias": "virtkey-abc-bob",
        "litellm_bob_key_id": "id of virtkey-abc-bob",
        "litellm_bob_user_email": "bob@x.org",
    }


def test_further_data_are_for_everybody_and_override_nothing():
    everybody = user_data(key("ann"), further={"litellm_docling_model": "D", "litellm_virtual_key": "no"})
    for data in (everybody["data"], everybody["users"]["ann"]):
        assert data["litellm_docling_model"] == "D"
        assert data["litellm_virtual_key"] == "sk-secret"


def test_an_unknown_secret_is_left_out_so_that_a_saved_one_is_kept():
    assert "litellm_virtual_key" not in user_data(key(secret=None))["data"]
    some = user_data(key("ann", None), key("bob", "sk-2"))
    assert "litellm_virtual_key" not in some["users"]["ann"]
    assert "litellm_ann_virtual_key" not in some["data"]
    assert "litellm_virtual_keys" not in some["data"]  # with a gap, users would get the secrets of others
    assert some["data"]["litellm_bob_virtual_key"] == "sk-2"


def test_the_key_of_the_environment_comes_before_those_of_its_users():
    data = user_data(key("ann", "sk-1"), key(secret="sk-environment"))["data"]
    assert (data["litellm_virtual_key"], data["litellm_user_count"]) == ("sk-environment", 1)


def test_a_key_for_all_models_has_an_empty_list():
    data = user_data(key(models=None))["data"]
    assert (data["litellm_available_models"], data["litellm_available_models_list"]) == ([], "")


@given(st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), unique=True, max_size=6))
def test_every_secret_is_found_again_beside_its_alias(users: list[str]):
    keys = [key(user, f"sk-of-{user}") for user in users] or [key()]
    result = user_data(*keys)
    found = list(saved_keys({**result["data"], "users": result["users"]}))
    assert {(one.alias, one.secret) for one in found} == {(one["key_alias"], one["key"]) for one in keys}
    for one in keys:
        section = result["users"].get(one.get("user"), result["data"])
        assert (section["litellm_key_alias"], section["litellm_virtual_key"]) == (one["key_alias"], one["key"])
        assert section["litellm_available_models"] == ["a", "b"]
        assert section.get("litellm_user_email", one["user_id"]) == one["user_id"]


@pytest.mark.parametrize("wrong", [None, "text", [], {}, {"virtual_keys": []}, {"virtual_keys": None}])
def test_an_invalid_result_is_refused(wrong: Any):
    with pytest.raises(
        AnsibleFilterError, match="litellm_user_data needs the result of litellm_key, with at least one key"
    ):
        litellm_user_data(wrong)


def test_undefined_stays_undefined():
    assert isinstance(litellm_user_data(Environment().undefined("nothing")), Undefined)


def test_the_filter_works_in_templates(template):
    result = {"virtual_keys": [key()], **ENDPOINT}
    rendered = template("{{ (result | rhpds.litellm_virtual_keys.litellm_user_data).data }}", result=result)
    assert rendered == SINGLE
