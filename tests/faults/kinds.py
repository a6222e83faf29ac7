# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of faults in the matrix, and the error messages that they must cause."""

from __future__ import annotations

from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import FaultFactory, FaultKind
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import ConnectionFault, Fault, RequestFault

PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"
NO_RESPONSE = (
    "closed the connection before it responded|Connection reset by peer|did not respond|was not attempted|is unknown"
)
INVALID_RESPONSE = "is not valid JSON|returned no list of|returned no information|is unknown|was not attempted"


def on_request(fault: Fault) -> FaultFactory:
    """Return a factory that injects the fault into a request."""
    return lambda point, _number, persistent: RequestFault(fault, point, persistent)


def on_connection(refuse_seconds: float | None = None) -> FaultFactory:
    """Return a factory that resets or refuses the connection of a request."""
    return lambda _point, number, persistent: ConnectionFault(
        number, None if persistent else 1, refuse_seconds=refuse_seconds
    )


KINDS = [
    FaultKind(
        "connection refused",
        on_connection(refuse_seconds=0.3),
        "No connection to a LiteLLM proxy|was not attempted|is unknown",
    ),
    FaultKind("connection reset", on_connection(), NO_RESPONSE, recovers="always"),
    FaultKind("response lost after commit", on_request(relay.drop_response), NO_RESPONSE, recovers="always"),
    FaultKind("timeout after commit", on_request(relay.never_respond), NO_RESPONSE, recovers="always"),
    FaultKind(
        "429 with Retry-After",
        on_request(relay.error_response(429, "slow down", Retry_After="1")),
        "429|was not attempted",
        recovers="always",
    ),
    FaultKind(
        "503 with Retry-After",
        on_request(relay.error_response(503, "busy", Retry_After="1")),
        "503|was not attempted",
        recovers="always",
    ),
    FaultKind("500", on_request(relay.error_response(500, "Internal Server Error.")), "returned 500|is unknown"),
    FaultKind(
        "502 with HTML",
        on_request(relay.error_response(502, PAGE, False)),
        "A gateway .* 502|was not attempted",
        recovers="always",
    ),
    FaultKind("200 with truncated JSON", on_request(relay.truncate_response), INVALID_RESPONSE, recovers="later"),
    FaultKind(
        "200 without JSON", on_request(relay.replace_response(PAGE.encode())), INVALID_RESPONSE, recovers="later"
    ),
    FaultKind(
        "200 with unexpected JSON",
        on_request(relay.replace_response(b"[]")),
        # LiteLLM also returns an empty list for a missing budget
        f"{INVALID_RESPONSE}|cannot have budget_id .*, which does not exist",
        recovers="write",
    ),
    FaultKind("200 with empty body", on_request(relay.replace_response(b"")), INVALID_RESPONSE, recovers="later"),
    FaultKind(
        "50 MB", on_request(relay.flood_response), "larger than 32 MB|was not attempted|is unknown", recovers="later"
    ),
    FaultKind("slow response", on_request(relay.trickle_response), NO_RESPONSE, recovers="always"),
]
