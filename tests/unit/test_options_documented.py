# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every action documents exactly the options that it has."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.doc_fragments._connection import ModuleDocFragment
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
)

PLUGINS = Path(__file__).parents[2] / "plugins"
# Its module runs on managed nodes, and ansible-test checks its options.
ON_MANAGED_NODES = {"private_file"}
ACTIONS = sorted({path.stem for path in (PLUGINS / "action").glob("*.py")} - ON_MANAGED_NODES)
# An action checks this itself.
REQUIRED = {"litellm_key_model": {"old_model", "new_model"}, "litellm_key_row": {"key_ids", "postgres_url"}}


def plugin(kind: str, name: str) -> Any:
    return importlib.import_module(f"ansible_collections.rhpds.litellm_virtual_keys.plugins.{kind}.{name}")


def documentation(action: str) -> dict[str, Any]:
    return dict(yaml.safe_load(plugin("modules", action).DOCUMENTATION))


def documented_options(action: str) -> dict[str, Any]:
    page = documentation(action)
    connects = any(name.endswith("._connection") for name in page["extends_documentation_fragment"])
    fragment = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"] if connects else {}
    assert not set(fragment) & set(page["options"])
    return {**fragment, **page["options"]}


def as_documented(option: Option) -> tuple[Any, ...]:
    kind, elements = {"list of str": ("list", "str"), "list": ("list", "dict")}.get(option.type, (option.type, None))
    return kind, elements, option.default, set(option.choices)


def test_every_action_has_a_documentation_page() -> None:
    assert len(ACTIONS) == 10
    modules = {path.stem for path in (PLUGINS / "modules").glob("*.py")}
    assert modules - set(ACTIONS) == ON_MANAGED_NODES
    assert set(ACTIONS) <= modules
    assert [documentation(action)["module"] for action in ACTIONS] == ACTIONS


@pytest.mark.parametrize("action", ACTIONS)
def test_every_option_is_documented(action: str) -> None:
    assert set(documented_options(action)) == set(plugin("action", action).ActionModule.OPTIONS)


@pytest.mark.parametrize(
    ("action", "name", "option"),
    [
        (action, name, option)
        for action in ACTIONS
        for name, option in plugin("action", action).ActionModule.OPTIONS.items()
    ],
)
def test_an_option_is_documented_as_it_is(action: str, name: str, option: Option) -> None:
    documented = documented_options(action)[name]
    assert (
        documented["type"],
        documented.get("elements"),
        documented.get("default"),
        set(documented.get("choices", ())),
    ) == as_documented(option)
    assert documented.get("required", False) == (name in REQUIRED.get(action, ()))


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_has_all_connection_options_or_none(action: str) -> None:
    options = plugin("action", action).ActionModule.OPTIONS
    own = {name for name, option in CONNECTION_OPTIONS.items() if options.get(name) == option}
    assert own in (set(CONNECTION_OPTIONS), set())
