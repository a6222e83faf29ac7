# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role through the life of an environment: of twelve users, of one, of those with names, stopped and started."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    KEY_DATA_NAMES,
    PREFIX,
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
OF_ALL = {
    "litellm_user_count",
    "litellm_virtual_keys",
    "litellm_key_aliases",
    "litellm_key_ids",
    "litellm_user_ids",
}
OF_EACH = ("virtual_key", "key_alias", "key_id", "user_email")


# An environment of twelve users.


@dataclass(frozen=True)
class Workshop:
    """What each run said, and what there was after each of its steps."""

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

    def removed(*users: str) -> Json:
        return admin_post("/key/delete", {"key_aliases": [f"virtkey-{guid}-{user}" for user in users]})

    first = run(role(ACTION="provision"), take_snapshot("provision"))
    data = snapshots(first)["provision"].data
    chats = [proxy.chat(data["users"][user]["litellm_virtual_key"]) for user in ("user1", "user12")]
    second = run(role(ACTION="provision"), take_snapshot("second provision"))
    third = run(
        removed("user7"),
        role(ACTION="provision"),
        take_snapshot("one deleted by hand"),
        removed("user1", "user12", "user5"),
        role(ACTION="destroy"),
        take_snapshot("destroy"),
        role(ACTION="destroy"),
        take_snapshot("second destroy"),
        role(ACTION="create"),
        removed(*USERS),
        role(ACTION="remove"),
        take_snapshot("destroy of what was deleted by hand"),
    )
    return Workshop(guid, first, second, third, snapshots(first) | snapshots(second) | snapshots(third), chats)


@pytest.mark.parametrize("run", ["first", "second", "third"])
def test_each_run_of_the_workshop_succeeds_without_a_warning(workshop, run):
    done: CommandResult = getattr(workshop, run)
    assert done.code == 0, done.output
    assert done.stderr == ""
    assert "WARNING" not in done.output


def test_twelve_users_have_twelve_keys(workshop):
    rows = workshop.after["provision"].rows
    assert set(rows) == {workshop.alias(user) for user in USERS}
    for user in USERS:
        row = rows[workshop.alias(user)]
        assert row["user_id"] == f"{user}@lab.opentlc.com"
        assert row["metadata"]["user"] == user
        assert row["metadata"]["guid"] == workshop.guid
        assert row["models"] == [GRANITE, MISTRAL]
        assert row["max_budget"] == 3
        assert approx_days(workshop.after["provision"].lifetime(workshop.alias(user)), days=7)
    assert workshop.chats == [200, 200]


def test_each_user_is_told_everything(workshop, proxy):
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


def test_the_environment_is_told_about_all_users_in_order(workshop):
    data, users = workshop.after["provision"].data, workshop.after["provision"].data["users"]
    assert set(data) == KEY_DATA_NAMES | OF_ALL | {"users"} | {
        f"litellm_{user}_{name}" for user in USERS for name in OF_EACH
    }
    assert data["litellm_user_count"] == 12
    assert data["litellm_virtual_keys"] == [users[user]["litellm_virtual_key"] for user in USERS]
    assert data["litellm_key_aliases"] == [workshop.alias(user) for user in USERS]
    assert data["litellm_key_ids"] == [users[user]["litellm_key_id"] for user in USERS]
    assert data["litellm_user_ids"] == [f"{user}@lab.opentlc.com" for user in USERS]
    assert {name: data[name] for name in KEY_DATA_NAMES} == {name: users["user1"][name] for name in KEY_DATA_NAMES}
    for user in USERS:
        for name in OF_EACH:
            of_user = "user_email" if name == "user_email" else name
            assert data[f"litellm_{user}_{name}"] == users[user][f"litellm_{of_user}"]


def test_the_facts_are_those_of_all_users(workshop):
    snapshot = workshop.after["provision"]
    for name in ("litellm_virtual_keys", "litellm_key_aliases", "litellm_key_ids", "litellm_user_ids"):
        assert snapshot.facts[name] == snapshot.data[name]
    for name in KEY_DATA_NAMES - {"litellm_available_models_list"}:
        assert snapshot.facts[name] == snapshot.data[name]
    assert snapshot.facts["litellm_key_expires"] != "not set"


def test_the_message_counts_the_keys_and_shows_none(workshop):
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


def test_a_key_that_was_deleted_by_hand_is_made_again_and_no_other(workshop):
    before, after = workshop.after["second provision"], workshop.after["one deleted by hand"]
    new = [alias for alias in after.rows if after.rows[alias]["token"] != before.rows[alias]["token"]]
    assert set(after.rows) == set(before.rows)
    assert new == [workshop.alias("user7")]
    assert after.changed == ["Provision the virtual keys"]
    # Its data say so, and those of the others stay.
    secret = after.data["users"]["user7"]["litellm_virtual_key"]
    assert key_id(secret) == after.rows[workshop.alias("user7")]["token"]
    assert after.data["litellm_user7_virtual_key"] == after.data["litellm_virtual_keys"][6] == secret
    assert secret != before.data["litellm_user7_virtual_key"]
    same = [user for user in USERS if after.data["users"][user] == before.data["users"][user]]
    assert [user for user in USERS if user not in same] == ["user7"]


def test_a_destroy_leaves_none(workshop):
    before, after = workshop.after["one deleted by hand"], workshop.after["destroy"]
    assert len(before.rows) == 12
    assert after.rows == {}
    assert after.changed == ["Destroy the virtual keys"]
    assert (after.facts["litellm_key_deleted"], after.facts["litellm_key_was_missing"]) == (True, False)


@pytest.mark.parametrize("snapshot", ["second destroy", "destroy of what was deleted by hand"])
def test_a_destroy_of_what_is_gone_changes_nothing(workshop, snapshot):
    after = workshop.after[snapshot]
    assert after.rows == {}
    assert "Destroy the virtual keys" not in after.changed
    assert (after.facts["litellm_key_deleted"], after.facts["litellm_key_was_missing"]) == (False, True)


# Who the users are.


@dataclass(frozen=True)
class Told:
    run: CommandResult
    after: dict[str, Snapshot]


@pytest.fixture(scope="module")
def shapes(ansible: Ansible, guid: str) -> Told:
    """Environments of several shapes, each with a folder of its own, in one play."""

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
                "num_users": 30,  # which the platform sets whatever a catalog does
                **prefixed(models=[GRANITE], duration="3d"),
            },
            "tasks": [
                environment("one user of many", role(ACTION="provision"), multi_user=True, user_count=1),
                environment("single", role(ACTION="provision")),
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
    return Told(run, snapshots(run))


def test_one_user_of_a_multi_user_environment_is_a_user(shapes):
    snapshot = shapes.after["one user of many"]
    (alias,) = snapshot.rows
    assert alias.endswith("-one-user-of-many-user1")
    assert list(snapshot.data["users"]) == ["user1"]
    assert snapshot.data["litellm_user_count"] == 1
    assert snapshot.facts["litellm_key_aliases"] == [alias]


def test_a_single_user_environment_never_becomes_one_of_many(shapes):
    snapshot = shapes.after["single"]
    (alias,) = snapshot.rows
    assert alias.endswith("-single")
    assert set(snapshot.data) == KEY_DATA_NAMES  # above all no `users`


def test_users_can_have_names(shapes):
    snapshot = shapes.after["by name"]
    assert [alias.partition("-by-name-")[2] for alias in snapshot.data["litellm_key_aliases"]] == [
        "ann",
        "user1",
        "Bob.Miller",
    ]
    assert set(snapshot.rows) == set(snapshot.data["litellm_key_aliases"])
    assert snapshot.data["litellm_user_ids"] == ["ann@example.com", "user1@example.com", "Bob.Miller@example.com"]
    assert set(snapshot.data["users"]) == {"ann", "user1", "Bob.Miller"}


def test_users_can_be_called_otherwise(shapes):
    assert set(shapes.after["other base"].data["users"]) == {"lab1", "lab2"}
    assert len(shapes.after["other base"].rows) == 2


@pytest.mark.parametrize("name", ["one user of many", "single", "by name", "other base"])
def test_each_shape_is_destroyed_whole(shapes, name):
    assert shapes.after[f"{name}, destroyed"].rows == {}


@pytest.mark.parametrize(
    ("name", "sentence"),
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
        ("twice", "users names virtkey-GUID-ann more than once"),
        ("without a name", "users has an empty name"),
    ],
)
def test_users_that_cannot_be_are_one_sentence(shapes, guid, name, sentence):
    assert shapes.run.task_msg(name) == sentence.replace("GUID", f"{guid}-refused")
