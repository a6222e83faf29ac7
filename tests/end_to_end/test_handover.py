# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role writes keys to an environment file, a shell profile, or a Secret of the cluster."""

from __future__ import annotations

import grp
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import prefixed, role
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

USERS = ("ann", "bob")
GROUP = grp.getgrgid(os.getgid()).gr_name
# Replaces kubernetes.core.k8s: the cluster is a folder.
CLUSTER = """
import json, pathlib
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = json.loads(json.dumps(self._task.args))
        metadata = args["definition"]["metadata"]
        path = pathlib.Path(task_vars["cluster"]) / f"{metadata['namespace']}-{metadata['name']}.json"
        before = path.read_text() if path.exists() else None
        if args["state"] == "absent":
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps(args["definition"]))
        after = path.read_text() if path.exists() else None
        return {**result, "changed": before != after}
"""


@pytest.fixture(scope="module")
def cluster(ansible: Ansible) -> Path:
    plugin = ansible.folder / "collections/ansible_collections/kubernetes/core/plugins/action/k8s.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(CLUSTER)
    plugin.parent.with_name("modules").mkdir()
    (plugin.parent.with_name("modules") / plugin.name).write_text("")
    folder = ansible.folder / "cluster"
    folder.mkdir()
    return folder


@pytest.fixture
def play(ansible: Ansible, cluster: Path, guid: str, proxy: Proxy) -> Iterator[Ansible]:
    yield ansible
    proxy.delete(*(f"virtkey-{guid}-hand{user}" for user in ("", *(f"-{user}" for user in USERS))))


def places(folder: Path) -> Json:
    return {
        "env_file": str(folder / "{user}" / ".env"),
        "profile_file": str(folder / "litellm-{user}.sh"),
        "profile_group": GROUP,
        "secret_name": "litellm",
        "secret_namespace": "lab-{user}",
    }


def run(play: Ansible, cluster: Path, guid: str, *actions: str, **variables: object) -> CommandResult:
    paths = f"{play.environment['ANSIBLE_COLLECTIONS_PATH']}:{cluster.parent / 'collections'}"
    tasks = [role(ACTION=action, models=[GRANITE], **variables) for action in actions]
    common = {"guid": f"{guid}-hand", "cluster": str(cluster), "output_dir": str(play.folder / "output")}
    return play.play({"hosts": "localhost", "vars": common, "tasks": tasks}, "-v", ANSIBLE_COLLECTIONS_PATH=paths)


def exported(profile: Path) -> Json:
    """Return the environment variables of a shell that read the profile."""
    script = f". {profile}; python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    process = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": os.defpath})
    return dict(json.loads(process.stdout))


def test_the_keys_of_all_users_are_written_to_every_place_and_removed_by_a_destroy(
    play: Ansible, cluster: Path, guid: str, proxy: Proxy, tmp_path: Path
) -> None:
    for user in USERS:
        (tmp_path / user).mkdir()
    existing = tmp_path / "ann" / ".env"
    existing.write_text("EXISTING=1\n")
    variables = {"users": list(USERS), **places(tmp_path)}

    first = run(play, cluster, guid, "provision", **variables)
    assert first.recap()["changed"] == 4, first.output
    assert run(play, cluster, guid, "provision", **variables).recap()["changed"] == 0
    users = play.file("output/provision-user-data.yaml")["users"]
    for user in USERS:
        key = users[user]["litellm_virtual_key"]
        profile, secret = tmp_path / f"litellm-{user}.sh", cluster / f"lab-{user}-litellm.json"
        shell, manifest = exported(profile), json.loads(secret.read_text())
        environment = {
            "OPENAI_API_KEY": key,
            "OPENAI_BASE_URL": f"{proxy.url}/v1",
            "LITELLM_API_KEY": key,
            "LITELLM_API_URL": f"{proxy.url}/v1",
            "LITELLM_MODELS": GRANITE,
        }
        assert (manifest["kind"], manifest["type"], manifest["stringData"]) == ("Secret", "Opaque", environment)
        assert environment.items() <= shell.items()
        lines = (tmp_path / user / ".env").read_text().splitlines()
        assert {f"{name}={value}" for name, value in environment.items()} <= set(lines)
        assert stat.S_IMODE((tmp_path / user / ".env").stat().st_mode) == 0o600
        assert stat.S_IMODE(profile.stat().st_mode) == 0o640
        assert key not in first.output
        assert proxy.chat(shell["OPENAI_API_KEY"]) == 200

    destroyed = run(play, cluster, guid, "destroy", **variables)
    assert destroyed.recap()["changed"] == 4, destroyed.output
    assert existing.read_text() == "EXISTING=1\n"
    assert (tmp_path / "bob" / ".env").read_text() == ""
    assert not list(tmp_path.glob("*.sh"))
    assert not list(cluster.iterdir())
    assert run(play, cluster, guid, "destroy", **variables).recap()["changed"] == 0


@pytest.mark.every_core
def test_a_new_secret_replaces_the_old_one_in_the_environment_file(
    play: Ansible, cluster: Path, guid: str, tmp_path: Path
) -> None:
    env = tmp_path / "lab.env"
    result = run(play, cluster, guid, "provision", env_file=str(env))
    assert result.code == 0, result.output
    before = env.read_text()
    result = run(play, cluster, guid, "provision", env_file=str(env), regenerate="always")
    assert result.code == 0, result.output
    key = play.file("output/provision-user-data.yaml")["litellm_virtual_key"]
    assert f"OPENAI_API_KEY={key}\n" in env.read_text()
    assert env.read_text() != before
    assert env.read_text().count("OPENAI_API_KEY=") == 1
    result = run(play, cluster, guid, "rotate")  # the place is remembered
    assert result.code == 0, result.output
    replaced = play.file("output/provision-user-data.yaml")["litellm_virtual_key"]
    assert replaced != key
    assert f"OPENAI_API_KEY={replaced}\n" in env.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create a link of another user")
def test_root_does_not_follow_the_link_of_a_user_and_says_so(
    play: Ansible, cluster: Path, guid: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / ".env").symlink_to(precious)
    os.lchown(tmp_path / ".env", 12345, 12345)
    reason = f"{tmp_path}/.env is a symbolic link of another user; remove it, or use another path"
    result = run(play, cluster, guid, "provision", env_file=str(tmp_path / ".env"))
    assert result.code == 2, result.output
    assert f"Cannot write {tmp_path}/.env: {reason}" in result.text
    destroyed = run(play, cluster, guid, "destroy", env_file=str(tmp_path / ".env"))
    assert destroyed.code == 0, destroyed.output
    assert f"Nothing was removed: {reason}" in destroyed.text
    assert precious.read_text() == "precious"


def test_check_mode_writes_nothing(play: Ansible, cluster: Path, guid: str, tmp_path: Path) -> None:
    variables = {"ACTION": "provision", **prefixed(users=list(USERS), **places(tmp_path))}
    common = {"hosts": "localhost", "vars": {"guid": f"{guid}-hand", "cluster": str(cluster), **variables}}
    paths = f"{play.environment['ANSIBLE_COLLECTIONS_PATH']}:{cluster.parent / 'collections'}"
    result = play.play({**common, "tasks": [role()]}, "--check", ANSIBLE_COLLECTIONS_PATH=paths)
    assert result.code == 0, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"users": list(USERS), "env_file": "/tmp/one.env"}, "With several users, {user} must be part of"),
        ({"profile_file": "/tmp/one.sh"}, "needs ocp4_workload_litellm_virtual_keys_profile_group"),
    ],
)
def test_invalid_places_are_an_error_before_a_key_is_created(
    play: Ansible, proxy: Proxy, cluster: Path, guid: str, variables: Json, message: str
) -> None:
    result = run(play, cluster, guid, "provision", **variables)
    assert result.code == 2
    assert message in result.text
    assert not proxy.rows(f"virtkey-{guid}-hand")
