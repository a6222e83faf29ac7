# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that nobody would know: their secrets cannot be saved, or who destroys does not name them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import PREFIX, role
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

TWO: Json = {"users": ["ann", "bob"]}


class Lab:
    """An environment, and where its user data are saved, or cannot be."""

    def __init__(self, ansible: Ansible, proxy: Proxy, guid: str) -> None:
        self.guid, self.proxy = guid, proxy
        self.alias = f"virtkey-{guid}"
        self._ansible = ansible
        self._folder = ansible.folder / guid
        self._folder.mkdir()

    @property
    def room(self) -> Path:
        return self._folder

    @property
    def no_room(self) -> Path:
        """A folder that cannot be, whoever tries: there is a file of this name."""
        file = self._folder / "file"
        file.touch()
        return file

    def run(self, action: str, output: Path, **variables: object) -> CommandResult:
        common = {"guid": self.guid, "output_dir": str(output), f"{PREFIX}models": [GRANITE]}
        task = role(ACTION=action, **variables)
        return self._ansible.play({"hosts": "localhost", "vars": common, "tasks": [task]}, "-vv")

    def aliases(self) -> list[str]:
        return [alias for name in ("", "-ann", "-bob") for alias in [self.alias + name] if self.proxy.rows(alias)]


def reason(run: CommandResult) -> str:
    """What the last task said that failed; those before it were rescued."""
    assert run.code != 0
    failed = [task for task in run.tasks if task.status == "fatal"]
    return str(failed[-1].result["msg"])


@pytest.fixture
def lab(ansible: Ansible, proxy: Proxy, guid: str, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(ansible, proxy, f"{guid}-back{request.node.name.count('_')}-{abs(hash(request.node.name)) % 10**6}")
    yield lab
    proxy.delete(*lab.aliases())


@pytest.mark.parametrize("users", [{}, TWO], ids=["one", "many"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "saved only"])
def test_new_keys_whose_secrets_cannot_be_saved_are_removed_again(lab: Lab, users: Json, told: bool) -> None:
    failed = lab.run("provision", lab.no_room, enable_user_info_messages=told, **users)
    said = reason(failed)
    assert said.startswith(f"User data cannot be saved in {lab.no_room}: ")
    assert said.endswith(f"New keys whose secrets would be lost were removed again: {len(users.get('users', '1'))}")
    assert lab.aliases() == []
    assert lab.run("provision", lab.room, enable_user_info_messages=told, **users).code == 0


def test_keys_of_a_seed_stay(lab: Lab) -> None:
    """Who has the seed has the secret."""
    failed = lab.run("provision", lab.no_room, key_seed="a seed of more than 32 characters, for tests")
    assert reason(failed).endswith("were removed again: 0")
    assert lab.aliases() == [lab.alias]


def test_of_keys_that_were_replaced_is_said_that_their_secrets_are_lost(lab: Lab) -> None:
    assert lab.run("provision", lab.room).code == 0
    failed = lab.run("provision", lab.no_room, regenerate="always")
    said = reason(failed)
    assert "were removed again: 0. The new secrets of " in said
    assert f"{lab.alias} are lost, and the old ones are revoked" in said
    assert lab.run("provision", lab.room, regenerate="if_unrecoverable").code == 0


def test_an_extension_takes_back_what_it_had_to_make_again(lab: Lab, proxy: Proxy) -> None:
    assert lab.run("provision", lab.room, duration="1d").code == 0
    proxy.delete(lab.alias)
    failed = lab.run("extend", lab.no_room, runtime=48, regenerate="if_unrecoverable")
    assert "User data cannot be saved" in reason(failed)
    assert lab.aliases() == []


def test_a_destroy_that_does_not_name_the_users_says_who_is_left(lab: Lab) -> None:
    assert lab.run("provision", lab.room, **TWO).code == 0
    failed = lab.run("destroy", lab.room)
    said = reason(failed)
    assert said.startswith(f"There is no key {lab.alias}, but there are keys of users: ")
    assert f"{lab.alias}-ann" in said
    assert f"{lab.alias}-bob" in said
    assert len(lab.aliases()) == 2
    assert lab.run("destroy", lab.room, **TWO).code == 0
    assert lab.aliases() == []
    for users in ({}, TWO):
        again = lab.run("destroy", lab.room, **users)
        assert again.code == 0, again.output
        assert again.recap()["changed"] == 0


def test_a_folder_for_two_environments_is_warned_of(lab: Lab, ansible: Ansible, proxy: Proxy, guid: str) -> None:
    other = Lab(ansible, proxy, f"{guid}-back-other")
    assert lab.run("provision", lab.room).code == 0
    run = other.run("provision", lab.room)
    assert run.code == 0
    warned = " ".join(run.output.replace("\n", " ").split())
    assert f"held the secret of the key {lab.alias}, and now holds that of another in its place" in warned
    assert "WARNING" not in lab.run("destroy", lab.room).output
    assert other.run("destroy", lab.room).code == 0
