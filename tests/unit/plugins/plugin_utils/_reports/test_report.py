# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings, totals and the summary of a report."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import FINDINGS, build_report
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    DAY,
    KEYS,
    NOW,
    key,
)
from hypothesis import given
from hypothesis import strategies as st


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
        (key(hours=-1), ["expired"]),
        (key(hours=None), ["never_expires"]),
        (key(blocked=True), ["blocked"]),
        (key(blocked=True, hours=-1), ["expired", "blocked"]),
        (key(max_budget=10, spend=7.99), []),
        (key(max_budget=10, spend=8), ["near_budget"]),
        (key(max_budget=10, spend=10), ["over_budget"]),
        (key(max_budget=10, spend=None), []),
        (key(max_budget=0, spend=0), ["over_budget"]),
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
        (key("virtkey-abc.replaced"), ["abc"], None),
        (key("virtkeyabc", guid="abc"), ["abc"], None),
        # Guids that consist of digits are numbers in YAML, and in the JSON of the metadata.
        (key("virtkey-12345"), [12345], None),
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


def test_report_without_keys():
    report = build_report([], NOW, soon=DAY)
    assert (report["virtual_keys"], report["guids_without_key"]) == ([], None)
    assert report["summary"] == "There are no virtual keys"


@given(keys=st.lists(KEYS), soon=st.integers(1, 2000))
def test_report_contains_every_key_and_counts_every_finding(keys, soon):
    report = build_report(keys, NOW, soon=parse(soon))
    entries = report["virtual_keys"]
    assert sorted(entry["key_id"] for entry in entries) == sorted(listed["key_id"] for listed in keys)
    for name in FINDINGS:
        assert report["totals"][name] == sum(name in entry["findings"] for entry in entries)
    expiries = [entry["expires"] or "9" for entry in entries]
    assert expiries == sorted(expiries)
