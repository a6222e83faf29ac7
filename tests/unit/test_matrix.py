# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of tested ansible-core releases shows what was run, and keeps the results of other runs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests import matrix

PAGE = f"Before\n\n{matrix.BEGIN}{matrix.END}\nAfter\n"
RELEASES = {
    "unit-2.9-py3.11": ("2.9.1", "3.11"),
    "end_to_end-2.9": ("2.9.1", "3.11"),
    "sanity-2.10": ("2.10.0rc1", "3.12"),
}


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "installed", RELEASES.get)


def ran(result: str, *names: str) -> list[dict[str, Any]]:
    return [{"name": name, "result": result} for name in names]


def recorded(page: str, sessions: list[dict[str, Any]], day: str, *, quick: bool = False) -> str:
    return matrix.write(page, matrix.merge(matrix.read(page), matrix.results_of(sessions, day, quick=quick)))


def test_a_run_is_recorded_in_the_order_of_releases() -> None:
    sessions = [*ran("success", "sanity-2.10", "unit-2.9-py3.11", "lint"), *ran("failed", "end_to_end-2.9")]
    page = recorded(PAGE, [*sessions, *ran("skipped", "unit-2.10-py3.14")], "2026-01-31")
    assert page.startswith("Before\n\n")
    assert page.endswith("\nAfter\n")
    old = {"ansible-core": "2.9.1", "Python": "3.11", "units": "passed 2026-01-31", "end to end": "failed 2026-01-31"}
    assert list(matrix.read(page).items()) == [
        (("2.9", "3.11"), old),
        (("2.10", "3.12"), {"ansible-core": "2.10.0rc1", "Python": "3.12", "sanity": "passed 2026-01-31"}),
        (("2.10", "3.14"), {"ansible-core": "2.10", "Python": "3.14", "units": "not run"}),
    ]


def test_a_run_replaces_only_its_own_results() -> None:
    page = recorded(PAGE, ran("success", "unit-2.9-py3.11", "sanity-2.10"), "2026-01-31")
    page = recorded(
        page, [*ran("success", "end_to_end-2.9"), *ran("skipped", "unit-2.9-py3.11")], "2026-02-28", quick=True
    )
    page = recorded(page, ran("failed", "sanity-2.10"), "2026-02-28")
    results = matrix.read(page)
    assert results["2.9", "3.11"]["units"] == "passed 2026-01-31"
    assert results["2.9", "3.11"]["end to end"] == "passed 2026-02-28 (selection)"
    assert results["2.10", "3.12"]["sanity"] == "failed 2026-02-28"
    assert recorded(page, [], "2026-03-31") == page


def test_results_with_an_earlier_release_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_with(page: str, release: str, day: str, *names: str) -> str:
        monkeypatch.setattr(matrix, "installed", lambda _name: (release, "3.12"))
        return recorded(page, ran("success", *names), day, quick=True)

    page = run_with(PAGE, "2.10.0rc1", "2026-01-31", "sanity-2.10", "unit-2.10", "end_to_end-2.10")
    page = run_with(page, "2.10.0", "2026-02-28", "sanity-2.10")
    page = run_with(page, "2.10.1", "2026-03-31", "unit-2.10")
    assert matrix.read(page)["2.10", "3.12"] == {
        "ansible-core": "2.10.1",
        "Python": "3.12",
        "sanity": "passed 2026-02-28 with 2.10.0",
        "units": "passed 2026-03-31",
        "end to end": "passed 2026-01-31 (selection) with 2.10.0rc1",
    }


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ("aborted", "unit-2.9-py3.11"),  # interrupted, or without the proxy that it requires
        ("failed", "unit-2.9-py3.12"),  # before ansible-core was installed
    ],
)
def test_a_session_that_did_not_run_to_its_end_is_not_recorded(result: str, name: str) -> None:
    page = recorded(PAGE, ran("success", "unit-2.9-py3.11"), "2026-01-31")
    assert recorded(page, ran(result, name), "2026-02-28") == page


def test_arguments_that_select_tests_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k something")
    monkeypatch.setattr("sys.argv", ["matrix.py", "2.9"])
    assert matrix.main() == 2
    assert "PYTEST_ADDOPTS" in capsys.readouterr().err


def test_the_page_of_the_documentation_can_be_updated() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert page.count(matrix.BEGIN) == page.count(matrix.END) == 1
    assert recorded(page, [], "2026-01-31") == page
