# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks agree with the role and with the names that the action `litellm_playbook` knows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import SHORT_NAMES
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ROLE_VARIABLES,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.playbook_names import (
    ENVIRONMENT_PLAYBOOKS,
    PLAYBOOKS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.variables import (
    OPERATION_OF_PLAYBOOK,
)

FOLDER = Path(__file__).parents[2] / "playbooks"
READS = "rhpds.litellm_virtual_keys.litellm_playbook"


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))


def test_every_playbook_reads_its_variables() -> None:
    names = {path.stem for path in FOLDER.glob("*.yml")}
    other_names = {name for name in names if "ansible.builtin.import_playbook" in load(name)[0]}
    assert names - other_names == set(PLAYBOOKS)
    for name in names - other_names - set(ENVIRONMENT_PLAYBOOKS):
        assert load(name)[0]["tasks"][0][READS] == {"playbook": name}
        assert load(name)[0]["vars"]["litellm_playbook_name"] == name  # messages then name variables instead of options


@pytest.mark.parametrize("name", ENVIRONMENT_PLAYBOOKS)
def test_a_playbook_for_an_environment_runs_its_operation(name: str) -> None:
    (play,) = load(name)
    assert play["vars"]["litellm_playbook_name"] == name
    assert OPERATION_OF_PLAYBOOK.get(name, name.removesuffix("_key")) in OPERATIONS
    assert [task["ansible.builtin.import_tasks"] for task in play["tasks"]] == ["tasks/environment.yml"]


def test_the_operation_and_the_directory_come_from_the_action() -> None:
    (role,) = (task for task in load("tasks/environment") if "ansible.builtin.include_role" in task)
    # Not with set_fact, which would override the variables of later plays.
    assert role["vars"] == {
        "agnosticd_action": "{{ _litellm_playbook.operation }}",
        "output_dir": "{{ _litellm_playbook.output_dir }}",
    }


def test_every_variable_of_the_role_is_set_if_it_was_typed() -> None:
    (facts,) = (
        task["ansible.builtin.set_fact"] for task in load("tasks/environment") if "ansible.builtin.set_fact" in task
    )
    expected = {name: f"{{{{ _typed.{name} | default(omit) }}}}" for name in ROLE_VARIABLES}
    assert facts == {SHORT_NAMES: "{{ _litellm_playbook.short_names }}", **expected}


def test_the_page_lists_every_short_name() -> None:
    page = (FOLDER.parent / "docs" / "docsite" / "rst" / "playbooks.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"``(\w+)``", page))
    short = {name for names in PLAYBOOKS.values() for name in (*names.short, *names.settings)}
    short |= {name for names in PLAYBOOKS.values() for members in names.members.values() for name in members}
    assert sorted(short - listed) == []


def test_the_page_has_a_section_with_an_example_for_every_playbook() -> None:
    page = (FOLDER.parent / "docs" / "docsite" / "rst" / "playbooks.rst").read_text(encoding="utf-8")
    run = set(re.findall(r"^    ansible-playbook rhpds\.litellm_virtual_keys\.(\w+)", page, re.MULTILINE))
    assert run | {"sweep_keys"} == {path.stem for path in FOLDER.glob("*.yml")}
