# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which models a proxy serves, by the rules of LiteLLM itself, and whether teams and budgets exist."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model_names import (
    describe_unknown,
    unknown_models,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import (
    served_models,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    LIST,
    MODELS,
    run,
    run_one,
    succeeded,
)

SERVED = frozenset({"granite", "openai/granite-8b", "anthropic/*", "anthropic/claude-4", "bedrock/us.*", "a-group"})


@pytest.mark.parametrize(
    "name",
    [
        "granite",
        "openai/granite-8b",
        "a-group",
        "*",
        "all-team-models",
        "all-proxy-models",
        "no-default-models",
        "anthropic/*",
        "anthropic/any-model",
        "bedrock/us.nova",
        "openai/*",  # matches some models
        "gran*",
        "claude-4",  # anthropic/* serves it without the provider, too
    ],
)
def test_names_that_the_proxy_serves(name):
    assert unknown_models([name], SERVED) == {}


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("granit", ["granite", "openai/granite-8b"]),
        ("Granite", ["granite", "openai/granite-8b"]),
        ("openai/granite-7b", ["granite", "openai/granite-8b"]),  # a name that it contains comes before similar names
        # Only a model behind a pattern can be named without the provider.
        ("granite-8b", ["granite", "openai/granite-8b"]),
        ("claude", ["anthropic/claude-4"]),  # too short for difflib
        ("bedrock/eu.nova", ["bedrock/us.*"]),
        ("vertex/*", []),
        ("", []),
    ],
)
def test_names_that_it_does_not_serve_with_the_closest_that_it_does(name, closest):
    assert unknown_models([name], SERVED) == {name: closest}


def test_at_most_three_close_names_are_returned():
    served = frozenset({"granite-3-2-8b-instruct", "granite-4", "granite-10", "Granite", "granit"})
    assert unknown_models(["granite"], served) == {"granite": ["Granite", "granit", "granite-4"]}


def test_a_pattern_for_all_models_matches_all():
    assert unknown_models(["what/ever", "one"], frozenset({"*"})) == {}


def test_the_description_names_unknown_and_served_models():
    unknown = unknown_models(["granite", "granit", "mistral"], SERVED)
    assert describe_unknown(unknown, frozenset({"granite", "gpt"})) == (
        "'granit' (did you mean 'granite' or 'openai/granite-8b'?), 'mistral'. The proxy serves gpt, granite"
    )
    assert describe_unknown({"a": []}, frozenset()) == "'a'. The proxy serves no models"
    assert describe_unknown({"a": []}, frozenset(map(str, range(11)))).endswith(", ...")


def test_the_models_of_a_proxy_can_be_listed(proxy):
    client = Client(Connection(proxy.url, MASTER_KEY))
    assert served_models(client) == {"gpt-4o", "openai/granite"}


# Keys that refer to models, teams and budgets


@pytest.mark.parametrize("exists", [False, True])
def test_an_unknown_model_fails_before_anything_is_changed(proxy, exists):
    if exists:
        proxy.add(ALIAS)
    outcome = run_one(proxy, settings={"models": ["gpt-4o", "gpt-4"]})
    assert "'gpt-4' (did you mean 'gpt-4o'?)" in str(outcome.error)
    assert set(proxy.counts()) == {LIST, MODELS}


def test_an_unknown_model_can_be_accepted(proxy):
    warnings: list[str] = []
    succeeded(run_one(proxy, settings={"models": ["gpt-4"]}, options={"on_unknown_models": "ignore"}), "created")
    assert MODELS not in proxy.counts()
    proxy.rows.clear()
    options = {"on_unknown_models": "warn", "warn": warnings.append}
    succeeded(run_one(proxy, settings={"models": ["gpt-4o", "gpt-4"]}, options=options), "created")
    assert len(warnings) == 1


@pytest.mark.parametrize("models", [["gpt-4"], ["gpt-4", "gpt-3"], ["gpt-4", "gpt-4"]], ids=str)
def test_a_key_of_whose_models_the_proxy_serves_none_is_an_error_even_with_warn(proxy, models):
    warnings: list[str] = []
    options = {"on_unknown_models": "warn", "warn": warnings.append}
    outcome = run_one(proxy, settings={"models": models}, options=options)
    assert "The key could use no model; to create it, set on_unknown_models: ignore" in str(outcome.error)
    assert "did you mean 'gpt-4o'?" in str(outcome.error)
    assert (proxy.rows, warnings) == ({}, [])


def test_without_a_list_of_models_unknown_models_are_an_error_or_a_warning(proxy):
    proxy.fault("GET /v1/models", *(Fault(status=400) for _unused in range(2)))
    with pytest.raises(LiteLLMError, match="400 for GET /v1/models"):
        run_one(proxy, settings={"models": ["gpt-4o"]})
    warnings: list[str] = []
    options = {"on_unknown_models": "warn", "warn": warnings.append}
    succeeded(run_one(proxy, settings={"models": ["gpt-4"]}, options=options), "created")
    assert warnings[0].startswith("The models of the proxy cannot be listed, so they are not checked: ")


def test_models_that_a_key_already_has_are_not_checked(proxy):
    proxy.add(ALIAS, models=["gone-since"])
    succeeded(run_one(proxy, settings={"models": ["gone-since"]}), "unchanged")
    assert MODELS not in proxy.counts()


@pytest.mark.parametrize("name", ["team_id", "budget_id"])
def test_a_team_or_budget_is_checked_once_for_all_keys(proxy, name):
    outcomes = run(proxy, *(DesiredKey(f"virtkey-{number}", settings={name: "nowhere"}) for number in range(5)))
    assert all(f"cannot have {name} nowhere, which does not exist" in str(outcome.error) for outcome in outcomes)
    assert proxy.rows == {}
    proxy.add_team("nowhere")
    proxy.budgets = {"nowhere"}
    before = len(proxy.requests)
    assert before <= 4
    for outcome in run(proxy, *(DesiredKey(f"virtkey-{number}", settings={name: "nowhere"}) for number in range(5))):
        succeeded(outcome, "created")


def test_a_failed_check_is_not_repeated_for_each_key(proxy):
    proxy.fault("GET /team/info", *(Fault(status=500) for _unused in range(100)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-{number}", settings={"team_id": "red"}) for number in range(20)))
    assert all(str(one.error).startswith("Cannot check whether team_id red exists: ") for one in outcomes)
    assert proxy.counts()["GET /team/info"] <= 10
