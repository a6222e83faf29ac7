# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which models a proxy serves, by the rules of LiteLLM itself, and whether teams and budgets exist."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import (
    describe_unknown,
    unknown_models,
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
