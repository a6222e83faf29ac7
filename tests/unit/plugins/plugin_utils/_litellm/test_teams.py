# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and delete teams of a fake proxy."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.teams import (
    delete_team,
    list_teams,
    read_team,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, FakeLiteLLM, Fault


@pytest.fixture(name="proxy")
def fake_proxy():
    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture(name="client")
def fake_client(proxy):
    return Client(Connection(proxy.url, MASTER_KEY, retries=0))


def test_all_pages_are_read(proxy, client):
    for number in range(201):
        proxy.add_team(f"team-{number:03}")
    assert [row["team_id"] for row in list_teams(client)] == [f"team-{number:03}" for number in range(201)]
    assert len(proxy.requests) == 3


def test_a_team_is_read_by_its_exact_id(proxy, client, monkeypatch):
    proxy.add_team("team-1", max_budget=5.0)
    assert (read_team(client, "team-1") or {})["max_budget"] == 5.0
    assert read_team(client, "team") is None
    # A proxy that ignores the filter.
    monkeypatch.setattr(proxy, "_get_v2_team_list", lambda query: {"teams": [{"team_id": "x"}], "total_pages": 1})
    assert read_team(client, "team-1") is None


@pytest.mark.parametrize(
    "response",
    [
        [],
        {},
        {"teams": None, "total_pages": 1},
        {"teams": ["a"], "total_pages": 1},
        {"teams": [], "total_pages": "1"},
        {"teams": [], "total_pages": -1},
        {"teams": [], "total_pages": 10**9},
    ],
)
def test_a_response_that_is_no_listing_is_an_error(proxy, client, monkeypatch, response):
    monkeypatch.setattr(proxy, "_get_v2_team_list", lambda query: response)
    with pytest.raises(
        LiteLLMError, match=r"returned no list of teams; check that .* is a LiteLLM proxy, 1.67 or later"
    ):
        read_team(client, "team-1")


def test_a_missing_team_is_deleted_already(proxy, client):
    delete_team(client, "team-1")
    proxy.fault("POST /team/delete", Fault("status", 403, "No."))
    with pytest.raises(LiteLLMError, match=r"returned 403 .* No\."):
        delete_team(client, "team-1")
