# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An environment is extended: with as little as a lifecycle hook has, and at any moment of its life."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    KEY_DATA_NAMES,
    Database,
    Snapshot,
    approx_days,
    expect_failure,
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
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

PLAYBOOK = f"{COLLECTION}.extend_key"
TWO_WEEKS = ("-e", "ocp4_workload_litellm_virtual_keys_runtime=336")

# So many days after its creation a key is extended, which was to live for seven.
AGES = {"fresh": 0.5, "nearly-over": 6.9999, "over": 7.0001, "long-over": 13.9, "past-its-new-end": 20.0}
# What a catalog item says; an extension knows nothing of it.
ENVIRONMENTS: dict[str, Json] = {
    "one": {},
    "many": {"multi_user": True, "user_count": 3},
    "removed": {"multi_user": True, "user_count": 3, "models": [MISTRAL]},
    "gone": {"models": [MISTRAL], "user_id_format": "ann@example.com"},
    "unknown": {"multi_user": True, "user_count": 2},
    "seeded": {"key_seed": "a seed of the catalog item, 32 characters"},
    "expired": {},
    "ages": {"users": list(AGES)},
    "instant": {},
    "longer": {"duration": "60d"},
    "check": {},
}


@dataclass(frozen=True)
class Extensions:
    """What there was before, what each run said, and what there was after it."""

    guid: str
    folder: Path
    before: dict[str, Snapshot]
    first: CommandResult
    second: CommandResult
    check: CommandResult
    check_files: list[dict[str, str]]
    check_rows: list[Json]
    refused_while_expired: int

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

    # Time passes, and the nightly clean-up of the proxy removes what has expired.
    database = Database.from_environment()
    for user, days in AGES.items():
        database.query(
            f"""UPDATE "LiteLLM_VerificationToken" SET created_at = created_at - interval '{days} days',
            expires = expires - interval '{days} days' WHERE key_alias = 'virtkey-{guid}-ages-{user}'"""
        )
    gone = ("removed-user1", "removed-user3", "gone", "unknown-user2", "seeded")
    proxy.delete(*(f"virtkey-{guid}-{name}" for name in gone))
    for name in ("many", "unknown", "seeded"):
        shutil.rmtree(folder / f"{guid}-{name}")
    secret = before["expired"].data["litellm_virtual_key"]
    proxy.request("POST", "/key/update", {"key": key_id(secret), "duration": "1s"})
    given_up = time.monotonic() + 30
    while (refused := proxy.request("GET", "/v1/models", key=secret)[0]) == 200 and time.monotonic() < given_up:
        time.sleep(0.2)

    def extend(name: str) -> Json:
        known = {"key_seed": ENVIRONMENTS[name]["key_seed"]} if name == "seeded" else {}
        until = {"expires_at": "2099-01-02T03:04:05Z"} if name == "instant" else {"runtime": 336}
        return environment(name, role(ACTION="extend", **until, **known))

    extended = [extend(name) for name in ENVIRONMENTS if name not in ("one", "check")]
    first = play(*extended)
    second = play(*extended)

    def files() -> dict[str, str]:
        return {path.name: path.read_text() for path in (folder / f"{guid}-check").iterdir()}

    unchanged, row = files(), proxy.row(f"virtkey-{guid}-check")
    check = ansible.run("ansible-playbook", PLAYBOOK, "-e", f"guid={guid}-check", *TWO_WEEKS, "--check", "--diff")
    rows = [row, proxy.row(f"virtkey-{guid}-check")]
    return Extensions(guid, folder, before, first, second, check, [unchanged, files()], rows, refused)


def test_the_playbook_needs_the_guid_and_the_runtime_alone(extensions, ansible, proxy):
    """Settings, secret and budget of the key stay; the data follow, and the user is told once."""
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
    assert ansible.file(saved % "data") == {**before.data, "litellm_key_duration": "336h"}
    *told, message = ansible.file(saved % "info")
    assert told == before.user_messages
    assert "14 days" in message
    assert instant(row["expires"]).strftime("%Y-%m-%dT%H:%M") in message
    assert run.task_msg("Show the expiry").startswith(f"{extensions.alias('one')} expires at 20")

    again = ansible.run(*arguments, "-vvvv")
    assert again.code == 0, again.output
    assert before.data["litellm_virtual_key"] not in again.output + again.log
    assert again.recap()["changed"] == 0
    assert proxy.row(extensions.alias("one")) == row
    assert ansible.file(saved % "info") == [*told, message]


def test_the_extensions_succeed_without_a_warning(extensions):
    for run in (extensions.first, extensions.second):
        assert run.code == 0, run.output
        assert run.stderr == ""
        assert "WARNING" not in run.output


def test_a_second_extension_changes_nothing_and_tells_nobody(extensions):
    assert extensions.second.recap()["changed"] == 0
    for name, snapshot in extensions.again.items():
        assert snapshot.data == extensions.after[name].data
        assert snapshot.user_messages == extensions.after[name].user_messages


def test_without_user_data_each_of_many_users_is_found(extensions):
    """No variable says that there are many, and nothing was saved on this controller."""
    after = extensions.after["many"]
    aliases = [extensions.alias(f"many-user{number}") for number in (1, 2, 3)]
    assert sorted(after.rows) == aliases
    assert after.changed == ["Extend the virtual keys"]
    for alias in aliases:
        assert approx_days(after.lifetime(alias), days=14)
    # What is saved is what can be known without the secrets.
    assert set(after.data["users"]) == {"user1", "user2", "user3"}
    assert set(after.data["users"]["user2"]) == KEY_DATA_NAMES - {"litellm_virtual_key"} | {"litellm_user_email"}
    assert {data["litellm_key_duration"] for data in after.data["users"].values()} == {"336h"}
    assert len(after.user_messages) == 1


def test_keys_that_were_removed_come_back_as_they_were(extensions, proxy):
    before, after = extensions.before["removed"], extensions.after["removed"]
    assert set(after.rows) == set(before.rows)
    for alias, row in after.rows.items():
        same = ("token", "models", "user_id", "metadata")
        assert {name: row[name] for name in same} == {name: before.rows[alias][name] for name in same}
        assert approx_days(after.lifetime(alias), days=14)
    assert after.data["litellm_virtual_keys"] == before.data["litellm_virtual_keys"]
    assert proxy.chat(after.data["users"]["user3"]["litellm_virtual_key"], MISTRAL) == 200


def test_a_single_key_that_was_removed_comes_back_too(extensions):
    before, after = extensions.before["gone"], extensions.after["gone"]
    assert after.row["models"] == [MISTRAL]
    assert after.row["token"] == before.row["token"]
    assert after.row["metadata"] == before.row["metadata"]
    assert after.data == {**before.data, "litellm_key_duration": "336h"}
    assert approx_days(after.lifetime(), days=14)


def test_a_seed_brings_a_key_back_without_user_data(extensions):
    assert extensions.after["seeded"].row["token"] == extensions.before["seeded"].row["token"]
    assert (
        extensions.after["seeded"].facts["litellm_virtual_key"]
        == extensions.before["seeded"].facts["litellm_virtual_key"]
    )


def test_a_user_of_whom_nothing_is_known_is_not_made_up(extensions):
    """The key of one of two was removed, and nothing was saved: those who are there live longer."""
    after = extensions.after["unknown"]
    assert list(after.rows) == [extensions.alias("unknown-user1")]
    assert approx_days(after.lifetime(), days=14)


def test_an_expired_key_comes_to_life_again(extensions, proxy):
    assert extensions.refused_while_expired == 401
    before, after = extensions.before["expired"], extensions.after["expired"]
    assert approx_days(after.lifetime(), days=14)
    assert after.row["token"] == before.row["token"]
    assert proxy.request("GET", "/v1/models", key=before.data["litellm_virtual_key"])[0] == 200


@pytest.mark.parametrize("user", [user for user, days in AGES.items() if days < 14])
def test_at_any_moment_of_its_life_a_key_gets_the_same_end(extensions, user):
    alias = extensions.alias(f"ages-{user}")
    before, after = extensions.before["ages"], extensions.after["ages"]
    assert approx_days(instant(before.rows[alias]["created_at"]) - instant(after.rows[alias]["created_at"]), AGES[user])
    assert approx_days(after.lifetime(alias), days=14)
    assert approx_days(extensions.again["ages"].lifetime(alias), days=14)


def test_a_key_whose_new_end_has_passed_lives_as_long_from_now(extensions):
    alias = extensions.alias("ages-past-its-new-end")
    assert approx_days(extensions.after["ages"].lifetime(alias), days=20 + 14)
    assert extensions.again["ages"].rows[alias]["expires"] == extensions.after["ages"].rows[alias]["expires"]


def test_the_new_end_can_be_an_instant(extensions):
    after = extensions.after["instant"]
    assert abs(instant(after.row["expires"]) - instant("2099-01-02T03:04:05Z")).total_seconds() < 60
    assert "until 2099-01-02T03:04:0" in after.user_messages[-1]


def test_an_extension_never_shortens(extensions):
    before, after = extensions.before["longer"], extensions.after["longer"]
    assert after.changed == []
    assert after.row["expires"] == before.row["expires"]
    assert after.user_messages == before.user_messages


def test_in_check_mode_nothing_is_changed_and_nobody_told(extensions):
    assert extensions.check.code == 0, extensions.check.output
    assert extensions.check.recap()["changed"] == 1
    assert "+expires:" in extensions.check.output
    assert extensions.check_rows[0] == extensions.check_rows[1]
    assert extensions.check_files[0] == extensions.check_files[1]


def test_what_cannot_be_extended_is_a_sentence(ansible, proxy, guid):
    guid = f"{guid}-cannot"
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"output_dir": str(ansible.folder / "cannot")},
            "tasks": [
                expect_failure("nothing said", role(ACTION="extend"), guid=guid),
                expect_failure("no key", role(ACTION="extend", runtime=336), guid=guid),
                expect_failure("in the past", role(ACTION="extend", expires_at="2020-01-01T00:00:00Z"), guid=guid),
                expect_failure("no time", role(ACTION="extend", runtime="soon"), guid=guid),
            ],
        }
    )
    assert run.code == 0, run.output
    assert run.task_msg("nothing said") == (
        "To extend, say until when the environment lives now: ocp4_workload_litellm_virtual_keys_runtime "
        "(in hours, from its creation on) or ocp4_workload_litellm_virtual_keys_expires_at (ISO 8601)"
    )
    assert run.task_msg("no key").startswith(
        f"There is no key virtkey-{guid}: it was removed, perhaps after it had expired"
    )
    for way_out in ("ACTION: provision", "regenerate: if_unrecoverable"):
        assert way_out in run.task_msg("no key")
    assert run.task_msg("in the past")
    assert "'soon'" in run.task_msg("no time")
    assert proxy.rows(f"virtkey-{guid}") == []


def test_the_master_key_is_not_read_from_user_data(extensions, ansible, proxy):
    """Where the original of this collection looked for it: everybody in the lab can read them."""
    file = extensions.folder / f"{extensions.guid}-check" / "provision-user-data.yaml"
    file.write_text(f"{file.read_text()}litellm_master_key: {proxy.master_key}\n")
    before = proxy.row(extensions.alias("check"))
    arguments = ("ansible-playbook", PLAYBOOK, "-e", f"guid={extensions.guid}-check", *TWO_WEEKS)
    run = ansible.run(*arguments, LITELLM_MASTER_KEY=None)
    assert run.code == 2
    assert "master_key" in run.failed.result["msg"]
    assert proxy.master_key not in run.output
    assert proxy.row(extensions.alias("check")) == before
