# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of requests that the keys of an environment need, counted by a relay between the actions and the proxy.

The unit tests of the actions count the requests for environments of every size, on a fake proxy. Most of these tests
run the actions in this process, too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import prefixed, role
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    Ansible,
    Json,
    Proxy,
    Relay,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.request_budgets import (
    ENVIRONMENT_STEPS,
    STEPS,
    STEPS_BESIDE,
    environment_over_budget,
    excess,
    over_budget,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action

KEY = f"{COLLECTION}.litellm_key"
ENVIRONMENT = f"{COLLECTION}.litellm_environment"

Send = Callable[[str, Json], list[str]]


@pytest.fixture
def send(proxy: Proxy, relay: Relay, tmp_path: Path) -> Send:
    """Run an action, and return its request lines."""

    def run(name: str, arguments: Json) -> list[str]:
        relay.requests.clear()
        variables = {"litellm_url": relay.url, "litellm_master_key": proxy.master_key, "output_dir": str(tmp_path)}
        result = run_action(name, arguments, variables)
        assert not result.get("failed"), result["msg"]
        return [request for _agent, request, _body in relay.requests]

    return run


def send_steps(send: Send, names: list[str]) -> Callable[[Json], list[str]]:
    common = {"models": [GRANITE, MISTRAL], "metadata": {"created_by": "agnosticd"}}
    keys = [{"guid": name} for name in names]
    return lambda options: send(KEY, {**common, **options, "virtual_keys": keys})


def test_the_keys_of_one_environment(send: Send, guid: str):
    names = [f"{guid}-requests-user{number}" for number in (1, 2)]
    assert over_budget(send_steps(send, names), len(names)) == []


def test_other_environments_with_the_same_prefix(send: Send, guid: str):
    """An environment whose guid is the prefix of other guids needs no more requests."""
    name = f"{guid}-alike"
    steps = [options for options, _budget in STEPS.values()]
    run = send_steps(send, [name])
    alone = [len(run(options)) for options in steps]
    others = [f"{name}{number}" for number in range(3)] + [f"{name}-user{number}" for number in range(3)]
    run_others = send_steps(send, others)
    run_others({"duration": "1d"})
    # Other keys in a listing can save the probe of the filters that the release supports.
    assert all(len(run(options)) <= most for options, most in zip(steps, alone, strict=True))
    run_others({"state": "absent"})


def test_an_environment_beside_another_one_with_the_same_prefix(send: Send, guid: str):
    """The users must be discovered among many keys of another environment, which fill more than one page."""
    users, many, name = 2, 101, f"{guid}-beside"
    others = {"guid": f"{name}0", "save_user_data": False}
    created = send(ENVIRONMENT, {**others, "users": [f"user{number}" for number in range(many)]})
    assert excess("provision", created, many) == []

    def run(operation: str, options: Json) -> list[str]:
        return send(ENVIRONMENT, {"operation": operation, "guid": name, "duration": "7d", **options})

    # A destroy deletes every key of the environment, so it must list those of users that nobody names, too.
    # An extension looks for replacements that other runs have started.
    extra = {"destroy": 4, "extend": 2, "nothing to extend": 1}
    assert environment_over_budget(run, users, STEPS_BESIDE, extra=extra) == []
    destroyed = send(ENVIRONMENT, {**others, "operation": "destroy"})
    assert excess("destroy", destroyed, many, extra=4) == []


def test_the_role_within_the_same_limits(ansible: Ansible, relay: Relay, guid: str):
    users = 3
    relay.requests.clear()
    tasks: list[Json] = []
    for step in ENVIRONMENT_STEPS:
        variables: Json = {"runtime": 24 * 60} if "extend" in step else {"multi_user": True, "user_count": users}
        action = "extend" if "extend" in step else "destroy" if step == "destroy" else "provision"
        tasks.append(role(ACTION=action, **variables))
        # A request of another client marks the end of the step.
        mark = f"lookup('ansible.builtin.url', '{relay.url}/health/liveliness')"
        tasks.append({"name": "End the step", "ansible.builtin.debug": {"msg": f"{{{{ {mark} }}}}"}})
    common = {"guid": f"{guid}-role", "litellm_url": relay.url, "output_dir": str(ansible.folder / "role")}
    variables = {**common, **prefixed(models=[GRANITE], duration="7d")}
    run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": tasks})
    assert run.code == 0, run.output
    groups = relay.collection_requests()[: len(ENVIRONMENT_STEPS)]
    for step, group in zip(ENVIRONMENT_STEPS, groups, strict=True):
        assert excess(step, [line for line, _body in group], users) == [], step
    # The number of tasks does not depend on the number of users.
    counts = [part.count("TASK [") for part in run.stdout.split("TASK [End the step]")[:-1]]
    assert len(counts) == len(ENVIRONMENT_STEPS)
    assert max(counts) <= 8, run.output
