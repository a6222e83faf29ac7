# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restart the proxy or its database during a run with two hundred keys."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import LONG_TIMEOUT, STILL_CHANGED, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Relay, Request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import restart
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import SANDBOXES, sandbox

KEYS = 200
RESTART_AT = 60  # the number of key requests before the restart
CONNECTION: Json = {"timeout": 30.0, "retries": 3}


@pytest.fixture(scope="module")
def restartable() -> Iterator[Proxy]:
    """Start a proxy for the tests of this file only, because they restart it."""
    with sandbox("restarts") as started:
        yield started


def restart_program(name: str) -> None:
    instance = Path(__file__).resolve().parents[2] / SANDBOXES / "instances" / f"proxies-restarts-{os.getpid()}"
    state = json.loads((instance / "state.json").read_text())
    state["pids"][name] = restart(state["pids"][name])
    (instance / "state.json").write_text(json.dumps(state))


def wait_for(proxy: Proxy) -> None:
    deadline = time.monotonic() + 2 * LONG_TIMEOUT
    while True:
        try:
            if proxy.request("GET", "/key/list")[0] == 200:
                return
        except (OSError, ValueError):  # connection refused, or not JSON
            pass
        assert time.monotonic() < deadline, "the proxy did not restart"
        time.sleep(0.5)


@pytest.mark.parametrize("program", ["proxy", "postgres"])
@pytest.mark.parametrize(
    ("name", "seeded"),
    [("provision", True), ("provision", False), ("destroy", False)],
    ids=["provision-derived", "provision-random", "destroy"],
)
def test_a_restart_during_a_run(restartable: Proxy, name: str, program: str, seeded: bool):
    provisioned = Case(restartable, OPERATIONS["provision"], KEYS)
    if name == "destroy":
        assert not isinstance(provisioned.run(restartable.url, CONNECTION), LiteLLMError)
    case = Case(restartable, OPERATIONS[name], KEYS)
    for name_of_field in ("prefix", "aliases", "known_secrets", "unrelated_alias"):
        setattr(case, name_of_field, getattr(provisioned, name_of_field))
    restarted = threading.Event()

    def restart_once(request: Request, when: str) -> None:
        endpoint = "POST /key/generate" if name == "provision" else "POST /key/delete"
        number = RESTART_AT if name == "provision" else 1
        if when == "before" and request == Request(endpoint, number):
            restart_program(program)
            restarted.set()

    with Relay(restartable.url, callback=restart_once) as relay:
        result = case.run(relay.url, CONNECTION, seeded=seeded)
    assert restarted.is_set()
    wait_for(restartable)
    check_reported(case, result)
    again = case.run(restartable.url, CONNECTION, seeded=seeded, secret_required=name == "provision")
    assert isinstance(again, list)
    failed = {str(outcome.desired.alias): str(outcome.error) for outcome in again if outcome.error}
    rows = case.rows()
    lost = {alias for alias in case.aliases if rows[alias] and not is_secret_known(case, alias, rows)}
    if name == "destroy":
        assert not any(rows[alias] for alias in case.aliases)
        assert failed == {}
    else:
        # A random secret that was never returned is lost. The first run reported an error; the next one reports why.
        assert all(len(rows[alias]) == 1 for alias in case.aliases)
        assert lost <= failed_aliases(result, case)
        assert not (lost and seeded)
        assert all("its secret is not known" in failed[alias] for alias in lost)
        if lost:
            repaired = case.run(restartable.url, CONNECTION, regenerate="if_unrecoverable")
            case.check_clean_run(repaired, repaired)
    case.clean_up()
    assert [violation for violation in case.violations if violation != STILL_CHANGED] == []


def check_reported(case: Case, result: list[Outcome] | LiteLLMError) -> None:
    """Check that everything that the interrupted run reported is true."""
    rows = case.rows()
    assert all(len(rows[alias]) <= 1 for alias in case.aliases)
    for outcome in result if isinstance(result, list) else ():
        alias = str(outcome.desired.alias)
        if outcome.secret:
            assert outcome.secret.key_id in [row["token"] for row in rows[alias]]
        if not outcome.error:
            assert len(rows[alias]) == int(case.operation.present)
            assert outcome.secret or not case.operation.present


def is_secret_known(case: Case, alias: str, rows: dict[str, list[Json]]) -> bool:
    """Check whether a run has returned the secret of the key."""
    hashes = {hashlib.sha256(one.encode()).hexdigest() for one in case.known_secrets[alias]}
    return all(row["token"] in hashes for row in rows[alias])


def failed_aliases(result: list[Outcome] | LiteLLMError, case: Case) -> set[str]:
    """Return the aliases of the keys that were reported as failed."""
    if isinstance(result, LiteLLMError):
        return set(case.aliases)
    return {str(outcome.desired.alias) for outcome in result if outcome.error}
