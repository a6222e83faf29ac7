# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test saved keys: found with their secrets, saved with all that recreates them, and removed completely."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.merging import (
    environment_records,
    merge_user_data,
    record_entry,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import (
    SavedKey,
    lost_aliases,
    make_record,
    saved_keys,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.removal import remove_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import load, save
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.outcomes import (
    DICTIONARIES,
    GUID,
    USERS,
    alias_of,
    missing,
    observed,
    outcome,
    secret_of,
    unconfirmed,
    without_secret,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SECRET = "sk-0123456789abcdef"
ALIAS = "virtkey-a"
URL = "https://proxy.example.com"


def secrets(data: Mapping[str, Any], alias: str = ALIAS) -> list[str]:
    return [key.secret for key in saved_keys(data) if key.alias == alias]


def saved_after(
    outcomes: Sequence[Outcome],
    saved: Mapping[str, Any] | None = None,
    *,
    prefix: str = "",
    guid: str = GUID,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the user data after a run, merged as the store and the option `data_prefix` do."""
    present = copy.deepcopy(dict(saved or {}))
    data, users = merge_user_data(present, prefix, guid, outcomes, URL, f"{URL}/v1", extra or {})
    present.update({f"{prefix}{name}": value for name, value in data.items()})
    for user, of_user in users.items():
        section = present.setdefault("users", {}).setdefault(user, {})
        section.update({f"{prefix}{name}": value for name, value in of_user.items()})
    return present


# Finding secrets


@pytest.mark.parametrize(
    "data",
    [
        {"key_alias": ALIAS, "virtual_key": SECRET},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET},
        {"hub_litellm_key_alias": ALIAS, "hub_litellm_virtual_key": SECRET, "litellm_virtual_key": "sk-another"},
        {"litellm_user1_key_alias": ALIAS, "litellm_user1_virtual_key": SECRET},
        {"users": {"user1": {"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET}}},
        {
            "litellm_key_alias": "virtkey-b",
            "litellm_virtual_key": "sk-another",
            "users": {"user1": None, "user2": {"x_key_alias": ALIAS, "x_virtual_key": SECRET}},
        },
        # An empty secret is ignored.
        {"a_key_alias": ALIAS, "a_virtual_key": "", "b_key_alias": ALIAS, "b_virtual_key": SECRET},
        {"a_litellm_key_aliases": ["other", ALIAS], "a_litellm_virtual_keys": ["sk-other", SECRET]},
        {"a_key_alias": ALIAS, "users": {"user1": {"key_alias": ALIAS, "virtual_key": SECRET}}},
        {"litellm_keys": {"other": {"virtual_key": "sk-other"}, ALIAS: {"virtual_key": SECRET}}},
        {"hub_litellm_keys": {ALIAS: {"virtual_key": SECRET}}},
        {"users": {"user1": {"litellm_keys": {ALIAS: {"virtual_key": SECRET}}}}},
        {"litellm_keys": {ALIAS: {"unconfirmed_virtual_key": SECRET}}},
    ],
)
def test_a_secret_is_found_beside_its_alias(data: dict[str, Any]) -> None:
    assert secrets(data) == [SECRET]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"litellm_virtual_key": SECRET},
        {"litellm_key_alias": ALIAS},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": None},
        {"litellm_key_alias": ALIAS, "litellm_virtual_key": ["sk"]},
        {"litellm_key_alias": f"{ALIAS}b", "litellm_virtual_key": SECRET},
        {"a_key_alias": ALIAS, "b_virtual_key": SECRET},
        {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": SECRET},
        {"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [None, SECRET]},
        {1: ALIAS, "users": "text"},
        {"users": [{"key_alias": ALIAS, "virtual_key": SECRET}]},
        {"litellm_keys": {f"{ALIAS}b": {"virtual_key": SECRET}}},
        {"litellm_keys": {ALIAS: {"virtual_key": ""}, 1: {"virtual_key": SECRET}, "b": SECRET}},
        {"litellm_keys": [{"virtual_key": SECRET}]},
    ],
)
def test_the_secret_of_another_key_is_never_found(data: dict[str, Any]) -> None:
    assert secrets(data) == []


def test_every_key_is_found_and_those_at_the_top_first() -> None:
    users = {
        "user1": {"key_alias": "virtkey-b", "virtual_key": "sk-b"},
        "user2": {"key_alias": ALIAS, "virtual_key": "sk-2"},
    }
    data = {"users": users, "key_alias": ALIAS, "virtual_key": "sk-1"}
    assert [(key.alias, key.secret) for key in saved_keys(data)] == [
        (ALIAS, "sk-1"),
        ("virtkey-b", "sk-b"),
        (ALIAS, "sk-2"),
    ]


def test_data_that_contain_themselves_come_to_an_end() -> None:
    data: dict[str, Any] = {"litellm_key_alias": "a", "litellm_virtual_key": "sk-a", "users": {}}
    data["users"]["ann"] = data
    assert {(key.alias, key.secret) for key in saved_keys(data)} == {("a", "sk-a")}


def test_records_come_first() -> None:
    data = {"key_alias": ALIAS, "virtual_key": "sk-2", "litellm_keys": {ALIAS: {"virtual_key": "sk-1"}}}
    assert secrets(data) == ["sk-1", "sk-2"]


# Each example writes to the disk and waits until the data are stored.
@settings(max_examples=25)
@given(DICTIONARIES, st.sampled_from([None, "user1"]))
def test_a_secret_that_was_saved_among_other_data_is_found(
    tmp_path_factory: pytest.TempPathFactory, others: dict[str, Any], user: str | None
) -> None:
    folder: Path = tmp_path_factory.mktemp("output")
    save(folder, "provision", data=others)
    save(folder, "provision", data={"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET}, user=user)
    assert secrets(load(folder)) == [SECRET]


@pytest.mark.parametrize(
    "data",
    [
        {"key_alias": ALIAS, "virtual_key": SECRET, "available_models": ["a"], "user_email": "ann@x.org"},
        {"hub_key_alias": ALIAS, "hub_virtual_key": SECRET, "hub_guid": "a", "hub_settings": {"models": ["a"]}},
        {"guid": "a", "users": {"ann": {"key_alias": ALIAS, "virtual_key": SECRET, "guid": "a"}}},
        {"key_aliases": [ALIAS], "virtual_keys": [SECRET], "user_ids": ["ann@x.org"]},
    ],
)
def test_a_file_of_an_earlier_release_has_neither_environments_nor_settings(data: dict[str, Any]) -> None:
    assert list(saved_keys(data)) == [SavedKey(ALIAS, SECRET)]


def test_a_record_has_all_that_recreates_a_key() -> None:
    record = {
        "virtual_key": SECRET,
        "guid": "a",
        "user": "ann",
        "settings": {"models": ["granite"]},
        "expires": "2026-11-30T08:00:00Z",
        "lifetime_start": "2026-11-23T08:00:00Z",
    }
    assert list(saved_keys({"litellm_keys": {ALIAS: record}})) == [
        SavedKey(
            ALIAS,
            SECRET,
            guid="a",
            user="ann",
            settings={"models": ["granite"]},
            expires=datetime.fromisoformat("2026-11-30T08:00:00+00:00"),
            lifetime_start=datetime.fromisoformat("2026-11-23T08:00:00+00:00"),
        )
    ]


@pytest.mark.parametrize("wrong", [None, 1, ["a"], {"a": 1}, "not an instant"])
def test_invalid_values_of_a_record_are_ignored(wrong: Any) -> None:
    record = {"virtual_key": SECRET, "expires": wrong, "lifetime_start": wrong}
    assert list(saved_keys({"litellm_keys": {ALIAS: record}})) == [SavedKey(ALIAS, SECRET)]
    (found,) = saved_keys({"litellm_keys": {ALIAS: {"virtual_key": SECRET, "settings": wrong}}})
    assert found.settings == (wrong if isinstance(wrong, dict) else None)


def test_a_guid_of_digits_is_text() -> None:
    # YAML reads it as a number.
    (found,) = saved_keys({"litellm_keys": {ALIAS: {"virtual_key": SECRET, "guid": 7, "user": 1}}})
    assert (found.guid, found.user) == ("7", "1")


# Making records


def test_a_record_of_a_key() -> None:
    assert make_record(outcome("ann", max_budget=2.0, rpm_limit=5), GUID, {}) == {
        "guid": "abc",
        "user": "ann",
        "virtual_key": secret_of("ann"),
        "key_id": Secret(secret_of("ann"), "given").key_id,
        "user_id": "ann@x.org",
        "models": ["granite"],
        "duration": "7d",
        "expires": "2026-11-30T08:00:00Z",
        "lifetime_start": "2026-11-23T08:00:00Z",
        "settings": {
            "models": ["granite"],
            "max_budget": 2.0,
            "rpm_limit": 5,
            "user_id": "ann@x.org",
            "metadata": {"guid": "abc", "user": "ann"},
        },
    }


def test_a_record_is_json_and_is_found_again() -> None:
    record = make_record(outcome(), GUID, {}) or {}
    (found,) = saved_keys({"litellm_keys": {alias_of(None): json.loads(json.dumps(record))}})
    assert (found.secret, found.guid, found.user) == (secret_of(None), GUID, None)
    assert found.settings == record["settings"]
    assert found.expires == observed().expires


def test_a_record_has_the_start_of_the_lifetime_of_the_first_key() -> None:
    metadata = {"guid": GUID, "lifetime_start_in_litellm_virtual_keys": "2026-11-20T08:00:00Z"}
    record = make_record(outcome(metadata=metadata), GUID, {})
    assert record is not None
    assert record["lifetime_start"] == "2026-11-20T08:00:00Z"
    assert record["duration"] == "10d"


def test_a_key_without_a_known_secret_has_no_record() -> None:
    assert make_record(without_secret(), GUID, {}) is None
    assert make_record(missing(), GUID, {}) is None


def test_a_saved_secret_is_kept() -> None:
    saved = make_record(outcome(), GUID, {}) or {}
    record = make_record(without_secret(max_budget=3.0), GUID, saved)
    assert record is not None
    assert record["virtual_key"] == secret_of(None)
    assert record["settings"]["max_budget"] == 3.0
    assert make_record(unconfirmed(), GUID, saved) == {**saved, "unconfirmed_virtual_key": secret_of(None)}


def test_the_settings_of_a_key_that_somebody_deleted_are_not_kept() -> None:
    """An extension recreates only a key that has expired, which this one never will."""
    saved = make_record(outcome(), GUID, {}) or {}
    record = make_record(missing(), GUID, saved)
    assert record == {**{name: value for name, value in saved.items() if name != "settings"}, "deleted": True}
    # What earlier releases saved has no settings: it is not known whether the key was deleted.
    assert "deleted" not in (make_record(missing(), GUID, {"virtual_key": secret_of(None)}) or {})


def test_a_saved_secret_is_never_paired_with_another_key() -> None:
    # Somebody else replaced the key: its secret is not known.
    saved = make_record(outcome(), GUID, {}) or {}
    assert make_record(without_secret(version=2), GUID, saved) is None


def test_an_unconfirmed_secret_is_recorded_beside_the_saved_one() -> None:
    assert make_record(unconfirmed("ann"), GUID, {}) == {
        "guid": GUID,
        "user": "ann",
        "unconfirmed_virtual_key": secret_of("ann"),
    }
    saved = make_record(outcome("ann"), GUID, {}) or {}
    record = make_record(unconfirmed("ann", version=2), GUID, saved)
    assert record == {**saved, "unconfirmed_virtual_key": secret_of("ann", 2)}
    assert secrets({"litellm_keys": {ALIAS: record}}) == [secret_of("ann"), secret_of("ann", 2)]


def test_a_confirmed_secret_replaces_the_unconfirmed_one() -> None:
    saved = make_record(unconfirmed("ann"), GUID, {}) or {}
    record = make_record(outcome("ann"), GUID, saved)
    assert record == make_record(outcome("ann"), GUID, {})


# Records of an environment


def test_the_records_of_an_environment_are_those_with_its_guid() -> None:
    own, other = {"guid": "abc", "virtual_key": "sk-1"}, {"guid": "abc-1", "virtual_key": "sk-2"}
    data = {"litellm_keys": {"virtkey-abc-1": other, "virtkey-abc": own, "b": "text", "c": {}}}
    assert environment_records(data, "", "abc") == {"virtkey-abc": own}
    assert environment_records(data, "", "abc-1") == {"virtkey-abc-1": other}
    assert environment_records({"hub_litellm_keys": {"virtkey-7": {"guid": 7}}}, "hub_", "7") == {
        "virtkey-7": {"guid": 7}
    }
    assert environment_records(data, "hub_", "abc") == {}


@pytest.mark.parametrize("records", [None, "text", [], 1])
def test_invalid_records_are_none(records: Any) -> None:
    assert environment_records({"litellm_keys": records}, "", "abc") == {}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["c", "b", "a"], ["c", "b", "a"]),
        (["b", "x", None], ["b", "a", "c"]),
        (None, ["a", "b", "c"]),
        ("cba", ["a", "b", "c"]),
    ],
)
def test_the_records_are_in_the_order_of_the_users(order: Any, expected: list[str]) -> None:
    data = {"litellm_keys": {alias: {"guid": "abc"} for alias in "abc"}, "litellm_key_aliases": order}
    assert list(environment_records(data, "", "abc")) == expected


def test_a_record_as_an_entry_of_a_result() -> None:
    record = make_record(outcome("ann"), GUID, {}) or {}
    assert record_entry("virtkey-abc-ann", record) == {
        "key": secret_of("ann"),
        "key_alias": "virtkey-abc-ann",
        "key_id": record["key_id"],
        "user": "ann",
        "user_id": "ann@x.org",
        "models": ["granite"],
        "duration": "7d",
        "expires": "2026-11-30T08:00:00Z",
    }


# Merging the user data of a run


def test_the_user_data_of_one_key() -> None:
    data, users = merge_user_data({}, "", GUID, [outcome()], URL, f"{URL}/v1", {"litellm_docling_model": "D"})
    assert users == {}
    assert data == {
        "litellm_api_endpoint": URL,
        "litellm_api_base_url": f"{URL}/v1",
        "litellm_docling_model": "D",
        "litellm_virtual_key": secret_of(None),
        "litellm_key_alias": "virtkey-abc",
        "litellm_key_id": Secret(secret_of(None), "given").key_id,
        "litellm_available_models": ["granite"],
        "litellm_available_models_list": "granite",
        "litellm_key_duration": "7d",
        "litellm_keys": {"virtkey-abc": make_record(outcome(), GUID, {})},
    }


@pytest.mark.parametrize("prefix", ["", "hub_"])
def test_working_on_one_of_many_users_keeps_the_others(prefix: str) -> None:
    before = saved_after([outcome(user) for user in ("ann", "bob", "eve")], prefix=prefix)
    after = saved_after([outcome("bob", version=2)], before, prefix=prefix)
    assert after[f"{prefix}litellm_user_count"] == 3
    assert after[f"{prefix}litellm_key_aliases"] == [alias_of(user) for user in ("ann", "bob", "eve")]
    assert after[f"{prefix}litellm_virtual_keys"] == [secret_of("ann"), secret_of("bob", 2), secret_of("eve")]
    assert after[f"{prefix}litellm_virtual_key"] == secret_of("ann")
    assert after[f"{prefix}litellm_bob_virtual_key"] == secret_of("bob", 2)
    for user in ("ann", "eve"):
        assert after["users"][user] == before["users"][user]
        assert after[f"{prefix}litellm_{user}_virtual_key"] == secret_of(user)
    assert after["users"]["bob"][f"{prefix}litellm_virtual_key"] == secret_of("bob", 2)
    assert merge_user_data(before, prefix, GUID, [outcome("bob")], URL, URL, {})[1].keys() == {"bob"}


def test_a_new_user_is_added_to_those_that_were_saved() -> None:
    before = saved_after([outcome("ann"), outcome("bob")])
    after = saved_after([outcome("eve")], before)
    assert after["litellm_user_count"] == 3
    assert after["litellm_key_aliases"] == [alias_of(user) for user in ("ann", "bob", "eve")]
    assert after["litellm_virtual_keys"] == [secret_of(user) for user in ("ann", "bob", "eve")]


def test_users_who_are_no_longer_named_are_still_counted() -> None:
    users = [f"user{number}" for number in range(1, 11)]
    before = saved_after([outcome(user) for user in users])
    after = saved_after([outcome(user) for user in users[:5]], before)
    assert after == before


def test_the_users_of_a_complete_run_are_in_the_order_of_the_run() -> None:
    before = saved_after([outcome("bob"), outcome("ann")])
    after = saved_after([outcome("ann"), outcome("bob")], before)
    assert after["litellm_key_aliases"] == [alias_of("ann"), alias_of("bob")]
    assert after["litellm_virtual_key"] == secret_of("ann")


def test_a_key_that_failed_keeps_what_was_saved() -> None:
    before = saved_after([outcome("ann"), outcome("bob")])
    after = saved_after([outcome("ann"), unconfirmed("bob", version=2)], before)
    assert secrets(after, alias_of("bob"))[:2] == [secret_of("bob"), secret_of("bob", 2)]
    assert after["litellm_virtual_keys"] == [secret_of("ann"), secret_of("bob")]
    assert after["users"] == before["users"]


def test_a_key_that_may_not_exist_is_recorded_but_not_reported() -> None:
    before = saved_after([outcome("ann"), unconfirmed("bob")])
    assert before["litellm_user_count"] == 1
    after = saved_after([outcome("ann")], before)
    assert after == before
    assert secrets(after, alias_of("bob")) == [secret_of("bob")]
    assert "litellm_bob_key_alias" not in after
    assert list(after["users"]) == ["ann"]


def test_only_unconfirmed_secrets_are_saved_as_records() -> None:
    assert merge_user_data({}, "", GUID, [unconfirmed()], URL, URL, {}) == (
        {"litellm_keys": {"virtkey-abc": {"guid": GUID, "user": None, "unconfirmed_virtual_key": secret_of(None)}}},
        {},
    )


def test_nothing_to_save_is_empty() -> None:
    assert merge_user_data({}, "", GUID, [missing()], URL, URL, {}) == ({}, {})


def test_a_saved_secret_of_the_same_key_is_reported() -> None:
    # The run does not know the secret, for example because user data are in another folder than the records.
    before = saved_after([outcome("ann")])
    after = saved_after([without_secret("ann")], before)
    assert after == before


def test_a_saved_secret_of_a_replaced_key_is_never_reported_again() -> None:
    saved = saved_after([outcome("ann"), outcome("bob")])
    outcomes = [outcome("ann"), without_secret("bob", version=2)]
    for _run in range(2):
        data, users = merge_user_data(saved, "", GUID, outcomes, URL, f"{URL}/v1", {})
        assert "litellm_virtual_key" not in users["bob"]
        assert "litellm_bob_virtual_key" not in data
        assert data["litellm_virtual_keys"] == [secret_of("ann"), ""]
        saved = saved_after(outcomes, saved)


def test_lists_stay_in_step_if_a_secret_is_not_known() -> None:
    before = saved_after([outcome("ann"), outcome("bob")])
    after = saved_after([outcome("bob"), outcome("ann"), without_secret("eve")], before)
    pairs = dict(zip(after["litellm_key_aliases"], after["litellm_virtual_keys"], strict=True))
    assert pairs == {alias_of("ann"): secret_of("ann"), alias_of("bob"): secret_of("bob"), alias_of("eve"): ""}


def test_a_key_whose_replacement_failed_is_reported_with_its_own_alias() -> None:
    before = saved_after([outcome("ann"), outcome("bob")])
    one = outcome("ann")
    renamed = observed("ann", key_alias=f"{alias_of('ann')}.replacement")
    failed = Outcome(one.desired, "unchanged", renamed, renamed, one.secret, error="the old key still works")
    assert saved_after([failed], before) == before


def test_the_records_of_other_environments_are_kept() -> None:
    first = saved_after([outcome(guid="abc-1")], guid="abc-1")
    both = saved_after([outcome(), outcome("1")], first)
    assert list(both["litellm_keys"]) == ["virtkey-abc-1", "virtkey-abc"]


def test_environments_with_guids_that_start_alike_share_no_user_data() -> None:
    first = saved_after([outcome("ann", guid="abc-1")], guid="abc-1")
    both = saved_after([outcome("bob")], first)
    assert both["litellm_user_count"] == 1
    assert both["litellm_key_aliases"] == [alias_of("bob")]
    assert {key.alias: key.guid for key in saved_keys({"litellm_keys": both["litellm_keys"]})} == {
        "virtkey-abc-1-ann": "abc-1",
        "virtkey-abc-bob": "abc",
    }


@given(USERS, st.data())
def test_user_data_always_contain_every_user_with_the_own_secret(users: list[str], data: st.DataObject) -> None:
    """Whatever subsets of the users the runs work on, and in whatever order."""
    saved: dict[str, Any] = {}
    versions: dict[str, int] = {}
    subsets = st.lists(st.sampled_from(users), unique=True, min_size=1)
    for run, some in enumerate(data.draw(st.lists(subsets, min_size=1, max_size=4)), start=1):
        versions.update(dict.fromkeys(some, run))
        saved = saved_after([outcome(user, version=run) for user in some], saved)
    own = {alias_of(user): secret_of(user, run) for user, run in versions.items()}
    assert saved["litellm_user_count"] == len(versions)
    assert dict(zip(saved["litellm_key_aliases"], saved["litellm_virtual_keys"], strict=True)) == own
    assert [(key.alias, key.secret) for key in saved_keys(saved)] == [
        (key.alias, own[key.alias]) for key in saved_keys(saved)
    ]
    assert saved["users"].keys() == versions.keys()


# Removing keys

ONE = {"litellm_key_alias": ALIAS, "litellm_virtual_key": SECRET, "litellm_key_id": "1", "litellm_key_duration": "7d"}
BOB = {"litellm_key_alias": "virtkey-b", "litellm_virtual_key": "sk-b"}


@pytest.mark.parametrize(
    ("data", "rest"),
    [
        (ONE, {}),
        ({"a": 1, **ONE, "litellm_api_endpoint": URL}, {"a": 1, "litellm_api_endpoint": URL}),
        ({f"hub_{name}": value for name, value in ONE.items()} | BOB, BOB),
        ({"litellm_available_models": ["a"], "litellm_available_models_list": "a", **ONE}, {}),
        ({"litellm_ann_key_alias": ALIAS, "litellm_ann_virtual_key": SECRET, "litellm_ann_user_email": "a@x"}, {}),
        ({"litellm_keys": {ALIAS: {"virtual_key": SECRET}, "b": {}}}, {"litellm_keys": {"b": {}}}),
        ({"litellm_keys": {ALIAS: {"virtual_key": SECRET}}}, {}),
        ({"hub_litellm_keys": {ALIAS: {"virtual_key": SECRET}}, "a": 1}, {"a": 1}),
        ({"users": {"ann": {**ONE, "litellm_api_endpoint": URL, "litellm_user_email": "a@x"}}}, {}),
        ({"users": {"ann": {**ONE, "password": "p"}}}, {"users": {"ann": {"password": "p"}}}),
        ({"users": {"ann": ONE, "bob": BOB, "eve": None}}, {"users": {"bob": BOB, "eve": None}}),
        (
            {
                "litellm_key_aliases": ["virtkey-b", ALIAS, "virtkey-c"],
                "litellm_virtual_keys": ["sk-b", SECRET, "sk-c"],
                "litellm_key_ids": ["2", "1", "3"],
                "litellm_user_ids": ["b@x", "a@x", "c@x"],
                "litellm_user_count": 3,
            },
            {
                "litellm_key_aliases": ["virtkey-b", "virtkey-c"],
                "litellm_virtual_keys": ["sk-b", "sk-c"],
                "litellm_key_ids": ["2", "3"],
                "litellm_user_ids": ["b@x", "c@x"],
                "litellm_user_count": 2,
            },
        ),
        # A list that is not in step cannot be assigned to users any more.
        (
            {"litellm_key_aliases": [ALIAS, "virtkey-b"], "litellm_virtual_keys": [SECRET], "litellm_user_count": 2},
            {"litellm_key_aliases": ["virtkey-b"], "litellm_user_count": 1},
        ),
        ({"litellm_key_aliases": [ALIAS], "litellm_virtual_keys": [SECRET], "litellm_user_count": 1, "a": 1}, {"a": 1}),
    ],
)
def test_a_key_is_removed_everywhere(data: dict[str, Any], rest: dict[str, Any]) -> None:
    for aliases in ({ALIAS}, [ALIAS], (ALIAS, "virtkey-x")):
        changed = copy.deepcopy(data)
        assert remove_keys(changed, aliases)
        assert changed == rest


@pytest.mark.parametrize(
    "data",
    [
        {},
        BOB,
        {"users": {"bob": BOB, "eve": {}, "ann": None}},
        {"users": {}},
        {"users": ALIAS},
        {"litellm_virtual_key": SECRET, "alias": ALIAS, 1: ALIAS},
        {"litellm_key_alias": [ALIAS], "litellm_key_aliases": ALIAS, "x_key_aliases": [[ALIAS], {"a": 1}]},
        {"litellm_keys": [ALIAS]},
        {"litellm_keys": {"b": {}}},
    ],
)
def test_nothing_is_removed_without_the_key(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    assert not remove_keys(data, {ALIAS})
    assert data == before


# Names that this collection does not use.
FOREIGN = DICTIONARIES.filter(lambda data: not any("litellm" in name or "key_alias" in name for name in data))
SECTIONS = st.dictionaries(
    st.sampled_from(["ann", "bob", "eve"]), FOREIGN.filter(lambda data: len(data) > 0), max_size=3
)


@given(FOREIGN, SECTIONS, USERS, st.sampled_from(["", "hub_"]), st.booleans())
def test_removing_what_was_saved_leaves_what_was_there_before(
    foreign: dict[str, Any], sections: dict[str, Any], users: list[str], prefix: str, single: bool
) -> None:
    before = {**foreign, **({"users": sections} if sections else {})}
    outcomes = [outcome()] if single else [outcome(user) for user in users]
    data = saved_after(outcomes, before, prefix=prefix)
    assert remove_keys(data, {str(one.desired.alias) for one in outcomes})
    assert list(saved_keys(data)) == []
    assert "sk-secret" not in json.dumps(data)
    # The address of the proxy may be in use, and is no secret.
    about_the_proxy = {f"{prefix}litellm_api_endpoint", f"{prefix}litellm_api_base_url"}
    sections_after = {
        user: {name: value for name, value in section.items() if name not in about_the_proxy}
        for user, section in data.pop("users", {}).items()
    }
    for section in sections_after.values():
        section.pop(f"{prefix}litellm_user_email", None)
    assert sections_after == sections
    assert {name: value for name, value in data.items() if name not in about_the_proxy} == foreign


@given(USERS, st.data())
def test_removing_one_user_keeps_the_others(users: list[str], data: st.DataObject) -> None:
    removed = data.draw(st.sampled_from(users))
    saved = saved_after([outcome(user) for user in users])
    assert remove_keys(saved, {alias_of(removed)})
    rest = [user for user in users if user != removed]
    assert f'"{secret_of(removed)}"' not in json.dumps(saved)
    assert saved.get("litellm_user_count", 0) == len(rest)
    assert saved.get("litellm_virtual_keys", []) == [secret_of(user) for user in rest]
    assert list(saved.get("users", {})) == rest
    for user in rest:
        assert secrets(saved, alias_of(user)) == secrets(saved_after([outcome(one) for one in users]), alias_of(user))


# Lost secrets


@pytest.mark.parametrize(
    ("after", "lost"),
    [
        ({}, ["virtkey-a", "virtkey-b"]),
        ({"litellm_key_alias": "virtkey-b", "litellm_virtual_key": "sk-b"}, ["virtkey-a"]),
        ({"users": {"x": {"key_alias": "virtkey-b", "virtual_key": "sk-b"}}}, ["virtkey-a"]),
        ({"litellm_keys": {"virtkey-a": {"virtual_key": "sk-a"}, "virtkey-b": {"virtual_key": "sk-b"}}}, []),
        # Another secret of the same key, which was replaced.
        ({"key_aliases": ["virtkey-a", "virtkey-b"], "virtual_keys": ["sk-c", "sk-d"]}, []),
    ],
)
def test_an_alias_is_lost_if_its_secret_is_saved_nowhere(after: dict[str, Any], lost: list[str]) -> None:
    before = {
        "litellm_key_alias": "virtkey-a",
        "litellm_virtual_key": "sk-a",
        "users": {"ann": {"key_alias": "virtkey-b", "virtual_key": "sk-b"}},
    }
    assert lost_aliases(before, after) == lost
    assert lost_aliases({}, after) == []


def test_two_environments_in_one_file_lose_nothing() -> None:
    first = saved_after([outcome(guid="abc-1")], guid="abc-1")
    assert lost_aliases(first, saved_after([outcome()], first)) == []
