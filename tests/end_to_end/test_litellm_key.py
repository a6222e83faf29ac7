# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the action litellm_key step by step: check its results, the keys on the proxy, and the requests it sends."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
    Relay,
    key_list_vars,
)

ACTION = "rhpds.litellm_virtual_keys.litellm_key"
LIST, GENERATE, UPDATE, DELETE = "GET /key/list", "POST /key/generate", "POST /key/update", "POST /key/delete"
TOLERANCE = timedelta(minutes=15)  # the machine may be busy
CHOSEN = "sk-chosen-by-the-end-to-end-tests"
ABSOLUTE = (datetime.now(UTC) + timedelta(days=20)).replace(microsecond=0)


@dataclass(frozen=True)
class Step:
    """One task.

    :ivar options: the options of the action, except those that all steps have.
    :ivar keywords: other keywords of the task.
    """

    options: Json
    keywords: Json


def step(keywords: Json | None = None, **options: object) -> Step:
    return Step(options, keywords or {})


CHECK = {"check_mode": True}
FULL: Json = {
    "models": [GRANITE],
    "duration": "7d",
    "user_id": "someone@example.com",
    "metadata": {"team": "blue", "seat": {"row": 1}},
    "max_budget": 10,
}

# The life of one key: each step starts from the state that the previous ones left.
LIFE = {
    "predicted": step(CHECK, **FULL),
    "created": step(**FULL),
    "again": step(**{**FULL, "duration": "168h", "max_budget": 10.0}),
    "no_setting": step(),
    "merged": step(metadata={"seat": {"row": 2}, "day": "monday"}),
    "other_models": step(models=[MISTRAL, GRANITE]),
    "other_order": step(models=[GRANITE, MISTRAL]),
    "two_settings": step(max_budget=20, user_id="other@example.com", models=[MISTRAL, GRANITE]),
    "predicted_longer": step(CHECK, duration="30d", max_budget=99),
    "longer": step(duration="14 days"),
    "longer_again": step(duration="14d"),
    "not_shorter": step(duration="3d", shorten=False),
    "shorter": step(duration="P3D"),
    "known": step(key="{{ created.virtual_key.key }}"),
    "mismatch": step(key=CHOSEN, max_budget=1),
    "predicted_deletion": step(CHECK, state="absent"),
    "deleted": step(state="absent"),
    "deleted_again": step(state="absent"),
}
OTHERS = {
    "by_alias": step(key_alias="{{ me }} by alias", key=CHOSEN + "-{{ me }}"),
    "by_alias_again": step(key_alias="{{ me }} by alias", key=CHOSEN + "-{{ me }}"),
    "by_alias_deleted": step(key_alias="{{ me }} by alias", state="absent"),
    "prefixed": step(guid="{{ me }}", alias_prefix="other-", runtime=36, duration="1d"),
    "until": step(guid="{{ me }}-until", expires_at=ABSOLUTE.isoformat(), duration="1d"),
    "until_again": step(guid="{{ me }}-until", expires_at=ABSOLUTE.isoformat().replace("+00:00", "Z")),
    "slash": step(guid="{{ me }}-until", url="{{ litellm_url }}/"),
    "v1": step(guid="{{ me }}-until", url="{{ litellm_url }}/v1"),
    "until_deleted": step(guid="{{ me }}-until", state="absent"),
}


@dataclass(frozen=True)
class Observed:
    """The result of a step, the keys on the proxy after it, and the requests that it sent."""

    result: Json
    rows: list[Json]
    requests: list[tuple[str, Json]]

    @property
    def key(self) -> Json:
        return dict(self.result["virtual_key"])

    @property
    def row(self) -> Json:
        (row,) = self.rows
        return row

    @property
    def request_lines(self) -> list[str]:
        return [request for request, _body in self.requests]

    @property
    def sent(self) -> Json:
        """Return the body of the only POST request."""
        (body,) = [body for request, body in self.requests if request.startswith("POST")]
        return body


def lifetime(row: Json) -> timedelta:
    return datetime.fromisoformat(row["expires"]) - datetime.fromisoformat(row["created_at"])


def run_steps(
    ansible: Ansible, relay: Relay, steps: dict[str, Step], common: Json, aliases: str
) -> dict[str, Observed]:
    """Run the steps in one play, and list the keys on the proxy after each of them."""
    tasks: list[Json] = []
    for name, one in steps.items():
        options = {**common, **one.options}
        tasks += [
            {"name": f"Run {name}", ACTION: options, "register": name, "ignore_errors": True, **one.keywords},
            {
                "name": name,
                "ansible.builtin.debug": {"msg": {"result": f"{{{{ {name} }}}}", "rows": "{{ rows }}"}},
                "vars": key_list_vars(f"{{{{ {name}.virtual_key.key_alias | default('{aliases}') }}}}"),
            },
        ]
    relay.requests.clear()
    variables = {"litellm_url": relay.url, "me": aliases.removeprefix("virtkey-")}
    run = ansible.play({"hosts": "localhost", "vars": variables, "tasks": tasks})
    assert run.code == 0, run.output
    groups = relay.collection_requests()
    return {
        name: Observed(**run.task_msg(name), requests=requests) for name, requests in zip(steps, groups, strict=False)
    }


@pytest.fixture(scope="module")
def life(ansible: Ansible, relay: Relay, guid: str) -> dict[str, Observed]:
    guid = f"{guid}-action"
    return run_steps(ansible, relay, LIFE, {"guid": guid}, f"virtkey-{guid}")


@pytest.fixture(scope="module")
def others(ansible: Ansible, relay: Relay, guid: str) -> dict[str, Observed]:
    return run_steps(ansible, relay, OTHERS, {}, f"virtkey-{guid}-others")


def test_check_mode_predicts_a_creation_and_creates_nothing(life):
    predicted = life["predicted"]
    assert predicted.result["changed"]
    assert predicted.key["operation"] == "created"
    assert predicted.key["key"] is None
    assert predicted.rows == []
    assert not {GENERATE, UPDATE, DELETE} & set(predicted.request_lines)


def test_a_key_is_created_with_the_requested_settings(life, guid):
    created = life["created"]
    assert created.result["changed"]
    row = created.row
    assert row["key_alias"] == f"virtkey-{guid}-action"
    assert {name: row[name] for name in ("models", "user_id", "metadata", "max_budget")} == {
        name: FULL[name] for name in ("models", "user_id", "metadata", "max_budget")
    }
    assert abs(lifetime(row) - timedelta(days=7)) < TOLERANCE


def test_the_result_describes_the_key(life, guid, relay):
    created = life["created"]
    key, row = created.key, created.row
    assert created.result["virtual_keys"] == [created.result["virtual_key"]]
    assert hashlib.sha256(key["key"].encode()).hexdigest() == key["key_id"] == row["token"]
    for name in ("key_alias", "key_name", "models", "user_id", "team_id", "max_budget", "spend", "metadata"):
        assert key[name] == row[name], name
    for name in ("expires", "created_at"):
        assert abs(datetime.fromisoformat(key[name]) - datetime.fromisoformat(row[name])) <= timedelta(seconds=1)
    assert (key["operation"], key["key_source"], key["duration"]) == ("created", "generated", "7d")
    assert (key["guid"], key["blocked"]) == (f"{guid}-action", False)
    assert created.result["api_endpoint"] == relay.url
    assert created.result["api_base_url"] == f"{relay.url}/v1"


@pytest.mark.parametrize("name", LIFE)
def test_the_result_contains_the_number_of_requests(life, name):
    assert life[name].result["api_calls"] == len(life[name].requests)


UNCHANGED = ("again", "no_setting", "other_order", "longer_again", "not_shorter", "known")


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_key_in_the_desired_state_is_only_read(life, name):
    before = list(LIFE)[list(LIFE).index(name) - 1]
    assert not life[name].result["changed"]
    assert life[name].key["operation"] == "unchanged"
    assert not {GENERATE, UPDATE, DELETE} & set(life[name].request_lines)
    assert life[name].rows == life[before].rows


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("merged", {"metadata": {"team": "blue", "seat": {"row": 2}, "day": "monday"}}),
        ("other_models", {"models": [MISTRAL, GRANITE]}),
        ("two_settings", {"max_budget": 20, "user_id": "other@example.com"}),
    ],
)
def test_only_differences_are_sent(life, name, sent):
    observed = life[name]
    assert observed.result["changed"]
    assert observed.key["operation"] == "updated"
    assert observed.sent == {"key": observed.row["token"], **sent}
    before = life[list(LIFE)[list(LIFE).index(name) - 1]].row
    changed = {field for field, value in observed.row.items() if before[field] != value}
    assert changed - {"updated_at", "settings_updated_at"} == set(sent)
    assert {field: observed.row[field] for field in sent} == sent


@pytest.mark.parametrize(("name", "days"), [("longer", 14), ("shorter", 3)])
def test_a_lifetime_counts_from_the_creation(life, name, days):
    observed = life[name]
    assert observed.result["changed"]
    assert set(observed.sent) == {"key", "duration"}
    assert abs(lifetime(observed.row) - timedelta(days=days)) < TOLERANCE
    assert observed.key["duration"] == f"{days}d"


def test_a_secret_is_returned_only_at_creation_and_a_given_one_is_confirmed(life):
    assert life["again"].key["key"] is None
    assert life["again"].key["key_source"] is None
    assert life["known"].key["key"] == life["created"].key["key"]
    assert life["known"].key["key_source"] == "given"


def test_a_secret_of_another_key_fails_and_changes_nothing(life):
    mismatch = life["mismatch"]
    assert mismatch.result["failed"]
    assert re.search(r"virtkey-\S+ exists with another secret", mismatch.result["msg"])
    assert mismatch.key["operation"] == "failed"
    assert mismatch.rows == life["known"].rows
    assert not {GENERATE, UPDATE, DELETE} & set(mismatch.request_lines)
    assert CHOSEN not in json.dumps(mismatch.result)


@pytest.mark.parametrize(
    ("name", "operation", "before"),
    [("predicted_longer", "updated", "two_settings"), ("predicted_deletion", "deleted", "mismatch")],
)
def test_check_mode_predicts_a_change_and_changes_nothing(life, name, operation, before):
    observed = life[name]
    assert observed.result["changed"]
    assert observed.key["operation"] == operation
    assert observed.rows == life[before].rows
    assert not {GENERATE, UPDATE, DELETE} & set(observed.request_lines)


def test_check_mode_returns_the_predicted_values(life):
    key = life["predicted_longer"].key
    assert key["max_budget"] == 99
    assert abs(lifetime(key) - timedelta(days=30)) < TOLERANCE


def test_a_key_is_deleted_and_the_deletion_is_verified(life):
    deleted = life["deleted"]
    assert deleted.result["changed"]
    assert deleted.key["operation"] == "deleted"
    assert deleted.key["key"] is None
    assert deleted.rows == []
    # The first request checks that the master key sees all keys. The next two look for the alias, and for the alias of
    # a key whose replacement was interrupted.
    assert deleted.request_lines == [LIST, LIST, LIST, DELETE, LIST]


def test_a_missing_key_is_already_absent(life):
    assert not life["deleted_again"].result["changed"]
    assert life["deleted_again"].key["operation"] == "absent"
    assert life["deleted_again"].request_lines == [LIST, LIST, LIST]


def test_a_key_can_have_a_given_alias_and_secret(others, guid):
    created = others["by_alias"]
    secret = f"{CHOSEN}-{guid}-others"
    assert created.key["key_alias"] == f"{guid}-others by alias"
    assert (created.key["key"], created.key["key_source"]) == (secret, "given")
    assert created.row["token"] == hashlib.sha256(secret.encode()).hexdigest()
    assert created.row["expires"] is None
    assert (created.key["expires"], created.key["duration"], created.key["guid"]) == (None, None, None)
    assert others["by_alias_again"].key["operation"] == "unchanged"
    assert others["by_alias_again"].key["key"] == secret
    assert others["by_alias_deleted"].key["operation"] == "deleted"
    assert others["by_alias_deleted"].rows == []


def test_runtime_takes_precedence_over_duration_and_a_number_means_hours(others, guid):
    assert others["prefixed"].row["key_alias"] == f"other-{guid}-others"
    assert abs(lifetime(others["prefixed"].row) - timedelta(hours=36)) < TOLERANCE
    assert others["prefixed"].key["duration"] == "36h"


def test_expires_at_takes_precedence_over_duration(others):
    assert abs(datetime.fromisoformat(others["until"].row["expires"]) - ABSOLUTE) < TOLERANCE
    assert others["until_again"].key["operation"] == "unchanged"


@pytest.mark.parametrize("name", ["slash", "v1"])
def test_the_url_may_end_with_a_slash_or_v1(others, relay, name):
    assert others[name].key["operation"] == "unchanged"
    assert others[name].result["api_base_url"] == f"{relay.url}/v1"


def test_manual_settings_are_kept_and_an_expired_key_is_renewed(ansible, proxy, guid):
    guid = f"{guid}-meanwhile"
    alias = f"virtkey-{guid}"
    manual = {"key_alias": alias, "duration": "1s", "rpm_limit": 7, "metadata": {"by": "hand"}}
    _status, created = proxy.request("POST", "/key/generate", manual)
    run = ansible.play(
        {
            "hosts": "localhost",
            "tasks": [
                {ACTION: {"guid": guid, "metadata": {"by": "Ansible{{ lookup('ansible.builtin.pipe', 'sleep 4') }}"}}},
                {ACTION: {"guid": guid, "duration": "3s"}, "register": "renewed"},
                {"name": "Show the renewed key", "ansible.builtin.debug": {"msg": "{{ renewed.virtual_key }}"}},
                {ACTION: {"guid": guid, "duration": "20d"}, "register": "extended"},
                {"name": "Show the extended key", "ansible.builtin.debug": {"msg": "{{ extended.virtual_key }}"}},
            ],
        }
    )
    assert run.code == 0, run.output
    row = proxy.row(alias)
    assert row["rpm_limit"] == 7
    assert row["metadata"] == {"by": "Ansible"}
    assert proxy.chat(created["key"]) == 200

    extended = run.task_msg("Show the extended key")
    assert extended["operation"] == "updated"
    assert abs(lifetime(row) - timedelta(days=20)) < TOLERANCE

    renewed = run.task_msg("Show the renewed key")
    assert renewed["operation"] == "updated"
    assert lifetime(renewed) > timedelta(seconds=4)


@pytest.fixture(scope="module")
def with_diff(ansible: Ansible, guid: str) -> CommandResult:
    guid = f"{guid}-diff"
    return ansible.play(
        {
            "hosts": "localhost",
            "tasks": [
                {ACTION: {"guid": guid, "models": [GRANITE], "duration": "7d"}, "register": "created"},
                {ACTION: {"guid": guid, "models": [MISTRAL], "key": "{{ created.virtual_key.key }}"}},
                {ACTION: {"guid": guid, "max_budget": 5}},
                {ACTION: {"guid": guid, "max_budget": 5}},
                {ACTION: {"guid": guid, "state": "absent"}},
            ],
        },
        "--diff",
    )


@pytest.mark.every_core
def test_diff_mode_displays_the_changes(with_diff, guid):
    assert with_diff.code == 0, with_diff.output
    assert with_diff.recap()["changed"] == 4
    headers = [line for line in with_diff.output.splitlines() if line.startswith(("---", "+++"))]
    assert len(headers) == 8
    assert all(f"virtkey-{guid}-diff" in line for line in headers)
    lines = {re.sub(r"\s+", " ", line) for line in with_diff.output.splitlines() if line[:1] in ("-", "+")}
    for model in (GRANITE, MISTRAL):
        assert {sign for sign in "-+" for line in lines if line.startswith(sign) and model in line} == {"-", "+"}
    assert not [line for line in lines if "null" in line or "..." in line]
    assert any(re.match(r"\+.*max_budget\W+5", line) for line in lines)


@pytest.mark.every_core
def test_diff_mode_displays_no_secret(with_diff):
    assert "sk-" not in with_diff.output
    assert "sk-" not in with_diff.log


@pytest.mark.every_core
def test_an_ad_hoc_command_prints_the_key_as_json(ansible, proxy, guid):
    guid = f"{guid}-adhoc"
    run = ansible.run("ansible", "localhost", "-m", ACTION, "-a", f"guid={guid} duration=7d")
    assert run.code == 0, run.output
    assert run.stderr == ""
    assert run.stdout.startswith("localhost | CHANGED => {\n")
    printed = json.loads(run.stdout.partition(" => ")[2])
    assert printed["virtual_key"]["key_alias"] == f"virtkey-{guid}"
    assert proxy.chat(printed["virtual_key"]["key"]) == 200
    assert not [name for name in printed if name.startswith(("_", "invocation"))]

    run = ansible.run("ansible", "localhost", "-m", ACTION, "-a", f"guid={guid} state=absent")
    assert run.code == 0, run.output
    assert json.loads(run.stdout.partition(" => ")[2])["virtual_key"]["operation"] == "deleted"
    assert proxy.rows(f"virtkey-{guid}") == []


@pytest.mark.every_core
def test_options_take_precedence_over_variables_and_variables_over_the_environment(
    ansible: Ansible, proxy: Proxy, guid: str
):
    """The environment variables name a proxy that does not exist, so a task that succeeds did not use them."""

    def play(variables: Json, defaults: Json | None = None, **options: object) -> Json:
        task = {ACTION: {"guid": name, "retries": 0, **options}, "ignore_errors": True}
        return {"hosts": "localhost", "vars": variables, "module_defaults": defaults or {}, "tasks": [task]}

    name = f"{guid}-sources"
    real: Json = {"url": proxy.url, "master_key": proxy.master_key}
    nowhere = {"litellm_url": NOWHERE, "litellm_master_key": "sk-not-the-master-key"}
    group = {"group/rhpds.litellm_virtual_keys.litellm": {**real, "state": "absent"}}
    templated = {
        "address": proxy.url.removeprefix("http://"),
        "vault": {"litellm": {"master": proxy.master_key}},
        "litellm_url": "{{ 'http://' ~ address }}",
        "litellm_master_key": "{{ vault.litellm.master }}",
    }
    address, key = {"address": proxy.url}, {"LITELLM_MASTER_KEY": proxy.master_key}
    run = ansible.play(
        [
            play({}),
            play({"litellm_url": "", "litellm_master_key": ""}),
            play(templated, max_budget=1),
            play(nowhere, max_budget=2, **real),
            play(nowhere, group),
            play(nowhere),
            {**play({}, max_budget=3), "environment": {"LITELLM_URL": "{{ address }}", **key}, "vars": address},
            {
                **play({}),
                "environment": {"LITELLM_URL": NOWHERE, **key},
                "tasks": [{ACTION: {"guid": name, "state": "absent"}, "environment": {"LITELLM_URL": proxy.url}}],
            },
        ],
        LITELLM_URL=None,
        LITELLM_MASTER_KEY=None,
        LITELLM_PROXY_URL=NOWHERE,
        LITELLM_PROXY_API_KEY="sk-not-the-master-key",
    )
    assert run.code == 0, run.output
    expected = ["fatal", "fatal", "changed", "changed", "changed", "fatal", "changed", "changed"]
    assert [task.status for task in run.tasks] == expected
    assert all(NOWHERE in task.result["msg"] for task in run.tasks if task.status == "fatal")
    assert proxy.rows(f"virtkey-{name}") == []


@pytest.mark.every_core
def test_the_role_does_not_override_module_defaults_with_empty_variables(ansible: Ansible, proxy: Proxy, guid: str):
    group = {"url": proxy.url, "timeout": "{{ minus }}"}
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars": {"minus": -7, "guid": f"{guid}-defaults"},
            "module_defaults": {"group/rhpds.litellm_virtual_keys.litellm": group},
            "tasks": [{"ansible.builtin.include_role": {"name": ROLE}}],
        },
        LITELLM_URL=NOWHERE,
    )
    assert run.code != 0
    assert "timeout is -7; it must be more than 0" in run.text
