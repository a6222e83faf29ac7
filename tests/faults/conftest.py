# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One proxy for all of these tests, and the table of what held."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.conftest import ansible, guid
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import recorded
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates, make
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import sandbox

__all__ = ["ansible", "guid"]

Table = dict[tuple[str, str], dict[tuple[str, bool], bool]]

TABLE = pytest.StashKey[Table]()
MARKS = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}", None: "\N{MIDDLE DOT}"}


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """The one that the environment names, otherwise a sandbox of our own."""
    if "LITELLM_URL" in os.environ and "LITELLM_MASTER_KEY" in os.environ:
        yield Proxy(os.environ["LITELLM_URL"].rstrip("/"), os.environ["LITELLM_MASTER_KEY"])
        return
    with sandbox("faults") as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def record(proxy: Proxy) -> Callable[[Operation, bool], list[Asked]]:
    """What an operation asks when all goes well."""
    by_name = functools.cache(lambda name, many: recorded(proxy, OPERATIONS[name], many))
    return lambda operation, many: by_name(operation.name, many)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """For each endpoint and fault, the operations that held (one key, or many) and those that did not."""
    return pytestconfig.stash.setdefault(TABLE, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TABLE, {})
    if not found:
        return
    terminalreporter.section("The fault matrix: for each operation with one key, and with many")
    terminalreporter.line(" " * 50 + "  ".join(OPERATIONS))
    for request, rows in itertools.groupby(sorted(found.items()), key=lambda row: row[0][0]):
        terminalreporter.line("")
        for (_request, kind), cells in rows:
            marks = "  ".join(
                " ".join(MARKS[cells.get((name, many))] for many in (False, True)).ljust(len(name))
                for name in OPERATIONS
            )
            terminalreporter.line(f"{request:19} {kind:29} {marks}".rstrip())
