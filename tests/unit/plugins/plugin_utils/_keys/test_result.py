# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results that users see: plain data, with the secret in one place only."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    describe_key,
    difference,
    failure,
    key_status,
    lifespan,
    not_deleted,
    result_entry,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import given
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import LIFETIME_START

SECRET = given("sk-a-secret-of-somebody")
ALIAS = "virtkey-abc"
START = datetime.fromisoformat("2026-11-23T08:00:00+00:00")
ROW = {
    "token": SECRET.key_id,
    "key_alias": ALIAS,
    "key_name": "sk-...body",
    "created_at": "2026-11-23T08:00:00.5Z",
    "expires": "2026-11-30T08:00:07Z",
    "spend": 0.25,
    "models": ["gpt-4o"],
    "user_id": "user1",
    "team_id": None,
    "max_budget": 5.0,
    "metadata": {"a": 1},
    "blocked": None,
}
KEY = ObservedKey.from_row(ROW)
SHOWN = {
    "key_alias": ALIAS,
    "key_id": SECRET.key_id,
    "key_name": "sk-...body",
    "models": ["gpt-4o"],
    "duration": "7d",
    "expires": "2026-11-30T08:00:07Z",
    "created_at": "2026-11-23T08:00:00Z",
    "blocked": False,
    "user_id": "user1",
    "team_id": None,
    "max_budget": 5.0,
    "spend": 0.25,
    "metadata": {"a": 1},
}
ENTRY = {**SHOWN, "previous": None}


def key_with(**row):
    return ObservedKey.from_row({**ROW, **row})


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        (
            Outcome(DesiredKey(ALIAS, guid="abc"), "created", None, KEY, SECRET),
            {
                "key": SECRET.value,
                "key_source": "given",
                "guid": "abc",
                "operation": "created",
                **ENTRY,
            },
        ),
        (
            Outcome(DesiredKey(ALIAS), "unchanged", KEY, KEY),
            {"key": None, "key_source": None, "guid": None, "operation": "unchanged", **ENTRY},
        ),
        (
            Outcome(DesiredKey(ALIAS, present=False), "deleted", KEY, None),
            {"key": None, "key_source": None, "guid": None, "operation": "deleted", **ENTRY},
        ),
        (
            Outcome(DesiredKey(ALIAS), "created", None, KEY, SECRET, "It went wrong"),
            {
                "key": SECRET.value,
                "key_source": "given",
                "guid": None,
                "operation": "failed",
                "error": "It went wrong",
                **ENTRY,
            },
        ),
    ],
)
def test_an_entry_of_the_result(outcome, shown):
    assert result_entry(outcome) == shown
    assert json.loads(json.dumps(result_entry(outcome))) == shown


def test_the_entry_of_an_absent_key():
    shown = result_entry(Outcome(DesiredKey(ALIAS, guid="abc", present=False), "absent", None, None))
    assert {name for name, value in shown.items() if value} == {"guid", "operation", "key_alias"}
    assert set(shown) == {"key", "key_source", "guid", "operation", *ENTRY}


@pytest.mark.parametrize(
    ("end", "shown"),
    [(Duration(168, "h"), "168h"), (START, "7d"), (None, "7d")],
)
def test_the_duration_is_the_desired_one(end, shown):
    assert result_entry(Outcome(DesiredKey(ALIAS, lifetime=Lifetime(end)), "unchanged", KEY, KEY))["duration"] == shown


def test_the_duration_of_a_key_with_another_lifetime_is_its_own():
    desired = DesiredKey(ALIAS, lifetime=Lifetime(Duration(3, "d"), shorten=False))
    assert result_entry(Outcome(desired, "unchanged", KEY, KEY))["duration"] == "7d"


def test_the_duration_of_a_renewed_key_is_the_desired_one():
    desired = DesiredKey(ALIAS, lifetime=Lifetime(Duration(3, "d")))
    assert result_entry(Outcome(desired, "updated", KEY, KEY, end_set=True))["duration"] == "3d"


@pytest.mark.parametrize(
    ("lifetime", "shown"),
    [
        (timedelta(days=7), "7d"),
        (timedelta(days=7, seconds=29), "7d"),
        (timedelta(days=7, seconds=-29), "7d"),
        (timedelta(days=1, hours=12), "36h"),
        (timedelta(minutes=90), "90m"),
        (timedelta(seconds=20), "0m"),
        (timedelta(days=-1), "0m"),
        (None, None),
    ],
)
def test_the_lifespan_of_a_key(lifetime, shown):
    key = ObservedKey("", ALIAS, created_at=START, expires=None if lifetime is None else START + lifetime)
    assert lifespan(key) == shown


def difference_of(outcome):
    """Return the difference of an outcome that has one."""
    shown = difference(outcome)
    assert shown is not None
    return shown


def test_a_difference_shows_the_key_before_and_after_without_its_secret():
    after = key_with(max_budget=0.0, tpm_limit=0, expires=None)
    shown = difference_of(Outcome(DesiredKey(ALIAS), "updated", KEY, after, SECRET))
    assert shown["before_header"] == shown["after_header"] == f"virtual key {ALIAS}"
    assert {name: shown["before"].get(name) for name in ("max_budget", "tpm_limit", "expires")} == {
        "max_budget": 5.0,
        "tpm_limit": None,
        "expires": "2026-11-30T08:00:07Z",
    }
    assert {name: shown["after"].get(name) for name in ("max_budget", "tpm_limit", "expires")} == {
        "max_budget": 0.0,
        "tpm_limit": 0,
        "expires": None,
    }
    assert SECRET.value not in json.dumps(shown)


def test_an_unchanged_key_has_no_difference():
    assert difference(Outcome(DesiredKey(ALIAS), "unchanged", KEY, KEY)) is None
    assert difference(Outcome(DesiredKey(ALIAS), "absent", None, None)) is None


def test_the_difference_of_a_created_or_deleted_key():
    assert difference_of(Outcome(DesiredKey(ALIAS), "created", None, KEY))["before"] == {}
    assert difference_of(Outcome(DesiredKey(ALIAS), "deleted", KEY, None))["after"] == {}


def test_a_replaced_key_has_a_difference():
    """Only the secret differs."""
    after = key_with(token="0" * 64)
    assert difference(Outcome(DesiredKey(ALIAS), "regenerated", KEY, after, SECRET)) is not None


def failed(alias, error=None):
    return Outcome(DesiredKey(alias), "unchanged", None, None, None, error)


def test_a_failure_names_each_key_and_the_reason():
    assert failure([failed("a"), failed("b")]) is None
    assert failure([failed("a", "It broke")]) == "It broke"
    assert failure([failed("a", "It broke"), failed("b"), failed("c", "It broke"), failed("d", "Odd")]) == (
        "3 of 4 keys failed. a, c: It broke. d: Odd"
    )


def test_keys_that_failed_for_the_same_reason_are_reported_together():
    outcomes = [failed(name, f"Virtual key {name} is too much") for name in ("a", "b")]
    assert failure(outcomes) == "2 of 2 keys failed. a, b: The virtual key is too much"
    assert failure(outcomes[:1]) == "Virtual key a is too much"


def test_names_in_a_failure_and_in_a_difference_are_printable():
    name, shown = "a\x1b[2J\x9b", r"a\x1b[2J\x9b"
    outcomes = [failed(one, f"Virtual key {one} is too much") for one in (name, "b")]
    assert failure(outcomes) == f"2 of 2 keys failed. {shown}, b: The virtual key is too much"
    assert difference_of(Outcome(DesiredKey(name), "deleted", KEY, None))["before_header"] == f"virtual key {shown}"


SINCE_FIRST_KEY = {LIFETIME_START: "2026-11-20T08:00:07Z"}


def test_the_duration_of_a_replacement_counts_from_the_first_key():
    key = key_with(metadata=SINCE_FIRST_KEY)
    assert lifespan(key) == describe_key(key)["duration"] == "10d"
    desired = DesiredKey(ALIAS, lifetime=Lifetime(Duration(240, "h")))
    assert result_entry(Outcome(desired, "unchanged", key, key))["duration"] == "240h"


def test_an_entry_of_one_of_several_users_names_the_user():
    assert result_entry(Outcome(DesiredKey(ALIAS, user="ann"), "unchanged", KEY, KEY))["user"] == "ann"


def test_a_description_contains_no_secret():
    assert SECRET.value not in json.dumps(describe_key(KEY))
    assert describe_key(KEY) == SHOWN


@pytest.mark.parametrize(
    ("row", "status"),
    [
        ({}, "active"),
        ({"expires": None}, "active"),
        ({"expires": "2026-11-23T08:00:00Z"}, "expired"),
        ({"expires": "2026-11-23T08:00:00Z", "blocked": True}, "blocked"),
        ({"expires": "99999-01-01"}, "unknown"),
        ({"expires": "99999-01-01", "blocked": True}, "blocked"),
        ({"blocked": "no"}, "unknown"),
        ({"spend": "much"}, "active"),
    ],
)
def test_the_status_of_a_key(row, status):
    assert key_status(key_with(**row), START) == status


def test_keys_that_were_not_deleted_are_listed():
    outcomes = [failed("a"), Outcome(DesiredKey("b"), "unchanged", KEY, KEY, not_deleted=(SECRET.key_id,))]
    assert not_deleted(outcomes) == [SECRET.key_id]
