# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of LiteLLM releases in the documentation contains what the last run of each release found."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.release_table import (
    BEGIN,
    END,
    OPERATIONS,
    ReleaseRun,
    update_page,
)

PAGE = Path(__file__).parents[2] / "docs" / "docsite" / "rst" / "compatibility.rst"
EMPTY = f"Before\n\n{BEGIN}\n{END}\nAfter\n"


def row(release: str, result: str = "2 passed", date: str = "2026-11-28") -> tuple[str, ...]:
    return (release, *[result] * len(OPERATIONS), "3 passed", "as released", date)


def test_a_cell_contains_how_many_tests_passed_or_failed():
    run = ReleaseRun({"create": [True, True], "again": [True, False], "": [True]}, packages="a 1 instead of 2")
    assert run.cells("1.85.0", "today") == (
        *("1.85.0", "2 passed", "1 of 2 failed", *["not run"] * 5, "1 passed"),
        *("a 1 instead of 2", "today"),
    )


def test_a_remark_replaces_the_number_unless_a_test_failed():
    run = ReleaseRun({"destroy": [True], "replace": [True, False]}, {"destroy": "fails", "replace": "fails"})
    cells = dict(zip(OPERATIONS, run.cells("1.81.16", "today")[1:], strict=False))
    assert (cells["destroy"], cells["replace"]) == ("fails", "1 of 2 failed")


def test_a_run_replaces_its_rows_and_keeps_the_others_in_the_order_of_releases():
    page = update_page(EMPTY, [row("1.106.2"), row("1.85.0")])
    assert page.startswith(f"Before\n\n{BEGIN}")
    assert page.endswith(f"{END}\nAfter\n")
    page = update_page(page, [row("1.9.0"), row("1.85.0", "1 of 2 failed", "2026-12-24")])
    assert [line[7:] for line in page.splitlines() if line.startswith("   * - ")] == [
        *("LiteLLM", "1.9.0", "1.85.0", "1.106.2"),
    ]
    assert page.count("1 of 2 failed") == len(OPERATIONS)
    assert update_page(page, []) == page


@pytest.mark.parametrize("release", ["1.67.6", "1.110.2"])
def test_the_documentation_has_the_table(release: str):
    """`make test-litellm-matrix` has written it."""
    page = PAGE.read_text(encoding="utf-8")
    assert update_page(page, []) == page
    assert f"   * - {release}\n" in page
