# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From options to wanted keys, without Ansible: what each user gets, what `settings` may say, what was saved."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import SavedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import (
    base_alias,
    complete,
    desired_keys,
    with_saved_secrets,
)
from hypothesis import given
from hypothesis import strategies as st

# Names as people and platforms give them.
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters="-._@"), min_size=1, max_size=20)
USERS = st.lists(NAMES, unique=True, min_size=1, max_size=8)


def desired(*users: str | None, **arguments: Any) -> list[DesiredKey]:
    given_ones = complete({"url": "https://proxy", "master_key": "sk-master", **arguments})
    return desired_keys(coerce_options(OPTIONS, given_ones, "litellm_key"), given_ones, users or (None,))


def refusal(*users: str | None, **arguments: Any) -> str:
    with pytest.raises(OptionError) as refused:
        desired(*users, **arguments)
    return str(refused.value)


# Users.


@given(USERS, NAMES)
def test_each_user_has_an_alias_of_its_own_in_the_order_asked(users: list[str], guid: str) -> None:
    keys = desired(*users, guid=guid, users=users)
    assert [key.user for key in keys] == users
    assert [key.alias for key in keys] == [f"virtkey-{guid}-{user}" for user in users]
    assert len({key.alias for key in keys}) == len(users)
    assert {key.guid for key in keys} == {guid}


@given(USERS)
def test_users_get_what_is_asked_and_differ_in_their_name_alone(users: list[str]) -> None:
    asked = {"max_budget": 3, "user_id": "u-{user}@x.org", "metadata": {"n": 1, "of": ["{user}"], "user": "{user}"}}
    for key in desired(*users, guid="abc", users=users, on_create=asked, **asked):
        for settings in (key.settings, key.initial):
            assert settings["max_budget"] == 3
            assert settings["user_id"] == f"u-{key.user}@x.org"
            assert settings["metadata"] == {"n": 1, "of": ["{user}"], "user": key.user}


@given(USERS, st.data())
def test_a_user_who_is_there_twice_is_refused(users: list[str], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(users))
    assert refusal(*users, twice, guid="abc", users=users) == f"users names virtkey-abc-{twice} more than once"


def test_the_environment_can_be_among_its_users() -> None:
    assert [(key.alias, key.user) for key in desired(None, "ann", guid="abc", users_of="abc")] == [
        ("virtkey-abc", None),
        ("virtkey-abc-ann", "ann"),
    ]


def test_what_names_a_user_is_not_for_the_environment_that_might_have_had_users() -> None:
    asked: dict[str, Any] = {"metadata": {"guid": "abc", "user": "{user}", "n": 1}}
    (unsure,) = desired(guid="abc", users_of="abc", on_create=asked, **asked)
    assert unsure.settings["metadata"] == unsure.initial["metadata"] == {"guid": "abc", "n": 1}
    (sure,) = desired(guid="abc", on_create=asked, **asked)
    assert sure.settings["metadata"] == sure.initial["metadata"] == asked["metadata"]


@pytest.mark.parametrize(
    ("users", "arguments", "why"),
    [
        ([""], {"guid": "abc"}, "users has an empty name"),
        ([" ann"], {"guid": "abc", "users": ["x"]}, None),
        (["ann "], {"guid": "abc"}, "users 'virtkey-abc-ann ' begins or ends with a blank"),
        (["a\nb"], {"guid": "abc"}, "users 'virtkey-abc-a\\nb' contains a character that cannot be printed"),
        (["ann"], {"guid": "abc", "key": "sk-0123456789abcdefghij"}, "key is one secret, and users are many"),
        (["ann"], {"key_id": "a" * 64}, "users need guid or key_alias"),
        (["ann"], {"virtual_keys": [{"guid": "a"}], "users": ["ann"]}, "users and virtual_keys both say which keys"),
        ([None], {"virtual_keys": [{"guid": "a"}], "users_of": "a"}, "users_of and virtual_keys both say which keys"),
    ],
)
def test_users_that_cannot_be(users: list[str | None], arguments: dict[str, Any], why: str | None) -> None:
    if why is None:
        assert [key.alias for key in desired(*users, **arguments)] == ["virtkey-abc- ann"]
    else:
        assert refusal(*users, **arguments).startswith(why)


def test_the_alias_that_those_of_users_begin_with() -> None:
    def base(**arguments: Any) -> str:
        return base_alias(coerce_options(OPTIONS, arguments, "litellm_key"))

    assert base(guid="abc") == "virtkey-abc"
    assert base(guid="abc", alias_prefix="lab-") == "lab-abc"
    assert base(key_alias="my-own") == "my-own"
    with pytest.raises(OptionError, match="users need guid or key_alias"):
        base(key_id="a" * 64)


# Settings.


def test_settings_come_before_the_other_options_and_metadata_are_merged() -> None:
    (key,) = desired(
        guid="abc",
        max_budget=1,
        duration="7d",
        metadata={"a": 1, "b": 2},
        shorten=False,
        settings={"max_budget": 2, "expires_at": "2099-01-01T00:00:00Z", "metadata": {"b": 3}, "shorten": True},
    )
    assert key.settings == {"max_budget": 2, "metadata": {"a": 1, "b": 3}}
    assert key.lifetime is not None
    assert (key.lifetime.shorten, str(key.lifetime.end)) == (True, "2099-01-01 00:00:00+00:00")


@given(
    st.sampled_from(["state", "guid", "key_alias", "key_id", "alias_prefix", "users", "virtual_keys", "url", "oops"])
)
def test_settings_cannot_say_which_key_it_is_nor_where(name: str) -> None:
    assert refusal(guid="abc", settings={name: "x"}).startswith(f"settings has '{name}'; it can have ")


def test_settings_that_are_no_dictionary_are_refused_and_not_quoted() -> None:
    assert refusal(guid="abc", settings=["sk-secret"]) == "settings must be a dictionary, but is a value of type list"


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_no_settings_change_nothing(nothing: Any) -> None:
    assert desired(guid="abc", max_budget=1, settings=nothing) == desired(guid="abc", max_budget=1)


# What only a new key gets, and what was saved.


@pytest.mark.parametrize(
    ("initial", "why"),
    [
        ({"guid": "x"}, "on_create: It has no option 'guid'"),
        ({"max_budget": -1}, "on_create: max_budget is -1; it must be 0 or more"),
        ({"rpm_limit": "many"}, "on_create: rpm_limit must be a whole number, but is 'many'"),
    ],
)
def test_what_a_new_key_cannot_get(initial: dict[str, Any], why: str) -> None:
    assert refusal(guid="abc", on_create=initial).startswith(why)


SAVED = SavedKey("virtkey-abc", "sk-0123456789abcdefghij", ["saved"], "saved@x.org")


def test_a_key_that_is_to_come_back_comes_back_as_it_was_saved() -> None:
    initial = {"models": ["asked"], "user_id": "asked@x.org", "max_budget": 1}
    (key,) = with_saved_secrets(desired(guid="abc", on_missing_key="recreate", on_create=initial), [SAVED])
    assert key.initial == {"models": ["saved"], "user_id": "saved@x.org", "max_budget": 1}
    assert key.new_secret is not None
    assert key.new_secret.value == SAVED.secret


@pytest.mark.parametrize("missing", ["create", "ignore"])
def test_a_new_key_gets_what_is_asked_and_another_secret(missing: str) -> None:
    (key,) = with_saved_secrets(desired(guid="abc", on_missing_key=missing, on_create={"models": ["asked"]}), [SAVED])
    assert key.initial == {"models": ["asked"]}
    assert key.new_secret is None
    assert [secret.value for secret in key.known] == [SAVED.secret]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_that_were_saved_each_value_is_taken_where_it_stands(order: int) -> None:
    saved = [SavedKey("virtkey-abc", "sk-bare"), SAVED, SavedKey("virtkey-other", "sk-other", ["other"])][::order]
    (key,) = with_saved_secrets(desired(guid="abc", on_missing_key="recreate"), saved)
    assert key.initial == {"models": ["saved"], "user_id": "saved@x.org"}
    assert {secret.value for secret in key.known} == {"sk-bare", SAVED.secret}
