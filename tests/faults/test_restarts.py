# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy, or its database, is restarted in the midst of two hundred keys."""

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
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import PATIENCE, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, Relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import restart
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import SANDBOXES, sandbox

KEYS = 200
MIDST = 60  # requests for keys, when the restart begins
USUAL: Json = {"timeout": 30.0, "retries": 3}


@pytest.fixture(scope="module")
def fragile() -> Iterator[Proxy]:
    """A proxy of our own, to be restarted."""
    with sandbox("restarts") as started:
        yield started


def restart_program(name: str) -> None:
    instance = Path(__file__).resolve().parents[2] / SANDBOXES / "instances" / f"proxies-restarts-{os.getpid()}"
    state = json.loads((instance / "state.json").read_text())
    state["pids"][name] = restart(state["pids"][name])
    (instance / "state.json").write_text(json.dumps(state))


def wait_for(proxy: Proxy) -> None:
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            if proxy.ask("GET", "/key/list")[0] == 200:
                return
        except (OSError, ValueError):  # refused, or not JSON
            pass
        assert time.monotonic() < deadline, "the proxy did not come back"
        time.sleep(0.5)


@pytest.mark.parametrize("program", ["proxy", "postgres"])
@pytest.mark.parametrize(
    ("name", "seeded"),
    [("provision", True), ("provision", False), ("destroy", False)],
    ids=["provision-derived", "provision-random", "destroy"],
)
def test_a_restart_in_the_midst_of_many_keys(fragile: Proxy, name: str, program: str, seeded: bool):
    maker = Case(fragile, OPERATIONS["provision"], KEYS)
    if name == "destroy":
        assert not isinstance(maker.run(fragile.url, USUAL), LiteLLMError)
    case = Case(fragile, OPERATIONS[name], KEYS)
    case.prefix, case.aliases, case.known = maker.prefix, maker.aliases, maker.known
    restarted = threading.Event()

    def strike(asked: Asked, when: str) -> None:
        command = "POST /key/generate" if name == "provision" else "POST /key/delete"
        number = MIDST if name == "provision" else 1
        if when == "before" and asked == Asked(command, number):
            restart_program(program)
            restarted.set()

    with Relay(fragile.url, each=strike) as relay:
        told = case.run(relay.url, USUAL, seeded=seeded)
    assert restarted.is_set()
    wait_for(fragile)
    judge(case, told)
    again = case.run(fragile.url, USUAL, seeded=seeded, secret_required=name == "provision")
    assert isinstance(again, list)
    failed = {str(outcome.wanted.alias): str(outcome.error) for outcome in again if outcome.error}
    rows = case.rows()
    lost = {alias for alias in case.aliases if rows[alias] and not opened(case, alias, rows)}
    if name == "destroy":
        assert not any(rows[alias] for alias in case.aliases)
        assert failed == {}
    else:
        # A random secret that was never told is lost: it was an error then, and the next run says what it is.
        assert all(len(rows[alias]) == 1 for alias in case.aliases)
        assert lost <= troubled(told, case)
        assert not (lost and seeded)
        assert all("its secret is not known" in failed[alias] for alias in lost)
        case.aliases = sorted(lost)
        if lost:
            mended = case.run(fragile.url, USUAL, regenerate="if_unrecoverable")
            case.judge_clean(mended, mended)
    case.clean_up()
    assert [one for one in case.complaints if "had something to do" not in one] == []


def judge(case: Case, told: list[Outcome] | LiteLLMError) -> None:
    """What the troubled run has told is true."""
    rows = case.rows()
    assert all(len(rows[alias]) <= 1 for alias in case.aliases)
    for outcome in told if isinstance(told, list) else ():
        alias = str(outcome.wanted.alias)
        if outcome.secret:
            assert outcome.secret.key_id in [row["token"] for row in rows[alias]]
        if not outcome.error:
            assert len(rows[alias]) == int(case.operation.present)
            assert outcome.secret or not case.operation.present


def opened(case: Case, alias: str, rows: dict[str, list[Json]]) -> bool:
    """Whether somebody has been told the secret of the key."""
    hashes = {hashlib.sha256(one.encode()).hexdigest() for one in case.known[alias]}
    return all(row["token"] in hashes for row in rows[alias])


def troubled(told: list[Outcome] | LiteLLMError, case: Case) -> set[str]:
    """The keys that were told to have failed."""
    if isinstance(told, LiteLLMError):
        return set(case.aliases)
    return {str(outcome.wanted.alias) for outcome in told if outcome.error}
