# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix of a shared budget: each fault at each request about its team, while it is created, changed and deleted.

After a run with a fault, what it reported is true, and a clean run of the same operation ends exact: with one team, its
budget and the key in it, or without any of them.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import BudgetTeam
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.operation import run_operation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import parse_request
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.results import (
    EnvironmentRun,
    OperationResult,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm import teams
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import (
    LONG_TIMEOUT,
    TIMEOUT,
    FaultKind,
    is_write,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import ConnectionFault, Relay, Request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.test_matrix import CONCURRENT_CELLS

# The options of each operation. A destroy is told that there is a budget, because nothing is saved here.
OPERATIONS: dict[str, Json] = {
    "create": {"operation": "provision", "shared_budget": 100},
    "change": {"operation": "provision", "shared_budget": 200, "shared_budget_duration": "7d"},
    "delete": {"operation": "destroy", "shared_budget": 100},
}
SEED = "the seed of the tests of a shared budget"
_NUMBERS = itertools.count()
_SESSION = secrets.token_hex(3)


@dataclass
class Environment:
    """The environment of one cell, which has a budget unless the cell creates it."""

    proxy: Proxy
    name: str
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guid = f"{_SESSION}-budget-{next(_NUMBERS):05}"
        self.team_id = f"virtkey-{self.guid}"
        self.options = OPERATIONS[self.name]
        if self.name != "create":
            result = self.run(self.proxy.url, OPERATIONS["create"])
            assert result == "", result

    def run(self, url: str, options: Json, **connection: Any) -> str:
        """Run an operation, and return its error message; empty without one."""
        given = {"guid": self.guid, "key_seed": SEED, "duration": "1d", **options}
        coerced = coerce_options(ENVIRONMENT_OPTIONS, given, "litellm_environment")
        request = parse_request(coerced, {}, coerce_key_options({}), Wording())
        assert request

        def finish(result: OperationResult) -> Json:
            return {"error": result.error or ""}

        client = Client(Connection(url, self.proxy.master_key, retries=1, **{"timeout": LONG_TIMEOUT, **connection}))
        run = EnvironmentRun(
            request,
            client,
            known=(),
            save=lambda outcomes: None,
            finish=finish,
            check_writable=lambda: None,
            saves_user_data=True,
            check_mode=False,
            warn=lambda text: None,
            show_progress=lambda text: None,
        )
        try:
            return str(run_operation(run)["error"])
        except UserError as error:
            return str(error)

    def team(self) -> Json | None:
        status, listing = self.proxy.request("GET", f"/v2/team/list?team_id={quote(self.team_id)}")
        assert status == 200, listing
        return listing["teams"][0] if listing["teams"] else None

    def check(self, when: str) -> None:
        """Check that the environment is as desired."""
        team, rows = self.team(), self.proxy.rows(self.team_id)
        if self.name == "delete":
            if team or rows:
                self.violations.append(f"{when}: left over: {'the team' if team else ''} {len(rows)} keys")
            return
        found = (team and team["max_budget"], team and team["budget_duration"], [row["team_id"] for row in rows])
        desired = (self.options["shared_budget"], self.options.get("shared_budget_duration"), [self.team_id])
        if found != desired:
            self.violations.append(f"{when}: {found} instead of {desired}")
        elif not team or team["metadata"]["guid"] != self.guid:
            self.violations.append(f"{when}: the team does not name its environment")

    def clean_up(self) -> None:
        self.proxy.delete(self.team_id)
        self.proxy.request("POST", "/team/delete", {"team_ids": [self.team_id]})


@cache
def record(proxy: Proxy, name: str) -> list[Request]:
    """Return the requests of an operation without a fault."""
    environment = Environment(proxy, name)
    with Relay(proxy.url) as relay:
        error = environment.run(relay.url, environment.options)
    environment.check("without a fault")
    environment.clean_up()
    assert (error, environment.violations) == ("", [])
    return relay.log.requests


def fault_points(requests: list[Request]) -> list[tuple[Request, bool]]:
    """Return the first and the last request of each kind about the team, and whether the fault is persistent."""
    points: list[tuple[Request, bool]] = []
    for endpoint in dict.fromkeys(one.endpoint for one in requests if "/team/" in one.endpoint):
        matching = [one for one in requests if one.endpoint == endpoint]
        points += [(point, False) for point in dict.fromkeys((matching[0], matching[-1]))]
        points.append((matching[0] if is_write(endpoint) else matching[-1], True))
    return points


def run_cell(proxy: Proxy, name: str, kind: FaultKind, point: Request, *, persistent: bool) -> list[str]:
    """Run one cell and return its violations."""
    number = record(proxy, name).index(point)
    fault = kind.create(point, number, persistent)
    connection_fault, request_fault = (fault, None) if isinstance(fault, ConnectionFault) else (None, fault)
    environment = Environment(proxy, name)
    with Relay(proxy.url, request_fault=request_fault, connection_fault=connection_fault, timeout=TIMEOUT) as relay:
        error = environment.run(relay.url, environment.options, timeout=TIMEOUT)
    environment.violations += relay.log.violations
    if not relay.log.injected:
        environment.violations.append("no fault was injected")
    if not error:
        environment.check("after a run without an error")
    elif not re.search(f"{kind.message}|Connection to|is not certain", error):
        environment.violations.append(f"unexpected message: {error}")
    is_single = not persistent and {"always": True, "never": False}.get(kind.recovers, is_write(point.endpoint))
    if error and is_single:
        environment.violations.append(f"the run did not recover: {error}")
    if proxy.master_key in error or "<html" in error or len(error) > 800:
        environment.violations.append("the message contains a secret or HTML, or is too long")
    if again := environment.run(proxy.url, environment.options):
        environment.violations.append(f"the clean run failed: {again}")
    environment.check("after the clean run")
    environment.clean_up()
    return environment.violations


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cell(proxy: Proxy, name: str, kind: FaultKind):
    points = fault_points(record(proxy, name))
    assert {endpoint.endpoint for endpoint, _persistent in points} == {
        "GET /v2/team/list",
        {"create": "POST /team/new", "change": "POST /team/update", "delete": "POST /team/delete"}[name],
    }
    with ThreadPoolExecutor(CONCURRENT_CELLS) as threads:
        found = list(threads.map(lambda cell: run_cell(proxy, name, kind, cell[0], persistent=cell[1]), points))
    red = {f"{point}{' and later' if last else ''}": some for (point, last), some in zip(points, found, strict=True)}
    assert {where: some for where, some in red.items() if some} == {}


def do_not_read_back_after_an_error(patch: pytest.MonkeyPatch) -> None:
    def repeat(self: BudgetTeam, send: Callable[[], None], _is_done: Callable[[], bool]) -> None:
        send()
        self.read()

    patch.setattr(BudgetTeam, "_repeat", repeat)


def accept_any_json_as_listing(patch: pytest.MonkeyPatch) -> None:
    original = teams._read_page

    def read_page(*arguments: Any) -> Any:
        try:
            return original(*arguments)
        except LiteLLMError as error:
            if "no list of teams" not in str(error):
                raise
            return [], 1

    patch.setattr(teams, "_read_page", read_page)


@pytest.mark.parametrize("is_sabotaged", [False, True], ids=["protected", "sabotaged"])
@pytest.mark.parametrize(
    ("sabotage", "name", "kind", "endpoint"),
    [
        (do_not_read_back_after_an_error, "create", "response lost after commit", "POST /team/new"),
        (do_not_read_back_after_an_error, "change", "503 with Retry-After", "POST /team/update"),
        (do_not_read_back_after_an_error, "delete", "200 with truncated JSON", "POST /team/delete"),
        (accept_any_json_as_listing, "delete", "200 with unexpected JSON", "GET /v2/team/list"),
    ],
)
def test_a_cell_fails_without_its_protection(
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    sabotage: Callable[[pytest.MonkeyPatch], None],
    name: str,
    kind: str,
    endpoint: str,
    is_sabotaged: bool,
):
    point = next(one for one in record(proxy, name) if one.endpoint == endpoint)
    if is_sabotaged:
        sabotage(monkeypatch)
    (found,) = [one for one in KINDS if one.name == kind]
    violations = run_cell(proxy, name, found, point, persistent=False)
    assert bool(violations) == is_sabotaged, violations
