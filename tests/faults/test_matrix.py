# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fault matrix: each endpoint that is used, each fault, each operation, one key and many, on a real proxy."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Kind, points, run_cell
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS, on_request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, BadLine

Recorder = Callable[[Operation, bool], list[Asked]]
Table = dict[tuple[str, str], dict[tuple[str, bool], bool]]

SIDE_BY_SIDE = 6  # cells, most of which wait for something


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
    kind: Kind,
):
    check(proxy, certificates, record, table, operation, many, kind)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_redirect(
    proxy: Proxy, certificates: Certificates, record: Recorder, table: Table, operation: Operation, many: bool
):
    with relay.elsewhere() as (url, heard):
        kind = Kind("redirect", on_request(relay.refusal(307, Location=f"{url}/key/list")), r"a redirect \(307\)")
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
    def spoil(_point: Asked, number: int, lasting: bool) -> BadLine:
        return BadLine(number, None if lasting else 1, certificates.wrong["another authority's"])

    says = "The TLS connection to .* failed|was not tried|may or may not"
    check(proxy, certificates, record, table, operation, many, Kind("wrong certificate", spoil, says, tls=True))


def check(
    proxy: Proxy,
    certificates: Certificates,
    record: Recorder,
    table: Table,
    operation: Operation,
    many: bool,
    kind: Kind,
) -> None:
    """All places where the operation can meet the fault."""
    asked = record(operation, many)
    cells = points(operation, asked)

    def complaints(cell: tuple[Asked, bool]) -> list[str]:
        point, lasting = cell
        return run_cell(proxy, operation, many, kind, asked, point, lasting=lasting, certificates=certificates)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        found = list(threads.map(complaints, cells))
    column = (operation.name, many)
    for (point, _lasting), some in zip(cells, found, strict=True):
        row = table.setdefault((point.request, kind.name), {})
        row[column] = row.get(column, True) and not some
    red = {
        f"{point}{' and all after it' if last else ''}": some for (point, last), some in zip(cells, found, strict=True)
    }
    assert {where: some for where, some in red.items() if some} == {}
