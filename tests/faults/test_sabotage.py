# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cells can fail: each protection is taken away, and the cells that it holds turn red."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils import (
    _apply,
    _client,
    _observe,
    _plan,
    _reconcile,
    _references,
    _run,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import Delete, Plan, Rename
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Run
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Kind, run_cell
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS, on_request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, BadLine

Recorder = Callable[[Operation, bool], list[Asked]]
Sabotage = Callable[[pytest.MonkeyPatch], None]

GENERATE, UPDATE, DELETE = "POST /key/generate", "POST /key/update", "POST /key/delete"
LIST, INFO, TEAM = "GET /key/list", "GET /key/info", "GET /team/info"


def repeat_no_question(patch: pytest.MonkeyPatch) -> None:
    honest = Client.__init__

    def begin(self: Client, connection: Any) -> None:
        honest(self, connection)
        self._repeatable = urllib3.Retry(0, raise_on_status=False)

    patch.setattr(Client, "__init__", begin)


def let_the_proxy_choose_secrets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_reconcile, "generate", lambda: None)


def take_trouble_for_the_end(patch: pytest.MonkeyPatch) -> None:
    """As who believes that what was not answered was not done."""

    def decide(self: Run, seen: Any) -> None:
        if self.trouble:
            self.error = str(self.trouble)
        else:
            honest(self, seen)

    honest = Run.decide
    patch.setattr(Run, "decide", decide)


def do_not_look_again(patch: pytest.MonkeyPatch) -> None:
    """As who believes the proxy's answer to a command."""

    def believe(_client: Any, _observer: Any, runs: list[Run]) -> None:
        for run in runs:
            run.plan = Plan("unchanged", key=run.plan.key)

    patch.setattr(_reconcile, "_look_patiently", believe)


def look_only_once_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_reconcile, "_look_patiently", _reconcile._look)


def read_without_bounds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_client, "_bounded", lambda manager: manager)


def follow_redirects(patch: pytest.MonkeyPatch) -> None:
    honest = urllib3.PoolManager.request

    def request(self: Any, *arguments: Any, **options: Any) -> Any:
        options.update(redirect=True, retries=urllib3.Retry(2, raise_on_status=False, remove_headers_on_redirect=[]))
        return honest(self, *arguments, **options)

    patch.setattr(urllib3.PoolManager, "request", request)


def replace_without_keeping_the_old_key(patch: pytest.MonkeyPatch) -> None:
    def renewal(_wanted: Wanted, key: Observed, _now: Any) -> Plan:
        return Plan("regenerated", key=key, step=Delete((key.key_id,)))

    patch.setattr(_plan, "_renewal", renewal)


def forget_the_old_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Observed, "takes_leave_of", lambda self, alias: False)


def take_any_json_for_a_listing(patch: pytest.MonkeyPatch) -> None:
    def page(self: Any, query: Any, number: int) -> Any:
        answer = self._client.get("/key/list", {**query, "page": str(number), "return_full_object": "true"})
        return answer if isinstance(answer, dict) else {"keys": []}

    patch.setattr(_observe.Observer, "_page", page)


def take_any_json_for_a_key(patch: pytest.MonkeyPatch) -> None:
    def info(self: Any, key_id: str) -> Any:
        answer = self._client.get("/key/info", {"key": key_id})
        return {**answer["info"], "token": key_id} if isinstance(answer, dict) else None

    patch.setattr(_observe.Observer, "_info", info)


def take_trouble_for_a_no(patch: pytest.MonkeyPatch) -> None:
    """As who believes that what was not answered is not there."""

    def team_exists(client: Client, team_id: str) -> bool:
        try:
            return honest(client, team_id)
        except LiteLLMError:
            return False

    honest = _references.team_exists
    patch.setattr(_references, "team_exists", team_exists)


def block_the_old_key(patch: pytest.MonkeyPatch) -> None:
    """As who takes the old key out of use before the new one is there."""

    def rewrite(client: Client, step: Any, *, again: bool = False) -> None:
        honest(client, step, again=again)
        if isinstance(step, Rename):
            client.post("/key/update", {"key": step.key_id, "blocked": True})

    honest = _apply.rewrite
    patch.setattr(_apply, "rewrite", rewrite)


def show_what_a_gateway_says(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_client, "_said", lambda body: body.decode())


def do_not_repeat_a_removal_that_failed(patch: pytest.MonkeyPatch) -> None:
    def delete(client: Client, runs: list[Run]) -> None:
        honest(client, runs)
        for run in runs:
            if run.trouble:
                run.trouble = LiteLLMError(str(run.trouble), passing=False)

    honest = _apply._delete
    patch.setattr(_apply, "_delete", delete)


def say_nothing_of_trouble(patch: pytest.MonkeyPatch) -> None:
    def outcome(self: Run) -> Any:
        told = honest(self)
        told.error = None
        return told

    honest = _run.Run.outcome
    patch.setattr(_run.Run, "outcome", outcome)


def tell_no_secret_beside_an_error(patch: pytest.MonkeyPatch) -> None:
    def outcome(self: Run) -> Any:
        told = honest(self)
        if told.error:
            told.secret = None
        return told

    honest = _run.Run.outcome
    patch.setattr(_run.Run, "outcome", outcome)


# The protection that is taken away, and a cell that must be red then: operation, many, fault, request, lasting.
CELLS: list[tuple[Sabotage, str, bool, str, Asked, bool]] = [
    (repeat_no_question, "re-run", False, "answer lost after the commit", Asked(LIST, 0), False),
    (repeat_no_question, "destroy", True, "503 with Retry-After", Asked(LIST, 0), False),
    (let_the_proxy_choose_secrets, "provision", False, "answer lost after the commit", Asked(GENERATE, 0), False),
    (let_the_proxy_choose_secrets, "provision", True, "200 with half a JSON", Asked(GENERATE, 2), False),
    (let_the_proxy_choose_secrets, "regenerate", False, "time-out after the commit", Asked(GENERATE, 0), False),
    (take_trouble_for_the_end, "provision", False, "time-out after the commit", Asked(GENERATE, 0), False),
    (take_trouble_for_the_end, "extend", True, "200, empty", Asked(UPDATE, 0), False),
    (take_trouble_for_the_end, "destroy", False, "200 without JSON", Asked(DELETE, 0), False),
    (do_not_look_again, "provision", False, "500", Asked(GENERATE, 0), False),
    (do_not_look_again, "extend", False, "reset before the request", Asked(UPDATE, 0), False),
    (do_not_look_again, "destroy", True, "502 with HTML", Asked(DELETE, 0), False),
    (look_only_once_more, "extend", True, "200 with half a JSON", Asked(LIST, 1), False),
    (read_without_bounds, "provision", False, "50 MB", Asked(GENERATE, 0), False),
    (read_without_bounds, "extend", False, "dripping", Asked(UPDATE, 0), False),
    (read_without_bounds, "re-run", True, "dripping", Asked(LIST, 0), False),
    (replace_without_keeping_the_old_key, "regenerate", False, "500", Asked(GENERATE, 0), True),
    (block_the_old_key, "regenerate", False, "500", Asked(GENERATE, 0), True),
    (tell_no_secret_beside_an_error, "regenerate", False, "500", Asked(LIST, 6), True),
    (forget_the_old_key, "regenerate", False, "500", Asked(DELETE, 0), True),
    (take_any_json_for_a_listing, "destroy", False, "200 with another JSON", Asked(LIST, 0), True),
    (take_any_json_for_a_key, "destroy by id", False, "200 with another JSON", Asked(INFO, 0), True),
    (take_trouble_for_a_no, "in a team", True, "503 with Retry-After", Asked(TEAM, 0), True),
    (show_what_a_gateway_says, "provision", False, "502 with HTML", Asked(GENERATE, 0), True),
    (do_not_repeat_a_removal_that_failed, "destroy", False, "503 with Retry-After", Asked(DELETE, 0), False),
    (say_nothing_of_trouble, "provision", False, "500", Asked(GENERATE, 0), False),
    (say_nothing_of_trouble, "destroy", True, "refused", Asked(DELETE, 0), True),
]  # fmt: skip


@pytest.fixture(scope="module")
def kinds() -> dict[str, Kind]:
    return {kind.name: kind for kind in KINDS}


@contextmanager
def sabotaged(sabotage: Sabotage | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if sabotage:
            sabotage(patch)
        yield


@pytest.mark.parametrize(
    ("sabotage", "operation", "many", "fault", "point", "lasting"),
    CELLS,
    ids=[f"{cell[0].__name__}-{cell[1]}-{'many' if cell[2] else 'one'}-{cell[3]}" for cell in CELLS],
)
def test_without_its_protection_a_cell_is_red(
    proxy: Proxy, certificates: Certificates, record: Recorder, kinds: dict[str, Kind],
    sabotage: Sabotage, operation: str, many: bool, fault: str, point: Asked, lasting: bool,
):  # fmt: skip
    asked = record(OPERATIONS[operation], many)
    complaints = []
    for protection in (sabotage, None):
        with sabotaged(protection):
            complaints.append(
                run_cell(
                    proxy, OPERATIONS[operation], many, kinds[fault], asked, point,
                    lasting=lasting, certificates=certificates,
                )
            )  # fmt: skip
    assert complaints[0], "without the protection nothing is different"
    assert complaints[1] == []


def test_who_follows_a_redirect_is_found_out(proxy: Proxy, certificates: Certificates, record: Recorder):
    with relay.elsewhere() as (url, heard):
        kind = Kind("redirect", on_request(relay.refusal(307, Location=f"{url}/key/list")), "")
        with sabotaged(follow_redirects):
            run_cell(
                proxy,
                OPERATIONS["re-run"],
                False,
                kind,
                [Asked(LIST, 0)],
                Asked(LIST, 0),
                lasting=False,
                certificates=certificates,
            )
    assert any(proxy.master_key.encode() in request for request in heard)


@pytest.mark.parametrize("wrong", ["another authority's", "another host's", "expired"])
@pytest.mark.parametrize("careless", [False, True], ids=["validated", "not validated"])
def test_who_takes_any_certificate_is_found_out(proxy: Proxy, certificates: Certificates, wrong: str, careless: bool):
    says = {
        "another authority's": "unable to get local issuer certificate|self[- ]signed certificate",
        "another host's": "IP address mismatch|doesn't match|not valid for",
        "expired": "certificate has expired",
    }
    kind = Kind(
        wrong, lambda _point, _number, _lasting: BadLine(0, 1, certificates.wrong[wrong]), says[wrong], tls=True
    )
    complaints = run_cell(
        proxy, OPERATIONS["re-run"], False, kind, [Asked(LIST, 0)], Asked(LIST, 0),
        lasting=False, certificates=certificates, validate_certs=not careless,
    )  # fmt: skip
    found = ["the master key was sent over a connection that should not be trusted"]
    assert complaints == (found if careless else [])
