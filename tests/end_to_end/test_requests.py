# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many requests an environment's keys may cost: counted between Ansible and the proxy, by neither of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

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


def pages(keys: int) -> int:
    """LiteLLM lists at most 100 keys at once."""
    return math.ceil(keys / 100)


Budget = Callable[[int], int]

STEPS: dict[str, tuple[Json, Budget]] = {
    "provision": ({"duration": "7d"}, lambda keys: keys + 2 * pages(keys) + 2),
    "nothing to do": ({"duration": "7d"}, lambda keys: pages(keys) + 2),
    "extend": ({"duration": "14d"}, lambda keys: keys + 2 * pages(keys) + 2),
    "destroy": ({"state": "absent"}, lambda keys: 2 * pages(keys) + 2),
    "destroy again": ({"state": "absent"}, lambda keys: pages(keys) + 2),
}


def requests_of(ansible: Ansible, relay: Relay, names: list[str], steps: list[Json]) -> list[int]:
    """How many requests each step makes."""
    relay.requests.clear()
    tasks: list[Json] = []
    for asked in steps:
        common = {"url": relay.url, "models": [GRANITE, MISTRAL], "metadata": {"created_by": "agnosticd"}}
        tasks.append({ACTION: {**common, **asked, "virtual_keys": [{"guid": name} for name in names]}})
        # A request of another's marks where the next step begins.
        mark = f"lookup('ansible.builtin.url', '{relay.url}/health/liveliness')"
        tasks.append({"ansible.builtin.debug": {"msg": f"{{{{ {mark} }}}}"}})
    run = ansible.play({"hosts": "localhost", "tasks": tasks})
    assert run.code == 0, run.output
    return [len(group) for group in relay.collection_requests()[: len(steps)]]


@pytest.mark.parametrize("users", [1, 2, 3, 50, 101])
def test_the_keys_of_one_environment(ansible: Ansible, relay: Relay, guid: str, users: int):
    names = [f"{guid}-requests{users}-user{number}" for number in range(1, users + 1)]
    counted = requests_of(ansible, relay, names, [asked for asked, _budget in STEPS.values()])
    allowed = [budget(users) for _asked, budget in STEPS.values()]
    over = {
        name: f"{made} requests, {most} allowed"
        for name, made, most in zip(STEPS, counted, allowed, strict=True)
        if made > most
    }
    assert not over


def test_environments_that_begin_alike(ansible: Ansible, relay: Relay, guid: str):
    """A guid that is the beginning of others' guids costs no more for it."""
    name = f"{guid}-alike"
    steps = [asked for asked, _budget in STEPS.values()]
    alone = requests_of(ansible, relay, [name], steps)
    others = [f"{name}{number}" for number in range(3)] + [f"{name}-user{number}" for number in range(3)]
    requests_of(ansible, relay, others, [{"duration": "1d"}])
    assert requests_of(ansible, relay, [name], steps) == alone
    requests_of(ansible, relay, others, [{"state": "absent"}])


@pytest.mark.parametrize("users", [1, 2, 50, 101, 201])
def test_the_role(ansible: Ansible, relay: Relay, guid: str, users: int):
    """The role keeps to the same numbers, in as many tasks for many users as for two."""
    steps = ("provision", "nothing to do", "extend", "nothing to extend", "destroy")
    assert over_budget(ansible, relay, f"{guid}-role{users}", users, steps) == []


@pytest.mark.parametrize("users", [1, 50, 101])
def test_an_extension_beside_an_environment_that_begins_alike(ansible: Ansible, relay: Relay, guid: str, users: int):
    """Who its users are has to be found out: the keys of others are not read for that."""
    name = f"{guid}-beside{users}"
    others = {"url": relay.url, "guid": f"{name}0", "users": [f"user{number}" for number in range(201)]}
    assert ansible.play({"hosts": "localhost", "tasks": [{ACTION: others}]}).code == 0
    assert over_budget(ansible, relay, name, users, ("provision", "extend", "nothing to extend", "destroy")) == []
    removal = {ACTION: {**others, "state": "absent"}}
    assert ansible.play({"hosts": "localhost", "tasks": [removal]}).code == 0


def over_budget(ansible: Ansible, relay: Relay, guid: str, users: int, steps: Iterable[str]) -> list[str]:
    """Which steps of the role's ask more than is allowed. To extend, it is not told what users there are."""
    common = {"guid": guid, "litellm_url": relay.url}
    many = {f"{PREFIX}multi_user": True, f"{PREFIX}user_count": users} if users > 1 else {}
    over = []
    for step in steps:
        extends = "extend" in step
        variables = {
            **common,
            **({f"{PREFIX}runtime": 24 * 60} if extends else many),
            "ACTION": "extend" if extends else "destroy" if step == "destroy" else "provision",
        }
        relay.requests.clear()
        role = {"ansible.builtin.include_role": {"name": ROLE}}
        run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": [role]})
        assert run.code == 0, run.output
        assert run.stdout.count("TASK [") <= 12, run.output
        changes = [line for _agent, line, _body in relay.requests if line.startswith("POST /key/")]
        expected = {"provision": users, "extend": users, "destroy": pages(users)}.get(step, 0)
        assert len(changes) == expected, changes
        allowed = STEPS["nothing to do" if step == "nothing to extend" else step][1](users)
        if len(relay.requests) > allowed:
            over.append(f"{step}: {len(relay.requests)} requests, {allowed} allowed")
    return over
