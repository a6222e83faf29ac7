# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of a host set no variable that an action reads, neither itself nor in its arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.display import Display

NAME = "rhpds.litellm_virtual_keys.play_variables"
ROLE_VARIABLE = "ocp4_workload_litellm_virtual_keys_alias_format"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings. ansible-core 2.20 and later calls it deprecated to read facts as variables."""
    texts: list[str] = []
    monkeypatch.setattr(Display, "deprecated", lambda *_unused, **_options: None)
    monkeypatch.setattr(Display, "_deprecated", lambda *_unused, **_options: None, raising=False)
    monkeypatch.setattr(Display, "_deprecated_with_plugin_info", lambda *_unused, **_options: None, raising=False)
    monkeypatch.setattr(Display, "warning", lambda _self, text, *_unused, **_options: texts.append(text))
    return texts


@pytest.fixture
def one_task(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that prepares a task that reads variables, which are given as templates."""
    # Imported here, because the collection can be imported only after the plugins of ansible-core were set up.
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_task import OneTask

    def prepare(inventory: Any = None, play: Any = None, task: Any = None, **read: str) -> OneTask:
        keywords = {NAME: {"variables": read}, **(task or {})}
        keywords = {name: value for name, value in keywords.items() if value is not None}
        return OneTask(tmp_path, keywords, inventory, **(play or {}))

    return prepare


def test_the_values_are_returned_and_the_folder_of_user_data(one_task, tmp_path, shown) -> None:
    task = one_task({"here": 1}, one="{{ here }}", two="text")
    assert task.run() == {
        "changed": False,
        "variables": {"one": 1, "two": "text"},
        "output_dir": str(tmp_path),
    }
    assert shown == []


@pytest.mark.parametrize(
    "source",
    [
        {"inventory": {"name": "ours"}},
        {"play": {"vars": {"name": "ours"}}},
        {"task": {"vars": {"name": "ours"}}},
        {"inventory": {"other": "ours"}, "play": {"vars": {"name": "{{ other }}"}}},
    ],
    ids=["inventory", "play", "task", "template"],
)
def test_a_fact_does_not_replace_a_variable(one_task, source) -> None:
    task = one_task(**source, read="{{ name }}")
    task.return_facts(name="theirs", other="theirs")
    assert task.run()["variables"] == {"read": "ours"}


@pytest.mark.parametrize("cacheable", [False, True])
def test_set_fact_counts(one_task, cacheable, shown) -> None:
    task = one_task({ROLE_VARIABLE: "inventory"}, read=f"{{{{ {ROLE_VARIABLE} }}}}")
    task.return_facts(**{ROLE_VARIABLE: "theirs"})
    task.set_fact(cacheable=cacheable, **{ROLE_VARIABLE: "ours"})
    assert task.run()["variables"] == {"read": "ours"}
    assert shown == []


def test_include_vars_and_a_registered_result_count(one_task) -> None:
    task = one_task(read="{{ guid }} {{ output_dir.stdout }}")
    task.return_facts(guid="theirs", output_dir={"stdout": "theirs"})
    task.manager.set_host_variable("web", "guid", "ours")
    task.manager.set_nonpersistent_facts("web", {"output_dir": {"stdout": "ours"}})
    assert task.run()["variables"] == {"read": "ours ours"}


@pytest.mark.parametrize("name", ["litellm_url", "guid", "output_dir", "report_guids", ROLE_VARIABLE])
def test_a_variable_of_the_collection_is_undefined_if_only_a_fact_sets_it(one_task, name, shown) -> None:
    task = one_task(read=f"{{{{ {name} | default('none') }}}}")
    task.return_facts(**{name: "theirs", f"ansible_{name}": "another fact with the same short name"})
    assert task.run()["variables"] == {"read": "none"}
    assert shown == [
        f"Ignored facts of host web with the names of variables: {name}. A host can return any fact; set variables in "
        "the inventory, in the play or with set_fact"
    ]


def test_a_required_variable_that_only_a_fact_sets_is_named(one_task) -> None:
    task = one_task(read="{{ litellm_url }}")
    task.return_facts(litellm_url="theirs")
    result = task.run()
    assert result["failed"]
    assert result["msg"].startswith(
        "Cannot read the options without litellm_url, which the facts of a host set and which do not count"
    )
    assert "'litellm_url' is undefined" in result["msg"]


def test_other_facts_can_be_read(one_task, shown) -> None:
    """What ansible-core finds out about a host, and facts with names that nobody else uses."""
    task = one_task(
        {"domain": "ours"},
        home="{{ ansible_env.HOME }}",
        role="{{ facter_role }}",
        fact="{{ ansible_facts.domain }}",
        short="{{ domain }}",
    )
    task.return_facts(ansible_env={"HOME": "/home/lab"}, facter_role="web", ansible_domain="theirs", module_setup=True)
    read = {"home": "/home/lab", "role": "web", "fact": "theirs", "short": "ours"}
    assert task.run()["variables"] == read
    assert shown == []
    task.return_facts(guid="theirs")
    assert task.run()["variables"] == read
    assert len(shown) == 1


def test_the_variable_of_a_loop_counts(one_task) -> None:
    task = one_task(task={"loop": ["x"], "loop_control": {"loop_var": "guid"}}, read="{{ guid }}-{{ item | default }}")
    task.return_facts(guid="theirs", item="theirs", ansible_loop_var="item")
    assert task.run(guid="ours")["variables"] == {"read": "ours-theirs"}


def test_module_defaults_are_read_without_facts(one_task) -> None:
    defaults = {"module_defaults": {NAME: {"variables": {"read": "{{ name }}"}}}}
    task = one_task({"name": "ours"}, defaults, {NAME: {}})
    task.return_facts(name="theirs")
    assert task.run()["variables"] == {"read": "ours"}


def test_the_environment_of_the_task_is_read_without_facts(one_task) -> None:
    action = {NAME: None, "rhpds.litellm_virtual_keys.litellm_key_info": {"guid": "a"}}
    environment = {"LITELLM_URL": "{{ name }}", "LITELLM_MASTER_KEY": "sk-0123456789abcdef"}
    task = one_task({"name": "ours"}, {"environment": environment}, action)
    task.return_facts(name="theirs")
    assert task.run()["msg"].startswith("LITELLM_URL 'ours' is invalid")


def test_the_folder_of_user_data_is_not_a_fact(one_task, tmp_path) -> None:
    task = one_task()
    task.return_facts(output_dir="/theirs")
    task.return_facts("localhost", output_dir="/theirs")
    assert task.run()["output_dir"] == str(tmp_path)
    task.manager.set_nonpersistent_facts("localhost", {"output_dir": "/ours"})
    assert task.run()["output_dir"] == "/ours"


def test_a_fact_does_not_replace_the_name_of_the_host(one_task) -> None:
    task = one_task({"guid": "ours"}, read="{{ guid }}")
    task.return_facts(inventory_hostname="localhost")
    assert task.run()["msg"].startswith("The facts of a host contain inventory_hostname")


def test_facts_are_refused_if_ansible_core_does_not_tell_them_from_variables(one_task) -> None:
    """A later release may not have the private attributes that this needs."""
    task = one_task({"guid": "ours"}, read="{{ guid }}")
    task.return_facts(guid="theirs")
    del task.manager._hostvars._variable_manager
    assert task.run()["msg"].startswith("This ansible-core does not distinguish facts from variables")


@pytest.mark.parametrize("part", ["vars.guid", "vars['guid']"])
def test_a_fact_is_not_in_all_variables(one_task, part) -> None:
    task = one_task({"guid": "ours"}, read=f"{{{{ {part} }}}}")
    task.return_facts(guid="theirs")
    assert task.run()["variables"] == {"read": "ours"}


def test_many_ignored_facts_are_shortened(one_task, shown) -> None:
    task = one_task()
    task.return_facts(**{f"litellm_{number}": 1 for number in range(9)}, **{"litellm_" + "x" * 200: 1})
    task.run()
    assert "litellm_0, litellm_1, litellm_2, litellm_3, litellm_4 and 5 more. " in shown[0]


# The lookup, which does not know its task.


def test_the_lookup_reads_no_fact_but_every_other_variable(one_task) -> None:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import play_variable

    task = one_task({"litellm_url": "inventory", "litellm_retries": 1}, {"vars": {"litellm_timeout": 2}})
    task.return_facts(
        litellm_url="theirs", litellm_retries=9, litellm_timeout=9, litellm_ca_path="x", ansible_litellm_ca_path="y"
    )
    task.set_fact(litellm_retries=3)
    names = ("litellm_url", "litellm_retries", "litellm_timeout", "litellm_ca_path", "litellm_concurrency")
    assert [play_variable(name, task.variables()) for name in names] == ["inventory", 3, 2, None, None]
    # Without the manager of variables, as in the variables of another host.
    variables = {name: value for name, value in task.variables().items() if name != "hostvars"}
    assert [play_variable(name, variables) for name in names] == [None, 3, 2, None, None]


def test_the_lookup_reads_no_fact_of_which_ansible_core_removes_a_part(one_task) -> None:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import play_variable

    task = one_task()
    task.return_facts(litellm_virtual_keys=["theirs", {"_ansible_removed": 1}])
    assert task.variables()["litellm_virtual_keys"] == ["theirs", {}] != task.variables()["ansible_facts"]
    assert play_variable("litellm_virtual_keys", task.variables()) is None
    task.set_fact(litellm_virtual_keys=["ours"])
    assert play_variable("litellm_virtual_keys", task.variables()) == ["ours"]


def test_the_lookup_reads_a_variable_with_the_value_of_a_fact(one_task) -> None:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import play_variable

    task = one_task()
    task.set_fact(cacheable=True, litellm_url="ours")
    assert play_variable("litellm_url", task.variables()) == "ours"
    task.return_facts(inventory_hostname="localhost")
    assert play_variable("litellm_url", task.variables()) is None
