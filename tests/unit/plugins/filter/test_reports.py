# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters for reports, as functions and in templates. The modules of `_reports` have tests of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from ansible.errors import AnsibleError, AnsibleFilterError, AnsibleUndefinedVariable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.filter.reports import FilterModule

FILTERS = FilterModule().filters()
PREFIX = "rhpds.litellm_virtual_keys."
NOW = "2026-11-30T08:00:00Z"
KEY = {
    "key_alias": "virtkey-user123",
    "key_id": "0" * 64,
    "key_name": "sk-...abcd",
    "guid": "user123",
    "status": "active",
    "models": ["openai/granite-3-2-8b-instruct"],
    "duration": "7d",
    "expires": "2026-11-30T11:00:00Z",
    "created_at": "2026-11-23T11:00:00Z",
    "blocked": False,
    "user_id": "ann@example.com",
    "team_id": None,
    "max_budget": 5.0,
    "spend": 1.25,
    "metadata": {},
}
OLD = {
    **KEY,
    "key_alias": "virtkey-old",
    "key_id": "1" * 64,
    "guid": "old",
    "expires": "2026-11-30T02:00:00Z",
    "status": "expired",
}


def test_keys_table_matches_its_documentation():
    assert FILTERS["keys_table"]([KEY], NOW) == [
        "KEY              STATUS  ENDS        SPENT         USER             MODELS",
        "virtkey-user123  active  in 3 hours  1.25 of 5.00  ann@example.com  openai/granite-3-2-8b-instruct",
    ]
    assert FILTERS["keys_table"]([], NOW) == []


def test_the_table_of_a_report_includes_its_sums():
    report = FILTERS["keys_report"]([KEY, OLD], NOW)
    sums = FILTERS["keys_sums"](report)
    assert sums
    assert FILTERS["keys_table"](report) == [*FILTERS["keys_table"](report["virtual_keys"], NOW), "", *sums]
    assert FILTERS["keys_table"](FILTERS["keys_report"]([KEY], NOW)) == FILTERS["keys_table"](
        FILTERS["keys_report"]([KEY], NOW)["virtual_keys"], NOW
    )
    assert FILTERS["keys_table"](FILTERS["keys_report"]([], NOW)) == ["No keys"]
    with pytest.raises(AnsibleFilterError, match="keys_table requires the result of keys_report"):
        FILTERS["keys_table"]({"virtual_keys": [KEY]})


def test_keys_report_accepts_the_values_of_a_playbook():
    report = FILTERS["keys_report"]([KEY, OLD], NOW, guids="user123", soon="2h", api_endpoint="http://proxy")
    assert [key["findings"] for key in report["virtual_keys"]] == [["expired", "possibly_orphaned"], []]
    assert (report["soon"], report["api_endpoint"]) == ("2h", "http://proxy")
    assert FILTERS["keys_report"]([KEY], NOW)["virtual_keys"][0]["findings"] == ["ends_soon"]
    assert FILTERS["keys_html"](report).startswith("<!DOCTYPE html>")
    assert FILTERS["keys_csv"](report["virtual_keys"]).startswith("key_alias,guid,")
    assert FILTERS["keys_sums"](report)[0] == "ENVIRONMENT  KEYS  SPENT"
    options = {"guid": "user123", "ending_within": "4h", "sort": "spend"}
    assert len(FILTERS["keys_report"]([KEY, OLD], NOW, **options)["virtual_keys"]) == 1
    assert len(FILTERS["keys_report"]([KEY, OLD], NOW, guid="", ending_within="")["virtual_keys"]) == 2
    with pytest.raises(AnsibleFilterError, match="keys_sums requires the result of keys_report"):
        FILTERS["keys_sums"]([])


@pytest.mark.parametrize(
    ("arguments", "aliases"),
    [
        ({}, ["virtkey-old"]),
        ({"expired_for": "", "at_most": "1"}, ["virtkey-old"]),
        ({"expired_for": 0}, ["virtkey-old"]),
        ({"expired_for": "0"}, ["virtkey-old"]),
        ({"expired_for": 5}, ["virtkey-old"]),
        ({"expired_for": "7"}, []),
        ({"among": [KEY]}, []),
        ({"among": [OLD]}, ["virtkey-old"]),
    ],
)
def test_keys_to_sweep_accepts_the_values_of_a_playbook(arguments, aliases):
    plan = FILTERS["keys_to_sweep"]([KEY, OLD], "expired", NOW, **arguments)
    assert [key["key_alias"] for key in plan["virtual_keys"]] == aliases
    assert plan["refusal"] is None


def test_default_time_is_the_current_time():
    in_three_hours = (datetime.now(UTC) + timedelta(hours=3, seconds=20)).isoformat()
    key = {**KEY, "expires": in_three_hours}
    assert "in 3 hours" in FILTERS["keys_table"]([key])[1]
    assert FILTERS["keys_report"]([key])["virtual_keys"][0]["findings"] == ["ends_soon"]
    expired = {**OLD, "expires": "2020-01-01T00:00:00Z"}
    assert FILTERS["keys_to_sweep"]([key, expired], "expired")["removals"] == [{"key_id": "1" * 64}]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FILTERS["keys_table"]("virtkey-a"),
            "keys_table requires the virtual_keys of a litellm_key_info result",
        ),
        (lambda: FILTERS["keys_report"]([{"key": 1}]), "keys_report requires the virtual_keys of a"),
        (lambda: FILTERS["keys_to_sweep"]({}, "expired"), "keys_to_sweep requires the virtual_keys of a"),
        (lambda: FILTERS["keys_to_sweep"]([], "expired", among=[1]), "among requires the virtual_keys of a"),
        (
            lambda: FILTERS["keys_to_sweep"]([], "expired", at_most="many"),
            "at_most must be a whole number, not 'many'",
        ),
        (lambda: FILTERS["keys_to_sweep"]([], "expired", expired_for="long"), "'long' is not a duration"),
        (
            lambda: FILTERS["keys_to_sweep"]([], "old"),
            "Cannot select 'old' keys for deletion; choose expired, orphaned or possibly_orphaned",
        ),
        (lambda: FILTERS["keys_table"]([KEY], "soon"), "'soon' is not an instant"),
        (lambda: FILTERS["keys_report"]([KEY], soon="soon"), "'soon' is not a duration"),
        (lambda: FILTERS["keys_report"]([KEY], guids=[]), "The list of guids is empty"),
        (
            lambda: FILTERS["keys_report"]([KEY], shared_budgets=[{"guid": "abc"}]),
            "shared_budgets must be the shared_budgets of a litellm_key_info result",
        ),
        (lambda: FILTERS["keys_html"]([KEY]), "keys_html requires the result of keys_report"),
    ],
)
def test_invalid_values_raise_a_filter_error(call, message):
    with pytest.raises(AnsibleFilterError) as error:
        call()
    assert message in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("name", FILTERS)
def test_undefined_input_stays_undefined_in_a_template(template, name):
    arguments = "('expired')" if name == "keys_to_sweep" else ""
    assert template(f"{{{{ found | {PREFIX}{name}{arguments} | default('nothing') }}}}") == "nothing"
    with pytest.raises((AnsibleUndefinedVariable, AnsibleError), match="found"):
        template(f"{{{{ found | {PREFIX}{name}{arguments} }}}}")


def test_filters_can_be_chained_in_a_template(template):
    text = f"{{{{ (found | {PREFIX}keys_report(now)).virtual_keys | {PREFIX}keys_table(now) }}}}"
    lines = template(text, found=[KEY, OLD], now=NOW)
    assert lines[0].endswith("FINDINGS")
    assert lines[2].endswith("ends soon")
    page = template(f"{{{{ found | {PREFIX}keys_report(now) | {PREFIX}keys_html }}}}", found=[KEY], now=NOW)
    assert "virtkey-user123" in page
