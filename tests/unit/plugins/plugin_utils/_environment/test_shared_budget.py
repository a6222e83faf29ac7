# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of a shared budget, without a proxy."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_keys import with_team
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import (
    ObservedBudget,
    SharedBudget,
    budget_line,
    changes,
    describe_budget,
    difference,
    predicted,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, ObservedKey

TEAM = "virtkey-abc"
DESIRED = SharedBudget(TEAM, "abc", 100.0, "7d")
OBSERVED = ObservedBudget(TEAM, "abc", 100.0, "7d")
JULY = parse_instant("2026-07-01T00:00:00Z")


def row(**fields):
    return {"team_id": TEAM, "metadata": {"guid": "abc"}, "max_budget": 100.0, "budget_duration": "7d", **fields}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"spend": 1.5, "budget_reset_at": "2026-07-01T00:00:00Z"}, {"spent": 1.5, "resets_at": JULY}),
        ({"metadata": {"guid": 7}}, {"guid": "7"}),
        ({"metadata": None}, {"guid": None}),
        ({"metadata": ["guid"]}, {"guid": None}),
        ({"metadata": {}}, {"guid": None}),
        ({"max_budget": None}, {"limit": None}),
        ({"max_budget": "100"}, {"limit": None}),
        ({"max_budget": True}, {"limit": None}),
        ({"max_budget": float("nan")}, {"limit": None}),
        ({"spend": -1.0}, {"spent": 0.0}),
        ({"budget_duration": 7}, {"duration": None}),
        ({"budget_reset_at": "tomorrow"}, {"resets_at": None}),
    ],
)
def test_a_row_is_read_whatever_it_contains(fields, expected):
    budget = ObservedBudget.from_row(row(**fields))
    values = {"guid": "abc", "limit": 100.0, "duration": "7d", "spent": 0.0, "resets_at": None, **expected}
    assert {name: getattr(budget, name) for name in values} == values


@pytest.mark.parametrize(
    ("desired", "observed", "fields"),
    [
        (DESIRED, OBSERVED, None),
        (SharedBudget(TEAM, "abc", 100.0), OBSERVED, None),
        (SharedBudget(TEAM, "abc", 0.1, "7d"), OBSERVED, {"max_budget": 0.1}),
        (SharedBudget(TEAM, "abc", 100.0, "168h"), OBSERVED, {"budget_duration": "168h"}),
        (DESIRED, ObservedBudget(TEAM, "abc"), {"max_budget": 100.0, "budget_duration": "7d"}),
        (
            SharedBudget(TEAM, "abc", 100.0),
            None,
            {
                "max_budget": 100.0,
                "team_alias": TEAM,
                "metadata": {"guid": "abc", "managed_by": "rhpds.litellm_virtual_keys"},
            },
        ),
    ],
)
def test_only_what_differs_is_sent(desired, observed, fields):
    assert changes(desired, observed) == (fields and {"team_id": TEAM, **fields})


def test_a_team_that_names_the_guid_but_not_this_collection_is_refused():
    with pytest.raises(UserError, match="belongs to no environment of this collection"):
        changes(DESIRED, ObservedBudget(TEAM, "abc", 100.0, "7d", is_managed=False))


@pytest.mark.parametrize("guid", [None, "", "abc-1", "ABC", "ab"])
def test_a_team_of_another_environment_or_of_none_is_refused(guid):
    whose = f"environment {guid}" if guid else "no environment"
    with pytest.raises(UserError, match=f"belongs to {whose} according to its metadata"):
        changes(DESIRED, ObservedBudget(TEAM, guid, 100.0, "7d"))


@pytest.mark.parametrize(
    ("limit", "spent", "left", "is_spent"),
    [
        (100.0, 12.34, 87.66, False),
        (0.05, 0.048, 0.002, False),
        (1.0, 1.0, 0.0, True),
        (1.0, 2.5, 0.0, True),
        (0.0, 0.0, 0.0, True),
        (None, 5.0, None, False),
    ],
)
def test_what_is_left(limit, spent, left, is_spent):
    budget = ObservedBudget(TEAM, "abc", limit, spent=spent)
    assert (budget.left, budget.is_spent) == (left, is_spent)
    assert describe_budget(budget)["left"] == left


def test_the_prediction_keeps_what_is_not_changed():
    found = ObservedBudget(TEAM, "abc", 50.0, "7d", 3.0, JULY)
    assert predicted(DESIRED, found) == ObservedBudget(TEAM, "abc", 100.0, "7d", 3.0, JULY)
    assert predicted(SharedBudget(TEAM, "abc", 1.0, "1d"), found) == ObservedBudget(TEAM, "abc", 1.0, "1d", 3.0)
    assert predicted(DESIRED, None) == OBSERVED


def test_spend_is_no_difference():
    assert difference(OBSERVED, ObservedBudget(TEAM, "abc", 100.0, "7d", 3.0, JULY)) is None
    assert difference(None, None) is None
    assert (difference(None, OBSERVED) or {})["after"] == {"team_id": TEAM, "limit": 100.0, "duration": "7d"}
    assert (difference(OBSERVED, None) or {})["after"] == {}


@pytest.mark.parametrize(
    ("budget", "check_mode", "line"),
    [
        (
            ObservedBudget(TEAM, "abc", 100.0, "7d", 3.0, JULY),
            False,
            "Shared budget: 100.00 USD for all keys: 3.00 spent, 97.00 left, reset at 2026-07-01T00:00:00Z",
        ),
        (OBSERVED, True, "Shared budget: 100.00 USD for all keys"),
        (ObservedBudget(TEAM, "abc", None, spent=3.0), False, "Shared budget: no limit, 3.00 spent"),
    ],
)
def test_the_line_of_the_summary(budget, check_mode, line):
    assert budget_line(budget, check_mode=check_mode) == line


def test_a_key_keeps_its_user_when_it_moves_to_the_team():
    found = [
        ObservedKey("1", "virtkey-abc-ann", settings={"user_id": "ann@x", "metadata": {}}),
        ObservedKey("2", "virtkey-abc-bob", settings={"user_id": None, "metadata": {}}),
    ]
    desired = [
        DesiredKey("virtkey-abc-ann"),
        DesiredKey("virtkey-abc-bob", settings={"user_id": "bob@x"}),
        DesiredKey("virtkey-abc-eve", present=False),
    ]
    moved = with_team(desired, found, TEAM)
    assert [dict(one.settings) for one in moved] == [
        {"user_id": "ann@x", "team_id": TEAM},
        {"user_id": "bob@x", "team_id": TEAM},
        {},
    ]
