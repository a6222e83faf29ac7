# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The number of requests for environments of every size. tests/end_to_end counts those of some on a real proxy."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.request_budgets import (
    STEPS_BESIDE,
    environment_over_budget,
    over_budget,
    pages,
)

KEY = "rhpds.litellm_virtual_keys.litellm_key"
ENVIRONMENT = "rhpds.litellm_virtual_keys.litellm_environment"
MODELS = {"models": ["gpt-4o", "openai/granite"]}


@pytest.fixture
def send(run_action, proxy, tmp_path):
    """Run an action, and return its request lines."""

    def run(name, arguments):
        variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
        result = run_action(name, arguments, variables=variables)
        assert not result.get("failed"), result["msg"]
        assert result["api_calls"] == len(proxy.requests)
        return [request for request, _params in proxy.requests]

    return run


@pytest.mark.parametrize("users", [1, 2, 3, 50, 101])
def test_the_keys_of_one_environment(send, users):
    keys = [{"guid": f"abc-user{number}"} for number in range(1, users + 1)]
    assert over_budget(lambda options: send(KEY, {**MODELS, **options, "virtual_keys": keys}), users) == []


@pytest.mark.parametrize("users", [1, 2, 50, 101, 201])
def test_an_environment_within_the_same_limits(send, users):
    def run(operation, options):
        return send(ENVIRONMENT, {"operation": operation, "guid": "abc", "duration": "7d", **options})

    assert environment_over_budget(run, users) == []


@pytest.mark.parametrize("users", [1, 50, 101])
def test_an_environment_beside_another_one_with_the_same_prefix(send, proxy, users):
    """The users must be discovered among many keys of another environment."""
    for number in range(201):
        proxy.add(f"virtkey-abc0-user{number}", metadata={"guid": "abc0", "user": f"user{number}"})

    def run(operation, options):
        return send(ENVIRONMENT, {"operation": operation, "guid": "abc", "duration": "7d", **options})

    # A destroy deletes every key of the environment, so it must list those of users that nobody names, too.
    # An extension looks for replacements that other runs have started.
    assert (
        environment_over_budget(run, users, STEPS_BESIDE, extra={"destroy": 4, "extend": 2, "nothing to extend": 1})
        == []
    )
    assert len(proxy.rows) == 201


@pytest.mark.parametrize("keys", [1, 101, 250])
def test_a_report(send, proxy, keys):
    """One listing, the models, the check of the master key, and whether the release can search for parts of aliases."""
    for number in range(keys):
        proxy.add(f"virtkey-abc-user{number}", metadata={"guid": "abc"})
    assert len(send("rhpds.litellm_virtual_keys.litellm_key_report", {})) <= pages(keys) + 3
