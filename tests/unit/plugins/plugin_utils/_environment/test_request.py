# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `litellm_environment` become a request, and the desired keys of the environment and of its users."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
    coerce_settings,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.desired import desired_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.members import (
    Member,
    named_members,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import SavedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import (
    ALL_USERS,
    Request,
    parse_extension,
    parse_request,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.users import warnings_about
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 30, 8, tzinfo=timezone(timedelta(0)))
DAY = timedelta(days=1)
SECRET = "sk-0123456789abcdefghij"
SEED = "a seed of more than 32 characters, as required"

# Names as people and platforms choose them.
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters="-._@"), min_size=1, max_size=20)
USERS = st.lists(NAMES, unique=True, min_size=1, max_size=8)


def coerced(arguments: dict[str, Any]) -> dict[str, Any]:
    return coerce_options(ENVIRONMENT_OPTIONS, arguments, "litellm_environment")


def wording(prefix: str = "") -> Wording:
    return Wording({name: f"{prefix}{name}" for name in ENVIRONMENT_OPTIONS})


def parsed(prefix: str = "", **arguments: Any) -> Request:
    options = coerced({"guid": "abc", **arguments})
    request = parse_request(options, coerce_settings(options["settings"]), coerce_key_options({}), wording(prefix))
    assert request is not None
    return request


def desired(*members: Member, saved: tuple[SavedKey, ...] = (), **arguments: Any) -> list[DesiredKey]:
    """Return the desired keys of these members, by default of the named ones."""
    request = parsed(**arguments)
    by_alias: dict[str, list[SavedKey]] = {}
    for key in saved:
        by_alias.setdefault(key.alias, []).append(key)
    return desired_keys(request, members or named_members(request.alias, request.users), by_alias, "sk-master", NOW)


def error_of(*members: Member, **arguments: Any) -> str:
    with pytest.raises(OptionError) as error:
        desired(*members, **arguments)
    return str(error.value)


# Operations


@pytest.mark.parametrize(
    ("operation", "meaning"),
    [
        ("provision", "provision"),
        ("create", "provision"),
        ("stop", "stop"),
        ("start", "start"),
        ("status", "status"),
        ("destroy", "destroy"),
        ("remove", "destroy"),
    ],
)
def test_operations_have_the_names_of_the_platform(operation: str, meaning: str) -> None:
    assert parsed(operation=operation).operation == meaning


@pytest.mark.parametrize("operation", ["update", "Provision", ""])
def test_other_operations_are_not_requests(operation: str) -> None:
    assert parse_request(coerced({"operation": operation, "guid": ""}), {}, coerce_key_options({}), Wording()) is None


@pytest.mark.parametrize("guid", [None, "", "  "])
def test_the_environment_must_be_named(guid: str | None) -> None:
    with pytest.raises(OptionError, match=r"^guid is not set; it must name the lab environment"):
        parsed(guid=guid)


@pytest.mark.parametrize(
    "lifetime",
    [
        {"runtime": 24},
        {"platform_runtime": "24"},
        {"duration": "7d"},
        {"expires_at": "2099-01-01"},
        {"settings": {"runtime": 24}},
        {"settings": {"expires_at": "2099-01-01"}},
    ],
    ids=str,
)
def test_an_extension_needs_a_lifetime(lifetime: dict[str, Any]) -> None:
    assert parsed(operation="extend", **lifetime).operation == "extend"
    empty = {name: "" for name in lifetime if name != "settings"}
    with pytest.raises(
        OptionError,
        match=r"^The new lifetime is not set; set role_extend_by .*role_runtime",
    ):
        parsed(operation="extend", prefix="role_", **empty)


# Users and aliases


@pytest.mark.parametrize(
    ("arguments", "alias"),
    [({}, "virtkey-abc"), ({"guid": 4711}, "virtkey-4711"), ({"key_alias": "my-own"}, "my-own")],
)
def test_the_alias_of_an_environment(arguments: dict[str, Any], alias: str) -> None:
    request = parsed(**arguments)
    assert (request.alias, request.successor_alias) == (alias, f"{alias}.replacement")
    assert [key.alias for key in desired(users=["ann"], **arguments)] == [f"{alias}-ann"]


@pytest.mark.parametrize(
    ("arguments", "users"),
    [
        ({}, ()),
        ({"users": ["ann", "bob"]}, ("ann", "bob")),
        ({"users": ["ann"], "multi_user": True, "user_count": 3}, ("ann",)),
        ({"multi_user": True, "user_count": 3}, ("user1", "user2", "user3")),
        ({"multi_user": True, "user_count": "2", "user_base": "lab"}, ("lab1", "lab2")),
        ({"multi_user": True, "num_users": 2}, ("user1", "user2")),
        ({"multi_user": True, "num_users": 5, "user_count": 1}, ("user1",)),
        # With several users of the platform, each gets a key, unless multi_user is false.
        ({"num_users": 2}, ("user1", "user2")),
        ({"num_users": "2"}, ("user1", "user2")),
        ({"num_users": 1}, ()),
        ({"num_users": ""}, ()),
        ({"num_users": 2, "multi_user": False}, ()),
    ],
    ids=str,
)
def test_the_users_of_an_environment(arguments: dict[str, Any], users: tuple[str, ...]) -> None:
    request = parsed(**arguments)
    assert (request.users, request.is_multi_user) == (users, bool(users))
    assert request.is_selection == ("users" in arguments)


@pytest.mark.parametrize("count", [None, "", 0, "0", -1, "many", 1.5])
def test_an_invalid_number_of_users_is_refused(count: Any) -> None:
    with pytest.raises(OptionError, match=r"^role_user_count is '.*'; with role_multi_user it must be 1 or more$"):
        parsed(prefix="role_", multi_user=True, user_count=count)


@pytest.mark.parametrize(
    ("arguments", "warnings"),
    [
        ({"user_count": 3}, ["user_count is 3, but has no effect without multi_user: true"]),
        ({"user_count": 1}, []),
        (
            {"user_count": 3, "multi_user": False},
            ["user_count is 3, but has no effect without multi_user: true"],
        ),
        ({"num_users": 3, "multi_user": False}, []),  # a variable of the platform
        ({"user_count": 3, "multi_user": True}, []),
        ({"user_count": 3, "num_users": 3}, []),
        ({"user_count": 3, "users": ["ann"]}, []),
    ],
    ids=str,
)
def test_a_number_of_users_without_effect_is_warned_about(arguments: dict[str, Any], warnings: list[str]) -> None:
    assert warnings_about(coerced(arguments), Wording()) == warnings


@pytest.mark.parametrize(
    ("users", "operation", "in_playbook", "warnings"),
    [
        (["3"], "provision", True, ["users names one user, 3; for 3 users, set -e user_count=3 instead"]),
        (["3"], "destroy", True, []),
        (["3"], "provision", False, []),
        (["3", "4"], "provision", True, []),
        (["ann"], "provision", True, []),
    ],
    ids=str,
)
def test_a_number_instead_of_names_is_warned_about(
    users: list[str], operation: str, in_playbook: bool, warnings: list[str]
) -> None:
    options = coerced({"users": users, "operation": operation})
    assert warnings_about(options, Wording(in_playbook=in_playbook)) == warnings


@given(USERS, NAMES)
def test_each_user_has_an_own_alias_in_the_order_of_the_users(users: list[str], guid: str) -> None:
    keys = desired(guid=guid, users=users)
    assert [key.user for key in keys] == users
    assert [key.alias for key in keys] == [f"virtkey-{guid}-{user}" for user in users]
    assert len({key.alias for key in keys}) == len(users)
    assert {key.guid for key in keys} == {guid}


@given(USERS)
def test_the_keys_of_users_differ_only_in_the_name_of_the_user(users: list[str]) -> None:
    metadata = {"n": 1, "of": ["{user}"], "for": "for {user}"}
    for key in desired(users=users, max_budget=3, settings={"user_id": "u-{user}@x.org"}, metadata=metadata):
        assert key.settings == {
            "max_budget": 3,
            "user_id": f"u-{key.user}@x.org",
            "metadata": {"guid": "abc", "user": key.user, "n": 1, "of": ["{user}"], "for": f"for {key.user}"},
        }


@given(USERS, st.data())
def test_a_user_who_is_named_twice_is_refused(users: list[str], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(users))
    assert error_of(users=[*users, twice]) == f"users names virtkey-abc-{twice} more than once"


def test_the_key_of_the_environment_can_be_among_those_of_users() -> None:
    members = Member("virtkey-abc"), Member("virtkey-abc-ann", "ann")
    keys = desired(*members, operation="stop")
    assert [(key.alias, key.user) for key in keys] == [("virtkey-abc", None), ("virtkey-abc-ann", "ann")]


def test_metadata_that_name_a_user_are_left_out_for_a_single_key() -> None:
    (key,) = desired(metadata={"owner": "me", "user": "{user}", "n": 1})
    assert key.settings["metadata"] == {"guid": "abc", "owner": "me", "n": 1}


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (["ann", ""], "users contains an empty name"),
        (["ann", " "], "users contains an empty name"),
        (["ann "], "users 'virtkey-abc-ann ' starts or ends with white space"),
        (["a\nb"], "users 'virtkey-abc-a\\nb' contains a character that is not printable"),
        (["x" * 250], "users 'virtkey-abc-xxx"),
    ],
)
def test_an_invalid_user_is_refused(users: list[str], message: str) -> None:
    assert error_of(users=users).startswith(message)


@pytest.mark.parametrize("user", ["../e", "a/b", "/", ".", ".."])
@pytest.mark.parametrize("place", ["env_file", "profile_file"])
def test_the_name_of_a_user_leads_to_no_other_directory(user: str, place: str) -> None:
    handover: dict[str, Any] = {place: "/home/{user}/llm", "profile_group": "lab"}
    assert error_of(users=["ann", user], **handover) == (
        f"users contains {user!r}, which cannot be part of the path of a file; use a name without /, $ and ~"
    )
    assert desired(users=[user])  # without such a file, any name will do
    assert desired(users=["a.b", "..."], **handover)


def test_the_name_of_a_user_may_start_with_a_space() -> None:
    assert [key.alias for key in desired(users=[" ann"])] == ["virtkey-abc- ann"]


# Provision


def test_a_provisioned_key() -> None:
    (key,) = desired(models=["a", "b"], max_budget=5, user_id="me@x.org", metadata={"owner": "me"}, duration="7d")
    assert key == DesiredKey(
        "virtkey-abc",
        guid="abc",
        owner="abc",
        settings={
            "models": ["a", "b"],
            "max_budget": 5.0,
            "user_id": "me@x.org",
            "metadata": {"guid": "abc", "owner": "me"},
        },
        creation_settings={"metadata": {"models": "a,b", "duration": "7d", "models_count": 2}},
        lifetime=Lifetime(Duration(7, "d"), shorten=False),
        secret_required=True,
    )


def test_a_provisioned_key_of_a_user() -> None:
    _first, key = desired(multi_user=True, user_count=2, user_email_domain="x.org", include_docling=True)
    assert (key.owner, key.user) == ("abc", "user2")
    assert key.settings == {
        "models": ["Docling"],
        "user_id": "user2@x.org",
        "metadata": {"guid": "abc", "user": "user2"},
    }
    assert key.creation_settings["metadata"] == {
        "models": "Docling",
        "duration": "",
        "models_count": 1,
        "user_number": 2,
    }


def test_secrets_are_derived_from_a_seed() -> None:
    assert [key.secret for key in desired(users=["ann"], key_seed=SEED)] == [derive(SEED, "virtkey-abc-ann")]
    assert desired(key_seed="")[0].secret is None


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ({"duration": "30d"}, Duration(30, "d")),
        ({"platform_runtime": "24", "duration": "30d"}, Duration(24, "h")),
        ({"runtime": 48, "platform_runtime": 24}, Duration(48, "h")),
        ({"runtime": "", "platform_runtime": 24}, Duration(24, "h")),
        ({"expires_at": "2026-12-24T08:00:00Z", "runtime": 48}, datetime(2026, 12, 24, 8, tzinfo=NOW.tzinfo)),
        ({"duration": "30d", "settings": {"duration": "1d"}}, Duration(1, "d")),
        ({"runtime": 48, "settings": {"duration": "1d"}}, Duration(1, "d")),
    ],
    ids=str,
)
def test_the_lifetime_of_an_environment(arguments: dict[str, Any], end: Any) -> None:
    assert desired(**arguments)[0].lifetime == Lifetime(end, shorten=False)


# Settings


def test_settings_override_the_other_options_and_metadata_are_merged() -> None:
    (key,) = desired(
        max_budget=1,
        duration="7d",
        metadata={"a": 1, "b": 2},
        settings={"max_budget": 2, "expires_at": "2099-01-01T00:00:00Z", "metadata": {"b": 3}, "shorten": True},
    )
    assert key.settings == {"max_budget": 2, "metadata": {"guid": "abc", "a": 1, "b": 3}}
    assert key.lifetime is not None
    assert (key.lifetime.shorten, str(key.lifetime.end)) == (True, "2099-01-01 00:00:00+00:00")


@pytest.mark.parametrize("arguments", [{"metadata": {"guid": "x"}}, {"settings": {"metadata": {"guid": "x"}}}], ids=str)
def test_metadata_cannot_name_another_guid(arguments: dict[str, Any]) -> None:
    (key,) = desired(**arguments)
    assert key.settings["metadata"] == {"guid": "abc"}


def test_settings_can_clear_other_options() -> None:
    (key,) = desired(models=["a"], duration="7d", settings={"unset": ["models", "expires_at"]})
    assert key.settings["models"] == []
    assert key.lifetime == Lifetime(None)


def test_one_secret_for_several_users_is_refused() -> None:
    message = error_of(users=["ann", "bob"], settings={"key": SECRET})
    assert message.startswith("Several virtual keys have the same secret (key); ")
    assert SECRET not in message
    assert len(desired(users=["ann"], settings={"key": SECRET})) == 1


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_empty_settings_change_nothing(nothing: Any) -> None:
    assert desired(max_budget=1, settings=nothing) == desired(max_budget=1)


@pytest.mark.parametrize("operation", ["stop", "start", "destroy"])
def test_settings_do_not_apply_to_other_operations(operation: str) -> None:
    (key,) = desired(operation=operation, settings={"max_budget": 1, "duration": "7d"}, max_budget=2, duration="8d")
    assert (key.settings.get("max_budget"), key.lifetime) == (None, None)


# Other operations


@pytest.mark.parametrize(("operation", "blocked"), [("stop", True), ("start", False)])
def test_stop_and_start_block_and_unblock_existing_keys(operation: str, blocked: bool) -> None:
    (key,) = desired(operation=operation, models=["a"], max_budget=1)
    assert key == DesiredKey("virtkey-abc", guid="abc", owner="abc", settings={"blocked": blocked}, on_missing="ignore")


def test_a_destroy_deletes_the_key() -> None:
    (key,) = desired(operation="destroy", models=["a"], duration="7d")
    assert key == DesiredKey("virtkey-abc", guid="abc", owner="abc", present=False)
    assert [key.owner for key in desired(operation="destroy", users=["ann"])] == ["abc"]


def test_a_destroy_can_name_the_key_by_its_id() -> None:
    (key,) = desired(operation="destroy", delete_method="by_key_id", key_id="a" * 64)
    assert (key.alias, key.key_id, key.present) == (None, "a" * 64, False)
    with pytest.raises(OptionError, match="key_id must be 64 hexadecimal digits"):
        parsed(operation="destroy", delete_method="by_key_id", key_id="abc")
    assert parsed(operation="provision", delete_method="by_key_id").by_key_id is False


# Saved keys

SETTINGS = {"models": ["saved"], "max_budget": 2.0, "metadata": {"guid": "abc"}}
EXPIRED = SavedKey(
    "virtkey-abc", SECRET, guid="abc", settings=SETTINGS, expires=NOW - DAY, lifetime_start=NOW - 8 * DAY
)


def extended(*saved: SavedKey) -> DesiredKey:
    (key,) = desired(operation="extend", runtime=720, saved=saved, models=["requested"], max_budget=1)
    assert key.lifetime == Lifetime(Duration(720, "h"), shorten=False)
    return key


def test_an_extension_recreates_an_expired_key_as_it_was_saved() -> None:
    key = extended(EXPIRED)
    assert (key.on_missing, key.settings) == ("recreate", {})
    assert (key.creation_settings, key.lifetime_start) == (SETTINGS, NOW - 8 * DAY)
    assert key.new_secret is not None
    assert key.new_secret.value == SECRET


@pytest.mark.parametrize(
    "saved",
    [
        SavedKey("virtkey-abc", SECRET, guid="abc", settings=SETTINGS, expires=NOW + DAY),
        SavedKey("virtkey-abc", SECRET, guid="abc", settings=SETTINGS),
        # Earlier releases saved no settings.
        SavedKey("virtkey-abc", SECRET, guid="abc", expires=NOW - DAY),
        SavedKey("virtkey-abc", SECRET, guid="ab", settings=SETTINGS, expires=NOW - DAY),
    ],
    ids=["not expired", "never expires", "without settings", "of another environment"],
)
def test_an_extension_recreates_no_other_key(saved: SavedKey) -> None:
    key = extended(saved)
    assert (key.on_missing, key.creation_settings, key.new_secret) == ("ignore", {}, None)
    assert [secret.value for secret in key.known_secrets] == [SECRET]


@pytest.mark.parametrize("order", [1, -1])
def test_of_several_saved_secrets_all_are_known(order: int) -> None:
    saved = [SavedKey("virtkey-abc", "sk-another-secret"), EXPIRED, SavedKey("virtkey-other", "sk-other")][::order]
    key = extended(*saved)
    assert (key.on_missing, key.creation_settings) == ("recreate", SETTINGS)
    assert {secret.value for secret in key.known_secrets} == {"sk-another-secret", SECRET}


def test_a_provision_recognizes_a_saved_key_and_gives_a_new_one_another_secret() -> None:
    (key,) = desired(saved=(EXPIRED,), models=["requested"])
    assert key.creation_settings == {"metadata": {"models": "requested", "duration": "", "models_count": 1}}
    assert (key.on_missing, key.new_secret) == ("create", None)
    assert [secret.value for secret in key.known_secrets] == [SECRET]


def test_settings_for_new_keys_are_merged_and_name_the_user():
    settings = {"on_create": {"max_budget": 2, "metadata": {"team": "{user}", "duration": "long"}}}
    member = Member("virtkey-abc-ann", "ann", 1)
    (key,) = desired(member, users=["ann"], models=["a"], duration="7d", settings=settings)
    assert key.creation_settings["max_budget"] == 2
    assert key.creation_settings["metadata"] == {
        "models": "a",
        "duration": "long",
        "models_count": 1,
        "user_number": 1,
        "team": "ann",
    }


def test_a_key_that_expires_now_has_expired() -> None:
    saved = SavedKey("virtkey-abc", SECRET, guid="abc", settings=SETTINGS, expires=NOW)
    assert extended(saved).on_missing == "recreate"


@pytest.mark.parametrize("operation", ["provision", "extend", "rotate"])
def test_a_seed_derives_the_secret_of_a_new_and_of_a_replaced_key(operation: str) -> None:
    (key,) = desired(Member("virtkey-abc"), operation=operation, runtime=24, key_seed=SEED, regenerate="always")
    assert key.secret == derive(SEED, "virtkey-abc")


def test_only_what_was_saved_with_the_guid_proves_whose_key_it_is() -> None:
    own, other, unnamed = (
        SavedKey("virtkey-abc-ann", f"{SECRET}{guid}", guid=guid) for guid in ("abc", "abc-ann", None)
    )
    (key,) = desired(users=["ann"], saved=(own, other, unnamed))
    assert set(key.proven_ids or ()) == {hashlib.sha256(own.secret.encode()).hexdigest()}
    (key,) = desired(saved=(own,))
    assert key.proven_ids is None  # the alias of the environment is proof


def test_only_metadata_and_the_user_id_name_the_user() -> None:
    settings = {"model_aliases": {"a": "{user}"}, "user_id": "{user}!", "metadata": {"b": "{user}"}}
    (single,) = desired(settings=settings)
    assert single.settings["model_aliases"] == {"a": "{user}"}
    assert "b" not in single.settings["metadata"]
    (of_user,) = desired(users=["ann"], settings=settings)
    assert of_user.settings["model_aliases"] == {"a": "{user}"}
    assert (of_user.settings["user_id"], of_user.settings["metadata"]["b"]) == ("ann!", "ann")


@pytest.mark.parametrize(
    "users", [{"users": ["ann"]}, {"multi_user": True, "user_count": 1}, {"num_users": 2}], ids=str
)
def test_a_file_for_several_users_must_name_the_user(users: dict[str, Any]) -> None:
    message = r"^With several users, \{user\} must be part of role_env_file"
    with pytest.raises(OptionError, match=message):
        parsed("role_", env_file="/home/lab/.env", **users)
    assert parsed("role_", env_file="/home/lab/.env").users == ()


def test_an_invalid_alias_is_reported() -> None:
    with pytest.raises(OptionError, match=r"^key_alias ' a' starts or ends with white space"):
        parsed(key_alias=" a")


# Users who are added or removed, and rotations


def test_only_a_provision_adds_and_removes_users() -> None:
    request = parsed(add_users=["ann"], remove_users=["bob"])
    assert (request.added_users, request.removed_users) == (("ann",), ("bob",))
    request = parsed(operation="stop", add_users=["ann"], remove_users=["bob"])
    assert (request.added_users, request.removed_users) == ((), ())


def test_a_rotation_of_all_users_names_no_user() -> None:
    assert parsed(operation="rotate", users=[ALL_USERS]).users == ()
    assert parsed(operation="rotate", users=["ann"]).users == ("ann",)
    assert parsed(operation="stop", users=[ALL_USERS]).users == (ALL_USERS,)


def test_a_file_for_each_user_needs_users_only_in_a_provision() -> None:
    with pytest.raises(OptionError, match=r"^env_file contains \{user\}, but the environment has no users"):
        parsed(env_file="/home/{user}/.env")
    assert parsed(operation="destroy", env_file="/home/{user}/.env").users == ()


def members(**arguments: Any) -> list[tuple[str | None, bool]]:
    """Return the users of the named members, and whether their keys are removed."""
    request = parsed(**arguments)
    assert request.changes_users == ("add_users" in arguments or "remove_users" in arguments)
    assert request.is_multi_user == (request.changes_users or "users" in arguments)
    return [(member.user, member.is_removed) for member in request.named_members]


def test_the_members_of_a_provision_that_changes_users() -> None:
    assert members() == [(None, False)]
    assert members(users=["ann", "bob"]) == [("ann", False), ("bob", False)]
    assert members(add_users=["eve"]) == [("eve", False)]
    assert members(remove_users=["eve"]) == [("eve", True)]
    assert members(users=["ann", "bob"], add_users=["ann", "eve"], remove_users=["joe"]) == [
        ("ann", False),
        ("bob", False),
        ("eve", False),
        ("joe", True),
    ]


@pytest.mark.parametrize("users", [{"add_users": ["ann"]}, {"remove_users": ["ann"]}], ids=str)
def test_an_environment_with_users_that_change_has_several_users(users: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"^With several users, \{user\} must be part of env_file"):
        parsed(env_file="/home/lab/.env", **users)


def test_an_extension_by_a_duration_is_the_only_lifetime() -> None:
    request = parsed(operation="extend", extend_by="7d")
    assert parse_extension(request.options, wording()) == Duration(7, "d")
    assert parse_extension(parsed().options, wording()) is None
    for other, name in (({"runtime": 24}, "runtime"), ({"settings": {"duration": "7d"}}, "duration")):
        with pytest.raises(OptionError, match=f"^role_extend_by and role_{name} cannot both be given$"):
            parsed("role_", operation="extend", extend_by="7d", **other)
    with pytest.raises(OptionError, match=r"^role_extend_by and role_expires_at cannot both be given$"):
        parsed("role_", operation="extend", extend_by="7d", expires_at="2099-01-01", runtime=24, duration="7d")
    with pytest.raises(OptionError, match=r"^role_extend_by: '?7'? has no unit"):
        parsed("role_", operation="extend", extend_by="7")
