# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the life cycle of keys on several releases of LiteLLM, whose APIs differ.

The option --litellm-releases or the environment variable LITELLM_RELEASES selects the releases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    Snapshot,
    approx_days,
    expect_failure,
    prefixed,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    MISTRAL,
    Ansible,
    Json,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.conftest import RELEASES
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.release_table import OPERATIONS, ReleaseRun
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import (
    INFO,
    OwnProxy,
    Stopwatch,
    operation,
    run_tasks,
    sandbox,
)

__all__ = ["RELEASES"]

CREATE, AGAIN, EXTEND, REPLACE, DESTROY, LIST, REPORT = map(pytest.mark.operation, OPERATIONS)
# Releases that answer each deletion with 500: a column of their table of deleted keys is missing.
UNDELETABLE = ("1.81.16",)
USERS = ("virtkey-env-ann", "virtkey-env-bob")
A_MINUTE = timedelta(minutes=1)
MANY = 150
FULL: Json = {
    "guid": "life",
    "models": [GRANITE, MISTRAL],
    "model_aliases": {"gpt": GRANITE},
    "duration": "7d",
    "max_budget": 10,
    "budget_duration": "30d",
    "tpm_limit": 1000,
    "rpm_limit": 100,
    "max_parallel_requests": 5,
    "model_tpm_limit": {"fake-gpt": 500},
    "metadata": {"course": "granite", "seat": {"row": 1}},
    "user_id": "someone@example.com",
    "permissions": {"pass_through": True},
    "blocked": False,
}
LISTED = [{"guid": f"many-{number}", "user_id": f"user{number}@example.com"} for number in range(MANY)]
# The options of each step, by name. "full" creates the key that most later steps change.
LIFE: dict[str, Json | tuple[str, Json]] = {
    "full": FULL,
    "again": FULL,
    "calendar_month": {"guid": "month", "duration": "1mo"},
    "a_day": {"guid": "day", "duration": "1d"},
    "longer": {"guid": "life", "duration": "20d"},
    "longer_again": {"guid": "life", "duration": "20d"},
    "shorter": {"guid": "life", "duration": "36h", "max_budget": 20, "metadata": {"seat": {"row": 2}}},
    "unset": {
        "guid": "life",
        "models": [],
        "unset": ["model_aliases", "max_budget", "tpm_limit", "rpm_limit", "max_parallel_requests", "model_tpm_limit"],
    },
    "unset_again": {"guid": "life", "models": [], "unset": ["max_budget", "tpm_limit", "model_tpm_limit"]},
    "unset_budget_duration": {"guid": "life", "unset": ["budget_duration"]},
    "unset_expiry": {"guid": "life", "unset": ["expires_at"]},
    "blocked": {"guid": "life", "blocked": True},
    "unblocked": {"guid": "life", "blocked": False},
    "unknown_secret": {"guid": "life", "on_unknown_key": "fail"},
    "wrong_secret": {"guid": "life", "key": "sk-not-the-secret-of-this-key"},
    "duplicate_secret": {"guid": "other", "key": "{{ step[0].virtual_key.key }}"},
    "regenerated_key": {"guid": "life", "regenerate": "if_unrecoverable"},
    "unknown_model": {"guid": "other", "models": ["openai/granite-3-2-8b-instuct"]},
    "derived": {"guid": "derived", "key_seed": "a seed of more than 32 characters, as required"},
    "derived_again": {"guid": "derived", "key_seed": "a seed of more than 32 characters, as required"},
    "substring_of_another_alias": {"key_alias": "life"},
    "many": {"virtual_keys": LISTED, "max_budget": 5, "duration": "7d"},
    "many_again": {"virtual_keys": LISTED, "max_budget": 5, "duration": "7d"},
    "one_by_guid": (INFO, {"guid": "life"}),
    "some_by_guid": (INFO, {"guid": ["many-1", "many-10", "nobody"]}),
    "by_prefix": (INFO, {"alias_prefix": "virtkey-many-"}),
    "by_short_prefix": (INFO, {"alias_prefix": "virtkey-many-1"}),
    "by_user": (INFO, {"user_id": "user1@example.com"}),
    "by_expiry": (INFO, {"expires_before": "{{ '2d' | rhpds.litellm_virtual_keys.expires_at }}"}),
    "all": (INFO, {}),
    "deleted_key": {"guid": "life", "state": "absent"},
    "deleted_again": {"guid": "life", "state": "absent"},
    "many_deleted": {"virtual_keys": LISTED, "state": "absent"},
    "remaining": (INFO, {}),
}


@pytest.fixture(scope="module")
def proxy(release: str, release_run: ReleaseRun, table: list[list[str]]) -> Iterator[OwnProxy]:
    watch = Stopwatch()
    with sandbox(f"release-{release}", "--litellm-version", release) as started:
        table.append([f"LiteLLM {release}", f"started in {watch.seconds:.0f} s"])
        release_run.packages = started.packages
        release_run.is_started = True
        if release in UNDELETABLE:
            release_run.remarks.update(replace="fails", destroy="only with force_db_delete")
        yield started


@pytest.fixture(scope="module")
def life(ansible, proxy: OwnProxy, release: str, table: list[list[str]]) -> dict[str, Json]:
    watch = Stopwatch()
    results = dict(zip(LIFE, run_tasks(ansible, *LIFE.values()), strict=True))
    table[-1] += [
        f"{len(LIFE)} steps in {watch.seconds:.0f} s",
        *(f"{name}: {results[name]['api_calls']} requests" for name in ("again", "many", "many_again", "many_deleted")),
        *(f"{name}: {_short(results[name])}" for name in ("unset_budget_duration", "unset_expiry")),
    ]
    return results


@pytest.fixture(scope="module")
def environment(ansible: Ansible, proxy: OwnProxy, release: str) -> dict[str, Snapshot]:
    """Run the role for an environment with two users, and return the state after each operation."""
    replace = role(ACTION="rotate")
    variables = {"users": ["ann", "bob"], "models": [GRANITE], "duration": "7d", "retry_count": 1}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": "env", "output_dir": str(ansible.folder / "environment"), **prefixed(**variables)},
            "tasks": [
                role(ACTION="provision"),
                take_snapshot("create", USERS),
                role(ACTION="provision"),
                take_snapshot("again", USERS),
                role(ACTION="extend", runtime=240),
                take_snapshot("extend", USERS),
                expect_failure("Failure", replace) if release in UNDELETABLE else replace,
                take_snapshot("replace", USERS),
                role(
                    ACTION="destroy",
                    force_db_delete=release in UNDELETABLE,
                    postgres_url=proxy.database.url,
                ),
                take_snapshot("destroy", USERS),
                role(ACTION="destroy"),
                take_snapshot("destroy again", USERS),
            ],
        },
        PATH=f"{proxy.database.programs}:{ansible.environment['PATH']}",
    )
    assert run.code == 0, run.output
    return snapshots(run)


@pytest.fixture(scope="module")
def report(ansible: Ansible, life: dict[str, Json]) -> Json:
    """Return the report on the keys that are left at the end of `life`."""
    options = ("-e", "report_file=report.json", "-e", "alias_prefix=virtkey-d")
    run = ansible.run("ansible-playbook", f"{COLLECTION}.report_keys", *options)
    assert run.code == 0, run.output
    found: Json = ansible.file("report.json")
    return found


def _short(result: Json) -> str:
    return "failed" if result.get("failed") else operation(result)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def lifetime(key: Json) -> timedelta:
    return instant(key["expires"]) - instant(key["created_at"])


def aliases(result: Json) -> list[str]:
    return [key["key_alias"] for key in result["virtual_keys"]]


def version_tuple(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param("full", "created", marks=CREATE),
        pytest.param("derived", "created", marks=CREATE),
        pytest.param("substring_of_another_alias", "created", marks=CREATE),
        pytest.param("again", "unchanged", marks=AGAIN),
        pytest.param("longer_again", "unchanged", marks=AGAIN),
        pytest.param("unset_again", "unchanged", marks=AGAIN),
        pytest.param("derived_again", "unchanged", marks=AGAIN),
        pytest.param("longer", "updated", marks=EXTEND),
        pytest.param("shorter", "updated", marks=EXTEND),
        ("unset", "updated"),
        ("blocked", "updated"),
        ("unblocked", "updated"),
        pytest.param("regenerated_key", "regenerated", marks=REPLACE),
        pytest.param("deleted_key", "deleted", marks=DESTROY),
        pytest.param("deleted_again", "absent", marks=DESTROY),
    ],
)
def test_each_step_reports_the_expected_operation(life, release, step, expected):
    if release in UNDELETABLE and step in {"regenerated_key", "deleted_key", "deleted_again"}:
        assert operation(life[step]) == "failed"
        assert "LiteLLM returned 500 for POST /key/delete" in life[step]["msg"]
    else:
        assert operation(life[step]) == expected, life[step].get("msg")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param("full", timedelta(days=7), marks=CREATE),
        pytest.param("a_day", timedelta(days=1), marks=CREATE),
        pytest.param("again", timedelta(days=7), marks=AGAIN),
        pytest.param("longer", timedelta(days=20), marks=EXTEND),
        pytest.param("shorter", timedelta(hours=36), marks=EXTEND),
    ],
)
def test_a_lifetime_is_exact(life, step, expected):
    assert abs(lifetime(life[step]["virtual_key"]) - expected) < A_MINUTE


@CREATE
def test_a_month_expires_on_the_same_day(life):
    key = life["calendar_month"]["virtual_key"]
    assert 28 <= lifetime(key).days <= 31
    assert key["duration"] == "1mo"
    assert instant(key["expires"]).day == instant(key["created_at"]).day or instant(key["created_at"]).day > 28


@CREATE
def test_every_setting_is_applied(life):
    key = life["full"]["virtual_key"]
    assert sorted(key["models"]) == [GRANITE, MISTRAL]
    assert (key["max_budget"], key["user_id"], key["blocked"]) == (10, "someone@example.com", False)
    assert {"course": "granite", "seat": {"row": 1}}.items() <= key["metadata"].items()


def test_settings_are_unset(life):
    key = life["unset"]["virtual_key"]
    assert (key["models"], key["max_budget"]) == ([], None)
    assert {"course": "granite", "seat": {"row": 2}}.items() <= key["metadata"].items()


def test_a_setting_that_a_release_cannot_unset_fails_with_the_reason(life, release):
    """Null removes the expiry from 1.82.2 on ("-1" from 1.80.12 on), and budget_duration from 1.90 on."""
    for step, since, why in (
        ("unset_expiry", (1, 80, 12), "cannot remove the expiry of a key"),
        ("unset_budget_duration", (1, 90), "did not change after LiteLLM reported success: budget_duration is '30d'"),
    ):
        if version_tuple(release) >= since:
            assert operation(life[step]) == "updated", life[step].get("msg")
        else:
            assert life[step]["failed"]
            assert why in life[step]["msg"]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("unknown_secret", "its secret is not known"),
        ("wrong_secret", "exists with another secret"),
        ("duplicate_secret", "its secret already belongs to key virtkey-life"),
        ("unknown_model", "did you mean 'openai/granite-3-2-8b-instruct'"),
    ],
)
def test_an_invalid_request_fails_with_the_reason(life, step, reason):
    assert life[step]["failed"]
    assert reason in life[step]["msg"]
    assert operation(life[step]) == "failed"


@REPLACE
def test_a_replaced_key_has_a_new_secret(life, proxy, release):
    """Both keys are deleted at the end of the play, so this compares what the steps reported."""
    old, new = life["full"]["virtual_key"], life["regenerated_key"]["virtual_key"]
    if release in UNDELETABLE:
        assert new["key_id"] == old["key_id"]
        assert proxy.chat(old["key"]) == 200
    else:
        assert old["key_id"] != new["key_id"] == hashlib.sha256(new["key"].encode()).hexdigest()
        assert new["metadata"]["seat"] == {"row": 2}
        assert proxy.chat(new["key"]) == proxy.chat(old["key"]) == 401
    assert proxy.chat(life["derived"]["virtual_key"]["key"]) == 200


@CREATE
def test_many_keys_are_created(life):
    created = life["many"]["virtual_keys"]
    assert [key["guid"] for key in created] == [key["guid"] for key in LISTED]
    assert {key["operation"] for key in created} == {"created"}
    assert all(hashlib.sha256(key["key"].encode()).hexdigest() == key["key_id"] for key in created)
    assert all(abs(lifetime(key) - timedelta(days=7)) < A_MINUTE for key in created)


@AGAIN
def test_many_keys_are_created_once(life):
    created, again = life["many"]["virtual_keys"], life["many_again"]["virtual_keys"]
    assert [(key["operation"], key["key_id"]) for key in again] == [("unchanged", key["key_id"]) for key in created]


@DESTROY
def test_many_keys_are_deleted(life, release):
    expected = "failed" if release in UNDELETABLE else "deleted"
    assert {key["operation"] for key in life["many_deleted"]["virtual_keys"]} == {expected}


@LIST
def test_key_info_returns_only_the_requested_keys(life):
    many = [f"virtkey-many-{number}" for number in range(MANY)]
    assert aliases(life["one_by_guid"]) == ["virtkey-life"]
    assert aliases(life["some_by_guid"]) == ["virtkey-many-1", "virtkey-many-10"]
    assert sorted(aliases(life["by_prefix"])) == sorted(many)
    assert sorted(aliases(life["by_short_prefix"])) == sorted(
        name for name in many if name.startswith("virtkey-many-1")
    )
    assert aliases(life["by_user"]) == ["virtkey-many-1"]
    assert "virtkey-day" in aliases(life["by_expiry"])
    assert not set(aliases(life["by_expiry"])) & {*many, "virtkey-month"}


@LIST
def test_key_info_returns_all_keys_once(life, release):
    everything: Any = aliases(life["all"])
    assert len(everything) == len(set(everything))
    left_over = {"virtkey-life.replacement"} if release in UNDELETABLE else set()
    many = {f"virtkey-many-{number}" for number in range(MANY)}
    assert {*many, "virtkey-life", "virtkey-day", "virtkey-month", "virtkey-derived", "life"} | left_over == set(
        everything
    )


@DESTROY
def test_no_other_key_is_deleted(life, release):
    remaining = {"virtkey-day", "virtkey-month", "virtkey-derived", "life"}
    if release in UNDELETABLE:
        assert set(aliases(life["remaining"])) == set(aliases(life["all"]))
    else:
        assert set(aliases(life["remaining"])) == remaining


@REPORT
def test_the_report_lists_the_keys_and_when_they_expire(life, report):
    reported = {key["key_alias"]: key for key in report["virtual_keys"]}
    assert set(reported) == {"virtkey-day", "virtkey-derived"}
    for alias, step in (("virtkey-day", "a_day"), ("virtkey-derived", "derived")):
        assert reported[alias]["expires"] == life[step]["virtual_key"]["expires"]


@CREATE
def test_the_role_creates_a_key_for_each_user(environment):
    created = environment["create"]
    assert set(created.rows) == set(USERS)
    assert all(approx_days(created.lifetime(alias), 7) for alias in USERS)
    assert len(set(created.facts["litellm_virtual_keys"])) == len(USERS)


@AGAIN
def test_the_role_changes_nothing_in_a_second_run(environment):
    assert environment["again"].changed == []
    assert environment["again"].facts["litellm_virtual_keys"] == environment["create"].facts["litellm_virtual_keys"]


@EXTEND
def test_the_role_extends_each_key(environment):
    assert all(approx_days(environment["extend"].lifetime(alias), 10) for alias in USERS)


@REPLACE
def test_the_role_replaces_each_key(environment, release):
    before, after = environment["extend"], environment["replace"]
    for alias in USERS:
        is_same = before.rows[alias]["token"] == after.rows[alias]["token"]
        assert is_same == (release in UNDELETABLE)
        assert before.rows[alias]["expires"][:16] == after.rows[alias]["expires"][:16]


@DESTROY
def test_the_role_deletes_each_key(environment):
    assert environment["destroy"].rows == {}
    assert environment["destroy"].facts["litellm_key_deleted"] is True
    assert environment["destroy again"].changed == []
    assert environment["destroy again"].facts["litellm_key_was_missing"] is True
