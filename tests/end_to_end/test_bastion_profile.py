# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role that exports the key in the shells of a bastion. It reads user data only, so no key has to exist."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    BASTION,
    BASTION_PREFIX,
    BASTION_ROLE,
    exported_variables,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Ansible, CommandResult, Json

GROUP = grp.getgrgid(os.getgid()).gr_name
RUN = {"ansible.builtin.include_role": {"name": BASTION_ROLE}}
SECRET = "sk-bastion-0123456789abcdef"
# Characters with a meaning for a shell, and text that would be a template.
MODELS = "a 'b' \"$HOME\" `id`, {{ 7 * 7 }}"
DATA = {
    "litellm_api_base_url": "https://litellm.example.com/v1",
    "litellm_virtual_key": SECRET,
    "litellm_available_models_list": MODELS,
    "hub_litellm_api_base_url": "https://hub.example.com/v1",
    "hub_litellm_virtual_key": f"{SECRET}-hub",
    "hub_litellm_available_models_list": "c",
    "of_another_workload": "{{ undefined_variable }}",
    "users": {"bob": {"litellm_virtual_key": f"{SECRET}-bob", "litellm_api_base_url": "https://bob.example.com/v1"}},
}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return tmp_path / "litemaas.sh"


@pytest.fixture
def output(ansible: Ansible) -> Path:
    folder = ansible.folder / "output"
    folder.mkdir(exist_ok=True)
    (folder / "provision-user-data.yaml").write_text(yaml.safe_dump(DATA))
    return folder


def prefixed(**own: object) -> Json:
    return {f"{BASTION_PREFIX}{name}": value for name, value in own.items()}


def play(ansible: Ansible, hosts: Json, *arguments: str) -> CommandResult:
    """Run the role on these hosts, which have variables."""
    inventory = ansible.folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    return ansible.play({"hosts": "all", "tasks": [RUN]}, "-i", str(inventory), *arguments)


def run(
    ansible: Ansible, profile: Path, *arguments: str, variables: Json | None = None, **own: object
) -> CommandResult:
    """Run the role on a bastion, with its own variables and with others."""
    settings = prefixed(path=str(profile), become=False, **own)
    return play(ansible, {"bastion": {**BASTION, **settings, **(variables or {})}}, *arguments)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_profile_exports_the_key_and_every_user_can_read_it(ansible, output, profile):
    first = run(ansible, profile, "-vvv", "--diff", variables={"output_dir": str(output)})
    assert first.code == 0, first.output
    assert first.recap("bastion")["changed"] == 1
    assert exported_variables(profile) == {
        "LITELLM_API_URL": DATA["litellm_api_base_url"],
        "LITELLM_API_KEY": SECRET,
        "LITELLM_MODELS": MODELS,
    }
    assert mode(profile) == 0o644
    assert SECRET not in first.output + first.log

    second = run(ansible, profile, variables={"output_dir": str(output)})
    assert second.recap("bastion")["changed"] == 0


def test_with_a_group_other_users_cannot_read_it(ansible, output, profile):
    result = run(ansible, profile, group=GROUP, variables={"output_dir": str(output)})
    assert result.code == 0, result.output
    assert mode(profile) == 0o640
    assert profile.group() == GROUP


def test_the_key_of_one_user(ansible, output, profile):
    result = run(ansible, profile, user="bob", variables={"output_dir": str(output)})
    assert result.code == 0, result.output
    shell = exported_variables(profile)
    assert shell["LITELLM_API_KEY"] == f"{SECRET}-bob"
    assert shell["LITELLM_API_URL"] == "https://bob.example.com/v1"


def test_user_data_with_a_prefix(ansible, output, profile):
    result = run(ansible, profile, data_prefix="hub_", variables={"output_dir": str(output)})
    assert result.code == 0, result.output
    assert exported_variables(profile) == {
        "LITELLM_API_URL": "https://hub.example.com/v1",
        "LITELLM_API_KEY": f"{SECRET}-hub",
        "LITELLM_MODELS": "c",
    }


def test_a_destroy_removes_the_profile(ansible, profile):
    profile.write_text("export LITELLM_API_KEY=old\n")
    ignored = run(ansible, profile, variables={"ACTION": "stop"})
    assert ignored.code == 0, ignored.output
    assert profile.exists()
    first = run(ansible, profile, variables={"ACTION": "destroy"})
    assert first.recap("bastion")["changed"] == 1
    assert not profile.exists()
    second = run(ansible, profile, variables={"agnosticd_action": "remove", "ACTION": "provision"})
    assert second.recap("bastion")["changed"] == 0


def test_check_mode_writes_nothing_and_needs_no_user_data(ansible, output, profile):
    for folder in (output, output / "missing"):
        result = run(ansible, profile, "--check", "--diff", "-vvv", variables={"output_dir": str(folder)})
        assert result.code == 0, result.output
        assert result.recap("bastion")["changed"] == 1
        assert not profile.exists()
        assert SECRET not in result.output + result.log


WITHOUT_A_KEY: dict[str, tuple[str | None, Json]] = {
    "no_file": (None, {}),
    "empty_file": ("---\n", {}),
    "no_key": ("other: 1\n", {}),
    "other_user": (yaml.safe_dump(DATA), {"user": "ann"}),
    "no_users": (f"litellm_virtual_key: {SECRET}\n", {"user": "ann"}),
    "other_prefix": (f"litellm_virtual_key: {SECRET}\n", {"data_prefix": "hub_"}),
}


def test_without_a_key_the_role_fails_and_reports_where_it_looked(ansible, tmp_path):
    hosts = {}
    for case, (content, own) in WITHOUT_A_KEY.items():
        (tmp_path / case).mkdir()
        if content is not None:
            (tmp_path / case / "provision-user-data.yaml").write_text(content)
        variables = prefixed(path=str(tmp_path / f"{case}.sh"), become=False, **own)
        hosts[case] = {**BASTION, **variables, "output_dir": str(tmp_path / case)}
    result = play(ansible, hosts)
    messages = {task.host: task.result["msg"] for task in result.tasks if task.status == "fatal"}
    for case, (_content, own) in WITHOUT_A_KEY.items():
        file = tmp_path / case / "provision-user-data.yaml"
        owner = own.get("user", "the environment")
        assert messages[case].startswith(f"There is no virtual key of {owner} in {file}. Run the role"), messages[case]
    assert SECRET not in result.output
    assert not list(tmp_path.glob("*.sh"))


def test_a_damaged_file_shows_no_secret(ansible, output, profile):
    (output / "provision-user-data.yaml").write_text(f"litellm_virtual_key: {SECRET}\n  other: [\n")
    result = run(ansible, profile, "-vvv", variables={"output_dir": str(output)})
    assert result.code == 2
    assert SECRET not in result.output + result.log


def test_the_output_folder_of_localhost_is_the_default(ansible, output, profile):
    settings = prefixed(path=str(profile), become=False)
    plays: list[Json] = [
        {
            "hosts": "localhost",
            "tasks": [
                {"ansible.builtin.set_fact": {"output_dir": str(output)}},
                {"ansible.builtin.add_host": {"name": "bastion", **BASTION}},
            ],
        },
        {"hosts": "bastion", "vars": settings, "tasks": [RUN]},
    ]
    result = ansible.play(plays)
    assert result.code == 0, result.output
    assert exported_variables(profile)["LITELLM_API_KEY"] == SECRET
