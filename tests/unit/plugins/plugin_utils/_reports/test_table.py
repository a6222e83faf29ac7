# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text table of keys."""

from __future__ import annotations

import csv
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import build_report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.table import (
    additional_findings,
    format_csv,
    format_sums,
    format_table,
    key_title,
    spend_text,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    DAY,
    NOW,
    key,
)


def test_title_of_a_key_is_its_alias_its_name_or_its_id():
    assert key_title(key()) == "virtkey-abc"
    assert key_title(key(None)) == "sk-...abcd"
    assert key_title(key(None, key_name=None, key_id="0123")) == "0123"


def test_spend_has_two_decimals_and_the_budget():
    assert spend_text(key(spend=None)) == "0.00"
    assert spend_text(key(spend=1.005, max_budget=0)) == "1.00 of 0.00"


def test_findings_that_the_status_shows_are_omitted():
    assert additional_findings(key()) == []
    findings = ["expired", "never_expires", "orphaned", "blocked"]
    assert additional_findings(key(findings=findings, status="expired")) == ["orphaned", "blocked"]


@pytest.mark.parametrize(
    ("models", "shown"),
    [
        (None, "all"),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d"], "a, b, c and 1 more"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_at_most_three_models_are_shown(models: list[str] | None, shown: str):
    (_headings, line) = format_table([key(models=models)], NOW)
    assert line.endswith(f"  {shown}")


def test_the_end_of_a_key_with_an_unreadable_expiry_is_unknown():
    listed = key(hours=None, status="unknown", problem="...", unreadable=["expires"])
    report = build_report([listed], NOW, soon=DAY)
    assert format_table(report["virtual_keys"], NOW)[1].split() == [
        *("virtkey-abc", "unknown", "unknown", "0.00", "-", "granite", "unreadable", "data"),
    ]


def test_table_has_a_findings_column_only_if_there_are_findings():
    keys = [key("virtkey-a", 3, user_id="ann", max_budget=5, spend=1.25), key("virtkey-b", None, models=[])]
    assert format_table(keys, NOW) == [
        "KEY        STATUS  ENDS        SPENT         USER  MODELS",
        "virtkey-a  active  in 3 hours  1.25 of 5.00  ann   granite",
        "virtkey-b  active  never       0.00          -     all",
    ]
    keys = [key("virtkey-b", -30), key("virtkey-c", -30, metadata={"guid": "c"}), key("virtkey-a", 3)]
    report = build_report(keys, NOW, soon=DAY, guids=parse_guids("a"))
    assert format_table(report["virtual_keys"], NOW) == [
        "KEY        STATUS   ENDS               SPENT  USER  MODELS   FINDINGS",
        "virtkey-b  expired  1 day 6 hours ago  0.00   -     granite  possibly orphaned",
        "virtkey-c  expired  1 day 6 hours ago  0.00   -     granite  orphaned",
        "virtkey-a  active   in 3 hours         0.00   -     granite  ends soon",
    ]
    assert format_table(report["virtual_keys"][:1], NOW)[0].endswith("  FINDINGS")
    assert format_table([], NOW) == []


def test_table_shortens_lists_of_models_and_escapes_control_characters():
    keys = [key("virtkey-\x1b[2J\u202e", models=["a", "b", "c", "d", "e"], user_id="a\nb")]
    (_headings, line) = format_table(keys, NOW)
    assert r"virtkey-\x1b[2J\u202e" in line
    assert r"a\nb" in line
    assert line.endswith("a, b, c and 2 more")


def sums(field: str, count: int) -> list[dict[str, Any]]:
    return [{field: f"n{number}" if number else None, "keys": 2, "spend": 0.5} for number in range(count)]


def test_sums_are_shown_for_two_or_more_environments_and_users():
    assert format_sums({"environments": sums("guid", 1), "users": []}) == []
    users = ["USER  KEYS  SPENT", "-     2     0.50", "n1    2     0.50"]
    assert format_sums({"environments": sums("guid", 1), "users": sums("user_id", 2)}) == users
    both = format_sums({"environments": sums("guid", 3), "users": sums("user_id", 2)})
    assert [line.split()[0] for line in both[:4]] == ["ENVIRONMENT", "-", "n1", "n2"]
    assert both[4:] == ["", *users]


def test_at_most_twenty_sums_are_shown():
    lines = format_sums({"environments": sums("guid", 20), "users": []})
    assert (len(lines), lines[-1].split()) == (21, ["n19", "2", "0.50"])
    lines = format_sums({"environments": sums("guid", 22), "users": []})
    assert (len(lines), lines[-2].split()) == (22, ["n19", "2", "0.50"])
    assert lines[-1].split() == ["2", "more", "4", "1.00"]


def test_lists_are_joined_in_csv():
    heading, line = format_csv([key(models=["a", "b"])]).splitlines()
    values = dict(zip(next(csv.reader([heading])), next(csv.reader([line])), strict=True))
    assert (values["key_alias"], values["models"]) == ("virtkey-abc", "a,b")


def test_unknown_models_are_named_with_the_closest_ones():
    models = ["granite-3", "b", "c", "d"]
    report = build_report([key(models=models)], NOW, soon=DAY, models=["granite-4"])
    assert format_table(report["virtual_keys"], NOW)[1].endswith(
        "  unknown model granite-3 (granite-4?), b, c and 1 more"
    )
