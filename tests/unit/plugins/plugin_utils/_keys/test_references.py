# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which models a proxy serves, as LiteLLM itself decides it for a request."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import (
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
        "openai/*",  # some of them
        "gran*",
        "claude-4",  # anthropic/* serves it under this name, too
    ],
)
def test_a_name_that_the_proxy_serves(name):
    assert unknown_models([name], SERVED) == {}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("granit", ["granite", "openai/granite-8b"]),
        ("Granite", ["granite", "openai/granite-8b"]),
        ("openai/granite-7b", ["granite", "openai/granite-8b"]),  # what it contains, before what only resembles it
        ("granite-8b", ["granite", "openai/granite-8b"]),  # only a pattern is also served without the provider
        ("claude", ["anthropic/claude-4"]),  # too short for difflib
        ("bedrock/eu.nova", ["bedrock/us.*"]),
        ("vertex/*", []),
        ("", []),
    ],
)
def test_a_name_that_it_does_not_serve(name, nearest):
    assert unknown_models([name], SERVED) == {name: nearest}


def test_of_many_names_the_three_nearest_are_told():
    served = frozenset({"granite-3-2-8b-instruct", "granite-4", "granite-10", "Granite", "granit"})
    assert unknown_models(["granite"], served) == {"granite": ["Granite", "granit", "granite-4"]}


def test_a_pattern_for_all_serves_all():
    assert unknown_models(["what/ever", "one"], frozenset({"*"})) == {}


def test_the_sentence_names_what_is_wrong_and_what_is_there():
    unknown = unknown_models(["granite", "granit", "mistral"], SERVED)
    assert complaint(unknown, frozenset({"granite", "gpt"})) == (
        "the proxy does not serve 'granit' (did you mean 'granite' or 'openai/granite-8b'?), "
        "'mistral'; it serves gpt, granite"
    )
    assert complaint({"a": []}, frozenset()) == "the proxy does not serve 'a'; it serves no models"
    assert complaint({"a": []}, frozenset(map(str, range(11)))).endswith(", ...")
