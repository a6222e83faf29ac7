# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role, as catalogs use it: the life of one environment's key, and the examples of the role's README."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    NOWHERE,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    key_list_vars,
)

# What lab guides and other roles look up.
DATA_KEYS = {
    "litellm_api_endpoint",
    "litellm_api_base_url",
    "litellm_virtual_key",
    "litellm_key_alias",
    "litellm_key_id",
    "litellm_available_models",
    "litellm_available_models_list",
    "litellm_key_duration",
}
FACTS = (
    "litellm_virtual_key",
    "litellm_key_alias",
    "litellm_key_id",
    "litellm_api_endpoint",
    "litellm_api_base_url",
    "litellm_available_models",
    "litellm_key_duration",
    "litellm_key_expires",
    "litellm_key_deleted",
    "litellm_key_was_missing",
)

# The three examples of the role's README, as they stand there.
README_PROVISION_AND_DESTROY = """
- name: Create LiteLLM virtual key
  vars:
    ACTION: "provision"
    guid: "user123"
    litellm_url: "https://litellm-rhpds.apps.cluster.com"
    litellm_master_key: "sk-xxxxx"
    ocp4_workload_litellm_virtual_keys_models:
      - "openai/granite-3-2-8b-instruct"
      - "openai/mistral-7b-instruct"
    ocp4_workload_litellm_virtual_keys_duration: "30d"
  ansible.builtin.include_role:
    name: rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys

- name: Delete LiteLLM virtual key
  vars:
    ACTION: "destroy"
    guid: "user123"
    litellm_url: "https://litellm-rhpds.apps.cluster.com"
    litellm_master_key: "sk-xxxxx"
  ansible.builtin.include_role:
    name: rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys
"""
README_EXAMPLE = """
- name: Provision LiteLLM virtual key
  hosts: localhost
  vars:
    ACTION: "provision"
    guid: "abc123"
    litellm_url: "https://litellm-rhpds.apps.cluster.com"
    litellm_master_key: "sk-xxxxx"
    ocp4_workload_litellm_virtual_keys_models:
      - "openai/granite-3-2-8b-instruct"
      - "openai/mistral-7b-instruct"
    ocp4_workload_litellm_virtual_keys_duration: "10d"
  tasks:
    - include_role:
        name: rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys

    - debug:
        msg: "Virtual Key: {{ litellm_virtual_key }}"
"""


def role(**variables: object) -> Json:
    return {"ansible.builtin.include_role": {"name": ROLE}, "vars": variables}


def show_facts() -> Json:
    return {
        "name": "Show the facts",
        "ansible.builtin.debug": {"msg": {name: f"{{{{ {name} | default('not set') }}}}" for name in FACTS}},
    }


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class Life:
    """One environment's key from beginning to end: what each run said, and what the proxy had after it."""

    guid: str
    provisioned: CommandResult
    row: Json
    saved: Json
    told: list[str]
    modes: dict[str, int]
    chat: dict[str, int]
    row_extended: Json
    again: CommandResult
    rows_again: list[Json]
    saved_again: Json
    stranger: CommandResult
    row_after_stranger: Json
    destroyed: CommandResult
    rows_after_destroy: list[Json]
    chat_after_destroy: int
    destroyed_again: CommandResult

    @property
    def alias(self) -> str:
        return f"virtkey-{self.guid}"

    @property
    def secret(self) -> str:
        return str(self.saved["litellm_virtual_key"])


@pytest.fixture(scope="module")
def life(ansible: Ansible, proxy: Proxy, guid: str) -> Life:
    guid = f"{guid}-life"
    alias = f"virtkey-{guid}"
    output = ansible.folder / "output"

    def run(action: str, folder: str = "output") -> CommandResult:
        play = {
            "hosts": "localhost",
            "vars": {
                "guid": guid,
                "output_dir": str(ansible.folder / folder),
                "ocp4_workload_litellm_virtual_keys_models": [GRANITE],
                "ocp4_workload_litellm_virtual_keys_duration": "7d",
                "ocp4_workload_litellm_virtual_keys_max_budget": 25,
                "ocp4_workload_litellm_virtual_keys_user_info_messages": ["Ask on channel #models"],
                "email": "someone@example.com",
                "env_type": "ocp4-cluster",
                "catalog_item": "granite-lab",
            },
            "tasks": [role(ACTION=action), show_facts()],
        }
        return ansible.play(play)

    provisioned = run("provision")
    row, saved = proxy.row(alias), ansible.file("output/provision-user-data.yaml")
    secret = saved["litellm_virtual_key"]
    chat = {model: proxy.chat(secret, model) for model in (GRANITE, MISTRAL)}
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in output.iterdir()}
    told = ansible.file("output/provision-user-info.yaml")
    # Somebody lets the environment live longer.
    proxy.request("POST", "/key/update", {"key": row["token"], "duration": "30d"})
    row_extended = proxy.row(alias)
    again = run("provision")
    rows_again, saved_again = proxy.rows(alias), ansible.file("output/provision-user-data.yaml")
    stranger = run("provision", "elsewhere")
    row_after_stranger = proxy.row(alias)
    destroyed = run("destroy")
    return Life(
        guid,
        provisioned,
        row,
        saved,
        told,
        modes,
        chat,
        row_extended,
        again,
        rows_again,
        saved_again,
        stranger,
        row_after_stranger,
        destroyed,
        proxy.rows(alias),
        proxy.chat(secret),
        run("destroy"),
    )


def test_the_proxy_has_the_key_that_was_asked_for(life):
    assert life.provisioned.code == 0, life.provisioned.output
    assert life.provisioned.recap()["changed"] == 1
    assert life.row["models"] == [GRANITE]
    assert life.row["max_budget"] == 25
    assert life.row["user_id"] == "someone@example.com"
    assert life.row["metadata"] == {
        "guid": life.guid,
        "created_by": "agnosticd",
        "environment": "ocp4-cluster",
        "catalog_item": "granite-lab",
    }
    lives = instant(life.row["expires"]) - instant(life.row["created_at"])
    assert abs(lives - timedelta(days=7)) < timedelta(seconds=60)


def test_the_key_answers_a_chat_request_for_its_models_only(life):
    assert life.chat[GRANITE] == 200
    assert life.chat[MISTRAL] in (401, 403)


def test_the_facts_are_those_of_the_key(life):
    facts = dict(life.provisioned.task_msg("Show the facts"))
    assert facts.pop("litellm_api_endpoint") + "/v1" == facts.pop("litellm_api_base_url")
    assert abs(instant(facts.pop("litellm_key_expires")) - instant(life.row["expires"])) < timedelta(seconds=1)
    assert facts == {
        "litellm_virtual_key": life.secret,
        "litellm_key_alias": life.alias,
        "litellm_key_id": life.row["token"],
        "litellm_available_models": [GRANITE],
        "litellm_key_duration": "7d",
        "litellm_key_deleted": "not set",
        "litellm_key_was_missing": "not set",
    }


def test_the_user_data_are_complete_and_nothing_else(life, proxy):
    assert life.saved == {
        "litellm_api_endpoint": proxy.url,
        "litellm_api_base_url": f"{proxy.url}/v1",
        "litellm_virtual_key": life.secret,
        "litellm_key_alias": life.alias,
        "litellm_key_id": life.row["token"],
        "litellm_available_models": [GRANITE],
        "litellm_available_models_list": GRANITE,
        "litellm_key_duration": "7d",
    }
    assert set(life.saved) == DATA_KEYS


def test_only_the_owner_can_read_what_is_saved(life):
    assert life.modes == {"provision-user-data.yaml": 0o600, "provision-user-info.yaml": 0o600}


def test_the_user_is_told_address_key_models_and_end(life, proxy):
    shown = life.provisioned.task_msg("Tell the user")
    assert shown == [f"user.info: {message}" for message in life.told]
    said = "\n".join(life.told)
    expires = instant(life.row["expires"]).strftime("%Y-%m-%dT%H:%M")
    for part in (f"{proxy.url}/v1", life.secret, GRANITE, "7d", expires, "Ask on channel #models"):
        assert part in said


def test_a_second_provision_changes_nothing_and_gives_the_same_secret(life):
    assert life.again.code == 0, life.again.output
    assert life.again.recap()["changed"] == 0
    first, again = (dict(run.task_msg("Show the facts")) for run in (life.provisioned, life.again))
    assert again.pop("litellm_key_expires") > first.pop("litellm_key_expires")
    assert again == {**first, "litellm_key_duration": "30d"}  # it was extended
    assert life.saved_again == {**life.saved, "litellm_key_duration": "30d"}
    assert len(life.rows_again) == 1


def test_an_environment_that_was_extended_keeps_its_end(life):
    assert instant(life.row_extended["expires"]) - instant(life.row["expires"]) > timedelta(days=22)
    assert unspent(life.rows_again[0]) == unspent(life.row_extended)


def test_a_key_whose_secret_is_not_known_is_left_as_it_is(life):
    assert life.stranger.code != 0
    assert life.stranger.recap()["failed"] == 1
    assert life.alias in life.stranger.failed.result["msg"]
    assert unspent(life.row_after_stranger) == unspent(life.row_extended)


@pytest.mark.parametrize("way_out", ["destroy", "another guid", "key_seed", "regenerate"])
def test_the_failure_says_the_ways_out_in_the_words_of_the_role(life, way_out):
    assert re.search(way_out, life.stranger.failed.result["msg"])


def test_destroy_removes_the_key_and_the_proxy_refuses_it(life):
    assert life.destroyed.code == 0, life.destroyed.output
    assert life.destroyed.recap()["changed"] == 1
    assert life.rows_after_destroy == []
    assert life.chat_after_destroy == 401
    facts = life.destroyed.task_msg("Show the facts")
    assert (facts["litellm_key_deleted"], facts["litellm_key_was_missing"]) == (True, False)


def test_a_second_destroy_finds_nothing_and_changes_nothing(life):
    assert life.destroyed_again.code == 0, life.destroyed_again.output
    assert life.destroyed_again.recap()["changed"] == 0
    facts = life.destroyed_again.task_msg("Show the facts")
    assert (facts["litellm_key_deleted"], facts["litellm_key_was_missing"]) == (False, True)


@pytest.mark.parametrize("run", ["provisioned", "again", "destroyed", "destroyed_again"])
def test_no_run_warns(life, run):
    assert "WARNING" not in getattr(life, run).output
    assert getattr(life, run).stderr == ""


def unspent(row: Json) -> Json:
    """The row without what a chat request changes some seconds later."""
    return {name: value for name, value in row.items() if name not in ("spend", "updated_at", "last_active")}


@pytest.fixture
def of_the_readme(proxy: Proxy, guid: str) -> Iterator[dict[str, str]]:
    """Names of our own in place of those of the README: the proxy may be that of other sessions, too."""
    guids = {name: f"{guid}-{name}" for name in ("user123", "abc123")}
    yield guids
    proxy.delete(*(f"virtkey-{ours}" for ours in guids.values()))


def test_the_examples_of_the_readme_run_as_written(ansible, proxy, of_the_readme):
    def here(text: str) -> str:
        for name, ours in of_the_readme.items():
            text = text.replace(name, ours)
        return text.replace("https://litellm-rhpds.apps.cluster.com", proxy.url).replace("sk-xxxxx", proxy.master_key)

    tasks = README_PROVISION_AND_DESTROY.replace("\n", "\n    ")
    both = f"- hosts: localhost\n  gather_facts: false\n  tasks:{tasks}"
    run = ansible.play(here(README_EXAMPLE + both), LITELLM_URL=None, LITELLM_MASTER_KEY=None)
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 3
    printed = re.fullmatch(r"Virtual Key: (sk-\S{22,})", run.task_msg("debug"))
    assert printed
    assert proxy.chat(printed[1]) == 200
    assert proxy.row(f"virtkey-{of_the_readme['abc123']}")["models"] == [GRANITE, MISTRAL]
    assert proxy.rows(f"virtkey-{of_the_readme['user123']}") == []


def test_the_playbooks_provision_and_destroy_by_their_full_names(ansible, proxy, guid):
    guid = f"{guid}-playbook"
    provisioned = ansible.run("ansible-playbook", "rhpds.litellm_virtual_keys.provision_key", "-e", f"guid={guid}")
    assert provisioned.code == 0, provisioned.output
    assert provisioned.recap()["changed"] == 1
    secret = ansible.file(f"virtual_keys/{guid}/provision-user-data.yaml")["litellm_virtual_key"]
    assert proxy.chat(secret) == 200
    assert any(line.endswith(secret) for line in provisioned.task_msg("Tell the user"))

    would_be = ansible.run(
        "ansible-playbook", "rhpds.litellm_virtual_keys.destroy_key", "-e", f"guid={guid}", "--check"
    )
    assert would_be.task_msg("Show the result") == "The virtual keys would be deleted"
    assert proxy.chat(secret) == 200

    destroyed = ansible.run("ansible-playbook", "rhpds.litellm_virtual_keys.destroy_key", "-e", f"guid={guid}")
    assert destroyed.code == 0, destroyed.output
    assert destroyed.recap()["changed"] == 1
    assert destroyed.task_msg("Show the result") == "All virtual keys were deleted"
    assert proxy.rows(f"virtkey-{guid}") == []
    assert proxy.chat(secret) == 401


def test_a_destroyed_key_does_not_come_back_to_life(ansible, proxy, guid):
    alias, output = f"virtkey-{guid}-again", ansible.folder / "again"
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": f"{guid}-again", "output_dir": str(output)},
            "tasks": [
                role(ACTION="provision"),
                {"ansible.builtin.set_fact": {"first": "{{ litellm_virtual_key }}"}, "no_log": True},
                role(ACTION="destroy"),
                role(ACTION="provision"),
                {"name": "Compare", "ansible.builtin.debug": {"msg": "{{ first == litellm_virtual_key }}"}},
            ],
        }
    )
    assert run.code == 0, run.output
    assert run.task_msg("Compare") is False
    secret = ansible.file("again/provision-user-data.yaml")["litellm_virtual_key"]
    assert proxy.chat(secret) == 200
    proxy.delete(alias)


@pytest.mark.parametrize("guid", [None, "", " "])
def test_without_a_guid_there_is_one_sentence_and_no_key(ansible, proxy, guid):
    run = ansible.play({"hosts": "localhost", "vars": {"guid": guid}, "tasks": [role(ACTION="provision")]})
    assert run.failed.result["msg"] == "guid is not set: it names the lab environment whose virtual key this is"
    assert proxy.rows("virtkey-") == []


def test_other_words_for_the_action_and_what_the_platform_tells(ansible, proxy, guid):
    """On a host that cannot be reached, with become: cloud configurations run workloads like this."""
    guid = f"{guid}-words"
    output = ansible.folder / "words"
    run = ansible.play(
        {
            "hosts": "bastion.invalid",
            "become": True,
            "vars": {
                "guid": guid,
                "output_dir": str(output),
                "litellm_url": proxy.url,
            },
            "tasks": [
                role(agnosticd_action="create", agnosticd_user_info={"runtime": 168}),
                show_facts(),
                {
                    "name": "Look",
                    "ansible.builtin.debug": {"msg": "{{ rows }}"},
                    "vars": key_list_vars("virtkey-{{ guid }}"),
                },
                *[role(ACTION=action) for action in ("update", "anything else")],
                role(),
                role(agnosticd_action="destroy", ACTION="anything else"),
                role(agnosticd_action="remove"),
            ],
        },
        *("-i", "bastion.invalid,"),
    )
    assert run.code == 0, run.output
    assert run.recap("bastion.invalid")["changed"] == 2
    (row,) = run.task_msg("Look")
    lives = instant(row["expires"]) - instant(row["created_at"])
    assert abs(lives - timedelta(hours=168)) < timedelta(seconds=60)
    assert run.task_msg("Show the facts")["litellm_key_duration"] == "168h"
    idle = [task.result["msg"] for task in run.tasks if task.name == "Say that there is nothing to do"]
    assert [re.findall("ACTION '(.*?)'", said) for said in idle] == [
        ["update"],
        ["anything else"],
        [""],
        ["anything else"],
    ]
    assert proxy.rows(f"virtkey-{guid}") == []


@pytest.mark.parametrize("action", ["provision", "destroy"])
def test_neither_succeeds_when_the_proxy_could_not_be_asked(ansible, guid, action):
    output = ansible.folder / f"{action}-nowhere"
    variables = {
        "ACTION": action,
        "guid": f"{guid}-nowhere",
        "output_dir": str(output),
        "ocp4_workload_litellm_virtual_keys_retry_count": 0,
    }
    run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": [role(), show_facts()]}, LITELLM_URL=NOWHERE)
    assert run.code == 2
    assert f"No LiteLLM proxy answers at {NOWHERE}" in run.failed.result["msg"]
    assert "Show the facts" not in run.stdout
    assert not output.exists()
