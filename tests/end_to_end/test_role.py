# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role with one key, as catalog items use it: provision, provision again, destroy, and the README's examples."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    FACTS,
    KEY_DATA_NAMES,
    RECORDS,
    approx_days,
    expect_failure,
    instant,
    prefixed,
    role,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    NOWHERE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
    key_list_vars,
)

# The examples of the role's README, unchanged.
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


def show_facts() -> Json:
    return {
        "name": "Show the facts",
        "ansible.builtin.debug": {"msg": {name: f"{{{{ {name} | default('not set') }}}}" for name in FACTS}},
    }


@dataclass(frozen=True)
class Lifecycle:
    """The key of one environment: the result of each run, and the state of the proxy after it.

    :ivar messages: the messages saved for the user.
    :ivar modes: the file modes of the user data, by file name.
    :ivar chat: the status of a chat request with the key, by model.
    :ivar unknown_secret: the run of a controller that has no user data of the key.
    """

    guid: str
    provisioned: CommandResult
    row: Json
    saved: Json
    messages: list[str]
    modes: dict[str, int]
    chat: dict[str, int]
    row_extended: Json
    again: CommandResult
    rows_again: list[Json]
    saved_again: Json
    unknown_secret: CommandResult
    row_after_unknown_secret: Json
    destroyed: CommandResult
    rows_after_destroy: list[Json]
    saved_after_destroy: Json
    chat_after_destroy: int
    destroyed_again: CommandResult

    @property
    def alias(self) -> str:
        return f"virtkey-{self.guid}"

    @property
    def record(self) -> Json:
        """Return what was saved to recreate the key."""
        record: Json = self.saved[RECORDS][self.alias]
        return record

    @property
    def secret(self) -> str:
        return str(self.saved["litellm_virtual_key"])


@pytest.fixture(scope="module")
def lifecycle(ansible: Ansible, proxy: Proxy, guid: str) -> Lifecycle:
    guid = f"{guid}-lifecycle"
    alias = f"virtkey-{guid}"
    output = ansible.folder / "output"

    def run(action: str, folder: str = "output") -> CommandResult:
        play = {
            "hosts": "localhost",
            "vars": {
                "guid": guid,
                "output_dir": str(ansible.folder / folder),
                **prefixed(models=[GRANITE], duration="7d", max_budget=25),
                **prefixed(user_info_messages=["Ask on channel #models"]),
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
    messages = ansible.file("output/provision-user-info.yaml")
    # The key is extended outside of Ansible.
    proxy.request("POST", "/key/update", {"key": row["token"], "duration": "30d"})
    row_extended = proxy.row(alias)
    again = run("provision")
    rows_again, saved_again = proxy.rows(alias), ansible.file("output/provision-user-data.yaml")
    unknown_secret = run("provision", "elsewhere")
    row_after_unknown_secret = proxy.row(alias)
    destroyed = run("destroy")
    return Lifecycle(
        guid,
        provisioned,
        row,
        saved,
        messages,
        modes,
        chat,
        row_extended,
        again,
        rows_again,
        saved_again,
        unknown_secret,
        row_after_unknown_secret,
        destroyed,
        proxy.rows(alias),
        ansible.file("output/provision-user-data.yaml"),
        proxy.chat(secret),
        run("destroy"),
    )


def test_the_key_has_the_requested_settings(lifecycle):
    assert lifecycle.provisioned.code == 0, lifecycle.provisioned.output
    assert lifecycle.provisioned.recap()["changed"] == 1
    assert lifecycle.row["models"] == [GRANITE]
    assert lifecycle.row["max_budget"] == 25
    assert lifecycle.row["user_id"] == "someone@example.com"
    assert lifecycle.row["metadata"] == {
        "guid": lifecycle.guid,
        "created_by": "babylon",
        "owner": "someone@example.com",
        "environment": "ocp4-cluster",
        "catalog_item": "granite-lab",
        "models": GRANITE,
        "models_count": 1,
        "duration": "7d",
    }
    assert approx_days(instant(lifecycle.row["expires"]) - instant(lifecycle.row["created_at"]), days=7)


def test_the_key_works_for_its_models_only(lifecycle):
    assert lifecycle.chat[GRANITE] == 200
    assert lifecycle.chat[MISTRAL] in (401, 403)


@pytest.mark.every_core
def test_the_facts_describe_the_key_and_are_complete(lifecycle):
    facts = dict(lifecycle.provisioned.task_msg("Show the facts"))
    assert facts.pop("litellm_api_endpoint") + "/v1" == facts.pop("litellm_api_base_url")
    assert abs(instant(facts.pop("litellm_key_expires")) - instant(lifecycle.row["expires"])) < timedelta(seconds=1)
    assert facts == {
        "litellm_virtual_key": lifecycle.secret,
        "litellm_key_alias": lifecycle.alias,
        "litellm_key_id": lifecycle.row["token"],
        "litellm_available_models": [GRANITE],
        "litellm_key_duration": "7d",
        "litellm_key_deleted": False,
        "litellm_key_was_missing": False,
        "litellm_virtual_keys": [],
        "litellm_key_aliases": [],
        "litellm_key_ids": [],
        "litellm_user_ids": [],
        "_litellm_user_data": {},
    }


def test_the_user_data_are_complete_and_contain_nothing_else(lifecycle, proxy):
    assert lifecycle.saved == {
        "litellm_api_endpoint": proxy.url,
        "litellm_api_base_url": f"{proxy.url}/v1",
        "litellm_virtual_key": lifecycle.secret,
        "litellm_key_alias": lifecycle.alias,
        "litellm_key_id": lifecycle.row["token"],
        "litellm_available_models": [GRANITE],
        "litellm_available_models_list": GRANITE,
        "litellm_key_duration": "7d",
        RECORDS: {lifecycle.alias: lifecycle.record},
    }
    assert set(lifecycle.saved) == KEY_DATA_NAMES | {RECORDS}


def test_the_saved_record_contains_what_recreating_the_key_needs(lifecycle):
    record = dict(lifecycle.record)
    assert abs(instant(record.pop("expires")) - instant(lifecycle.row["expires"])) < timedelta(seconds=1)
    assert abs(instant(record.pop("lifetime_start")) - instant(lifecycle.row["created_at"])) < timedelta(seconds=1)
    assert record == {
        "guid": lifecycle.guid,
        "user": None,
        "virtual_key": lifecycle.secret,
        "key_id": lifecycle.row["token"],
        "user_id": "someone@example.com",
        "models": [GRANITE],
        "duration": "7d",
        "settings": {name: lifecycle.row[name] for name in ("models", "max_budget", "user_id", "metadata")},
    }


def test_only_the_owner_of_the_user_data_files_can_read_them(lifecycle):
    assert lifecycle.modes == {"provision-user-data.yaml": 0o600, "provision-user-info.yaml": 0o600}


def test_the_messages_contain_url_key_models_and_expiry(lifecycle, proxy):
    shown = lifecycle.provisioned.task_msg("Inform the user")
    assert shown == [f"user.info: {message}" for message in lifecycle.messages]
    text = "\n".join(lifecycle.messages)
    expires = instant(lifecycle.row["expires"]).strftime("%Y-%m-%dT%H:%M")
    for part in (f"{proxy.url}/v1", lifecycle.secret, GRANITE, "7d", expires, "Ask on channel #models"):
        assert part in text


@pytest.mark.every_core
def test_a_second_provision_changes_nothing_and_returns_the_same_secret(lifecycle):
    assert lifecycle.again.code == 0, lifecycle.again.output
    assert lifecycle.again.recap()["changed"] == 0
    first, again = (dict(run.task_msg("Show the facts")) for run in (lifecycle.provisioned, lifecycle.again))
    assert again.pop("litellm_key_expires") > first.pop("litellm_key_expires")
    assert again == {**first, "litellm_key_duration": "30d"}  # it was extended
    record = {**lifecycle.record, "duration": "30d"}
    record["expires"] = lifecycle.saved_again[RECORDS][lifecycle.alias]["expires"]
    assert record["expires"] > lifecycle.record["expires"]
    assert lifecycle.saved_again == {
        **lifecycle.saved,
        "litellm_key_duration": "30d",
        RECORDS: {lifecycle.alias: record},
    }
    assert len(lifecycle.rows_again) == 1


def test_an_extended_key_keeps_its_expiry(lifecycle):
    assert instant(lifecycle.row_extended["expires"]) - instant(lifecycle.row["expires"]) > timedelta(days=22)
    assert without_usage(lifecycle.rows_again[0]) == without_usage(lifecycle.row_extended)


def test_a_key_with_an_unknown_secret_fails_and_stays_as_it_is(lifecycle):
    assert lifecycle.unknown_secret.code != 0
    assert lifecycle.unknown_secret.recap()["failed"] == 1
    assert lifecycle.alias in lifecycle.unknown_secret.failed.result["msg"]
    assert without_usage(lifecycle.row_after_unknown_secret) == without_usage(lifecycle.row_extended)


@pytest.mark.parametrize("solution", ["destroy", "another guid", "key_seed", "regenerate"])
def test_the_error_message_names_each_solution(lifecycle, solution):
    assert re.search(solution, lifecycle.unknown_secret.failed.result["msg"])


def test_destroy_removes_the_key_and_the_proxy_refuses_it(lifecycle):
    assert lifecycle.destroyed.code == 0, lifecycle.destroyed.output
    assert lifecycle.destroyed.recap()["changed"] == 1
    assert lifecycle.rows_after_destroy == []
    assert lifecycle.chat_after_destroy == 401
    facts = lifecycle.destroyed.task_msg("Show the facts")
    assert (facts["litellm_key_deleted"], facts["litellm_key_was_missing"]) == (True, False)


def test_a_destroy_empties_facts_and_user_data(lifecycle):
    facts = dict(lifecycle.destroyed.task_msg("Show the facts"))
    assert lifecycle.secret not in str(facts)
    flags = ("litellm_key_deleted", "litellm_key_was_missing")
    assert {name: value for name, value in facts.items() if value and name not in flags} == {}
    assert lifecycle.secret not in str(lifecycle.saved_after_destroy)
    assert set(lifecycle.saved_after_destroy) <= {"litellm_api_endpoint", "litellm_api_base_url"}


def test_a_second_destroy_changes_nothing(lifecycle):
    assert lifecycle.destroyed_again.code == 0, lifecycle.destroyed_again.output
    assert lifecycle.destroyed_again.recap()["changed"] == 0
    facts = lifecycle.destroyed_again.task_msg("Show the facts")
    assert (facts["litellm_key_deleted"], facts["litellm_key_was_missing"]) == (False, True)


@pytest.mark.parametrize("run", ["provisioned", "again", "destroyed", "destroyed_again"])
def test_no_run_prints_a_warning(lifecycle, run):
    assert "WARNING" not in getattr(lifecycle, run).output
    assert getattr(lifecycle, run).stderr == ""


def without_usage(row: Json) -> Json:
    """Return the row without the columns that a chat request changes some seconds later."""
    changed = ("spend", "total_spend", "updated_at", "last_active")
    return {name: value for name, value in row.items() if name not in changed}


@pytest.fixture
def readme_guids(proxy: Proxy, guid: str) -> Iterator[dict[str, str]]:
    """Return unique guids to replace those of the README, because other sessions may use the same proxy."""
    guids = {name: f"{guid}-{name}" for name in ("user123", "abc123")}
    yield guids
    proxy.delete(*(f"virtkey-{unique}" for unique in guids.values()))


def test_the_readme_examples_work(ansible, proxy, readme_guids):
    def localize(text: str) -> str:
        for name, unique in readme_guids.items():
            text = text.replace(name, unique)
        return text.replace("https://litellm-rhpds.apps.cluster.com", proxy.url).replace("sk-xxxxx", proxy.master_key)

    tasks = README_PROVISION_AND_DESTROY.replace("\n", "\n    ")
    both = f"- hosts: localhost\n  gather_facts: false\n  tasks:{tasks}"
    run = ansible.play(localize(README_EXAMPLE + both), LITELLM_URL=None, LITELLM_MASTER_KEY=None)
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 3
    printed = re.fullmatch(r"Virtual Key: (sk-\S{22,})", run.task_msg("debug"))
    assert printed
    assert proxy.chat(printed[1]) == 200
    assert proxy.row(f"virtkey-{readme_guids['abc123']}")["models"] == [GRANITE, MISTRAL]
    assert proxy.rows(f"virtkey-{readme_guids['user123']}") == []


def test_the_playbooks_provision_and_destroy_a_key(ansible, proxy, guid):
    guid = f"{guid}-playbook"
    provisioned = ansible.run("ansible-playbook", "rhpds.litellm_virtual_keys.provision_key", "-e", f"guid={guid}")
    assert provisioned.code == 0, provisioned.output
    assert provisioned.recap()["changed"] == 1
    secret = ansible.file(f"virtual_keys/{guid}/provision-user-data.yaml")["litellm_virtual_key"]
    assert proxy.chat(secret) == 200
    assert any(line.endswith(secret) for line in provisioned.task_msg("Inform the user"))

    checked = ansible.run("ansible-playbook", "rhpds.litellm_virtual_keys.destroy_key", "-e", f"guid={guid}", "--check")
    assert checked.task_msg("Show the result") == [f"Would delete virtual key virtkey-{guid}"]
    assert proxy.chat(secret) == 200

    destroyed = ansible.run("ansible-playbook", "rhpds.litellm_virtual_keys.destroy_key", "-e", f"guid={guid}")
    assert destroyed.code == 0, destroyed.output
    assert destroyed.recap()["changed"] == 1
    assert destroyed.task_msg("Show the result") == [f"Deleted virtual key virtkey-{guid}"]
    assert proxy.rows(f"virtkey-{guid}") == []
    assert proxy.chat(secret) == 401


def test_a_provision_after_a_destroy_creates_a_new_secret(ansible, proxy, guid):
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


def test_each_way_to_request_an_operation(ansible, proxy, guid):
    """Run on an unreachable host with become, as cloud configurations of AgnosticD run workloads."""
    guid = f"{guid}-operation"
    output = ansible.folder / "operation"
    runtime = {"agnosticd_user_info": {"runtime": 168}}
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
                role(agnosticd_action="create", **runtime),
                show_facts(),
                {
                    "name": "List the keys",
                    "ansible.builtin.debug": {"msg": "{{ rows }}"},
                    "vars": key_list_vars("virtkey-{{ guid }}"),
                },
                *[role(ACTION=action) for action in ("update", "anything else")],
                # The default is to provision.
                role(**runtime),
                # agnosticd_action has precedence over ACTION.
                role(agnosticd_action="anything else", ACTION="destroy"),
                role(agnosticd_action="provision", ACTION="destroy", **runtime),
                role(agnosticd_action="remove", ACTION="anything else"),
            ],
        },
        *("-i", "bastion.invalid,"),
    )
    assert run.code == 0, run.output
    assert run.recap("bastion.invalid")["changed"] == 2
    (row,) = run.task_msg("List the keys")
    lifetime = instant(row["expires"]) - instant(row["created_at"])
    assert approx_days(lifetime, days=7)
    assert run.task_msg("Show the facts")["litellm_key_duration"] == "168h"
    idle = [task.result["msg"] for task in run.tasks if task.name == "Show the result"]
    assert [re.findall("Nothing to do for ACTION '(.*?)'", report) for report in idle] == [
        ["update"],
        ["anything else"],
        ["anything else"],
    ]
    assert proxy.rows(f"virtkey-{guid}") == []


MISSING_GUIDS = {"no guid": None, "an empty guid": "", "a blank guid": " "}


@pytest.fixture(scope="module")
def failed(ansible: Ansible, proxy: Proxy, guid: str) -> CommandResult:
    """Run the role without a guid, and then with a proxy that is down, which ends the play."""
    nowhere = {"litellm_url": NOWHERE, "guid": f"{guid}-nowhere", **prefixed(retry_count=0)}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"output_dir": str(ansible.folder / "nowhere")},
            "tasks": [
                *(expect_failure(name, role(ACTION="provision"), guid=value) for name, value in MISSING_GUIDS.items()),
                expect_failure("destroy", role(ACTION="destroy"), **nowhere),
                {"block": [role(ACTION="provision"), show_facts()], "vars": nowhere},
            ],
        }
    )
    assert run.code == 2, run.output
    return run


@pytest.mark.parametrize("name", MISSING_GUIDS)
def test_a_missing_guid_is_an_error_and_creates_no_key(failed, proxy, name):
    assert failed.task_msg(name) == "guid is not set; it must name the lab environment that the virtual keys belong to"
    assert proxy.rows("virtkey-") == []


def test_an_unreachable_proxy_is_an_error(failed, ansible):
    *_others, provision = (task for task in failed.tasks if task.status == "fatal")
    for message in (failed.task_msg("destroy"), provision.result["msg"]):
        assert f"No connection to a LiteLLM proxy at {NOWHERE}" in message
    assert "Show the facts" not in failed.stdout
    assert not (ansible.folder / "nowhere").exists()
