# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action as Ansible loads and runs it: what users see, what the platform finds, and what is not in the log."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader
from ansible.plugins.loader import action_loader, connection_loader
from ansible.template import Templar
from ansible.utils.unsafe_proxy import wrap_var

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

NAME = "rhpds.litellm_virtual_keys.agnosticd_user_info"
SECRET = "sk-0123456789abcdef"

Result = dict[str, Any]
Act = Callable[..., Result]


@pytest.fixture
def act(tmp_path: Path) -> Act:
    """Run the action in an empty folder, with arguments whose templates were rendered."""

    def run(arguments: dict[str, Any], check_mode: bool = False, **variables: Any) -> Result:
        variables = {"output_dir": str(tmp_path), **variables}
        task = Task()
        task.action, task.args, task.check_mode = NAME, arguments, check_mode
        action = action_loader.get(
            NAME,
            task=task,
            connection=connection_loader.get("ansible.builtin.local", PlayContext(), os.devnull),
            play_context=PlayContext(),
            loader=DataLoader(),
            templar=Templar(loader=DataLoader(), variables=variables),
            shared_loader_obj=loader,
        )
        result: Result = action.run(task_vars=variables)
        json.dumps(result)  # which Ansible does on its way to the user
        return result

    return run


def saved(folder: Path) -> dict[str, Any]:
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "shown", "files"),
    [
        ({"msg": "hello"}, "user.info: hello", {"provision-user-info.yaml": ["hello"]}),
        (
            {"msg": ["hello", "again 🎉"]},
            ["user.info: hello", "user.info: again 🎉"],
            {"provision-user-info.yaml": ["hello", "again 🎉"]},
        ),
        ({"msg": ["alone"]}, ["user.info: alone"], {"provision-user-info.yaml": ["alone"]}),
        ({"msg": 42}, "user.info: 42", {"provision-user-info.yaml": ["42"]}),
        ({"body": "two\nlines\n"}, "user.body: two\nlines\n", {"provision-user-body.yaml": ["two\nlines\n"]}),
        (
            {"msg": "hello", "user": "user1"},
            "hello",
            {"provision-user-data.yaml": {"users": {"user1": {"msg": "hello"}}}},
        ),
    ],
)
def test_a_message_is_shown_as_the_platform_reads_it_and_saved_as_it_is(
    act: Act, tmp_path: Path, arguments: dict[str, Any], shown: Any, files: dict[str, Any]
) -> None:
    result = act(arguments)
    assert result["msg"] == shown
    assert result["_ansible_verbose_always"] is True
    assert result["changed"] is False
    assert saved(tmp_path) == files


def test_data_are_merged_and_not_shown_always(act: Act, tmp_path: Path) -> None:
    act({"data": {"a": 1, "b": {"c": [None, True, 1.5]}}})
    result = act({"data": {"a": 2}})
    assert result["_ansible_verbose_always"] is False
    assert result.keys() == {"changed", "_ansible_verbose_always"}
    assert saved(tmp_path) == {"provision-user-data.yaml": {"a": 2, "b": {"c": [None, True, 1.5]}}}


@pytest.mark.parametrize("user", [None, "user1"])
def test_a_prefix_is_put_before_each_name_of_data(act: Act, tmp_path: Path, user: str | None) -> None:
    result = act({"data": {"a": 1, 7: {"b": 2}}, "data_prefix": "hub_", "user": user})
    assert result.get("user") == user
    file = saved(tmp_path)["provision-user-data.yaml"]
    assert (file["users"][user] if user else file) == {"hub_a": 1, "hub_7": {"b": 2}}


# Whatever a secret looks like: LiteLLM takes what nobody could tell from text.
@pytest.mark.parametrize("value", [SECRET, "sk-o!d$one&for$you", [f"key={SECRET}"], {SECRET: {"user1": SECRET}}])
def test_a_key_in_data_is_saved_and_not_shown(act: Act, tmp_path: Path, value: Any) -> None:
    for messages in ({}, {"msg": "hello"}):
        result = act({"data": {"litellm_virtual_key": value}, "users": {"ann": {"key": value}}, **messages})
        assert not {"data", "users"} & set(result)
        assert "sk-" not in json.dumps(result)
    assert saved(tmp_path)["provision-user-data.yaml"] == {
        "litellm_virtual_key": value,
        "users": {"ann": {"key": value}},
    }


@pytest.mark.parametrize("arguments", [{"msg": "a"}, {"body": "a"}, {"data": {"a": 1}}, {"msg": "a", "user": "user1"}])
def test_in_check_mode_the_same_is_shown_and_nothing_saved(act: Act, tmp_path: Path, arguments: dict[str, Any]) -> None:
    dry = act(arguments, check_mode=True)
    assert names(tmp_path) == []
    assert dry == act(arguments)
    assert names(tmp_path) != []


def test_values_from_elsewhere_are_saved_as_plain_ones(act: Act, tmp_path: Path) -> None:
    # What lookups and registered results give: strings of ansible-core's own types.
    act(wrap_var({"msg": ["hello"], "data": {"a": ["{{ b }}"]}}))
    act(wrap_var({"msg": "hello", "user": "user1", "data": {"a": "b"}}))
    assert saved(tmp_path) == {
        "provision-user-data.yaml": {"a": ["{{ b }}"], "users": {"user1": {"a": "b", "msg": "hello"}}},
        "provision-user-info.yaml": ["hello"],
    }


@pytest.mark.parametrize(
    ("variables", "file"),
    [
        ({}, "provision-user-info.yaml"),
        ({"ACTION": "destroy"}, "destroy-user-info.yaml"),
        ({"ACTION": ""}, "provision-user-info.yaml"),
        ({"hostvars": {"localhost": {"ACTION": "destroy"}}}, "destroy-user-info.yaml"),
        ({"ACTION": "start", "hostvars": {"localhost": {"ACTION": "destroy"}}}, "start-user-info.yaml"),
        ({"hostvars": {}}, "provision-user-info.yaml"),
    ],
)
def test_the_files_are_named_after_the_action(act: Act, tmp_path: Path, variables: dict[str, Any], file: str) -> None:
    act({"msg": "hello"}, **variables)
    assert names(tmp_path) == [file]


def test_the_folder_may_be_a_template(act: Act, tmp_path: Path) -> None:
    act({"msg": "a"}, output_dir=trust_as_template("{{ place }}/templated"), place=str(tmp_path))
    assert saved(tmp_path / "templated") == {"provision-user-info.yaml": ["a"]}


@pytest.mark.parametrize("output_dir", [None, ""])
def test_without_a_folder_it_is_that_of_the_playbook(act: Act, tmp_path: Path, output_dir: Any) -> None:
    act({"msg": "a"}, output_dir=output_dir, playbook_dir=str(tmp_path / "playbook"))
    assert saved(tmp_path / "playbook") == {"provision-user-info.yaml": ["a"]}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"msg": "a", "body": "b"}, "msg and body cannot both be given"),
        ({"msg": {"a": 1}}, "msg must be text or a list of texts"),
        ({"msg": ["a", None]}, "msg must be text or a list of texts"),
        ({"body": ["a"]}, "body must be text, but is ['a']"),
        ({"data": ["a"]}, "data must be a dictionary, but is ['a']"),
        ({"data": {"a": {1, 2}}}, "data holds something that JSON cannot"),
        ({"data": {"a": b"bytes"}}, "data holds something that JSON cannot"),
        ({"mesage": "a"}, "agnosticd_user_info has no option 'mesage'; did you mean 'msg'?"),
        ({"body": [SECRET]}, "body must be text, but is ['sk-********']"),
    ],
)
def test_what_cannot_be_told_fails_with_a_reason_and_saves_nothing(
    act: Act, tmp_path: Path, arguments: dict[str, Any], why: str
) -> None:
    result = act(arguments)
    assert result["failed"] is True
    assert result["changed"] is False
    assert result["msg"] == result["error"] == why
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_fails_with_a_reason(act: Act, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = act({"msg": "a"}, output_dir=str(tmp_path / "file"))
    assert result["failed"] is True
    assert result["error"] == f"User data cannot be saved in {tmp_path}/file: File exists"


# Many users at once, and another action's files.


def test_data_of_many_users_are_saved_at_once_each_below_its_user(act: Act, tmp_path: Path) -> None:
    act({"users": {"ann": {"a": 0, "kept": 1}}})
    result = act(
        {"data": {"shared": 1}, "users": {"ann": {"a": 1}, "bob": {"a": {"b": SECRET}}}, "data_prefix": "hub_"}
    )
    assert result.keys() == {"changed", "_ansible_verbose_always"}
    assert saved(tmp_path) == {
        "provision-user-data.yaml": {
            "hub_shared": 1,
            "users": {"ann": {"a": 0, "kept": 1, "hub_a": 1}, "bob": {"hub_a": {"b": SECRET}}},
        }
    }


@pytest.mark.parametrize("users", [{}, None])
def test_no_users_make_no_section_of_users(act: Act, tmp_path: Path, users: Any) -> None:
    """With one, a lab guide would take the environment for one of many users."""
    act({"data": {"a": 1}, "users": users})
    assert saved(tmp_path) == {"provision-user-data.yaml": {"a": 1}}


def test_users_and_one_user_together(act: Act, tmp_path: Path) -> None:
    act({"user": "ann", "msg": "hello", "data": {"a": 1}, "users": {"bob": {"a": 2}}})
    assert saved(tmp_path) == {
        "provision-user-data.yaml": {"users": {"ann": {"a": 1, "msg": "hello"}, "bob": {"a": 2}}}
    }


@pytest.mark.parametrize("users", [{"ann": None}, {"ann": "text"}, {"ann": {"a": 1}, "bob": ["b"]}])
def test_users_without_data_are_refused_and_nothing_is_saved(act: Act, tmp_path: Path, users: Any) -> None:
    result = act({"data": {"a": 1}, "users": users})
    assert result["failed"] is True
    assert result["error"].startswith("users must hold a dictionary for each user, but has none for '")
    assert names(tmp_path) == []


def test_the_files_can_be_those_of_another_action(act: Act, tmp_path: Path) -> None:
    act({"msg": "hello", "data": {"a": 1}, "action": "provision"}, ACTION="extend")
    assert names(tmp_path) == ["provision-user-data.yaml", "provision-user-info.yaml"]


# Where AgnosticD's own action is installed.


@dataclass
class Theirs:
    """In place of AgnosticD's action: notes what it is given, and gives back what it is told to."""

    calls: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    found: bool = True

    def get(self, task: Task) -> Any:
        return SimpleNamespace(run=lambda task_vars: self.run(task, task_vars)) if self.found else None

    def run(self, task: Task, task_vars: dict[str, Any]) -> Result:
        self.calls.append((task.args, task_vars.get("ACTION")))
        return self.results.pop(0) if self.results else {}


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Theirs:
    fake = Theirs()
    find_spec, get = importlib.util.find_spec, action_loader.get

    def find(name: str) -> Any:
        return name if name == "ansible_collections.agnosticd.core" else find_spec(name)

    def load(name: str, *rest: Any, **named: Any) -> Any:
        theirs = name == "agnosticd.core.agnosticd_user_info"
        return fake.get(named["task"]) if theirs else get(name, *rest, **named)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(action_loader, "get", load)
    return fake


def test_theirs_gets_what_ours_was_given_one_user_after_the_other(act: Act, tmp_path: Path, theirs: Theirs) -> None:
    given_too = {"data": {"a": 1}, "users": {"ann": {"b": 2}, "bob": {"b": 3}}, "data_prefix": "hub_"}
    act({**given_too, "action": "provision"}, ACTION="extend")
    assert theirs.calls == [
        ({"data": {"a": 1}, "data_prefix": "hub_"}, "provision"),
        ({"user": "ann", "data": {"b": 2}, "data_prefix": "hub_"}, "provision"),
        ({"user": "bob", "data": {"b": 3}, "data_prefix": "hub_"}, "provision"),
    ]
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        ({"msg": ["a", "b"]}, [{"msg": ["a", "b"]}]),
        ({"body": "a", "user": "ann"}, [{"body": "a", "user": "ann"}]),
        ({"users": {"ann": {"a": 1}}}, [{"user": "ann", "data": {"a": 1}}]),
        ({"data": {"a": 1}, "users": {}}, [{"data": {"a": 1}}]),
        ({}, []),
    ],
)
def test_theirs_is_asked_for_nothing_that_it_does_not_know(
    act: Act, theirs: Theirs, arguments: dict[str, Any], calls: list[Any]
) -> None:
    act(arguments)
    assert theirs.calls == [(call, None) for call in calls]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"failed": True, "error": "no room"}, "no room"),
        ({"failed": True, "msg": f"no room for {SECRET}"}, "no room for sk-********"),
        ({"failed": True}, "it does not say why"),
    ],
)
def test_when_theirs_fails_ours_does_with_its_reason(act: Act, theirs: Theirs, result: Result, why: str) -> None:
    theirs.results = [{}, result]
    failed = act({"data": {"a": 1}, "users": {"ann": {}, "bob": {}}})
    assert failed["failed"] is True
    assert failed["error"] == f"User data cannot be saved by agnosticd.core.agnosticd_user_info: {why}"
    assert len(theirs.calls) == 2  # nobody else is told


def test_theirs_is_not_asked_in_check_mode(act: Act, theirs: Theirs) -> None:
    """It would write."""
    act({"msg": "a"}, check_mode=True)
    assert theirs.calls == []


def test_a_collection_without_the_action_is_as_good_as_none(act: Act, tmp_path: Path, theirs: Theirs) -> None:
    theirs.found = False
    act({"msg": "a"})
    assert saved(tmp_path) == {"provision-user-info.yaml": ["a"]}


def test_it_runs_on_the_controller_without_a_connection() -> None:
    action = action_loader.get(NAME, class_only=True)
    assert action._requires_connection is False
    assert action.TRANSFERS_FILES is False
