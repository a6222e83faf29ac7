# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role with ACTION: extend: with the variables of a lifecycle hook, and at any age of an environment."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    KEY_DATA_NAMES,
    MANAGE_TASK,
    RECORDS,
    Database,
    Snapshot,
    admin_post,
    approx_days,
    expect_failure,
    expire_records,
    instant,
    key_id,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    PATIENCE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

PLAYBOOK = f"{COLLECTION}.extend_key"
# The metadata of a recreated key that contain the start of the environment's lifetime.
LIFETIME_START = "lifetime_start_in_litellm_virtual_keys"
TWO_WEEKS = ("-e", "ocp4_workload_litellm_virtual_keys_runtime=336")

# The age of each key in days when it is extended from 7 days to 14.
AGES = {"new": 0.5, "expires-soon": 6.9999, "just-expired": 7.0001, "long-expired": 13.9, "past-new-expiry": 20.0}
# The variables of the catalog items. An extension does not have them.
ENVIRONMENTS: dict[str, Json] = {
    "one": {},
    "many": {"multi_user": True, "user_count": 3},
    "swept": {"multi_user": True, "user_count": 3, "models": [MISTRAL]},
    "swept-one": {"models": [MISTRAL], "user_id_format": "ann@example.com", "settings": {"rpm_limit": 5}},
    "swept-late": {},
    "unknown": {"multi_user": True, "user_count": 2},
    "seeded": {"key_seed": "a seed of the catalog item, 32 characters"},
    "expired": {},
    "ages": {"users": list(AGES)},
    "order": {"users": ["zoe", "ann"]},
    "instant": {},
    "longer": {"duration": "60d"},
    "check": {},
}


@dataclass(frozen=True)
class Extensions:
    """The snapshots before, the result of each run, and the state after it.

    :ivar check_files: the user data before and after check mode, by file name.
    :ivar check_rows: the key before and after check mode.
    :ivar status_while_expired: the status of a request with the expired key before its extension.
    """

    guid: str
    folder: Path
    before: dict[str, Snapshot]
    first: CommandResult
    second: CommandResult
    check: CommandResult
    check_files: list[dict[str, str]]
    check_rows: list[Json]
    status_while_expired: int

    @property
    def after(self) -> dict[str, Snapshot]:
        return snapshots(self.first)

    @property
    def again(self) -> dict[str, Snapshot]:
        return snapshots(self.second)

    def alias(self, name: str) -> str:
        return f"virtkey-{self.guid}-{name}"


@pytest.fixture(scope="module")
def extensions(ansible: Ansible, proxy: Proxy, guid: str) -> Extensions:
    guid = f"{guid}-extend"
    folder = ansible.folder / "virtual_keys"

    def environment(name: str, *tasks: Json) -> Json:
        return {
            "block": [*tasks, take_snapshot(name)],
            "vars": {"guid": f"{guid}-{name}", "output_dir": str(folder / f"{guid}-{name}")},
        }

    def play(*tasks: Json) -> CommandResult:
        return ansible.play({"hosts": "localhost", "tasks": list(tasks)})

    common = {"ACTION": "provision", "models": [GRANITE], "duration": "7d", "max_budget": 5}
    provisioned = play(
        *(environment(name, role(**{**common, **variables})) for name, variables in ENVIRONMENTS.items())
    )
    assert provisioned.code == 0, provisioned.output
    before = snapshots(provisioned)

    # Change the database and the user data as if the keys had been created days ago.
    database = Database.from_environment()
    for user, days in AGES.items():
        database.query(
            f"""UPDATE "LiteLLM_VerificationToken" SET created_at = created_at - interval '{days} days',
            expires = expires - interval '{days} days' WHERE key_alias = 'virtkey-{guid}-ages-{user}'"""
        )
    # LiteLLM deletes expired keys.
    deleted = ("swept-user1", "swept-user3", "swept-one", "swept-late", "unknown-user2", "seeded")
    proxy.delete(*(f"virtkey-{guid}-{name}" for name in deleted))
    expire_records(folder / f"{guid}-swept", "user1", "user3")
    expire_records(folder / f"{guid}-swept-one", None)
    expire_records(folder / f"{guid}-swept-late", None, age=timedelta(days=8))
    for name in ("many", "unknown", "seeded"):
        shutil.rmtree(folder / f"{guid}-{name}")
    secret = before["expired"].data["litellm_virtual_key"]
    proxy.request("POST", "/key/update", {"key": key_id(secret), "duration": "1s"})
    deadline = time.monotonic() + PATIENCE
    while (status := proxy.request("GET", "/v1/models", key=secret)[0]) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)

    def extend(name: str) -> Json:
        if name == "seeded":
            seed = ENVIRONMENTS[name]["key_seed"]
            return environment(name, expect_failure("seeded", role(ACTION="extend", runtime=336, key_seed=seed)))
        until = {"expires_at": "2099-01-02T03:04:05Z"} if name == "instant" else {"runtime": 336}
        return environment(name, role(ACTION="extend", **until))

    extended = [extend(name) for name in ENVIRONMENTS if name not in ("one", "check")]
    first = play(*extended)
    second = play(*extended)

    def files() -> dict[str, str]:
        return {path.name: path.read_text() for path in (folder / f"{guid}-check").iterdir()}

    unchanged, row = files(), proxy.row(f"virtkey-{guid}-check")
    check = ansible.run("ansible-playbook", PLAYBOOK, "-e", f"guid={guid}-check", *TWO_WEEKS, "--check", "--diff")
    rows = [row, proxy.row(f"virtkey-{guid}-check")]
    return Extensions(guid, folder, before, first, second, check, [unchanged, files()], rows, status)


def extended_data(before: Json, after: Json) -> Json:
    """Return the user data that are expected after an extension to 336 hours, with the saved records of `after`."""
    return {**before, "litellm_key_duration": "336h", RECORDS: after[RECORDS]}


def test_the_playbook_needs_only_guid_and_runtime(extensions, ansible, proxy):
    """The settings, the secret and the budget of the key stay, the user data are updated, and the user is informed."""
    before = extensions.before["one"]
    arguments = ("ansible-playbook", PLAYBOOK, "-e", f"guid={extensions.guid}-one", *TWO_WEEKS)
    run = ansible.run(*arguments)
    assert run.code == 0, run.output
    assert run.stderr == ""
    assert run.recap()["changed"] == 1
    row = proxy.row(extensions.alias("one"))
    assert approx_days(instant(row["expires"]) - instant(row["created_at"]), days=14)
    same = ("token", "models", "max_budget", "user_id", "metadata", "created_at")
    assert {name: row[name] for name in same} == {name: before.row[name] for name in same}
    saved = f"virtual_keys/{extensions.guid}-one/provision-user-%s.yaml"
    data = ansible.file(saved % "data")
    assert data == extended_data(before.data, data)
    record = before.data[RECORDS][extensions.alias("one")]
    expires = data[RECORDS][extensions.alias("one")]["expires"]
    assert data[RECORDS] == {extensions.alias("one"): {**record, "duration": "336h", "expires": expires}}
    assert abs(instant(expires) - instant(row["expires"])).total_seconds() < 1
    *earlier, message = ansible.file(saved % "info")
    assert earlier == before.user_messages
    assert "14 days" in message
    assert instant(row["expires"]).strftime("%Y-%m-%dT%H:%M") in message
    done, end = run.task_msg("Show the result")
    assert done == f"Extended virtual key {extensions.alias('one')}"
    assert end.startswith("End: 20")

    again = ansible.run(*arguments, "-vvvv")
    assert again.code == 0, again.output
    assert before.data["litellm_virtual_key"] not in again.output + again.log
    assert again.recap()["changed"] == 0
    assert proxy.row(extensions.alias("one")) == row
    assert ansible.file(saved % "info") == [*earlier, message]


def test_the_extensions_succeed_without_a_warning(extensions):
    for run in (extensions.first, extensions.second):
        assert run.code == 0, run.output
        assert run.stderr == ""
        assert "WARNING" not in run.output


def test_a_second_extension_changes_nothing_and_adds_no_message(extensions):
    assert extensions.second.recap()["changed"] == 0
    for name, snapshot in extensions.again.items():
        assert snapshot.data == extensions.after[name].data
        assert snapshot.user_messages == extensions.after[name].user_messages


def test_all_users_are_found_without_user_data(extensions):
    """No variable names the users, and nothing was saved on this controller."""
    after = extensions.after["many"]
    aliases = [extensions.alias(f"many-user{number}") for number in (1, 2, 3)]
    assert sorted(after.rows) == aliases
    assert after.changed == [MANAGE_TASK]
    for alias in aliases:
        assert approx_days(after.lifetime(alias), days=14)
    # Everything is saved except the unknown secrets.
    assert set(after.data["users"]) == {"user1", "user2", "user3"}
    assert set(after.data["users"]["user2"]) == KEY_DATA_NAMES - {"litellm_virtual_key"} | {"litellm_user_email"}
    assert {data["litellm_key_duration"] for data in after.data["users"].values()} == {"336h"}
    assert RECORDS not in after.data
    assert len(after.user_messages) == 1


def test_expired_keys_that_litellm_deleted_are_recreated_with_secret_and_settings(extensions, proxy):
    before, after = extensions.before["swept"], extensions.after["swept"]
    assert set(after.rows) == set(before.rows)
    for alias, row in after.rows.items():
        row["metadata"].pop(LIFETIME_START, None)
        same = ("token", "models", "max_budget", "user_id", "metadata")
        assert {name: row[name] for name in same} == {name: before.rows[alias][name] for name in same}
        assert approx_days(after.lifetime(alias), days=14)
    assert after.data["litellm_virtual_keys"] == before.data["litellm_virtual_keys"]
    assert proxy.chat(after.data["users"]["user3"]["litellm_virtual_key"], MISTRAL) == 200


def test_a_single_expired_key_is_recreated_with_secret_and_settings(extensions):
    before, after = extensions.before["swept-one"], extensions.after["swept-one"]
    assert after.row["models"] == [MISTRAL]
    assert after.row["token"] == before.row["token"]
    metadata = {name: value for name, value in after.row["metadata"].items() if name != LIFETIME_START}
    assert metadata == before.row["metadata"]
    assert (after.row["max_budget"], after.row["rpm_limit"]) == (5, 5)
    assert after.data == extended_data(before.data, after.data)
    assert approx_days(after.lifetime(), days=14)


def test_the_lifetime_of_a_recreated_key_starts_with_the_environment(extensions):
    """The environment is 8 days old, so of 14 days 6 remain."""
    after, again = extensions.after["swept-late"], extensions.again["swept-late"]
    assert approx_days(after.lifetime(), days=14 - 8)
    assert after.data["litellm_key_duration"] == "336h"
    assert again.row["expires"] == after.row["expires"]


def test_a_seed_without_user_data_does_not_recreate_a_key(extensions):
    """Nothing proves that the key expired: it can also have been deleted."""
    assert extensions.after["seeded"].rows == {}
    assert extensions.first.task_msg("seeded") == (
        f"There is no virtual key of environment {extensions.guid}-seeded to extend: none exists, and none was saved "
        "that has expired. Provision it (ACTION: provision)"
    )


def test_a_deleted_key_without_user_data_is_not_recreated(extensions):
    """The key of one of two users was deleted, and nothing was saved: the other key is extended."""
    after = extensions.after["unknown"]
    assert list(after.rows) == [extensions.alias("unknown-user1")]
    assert approx_days(after.lifetime(), days=14)


def test_an_expired_key_that_still_exists_is_extended(extensions, proxy):
    assert extensions.status_while_expired == 401
    before, after = extensions.before["expired"], extensions.after["expired"]
    assert approx_days(after.lifetime(), days=14)
    assert after.row["token"] == before.row["token"]
    assert proxy.request("GET", "/v1/models", key=before.data["litellm_virtual_key"])[0] == 200


@pytest.mark.parametrize("user", [user for user, days in AGES.items() if days < 14])
def test_the_new_expiry_does_not_depend_on_the_time_of_the_extension(extensions, user):
    alias = extensions.alias(f"ages-{user}")
    before, after = extensions.before["ages"], extensions.after["ages"]
    assert approx_days(instant(before.rows[alias]["created_at"]) - instant(after.rows[alias]["created_at"]), AGES[user])
    assert approx_days(after.lifetime(alias), days=14)
    assert approx_days(extensions.again["ages"].lifetime(alias), days=14)


def test_if_the_new_expiry_has_passed_the_lifetime_starts_now(extensions):
    alias = extensions.alias("ages-past-new-expiry")
    assert approx_days(extensions.after["ages"].lifetime(alias), days=20 + 14)
    assert extensions.again["ages"].rows[alias]["expires"] == extensions.after["ages"].rows[alias]["expires"]


def test_the_new_expiry_can_be_an_instant(extensions):
    after = extensions.after["instant"]
    assert abs(instant(after.row["expires"]) - instant("2099-01-02T03:04:05Z")).total_seconds() < 900
    assert "until 2099-01-02T03:" in after.user_messages[-1]


def test_the_users_keep_their_order(extensions):
    """The data of the whole environment are those of the first user."""
    before, after = extensions.before["order"], extensions.after["order"]
    assert after.facts["litellm_key_aliases"] == [extensions.alias("order-zoe"), extensions.alias("order-ann")]
    assert after.facts["litellm_virtual_keys"] == before.facts["litellm_virtual_keys"]
    assert after.data["litellm_key_alias"] == extensions.alias("order-zoe")


def test_an_extension_never_shortens_the_lifetime(extensions):
    before, after = extensions.before["longer"], extensions.after["longer"]
    assert after.changed == []
    assert after.row["expires"] == before.row["expires"]
    assert after.user_messages == before.user_messages


def test_check_mode_changes_neither_keys_nor_user_data(extensions):
    assert extensions.check.code == 0, extensions.check.output
    assert extensions.check.recap()["changed"] == 1
    assert "+expires:" in extensions.check.output
    assert extensions.check_rows[0] == extensions.check_rows[1]
    assert extensions.check_files[0] == extensions.check_files[1]


def test_an_impossible_extension_is_an_error(ansible, proxy, guid):
    guid = f"{guid}-cannot"
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"output_dir": str(ansible.folder / "cannot")},
            "tasks": [
                expect_failure("no lifetime", role(ACTION="extend"), guid=guid),
                expect_failure("no key", role(ACTION="extend", runtime=336), guid=guid),
                expect_failure("in the past", role(ACTION="extend", expires_at="2020-01-01T00:00:00Z"), guid=guid),
                expect_failure("invalid", role(ACTION="extend", runtime="soon"), guid=guid),
            ],
        }
    )
    assert run.code == 0, run.output
    assert run.task_msg("no lifetime") == (
        "The new lifetime is not set; set ocp4_workload_litellm_virtual_keys_extend_by (how much longer, such as 7d), "
        "ocp4_workload_litellm_virtual_keys_runtime (in hours, from the creation of the environment) or "
        "ocp4_workload_litellm_virtual_keys_expires_at (ISO 8601)"
    )
    assert run.task_msg("no key") == (
        f"There is no virtual key of environment {guid} to extend: none exists, and none was saved that has expired. "
        "Provision it (ACTION: provision)"
    )
    assert run.task_msg("in the past")
    assert "'soon'" in run.task_msg("invalid")
    assert proxy.rows(f"virtkey-{guid}") == []


def test_a_key_that_was_deleted_before_its_expiry_is_not_recreated(ansible, proxy, guid):
    guid = f"{guid}-deleted"

    def delete_by_api(user: str) -> Json:
        return admin_post("/key/delete", {"key_aliases": [f"virtkey-{guid}-{user}"]})

    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": guid, "output_dir": str(ansible.folder / "deleted")},
            "tasks": [
                role(ACTION="provision", users=["ann", "bob"], models=[GRANITE], duration="7d"),
                delete_by_api("ann"),
                role(ACTION="extend", runtime=336),
                take_snapshot("one deleted"),
                delete_by_api("bob"),
                expect_failure("all deleted", role(ACTION="extend", runtime=336)),
                take_snapshot("all deleted"),
            ],
        }
    )
    assert run.code == 0, run.output
    after = snapshots(run)
    assert list(after["one deleted"].rows) == [f"virtkey-{guid}-bob"]
    assert approx_days(after["one deleted"].lifetime(), days=14)
    assert after["one deleted"].facts["litellm_key_aliases"] == [f"virtkey-{guid}-bob"]
    assert (
        f"Not extended, because they were deleted before they expired or never existed: virtkey-{guid}-ann. "
        "Provision them to create them again (ACTION: provision)"
    ) in run.text
    assert str(run.task_msg("all deleted")).startswith(f"There is no virtual key of environment {guid} to extend: ")
    assert after["all deleted"].rows == {}


def test_the_master_key_is_not_read_from_user_data(extensions, ansible, proxy):
    """Release 1.3.2 read it from there, where every user of the lab can read it."""
    file = extensions.folder / f"{extensions.guid}-check" / "provision-user-data.yaml"
    file.write_text(f"{file.read_text()}litellm_master_key: {proxy.master_key}\n")
    before = proxy.row(extensions.alias("check"))
    arguments = ("ansible-playbook", PLAYBOOK, "-e", f"guid={extensions.guid}-check", *TWO_WEEKS)
    run = ansible.run(*arguments, LITELLM_MASTER_KEY=None)
    assert run.code == 2
    assert "master_key" in run.failed.result["msg"]
    assert proxy.master_key not in run.output
    assert proxy.row(extensions.alias("check")) == before
