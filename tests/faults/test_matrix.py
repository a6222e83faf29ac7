# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the fault matrix on a real proxy: each endpoint, each fault, each operation, with one key and with many keys."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import FaultKind, fault_points, run_cell
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS, on_request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import ConnectionFault, Request

Recorder = Callable[[Operation, bool], list[Request]]
Table = dict[tuple[str, str], dict[tuple[str, bool], bool]]

CONCURRENT_CELLS = 6  # most cells spend their time waiting


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cell(
    proxy: Proxy,
    certificates: Certificates,
    record: Recorder,
    table: Table,
    operation: Operation,
    many: bool,
    kind: FaultKind,
):
    check(proxy, certificates, record, table, operation, many, kind)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_redirect(
    proxy: Proxy, certificates: Certificates, record: Recorder, table: Table, operation: Operation, many: bool
):
    with relay.other_host() as (url, heard):
        kind = FaultKind(
            "redirect", on_request(relay.error_response(307, Location=f"{url}/key/list")), r"redirects .* \(307\)"
        )
        check(proxy, certificates, record, table, operation, many, kind)
    assert heard == []


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_certificate(
    proxy: Proxy,
    certificates: Certificates,
    record: Recorder,
    table: Table,
    operation: Operation,
    many: bool,
):
    def create(_point: Request, number: int, persistent: bool) -> ConnectionFault:
        return ConnectionFault(number, None if persistent else 1, certificates.invalid["untrusted authority"])

    message = "The TLS connection to .* failed|was not attempted|is unknown"
    check(
        proxy, certificates, record, table, operation, many, FaultKind("wrong certificate", create, message, tls=True)
    )


def check(
    proxy: Proxy,
    certificates: Certificates,
    record: Recorder,
    table: Table,
    operation: Operation,
    many: bool,
    kind: FaultKind,
) -> None:
    """Run the cells for all requests of the operation at which the fault is injected."""
    requests = record(operation, many)
    cells = fault_points(operation, requests)

    def violations(cell: tuple[Request, bool]) -> list[str]:
        point, persistent = cell
        return run_cell(proxy, operation, many, kind, requests, point, persistent=persistent, certificates=certificates)

    with ThreadPoolExecutor(CONCURRENT_CELLS) as threads:
        found = list(threads.map(violations, cells))
    column = (operation.name, many)
    for (point, _lasting), some in zip(cells, found, strict=True):
        row = table.setdefault((point.endpoint, kind.name), {})
        row[column] = row.get(column, True) and not some
    red = {
        f"{point}{' and all later ones' if last else ''}": some
        for (point, last), some in zip(cells, found, strict=True)
    }
    assert {where: some for where, some in red.items() if some} == {}
