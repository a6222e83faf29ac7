# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Select the LiteLLM releases to test, print a table of measurements, and write one of results to the documentation."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.conftest import ansible, guid
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.release_table import ReleaseRun, update_page

__all__ = ["ansible", "guid"]

# For test_releases.py. The deployment of RHDP is based on 1.81.0.
RELEASES = "1.67.6,1.72.0,1.77.7,1.80.5,1.81.0,1.81.16,1.85.0,1.95.0,1.106.2,1.108.7,1.109.3,1.110.2"
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "docsite" / "rst" / "compatibility.rst"
TABLE = pytest.StashKey[list[list[str]]]()
RUNS = pytest.StashKey[dict[str, ReleaseRun]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--litellm-releases",
        default=os.environ.get("LITELLM_RELEASES", ""),
        help="comma-separated LiteLLM releases; also set by LITELLM_RELEASES (default: the default release of the "
        f"sandbox, and for test_releases.py {RELEASES})",
    )
    parser.addoption("--write-docs", action="store_true", help=f"write the results of test_releases.py to {PAGE.name}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "operation(name): the column of the table of releases that the test belongs to")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" in metafunc.fixturenames:
        selected = metafunc.config.getoption("--litellm-releases") or getattr(metafunc.module, "RELEASES", _default())
        releases = [release for release in selected.split(",") if release]
        metafunc.parametrize("release", releases, indirect=True, scope="module")


def _default() -> str:
    """Return the default release of the sandbox."""
    requirements = (ROOT / "tests" / "sandbox" / "requirements.in").read_text(encoding="utf-8")
    found = re.search(r"^litellm\[proxy\]==(\S+)$", requirements, re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def release_run(pytestconfig: pytest.Config, release: str) -> ReleaseRun:
    """Return the record of the tests on this release."""
    return _run_of(pytestconfig, release)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[list[str]]:
    """Return the rows of a table that is printed at the end; the first cell of each row is its title."""
    return pytestconfig.stash.setdefault(TABLE, [])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remember all tests of each release, also those that the arguments do not select."""
    modules = {module for item in items if _release_of(item) and (module := item.getparent(pytest.Module))}
    for item in (one for module in modules for one in module.collect()):
        if isinstance(item, pytest.Item) and (release := _release_of(item)):
            _run_of(item.config, release).tests.add(item.nodeid)


def _release_of(item: pytest.Item) -> str:
    """Return the release that a test of test_releases.py runs on; empty for other tests."""
    tested = getattr(item, "callspec", None)
    is_release_test = tested and "release" in tested.params and item.path.name == "test_releases.py"
    return str(tested.params["release"]) if tested and is_release_test else ""


def _run_of(config: pytest.Config, release: str) -> ReleaseRun:
    return config.stash.setdefault(RUNS, {}).setdefault(release, ReleaseRun())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if release := _release_of(item):
        run = _run_of(item.config, release)
        marker = item.get_closest_marker("operation")
        outcomes = run.outcomes.setdefault(marker.args[0] if marker else "", [])
        if report.when == "call" or report.failed:
            outcomes.append(report.passed)
            run.finished.add(item.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(TABLE, [])
    if rows:
        terminalreporter.section("LiteLLM")
        widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
        for row in rows:
            terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)))
    if config.getoption("--write-docs"):
        for release, run in config.stash.get(RUNS, {}).items():
            if reason := run.incomplete():
                terminalreporter.line(f"LiteLLM {release} is not recorded, because {reason}.")


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not config.getoption("--write-docs"):
        return
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    runs = config.stash.get(RUNS, {}).items()
    rows = [run.cells(release, today) for release, run in runs if not run.incomplete()]
    PAGE.write_text(update_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
