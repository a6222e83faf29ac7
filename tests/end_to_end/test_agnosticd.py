# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""If AgnosticD's own collection is installed, it saves the user data. These tests install a stand-in for it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, CommandResult

STAND_IN = """
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        if self._task.args.get("user") == "nobody":
            return {**result, "failed": True, "error": "no such user"}
        with open(os.path.join(task_vars["output_dir"], "theirs.jsonl"), "a") as file:
            file.write(json.dumps(self._task.args) + "\\n")
        return {**result, "_ansible_verbose_always": True, "data": self._task.args.get("data")}
"""
SECRET = "sk-0123456789abcdefghijklmnop"


@pytest.fixture(scope="module")
def run(ansible: Ansible) -> CommandResult:
    plugin = ansible.folder / "theirs/ansible_collections/agnosticd/core/plugins/action/agnosticd_user_info.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(STAND_IN)
    (plugin.parent.with_name("modules")).mkdir()
    (plugin.parent.with_name("modules") / plugin.name).write_text("")
    user_info = f"{COLLECTION}.agnosticd_user_info"
    play = {
        "hosts": "localhost",
        "vars": {"output_dir": str(ansible.folder), "cluster": "one"},
        "module_defaults": {"agnosticd.core.agnosticd_user_info": {"data_prefix": "hub_{{ cluster }}_"}},
        "tasks": [
            {"name": "Save", user_info: {"msg": "Welcome", "data": {"litellm_virtual_key": SECRET}}},
            {"name": "Save in check mode", user_info: {"msg": "Not yet"}, "check_mode": True},
            {"name": "Fail", user_info: {"user": "nobody", "data": {"a": 1}}, "ignore_errors": True},
        ],
    }
    paths = f"{ansible.environment['ANSIBLE_COLLECTIONS_PATH']}:{ansible.folder / 'theirs'}"
    done = ansible.play(play, "-vvvv", ANSIBLE_COLLECTIONS_PATH=paths)
    assert done.code == 0, done.output
    return done


@pytest.mark.every_core
def test_their_action_gets_all_options_and_its_module_defaults(run: CommandResult, ansible: Ansible) -> None:
    calls = [json.loads(line) for line in (ansible.folder / "theirs.jsonl").read_text().splitlines()]
    assert calls == [{"msg": "Welcome", "data": {"litellm_virtual_key": SECRET}, "data_prefix": "hub_one_"}]
    # The files are prepared, so that only their owner can read what is written to them.
    for path in Path(ansible.folder).glob("*-user-*.yaml"):
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("", 0o600)


@pytest.mark.every_core
def test_messages_are_displayed_and_secrets_are_not(run: CommandResult) -> None:
    assert run.task_msg("Save") == "user.info: Welcome"
    assert SECRET not in run.output


def test_the_reason_of_their_failure_is_reported(run: CommandResult) -> None:
    assert run.task_msg("Fail") == "Cannot save user data with agnosticd.core.agnosticd_user_info: no such user"
