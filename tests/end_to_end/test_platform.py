# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the role as a workload of AgnosticD, with and without the platform's own collection.

The tests imitate what the platform does around a workload: extra variables, which take precedence over all others,
become, module_defaults with a data_prefix, any_errors_fatal, a fact cache on disk, a loop over tenants with one guid,
and user data that are emptied before each run.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    KEY_DATA_NAMES,
    key_id,
    prefixed,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    ROLE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

SEED = "a seed for tests, which is long enough"
# The platform distinguishes its clusters by a prefix. ansible-core refuses this if that collection is not installed.
DEFAULTS = """module_defaults:
            agnosticd.core.agnosticd_user_info:
              data_prefix: "{{ workload_item.data_prefix | default('') }}"
"""
# A stand-in for AgnosticD's own action: it writes the same files in the same way.
THEIRS = """
import json, os, yaml
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = json.loads(json.dumps(self._task.args))
        localhost = task_vars["hostvars"]["localhost"]
        action = task_vars.get("ACTION") or localhost.get("ACTION") or "provision"
        folder = self._templar.template(task_vars.get("output_dir") or localhost.get("output_dir"))
        with open(os.path.join(folder, "theirs.txt"), "a") as calls:
            calls.write(str(args.get("user")) + "\\n")
        messages = args.get("msg") or []
        messages = messages if isinstance(messages, list) else [messages]
        prefix, user = args.get("data_prefix") or "", args.get("user")
        data = {prefix + name: value for name, value in (args.get("data") or {}).items()}
        if messages and not user:
            with open(os.path.join(folder, action + "-user-info.yaml"), "a") as file:
                file.write("".join("- " + json.dumps(message) + "\\n" for message in messages))
        if data or user:
            path = os.path.join(folder, action + "-user-data.yaml")
            saved = {}
            if os.path.exists(path):
                with open(path) as file:
                    saved = yaml.safe_load(file) or {}
            place = saved.setdefault("users", {}).setdefault(user, {}) if user else saved
            place.update(data)
            with open(path, "w") as file:
                file.write("---\\n" + yaml.safe_dump(saved))
        return {**result, "_ansible_verbose_always": True, "data": data, "user": user}
"""

# The plays of a deployer of workloads, which passes everything as extra variables.
DEPLOYER = """
- name: Prepare the output folder
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Create it
      ansible.builtin.file:
        path: "{{ output_dir }}"
        state: directory
        mode: "0700"
    - name: Empty the user data, unless they are to be kept
      when: not agnosticd_preserve_user_data | bool
      ansible.builtin.copy:
        dest: "{{ output_dir }}/{{ ACTION }}-user-{{ item }}.yaml"
        content: "---\\n"
        mode: "0600"
      loop: [data, info]
      changed_when: false
    - name: Add the host on which the workloads run
      ansible.builtin.add_host:
        name: bastion.example.com
        groups: [bastions]
        ansible_connection: local
      changed_when: false

- name: Run the workloads
  hosts: "{{ workload_host }}"
  gather_facts: false
  any_errors_fatal: true
  become: true
  # This become cannot succeed, so the role must not use it.
  become_user: nobody_such
  vars:
    ansible_become_exe: /bin/false
  tasks:
    - name: Run each workload
      ansible.builtin.include_role:
        name: "{{ workload_item.name }}"
        apply:
          become: true
          DEFAULTS
      loop: "{{ workloads }}"
      loop_control:
        loop_var: workload_item
    - SNAPSHOT

- name: Finish
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Report that the environment is ready
      ansible.builtin.debug:
        msg: Ready
"""
# Like ocp4_workload_multi_tenant_loop: the role runs once for each tenant, whose name is a fact.
TENANT_LOOP = """
- name: Run the workload for each tenant
  hosts: localhost
  connection: local
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Run the workload for one tenant
      ansible.builtin.include_tasks: tenant.yml
      loop: "{{ actions | product(ways, tenants) }}"
      loop_control:
        loop_var: turn
      vars:
        ACTION: "{{ turn[0] }}"
        guid: "{{ turn[1] }}"
        _tenant: "{{ turn[2] }}"
        _by_alias: "{{ turn[1].endswith('by-alias') }}"
        ocp4_workload_litellm_virtual_keys_users: "{{ [] if _by_alias else [ocp4_workload_tenant_keycloak_username] }}"
        ocp4_workload_litellm_virtual_keys_multi_user: false
        ocp4_workload_litellm_virtual_keys_alias_format: >-
          {{ 'virtkey-' ~ guid ~ ('-' ~ ocp4_workload_tenant_keycloak_username if _by_alias else '') }}
        ocp4_workload_litellm_virtual_keys_key_seed: "{{ seed if _by_alias else '' }}"
"""


def deploy(
    ansible: Ansible,
    name: str,
    action: str,
    *,
    theirs: bool = False,
    workload_host: str = "localhost",
    **variables: object,
) -> CommandResult:
    """Run the deployer for an action, with these variables as extra variables."""
    folder = ansible.folder / name
    extra = {
        "ACTION": action,
        "output_dir": str(folder),
        "agnosticd_preserve_user_data": True,
        "workload_host": workload_host,
        "workloads": [{"name": ROLE}],
        "litellm_url": ansible.environment["LITELLM_URL"],
        "litellm_master_key": ansible.environment["LITELLM_MASTER_KEY"],
        "num_users": 4,
        **variables,
    }
    file = ansible.folder / "extra.yml"
    file.write_text(yaml.safe_dump(extra))
    plays = DEPLOYER.replace("DEFAULTS", DEFAULTS if theirs else "").replace(
        "SNAPSHOT", yaml.safe_dump(take_snapshot(action), width=1000).replace("\n", "\n      ").rstrip()
    )
    paths = ansible.environment["ANSIBLE_COLLECTIONS_PATH"]
    run = ansible.play(
        plays,
        *("-e", "@extra.yml"),
        ANSIBLE_COLLECTIONS_PATH=f"{with_theirs(ansible)}:{paths}" if theirs else paths,
        ANSIBLE_CACHE_PLUGIN="jsonfile",
        ANSIBLE_CACHE_PLUGIN_CONNECTION=str(ansible.folder / "cache"),
    )
    file.unlink()
    return run


def with_theirs(ansible: Ansible) -> Path:
    """Return a collections path with a stand-in for AgnosticD's collection."""
    plugins = ansible.folder / "theirs/ansible_collections/agnosticd/core/plugins"
    for kind, content in (("action", THEIRS), ("modules", "")):
        (plugins / kind).mkdir(parents=True, exist_ok=True)
        (plugins / kind / "agnosticd_user_info.py").write_text(content)
    return ansible.folder / "theirs"


def saved(ansible: Ansible, name: str) -> Json:
    data: Json = ansible.file(f"{name}/provision-user-data.yaml")
    return data


@pytest.fixture(scope="module")
def runs(ansible: Ansible, proxy: Proxy, guid: str) -> Iterator[dict[str, CommandResult]]:
    """Deploy two environments: two users with a seed, and one user without, on different hosts, also with a prefix."""
    many = {
        "guid": f"{guid}-deployed",
        "workloads": [{"name": ROLE, "data_prefix": "hub_east_"}],
        **prefixed(models=[GRANITE], duration="7d", multi_user=True, user_count=2, key_seed=SEED),
    }
    alone = {**many, "guid": f"{guid}-alone", **prefixed(multi_user=False, user_count="", key_seed="")}
    emptied: Json = {"agnosticd_preserve_user_data": False}
    bastion = "bastion.example.com"
    yield {
        "ours": deploy(ansible, "ours", "provision", **many),
        "theirs": deploy(ansible, "theirs-data", "provision", theirs=True, **many),
        "ours, emptied": deploy(ansible, "ours", "provision", workload_host=bastion, **many, **emptied),
        "ours, destroyed": deploy(ansible, "ours", "destroy", workload_host=bastion, **many),
        "alone": deploy(ansible, "alone", "provision", theirs=True, workload_host=bastion, **alone),
        "alone again": deploy(ansible, "alone", "provision", theirs=True, workload_host=bastion, **alone),
        "alone, emptied": deploy(ansible, "alone", "provision", theirs=True, **alone, **emptied),
    }
    proxy.delete(f"virtkey-{guid}-alone")


NAMES = ("ours", "theirs", "ours, emptied", "ours, destroyed", "alone", "alone again")


@pytest.mark.parametrize("name", NAMES)
def test_each_run_of_the_deployer_succeeds_without_become(runs, name):
    assert runs[name].code == 0, runs[name].output
    assert runs[name].task_msg("Report that the environment is ready") == "Ready"
    assert "WARNING" not in runs[name].output


def test_the_prefix_applies_to_common_data_and_to_the_data_of_each_user(runs, ansible):
    data = saved(ansible, "theirs-data")
    common = KEY_DATA_NAMES | {"litellm_user_count", "litellm_virtual_keys", "litellm_key_aliases", "litellm_key_ids"}
    common |= {"litellm_user_ids", "litellm_keys"}
    each = {f"litellm_{user}_{name}" for user in ("user1", "user2") for name in ("virtual_key", "key_alias", "key_id")}
    each |= {"litellm_user1_user_email", "litellm_user2_user_email"}
    assert set(data) == {f"hub_east_{name}" for name in common | each} | {"users"}
    for user in ("user1", "user2"):
        assert set(data["users"][user]) == {f"hub_east_{name}" for name in (*KEY_DATA_NAMES, "litellm_user_email")}


def test_the_action_of_the_platform_saves_the_same_data(runs, ansible):
    own = snapshots(runs["ours"])["provision"].data  # the destroy has removed them since
    data = {f"hub_east_{name}": value for name, value in own.items() if name != "users"}
    users = {
        user: {f"hub_east_{name}": value for name, value in of_user.items()} for user, of_user in own["users"].items()
    }
    assert saved(ansible, "theirs-data") == {**data, "users": users}
    ours, theirs = (ansible.file(f"{name}/provision-user-info.yaml") for name in ("ours", "theirs-data"))
    assert theirs == ours[: len(theirs)]
    called = (ansible.folder / "theirs-data" / "theirs.txt").read_text().split()
    assert called == ["None", "user1", "user2", "None"]  # the messages are saved by a task of their own
    assert not (ansible.folder / "ours" / "theirs.txt").exists()


def test_a_second_run_finds_its_key_under_the_prefix_and_changes_nothing(runs):
    """The environment has one user and runs on another host than localhost. Only the user data contain the secret."""
    first, again = (snapshots(runs[name], "bastion.example.com")["provision"] for name in ("alone", "alone again"))
    assert runs["alone again"].recap("bastion.example.com")["changed"] == 0
    assert again.facts == first.facts
    assert again.data == first.data
    assert "users" not in again.data
    assert key_id(again.data["hub_east_litellm_virtual_key"]) == again.row["token"]


def test_a_seed_derives_the_same_secrets_after_the_user_data_were_emptied(runs):
    first, emptied = (
        snapshots(runs[name], host)["provision"]
        for name, host in (("ours", "localhost"), ("ours, emptied", "bastion.example.com"))
    )
    assert runs["ours, emptied"].recap("bastion.example.com")["changed"] == 0
    assert emptied.data == first.data
    assert emptied.facts == first.facts


def test_without_a_seed_the_secret_is_lost_with_the_user_data(runs, proxy):
    refused, before = runs["alone, emptied"], snapshots(runs["alone"], "bastion.example.com")["provision"]
    (alias,) = before.rows
    assert refused.code == 2
    assert refused.failed.result["msg"].startswith(f"Virtual key {alias} exists, but its secret is not known")
    assert "Ready" not in refused.stdout  # any_errors_fatal
    assert proxy.row(alias) == before.row


def test_the_destroy_deletes_all_keys(runs):
    assert snapshots(runs["ours, destroyed"], "bastion.example.com")["destroy"].rows == {}


def test_the_fact_cache_on_disk_contains_no_secret(runs, ansible, proxy):
    cached = "".join(path.read_text() for path in (ansible.folder / "cache").rglob("*") if path.is_file())
    secrets = {proxy.master_key, SEED}
    for name, host in (("ours", "localhost"), ("alone", "bastion.example.com")):
        facts = snapshots(runs[name], host)["provision"].facts
        secrets.add(facts["litellm_virtual_key"])
    assert len(secrets) == 4
    assert [secret for secret in secrets if secret in cached] == []


# The loop over tenants.


def test_tenants_with_the_same_guid_have_separate_keys(ansible: Ansible, proxy: Proxy, guid: str):
    """The tenant is the only user, or a part of the alias. In the second case, only a seed gives each secret again."""
    tenants = ["alice", "bob", "alice-b"]  # one name is the prefix of another
    by_users, by_alias = f"{guid}-by-users", f"{guid}-by-alias"
    tasks = [
        {
            "name": "Set the tenant",
            "ansible.builtin.set_fact": {"ocp4_workload_tenant_keycloak_username": "{{ _tenant }}", "num_users": 9},
        },
        {"name": "Run the workload", "ansible.builtin.include_role": {"name": ROLE}},
        {**take_snapshot("tenant"), "name": "After: {{ ACTION }} {{ guid }} {{ _tenant }}"},
    ]
    (ansible.folder / "tenant.yml").write_text(yaml.safe_dump(tasks, width=1000, sort_keys=False))

    def run(*actions: str) -> CommandResult:
        extra = {
            "actions": list(actions),
            "ways": [by_users, by_alias],
            "tenants": tenants,
            "seed": SEED,
            "output_dir": f"{ansible.folder}/{{{{ guid }}}}",
            **prefixed(models=[MISTRAL], duration="7d", block_on_stop=True),
        }
        (ansible.folder / "extra.yml").write_text(yaml.safe_dump(extra))
        done = ansible.play(TENANT_LOOP, "-e", "@extra.yml")
        assert done.code == 0, done.output
        return done

    first, second = run("provision"), run("provision", "stop", "destroy")
    before, after = snapshots(first), snapshots(second)
    secrets = set()
    for way in (by_users, by_alias):
        for tenant in tenants:
            name = f"provision {way} {tenant}"
            facts = before[name].facts
            secrets.add(facts["litellm_virtual_key"])
            assert facts["litellm_key_alias"] == f"virtkey-{way}-{tenant}"
            assert key_id(facts["litellm_virtual_key"]) == before[name].rows[f"virtkey-{way}-{tenant}"]["token"]
            assert after[name].changed == []
            assert after[name].facts["litellm_virtual_key"] == facts["litellm_virtual_key"]

        # An operation on one tenant does not change the others, except with tenants in the alias: all keys have the
        # same guid, so the key of alice-b belongs to alice, whose alias and a hyphen it starts with.
        with_alice = ["alice", "alice-b"] if way == by_alias else ["alice"]
        without_alice = [tenant for tenant in ["alice-b", "bob"] if tenant not in with_alice]

        def remain(action: str, way: str = way, blocked: object = None) -> list[list[str]]:
            rows = [after[f"{action} {way} {tenant}"].rows for tenant in tenants]
            return [
                sorted(
                    alias.removeprefix(f"virtkey-{way}-")
                    for alias, row in of_one.items()
                    if blocked is None or row["blocked"] is blocked
                )
                for of_one in rows
            ]

        assert remain("stop", blocked=True) == [with_alice, [*with_alice, "bob"], ["alice", "alice-b", "bob"]]
        assert remain("destroy") == [without_alice, [one for one in without_alice if one != "bob"], []]
    assert len(secrets) == 6
    data = after[f"provision {by_users} alice-b"].data
    rows = after[f"provision {by_users} alice-b"].rows
    assert {tenant: key_id(data["users"][tenant]["litellm_virtual_key"]) for tenant in tenants} == {
        tenant: rows[f"virtkey-{by_users}-{tenant}"]["token"] for tenant in tenants
    }


# Two controllers at the same time.


def test_two_plays_that_share_a_folder_lose_no_data(ansible: Ansible, proxy: Proxy, guid: str):
    """The platform uses one folder for each environment, but the data of both must be complete here, too."""
    shared = ansible.folder / "shared"

    def provision(base: str) -> CommandResult:
        folder = ansible.folder / base
        folder.mkdir()
        play = {
            "hosts": "localhost",
            "vars": {
                "guid": f"{guid}-{base}",
                "output_dir": str(shared),
                **prefixed(models=[GRANITE], multi_user=True, user_count=5, user_base=base),
            },
            "tasks": [role(ACTION="provision")],
        }
        return replace(ansible, folder=folder).play(play, "-vvvv")

    with ThreadPoolExecutor(2) as both:
        runs = list(both.map(provision, ("left", "right")))
    for run in runs:
        assert run.code == 0, run.output
    data = ansible.file("shared/provision-user-data.yaml")
    users = [f"{base}{number}" for base in ("left", "right") for number in range(1, 6)]
    assert sorted(data["users"]) == users
    for user in users:
        alias = f"virtkey-{guid}-{user.rstrip('12345')}-{user}"
        assert key_id(data["users"][user]["litellm_virtual_key"]) == proxy.row(alias)["token"]
        assert data[f"litellm_{user}_key_alias"] == alias
        for run in runs:  # at any verbosity
            assert data["users"][user]["litellm_virtual_key"] not in run.output + run.log
    info = ansible.file("shared/provision-user-info.yaml")
    assert info.count("Created 5 virtual keys") == 2
    assert sorted(path.name for path in shared.iterdir()) == ["provision-user-data.yaml", "provision-user-info.yaml"]
