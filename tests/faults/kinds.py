# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The faults of the matrix, and what a message has to say of each."""

from __future__ import annotations

from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Kind, Spoil
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import BadLine, Fault, Trouble

PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"
UNANSWERED = (
    "closed the connection before it answered|Connection reset by peer|did not answer|was not tried|may or may not"
)
SHAPELESS = "something that is not JSON|listed no|told nothing of|may or may not|was not tried"


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
    Kind(
        "200 with another JSON",
        on_request(relay.answered(b"[]")),
        f"{SHAPELESS}|to have the budget_id .*, which the proxy does not have",  # so LiteLLM says that there is none
        heals="command",
    ),
    Kind("200, empty", on_request(relay.answered(b"")), SHAPELESS, heals="later"),
    Kind("50 MB", on_request(relay.flood), "more than 32 MB|was not tried|may or may not", heals="later"),
    Kind("dripping", on_request(relay.drip), UNANSWERED, heals="always"),
]
