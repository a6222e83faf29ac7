# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_model`: which keys it changes, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

NAME = "rhpds.litellm_virtual_keys.litellm_key_model"
OLD, NEW = "granite-3", "granite-4"


@pytest.fixture
def replace(run_action, proxy):
    proxy.models = [NEW, "mistral"]

    def run(old_model=OLD, new_model=NEW, check_mode=False, **arguments):
        arguments = {"old_model": old_model, "new_model": new_model, **arguments}
        return run_action(NAME, arguments, check_mode=check_mode, diff=True)

    return run


def models_of(proxy):
    return {row["key_alias"]: row["models"] for row in proxy.rows.values()}


def test_a_model_is_replaced_in_every_key_that_names_it(replace, proxy):
    proxy.add("virtkey-a", "sk-the-secret-of-a-0000", models=["mistral", OLD], tpm_limit=7)
    proxy.add("virtkey-b", "sk-the-secret-of-b-0000", models=[OLD, NEW])
    proxy.add("virtkey-c", "sk-the-secret-of-c-0000", models=["mistral"])
    proxy.add("other", "sk-the-secret-of-d-0000", models=[OLD])
    before = models_of(proxy)
    predicted = replace(check_mode=True)
    assert models_of(proxy) == before
    assert predicted["summary"] == [
        "Would replace granite-3 by granite-4 in 2 virtual keys",
        "  virtkey-a",
        "  virtkey-b",
    ]
    result = replace()
    assert result["changed"]
    assert result["summary"][0] == "Replaced granite-3 by granite-4 in 2 virtual keys"
    assert predicted["diff"] == result["diff"]
    assert models_of(proxy) == {**before, "virtkey-a": ["mistral", NEW], "virtkey-b": [NEW]}
    again = replace()
    assert (again["changed"], again["virtual_keys"], again["diff"]) == (False, [], [])
    assert again["summary"] == ["No virtual key names the model granite-3"]
    assert "sk-the" not in json.dumps([predicted, result, again])


def test_limits_and_aliases_of_the_model_are_replaced_too(replace, proxy):
    proxy.add(
        "virtkey-a",
        "sk-the-secret-of-a-0000",
        aliases={"best": OLD, "other": "mistral"},
        model_max_budget={OLD: {"budget_limit": 1, "time_period": "1d"}},
        metadata={"model_rpm_limit": {OLD: 5, NEW: 9}, "model_tpm_limit": {OLD: 6}, "guid": "a"},
    )
    replace()
    (row,) = proxy.rows.values()
    assert row["aliases"] == {"best": NEW, "other": "mistral"}
    assert row["model_max_budget"] == {NEW: {"budget_limit": 1, "time_period": "1d"}}
    assert row["metadata"] == {"model_rpm_limit": {NEW: 9}, "model_tpm_limit": {NEW: 6}, "guid": "a"}


def test_an_odd_key_without_the_model_does_not_matter(replace, proxy):
    proxy.add("virtkey-odd", "sk-the-secret-of-a-0000", tpm_limit="many", models=None)
    proxy.add("virtkey-b", "sk-the-secret-of-b-0000", models=[OLD])
    result = replace()
    assert [key["key_alias"] for key in result["virtual_keys"]] == ["virtkey-b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"old_model": ""}, "old_model is not set; name the model that is replaced, as the keys name it"),
        ({"new_model": ""}, "new_model is not set; name the model that the keys get instead"),
        ({"alias_prefix": ""}, "alias_prefix is empty; it must start the aliases of the keys that may be changed"),
        ({"new_model": OLD}, "old_model and new_model are both 'granite-3'; name two models"),
        (
            {"new_model": "granite"},
            "new_model is an unknown model: 'granite' (did you mean 'granite-4'?). The proxy serves granite-4, mistral",
        ),
    ],
)
def test_bad_options_are_refused_before_a_key_changes(replace, proxy, arguments, message):
    proxy.add("virtkey-a", "sk-the-secret-of-a-0000", models=[OLD])
    result = replace(**arguments)
    assert result["failed"]
    assert result["msg"] == message
    assert models_of(proxy) == {"virtkey-a": [OLD]}
