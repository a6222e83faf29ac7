# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role with environments of several users: provision and destroy, and how the users are named and counted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    KEY_DATA_NAMES,
    MANAGE_TASK,
    PREFIX,
    RECORDS,
    Snapshot,
    admin_post,
    approx_days,
    expect_failure,
    key_id,
    prefixed,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

USERS = [f"user{number}" for number in range(1, 13)]
ALL_USERS_NAMES = {
    "litellm_user_count",
    "litellm_virtual_keys",
    "litellm_key_aliases",
    "litellm_key_ids",
    "litellm_user_ids",
}
EACH_USER_NAMES = ("virtual_key", "key_alias", "key_id", "user_email")


# An environment of twelve users.


@dataclass(frozen=True)
class Workshop:
    """The result of each run, and the snapshot after each of its steps."""

    guid: str
    first: CommandResult
    second: CommandResult
    third: CommandResult
    after: dict[str, Snapshot]
    chats: list[int]

    def alias(self, user: str) -> str:
        return f"virtkey-{self.guid}-{user}"


@pytest.fixture(scope="module")
def workshop(ansible: Ansible, proxy: Proxy, guid: str) -> Workshop:
    guid = f"{guid}-workshop"
    variables = {
        "guid": guid,
        "num_users": 12,
        "output_dir": str(ansible.folder / "workshop"),
        **prefixed(multi_user=True, models=[GRANITE, MISTRAL], duration="7d", max_budget=3),
    }

    def run(*tasks: Json) -> CommandResult:
        return ansible.play({"hosts": "localhost", "vars": variables, "tasks": list(tasks)})

    def delete_by_api(*users: str) -> Json:
        return admin_post("/key/delete", {"key_aliases": [f"virtkey-{guid}-{user}" for user in users]})

    first = run(role(ACTION="provision"), take_snapshot("provision"))
    assert first.code == 0, first.output
    data = snapshots(first)["provision"].data
    chats = [proxy.chat(data["users"][user]["litellm_virtual_key"]) for user in ("user1", "user12")]
    second = run(role(ACTION="provision"), take_snapshot("second provision"))
    third = run(
        delete_by_api("user7"),
        role(ACTION="provision"),
        take_snapshot("one deleted by API"),
        delete_by_api("user1", "user12", "user5"),
        role(ACTION="destroy"),
        take_snapshot("destroy"),
        role(ACTION="destroy"),
        take_snapshot("second destroy"),
        role(ACTION="create"),
        delete_by_api(*USERS),
        role(ACTION="remove"),
        take_snapshot("destroy after deletion by API"),
    )
    return Workshop(guid, first, second, third, snapshots(first) | snapshots(second) | snapshots(third), chats)


@pytest.mark.parametrize("run", ["first", "second", "third"])
def test_each_run_succeeds_without_a_warning(workshop, run):
    result: CommandResult = getattr(workshop, run)
    assert result.code == 0, result.output
    assert result.stderr == ""
    assert "WARNING" not in result.output


def test_each_user_gets_a_key(workshop):
    rows = workshop.after["provision"].rows
    assert set(rows) == {workshop.alias(user) for user in USERS}
    for user in USERS:
        row = rows[workshop.alias(user)]
        assert row["user_id"] == f"{user}@lab.opentlc.com"
        assert row["metadata"]["user"] == user
        assert row["metadata"]["guid"] == workshop.guid
        assert row["metadata"]["user_number"] == USERS.index(user) + 1
        assert row["models"] == [GRANITE, MISTRAL]
        assert row["max_budget"] == 3
        assert approx_days(workshop.after["provision"].lifetime(workshop.alias(user)), days=7)
    assert workshop.chats == [200, 200]


def test_the_data_of_each_user_are_complete(workshop, proxy):
    snapshot = workshop.after["provision"]
    assert list(snapshot.data["users"]) == sorted(USERS)
    secrets = set()
    for user, data in snapshot.data["users"].items():
        row = snapshot.rows[workshop.alias(user)]
        secrets.add(data["litellm_virtual_key"])
        assert key_id(data["litellm_virtual_key"]) == row["token"]
        assert data == {
            "litellm_api_endpoint": proxy.url,
            "litellm_api_base_url": f"{proxy.url}/v1",
            "litellm_virtual_key": data["litellm_virtual_key"],
            "litellm_key_alias": workshop.alias(user),
            "litellm_key_id": row["token"],
            "litellm_user_email": f"{user}@lab.opentlc.com",
            "litellm_available_models": [GRANITE, MISTRAL],
            "litellm_available_models_list": f"{GRANITE}, {MISTRAL}",
            "litellm_key_duration": "7d",
        }
    assert len(secrets) == 12


def test_the_data_of_the_environment_list_all_users_in_order(workshop):
    data, users = workshop.after["provision"].data, workshop.after["provision"].data["users"]
    assert set(data) == KEY_DATA_NAMES | ALL_USERS_NAMES | {"users", RECORDS} | {
        f"litellm_{user}_{name}" for user in USERS for name in EACH_USER_NAMES
    }
    assert data["litellm_user_count"] == 12
    assert data["litellm_virtual_keys"] == [users[user]["litellm_virtual_key"] for user in USERS]
    assert data["litellm_key_aliases"] == [workshop.alias(user) for user in USERS]
    assert data["litellm_key_ids"] == [users[user]["litellm_key_id"] for user in USERS]
    assert data["litellm_user_ids"] == [f"{user}@lab.opentlc.com" for user in USERS]
    assert {name: data[name] for name in KEY_DATA_NAMES} == {name: users["user1"][name] for name in KEY_DATA_NAMES}
    records = data[RECORDS]
    assert set(records) == {workshop.alias(user) for user in USERS}
    for user in USERS:
        record = records[workshop.alias(user)]
        assert (record["guid"], record["user"]) == (workshop.guid, user)
        assert record["virtual_key"] == users[user]["litellm_virtual_key"]
        for name in EACH_USER_NAMES:
            of_user = "user_email" if name == "user_email" else name
            assert data[f"litellm_{user}_{name}"] == users[user][f"litellm_{of_user}"]


def test_the_facts_list_all_users(workshop):
    snapshot = workshop.after["provision"]
    for name in ("litellm_virtual_keys", "litellm_key_aliases", "litellm_key_ids", "litellm_user_ids"):
        assert snapshot.facts[name] == snapshot.data[name]
    for name in KEY_DATA_NAMES - {"litellm_available_models_list"}:
        assert snapshot.facts[name] == snapshot.data[name]
    assert snapshot.facts["litellm_key_expires"] not in ("not set", "")
    by_user = {f"litellm_{user}_{name}" for user in USERS for name in EACH_USER_NAMES}
    assert snapshot.facts["_litellm_user_data"] == {name: snapshot.data[name] for name in by_user}


def test_the_message_contains_the_number_of_keys_and_no_secret(workshop):
    snapshot = workshop.after["provision"]
    assert "Created 12 virtual keys" in snapshot.user_messages
    assert "sk-" not in "\n".join(snapshot.user_messages)


def test_a_second_provision_changes_nothing(workshop):
    assert workshop.second.recap()["changed"] == 0
    before, again = workshop.after["provision"], workshop.after["second provision"]
    assert {alias: row["token"] for alias, row in again.rows.items()} == {
        alias: row["token"] for alias, row in before.rows.items()
    }
    assert again.data == before.data
    assert again.facts == before.facts


def test_only_a_missing_key_is_created_again(workshop):
    before, after = workshop.after["second provision"], workshop.after["one deleted by API"]
    new = [alias for alias in after.rows if after.rows[alias]["token"] != before.rows[alias]["token"]]
    assert set(after.rows) == set(before.rows)
    assert new == [workshop.alias("user7")]
    assert after.changed == [MANAGE_TASK]
    # Only the data of its user change.
    secret = after.data["users"]["user7"]["litellm_virtual_key"]
    assert key_id(secret) == after.rows[workshop.alias("user7")]["token"]
    assert after.data["litellm_user7_virtual_key"] == after.data["litellm_virtual_keys"][6] == secret
    assert secret != before.data["litellm_user7_virtual_key"]
    same = [user for user in USERS if after.data["users"][user] == before.data["users"][user]]
    assert [user for user in USERS if user not in same] == ["user7"]


def test_a_destroy_deletes_all_keys_and_their_data(workshop):
    before, after = workshop.after["one deleted by API"], workshop.after["destroy"]
    assert len(before.rows) == 12
    assert after.rows == {}
    assert after.changed == [MANAGE_TASK]
    assert (after.facts["litellm_key_deleted"], after.facts["litellm_key_was_missing"]) == (True, False)
    assert set(after.data) <= {"litellm_api_endpoint", "litellm_api_base_url"}
    for secret in before.data["litellm_virtual_keys"]:
        assert secret not in str(after.facts)


@pytest.mark.parametrize("snapshot", ["second destroy", "destroy after deletion by API"])
def test_a_destroy_of_missing_keys_changes_nothing(workshop, snapshot):
    after = workshop.after[snapshot]
    assert after.rows == {}
    assert [task.status for task in after.tasks if task.name == MANAGE_TASK][-1] == "ok"
    assert (after.facts["litellm_key_deleted"], after.facts["litellm_key_was_missing"]) == (False, True)


# How the users are named and counted.


@dataclass(frozen=True)
class Shapes:
    """The result of the play, and the snapshots of each environment."""

    run: CommandResult
    after: dict[str, Snapshot]


@pytest.fixture(scope="module")
def shapes(ansible: Ansible, guid: str) -> Shapes:
    """Provision and destroy environments whose users are named in different ways, in one play."""

    def environment(name: str, *tasks: Json, **variables: object) -> Json:
        here = {"guid": f"{guid}-{name.replace(' ', '-')}", "output_dir": str(ansible.folder / name.replace(" ", "-"))}
        return {
            "block": [*tasks, take_snapshot(name), role(ACTION="destroy"), take_snapshot(f"{name}, destroyed")],
            "vars": {**here, **prefixed(**variables)},
        }

    def refused(name: str, **variables: object) -> Json:
        return expect_failure(name, role(ACTION="provision", **variables), guid=f"{guid}-refused")

    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {
                "num_users": 3,
                **prefixed(models=[GRANITE], duration="3d"),
            },
            "tasks": [
                environment("one user of many", role(ACTION="provision"), multi_user=True, user_count=1),
                environment("single", role(ACTION="provision"), multi_user=False),
                environment("number of users", role(ACTION="provision")),
                environment(
                    "by name",
                    role(ACTION="provision"),
                    users=["ann", "user1", "Bob.Miller"],
                    user_email_domain="example.com",
                ),
                environment(
                    "other base", role(ACTION="provision"), multi_user="{{ 'yes' }}", user_count="2", user_base="lab"
                ),
                refused("none", multi_user=True, user_count=0),
                refused("less than none", multi_user=True, user_count="-3"),
                refused("not a number", multi_user=True, user_count="many"),
                refused("twice", users=["ann", "bob", "ann"]),
                refused("without a name", users=["ann", ""]),
            ],
        }
    )
    assert run.code == 0, run.output
    return Shapes(run, snapshots(run))


def test_a_multi_user_environment_can_have_one_user(shapes):
    snapshot = shapes.after["one user of many"]
    (alias,) = snapshot.rows
    assert alias.endswith("-one-user-of-many-user1")
    assert list(snapshot.data["users"]) == ["user1"]
    assert snapshot.data["litellm_user_count"] == 1
    assert snapshot.facts["litellm_key_aliases"] == [alias]


def test_multi_user_false_creates_a_single_key_for_any_number_of_users(shapes):
    snapshot = shapes.after["single"]
    (alias,) = snapshot.rows
    assert alias.endswith("-single")
    assert set(snapshot.data) == KEY_DATA_NAMES | {RECORDS}  # and no `users`


def test_without_multi_user_several_users_get_a_key_each(shapes):
    """As in 1.3.2: the number of users decides."""
    snapshot = shapes.after["number of users"]
    assert sorted(alias.rpartition("-")[2] for alias in snapshot.rows) == ["user1", "user2", "user3"]
    assert set(snapshot.data["users"]) == {"user1", "user2", "user3"}
    assert snapshot.data["litellm_user_count"] == 3


def test_users_can_be_listed_by_name(shapes):
    snapshot = shapes.after["by name"]
    assert [alias.partition("-by-name-")[2] for alias in snapshot.data["litellm_key_aliases"]] == [
        "ann",
        "user1",
        "Bob.Miller",
    ]
    assert set(snapshot.rows) == set(snapshot.data["litellm_key_aliases"])
    assert snapshot.data["litellm_user_ids"] == ["ann@example.com", "user1@example.com", "Bob.Miller@example.com"]
    assert set(snapshot.data["users"]) == {"ann", "user1", "Bob.Miller"}


def test_the_base_of_user_names_can_be_changed(shapes):
    assert set(shapes.after["other base"].data["users"]) == {"lab1", "lab2"}
    assert len(shapes.after["other base"].rows) == 2


@pytest.mark.parametrize("name", ["one user of many", "single", "number of users", "by name", "other base"])
def test_a_destroy_deletes_the_keys_of_all_users(shapes, name):
    assert shapes.after[f"{name}, destroyed"].rows == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "none",
            f"{PREFIX}user_count is '0'; with {PREFIX}multi_user it must be 1 or more",
        ),
        (
            "less than none",
            f"{PREFIX}user_count is '-3'; with {PREFIX}multi_user it must be 1 or more",
        ),
        (
            "not a number",
            f"{PREFIX}user_count is 'many'; with {PREFIX}multi_user it must be 1 or more",
        ),
        ("twice", f"{PREFIX}users names virtkey-GUID-ann more than once"),
        ("without a name", f"{PREFIX}users contains an empty name"),
    ],
)
def test_invalid_users_are_an_error(shapes, guid, name, message):
    assert shapes.run.task_msg(name) == message.replace("GUID", f"{guid}-refused")
