# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Select the LiteLLM releases to test, and print a table of measurements."""

from __future__ import annotations

import os

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.conftest import ansible, guid

__all__ = ["ansible", "guid"]

RELEASES = "1.67.6,1.77.7,1.80.5,1.85.0,1.95.0,1.106.2"
TABLE = pytest.StashKey[list[list[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--litellm-releases",
        default=os.environ.get("LITELLM_RELEASES", RELEASES),
        help=f"comma-separated LiteLLM releases; also set by LITELLM_RELEASES (default: {RELEASES})",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "release" in metafunc.fixturenames:
        releases = [release for release in metafunc.config.getoption("--litellm-releases").split(",") if release]
        metafunc.parametrize("release", releases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> list[list[str]]:
    """Return the rows of a table that is printed at the end; the first cell of each row is its title."""
    return pytestconfig.stash.setdefault(TABLE, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(TABLE, [])
    if rows:
        terminalreporter.section("LiteLLM")
        widths = [max(map(len, column)) for column in zip(*rows, strict=False)]
        for row in rows:
            terminalreporter.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)))
