# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the fault tests: one proxy for all of them, and the printed fault matrix."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.conftest import ansible, guid
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import record_requests
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates, make_certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Request
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import sandbox

__all__ = ["ansible", "guid"]

Table = dict[tuple[str, str], dict[tuple[str, bool], bool]]

TABLE = pytest.StashKey[Table]()
SYMBOLS = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}", None: "\N{MIDDLE DOT}"}


@pytest.fixture(scope="session")
def proxy() -> Iterator[Proxy]:
    """Return the proxy that the environment specifies, or start a sandbox."""
    if "LITELLM_URL" in os.environ and "LITELLM_MASTER_KEY" in os.environ:
        yield Proxy(os.environ["LITELLM_URL"].rstrip("/"), os.environ["LITELLM_MASTER_KEY"])
        return
    with sandbox("faults") as started:
        yield started


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def record(proxy: Proxy) -> Callable[[Operation, bool], list[Request]]:
    """Return a function that returns the requests of an operation without faults."""
    by_name = functools.cache(lambda name, many: record_requests(proxy, OPERATIONS[name], many))
    return lambda operation, many: by_name(operation.name, many)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """Return the results: for each endpoint and fault, whether each operation passed with one key and with many."""
    return pytestconfig.stash.setdefault(TABLE, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(TABLE, {})
    if not table:
        return
    terminalreporter.section("Fault matrix: for each operation, the result with one key and with many keys")
    terminalreporter.line(" " * 50 + "  ".join(OPERATIONS))
    for request, rows in itertools.groupby(sorted(table.items()), key=lambda row: row[0][0]):
        terminalreporter.line("")
        for (_request, kind), cells in rows:
            results = "  ".join(
                " ".join(SYMBOLS[cells.get((name, many))] for many in (False, True)).ljust(len(name))
                for name in OPERATIONS
            )
            terminalreporter.line(f"{request:19} {kind:29} {results}".rstrip())
