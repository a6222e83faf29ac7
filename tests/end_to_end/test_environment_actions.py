# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's other operations and its variables: stop, start, status, catalog variables, check mode, one key by id."""

from __future__ import annotations

import re
from pathlib import Path

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
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

Snapshots = dict[str, Snapshot]


def try_keys() -> list[Json]:
    """Return tasks that request the models with each key of the play, and print the status of each response."""
    return [
        {
            "name": "Request the models with each key",
            "ansible.builtin.uri": {
                "url": "{{ lookup('ansible.builtin.env', 'LITELLM_URL') }}/v1/models",
                "headers": {"Authorization": "Bearer {{ item }}"},
                "status_code": [200, 401, 403],
            },
            "loop": "{{ litellm_virtual_keys }}",
            "register": "responses",
            "no_log": True,
        },
        {
            "name": "Show the statuses",
            "ansible.builtin.debug": {"msg": "{{ responses.results | map(attribute='status') }}"},
        },
    ]


# Stop, start, status.


@pytest.fixture(scope="module")
def paused(ansible: Ansible, guid: str) -> Snapshots:
    guid = f"{guid}-paused"
    both = {"block_on_stop": True}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": guid, "output_dir": str(ansible.folder / "paused")},
            "tasks": [
                role(ACTION="status"),
                role(ACTION="stop", **both),
                role(ACTION="start", **both),
                take_snapshot("no keys"),
                role(ACTION="provision", users=["ann", "bob"], models=[GRANITE], duration="7d", max_budget=2),
                role(ACTION="status"),
                take_snapshot("provision"),
                # From here on, no variable names the users.
                role(ACTION="stop"),
                take_snapshot("stop without block_on_stop"),
                role(ACTION="stop", **both),
                *try_keys(),
                role(ACTION="status"),
                take_snapshot("stop"),
                role(ACTION="stop", **both),
                role(ACTION="start"),
                take_snapshot("stopped again"),
                role(ACTION="start", **both),
                *try_keys(),
                take_snapshot("start"),
                admin_post("/key/delete", {"key_aliases": [f"virtkey-{guid}-ann"]}),
                role(ACTION="stop", users=["ann", "bob"], **both),
                role(ACTION="start", users=["ann", "bob"], **both),
                admin_post("/key/update", {"key": "{{ litellm_key_ids[0] }}", "duration": "1s"}),
                {"ansible.builtin.wait_for": {"timeout": 2}},
                role(ACTION="status"),
                take_snapshot("one deleted, one expired"),
            ],
        }
    )
    assert run.code == 0, run.output
    (warning,) = run.stderr.strip().split("[WARNING]: ")[1:]
    missing = f"There is no virtual key of ann in environment {guid}; its users are bob. Correct the names, or"
    assert " ".join(warning.split()).startswith(missing)
    return snapshots(run)


def test_stop_and_start_of_an_environment_without_keys_create_none(paused):
    assert paused["no keys"].rows == {}
    assert paused["no keys"].changed == []
    reports = paused["no keys"].task_msgs("Show the result")
    assert len(reports) == 3
    assert all(str(report).startswith("There is no virtual key of environment ") for report in reports)


def test_without_block_on_stop_a_stop_leaves_the_keys_as_they_are(paused):
    snapshot = paused["stop without block_on_stop"]
    assert snapshot.changed == []
    assert snapshot.rows == paused["provision"].rows
    (report,) = snapshot.task_msgs("Show the result")
    assert f"{PREFIX}block_on_stop: true, stop blocks and start unblocks them" in str(report)


def test_stopped_keys_are_refused_and_started_keys_work(paused):
    assert paused["stop"].changed == [MANAGE_TASK]
    assert {row["blocked"] for row in paused["stop"].rows.values()} == {True}
    (refused,) = paused["stop"].task_msgs("Show the statuses")
    assert refused in ([401, 401], [403, 403])
    assert paused["start"].changed == [MANAGE_TASK]
    assert paused["start"].task_msgs("Show the statuses") == [[200, 200]]


def test_a_second_stop_and_a_start_without_block_on_stop_change_nothing(paused):
    assert paused["stopped again"].changed == []
    assert {row["blocked"] for row in paused["stopped again"].rows.values()} == {True}


def test_stop_and_start_do_not_create_a_missing_key(paused):
    assert [alias.rpartition("-")[2] for alias in paused["one deleted, one expired"].rows] == ["bob"]


@pytest.mark.parametrize(
    ("snapshot", "lines"),
    [
        ("provision", [["ann", "active", "6 days 23 hours"], ["bob", "active", "6 days 23 hours"]]),
        ("stop", [["ann", "blocked", "6 days 23 hours"], ["bob", "blocked", "6 days 23 hours"]]),
        ("one deleted, one expired", [["bob", "expired", " ago"]]),
    ],
)
def test_the_status_is_a_table(paused, snapshot, lines):
    *_earlier, shown = paused[snapshot].task_msgs("Show the result")
    assert isinstance(shown, list)
    heading, *rows = shown
    assert heading.split()[:6] == ["KEY", "STATUS", "ENDS", "SPENT", "USER", "MODELS"]
    assert len(rows) == len(lines)
    for row, (user, status, end) in zip(rows, lines, strict=True):
        assert row.split()[0].endswith(f"-paused-{user}")
        assert row.split()[1] == status
        for part in (end, "0.00 of 2.00", f"{user}@lab.opentlc.com", GRANITE):
            assert part in row


# The variables of a catalog item.


@pytest.fixture(scope="module")
def catalog(ansible: Ansible, guid: str) -> tuple[CommandResult, Snapshots]:
    """One environment for each item, in one play."""
    guid = f"{guid}-item"

    def item(name: str, *tasks: Json, **variables: object) -> Json:
        own = {
            "guid": f"{guid}-{name}",
            "output_dir": str(ansible.folder / f"item-{name}"),
            **prefixed(**{"models": [GRANITE], **variables}),
        }
        return {"block": [*(tasks or [role(ACTION="provision")]), take_snapshot(name)], "vars": own}

    def invalid(name: str, **variables: object) -> Json:
        return item(name, expect_failure(name, role(ACTION="provision")), **variables)

    rich = {"rpm_limit": 7, "budget_duration": "1w", "metadata": {"team": "red"}}
    run = ansible.play(
        {
            "hosts": "localhost",
            "tasks": [
                item("settings", settings=rich, duration="7d", metadata={"created_by": "me", "team": "blue"}),
                item(
                    "shorten",
                    role(ACTION="provision", duration="7d"),
                    role(ACTION="provision", duration="3d"),
                    take_snapshot("kept"),
                    role(ACTION="provision", duration="3d", settings={"shorten": True}),
                ),
                item("docling", include_docling=True, docling_model=MISTRAL, users=["ann"]),
                item("hidden", display_key=False),
                item("silent", enable_user_info_messages=False),
                item("unsaved", enable_user_info_data=False),
                item("instant", expires_at="2099-01-01T00:00:00Z", runtime=5, duration="1d"),
                item("runtime", runtime=5, duration="1d", agnosticd_user_info={"runtime": 168}),
                item("platform", duration="1d", agnosticd_user_info={"runtime": 168}),
                item("duration", duration="1d", agnosticd_user_info={"msg": "not a runtime"}),
                item("default"),
                item(
                    "new-secret",
                    role(ACTION="provision"),
                    take_snapshot("lost"),
                    {"ansible.builtin.file": {"path": "{{ output_dir }}", "state": "absent"}},
                    role(
                        ACTION="provision", regenerate="if_unrecoverable", litellm_key_alias="", litellm_virtual_key=""
                    ),
                ),
                # The variable names of 1.3.2, with values of the types that catalog items use.
                item(
                    "original",
                    api_timeout="20",
                    verify_ssl="{{ true }}",
                    retry_count="2",
                    retry_delay=10,
                    max_budget="1.5",
                    user_id_format="{{ guid }}@example.com",
                    alias_format="virtkey-{{ guid }}",
                    delete_method="by_alias",
                    force_db_delete="no",
                    postgres_pod="postgres-0",
                    postgres_db="litellm",
                    namespace="rhpds",
                ),
                invalid("unknown-setting", settings={"rpm_limits": 5}),
                invalid("wrong-setting", settings={"rpm_limit": "many"}),
                invalid("forbidden-setting", settings={"state": "absent"}),
                invalid("unknown-model", models=["openai/granite-3-2-8b"], on_unknown_models="fail"),
                invalid("duration-in-words", duration="for ever"),
                invalid("short-seed", key_seed="too short"),
            ],
        }
    )
    assert run.code == 0, run.output
    return run, snapshots(run)


def test_settings_are_options_of_the_key_and_metadata_is_merged(catalog):
    row = catalog[1]["settings"].row
    assert row["rpm_limit"] == 7
    assert row["budget_duration"] == "7d"
    assert row["metadata"] == {
        "guid": row["key_alias"].removeprefix("virtkey-"),
        "created_by": "me",
        "team": "red",
        "models": GRANITE,
        "models_count": 1,
        "duration": "7d",
    }


def test_an_expiry_moves_to_an_earlier_time_only_with_shorten(catalog):
    assert approx_days(catalog[1]["kept"].lifetime(), days=7)
    assert approx_days(catalog[1]["shorten"].lifetime(), days=3)


def test_docling_is_part_of_the_data_of_all_users(catalog, proxy):
    snapshot = catalog[1]["docling"]
    endpoint = f"{proxy.url}/docling/v1/convert/source"
    docling = {"litellm_docling_endpoint": endpoint, "litellm_docling_model": MISTRAL}
    for data in (snapshot.data, snapshot.data["users"]["ann"]):
        assert {name: data[name] for name in docling} == docling
    assert snapshot.row["models"] == [GRANITE, MISTRAL]
    assert f"Docling Endpoint: {endpoint}" in snapshot.user_messages


def test_without_display_key_only_the_data_contain_the_secret(catalog):
    snapshot = catalog[1]["hidden"]
    secret = snapshot.data["litellm_virtual_key"]
    assert key_id(secret) == snapshot.row["token"]
    assert secret not in "\n".join(snapshot.user_messages)
    assert "LiteLLM Virtual Key: in the lab guide" in snapshot.user_messages
    assert (
        f"LiteLLM Virtual Key: {catalog[1]['default'].data['litellm_virtual_key']}"
        in catalog[1]["default"].user_messages
    )


def test_messages_and_data_can_be_switched_off(catalog):
    assert catalog[1]["silent"].user_messages == []
    assert set(catalog[1]["silent"].data) == KEY_DATA_NAMES | {RECORDS}
    assert catalog[1]["unsaved"].data == {}
    assert catalog[1]["unsaved"].user_messages != []


@pytest.mark.parametrize(
    ("name", "days", "shown"),
    [("runtime", 5 / 24, "5h"), ("platform", 7, "168h"), ("duration", 1, "1d"), ("default", 30, "30d")],
)
def test_the_runtime_has_precedence_over_the_platform_and_the_platform_over_the_duration(catalog, name, days, shown):
    assert approx_days(catalog[1][name].lifetime(), days)
    assert catalog[1][name].data["litellm_key_duration"] == shown


def test_an_instant_has_precedence_over_any_duration(catalog):
    expires = instant(catalog[1]["instant"].row["expires"])
    assert abs((expires - instant("2099-01-01T00:00:00Z")).total_seconds()) < 900


def test_a_lost_secret_is_replaced_on_request(catalog):
    lost, new = catalog[1]["lost"], catalog[1]["new-secret"]
    assert lost.row["token"] != new.row["token"] == key_id(new.data["litellm_virtual_key"])


def test_the_variables_of_the_previous_release_still_work(catalog):
    row = catalog[1]["original"].row
    assert row["max_budget"] == 1.5
    assert row["user_id"] == f"{row['metadata']['guid']}@example.com"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unknown-setting", "settings contains 'rpm_limits'; it can contain "),
        ("wrong-setting", "rpm_limit must be a whole number, but is 'many'"),
        ("forbidden-setting", "settings contains 'state'; it can contain "),
        ("unknown-model", "openai/granite-3-2-8b"),
        ("duration-in-words", "'for ever'"),
        ("short-seed", "key_seed"),
    ],
)
def test_the_error_message_names_the_invalid_variable(catalog, name, message):
    msg = catalog[0].task_msg(name)
    assert message in msg
    assert "too short" not in msg  # the seed is a secret
    assert catalog[1][name].rows == {}


# Check mode.


def test_check_mode_reports_the_changes_of_each_operation_and_changes_nothing(
    ansible: Ansible, proxy: Proxy, guid: str
):
    guid = f"{guid}-check"
    folder = ansible.folder / "check"
    common = {"output_dir": str(folder), **prefixed(models=[GRANITE], duration="7d", users=["ann", "bob"])}
    provisioned = ansible.play(
        {"hosts": "localhost", "vars": {**common, "guid": guid}, "tasks": [role(ACTION="provision")]}
    )
    assert provisioned.code == 0, provisioned.output
    files = contents(folder)

    steps = {
        "new": role(ACTION="provision", guid="new"),
        "more": role(ACTION="provision", max_budget=9),
        "extend": role(ACTION="extend", runtime=500),
        "stop": role(ACTION="stop", block_on_stop=True),
        "start": role(ACTION="start", block_on_stop=True),
        "status": role(ACTION="status"),
        "destroy": role(ACTION="destroy", force_db_delete=True),
        "destroy nothing": role(ACTION="destroy"),
    }
    for name, step in steps.items():
        step["vars"]["guid"] = f"{guid}-new" if name in ("new", "destroy nothing") else guid
        step["vars"].pop(f"{PREFIX}guid", None)
    tasks = [task for name, step in steps.items() for task in (step, take_snapshot(name))]
    run = ansible.play({"hosts": "localhost", "vars": {**common, "guid": guid}, "tasks": tasks}, "--check", "--diff")
    assert run.code == 0, run.output
    after = snapshots(run)
    # A snapshot contains all aliases that start with the guid, including those of the new environment.
    first = {name: row["expires"] for name, row in after["new"].rows.items()}
    assert set(first) == {f"virtkey-{guid}-ann", f"virtkey-{guid}-bob"}
    for name, snapshot in after.items():
        assert snapshot.rows == after["new"].rows, name
    assert contents(folder) == files
    assert {name: snapshot.changed for name, snapshot in after.items()} == {
        "new": [MANAGE_TASK],
        "more": [MANAGE_TASK],
        "extend": [MANAGE_TASK],
        "stop": [MANAGE_TASK],
        "start": [],
        "status": [],
        "destroy": [MANAGE_TASK],
        "destroy nothing": [],
    }
    assert after["new"].facts["litellm_key_alias"] == f"virtkey-{guid}-new-ann"
    assert after["new"].facts["litellm_virtual_key"] == ""
    assert (after["destroy"].facts["litellm_key_deleted"], after["destroy"].facts["litellm_key_was_missing"]) == (
        False,
        False,
    )
    assert after["destroy nothing"].facts["litellm_key_was_missing"] is True
    for line in (r"\+max_budget: 9", r"\+blocked: true", rf'- *"key_alias": "virtkey-{guid}-bob"'):
        assert re.search(f"^{line}", run.output, re.MULTILINE), line


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


# One key by id.


def test_a_destroy_by_id_deletes_only_that_key(ansible: Ansible, guid: str):
    guid = f"{guid}-id"
    by_id = {"ACTION": "destroy", "delete_method": "by_key_id"}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"guid": guid, "output_dir": str(ansible.folder / "id"), **prefixed(models=[GRANITE])},
            "tasks": [
                role(ACTION="provision", users=["ann", "bob"]),
                {"ansible.builtin.set_fact": {"first_id": "{{ litellm_key_id }}"}},
                expect_failure("too short", role(**by_id, key_id="abc")),
                expect_failure("none", role(**by_id)),
                expect_failure("a secret", role(**by_id, key_id="{{ litellm_virtual_key }}")),
                take_snapshot("invalid"),
                role(**by_id, key_id="{{ first_id }}", users=["ann", "bob"]),
                take_snapshot("by id"),
                role(**by_id, key_id="{{ first_id }}"),
                take_snapshot("by id again"),
                role(ACTION="destroy", users=["ann", "bob"]),
                take_snapshot("by alias"),
            ],
        }
    )
    assert run.code == 0, run.output
    after = snapshots(run)
    for name in ("too short", "none", "a secret"):
        assert run.task_msg(name) == (
            f"{PREFIX}key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret"
        )
    assert len(after["invalid"].rows) == 2
    assert list(after["by id"].rows) == [f"virtkey-{guid}-bob"]
    assert after["by id"].facts["litellm_key_deleted"] is True
    assert list(after["by id"].data["users"]) == ["bob"]
    assert list(after["by id"].data[RECORDS]) == [f"virtkey-{guid}-bob"]
    assert after["by id again"].changed == []
    assert after["by id again"].facts["litellm_key_was_missing"] is True
    assert after["by alias"].rows == {}
