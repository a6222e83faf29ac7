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
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Kind, Spoil, points, run_cell
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, BadLine, Fault, Trouble

Recorder = Callable[[Operation, bool], list[Asked]]
Table = dict[tuple[str, str], dict[tuple[str, bool], bool]]

SIDE_BY_SIDE = 6  # cells, most of which wait for something
PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"
UNANSWERED = (
    "closed the connection before it answered|Connection reset by peer|did not answer|was not tried|may or may not"
)
SHAPELESS = "something that is not JSON|listed no|may or may not|was not tried"


def on_request(fault: Fault) -> Spoil:
    return lambda point, _number, lasting: Trouble(fault, point, lasting)


def on_connection(refused: float | None = None) -> Spoil:
    return lambda _point, number, lasting: BadLine(number, None if lasting else 1, refused=refused)


KINDS = [
    Kind("refused", on_connection(refused=0.3), "No LiteLLM proxy answers|was not tried|may or may not"),
    Kind("reset before the request", on_connection(), UNANSWERED, heals="always"),
    Kind("answer lost after the commit", on_request(relay.lost), UNANSWERED, heals="always"),
    Kind("time-out after the commit", on_request(relay.silent), UNANSWERED, heals="always"),
    Kind(
        "429 with Retry-After",
        on_request(relay.refusal(429, "slow down", Retry_After="1")),
        "429|was not tried",
        heals="always",
    ),
    Kind(
        "503 with Retry-After",
        on_request(relay.refusal(503, "busy", Retry_After="1")),
        "503|was not tried",
        heals="always",
    ),
    Kind("500", on_request(relay.refusal(500, "Internal Server Error.")), "with 500|may or may not"),
    Kind(
        "502 with HTML", on_request(relay.refusal(502, PAGE, False)), "A gateway .* 502|was not tried", heals="always"
    ),
    Kind("200 with half a JSON", on_request(relay.half), SHAPELESS, heals="later"),
    Kind("200 without JSON", on_request(relay.answered(PAGE.encode())), SHAPELESS, heals="later"),
    Kind("200 with another JSON", on_request(relay.answered(b"[]")), SHAPELESS, heals="command"),
    Kind("200, empty", on_request(relay.answered(b"")), SHAPELESS, heals="later"),
    Kind("50 MB", on_request(relay.flood), "more than 32 MB|was not tried|may or may not", heals="later"),
    Kind("dripping", on_request(relay.drip), UNANSWERED, heals="always"),
]


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
    wrong: str,
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
    cells = points(asked)

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
