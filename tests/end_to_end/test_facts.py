# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A managed host whose Python interpreter was replaced: every module that runs there returns facts of its choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    BASTION,
    BASTION_PREFIX,
    BASTION_ROLE,
    PREFIX,
    role,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    Relay,
)

# Returns the facts in a file, whatever module it runs.
INTERPRETER = """#!/bin/sh
cat > /dev/null
cat '{response}'
"""
SECRET = "sk-the-key-of-another-tenant"


@dataclass(frozen=True)
class Attack:
    """What a hostile host returns, what it wants to reach with that, and what happened.

    :ivar run: provision twice, hand over, run the role for bastions, and destroy.
    """

    run: CommandResult
    read: str
    profile: str
    remaining: dict[str, int]
    folder: Path


@pytest.fixture(scope="module")
def attack(ansible: Ansible, proxy: Proxy, relay: Relay, guid: str, tmp_path_factory: pytest.TempPathFactory) -> Attack:
    guid, folder = f"{guid}-facts", tmp_path_factory.mktemp("attack")
    own, other = f"virtkey-{guid}", f"virtkey-other-{guid}"
    for name in ("kept", "theirs"):
        (folder / name).mkdir()
    data = {"litellm_virtual_key": SECRET, "litellm_key_alias": own, "litellm_api_base_url": "https://x/v1"}
    (folder / "theirs" / "provision-user-data.yaml").write_text(yaml.safe_dump(data))
    facts = {
        # The relay forwards the master key to the proxy, and records the requests.
        "litellm_url": relay.url,
        "ansible_litellm_url": "another fact with the same short name",
        "output_dir": str(folder / "theirs"),
        "guid": f"other-{guid}",
        "ACTION": "destroy",
        f"{PREFIX}alias_format": other,
        f"{PREFIX}handover_host": "localhost",
        f"{PREFIX}profile_group": "root",
        f"{PREFIX}profile_file": str(folder / "kept"),
        f"{BASTION_PREFIX}path": str(folder / "kept"),
        f"{BASTION_PREFIX}group": "root",
    }
    response = folder / "response.json"
    response.write_text(json.dumps({"changed": False, "ansible_facts": facts}))
    interpreter = folder / "python"
    interpreter.write_text(INTERPRETER.format(response=response))
    interpreter.chmod(0o700)
    bastion_variables = {"output_dir": str(folder / "ours"), f"{BASTION_PREFIX}path": str(folder / "profile")}
    bastion = {**BASTION, **bastion_variables, f"{BASTION_PREFIX}become": False}
    hosts = {"attacker": {**BASTION, "ansible_python_interpreter": str(interpreter)}, "bastion": bastion}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))

    proxy.request("POST", "/key/generate", {"key_alias": other, "metadata": {"guid": f"other-{guid}"}})
    relay.requests.clear()
    places = {"models": [GRANITE], "env_file": str(folder / "env"), "handover_host": "attacker"}
    lookup = f"{{{{ lookup('{COLLECTION}.litellm_key', guid) }}}}"
    hostile = {"ansible.builtin.ping": {}, "vars": {"ansible_python_interpreter": str(interpreter)}}
    delegated = {"ansible.builtin.ping": {}, "delegate_to": "attacker"}  # its facts become those of localhost
    bastion_role = {"ansible.builtin.include_role": {"name": BASTION_ROLE}}
    show = {"name": "Show a fact", "ansible.builtin.debug": {"msg": "{{ litellm_url }}"}}
    on_controller = {"hosts": "localhost", "vars": {"guid": guid, "output_dir": str(folder / "ours")}}
    provision: list[Json] = [
        role(ACTION="provision", **places),
        delegated,
        show,
        role(ACTION="provision", **places),
        {"ansible.builtin.copy": {"dest": str(folder / "read"), "content": lookup}},
    ]
    try:
        run = ansible.play(
            [
                {**on_controller, "tasks": provision},
                {"hosts": "bastion", "tasks": [hostile, show, bastion_role]},
                {**on_controller, "tasks": [role(ACTION="destroy", **places)]},
            ],
            *("-i", str(folder / "hosts.yml")),
            # ansible-core 2.20 and later warn that these facts have become variables.
            ANSIBLE_DEPRECATION_WARNINGS="false",
        )
    finally:
        remaining = {alias: len(proxy.rows(alias)) for alias in (own, other)}
        proxy.delete(own, other)
    read, profile = (path.read_text() if path.exists() else "" for path in (folder / "read", folder / "profile"))
    return Attack(run, read, profile, {"own": remaining[own], "other": remaining[other]}, folder)


@pytest.mark.every_core
def test_the_plays_succeed_although_a_host_returns_facts(attack: Attack, relay: Relay) -> None:
    assert attack.run.code == 0, attack.run.output
    assert [task.result["msg"] for task in attack.run.tasks if task.name == "Show a fact"] == [relay.url] * 2
    for host in ("localhost", "bastion"):
        assert f"Ignored facts of host {host} with the names of variables: " in attack.run.text


@pytest.mark.every_core
def test_the_master_key_is_not_sent_to_the_host(attack: Attack, relay: Relay) -> None:
    assert attack.run.code == 0
    assert relay.requests == []


@pytest.mark.every_core
def test_a_destroy_deletes_the_keys_of_the_environment_and_no_others(attack: Attack) -> None:
    assert attack.remaining == {"own": 0, "other": 1}
    assert (attack.folder / "kept").is_dir()


@pytest.mark.every_core
def test_the_key_of_another_environment_is_neither_read_nor_written(attack: Attack) -> None:
    assert attack.read.startswith("sk-")
    assert f"LITELLM_API_KEY={attack.read}" in attack.profile
    assert SECRET not in attack.profile


def test_a_fact_cache_does_not_contain_the_master_key_if_the_environment_is_excluded(
    ansible: Ansible, proxy: Proxy, tmp_path: Path
) -> None:
    play = {"hosts": "localhost", "gather_facts": True, "gather_subset": ["!all", "env"], "tasks": []}
    cache = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path)}
    assert ansible.play(play, **cache).code == 0
    (stored,) = tmp_path.iterdir()
    assert proxy.master_key in stored.read_text()
    assert stored.stat().st_mode & 0o004, "every user can read the cache, as the documentation says"
    stored.unlink()
    assert ansible.play({**play, "gather_subset": ["!env"]}, **cache).code == 0
    (stored,) = tmp_path.iterdir()
    assert "ansible_user_id" in stored.read_text()
    assert proxy.master_key not in stored.read_text()
