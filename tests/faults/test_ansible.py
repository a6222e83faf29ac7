# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same with real Ansible, for what Ansible has a part in: its time-out of a task, and a fault in a playbook."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import PATIENCE, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import GRANITE, OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, BadLine, Relay, Trouble

KEYS = 60
TIME = 2  # seconds for a task, where one request is held until they are over
LIST, MODELS, GENERATE = "GET /key/list", "GET /v1/models", "POST /key/generate"
FAULTS = [kind for kind in KINDS if kind.heals != "never"]


def provision(
    ansible: Ansible, case: Case, url: str, connection: Json | None = None, **keywords: object
) -> tuple[bool, list[Json]]:
    """Whether the task failed, and what it has told of the keys."""
    kept = ansible.folder / "told.json"
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
        "register": "told",
        "ignore_errors": True,
        **keywords,
    }
    keep = {"ansible.builtin.copy": {"content": "{{ told | to_json }}", "dest": str(kept), "mode": "0600"}}
    run = ansible.play(
        {"hosts": "localhost", "tasks": [task, keep]}, LITELLM_URL=url, LITELLM_MASTER_KEY=case.proxy.master_key
    )
    assert run.code == 0, run.output
    told = json.loads(kept.read_text())
    keys = told.get("virtual_keys", [])  # none, when it ends before anything was begun
    for key in keys:
        if key["key"]:
            case.known[key["key_alias"]].append(key["key"])
    return bool(told.get("failed")), keys


def finish(case: Case, ansible: Ansible) -> None:
    """A clean run makes what is missing, and every key is one whose secret was told."""
    failed, _told = provision(ansible, case, case.proxy.url)
    assert not failed
    told = case.run(case.proxy.url, {"timeout": 60.0})
    case.judge_clean(told, told)
    case.clean_up()
    assert case.complaints == []


def test_the_time_of_a_task_is_out(ansible: Ansible, proxy: Proxy):
    """What was made until then is told, with its secrets, and the next run makes the rest."""
    case = Case(proxy, OPERATIONS["provision"], KEYS)

    def delay(asked: Asked, when: str) -> None:
        if when == "before" and asked.request == "POST /key/generate":
            time.sleep(1)

    with Relay(proxy.url, each=delay) as relay:
        failed, told = provision(ansible, case, relay.url, timeout=6)
    assert failed
    rows = case.rows()
    for key in told:
        tokens = [row["token"] for row in rows[key["key_alias"]]]
        assert tokens == ([hashlib.sha256(key["key"].encode()).hexdigest()] if key["key"] else [])
        assert key["key"] or "the task was interrupted" in key["error"]
    assert 0 < sum(bool(key["key"]) for key in told) < KEYS
    finish(case, ansible)


# Each request of one key, and of many: the first and the last of each kind, and one in the midst.
STEPS = [
    *((1, step) for step in (Asked(LIST, 0), Asked(LIST, 1), Asked(MODELS, 0), Asked(GENERATE, 0), Asked(LIST, 2))),
    *((20, step) for step in (Asked(LIST, 0), Asked(MODELS, 0), Asked(GENERATE, 0), Asked(GENERATE, 10))),
    *((20, step) for step in (Asked(GENERATE, 19), Asked(LIST, 1))),
]


@pytest.mark.parametrize(("size", "step"), STEPS, ids=[f"{size}-{step}" for size, step in STEPS])
def test_the_time_of_a_task_is_out_at_each_step(ansible: Ansible, proxy: Proxy, size: int, step: Asked):
    """No secret of a key that was made is lost, nothing false is told, and the next run makes the rest."""
    case = Case(proxy, OPERATIONS["provision"], size)
    held = []

    def hold(asked: Asked, when: str) -> None:
        if when == "before" and asked == step:
            held.append(asked)
            time.sleep(TIME + 0.5)  # the task began before

    with Relay(proxy.url, each=hold) as relay:
        failed, told = provision(ansible, case, relay.url, {"timeout": 60, "concurrency": 1}, timeout=TIME)
    assert held == [step]
    # What is held is brought to its end; where it was the last there is to do, the task has done its work.
    assert failed == (sum(bool(key["key"]) for key in told) < size)
    assert failed or step in (
        (Asked(GENERATE, 19), Asked(LIST, 1)) if size > 1 else (Asked(GENERATE, 0), Asked(LIST, 2))
    )
    rows = case.rows()
    assert {key["key_alias"]: key["key_id"] for key in told if key["key"]} == {
        alias: rows[alias][0]["token"] for alias in case.aliases if rows[alias]
    }
    assert all(case.works(key["key"]) if key["key"] else key["error"] for key in told)
    clean = case.run(proxy.url, {"timeout": PATIENCE})
    case.judge_clean(clean, LiteLLMError("interrupted", passing=True))
    case.clean_up()
    assert case.complaints == []


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name)
def test_a_fault_in_a_playbook(ansible: Ansible, proxy: Proxy, kind):
    """One key's creation meets the fault; the task makes all of them nevertheless."""
    case = Case(proxy, OPERATIONS["provision"], 4)
    spoilt = kind.spoil(Asked("POST /key/generate", 1), 4, False)
    line, trouble = (spoilt, None) if isinstance(spoilt, BadLine) else (None, spoilt)
    assert isinstance(spoilt, BadLine | Trouble)
    with Relay(proxy.url, trouble=trouble, bad_line=line, timeout=4.0) as relay:
        failed, told = provision(ansible, case, relay.url)
    assert relay.seen.struck
    assert relay.seen.excess == []
    assert not failed, [key["error"] for key in told]
    assert all(key["operation"] == "created" and case.works(key["key"]) for key in told)
    finish(case, ansible)
