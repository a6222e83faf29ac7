# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test with real Ansible what depends on Ansible: task timeouts, and a fault during a playbook."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import LONG_TIMEOUT, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import GRANITE, OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import (
    ConnectionFault,
    Relay,
    Request,
    RequestFault,
)

KEYS = 60
TASK_TIMEOUT = 2  # seconds; one request is delayed until the task has timed out
LIST, MODELS, GENERATE = "GET /key/list", "GET /v1/models", "POST /key/generate"
FAULTS = [kind for kind in KINDS if kind.recovers != "never"]


def provision(
    ansible: Ansible, case: Case, url: str, connection: Json | None = None, **keywords: object
) -> tuple[bool, list[Json]]:
    """Run a task that provisions the keys; return whether it failed and the keys that it reported."""
    saved = ansible.folder / "result.json"
    task = {
        f"{COLLECTION}.litellm_key": {
            "virtual_keys": [{"key_alias": alias} for alias in case.aliases],
            "models": [GRANITE],
            "max_budget": 5.0,
            "metadata": {"purpose": "faults"},
            "duration": "7d",
            "timeout": 4,
            "retries": 1,
            "concurrency": 4,
            **(connection or {}),
        },
        "register": "result",
        "ignore_errors": True,
        **keywords,
    }
    # Only these: ansible-core adds a key to the result of a timeout, and warns that reading it is deprecated.
    needed = "{'failed': result.failed, 'virtual_keys': result.virtual_keys | default([])}"
    save = {"ansible.builtin.copy": {"content": f"{{{{ {needed} | to_json }}}}", "dest": str(saved), "mode": "0600"}}
    run = ansible.play(
        {"hosts": "localhost", "tasks": [task, save]}, LITELLM_URL=url, LITELLM_MASTER_KEY=case.proxy.master_key
    )
    assert run.code == 0, run.output
    result = json.loads(saved.read_text())
    keys = result["virtual_keys"]  # empty if the task times out before it starts any key
    for key in keys:
        if key["key"]:
            case.known_secrets[key["key_alias"]].append(key["key"])
    return bool(result["failed"]), keys


def finish(case: Case, ansible: Ansible) -> None:
    """Check that a clean run creates the missing keys, and that the secret of every key was returned."""
    failed, _keys = provision(ansible, case, case.proxy.url)
    assert not failed
    result = case.run(case.proxy.url, {"timeout": 60.0})
    case.check_clean_run(result, result)
    case.clean_up()
    assert case.violations == []


def test_task_timeout(ansible: Ansible, proxy: Proxy):
    """The task returns the keys created before the timeout with their secrets; the next run creates the others."""
    case = Case(proxy, OPERATIONS["provision"], KEYS)

    def delay(request: Request, when: str) -> None:
        if when == "before" and request.endpoint == "POST /key/generate":
            time.sleep(1)

    with Relay(proxy.url, callback=delay) as relay:
        failed, keys = provision(ansible, case, relay.url, timeout=6)
    assert failed
    rows = case.rows()
    for key in keys:
        tokens = [row["token"] for row in rows[key["key_alias"]]]
        assert tokens == ([hashlib.sha256(key["key"].encode()).hexdigest()] if key["key"] else [])
        assert key["key"] or "the task was interrupted" in key["error"]
    assert 0 < sum(bool(key["key"]) for key in keys) < KEYS
    finish(case, ansible)


# For one key, every request; for many keys, the first and the last of each kind, and one in between.
STEPS = [
    *(
        (1, step)
        for step in (Request(LIST, 0), Request(LIST, 1), Request(MODELS, 0), Request(GENERATE, 0), Request(LIST, 2))
    ),
    *((20, step) for step in (Request(LIST, 0), Request(MODELS, 0), Request(GENERATE, 0), Request(GENERATE, 10))),
    *((20, step) for step in (Request(GENERATE, 19), Request(LIST, 1))),
]


@pytest.mark.parametrize(("size", "step"), STEPS, ids=[f"{size}-{step}" for size, step in STEPS])
def test_task_timeout_at_each_step(ansible: Ansible, proxy: Proxy, size: int, step: Request):
    """No secret of a created key is lost, everything reported is true, and the next run creates the other keys."""
    case = Case(proxy, OPERATIONS["provision"], size)
    delayed = []

    def delay(request: Request, when: str) -> None:
        if when == "before" and request == step:
            delayed.append(request)
            time.sleep(TASK_TIMEOUT + 0.5)  # the timeout started earlier, with the task

    with Relay(proxy.url, callback=delay) as relay:
        failed, keys = provision(ansible, case, relay.url, {"timeout": 60, "concurrency": 1}, timeout=TASK_TIMEOUT)
    assert delayed == [step]
    # The delayed request is completed. If it was the last one, the task succeeds.
    assert failed == (sum(bool(key["key"]) for key in keys) < size)
    assert failed or step in (
        (Request(GENERATE, 19), Request(LIST, 1)) if size > 1 else (Request(GENERATE, 0), Request(LIST, 2))
    )
    rows = case.rows()
    assert {key["key_alias"]: key["key_id"] for key in keys if key["key"]} == {
        alias: rows[alias][0]["token"] for alias in case.aliases if rows[alias]
    }
    assert all(case.works(key["key"]) if key["key"] else key["error"] for key in keys)
    clean = case.run(proxy.url, {"timeout": LONG_TIMEOUT})
    case.check_clean_run(clean, LiteLLMError("interrupted", transient=True))
    case.clean_up()
    assert case.violations == []


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name)
def test_a_fault_during_a_playbook(ansible: Ansible, proxy: Proxy, kind):
    """The creation of one key meets a fault, and the task still creates all keys."""
    case = Case(proxy, OPERATIONS["provision"], 4)
    fault = kind.create(Request("POST /key/generate", 1), 4, False)
    connection_fault, request_fault = (fault, None) if isinstance(fault, ConnectionFault) else (None, fault)
    assert isinstance(fault, ConnectionFault | RequestFault)
    with Relay(proxy.url, request_fault=request_fault, connection_fault=connection_fault, timeout=4.0) as relay:
        failed, keys = provision(ansible, case, relay.url)
    assert relay.log.injected
    assert relay.log.violations == []
    assert not failed, [key["error"] for key in keys]
    assert all(key["operation"] == "created" and case.works(key["key"]) for key in keys)
    finish(case, ansible)
