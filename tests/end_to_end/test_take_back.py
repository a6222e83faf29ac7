# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that would be left behind: their secrets cannot be saved, or a destroy does not name their users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    PREFIX,
    RECORDS,
    expect_failure,
    expire_records,
    role,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

TWO_USERS: Json = {"users": ["ann", "bob"]}
FILE = "provision-user-data.yaml"


class Lab:
    """An environment, with folders in which its user data can or cannot be saved."""

    def __init__(self, ansible: Ansible, proxy: Proxy, guid: str) -> None:
        self.guid, self.proxy = guid, proxy
        self.alias = f"virtkey-{guid}"
        self._ansible = ansible
        self.folder = ansible.folder / guid
        self.folder.mkdir()

    @property
    def invalid_folder(self) -> Path:
        """Return a path that nobody can create a folder at, because a file exists there."""
        file = self.folder / "file"
        file.touch()
        return file

    def make_read_only(self) -> None:
        """Make the user data unwritable, also for root: the name of a temporary file would be too long."""
        file = self.folder / FILE
        file.symlink_to(file.rename(self.folder / ("x" * 250)))

    def make_writable(self) -> None:
        file = self.folder / FILE
        file.resolve().rename(file)

    def run(self, action: str, output: Path, **variables: object) -> CommandResult:
        return self._play(output, role(ACTION=action, **variables))

    def error_message(self, action: str, output: Path, **variables: object) -> str:
        """Run an operation that must fail, and return its error message, which is always displayed."""
        run = self._play(output, expect_failure("Show the error", role(ACTION=action, **variables)))
        assert run.code == 0, run.output
        message = str(run.task_msg("Show the error"))
        assert message.partition(" (")[0] in run.text.partition("TASK [Show the error]")[0]
        return message

    def _play(self, output: Path, task: Json) -> CommandResult:
        common = {"guid": self.guid, "output_dir": str(output), f"{PREFIX}models": [GRANITE]}
        return self._ansible.play({"hosts": "localhost", "vars": common, "tasks": [task]}, "-vv")

    def aliases(self) -> list[str]:
        return [alias for name in ("", "-ann", "-bob") for alias in [self.alias + name] if self.proxy.rows(alias)]

    def saved(self) -> Json:
        data: Json = yaml.safe_load((self.folder / FILE).read_text())
        return data


@pytest.fixture
def lab(ansible: Ansible, proxy: Proxy, guid: str, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(ansible, proxy, f"{guid}-back{request.node.name.count('_')}-{abs(hash(request.node.name)) % 10**6}")
    yield lab
    proxy.delete(*lab.aliases())


@pytest.mark.parametrize("users", [{}, TWO_USERS], ids=["one", "many"])
@pytest.mark.parametrize("messages", [True, False], ids=["with messages", "data only"])
def test_new_keys_whose_secrets_cannot_be_saved_are_deleted_again(lab: Lab, users: Json, messages: bool) -> None:
    error = lab.error_message("provision", lab.invalid_folder, enable_user_info_messages=messages, **users)
    aliases = [f"{lab.alias}-{user}" for user in users["users"]] if users else [lab.alias]
    names = "the virtual key" if users else f"virtual key {lab.alias}"
    assert (f"The secret of {names} could not be saved (Cannot save user data in {lab.invalid_folder}: ") in error
    assert all(alias in error for alias in aliases)
    assert error.count(", so the key was deleted again. Run again") == 1
    assert lab.aliases() == []
    assert lab.run("provision", lab.folder, enable_user_info_messages=messages, **users).code == 0


def test_keys_with_a_derived_secret_are_not_deleted(lab: Lab) -> None:
    """The seed is enough to know the secret."""
    error = lab.error_message("provision", lab.invalid_folder, key_seed="a seed of more than 32 characters, for tests")
    assert error.startswith(f"The user data of virtual key {lab.alias} could not be saved: ")
    assert "deleted" not in error
    assert lab.aliases() == [lab.alias]


def test_a_key_is_not_replaced_if_its_new_secret_could_not_be_saved(lab: Lab, proxy: Proxy) -> None:
    assert lab.run("provision", lab.folder).code == 0
    error = lab.error_message("provision", lab.invalid_folder, regenerate="always")
    assert error.startswith(f"Cannot save user data in {lab.invalid_folder}: ")
    assert proxy.chat(lab.saved()["litellm_virtual_key"]) == 200
    assert lab.run("provision", lab.folder).code == 0


def test_a_key_that_an_extension_recreated_keeps_its_saved_secret(lab: Lab, proxy: Proxy) -> None:
    """Only its new expiry cannot be saved, so it is not deleted again."""
    assert lab.run("provision", lab.folder, duration="1d").code == 0
    proxy.delete(lab.alias)
    expire_records(lab.folder, None)
    before = lab.saved()
    lab.make_read_only()
    error = lab.error_message("extend", lab.folder, runtime=48)
    assert error.startswith(f"The user data of virtual key {lab.alias} could not be saved: ")
    assert lab.aliases() == [lab.alias]
    assert lab.saved() == before
    lab.make_writable()
    again = lab.run("extend", lab.folder, runtime=48)
    assert again.code == 0, again.output
    assert lab.saved()["litellm_virtual_key"] == before["litellm_virtual_key"]
    assert proxy.chat(before["litellm_virtual_key"]) == 200
    assert lab.saved()[RECORDS][lab.alias]["expires"] > before[RECORDS][lab.alias]["expires"]


def test_an_extension_replaces_no_key_whose_new_secret_could_not_be_saved(lab: Lab, proxy: Proxy) -> None:
    assert lab.run("provision", lab.folder, duration="1d").code == 0
    error = lab.error_message("extend", lab.invalid_folder, runtime=48, regenerate="if_unrecoverable")
    assert error.startswith(f"Cannot save user data in {lab.invalid_folder}: ")
    again = lab.run("extend", lab.folder, runtime=48, regenerate="if_unrecoverable")
    assert again.code == 0, again.output
    assert proxy.chat(lab.saved()["litellm_virtual_key"]) == 200


def test_a_destroy_deletes_the_keys_of_all_users_without_naming_them(lab: Lab) -> None:
    assert lab.run("provision", lab.folder, **TWO_USERS).code == 0
    destroyed = lab.run("destroy", lab.folder)
    assert destroyed.code == 0, destroyed.output
    assert destroyed.recap()["changed"] == 1
    assert lab.aliases() == []
    for users in ({}, TWO_USERS):
        again = lab.run("destroy", lab.folder, **users)
        assert again.code == 0, again.output
        assert again.recap()["changed"] == 0


def test_a_destroy_of_listed_users_deletes_only_their_keys_and_warns_about_the_others(lab: Lab) -> None:
    assert lab.run("provision", lab.folder, **TWO_USERS).code == 0
    one = lab.run("destroy", lab.folder, users=["ann"])
    assert one.code == 0, one.output
    assert lab.aliases() == [f"{lab.alias}-bob"]
    assert (
        f"Environment {lab.guid} has other virtual keys that this destroy does not include: {lab.alias}-bob."
    ) in one.text
    assert list(lab.saved()["users"]) == ["bob"]
    assert list(lab.saved()[RECORDS]) == [f"{lab.alias}-bob"]
    # Keys whose users nobody names any more are deleted, too: an environment with fewer users leaves none behind.
    fewer = lab.run("destroy", lab.folder, multi_user=True, user_count=1)
    assert fewer.code == 0, fewer.output
    assert lab.aliases() == []
    assert RECORDS not in lab.saved()


def test_two_environments_can_share_a_folder(lab: Lab, ansible: Ansible, proxy: Proxy, guid: str) -> None:
    other = Lab(ansible, proxy, f"{guid}-back-other")
    assert lab.run("provision", lab.folder).code == 0
    secret = lab.saved()["litellm_virtual_key"]
    run = other.run("provision", lab.folder)
    assert run.code == 0, run.output
    assert "WARNING" not in run.output
    again = lab.run("provision", lab.folder)
    assert again.code == 0, again.output
    assert again.recap()["changed"] == 0
    assert lab.saved()["litellm_virtual_key"] == secret
    assert "WARNING" not in lab.run("destroy", lab.folder).output
    assert list(lab.saved()[RECORDS]) == [other.alias]
    assert other.aliases() == [other.alias]
    assert other.run("destroy", lab.folder).code == 0


def test_overwriting_a_secret_that_an_earlier_release_saved_is_a_warning(
    lab: Lab, ansible: Ansible, proxy: Proxy, guid: str
) -> None:
    """Earlier releases saved no records, so two environments in one folder overwrite each other's secrets."""
    other = Lab(ansible, proxy, f"{guid}-back-later")
    assert lab.run("provision", lab.folder).code == 0
    data = lab.saved()
    del data[RECORDS]
    (lab.folder / FILE).write_text(yaml.safe_dump(data))
    run = other.run("provision", lab.folder)
    assert run.code == 0, run.output
    assert f"The secret of virtual key {lab.alias} was overwritten in {lab.folder} by that of another key." in run.text
    assert "WARNING" not in lab.run("destroy", lab.folder).output
    assert other.run("destroy", lab.folder).code == 0
