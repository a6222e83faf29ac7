# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of LiteLLM releases in the documentation contains what the last run of each release found."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies import conftest as plugin
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.release_table import (
    BEGIN,
    END,
    OPERATIONS,
    ReleaseRun,
    update_page,
)

pytest_plugins = ("pytester",)
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


# What a run writes

TESTS = """
import os
import pytest

@pytest.fixture(scope="module")
def proxy(release, release_run):
    assert release != "1.999.0", "no such release"
    release_run.is_started = True

@pytest.fixture
def broken(release):
    assert release != "1.85.0"

@pytest.mark.operation("create")
def test_create(proxy, release):
    if os.environ.get("INTERRUPTED") == release:
        raise KeyboardInterrupt

@pytest.mark.operation("create")
@pytest.mark.parametrize("number", [1, 2])
def test_numbers(proxy, release, number):
    assert release != "1.80.5" or number != 2

@pytest.mark.operation("list")
def test_list(proxy, broken):
    pass
"""


def recorded(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, releases: str, *arguments: str
) -> tuple[dict[str, str], str]:
    """Run the tests, and return the column `create` by release, and the output of pytest."""
    page = pytester.path / "page.rst"
    page.write_text(EMPTY if not page.exists() else page.read_text())
    monkeypatch.setattr(plugin, "PAGE", page)
    pytester.makepyfile(test_releases=TESTS)
    options = ("-p", plugin.__name__, "-p", "no:cacheprovider", "--write-docs", f"--litellm-releases={releases}")
    result = pytester.runpytest_inprocess(*options, *(arguments or ("test_releases.py",)))
    rows = [line[7:] for line in page.read_text().splitlines() if line.startswith("   * - ")]
    cells = page.read_text().split("   * - ")
    created = {row: cells[number].splitlines()[1].strip(" -") for number, row in enumerate(rows, start=1)}
    return created, result.stdout.str()


def test_a_complete_run_is_written(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    created, _output = recorded(pytester, monkeypatch, "1.80.5,1.85.0,1.106.2")
    assert created == {
        "LiteLLM": "create",
        "1.80.5": "1 of 3 failed",
        "1.85.0": "3 passed",
        "1.106.2": "3 passed",
    }


@pytest.mark.parametrize(
    ("releases", "arguments"),
    [
        ("1.106.2", ["test_releases.py::test_create"]),
        ("1.106.2", ["test_releases.py::test_numbers", "test_releases.py::test_create"]),
        ("1.106.2", ["test_releases.py", "-k", "create"]),
        ("1.106.2", ["test_releases.py", "--deselect=test_releases.py::test_list"]),
        ("1.80.5", ["test_releases.py", "-x"]),
        ("1.999.0", ["test_releases.py"]),
    ],
    ids=["one test", "two tests", "-k", "--deselect", "-x", "no such release"],
)
def test_an_incomplete_run_is_not_written(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, releases: str, arguments: list[str]
) -> None:
    recorded(pytester, monkeypatch, "1.106.2")
    before = (pytester.path / "page.rst").read_text()
    created, output = recorded(pytester, monkeypatch, releases, *arguments)
    assert (pytester.path / "page.rst").read_text() == before
    assert created == {"LiteLLM": "create", "1.106.2": "3 passed"}
    reason = "did not start" if releases == "1.999.0" else "of 4 tests"
    assert f"LiteLLM {releases} is not recorded, because" in output
    assert reason in output


def test_an_interrupted_run_writes_the_releases_that_were_complete(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERRUPTED", "1.106.2")
    with pytest.raises(KeyboardInterrupt):
        recorded(pytester, monkeypatch, "1.85.0,1.106.2")
    monkeypatch.setenv("INTERRUPTED", "1.110.2")
    with pytest.raises(KeyboardInterrupt):
        recorded(pytester, monkeypatch, "1.110.2")
    page = (pytester.path / "page.rst").read_text()
    assert [line[7:] for line in page.splitlines() if line.startswith("   * - ")] == ["LiteLLM", "1.85.0"]
