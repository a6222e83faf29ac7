# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the fault matrix can fail: without a protection, the cells that it protects must fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import apply, plan, reconcile, references
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.progress import KeyProgress
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.run import take_snapshots
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import Delete, Plan, Rename
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm import client, transport
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.listing import KeyListing
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.pages import Pages
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import FaultKind, run_cell
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS, on_request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import ConnectionFault, Request

Recorder = Callable[[Operation, bool], list[Request]]
Sabotage = Callable[[pytest.MonkeyPatch], None]

GENERATE, UPDATE, DELETE = "POST /key/generate", "POST /key/update", "POST /key/delete"
LIST, INFO, TEAM = "GET /key/list", "GET /key/info", "GET /team/info"


def do_not_retry_reads(patch: pytest.MonkeyPatch) -> None:
    original = Client.__init__

    def __init__(self: Client, connection: Any) -> None:
        original(self, connection)
        self._retry_reads = urllib3.Retry(0, raise_on_status=False)

    patch.setattr(Client, "__init__", __init__)


def let_the_proxy_generate_secrets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "generate", lambda: None)


def treat_transient_errors_as_final(patch: pytest.MonkeyPatch) -> None:
    """Assume that a request without a response was not processed."""

    def observe(self: KeyProgress, snapshot: Any) -> None:
        if self.last_error:
            self.error = str(self.last_error)
        else:
            original(self, snapshot)

    original = KeyProgress.observe
    patch.setattr(KeyProgress, "observe", observe)


def do_not_verify_writes(patch: pytest.MonkeyPatch) -> None:
    """Trust the response to a write without reading the key back."""

    def skip(_run: Any, keys: list[KeyProgress]) -> None:
        for key in keys:
            key.plan = Plan("unchanged", key=key.plan.key)

    patch.setattr(reconcile, "_observe_with_retries", skip)


def verify_only_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "_observe_with_retries", take_snapshots)


def remove_response_limits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transport, "_with_limits", lambda manager: manager)


def follow_redirects(patch: pytest.MonkeyPatch) -> None:
    original = urllib3.PoolManager.request

    def request(self: Any, *arguments: Any, **options: Any) -> Any:
        options.update(redirect=True, retries=urllib3.Retry(2, raise_on_status=False, remove_headers_on_redirect=[]))
        return original(self, *arguments, **options)

    patch.setattr(urllib3.PoolManager, "request", request)


def delete_the_old_key_first(patch: pytest.MonkeyPatch) -> None:
    def delete(_desired: DesiredKey, key: ObservedKey, _now: Any) -> Plan:
        return Plan("regenerated", key=key, step=Delete((key.key_id,)))

    patch.setattr(plan, "_successor_creation", delete)


def do_not_recognize_the_new_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ObservedKey, "replaces", None)


def accept_any_json_as_listing(patch: pytest.MonkeyPatch) -> None:
    def listing(self: Any, query: Any, page: int, _check_size: Any) -> Any:
        response = self._client.get("/key/list", {**query, "page": str(page), "return_full_object": "true"})
        return response if isinstance(response, dict) else {"keys": [], "total_pages": 0, "total_count": 0}

    patch.setattr(Pages, "_listing", listing)


def accept_any_json_as_key(patch: pytest.MonkeyPatch) -> None:
    def with_id(self: Any, key_id: str) -> Any:
        response = self._client.get("/key/info", {"key": key_id})
        return {**response["info"], "token": key_id} if isinstance(response, dict) else None

    patch.setattr(KeyListing, "with_id", with_id)


def treat_errors_as_missing_team(patch: pytest.MonkeyPatch) -> None:
    """Assume that a team does not exist if the request for it fails."""

    def team_exists(client: Client, team_id: str) -> bool:
        try:
            return original(client, team_id)
        except LiteLLMError:
            return False

    original = references.team_exists
    patch.setattr(references, "team_exists", team_exists)


def block_the_old_key_first(patch: pytest.MonkeyPatch) -> None:
    """Block the old key before the new one exists."""

    def update_key(client: Client, step: Any, *, is_repeated: bool = False) -> None:
        original(client, step, is_repeated=is_repeated)
        if isinstance(step, Rename):
            client.post("/key/update", {"key": step.key_id, "blocked": True})

    original = apply.update_key
    patch.setattr(apply, "update_key", update_key)


def include_the_gateway_response(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(client, "error_detail", lambda body: body.decode())


def do_not_retry_deletes(patch: pytest.MonkeyPatch) -> None:
    def delete_batch(client: Client, batch: list[KeyProgress]) -> None:
        original(client, batch)
        for key in batch:
            if key.last_error:
                key.last_error = LiteLLMError(str(key.last_error), transient=False)

    original = apply._delete_batch
    patch.setattr(apply, "_delete_batch", delete_batch)


def hide_errors(patch: pytest.MonkeyPatch) -> None:
    def outcome(self: KeyProgress) -> Any:
        result = original(self)
        result.error = None
        return result

    original = KeyProgress.outcome
    patch.setattr(KeyProgress, "outcome", outcome)


def hide_secrets_of_failed_keys(patch: pytest.MonkeyPatch) -> None:
    def outcome(self: KeyProgress) -> Any:
        result = original(self)
        if result.error:
            result.secret = None
        return result

    original = KeyProgress.outcome
    patch.setattr(KeyProgress, "outcome", outcome)


# The disabled protection, and a cell that must then fail: operation, many, fault, request, persistent.
CELLS: list[tuple[Sabotage, str, bool, str, Request, bool]] = [
    (do_not_retry_reads, "re-run", False, "response lost after commit", Request(LIST, 0), False),
    (do_not_retry_reads, "destroy", True, "503 with Retry-After", Request(LIST, 0), False),
    (let_the_proxy_generate_secrets, "provision", False, "response lost after commit", Request(GENERATE, 0), False),
    (let_the_proxy_generate_secrets, "provision", True, "200 with truncated JSON", Request(GENERATE, 2), False),
    (let_the_proxy_generate_secrets, "regenerate", False, "timeout after commit", Request(GENERATE, 0), False),
    (treat_transient_errors_as_final, "provision", False, "timeout after commit", Request(GENERATE, 0), False),
    (treat_transient_errors_as_final, "extend", True, "200 with empty body", Request(UPDATE, 0), False),
    (treat_transient_errors_as_final, "destroy", False, "200 without JSON", Request(DELETE, 0), False),
    (do_not_verify_writes, "provision", False, "500", Request(GENERATE, 0), False),
    (do_not_verify_writes, "extend", False, "connection reset", Request(UPDATE, 0), False),
    (do_not_verify_writes, "destroy", True, "502 with HTML", Request(DELETE, 0), False),
    (verify_only_once, "extend", True, "200 with truncated JSON", Request(LIST, 1), False),
    (remove_response_limits, "provision", False, "50 MB", Request(GENERATE, 0), False),
    (remove_response_limits, "extend", False, "slow response", Request(UPDATE, 0), False),
    (remove_response_limits, "re-run", True, "slow response", Request(LIST, 0), False),
    (delete_the_old_key_first, "regenerate", False, "500", Request(GENERATE, 0), True),
    (block_the_old_key_first, "regenerate", False, "500", Request(GENERATE, 0), True),
    (hide_secrets_of_failed_keys, "regenerate", False, "500", Request(LIST, 2), True),
    (do_not_recognize_the_new_key, "regenerate", False, "500", Request(DELETE, 0), True),
    (accept_any_json_as_listing, "destroy", False, "200 with unexpected JSON", Request(LIST, 0), True),
    (accept_any_json_as_key, "destroy by id", False, "200 with unexpected JSON", Request(INFO, 0), True),
    (treat_errors_as_missing_team, "in a team", True, "503 with Retry-After", Request(TEAM, 0), True),
    (include_the_gateway_response, "provision", False, "502 with HTML", Request(GENERATE, 0), True),
    (do_not_retry_deletes, "destroy", False, "503 with Retry-After", Request(DELETE, 0), False),
    (hide_errors, "provision", False, "500", Request(GENERATE, 0), False),
    (hide_errors, "destroy", True, "connection refused", Request(DELETE, 0), True),
]  # fmt: skip


@pytest.fixture(scope="module")
def kinds() -> dict[str, FaultKind]:
    return {kind.name: kind for kind in KINDS}


@contextmanager
def sabotaged(sabotage: Sabotage | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if sabotage:
            sabotage(patch)
        yield


@pytest.mark.parametrize(
    ("sabotage", "operation", "many", "fault", "point", "persistent"),
    CELLS,
    ids=[f"{cell[0].__name__}-{cell[1]}-{'many' if cell[2] else 'one'}-{cell[3]}" for cell in CELLS],
)
def test_a_cell_fails_without_its_protection(
    proxy: Proxy, certificates: Certificates, record: Recorder, kinds: dict[str, FaultKind],
    sabotage: Sabotage, operation: str, many: bool, fault: str, point: Request, persistent: bool,
):  # fmt: skip
    requests = record(OPERATIONS[operation], many)
    violations = []
    for protection in (sabotage, None):
        with sabotaged(protection):
            violations.append(
                run_cell(
                    proxy, OPERATIONS[operation], many, kinds[fault], requests, point,
                    persistent=persistent, certificates=certificates,
                )
            )  # fmt: skip
    assert violations[0], "the cell passes without the protection"
    assert violations[1] == []


def test_following_a_redirect_is_detected(proxy: Proxy, certificates: Certificates, record: Recorder):
    with relay.other_host() as (url, received):
        kind = FaultKind("redirect", on_request(relay.error_response(307, Location=f"{url}/key/list")), "")
        with sabotaged(follow_redirects):
            run_cell(
                proxy,
                OPERATIONS["re-run"],
                False,
                kind,
                [Request(LIST, 0)],
                Request(LIST, 0),
                persistent=False,
                certificates=certificates,
            )
    assert any(proxy.master_key.encode() in request for request in received)


@pytest.mark.parametrize("invalid", ["untrusted authority", "wrong host", "expired"])
@pytest.mark.parametrize("validate_certs", [True, False], ids=["validated", "not validated"])
def test_missing_certificate_validation_is_detected(
    proxy: Proxy, certificates: Certificates, invalid: str, validate_certs: bool
):
    messages = {
        "untrusted authority": "unable to get local issuer certificate|self[- ]signed certificate",
        "wrong host": "IP address mismatch|doesn't match|not valid for",
        "expired": "certificate has expired",
    }
    kind = FaultKind(
        invalid,
        lambda _point, _number, _persistent: ConnectionFault(0, 1, certificates.invalid[invalid]),
        messages[invalid],
        tls=True,
    )
    violations = run_cell(
        proxy, OPERATIONS["re-run"], False, kind, [Request(LIST, 0)], Request(LIST, 0),
        persistent=False, certificates=certificates, validate_certs=validate_certs,
    )  # fmt: skip
    expected = [] if validate_certs else ["the client sent the master key over an untrusted connection"]
    assert violations == expected
