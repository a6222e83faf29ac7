# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The budget that all keys of an environment share. The actions run in this process.

Unit tests of `litellm_environment` cover faults and concurrent runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import BudgetTeam
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.shared_budget import SharedBudget
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    PATIENCE,
    Json,
    Proxy,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action

USERS = ["ann", "bob", "eve"]

Run = Callable[..., Json]


@pytest.fixture
def run(proxy: Proxy, guid: str, tmp_path: Path) -> Run:
    """Run litellm_environment for the environment of the test, and return its result."""
    variables = {"litellm_url": proxy.url, "litellm_master_key": proxy.master_key, "output_dir": str(tmp_path)}

    def run_operation(operation: str, **arguments: object) -> Json:
        common = {"operation": operation, "guid": guid, "models": [GRANITE]}
        return run_action(f"{COLLECTION}.litellm_environment", {**common, **arguments}, variables)

    return run_operation


def succeed(result: Json) -> Json:
    assert not result.get("failed"), result["msg"]
    return result


def team(proxy: Proxy, team_id: str) -> Json | None:
    status, listing = proxy.request("GET", f"/v2/team/list?team_id={quote(team_id)}")
    assert status == 200, listing
    return listing["teams"][0] if listing["teams"] else None


def keys_in(proxy: Proxy, team_id: str) -> list[str]:
    status, listing = proxy.request("GET", f"/key/list?team_id={quote(team_id)}&return_full_object=true&size=100")
    assert status == 200, listing
    return sorted(row["key_alias"] for row in listing["keys"])


def test_the_life_of_a_shared_budget(proxy: Proxy, guid: str, run: Run):
    team_id = f"virtkey-{guid}"
    created = succeed(run("provision", users=USERS, shared_budget=100, shared_budget_duration="30d"))
    budget = created["shared_budget"]
    assert (budget["limit"], budget["spent"], budget["left"], budget["team_id"]) == (100.0, 0.0, 100.0, team_id)
    assert (budget["duration"], budget["resets_at"].endswith("Z")) == ("30d", True)
    assert keys_in(proxy, team_id) == [f"{team_id}-{user}" for user in USERS]

    again = succeed(run("provision", users=USERS, shared_budget=100, shared_budget_duration="30d"))
    assert (again["changed"], again["api_calls"]) == (False, 3)

    # A chat costs about 0.05 US dollars. Until LiteLLM knows that, it reserves the cost of the longest response.
    secrets = [entry["key"] for entry in created["virtual_keys"]]
    assert [proxy.chat(secret) for secret in secrets[:2]] == [200, 200]
    deadline = time.monotonic() + PATIENCE
    while succeed(run("status"))["shared_budget"]["spent"] < 0.06:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    changed = succeed(run("provision", users=USERS, shared_budget=0.06))
    assert (changed["changed"], changed["shared_budget"]["limit"]) == (True, 0.06)
    status = succeed(run("status"))
    assert status["shared_budget"]["left"] == 0.0
    assert status["report"][-1].startswith("Shared budget: 0.06 USD for all keys: 0.")

    # The third user has not spent anything.
    body = {"model": GRANITE, "messages": [{"role": "user", "content": "Hello!"}]}
    refused = proxy.request("POST", "/v1/chat/completions", body, secrets[2])
    assert refused[0] == 422
    assert refused[1]["error"]["message"].startswith(f"Budget has been exceeded! Team={team_id} Current cost: 0.")
    succeed(run("extend", extend_by="1d", shared_budget=100))
    assert proxy.chat(secrets[2]) == 200

    rotated = succeed(run("rotate", users=["ann"]))
    assert rotated["virtual_keys"][0]["team_id"] == team_id
    destroyed = succeed(run("destroy"))
    assert (destroyed["changed"], destroyed["shared_budget"]) == (True, {})
    assert (team(proxy, team_id), keys_in(proxy, team_id)) == (None, [])
    assert not succeed(run("destroy"))["changed"]


def test_existing_keys_join_and_leave(proxy: Proxy, guid: str, run: Run):
    team_id = f"virtkey-{guid}"
    created = succeed(run("provision", users=USERS))
    joined = succeed(run("provision", users=USERS, shared_budget=5))
    assert [entry["user_id"] for entry in joined["virtual_keys"]] == [
        entry["user_id"] for entry in created["virtual_keys"]
    ]
    assert keys_in(proxy, team_id) == [f"{team_id}-{user}" for user in USERS]
    # No user of the environment is left on the proxy.
    assert [member["user_id"] for member in (team(proxy, team_id) or {})["members_with_roles"]] == ["default_user_id"]
    left = succeed(run("provision", users=USERS, settings={"unset": ["team_id"]}))
    assert (left["shared_budget"], team(proxy, team_id)) == ({}, None)
    assert [proxy.chat(entry["key"]) for entry in left["virtual_keys"]] == [200] * 3

    # What cleanup_keys does.
    joined = succeed(run("provision", users=USERS, shared_budget=5))
    variables = {"litellm_url": proxy.url, "litellm_master_key": proxy.master_key}
    ids = [{"key_id": entry["key_id"]} for entry in joined["virtual_keys"]]
    succeed(run_action(f"{COLLECTION}.litellm_key", {"state": "absent", "virtual_keys": ids}, variables))
    assert team(proxy, team_id) is None


def test_a_team_of_somebody_else_and_keys_of_somebody_else(proxy: Proxy, guid: str, run: Run):
    team_id = f"virtkey-{guid}"
    fields = {"team_id": team_id, "team_alias": "of somebody", "max_budget": 7.0, "metadata": {"guid": "other"}}
    assert proxy.request("POST", "/team/new", fields)[0] == 200
    before = team(proxy, team_id)
    result = run("provision", users=USERS, shared_budget=100)
    assert "belongs to environment other according to its metadata" in result["msg"]
    succeed(run("destroy", shared_budget=100))
    assert team(proxy, team_id) == before
    assert proxy.request("POST", "/team/delete", {"team_ids": [team_id]})[0] == 200

    succeed(run("provision", users=USERS, shared_budget=100))
    other = {"key_alias": f"{guid}-of-somebody", "team_id": team_id}
    assert proxy.request("POST", "/key/generate", other)[0] == 200
    result = run("destroy")
    assert f"other virtual keys are in team {team_id}: {guid}-of-somebody" in result["msg"]
    assert keys_in(proxy, team_id) == [f"{guid}-of-somebody"]
    proxy.delete(f"{guid}-of-somebody")
    succeed(run("destroy"))
    assert team(proxy, team_id) is None


def test_two_controllers_create_the_team_at_once(proxy: Proxy, guid: str, run: Run):
    """LiteLLM answers all but one with 500, because the id exists."""
    team_id = f"virtkey-{guid}"

    def ensure(_number: int) -> float | None:
        client = Client(Connection(proxy.url, proxy.master_key))
        team = BudgetTeam(client, Observer(client), team_id, guid)
        team.write(SharedBudget(team_id, guid, 100.0))
        return team.budget.limit if team.budget else None

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ensure, range(4)))
    assert found == [100.0] * 4
    succeed(run("destroy", shared_budget=100))
    assert team(proxy, team_id) is None
