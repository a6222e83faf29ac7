# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings, totals and the summary of a report."""

from __future__ import annotations

import csv

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import FINDINGS, build_report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.table import format_csv, format_sums
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    DAY,
    KEYS,
    NOW,
    key,
)
from hypothesis import given
from hypothesis import strategies as st

INCREASE = {"temp_budget_increase": 2, "temp_budget_expiry": "2099-01-01T00:00:00"}


def findings(*keys, guids=None, soon=DAY) -> list[list[str]]:
    report = build_report(keys, NOW, guids=parse_guids(guids), soon=soon)
    return [entry["findings"] for entry in report["virtual_keys"]]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (key(), []),
        (key(hours=24.1), []),
        (key(hours=24), ["ends_soon"]),
        (key(hours=0.001), ["ends_soon"]),
        (key(hours=0), ["expired"]),
        # It ends soon on purpose.
        (key(hours=1, is_previous=True), ["previous"]),
        (key(hours=-1, is_previous=True), ["expired", "previous"]),
        (key(hours=1, is_previous=False), ["ends_soon"]),
        (key(hours=-1), ["expired"]),
        (key(hours=None), ["never_expires"]),
        (key(blocked=True), ["blocked"]),
        (key(blocked=True, hours=-1), ["expired", "blocked"]),
        (key(max_budget=10, spend=7.99), []),
        (key(max_budget=10, spend=8), ["near_budget"]),
        (key(max_budget=10, spend=10), ["over_budget"]),
        (key(max_budget=1, spend=None), []),
        (key(max_budget=0, spend=None), ["over_budget"]),
        (key(max_budget=0, spend=0), ["over_budget"]),
        (key(max_budget=10, spend=10, metadata=INCREASE), ["near_budget"]),
        (key(max_budget=None, spend=1e6), []),
    ],
)
def test_findings_of_a_key(listed, expected):
    assert findings(listed) == [expected]


def test_keys_with_the_same_alias_are_duplicates_but_keys_without_an_alias_are_not():
    assert findings(key(), key(hours=101), key("virtkey-b", 102), key(None, 103), key(None, 104)) == [
        ["duplicate"],
        ["duplicate"],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("listed", "guids", "finding"),
    [
        (key("virtkey-abc"), ["abc"], None),
        (key("virtkey-abc"), ["abcd", "ab", "bc"], "possibly_orphaned"),
        # Case, invisible characters and the kind of a dash do not count.
        (key("virtkey-abc"), ["ABC"], None),
        (key("virtkey-AbC", metadata={"guid": "AbC"}), ["abc"], None),
        (key("virtkey-x", metadata={"guid": "\ufeffab\u200bc"}), ["abc"], None),
        (key("virtkey-x", metadata={"guid": "a\N{NON-BREAKING HYPHEN}c"}), ["a-c"], None),
        # The key of a user, with and without the guid of the environment in the metadata.
        (key("virtkey-abc-user1"), ["abc"], None),
        (key("virtkey-abc-user1"), ["abc-user1"], None),
        (key("virtkey-abc-user1", metadata={"guid": "abc"}), ["abc"], None),
        (key("virtkey-gone-user1", metadata={"guid": "gone"}), ["abc"], "orphaned"),
        # A key with an alias in another format, and one that is being replaced.
        (key("lab/of/abc", metadata={"guid": "abc"}), ["abc"], None),
        (key("lab_abc_1", metadata={"guid": "gone"}), ["abc"], None),
        (key("virtkey-abc.replacement"), ["abc"], None),
        (key("virtkeyabc", guid="abc"), ["abc"], None),
        # A guid that consists of digits can be a number in the JSON of the metadata.
        (key("virtkey-12345"), ["12345"], None),
        (key("virtkey-x", metadata={"guid": 12345}), "12345", None),
        # Guids with punctuation.
        (key("virtkey-abc_"), ["abc_"], None),
        (key("virtkey--abc"), ["-abc"], None),
        (key("virtkey-a.c"), ["abc"], "possibly_orphaned"),
        (key("virtkey-abc"), ["a.c"], "possibly_orphaned"),
        # An alias alone does not show that a key was created for an environment.
        (key("virtkey-monitoring"), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata=None), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"guid": None}), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"guid": ""}), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"guid": " \ufeff"}), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"guid": ["gone"]}), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"guid": True}), ["abc"], "possibly_orphaned"),
        (key("virtkey-monitoring", metadata={"GUID": "gone", "lab": {"guid": "gone"}}), ["abc"], "possibly_orphaned"),
        (key("virtkey-12", metadata={"guid": 12}), ["abc"], "orphaned"),
        (key("alice", metadata={"guid": "gone"}), ["abc"], "orphaned"),
        # Keys without a guid are never orphaned.
        (key("alice"), ["abc"], None),
        (key(None), ["abc"], None),
        (key("alice", metadata=None), ["abc"], None),
        (key("alice", metadata={"guid": ["abc"]}), ["abc"], None),
        (key("alice", metadata={"guid": ""}), ["abc"], None),
    ],
)
def test_orphaned_keys(listed, guids, finding):
    assert findings(listed, guids=guids) == [[finding] if finding else []]
    assert findings(listed) == [[]]


def test_report_sorts_keys_by_expiry_and_counts_findings():
    keys = [
        key("virtkey-never", None, spend=0.1),
        key("virtkey-late", 500, spend=0.2, max_budget=0.2),
        key("virtkey-gone", -5),
        key("virtkey-soon", 5, metadata={"guid": "soon"}, blocked=True),
    ]
    guids = parse_guids("soon LATE never Missing")
    report = build_report(keys, NOW, soon=DAY, guids=guids, api_endpoint="http://proxy")
    assert [entry["key_alias"] for entry in report["virtual_keys"]] == [
        "virtkey-gone",
        "virtkey-soon",
        "virtkey-late",
        "virtkey-never",
    ]
    assert report["totals"] == {
        "keys": 4,
        "active": 2,
        "expired": 1,
        "ends_soon": 1,
        "blocked": 1,
        "previous": 0,
        "unknown_models": 0,
        "unreadable": 0,
        "over_budget": 1,
        "near_budget": 0,
        "duplicate": 0,
        "orphaned": 0,
        "possibly_orphaned": 1,
        "never_expires": 1,
        "spend": pytest.approx(0.3),
    }
    assert report["guids_without_key"] == ["Missing"]
    assert (report["now"], report["soon"], report["api_endpoint"]) == ("2026-11-30T08:00:00Z", "24h", "http://proxy")
    assert report["summary"] == (
        "4 virtual keys: 2 active, 1 expired, 1 ending within 1 day, 1 blocked, 1 with the budget spent, "
        "1 possibly orphaned, 1 without expiry; 0.30 spent"
    )


UNREADABLE = "The proxy returned unexpected data for key virtkey-abc: expires: the year 99999 is out of range"


def test_a_key_with_unreadable_data_is_reported_and_does_not_count_as_one_that_never_expires():
    listed = key(hours=None, status="unknown", problem=UNREADABLE, unreadable=["expires"])
    assert findings(listed) == [["unreadable"]]
    assert findings(key(hours=None, problem="...", unreadable=["spend"])) == [["unreadable", "never_expires"]]
    report = build_report([listed], NOW, soon=DAY)
    assert report["summary"] == "1 virtual key: 0 active, 1 with unreadable data; 0.00 spent"
    assert report["virtual_keys"][0]["problem"] == UNREADABLE


@pytest.mark.parametrize(
    ("metadata", "unreadable", "finding"),
    [
        (None, "metadata", []),
        (None, "spend", ["possibly_orphaned"]),
        ({}, "spend", ["possibly_orphaned"]),
        ({"guid": "gone"}, "spend", ["orphaned"]),
    ],
)
def test_a_key_with_unreadable_metadata_is_not_orphaned(metadata, unreadable, finding):
    listed = key(metadata=metadata, problem="...", unreadable=[unreadable])
    assert findings(listed, guids="def") == [["unreadable", *finding]]


def test_report_without_keys():
    report = build_report([], NOW, soon=DAY)
    assert (report["virtual_keys"], report["guids_without_key"]) == ([], None)
    assert report["summary"] == "There are no virtual keys"


def test_the_summary_of_one_key():
    assert build_report([key(spend=1.0)], NOW, soon=DAY)["summary"] == "1 virtual key: 1 active; 1.00 spent"


@given(keys=st.lists(KEYS), soon=st.integers(1, 2000))
def test_report_contains_every_key_and_counts_every_finding(keys, soon):
    report = build_report(keys, NOW, soon=parse(soon))
    entries = report["virtual_keys"]
    assert sorted(entry["key_id"] for entry in entries) == sorted(listed["key_id"] for listed in keys)
    for name in FINDINGS:
        assert report["totals"][name] == sum(name in entry["findings"] for entry in entries)
    expiries = [entry["expires"] or "9" for entry in entries]
    assert expiries == sorted(expiries)


def test_models_that_the_proxy_does_not_serve_are_reported_with_the_closest_ones():
    keys = [key("virtkey-a", models=["granite-3", "gpt-*", "all-team-models"]), key("virtkey-b", models=None)]
    report = build_report(keys, NOW, soon=DAY, models=["granite-4", "gpt-5"])
    entry, other = report["virtual_keys"]
    assert (entry["findings"], entry["unknown_models"]) == (["unknown_models"], {"granite-3": ["granite-4"]})
    assert (other["findings"], other["unknown_models"]) == ([], {})
    assert "1 with unknown models" in report["summary"]
    # Without the models of the proxy, no key is reported.
    report = build_report(keys, NOW, soon=DAY)
    assert (report["totals"]["unknown_models"], report["checks_models"]) == (0, False)


def aliases(*keys, **options) -> list[str]:
    return [entry["key_alias"] for entry in build_report(keys, NOW, soon=DAY, **options)["virtual_keys"]]


@pytest.mark.parametrize(
    ("entry", "is_included"),
    [
        (key("virtkey-abc"), True),
        (key("virtkey-abc-ann"), True),
        (key("virtkey-abcd"), False),
        (key("virtkey-abc-1", metadata={"guid": "abc-1"}), False),
        (key("another", metadata={"guid": "ABC"}), True),
        (key(None), False),
    ],
)
def test_a_report_of_one_environment(entry, is_included):
    report = build_report([entry, key("virtkey-other")], NOW, soon=DAY, guid="abc")
    assert [one["key_id"] for one in report["virtual_keys"]] == [entry["key_id"]] * is_included
    assert report["totals"]["keys"] == is_included


def test_a_report_of_the_keys_that_end_soon():
    keys = [key("a", 24), key("b", 25), key("c", -1), key("d", None), key("e", 1), key("f", 0)]
    assert aliases(*keys, ending_within=DAY) == ["e", "a"]


def test_a_report_of_one_environment_still_finds_duplicates():
    report = build_report([key(), key(hours=101)], NOW, soon=DAY, guid="abc")
    assert [one["findings"] for one in report["virtual_keys"]] == [["duplicate"], ["duplicate"]]


def test_keys_can_be_sorted_by_spend():
    keys = [key("a", 1, spend=1.0), key("b", 2, spend=None), key("c", 3, spend=2.0), key("d", 2, spend=1.0)]
    keys += [key("e", 1, spend=0.0), key("f", 4, spend=0.0)]
    assert aliases(*keys, sort="spend") == ["c", "a", "d", "e", "b", "f"]
    assert aliases(*keys, sort="end") == ["a", "e", "b", "d", "c", "f"]
    with pytest.raises(OptionError, match=r"^Cannot sort keys by 'size'; choose end or spend$"):
        aliases(sort="size")


def test_a_report_sums_up_each_environment_and_each_user():
    keys = [
        key("virtkey-a-1", metadata={"guid": "a"}, spend=0.1, user_id="ann"),
        key("virtkey-a-2", metadata={"guid": "a"}, spend=0.2, user_id="bob"),
        key("virtkey-b", spend=1.0, user_id="ann"),
        key(None, spend=None),
        key(None, user_id="zoe"),
    ]
    report = build_report(keys, NOW, soon=DAY)
    assert report["totals"]["spend"] == pytest.approx(1.3)
    assert report["environments"] == [
        {"guid": "b", "keys": 1, "spend": 1.0},
        {"guid": "a", "keys": 2, "spend": pytest.approx(0.3)},
        {"guid": None, "keys": 2, "spend": 0.0},
    ]
    assert report["users"] == [
        {"user_id": "ann", "keys": 2, "spend": pytest.approx(1.1)},
        {"user_id": "bob", "keys": 1, "spend": 0.2},
        {"user_id": "zoe", "keys": 1, "spend": 0.0},
        {"user_id": None, "keys": 1, "spend": 0.0},
    ]
    assert format_sums(report) == [
        "ENVIRONMENT  KEYS  SPENT",
        "b            1     1.00",
        "a            2     0.30",
        "-            2     0.00",
        "",
        "USER  KEYS  SPENT",
        "ann   2     1.10",
        "bob   1     0.20",
        "zoe   1     0.00",
        "-     1     0.00",
    ]
    assert format_sums(build_report(keys[:1], NOW, soon=DAY)) == []


def test_the_sums_of_many_environments_are_shortened():
    report = build_report([key(f"virtkey-{number}", spend=float(number)) for number in range(25)], NOW, soon=DAY)
    lines = format_sums(report)
    assert len(lines) == 22
    assert lines[-1].split() == ["5", "more", "5", "10.00"]


def test_a_report_as_csv_contains_no_secret_and_no_formula():
    keys = [key("virtkey-a", models=["x", "y"], user_id="=1+1", max_budget=5.0), key("virtkey-b", None)]
    lines = format_csv(build_report(keys, NOW, soon=DAY)["virtual_keys"]).splitlines()
    assert lines[0].split(",")[:6] == ["key_alias", "guid", "user_id", "status", "created_at", "expires"]
    rows = [dict(zip(lines[0].split(","), row, strict=True)) for row in csv.reader(lines[1:])]
    assert [(row["key_alias"], row["user_id"], row["models"], row["max_budget"], row["findings"]) for row in rows] == [
        ("virtkey-a", "'=1+1", "x,y", "5.0", ""),
        ("virtkey-b", "", "granite", "", "never_expires"),
    ]


def budget(guid, spent, limit=100.0, resets_at=None):
    left = None if limit is None else max(0.0, limit - spent)
    return {"guid": guid, "limit": limit, "spent": spent, "left": left, "resets_at": resets_at}


def test_shared_budgets_have_a_table_of_their_own():
    budgets = [budget("abc", 12.34), budget("b\x1b", 120.0, 100.0, "2026-12-01T08:00:00Z"), budget("c", 1.0, None)]
    report = build_report([key("virtkey-abc")], NOW, soon=DAY, shared_budgets=budgets)
    assert format_sums(report) == [
        "SHARED BUDGET  LIMIT   SPENT   LEFT   RESET",
        "abc            100.00  12.34   87.66  never",
        "b\\x1b          100.00  120.00  0.00   in 1 day",
        "c              -       1.00    -      never",
    ]
    assert report["summary"].endswith("; shared budget spent: b\x1b")
    of_one = build_report([], NOW, soon=DAY, guid="ABC", shared_budgets=budgets)
    assert (of_one["shared_budgets"], "shared" in of_one["summary"]) == ([budgets[0]], False)
    assert "SHARED BUDGET" not in "".join(format_sums(build_report([], NOW, soon=DAY)))
