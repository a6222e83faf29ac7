# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of `litellm_key` become complete, typed options of each key."""

from __future__ import annotations

import json
from datetime import date
from functools import partial
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import (
    KEY_OPTIONS,
    LITELLM_KEY_OPTIONS,
    SETTING_OPTIONS,
    coerce_key_options,
    each_key_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    coerce_options,
    secret_values,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import SETTINGS


def error_of(function: Any, *arguments: Any) -> str:
    with pytest.raises(OptionError) as error:
        function(*arguments)
    return str(error.value)


def each(**arguments: Any) -> list[Any]:
    return each_key_options(coerce_options(LITELLM_KEY_OPTIONS, arguments, "litellm_key"), arguments)


def test_every_setting_is_an_option_of_its_type() -> None:
    assert list(SETTING_OPTIONS) == list(SETTINGS)
    assert {name: option.type for name, option in SETTING_OPTIONS.items()} == {
        name: one.kind for name, one in SETTINGS.items()
    }


def test_the_options_of_a_key_are_complete() -> None:
    options = coerce_key_options({"guid": "abc", "max_budget": "5"})
    assert set(options) == set(KEY_OPTIONS)
    assert (options["max_budget"], options["state"], options["models"]) == (5.0, "present", None)


def test_settings_are_plain_values() -> None:
    options = coerce_key_options({"metadata": {"until": date(2026, 11, 30), 7: [1]}, "extra_params": {"a": (1, 2)}})
    assert options["metadata"] == {"until": "2026-11-30", "7": [1]}
    assert options["extra_params"] == {"a": [1, 2]}
    json.dumps(options)


@pytest.mark.parametrize(
    ("on_create", "message"),
    [
        ({"guid": "x"}, "on_create has no option 'guid'; "),
        ({"duration": "1d"}, "on_create has no option 'duration'; "),
        ({"tpm_limits": 1}, "on_create has no option 'tpm_limits'; did you mean 'tpm_limit'?"),
        ({"rpm_limit": "many"}, "on_create: rpm_limit must be a whole number, but is 'many'"),
        ("text", "on_create must be a dictionary, but is 'text'"),
    ],
)
def test_invalid_settings_of_a_new_key_are_refused(on_create: Any, message: str) -> None:
    assert error_of(coerce_key_options, {"guid": "abc", "on_create": on_create}).startswith(message)


def test_settings_of_a_new_key_are_coerced() -> None:
    on_create = coerce_key_options({"on_create": {"rpm_limit": "5", "metadata": {"a": date(2026, 11, 30)}}})[
        "on_create"
    ]
    assert {name: value for name, value in on_create.items() if value is not None} == {
        "rpm_limit": 5,
        "metadata": {"a": "2026-11-30"},
    }


def test_without_a_list_there_is_one_key() -> None:
    assert each(guid="abc", max_budget=1) == [coerce_key_options({"guid": "abc", "max_budget": 1})]


def test_each_key_of_a_list_overrides_the_common_options() -> None:
    first, second = each(virtual_keys=[{"guid": "a"}, {"guid": "b", "max_budget": 2}], max_budget=1, url="http://host")
    assert (first["guid"], first["max_budget"]) == ("a", 1)
    assert (second["guid"], second["max_budget"]) == ("b", 2)
    assert set(first) == set(KEY_OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"guid": "a", "virtual_keys": []}, "guid and virtual_keys both name keys; use one of them"),
        ({"key_alias": "a", "virtual_keys": []}, "key_alias and virtual_keys both name keys; use one of them"),
        ({"virtual_keys": [{"guid": "a"}, "b"]}, "virtual_keys[1] must be a dictionary like {guid: user1}"),
        ({"virtual_keys": [{"guid": "a", "colour": 1}]}, "virtual_keys[0]: it has no option 'colour'; "),
        ({"virtual_keys": [{"guid": "a", "url": "x"}]}, "virtual_keys[0]: it has no option 'url'; "),
        ({"virtual_keys": [{"guid": "a", "max_budget": "x"}]}, "virtual_keys[0]: max_budget must be a number"),
    ],
)
def test_an_invalid_list_of_keys_is_refused(arguments: dict[str, Any], message: str) -> None:
    assert error_of(partial(each, **arguments)).startswith(message)


@pytest.mark.parametrize("secrets", [[{"key": "a", "key_seed": "b"}, {"key": "c"}], [{"key": ["a", "b"]}]], ids=str)
def test_the_secrets_of_each_key_are_known_to_be_secrets(secrets: list[dict[str, Any]]) -> None:
    values = [value for one in secrets for value in one.values()]
    arguments = {"key": "d", "master_key": "sk-e", "guid": "f", "virtual_keys": secrets}
    assert sorted(secret_values(LITELLM_KEY_OPTIONS, arguments)) == sorted([*map(str, values), "d", "sk-e"])
