# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of requests that the keys of an environment need, counted by a relay between Ansible and the proxy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import PREFIX
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    ROLE,
    Ansible,
    Json,
    Relay,
)

ACTION = f"{COLLECTION}.litellm_key"
ENVIRONMENT = f"{COLLECTION}.litellm_environment"


def pages(keys: int) -> int:
    """Return the number of pages of a listing: LiteLLM lists at most 100 keys per page."""
    return math.ceil(keys / 100)


# The maximum number of requests for a number of keys.
Budget = Callable[[int], int]

# One of the requests checks that the master key sees all keys. No response that is needed anyway shows that: LiteLLM
# lists no keys to anybody if there are none.
STEPS: dict[str, tuple[Json, Budget]] = {
    "provision": ({"duration": "7d"}, lambda keys: keys + 2 * pages(keys) + 3),
    "nothing to do": ({"duration": "7d"}, lambda keys: pages(keys) + 2),
    "extend": ({"duration": "14d"}, lambda keys: keys + 2 * pages(keys) + 3),
    "destroy": ({"state": "absent"}, lambda keys: 2 * pages(keys) + 3),
    "destroy again": ({"state": "absent"}, lambda keys: pages(keys) + 2),
}


def requests_of(ansible: Ansible, relay: Relay, names: list[str], steps: list[Json]) -> list[int]:
    """Return the number of requests of each step."""
    relay.requests.clear()
    tasks: list[Json] = []
    for options in steps:
        common = {"url": relay.url, "models": [GRANITE, MISTRAL], "metadata": {"created_by": "agnosticd"}}
        tasks.append({ACTION: {**common, **options, "virtual_keys": [{"guid": name} for name in names]}})
        # A request of another client marks the start of the next step.
        mark = f"lookup('ansible.builtin.url', '{relay.url}/health/liveliness')"
        tasks.append({"ansible.builtin.debug": {"msg": f"{{{{ {mark} }}}}"}})
    run = ansible.play({"hosts": "localhost", "tasks": tasks})
    assert run.code == 0, run.output
    return [len(group) for group in relay.collection_requests()[: len(steps)]]


@pytest.mark.parametrize("users", [1, 2, 3, 50, 101])
def test_the_keys_of_one_environment(ansible: Ansible, relay: Relay, guid: str, users: int):
    names = [f"{guid}-requests{users}-user{number}" for number in range(1, users + 1)]
    counted = requests_of(ansible, relay, names, [options for options, _budget in STEPS.values()])
    allowed = [budget(users) for _options, budget in STEPS.values()]
    over = {
        name: f"{made} requests, {most} allowed"
        for name, made, most in zip(STEPS, counted, allowed, strict=True)
        if made > most
    }
    assert not over


def test_other_environments_with_the_same_prefix(ansible: Ansible, relay: Relay, guid: str):
    """An environment whose guid is the prefix of other guids needs no more requests."""
    name = f"{guid}-alike"
    steps = [options for options, _budget in STEPS.values()]
    alone = requests_of(ansible, relay, [name], steps)
    others = [f"{name}{number}" for number in range(3)] + [f"{name}-user{number}" for number in range(3)]
    requests_of(ansible, relay, others, [{"duration": "1d"}])
    assert requests_of(ansible, relay, [name], steps) == alone
    requests_of(ansible, relay, others, [{"state": "absent"}])


@pytest.mark.parametrize("users", [1, 2, 50, 101, 201])
def test_the_role_within_the_same_limits(ansible: Ansible, relay: Relay, guid: str, users: int):
    """The number of tasks does not depend on the number of users."""
    steps = ("provision", "nothing to do", "extend", "nothing to extend", "destroy")
    assert over_budget(ansible, relay, f"{guid}-role{users}", users, steps) == []


@pytest.mark.parametrize("users", [1, 50, 101])
def test_the_role_beside_an_environment_with_the_same_prefix(ansible: Ansible, relay: Relay, guid: str, users: int):
    """The users must be discovered among many keys of another environment."""
    name = f"{guid}-beside{users}"
    others = {"url": relay.url, "guid": f"{name}0", "save_user_data": False}
    other_users = [f"user{number}" for number in range(201)]
    created = ansible.play({"hosts": "localhost", "tasks": [{ENVIRONMENT: {**others, "users": other_users}}]})
    assert created.code == 0, created.output
    steps = ("provision", "extend", "nothing to extend", "destroy")
    # A destroy deletes every key of the environment, so it must list those of users that nobody names, too.
    assert over_budget(ansible, relay, name, users, steps, extra={"destroy": 2}) == []
    destroyed = ansible.play({"hosts": "localhost", "tasks": [{ENVIRONMENT: {**others, "operation": "destroy"}}]})
    assert destroyed.code == 0, destroyed.output


def over_budget(
    ansible: Ansible, relay: Relay, guid: str, users: int, steps: Iterable[str], extra: Mapping[str, int] | None = None
) -> list[str]:
    """Return the steps of the role that exceed their budget. For an extension, no variable names the users.

    :param extra: the number of further requests that a step may send.
    """
    common = {"guid": guid, "litellm_url": relay.url}
    multi_user = {f"{PREFIX}multi_user": True, f"{PREFIX}user_count": users} if users > 1 else {}
    over = []
    for step in steps:
        extends = "extend" in step
        variables = {
            **common,
            **({f"{PREFIX}runtime": 24 * 60} if extends else multi_user),
            "ACTION": "extend" if extends else "destroy" if step == "destroy" else "provision",
        }
        relay.requests.clear()
        role = {"ansible.builtin.include_role": {"name": ROLE}}
        run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": [role]})
        assert run.code == 0, run.output
        assert run.stdout.count("TASK [") <= 8, run.output
        changes = [line for _agent, line, _body in relay.requests if line.startswith("POST /key/")]
        expected = {"provision": users, "extend": users, "destroy": pages(users)}.get(step, 0)
        assert len(changes) == expected, changes
        # An extension discovers the users, which takes one request more.
        allowed = STEPS["nothing to do"][1](users) + 1 if step == "nothing to extend" else STEPS[step][1](users)
        allowed += (extra or {}).get(step, 0)
        if len(relay.requests) > allowed:
            over.append(f"{step}: {len(relay.requests)} requests, {allowed} allowed")
    return over
