# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option `settings` of `litellm_environment`, and warnings about misspelled variables of the role."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
    ROLE_PREFIX,
    coerce_settings,
    role_wording,
    unknown_role_variables,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    coerce_options,
    secret_values,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

# Settings


def test_only_given_settings_are_returned_with_their_types() -> None:
    settings = {"max_budget": "5", "shorten": "no", "models": '["a"]', "user_id": "", "tags": None, "key_version": 2}
    assert coerce_settings(settings) == {"max_budget": 5.0, "shorten": False, "models": ["a"], "key_version": 2}


@pytest.mark.parametrize("nothing", [None, {}])
def test_no_settings(nothing: Any) -> None:
    assert coerce_settings(nothing) == {}


@pytest.mark.parametrize(
    "name",
    ["state", "guid", "key_alias", "key_id", "alias_prefix", "users", "virtual_keys", "url", "master_key", "oops"],
)
def test_settings_cannot_name_a_key_or_a_proxy(name: str) -> None:
    with pytest.raises(OptionError) as error:
        coerce_settings({name: "x"})
    assert str(error.value).startswith(f"settings contains '{name}'; it can contain ")


def test_settings_that_are_not_a_dictionary_are_refused_and_not_quoted() -> None:
    with pytest.raises(OptionError, match=r"^settings must be a dictionary, but is a value of type list$"):
        coerce_options(ENVIRONMENT_OPTIONS, {"settings": ["sk-secret"]}, "litellm_environment")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_budget": "much"}, "settings: max_budget must be a number, but is 'much'"),
        ({"on_unknown_models": "ask"}, "settings: on_unknown_models must be one of fail, warn, ignore, but is 'ask'"),
        ({"on_create": {"rpm_limits": 1}}, "settings: on_create has no option 'rpm_limits'; did you mean 'rpm_limit'?"),
    ],
)
def test_an_invalid_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as error:
        coerce_settings(settings)
    assert str(error.value) == message


def test_the_secrets_in_settings_are_known_to_be_secrets() -> None:
    settings = {"key": "sk-one", "key_seed": "a seed", "max_budget": 5}
    arguments = {"settings": settings, "key_seed": "another seed", "guid": "abc"}
    assert sorted(secret_values(ENVIRONMENT_OPTIONS, arguments)) == ["a seed", "another seed", "sk-one"]
    arguments["settings"] = json.dumps(settings)
    assert sorted(secret_values(ENVIRONMENT_OPTIONS, arguments)) == ["a seed", "another seed", "sk-one"]


# Variables of the role


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("duration", f"{ROLE_PREFIX}duration"),
        ("runtime", f"{ROLE_PREFIX}runtime"),
        ("platform_runtime", "agnosticd_user_info.runtime"),
        ("settings: duration", f"{ROLE_PREFIX}settings: duration"),
    ],
)
def test_an_error_names_the_variable_of_the_role(name: str, variable: str) -> None:
    message = "'soon' is not a duration"
    assert role_wording({}, None).reword(f"{name}: {message}") == f"{variable}: {message}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("duraton", f"did you mean {ROLE_PREFIX}duration?"),
        ("user_counts", f"did you mean {ROLE_PREFIX}user_count?"),
        ("something_else_altogether", "the role has no variable with a similar name"),
    ],
)
def test_an_unknown_variable_with_the_prefix_of_the_role_is_warned_about(name: str, hint: str) -> None:
    variables = [f"{ROLE_PREFIX}duration", f"{ROLE_PREFIX}{name}", "duraton", "ocp4_workload_other_duraton"]
    assert unknown_role_variables(variables) == [f"The role ignores the variable {ROLE_PREFIX}{name}; {hint}"]


@pytest.mark.parametrize("name", ["duration", "alias_format", "verify_ssl", "postgres_url", "user_count", "env_file"])
def test_the_variables_of_the_role_are_known(name: str) -> None:
    assert unknown_role_variables([f"{ROLE_PREFIX}{name}"]) == []
