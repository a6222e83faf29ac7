# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `agnosticd_user_info` as Ansible loads and runs it: what is displayed, and what is saved."""

from __future__ import annotations

import importlib.util
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader
from ansible.utils.unsafe_proxy import wrap_var

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

NAME = "rhpds.litellm_virtual_keys.agnosticd_user_info"
SECRET = "sk-0123456789abcdef"

Result = dict[str, Any]
RunTask = Callable[..., Result]


@pytest.fixture
def run(run_action: RunTask, tmp_path: Path) -> RunTask:
    """Run the action in an empty folder, with rendered arguments."""

    def run_task(arguments: dict[str, Any], check_mode: bool = False, **variables: Any) -> Result:
        variables = {"output_dir": str(tmp_path), **variables}
        result: Result = run_action(NAME, arguments, variables=variables, check_mode=check_mode)
        return result

    return run_task


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
def test_a_message_is_displayed_with_the_prefix_of_the_platform_and_saved_without(
    run: RunTask, tmp_path: Path, arguments: dict[str, Any], shown: Any, files: dict[str, Any]
) -> None:
    result = run(arguments)
    assert result["msg"] == shown
    assert result["_ansible_verbose_always"] is True
    assert result["changed"] is False
    assert saved(tmp_path) == files


def test_data_are_merged_and_not_displayed(run: RunTask, tmp_path: Path) -> None:
    run({"data": {"a": 1, "b": {"c": [None, True, 1.5]}}})
    result = run({"data": {"a": 2}})
    assert result["_ansible_verbose_always"] is False
    assert result.keys() == {"changed", "_ansible_verbose_always"}
    assert saved(tmp_path) == {"provision-user-data.yaml": {"a": 2, "b": {"c": [None, True, 1.5]}}}


@pytest.mark.parametrize("user", [None, "user1"])
def test_data_prefix_is_added_to_each_name(run: RunTask, tmp_path: Path, user: str | None) -> None:
    result = run({"data": {"a": 1, 7: {"b": 2}}, "data_prefix": "hub_", "user": user})
    assert result.get("user") == user
    file = saved(tmp_path)["provision-user-data.yaml"]
    assert (file["users"][user] if user else file) == {"hub_a": 1, "hub_7": {"b": 2}}


# Whatever a secret looks like: LiteLLM accepts any text after the prefix.
@pytest.mark.parametrize("value", [SECRET, "sk-o!d$one&for$you", [f"key={SECRET}"], {SECRET: {"user1": SECRET}}])
def test_a_key_in_data_is_saved_and_not_displayed(run: RunTask, tmp_path: Path, value: Any) -> None:
    for messages in ({}, {"msg": "hello"}):
        result = run({"data": {"litellm_virtual_key": value}, "users": {"ann": {"key": value}}, **messages})
        assert not {"data", "users"} & set(result)
        assert "sk-" not in json.dumps(result)
    assert saved(tmp_path)["provision-user-data.yaml"] == {
        "litellm_virtual_key": value,
        "users": {"ann": {"key": value}},
    }


@pytest.mark.parametrize("arguments", [{"msg": "a"}, {"body": "a"}, {"data": {"a": 1}}, {"msg": "a", "user": "user1"}])
def test_check_mode_displays_the_same_and_saves_nothing(
    run: RunTask, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    predicted = run(arguments, check_mode=True)
    assert names(tmp_path) == []
    assert predicted == run(arguments)
    assert names(tmp_path) != []


def test_values_of_ansible_types_are_saved_as_plain_values(run: RunTask, tmp_path: Path) -> None:
    # Lookups and registered results contain strings of ansible-core's own types.
    run(wrap_var({"msg": ["hello"], "data": {"a": ["{{ b }}"]}}))
    run(wrap_var({"msg": "hello", "user": "user1", "data": {"a": "b"}}))
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
def test_the_files_are_named_after_the_action(
    run: RunTask, tmp_path: Path, variables: dict[str, Any], file: str
) -> None:
    run({"msg": "hello"}, **variables)
    assert names(tmp_path) == [file]


def test_the_folder_may_be_a_template(run: RunTask, tmp_path: Path) -> None:
    run({"msg": "a"}, output_dir=trust_as_template("{{ place }}/templated"), place=str(tmp_path))
    assert saved(tmp_path / "templated") == {"provision-user-info.yaml": ["a"]}


@pytest.mark.parametrize("output_dir", [None, ""])
def test_the_default_folder_is_that_of_the_playbook(run: RunTask, tmp_path: Path, output_dir: Any) -> None:
    run({"msg": "a"}, output_dir=output_dir, playbook_dir=str(tmp_path / "playbook"))
    assert saved(tmp_path / "playbook") == {"provision-user-info.yaml": ["a"]}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"msg": "a", "body": "b"}, "msg and body cannot both be given"),
        ({"msg": {"a": 1}}, "msg must be text or a list of texts"),
        ({"msg": ["a", None]}, "msg must be text or a list of texts"),
        ({"body": ["a"]}, "body must be text, but is ['a']"),
        ({"data": ["a"]}, "data must be a dictionary, but is ['a']"),
        ({"data": {"a": {1, 2}}}, "data contains a value that cannot be stored: a value of type set"),
        ({"data": {"a": b"bytes"}}, "data contains a value that cannot be stored: a value of type bytes"),
        ({"mesage": "a"}, "agnosticd_user_info has no option 'mesage'; did you mean 'msg'?"),
        ({"body": [SECRET]}, "body must be text, but is ['sk-********']"),
    ],
)
def test_invalid_options_fail_with_a_reason_and_save_nothing(
    run: RunTask, tmp_path: Path, arguments: dict[str, Any], why: str
) -> None:
    result = run(arguments)
    assert result["failed"] is True
    assert result["changed"] is False
    assert result["msg"] == result["error"] == why
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(run: RunTask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run({"msg": "a"}, output_dir=str(tmp_path / "file"))
    assert result["failed"] is True
    assert result["error"] == f"Cannot save user data in {tmp_path}/file: Not a directory"


# Several users, and the files of another action


def test_data_of_several_users_are_saved_in_one_task(run: RunTask, tmp_path: Path) -> None:
    run({"users": {"ann": {"a": 0, "kept": 1}}})
    result = run(
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
def test_empty_users_make_no_section_of_users(run: RunTask, tmp_path: Path, users: Any) -> None:
    """With such a section, a lab guide would treat the environment as one with many users."""
    run({"data": {"a": 1}, "users": users})
    assert saved(tmp_path) == {"provision-user-data.yaml": {"a": 1}}


def test_users_and_one_user_can_be_combined(run: RunTask, tmp_path: Path) -> None:
    run({"user": "ann", "msg": "hello", "data": {"a": 1}, "users": {"bob": {"a": 2}}})
    assert saved(tmp_path) == {
        "provision-user-data.yaml": {"users": {"ann": {"a": 1, "msg": "hello"}, "bob": {"a": 2}}}
    }


@pytest.mark.parametrize("users", [{"ann": None}, {"ann": "text"}, {"ann": {"a": 1}, "bob": ["b"]}])
def test_users_without_data_are_refused_and_nothing_is_saved(run: RunTask, tmp_path: Path, users: Any) -> None:
    result = run({"data": {"a": 1}, "users": users})
    assert result["failed"] is True
    assert result["error"].startswith("users must contain a dictionary for each user, but has none for '")
    assert names(tmp_path) == []


def test_data_that_cannot_be_stored_are_an_error(run: RunTask, tmp_path: Path) -> None:
    own: dict[str, Any] = {}
    own["own"] = own
    deep: dict[str, Any] = {}
    for _level in range(100_000):
        deep = {"deep": deep}
    for data, why in ((own, "Circular reference detected"), (deep, "it is nested too deep")):
        result = run({"data": data})
        assert result["failed"] is True
        assert result["error"] == f"data contains a value that cannot be stored: {why}"
    assert names(tmp_path) == []


def test_the_files_of_another_action_can_be_selected(run: RunTask, tmp_path: Path) -> None:
    run({"msg": "hello", "data": {"a": 1}, "action": "provision"}, ACTION="extend")
    assert names(tmp_path) == ["provision-user-data.yaml", "provision-user-info.yaml"]


# With AgnosticD's own action installed


@dataclass
class FakeAction:
    """Replaces AgnosticD's action: records its arguments, and returns these results."""

    calls: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    folders: list[Any] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    found: bool = True
    write: Callable[[], object] = lambda: None

    def get(self, task: Task) -> Any:
        return SimpleNamespace(run=lambda task_vars: self.run(task, task_vars)) if self.found else None

    def run(self, task: Task, task_vars: dict[str, Any]) -> Result:
        self.calls.append((task.args, task_vars.get("ACTION")))
        self.folders.append(task_vars.get("output_dir"))
        self.write()
        return self.results.pop(0) if self.results else {}


@pytest.fixture
def agnosticd(monkeypatch: pytest.MonkeyPatch) -> FakeAction:
    fake = FakeAction()
    find_spec, get = importlib.util.find_spec, action_loader.get

    def find(name: str) -> Any:
        return name if name == "ansible_collections.agnosticd.core" else find_spec(name)

    def load(name: str, *rest: Any, **named: Any) -> Any:
        agnosticd = name == "agnosticd.core.agnosticd_user_info"
        return fake.get(named["task"]) if agnosticd else get(name, *rest, **named)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    monkeypatch.setattr(action_loader, "get", load)
    return fake


def test_the_action_of_agnosticd_is_called_for_each_user(run: RunTask, tmp_path: Path, agnosticd: FakeAction) -> None:
    options = {"data": {"a": 1}, "users": {"ann": {"b": 2}, "bob": {"b": 3}}, "data_prefix": "hub_"}
    run({**options, "action": "provision"}, ACTION="extend")
    assert agnosticd.calls == [
        ({"data": {"a": 1}, "data_prefix": "hub_"}, "provision"),
        ({"user": "ann", "data": {"b": 2}, "data_prefix": "hub_"}, "provision"),
        ({"user": "bob", "data": {"b": 3}, "data_prefix": "hub_"}, "provision"),
    ]
    assert saved(tmp_path) == {"provision-user-data.yaml": None}  # prepared for AgnosticD's action


@pytest.mark.parametrize("variables", [{"output_dir": "own", "ACTION": "start"}, {}])
def test_the_action_of_agnosticd_gets_the_folder_and_the_action_that_were_found(
    run: RunTask, tmp_path: Path, agnosticd: FakeAction, variables: dict[str, Any]
) -> None:
    """It would look for them in `hostvars`, where a fact of localhost replaces a variable."""
    folders = {name: str(tmp_path / name) for name in ("own", "of localhost")}
    expected = (folders["own"], "start") if variables else (folders["of localhost"], "stop")
    variables = {name: folders.get(value, value) for name, value in variables.items()}
    of_localhost = {"output_dir": folders["of localhost"], "ACTION": "stop"}
    run({"data": {"a": 1}}, **{"output_dir": None, **variables}, hostvars={"localhost": of_localhost})
    assert (agnosticd.folders, agnosticd.calls) == ([expected[0]], [({"data": {"a": 1}}, expected[1])])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"data": {"key": SECRET}}, "provision-user-data.yaml"),
        ({"msg": SECRET, "user": "ann"}, "provision-user-data.yaml"),
        ({"msg": SECRET}, "provision-user-info.yaml"),
        ({"body": SECRET}, "provision-user-body.yaml"),
        ({"data": {"key": SECRET}, "action": "extend"}, "extend-user-data.yaml"),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_only_the_owner_can_read_what_the_action_of_agnosticd_writes(
    run: RunTask, tmp_path: Path, agnosticd: FakeAction, arguments: dict[str, Any], name: str, exists: bool
) -> None:
    path = tmp_path / name
    if exists:
        path.write_text("---\n")
        path.chmod(0o644)

    def write() -> None:
        with path.open("w", encoding="utf-8") as file:
            assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
            file.write(SECRET)

    agnosticd.write = write
    before = os.umask(0)
    try:
        result = run(arguments)
    finally:
        os.umask(before)
    assert not result.get("failed"), result
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(("mode", "calls"), [(0o777, 0), (0o1777, 1), (0o755, 1)])
def test_the_action_of_agnosticd_is_not_called_where_others_can_replace_the_file(
    run: RunTask, tmp_path: Path, agnosticd: FakeAction, mode: int, calls: int
) -> None:
    """It would open the path again, which could lead to a file of somebody else by then."""
    tmp_path.chmod(mode)
    result = run({"data": {"key": SECRET}, "users": {"ann": {"a": 1}}})
    assert not result.get("failed"), result
    assert len(agnosticd.calls) == 2 * calls
    expected = None if calls else {"key": SECRET, "users": {"ann": {"a": 1}}}
    assert saved(tmp_path) == {"provision-user-data.yaml": expected}
    assert stat.S_IMODE((tmp_path / "provision-user-data.yaml").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create a link of another user")
def test_the_action_of_agnosticd_is_not_called_to_write_to_the_file_of_somebody_else(
    run: RunTask, tmp_path: Path, agnosticd: FakeAction
) -> None:
    (tmp_path / "provision-user-data.yaml").symlink_to("/home/eve/data")
    os.lchown(tmp_path / "provision-user-data.yaml", 12345, 12345)
    result = run({"data": {"key": SECRET}})
    assert result["failed"] is True
    assert result["error"] == (
        f"Cannot save user data in {tmp_path}: {tmp_path}/provision-user-data.yaml is a symbolic link of another "
        "user; remove it, or use another path"
    )
    assert agnosticd.calls == []


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
def test_the_action_of_agnosticd_gets_only_its_own_options(
    run: RunTask, agnosticd: FakeAction, arguments: dict[str, Any], calls: list[Any]
) -> None:
    run(arguments)
    assert agnosticd.calls == [(call, "provision") for call in calls]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"failed": True, "error": "no room"}, "no room"),
        ({"failed": True, "msg": f"no room for {SECRET}"}, "no room for sk-********"),
        ({"failed": True}, "it gives no reason"),
    ],
)
def test_a_failure_of_the_action_of_agnosticd_is_reported(
    run: RunTask, agnosticd: FakeAction, result: Result, why: str
) -> None:
    agnosticd.results = [{}, result]
    failed = run({"data": {"a": 1}, "users": {"ann": {}, "bob": {}}})
    assert failed["failed"] is True
    assert failed["error"] == f"Cannot save user data with agnosticd.core.agnosticd_user_info: {why}"
    assert len(agnosticd.calls) == 2  # no further call


def test_the_action_of_agnosticd_is_not_called_in_check_mode(run: RunTask, agnosticd: FakeAction) -> None:
    """It would write files."""
    run({"msg": "a"}, check_mode=True)
    assert agnosticd.calls == []


def test_a_collection_without_the_action_counts_as_not_installed(
    run: RunTask, tmp_path: Path, agnosticd: FakeAction
) -> None:
    agnosticd.found = False
    run({"msg": "a"})
    assert saved(tmp_path) == {"provision-user-info.yaml": ["a"]}


def test_the_action_runs_on_the_controller_without_a_connection() -> None:
    action = action_loader.get(NAME, class_only=True)
    assert action._requires_connection is False
    assert action.TRANSFERS_FILES is False
