# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text table of keys."""

from __future__ import annotations

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import build_report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.table import format_table
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    DAY,
    NOW,
    key,
)


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
    assert format_table([], NOW) == []


def test_table_shortens_lists_of_models_and_escapes_control_characters():
    keys = [key("virtkey-\x1b[2J\u202e", models=["a", "b", "c", "d", "e"], user_id="a\nb")]
    (_headings, line) = format_table(keys, NOW)
    assert r"virtkey-\x1b[2J\u202e" in line
    assert r"a\nb" in line
    assert line.endswith("a, b, c and 2 more")
