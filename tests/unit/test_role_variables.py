# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of each role agree everywhere.

That is in defaults/main.yml, in meta/argument_specs.yml, in the README, in the tasks, and in the options of the action.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jinja2.meta
import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
    ROLE_PREFIX,
    ROLE_VARIABLES,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import FACT_PREFIX, is_input
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import build_facts


class Role:
    """A role, as its files describe it."""

    def __init__(self, name: str, *platform_variables: str) -> None:
        self.name, self.platform_variables = name, set(platform_variables)
        self.prefix = f"{name}_"
        self.folder = Path(__file__).parents[2] / "roles" / name
        self.defaults: dict[str, Any] = yaml.safe_load(self.text("defaults/main.yml"))
        specs = yaml.safe_load(self.text("meta/argument_specs.yml"))["argument_specs"]
        self.specified: dict[str, Any] = specs["main"]["options"]
        # The rows of the README's tables: `name` | default | meaning.
        self.rows = {
            variable: (default, meaning)
            for variable, default, meaning in re.findall(
                r"^\| `(\w+)` \| (.+?) \| (.+) \|$", self.text("README.md"), re.MULTILINE
            )
        }

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")


KEYS = Role(
    *("ocp4_workload_litellm_virtual_keys", "ACTION", "guid", "litellm_url", "litellm_master_key", "output_dir")
)
BASTION = Role("ocp4_workload_litellm_bastion_profile", "ACTION", "output_dir")
ROLES = (KEYS, BASTION)
# Each role with each of its variables.
VARIABLES = [pytest.param(role, name, id=name) for role in ROLES for name in sorted(role.defaults)]
PREFIX, DEFAULTS, SPECIFIED = KEYS.prefix, KEYS.defaults, KEYS.specified
TASKS: list[dict[str, Any]] = yaml.safe_load(KEYS.text("tasks/main.yml"))
# The options that the role passes to the action.
PASSED: dict[str, str] = next(
    task[name] for task in TASKS for name in task if name == "rhpds.litellm_virtual_keys.litellm_environment"
)


def is_computed(value: Any) -> bool:
    return "{{" in json.dumps(value)


def as_in_readme(value: Any) -> str:
    """Return a default as the README writes it."""
    if value is None or value == "":
        return "none"
    if isinstance(value, list) and value:
        return ", ".join(f"`{member}`" for member in value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_in_all_places(role: Role) -> None:
    names = set(role.defaults)
    assert {name for name in role.specified if name.startswith(role.prefix)} == names
    assert set(role.specified) - names == role.platform_variables
    assert {f"{role.prefix}{name}" for name in set(role.rows) - role.platform_variables} == names
    assert set(role.rows) >= role.platform_variables


def test_the_action_knows_the_variables_of_the_role() -> None:
    assert set(DEFAULTS) == ROLE_VARIABLES
    assert PREFIX == ROLE_PREFIX


@pytest.mark.parametrize(("role", "name"), VARIABLES)
def test_the_defaults_are_the_same(role: Role, name: str) -> None:
    default, in_readme = role.defaults[name], role.rows[name.removeprefix(role.prefix)][0]
    if is_computed(default):
        assert "default" not in role.specified[name]
        assert not re.fullmatch("none|`[^`]*`", in_readme), "a computed default is described in words"
    else:
        assert role.specified[name].get("default") == default
        assert in_readme == as_in_readme(default)


@pytest.mark.parametrize(("role", "name"), VARIABLES)
def test_the_readme_lists_all_choices(role: Role, name: str) -> None:
    meaning = role.rows[name.removeprefix(role.prefix)][1]
    for choice in role.specified[name].get("choices", ()):
        assert f"`{choice}`" in meaning


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_used(role: Role) -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in (role.folder / "tasks").iterdir())
    texts += role.text("defaults/main.yml").replace("\nocp4_", "\n")
    unused = {name for name in role.defaults if not re.search(rf"\b{name}\b", texts)}
    assert unused == ({f"{PREFIX}retry_delay"} if role is KEYS else set())  # kept for existing catalog items


# Connection options that have no variable of the role: the action reads their own variables.
NOT_PASSED = {"url", "master_key", "ca_path", "concurrency"}


def test_the_role_passes_every_option() -> None:
    assert set(PASSED) == set(ENVIRONMENT_OPTIONS) - NOT_PASSED


@pytest.mark.parametrize("option", sorted(set(ENVIRONMENT_OPTIONS) - NOT_PASSED))
def test_an_option_is_a_variable_and_no_decision(option: str) -> None:
    assert re.fullmatch(r"\{\{ [\w.]+( \| default\(.*\))? \}\}", PASSED[option])
    if f"{PREFIX}{option}" in DEFAULTS:
        assert PASSED[option] == f"{{{{ {PREFIX}{option} }}}}"


@pytest.mark.parametrize("option", sorted(set(ENVIRONMENT_OPTIONS) - NOT_PASSED))
def test_a_variable_has_the_default_and_choices_of_its_option(option: str) -> None:
    variable, default = PASSED[option].strip("{} "), ENVIRONMENT_OPTIONS[option].default
    if variable in DEFAULTS and not is_computed(DEFAULTS[variable]) and option != "models":
        assert DEFAULTS[variable] == default or (default is None and DEFAULTS[variable] in (None, "", [], {}))
    if variable in SPECIFIED:
        assert tuple(SPECIFIED[variable].get("choices", ())) == ENVIRONMENT_OPTIONS[option].choices


def test_the_role_sets_every_fact() -> None:
    (facts,) = (task["ansible.builtin.set_fact"] for task in TASKS if "ansible.builtin.set_fact" in task)
    assert set(facts) == set(build_facts((), "", ""))


# A managed host can return facts with the names of variables. Actions of the collection ignore them.


TASK_FILES = [path for role in ROLES for path in sorted((role.folder / "tasks").iterdir())]
# ansible-core sets these after all facts, or refuses facts with their names.
MAGIC = {"inventory_hostname", "omit", "playbook_dir"}


def variables_in(value: Any, *, is_condition: bool = False) -> set[str]:
    """Return the names of the variables in all templates and conditions of a value."""
    if isinstance(value, dict):
        return {name for key, one in value.items() for name in variables_in(one, is_condition=key == "when")}
    if isinstance(value, list):
        return {name for one in value for name in variables_in(one, is_condition=is_condition)}
    text = f"{{{{ {value} }}}}" if is_condition else str(value)
    environment = jinja2.Environment(autoescape=True)
    for name in re.findall(r"(?:\||\bis)\s+(?:not\s+)?([\w.]+)", text):
        environment.filters[name] = environment.tests[name] = len
    return set(jinja2.meta.find_undeclared_variables(environment.parse(text))) - {"lookup"}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_that_a_role_reads_cannot_be_a_fact(role: Role) -> None:
    tasks = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (role.folder / "tasks").iterdir()]
    names = variables_in([role.defaults, *tasks])
    assert len(names) > 10
    assert {name for name in names - MAGIC if not name.startswith(FACT_PREFIX) and not is_input(name)} == set()


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: f"{path.parents[1].name.split('_', 3)[-1]}-{path.name}")
def test_only_actions_of_the_collection_read_variables_of_the_role(path: Path) -> None:
    """All other tasks read their results, which facts do not replace."""
    waiting = yaml.safe_load(path.read_text(encoding="utf-8"))
    while waiting:
        task = dict(waiting.pop())
        waiting += task.pop("block", [])
        own = [name for name in task if name.startswith("rhpds.litellm_virtual_keys.")]
        read = variables_in({name: value for name, value in task.items() if name not in own})
        assert {name for name in read if is_input(name) and not name.startswith("_")} == set(), task["name"]


@pytest.mark.parametrize("path", sorted((KEYS.folder / "tasks").iterdir()), ids=lambda path: path.name)
def test_every_loop_has_a_variable_of_its_own(path: Path) -> None:
    """So that the role can be included in a loop, whose variable `item` its own variables may contain."""
    tasks = yaml.safe_load(path.read_text(encoding="utf-8"))
    for task in tasks:
        if "loop" in task:
            assert task["loop_control"]["loop_var"].startswith(f"_{PREFIX}")
    assert not re.search(r"\bitem\b", json.dumps(tasks))
