# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that would be left behind: their secrets cannot be saved, or a destroy does not name their users.

The role runs once. All other cases run its action in this process, against the same proxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import DATA, Controller, controller
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    RECORDS,
    Snapshot,
    expect_failure,
    expire_records,
    prefixed,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

__all__ = ["controller"]

TWO_USERS: Json = {"users": ["ann", "bob"]}
# Environments whose user data cannot be saved at first: the variables of the role, and the users.
ENVIRONMENTS: dict[str, tuple[Json, list[str]]] = {
    "one": ({}, []),
    "one-without-messages": ({"enable_user_info_messages": False}, []),
    "many": (TWO_USERS, TWO_USERS["users"]),
    "many-without-messages": ({**TWO_USERS, "enable_user_info_messages": False}, TWO_USERS["users"]),
}


def invalid_folder(folder: Path) -> Path:
    """Return a path that nobody can create a folder at, because a file exists there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "file"
    file.touch()
    return file


@pytest.fixture(scope="module")
def unsaved(ansible: Ansible, proxy: Proxy, guid: str) -> Iterator[tuple[CommandResult, dict[str, Snapshot]]]:
    """Provision each environment twice, in one play: its user data can be saved the second time only."""
    tasks = []
    for name, (variables, _users) in ENVIRONMENTS.items():
        folder = ansible.folder / name
        invalid = {"output_dir": str(invalid_folder(folder))}
        steps = [
            expect_failure(name, role(ACTION="provision", **variables), **invalid),
            take_snapshot(name),
            role(ACTION="provision", **variables),
            take_snapshot(f"{name}, again"),
        ]
        tasks.append({"block": steps, "vars": {"guid": f"{guid}-unsaved-{name}", "output_dir": str(folder)}})
    run = ansible.play({"hosts": "localhost", "vars": prefixed(models=[GRANITE]), "tasks": tasks}, "-vv")
    after = snapshots(run)
    yield run, after
    proxy.delete(*(alias for snapshot in after.values() for alias in snapshot.rows))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_new_keys_whose_secrets_cannot_be_saved_are_deleted_again(
    unsaved: tuple[CommandResult, dict[str, Snapshot]], ansible: Ansible, guid: str, name: str
) -> None:
    run, after = unsaved
    assert run.code == 0, run.output
    users = ENVIRONMENTS[name][1]
    alias = f"virtkey-{guid}-unsaved-{name}"
    aliases = [f"{alias}-{user}" for user in users] or [alias]
    error = str(run.task_msg(name))
    # The failed task displays the message, too, which the role does not hide.
    assert error.partition(" (")[0] in run.text.partition(f"TASK [{name}]")[0]
    names = "the virtual key" if users else f"virtual key {alias}"
    assert (
        f"The secret of {names} could not be saved (Cannot save user data in {ansible.folder / name / 'file'}: "
        in error
    )
    assert all(alias in error for alias in aliases)
    assert error.count(", so the key was deleted again. Run again") == 1
    assert after[name].rows == {}
    assert sorted(after[f"{name}, again"].rows) == aliases


class Lab:
    """An environment, with folders in which its user data can or cannot be saved."""

    def __init__(self, controller: Controller, name: str = "") -> None:
        self._controller = controller
        controller.sets_facts = False  # each run is a play of its own
        self.guid = controller.prefix + name
        self.alias = f"virtkey-{self.guid}"
        self.folder = controller.folder
        self.invalid_folder = invalid_folder(controller.folder)

    @property
    def warnings(self) -> list[str]:
        """Return the warnings of the last run."""
        return self._controller.warnings

    def make_read_only(self) -> None:
        """Make the user data unwritable, also for root: the name of a temporary file would be too long."""
        file = self.folder / DATA
        file.symlink_to(file.rename(self.folder / ("x" * 250)))

    def make_writable(self) -> None:
        file = self.folder / DATA
        file.resolve().rename(file)

    def run(self, operation: str, output: Path | None = None, **arguments: Any) -> Json:
        """Run an operation, which must succeed."""
        result = self._run(operation, output, **arguments)
        assert not result.get("failed"), result["msg"]
        return result

    def error_message(self, operation: str, output: Path, **arguments: Any) -> str:
        """Run an operation, which must fail, and return its error message."""
        result = self._run(operation, output, **arguments)
        assert result["failed"]
        return str(result["msg"])

    def _run(self, operation: str, output: Path | None, **arguments: Any) -> Json:
        self._controller.folder = output or self.folder
        return self._controller.run(self.guid, operation, **arguments)

    def aliases(self) -> list[str]:
        return sorted(self._controller.rows(self.guid))

    def saved(self) -> Json:
        data: Json = yaml.safe_load((self.folder / DATA).read_text())
        return data


@pytest.fixture
def lab(controller: Controller) -> Lab:
    return Lab(controller)


def test_keys_with_a_derived_secret_are_not_deleted(lab: Lab) -> None:
    """The seed is enough to know the secret."""
    error = lab.error_message("provision", lab.invalid_folder, key_seed="a seed of more than 32 characters, for tests")
    assert error.startswith(f"The user data of virtual key {lab.alias} could not be saved: ")
    assert "deleted" not in error
    assert lab.aliases() == [lab.alias]


def test_a_key_is_not_replaced_if_its_new_secret_could_not_be_saved(lab: Lab, proxy: Proxy) -> None:
    lab.run("provision")
    error = lab.error_message("provision", lab.invalid_folder, regenerate="always")
    assert error.startswith(f"Cannot save user data in {lab.invalid_folder}: ")
    assert proxy.chat(lab.saved()["litellm_virtual_key"]) == 200
    lab.run("provision")


def test_a_key_that_an_extension_recreated_keeps_its_saved_secret(lab: Lab, proxy: Proxy) -> None:
    """Only its new expiry cannot be saved, so it is not deleted again."""
    lab.run("provision", duration="1d")
    proxy.delete(lab.alias)
    expire_records(lab.folder, None)
    before = lab.saved()
    lab.make_read_only()
    error = lab.error_message("extend", lab.folder, runtime=48)
    assert error.startswith(f"The user data of virtual key {lab.alias} could not be saved: ")
    assert lab.aliases() == [lab.alias]
    assert lab.saved() == before
    lab.make_writable()
    lab.run("extend", runtime=48)
    assert lab.saved()["litellm_virtual_key"] == before["litellm_virtual_key"]
    assert proxy.chat(before["litellm_virtual_key"]) == 200
    assert lab.saved()[RECORDS][lab.alias]["expires"] > before[RECORDS][lab.alias]["expires"]


def test_an_extension_replaces_no_key_whose_new_secret_could_not_be_saved(lab: Lab, proxy: Proxy) -> None:
    lab.run("provision", duration="1d")
    error = lab.error_message("extend", lab.invalid_folder, runtime=48, regenerate="if_unrecoverable")
    assert error.startswith(f"Cannot save user data in {lab.invalid_folder}: ")
    lab.run("extend", runtime=48, regenerate="if_unrecoverable")
    assert proxy.chat(lab.saved()["litellm_virtual_key"]) == 200


def test_a_destroy_deletes_the_keys_of_all_users_without_naming_them(lab: Lab) -> None:
    lab.run("provision", **TWO_USERS)
    assert lab.run("destroy")["changed"]
    assert lab.aliases() == []
    for users in ({}, TWO_USERS):
        assert not lab.run("destroy", **users)["changed"]


def test_a_destroy_of_listed_users_deletes_only_their_keys_and_warns_about_the_others(lab: Lab) -> None:
    lab.run("provision", **TWO_USERS)
    lab.run("destroy", users=["ann"])
    assert lab.aliases() == [f"{lab.alias}-bob"]
    assert (
        f"Environment {lab.guid} has other virtual keys that this destroy does not include: {lab.alias}-bob."
    ) in " ".join(lab.warnings)
    assert list(lab.saved()["users"]) == ["bob"]
    assert list(lab.saved()[RECORDS]) == [f"{lab.alias}-bob"]
    # Keys whose users nobody names any more are deleted, too: an environment with fewer users leaves none behind.
    lab.run("destroy", multi_user=True, user_count=1)
    assert lab.aliases() == []
    assert RECORDS not in lab.saved()


def test_two_environments_can_share_a_folder(lab: Lab, controller: Controller) -> None:
    other = Lab(controller, ".other")
    lab.run("provision")
    secret = lab.saved()["litellm_virtual_key"]
    other.run("provision")
    assert other.warnings == []
    assert not lab.run("provision")["changed"]
    assert lab.saved()["litellm_virtual_key"] == secret
    lab.run("destroy")
    assert lab.warnings == []
    assert list(lab.saved()[RECORDS]) == [other.alias]
    assert other.aliases() == [other.alias]
    other.run("destroy")


def test_overwriting_a_secret_that_an_earlier_release_saved_is_a_warning(lab: Lab, controller: Controller) -> None:
    """Earlier releases saved no records, so two environments in one folder overwrite each other's secrets."""
    other = Lab(controller, ".later")
    lab.run("provision")
    data = lab.saved()
    del data[RECORDS]
    (lab.folder / DATA).write_text(yaml.safe_dump(data))
    other.run("provision")
    assert (
        f"The secret of virtual key {lab.alias} was overwritten in {lab.folder} by that of another key."
    ) in " ".join(other.warnings)
    lab.run("destroy")
    assert lab.warnings == []
    other.run("destroy")
