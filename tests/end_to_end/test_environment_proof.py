# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test that an operation changes nothing but its own environment, and leaves nothing behind unnoticed.

An earlier release handled each of these environments wrongly. Most tests run the action in this process; those that
depend on the role or on Ansible run playbooks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import Controller, controller
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    PREFIX,
    Database,
    Snapshot,
    expect_failure,
    instant,
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
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import (
    Relay,
    Request,
    RequestFault,
    error_response,
)

__all__ = ["controller"]

FIVE: Json = {"multi_user": True, "user_count": 5}
# One play sets the facts of its environments, and one has read none.
in_one_play = pytest.mark.parametrize("in_one_play", [True, False], ids=["one play", "several plays"])


def lifetime(row: Json) -> float:
    """Return the days from the creation of a key to its expiry."""
    return (instant(row["expires"]) - instant(row["created_at"])).total_seconds() / 86400


def let_days_pass(alias: str, days: int) -> None:
    """Move the keys whose alias starts so into the past."""
    Database.from_environment().query(
        f"""UPDATE "LiteLLM_VerificationToken" SET created_at = created_at - interval '{days} days',
        expires = expires - interval '{days} days' WHERE key_alias LIKE '{alias}%'"""
    )


def succeeded(result: Json) -> Json:
    assert not result.get("failed"), result["msg"]
    return result


# Which keys belong to an environment


@in_one_play
@pytest.mark.parametrize("users", [[], ["ann"]], ids=["single", "users"])
def test_an_environment_whose_guid_starts_alike_is_not_extended(
    controller: Controller, in_one_play: bool, users: list[str]
):
    controller.sets_facts = in_one_play
    abc, other = controller.prefix, f"{controller.prefix}-1"
    for guid in (abc, other):
        succeeded(controller.run(guid, users=users))
    before = controller.rows(other)
    succeeded(controller.run(abc, "extend", runtime=336))
    assert controller.rows(other) == before
    (own,) = (row for alias, row in controller.rows(abc).items() if alias not in before)
    assert lifetime(own) == pytest.approx(14, abs=0.02)

    succeeded(controller.run(other, "destroy"))
    succeeded(controller.run(abc, "extend", runtime=500))
    assert controller.rows(other) == {}
    assert len(controller.rows(abc)) == 1
    assert f"virtkey-{other}" not in yaml.safe_dump(controller.data)


def test_an_environment_whose_guid_starts_alike_is_not_destroyed(controller: Controller):
    abc, other = controller.prefix, f"{controller.prefix}-1"
    for guid in (abc, other):
        succeeded(controller.run(guid))
    before = controller.rows(other)
    succeeded(controller.run(abc, "destroy"))
    assert controller.rows(abc) == controller.rows(other) == before
    assert (
        key_id(controller.data["litellm_keys"][f"virtkey-{other}"]["virtual_key"])
        == before[f"virtkey-{other}"]["token"]
    )


@pytest.mark.parametrize("operation", ["provision", "extend", "stop", "destroy"])
def test_a_key_whose_alias_another_environment_uses_is_not_touched(controller: Controller, operation: str):
    """A user `1` of abc, and the environment abc-1, have the same alias."""
    abc, other = controller.prefix, f"{controller.prefix}-1"
    succeeded(controller.run(abc, users=["1"]))
    before = controller.rows(abc)
    lifetimes: Json = {} if operation in ("stop", "destroy") else {"duration": "60d"}
    result = controller.run(other, operation, block_on_stop=True, **lifetimes)
    assert controller.rows(abc) == before
    assert f"it belongs to environment {abc} and not to {other}" in result["msg"]


# Removed keys stay removed


@in_one_play
def test_a_user_who_was_removed_stays_away(controller: Controller, in_one_play: bool):
    controller.sets_facts = in_one_play
    guid, left = controller.prefix, [f"virtkey-{controller.prefix}-{user}" for user in ("ann", "eve")]
    succeeded(controller.run(guid, users=["ann", "bob", "eve"], max_budget=2))
    succeeded(controller.run(guid, "destroy", users=["bob"]))
    assert "bob" not in yaml.safe_dump(controller.data)
    succeeded(controller.run(guid, "extend", runtime=336))
    assert sorted(controller.rows(guid)) == left
    assert controller.data["litellm_user_count"] == 2
    # ... even if he is named.
    succeeded(controller.run(guid, "extend", runtime=500, users=["ann", "bob", "eve"]))
    assert "because they were deleted before they expired or never existed: " in "".join(controller.warnings)
    assert sorted(controller.rows(guid)) == left


@in_one_play
def test_a_key_that_was_destroyed_stays_away(controller: Controller, in_one_play: bool):
    controller.sets_facts = in_one_play
    guid = controller.prefix
    succeeded(controller.run(guid))
    succeeded(controller.run(guid, "destroy"))
    assert controller.run(guid, "extend", runtime=336)["msg"].startswith(
        f"There is no virtual key of environment {guid} to extend"
    )
    assert controller.rows(guid) == {}
    assert controller.saved_ids() == set()


def test_an_expired_key_comes_back_with_all_its_settings(controller: Controller):
    guid = controller.prefix
    succeeded(controller.run(guid, max_budget=2, settings={"rpm_limit": 5}, duration="2s", users=["ann", "bob"]))
    before = controller.rows(guid)
    expires = max(instant(row["expires"]).timestamp() for row in before.values())
    time.sleep(max(0.0, expires - time.time() + 0.5))
    controller.proxy.delete(*before)  # LiteLLM removes expired keys every night
    succeeded(controller.run(guid, "extend", runtime=336))
    same = ("token", "models", "max_budget", "rpm_limit", "user_id")
    for alias, row in controller.rows(guid).items():
        assert {name: row[name] for name in same} == {name: before[alias][name] for name in same}
        assert row["metadata"].items() >= before[alias]["metadata"].items()
        assert lifetime({**row, "created_at": before[alias]["created_at"]}) == pytest.approx(14, abs=0.02)
    assert len(controller.rows(guid)) == 2


def test_a_key_that_somebody_deleted_is_not_recreated_even_after_it_would_have_expired(controller: Controller):
    guid = controller.prefix
    succeeded(controller.run(guid, users=["ann", "bob"]))
    controller.proxy.delete(f"virtkey-{guid}-bob")
    succeeded(controller.run(guid, "extend", runtime=192))  # bob's key had not expired
    for record in (data := controller.data)["litellm_keys"].values():
        record["expires"] = "2026-01-01T00:00:00Z"
    (controller.folder / "provision-user-data.yaml").write_text(yaml.safe_dump(data))
    succeeded(controller.run(guid, "extend", runtime=336))
    assert list(controller.rows(guid)) == [f"virtkey-{guid}-ann"]


# A replacement belongs to the same environment


@pytest.mark.parametrize("options", [{"runtime": 168}, {"duration": "7d"}], ids=str)
def test_a_replacement_keeps_the_end_of_the_environment(controller: Controller, options: Json):
    guid, alias = controller.prefix, f"virtkey-{controller.prefix}"
    succeeded(controller.run(guid, max_budget=3, **options))
    let_days_pass(alias, 6)
    before = controller.rows(guid)[alias]
    seen = {before["token"]}
    for _time in range(2):
        result = succeeded(controller.run(guid, regenerate="always", **options))
        row = controller.rows(guid)[alias]
        assert row["token"] not in seen
        seen.add(row["token"])
        assert abs((instant(row["expires"]) - instant(before["expires"])).total_seconds()) < 900
        assert row["max_budget"] == 3
        assert "Key Duration: " + str(result["virtual_keys"][0]["duration"]) in result["messages"]
        assert result["virtual_keys"][0]["duration"] in ("7d", "168h")
    assert len(controller.rows(guid)) == 1


def test_the_replacement_of_one_key_leaves_the_user_data_of_the_others(controller: Controller):
    guid = controller.prefix
    succeeded(controller.run(guid, **FIVE))
    let_days_pass(f"virtkey-{guid}-", 3)
    before = controller.data
    result = succeeded(controller.run(guid, users=["user3"], regenerate="always"))
    after = controller.data
    assert "Key Duration: 7d" in result["messages"]
    assert after["litellm_user_count"] == 5
    assert after["litellm_key_aliases"] == before["litellm_key_aliases"]
    secrets = zip(before["litellm_virtual_keys"], after["litellm_virtual_keys"], strict=True)
    assert [old == new for old, new in secrets] == [True, True, False, True, True]
    assert [user for user in before["users"] if before["users"][user] != after["users"][user]] == ["user3"]
    assert after["litellm_virtual_key"] == before["litellm_virtual_key"]
    assert after["litellm_user3_virtual_key"] == after["users"]["user3"]["litellm_virtual_key"]


# Nothing is left behind unnoticed


def test_keys_that_are_no_longer_requested_are_mentioned_and_destroyed(controller: Controller):
    guid = controller.prefix
    left = [f"virtkey-{guid}-user{number}" for number in range(6, 11)]
    succeeded(controller.run(guid, multi_user=True, user_count=10))
    before = controller.rows(guid)
    succeeded(controller.run(guid, **FIVE))
    assert f"does not include: {', '.join(left)}" in "".join(controller.warnings)
    assert {alias: row for alias, row in controller.rows(guid).items() if alias in left} == {
        alias: before[alias] for alias in left
    }
    # The environment as a whole is extended and destroyed.
    succeeded(controller.run(guid, "extend", **FIVE, runtime=336))
    assert {round(lifetime(row)) for row in controller.rows(guid).values()} == {14}
    assert len(controller.rows(guid)) == 10
    succeeded(controller.run(guid, "destroy", **FIVE))
    assert controller.rows(guid) == {}
    assert controller.saved_ids() == set()


@pytest.mark.parametrize("saved", [True, False], ids=["saved", "not saved"])
def test_a_switch_between_one_key_and_many_leaves_nothing_unnoticed(controller: Controller, saved: bool):
    guid, many = controller.prefix, [f"virtkey-{controller.prefix}-{user}" for user in ("ann", "bob")]
    controller.sets_facts = False

    def forget() -> None:
        if not saved:
            (controller.folder / "provision-user-data.yaml").unlink()

    succeeded(controller.run(guid))
    forget()
    result = succeeded(controller.run(guid, users=["ann", "bob"]))
    assert f"does not include: virtkey-{guid}. " in result["report"]
    forget()
    regenerate: Json = {} if saved else {"regenerate": "if_unrecoverable"}
    succeeded(controller.run(guid, **regenerate))
    if saved:  # else only a destroy looks for the keys of users
        assert f"does not include: {', '.join(many)}. " in "".join(controller.warnings)
    assert sorted(controller.rows(guid)) == [f"virtkey-{guid}", *many]
    secret = controller.data["litellm_virtual_key"]
    assert key_id(secret) == controller.rows(guid)[f"virtkey-{guid}"]["token"]
    succeeded(controller.run(guid, "destroy"))
    assert controller.rows(guid) == {}
    assert controller.saved_ids() == set()


def test_a_key_that_could_use_no_model_is_a_failure(controller: Controller):
    guid, wrong = controller.prefix, "openai/granite-3-2-8b"
    assert f"did you mean '{GRANITE}'" in controller.run(guid, models=[wrong])["msg"]
    assert controller.rows(guid) == {}
    succeeded(controller.run(guid, models=[wrong, MISTRAL]))
    assert f"refers to unknown models: '{wrong}'" in "".join(controller.warnings)
    assert controller.rows(guid)[f"virtkey-{guid}"]["models"] == [wrong, MISTRAL]
    succeeded(controller.run(guid, models=[wrong], on_unknown_models="ignore"))


# The role


@dataclass(frozen=True)
class Roles:
    """One play, and the state after some of its steps."""

    guid: str
    folder: Path
    run: CommandResult
    after: dict[str, Snapshot]


@pytest.fixture(scope="module")
def roles(ansible: Ansible, guid: str) -> Roles:
    guid, folder = f"{guid}-roles", ansible.folder / "roles"
    folder.mkdir()

    def environment(name: str, *tasks: Json) -> Json:
        return {"block": list(tasks), "vars": {"guid": f"{guid}-{name}", "output_dir": str(folder / name)}}

    def in_a_loop(action: str) -> Json:
        return {
            "ansible.builtin.include_role": {"name": ROLE},
            "loop": [f"{guid}-loop1", f"{guid}-loop2"],
            "vars": {
                "ACTION": action,
                "guid": "{{ item }}",
                "output_dir": str(folder / "loop"),
                **prefixed(env_file=f"{folder}/{{{{ guid }}}}.env", duration="1d"),
            },
        }

    provision, extend = {"ACTION": "provision", "duration": "1d"}, {"ACTION": "extend"}
    tasks = [
        in_a_loop("provision"),
        environment("loop", take_snapshot("loop")),
        {"ansible.builtin.command": f"cp {folder}/{guid}-loop2.env {folder}/saved.env"},
        in_a_loop("destroy"),
        environment("loop", take_snapshot("loop destroyed")),
        environment("many", role(**provision, users=["ann", "bob"])),
        environment("one", role(**provision), take_snapshot("one after many")),
        environment("misspelt", role(ACTION="provision", duraton="2d", user_count=3)),
        environment(
            "one",
            expect_failure("null instant", role(**extend, expires_at=None)),
            expect_failure("null duration", role(**extend, duration=None)),
            expect_failure("bare", role(ACTION="provision", duration=7)),
        ),
    ]
    run = ansible.play({"hosts": "localhost", "vars": prefixed(models=[GRANITE]), "tasks": tasks})
    assert run.code == 0, run.output
    return Roles(guid, folder, run, snapshots(run))


@pytest.mark.every_core
def test_the_role_runs_in_a_loop_with_lazy_variables(roles: Roles):
    rows = roles.after["loop"].rows
    assert set(rows) == {f"virtkey-{roles.guid}-loop{number}" for number in (1, 2)}
    lines = dict(line.split("=", 1) for line in (roles.folder / "saved.env").read_text().splitlines() if "=" in line)
    assert key_id(lines["LITELLM_API_KEY"]) == rows[f"virtkey-{roles.guid}-loop2"]["token"]
    assert roles.after["loop destroyed"].rows == {}
    for number in (1, 2):
        assert "sk-" not in (roles.folder / f"{roles.guid}-loop{number}.env").read_text()


@pytest.mark.every_core
def test_no_fact_of_another_environment_remains(roles: Roles):
    facts = roles.after["one after many"].facts
    assert facts["litellm_key_alias"] == f"virtkey-{roles.guid}-one"
    for name in ("litellm_virtual_keys", "litellm_key_aliases", "litellm_key_ids", "litellm_user_ids"):
        assert facts[name] == []


def test_variables_that_have_no_effect_are_mentioned(roles: Roles):
    assert f"{PREFIX}duraton; did you mean {PREFIX}duration?" in roles.run.text
    assert f"{PREFIX}user_count is 3, but has no effect without {PREFIX}multi_user: true" in roles.run.text


@pytest.mark.parametrize("name", ["null instant", "null duration"])
def test_an_extension_without_a_lifetime_fails(roles: Roles, name: str):
    assert f"{PREFIX}runtime (in hours, from the creation of the environment)" in str(roles.run.task_msg(name))


def test_a_duration_without_a_unit_is_refused(roles: Roles, ansible: Ansible, proxy: Proxy):
    # Ansible splits the value at the space.
    run = ansible.play(
        {"hosts": "localhost", "vars": {"guid": f"{roles.guid}-bare"}, "tasks": [role(ACTION="provision")]},
        "-e",
        f"{PREFIX}duration=7 days",
    )
    assert run.code == 2
    for message in (str(roles.run.task_msg("bare")), run.failed.result["msg"]):
        assert "7h" in message
        assert "7d" in message
    assert proxy.rows(f"virtkey-{roles.guid}-bare") == []


def test_a_release_that_cannot_delete_keys(ansible: Ansible, proxy: Proxy, guid: str):
    """LiteLLM 1.81.16 answers each deletion with 500: a column of its archive table is missing."""
    database = Database.from_environment()
    guid = f"{guid}-undeletable"
    broken = RequestFault(error_response(500, "column does not exist"), Request("POST /key/delete", 0), persistent=True)
    variables = prefixed(models=[GRANITE], duration="7d", retry_count=1, postgres_url=database.url)
    with Relay(proxy.url, request_fault=broken) as relay:
        run = ansible.play(
            {
                "hosts": "localhost",
                "vars": {"guid": guid, "output_dir": str(ansible.folder / "undeletable"), **variables},
                "tasks": [
                    role(ACTION="provision"),
                    expect_failure("replaced", role(ACTION="provision", regenerate="always")),
                    role(ACTION="provision"),
                    take_snapshot("provisioned again"),
                    expect_failure("without force", role(ACTION="destroy")),
                    role(ACTION="destroy", force_db_delete=True),
                    take_snapshot("with force"),
                ],
            },
            LITELLM_URL=relay.url,
            PATH=f"{database.programs}:{ansible.environment['PATH']}",
        )
    assert run.code == 0, run.output
    before, after = snapshots(run)["provisioned again"], snapshots(run)["with force"]
    alias = f"virtkey-{guid}"
    assert set(before.rows) == {alias, f"{alias}.replacement"}
    assert key_id(before.data["litellm_virtual_key"]) == before.rows[alias]["token"]
    assert f"the key {alias}.replacement that this run created could not be deleted" in str(run.task_msg("replaced"))
    assert f"Another run has started to replace virtual key {alias} and has not finished" in run.text
    assert "500" in str(run.task_msg("without force"))
    assert after.rows == {}
    assert after.facts["litellm_key_deleted"] is True
    assert "sk-" not in yaml.safe_dump(after.data)
