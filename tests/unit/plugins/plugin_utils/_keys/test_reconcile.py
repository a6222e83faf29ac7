# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys become as desired with few requests: settings, lifetimes, secrets and deletions, on every release."""

from __future__ import annotations

import itertools
import json
import math
import time
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import desired_key
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import difference
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES, setting
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    DAY,
    DELETE,
    GENERATE,
    LIST,
    MINE,
    OTHER,
    SECONDS,
    SEED,
    UPDATE,
    bodies,
    instant,
    is_secret_of_its_key,
    lifetime_of,
    run,
    run_one,
    succeeded,
)

# Requests


def test_a_new_key_costs_four_requests_and_a_second_run_costs_one(proxy):
    desired = {"lifetime": lifetime_of("7d"), "settings": {"max_budget": 5.0, "metadata": {"team": "a"}}}
    succeeded(run_one(proxy, **desired), "created")
    assert list(proxy.counts().elements()) == [LIST, LIST, LIST, GENERATE]
    succeeded(run_one(proxy, **desired), "unchanged")
    assert list(proxy.counts().elements()) == [LIST]


def test_checking_models_costs_one_more_request(proxy):
    succeeded(run_one(proxy, settings={"models": ["gpt-4o"]}), "created")
    assert len(proxy.requests) == 5


@pytest.mark.parametrize("others", [0, 950])
@pytest.mark.parametrize("count", [4, 100, 230])
def test_many_keys_cost_little_more_than_one_request_each(proxy, count, others):
    for number in range(others):
        proxy.add(f"virtkey-other-{number}")
    desired = [DesiredKey(f"virtkey-abc-user{number}", lifetime=lifetime_of("7d")) for number in range(count)]
    pages = math.ceil(count / 100)

    outcomes = run(proxy, *desired)
    assert all(succeeded(outcome, "created") and is_secret_of_its_key(proxy, outcome) for outcome in outcomes)
    assert len(proxy.requests) <= count + 2 * pages + 2

    assert {outcome.operation for outcome in run(proxy, *desired)} == {"unchanged"}
    assert len(proxy.requests) <= pages + 2

    deleted = run(proxy, *(DesiredKey(key.alias, present=False) for key in desired))
    assert {(outcome.operation, outcome.error) for outcome in deleted} == {("deleted", None)}
    assert len(proxy.requests) <= 2 * pages + 2
    assert len(proxy.rows) == others


def test_the_outcomes_are_in_the_order_of_the_desired_keys(proxy):
    names = [f"virtkey-{number}" for number in (3, 1, 2, 5, 4)]
    assert [outcome.desired.alias for outcome in run(proxy, *map(DesiredKey, names))] == names


# Settings


SETTINGS = [
    ("models", ["gpt-4o", "openai/granite"], ["gpt-4o"]),
    ("model_aliases", {"big": "gpt-4o"}, {"small": "gpt-4o"}),
    ("max_budget", 10.0, 0.0),
    ("soft_budget", 5.0, 6.0),
    ("budget_duration", "30d", "7d"),
    ("budget_id", "gold", "silver"),
    ("tpm_limit", 1000, 0),
    ("rpm_limit", 10, 20),
    ("max_parallel_requests", 2, 3),
    ("model_tpm_limit", {"gpt-4o": 100}, {"openai/granite": 5}),
    ("model_rpm_limit", {"gpt-4o": 1}, {"gpt-4o": 2}),
    ("model_max_budget", {"gpt-4o": {"budget_limit": 1}}, {"gpt-4o": {"budget_limit": 2}}),
    ("tags", ["a", "b"], ["c"]),
    ("guardrails", ["pii"], ["pii", "more"]),
    ("user_id", "user1@example.com", "user2@example.com"),
    ("team_id", "red", "blue"),
    ("organization_id", "org1", "org2"),
    ("key_type", "llm_api", "read_only"),
    ("allowed_routes", ["/v1/chat/completions", "/v1/models"], ["/v1/models"]),
    ("budget_limits", [{"budget_duration": "1d", "max_budget": 5}], [{"budget_duration": "24h", "max_budget": 5}]),
    ("enforced_params", ["user"], ["user", "metadata.generation_name"]),
    ("agent_id", "agent1", "agent2"),
    ("access_group_ids", ["group1", "group2"], ["group2"]),
    ("router_settings", {"num_retries": 3, "timeout": 5, "retry_policy": {"DefaultRetries": 1}}, {"num_retries": 3}),
    ("permissions", {"allow_pii_controls": True}, {"allow_pii_controls": False}),
    ("blocked", True, False),
]


@pytest.mark.parametrize(("name", "value", "another"), SETTINGS, ids=[name for name, *_unused in SETTINGS])
def test_a_setting_is_set_kept_changed_and_cleared(proxy, name, value, another):
    proxy.add_team("red")
    proxy.add_team("blue")
    proxy.budgets |= {"gold", "silver"}
    for requested, operation in (
        (value, "created"),
        (value, "unchanged"),
        (another, "updated"),
        (another, "unchanged"),
    ):
        outcome = succeeded(run_one(proxy, settings={name: requested}), operation)
        assert setting(name).matches(requested, outcome.after.value(name))
        assert outcome.after.value(name) == requested or name == "router_settings"
    succeeded(run_one(proxy), "unchanged")
    cleared = setting(name).cleared_value
    succeeded(run_one(proxy, settings={name: cleared}), "unchanged" if name == "blocked" else "updated")
    assert setting(name).matches(cleared, succeeded(run_one(proxy), "unchanged").after.value(name))
    succeeded(run_one(proxy, settings={name: cleared}), "unchanged")


PAIRS = [
    (
        {"temp_budget_increase": 5.0, "temp_budget_expiry": "2030-01-01T00:00:00"},
        {"temp_budget_increase": 5.0, "temp_budget_expiry": "2030-01-02T00:00:00"},
    ),
    ({"auto_rotate": True, "rotation_interval": "30d"}, {"auto_rotate": True, "rotation_interval": "7d"}),
]


@pytest.mark.parametrize(("pair", "another"), PAIRS, ids=[" ".join(pair) for pair, _another in PAIRS])
def test_settings_that_litellm_stores_together_are_set_kept_changed_and_cleared(proxy, pair, another):
    metadata = {"metadata": {"course": "granite"}}
    for requested, operation in ((pair, "created"), (pair, "unchanged"), (another, "updated"), (another, "unchanged")):
        outcome = succeeded(run_one(proxy, settings={**requested, **metadata}), operation)
        assert {name: outcome.after.value(name) for name in requested} == requested
        assert all(set(body) >= set(pair) for body in bodies(proxy, UPDATE))
        assert sum(method.startswith("POST") for method, _body in proxy.requests) == (operation != "unchanged")
    cleared = dict.fromkeys(pair)
    for operation in ("updated", "unchanged"):
        outcome = succeeded(run_one(proxy, settings=cleared), operation)
        assert [outcome.after.value(name) or None for name in pair] == [None, None]
    assert proxy.row(ALIAS)["metadata"] == {"course": "granite"}


def test_a_setting_in_the_metadata_is_cleared_while_the_metadata_change(proxy):
    pair = PAIRS[0][0]
    run_one(proxy, settings={**pair, "metadata": {"course": "granite", "seat": 1}, "tags": ["a"]})
    succeeded(run_one(proxy, settings={**dict.fromkeys(pair), "metadata": {"seat": 2}, "tags": ["b"]}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"course": "granite", "seat": 2, "tags": ["b"]}
    succeeded(run_one(proxy, settings={**pair, "metadata": None}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {**pair, "tags": ["b"]}


def test_a_replacement_gets_what_litellm_stores_together(proxy):
    for pair, _another in PAIRS:
        proxy.rows.clear()
        run_one(proxy, settings=pair)
        outcome = succeeded(run_one(proxy, regenerate="always"), "regenerated")
        assert {name: outcome.after.value(name) for name in pair} == pair


def test_a_field_that_litellm_does_not_store_is_sent_for_a_new_key_only(proxy):
    settings = {"send_invite_email": True}
    succeeded(run_one(proxy, settings=settings), "created")
    assert [body["send_invite_email"] for body in bodies(proxy, "POST /key/generate")] == [True]
    succeeded(run_one(proxy, settings={**settings, "tpm_limit": 1}), "updated")
    assert [set(body) for body in bodies(proxy, UPDATE)] == [{"key", "tpm_limit"}]
    proxy.requests.clear()
    succeeded(run_one(proxy, settings=settings, regenerate="always"), "regenerated")
    assert [body.get("send_invite_email") for body in bodies(proxy, "POST /key/generate")] == [None]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_number_that_lost_its_type_in_a_template_is_sent_as_a_number(proxy, is_new):
    settings = {"router_settings": {"num_retries": "2", "enable_tag_filtering": "true"}}
    key = coerce_key_options({"guid": "abc", **settings})
    if not is_new:
        proxy.add(ALIAS)
    for operation in ("created" if is_new else "updated", "unchanged"):
        succeeded(run(proxy, desired_key(key, None))[0], operation)
    stored = {name: value for name, value in proxy.row(ALIAS)["router_settings"].items() if value not in (None, {})}
    assert stored == {"num_retries": 2, "enable_tag_filtering": True}


def test_a_list_in_another_order_is_no_change(proxy):
    proxy.add(ALIAS, models=["b", "a"])
    succeeded(run_one(proxy, settings={"models": ["a", "b"]}), "unchanged")


def test_metadata_are_merged_with_the_present_metadata(proxy):
    proxy.add(ALIAS, metadata={"team": "a", "tags": ["x"], "owner": "me"})
    succeeded(run_one(proxy, settings={"metadata": {"team": "b"}}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"team": "b", "tags": ["x"], "owner": "me"}


def test_metadata_are_cleared_without_the_settings_in_them(proxy):
    proxy.add(ALIAS, metadata={"team": "a", "tags": ["x"]})
    succeeded(run_one(proxy, settings={"metadata": None}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"tags": ["x"]}
    succeeded(run_one(proxy, settings={"metadata": None}), "unchanged")


def test_metadata_and_the_settings_in_them_are_changed_in_one_request(proxy):
    proxy.add(ALIAS, metadata={"tags": ["old"], "model_rpm_limit": {"gpt-4o": 1}})
    desired = {"metadata": {"team": "b"}, "tags": ["new"]}
    succeeded(run_one(proxy, settings=desired), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"team": "b", "tags": ["new"], "model_rpm_limit": {"gpt-4o": 1}}
    assert len(bodies(proxy, UPDATE)) == 1


def test_settings_that_are_not_given_are_not_sent(proxy):
    proxy.add(ALIAS, max_budget=3.0, models=["gpt-4o"], expires="2099-01-01T00:00:00Z")
    succeeded(run_one(proxy, settings={"tpm_limit": 5}), "updated")
    assert [set(body) for body in bodies(proxy, UPDATE)] == [{"key", "tpm_limit"}]


def test_defaults_of_the_proxy_are_corrected(proxy):
    proxy.defaults = {"models": ["gpt-4o"], "duration": "1d"}
    outcome = succeeded(run_one(proxy, settings={"models": []}, lifetime=Lifetime(None)), "created")
    assert (outcome.after.value("models"), outcome.after.expires) == ([], None)


@pytest.mark.parametrize("fields", [{"tomorrows_field": 1}, {"tomorrows_field": [1, 2], "metadata_field": {"a": 1}}])
def test_an_unknown_field_is_an_error_that_names_it(proxy, fields):
    outcome = run_one(proxy, settings=fields)
    assert "tomorrows_field" in str(outcome.error)
    assert is_secret_of_its_key(proxy, outcome)
    assert len(proxy.requests) <= 9


def test_an_ignored_setting_is_an_error_that_names_it(proxy):
    proxy.ignored_fields = {"tpm_limit"}
    proxy.add(ALIAS)
    outcome = run_one(proxy, settings={"tpm_limit": 7})
    assert outcome.error == f"Virtual key {ALIAS} did not change after LiteLLM reported success: tpm_limit is None"


def test_a_soft_budget_cannot_be_changed_before_1_102(proxy):
    proxy.release = (1, 101, 0)
    succeeded(run_one(proxy, settings={"soft_budget": 5.0}), "created")
    assert "soft_budget is 5.0" in str(run_one(proxy, settings={"soft_budget": 6.0}).error)


# Lifetimes


def test_a_duration_counts_from_the_creation(proxy):
    desired = {"lifetime": lifetime_of("7d")}
    succeeded(run_one(proxy, **desired), "created")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - instant(row, "created_at") - 7 * DAY) < SECONDS
    proxy.clock += 3 * DAY
    succeeded(run_one(proxy, **desired), "unchanged")


@pytest.mark.parametrize("clock", [timedelta(0), -100 * DAY, 100 * DAY])
@pytest.mark.parametrize(("duration", "days"), [("14d", 14), ("4d", 4), ("P14D", 14)])
def test_another_duration_is_exact_to_the_second(proxy, clock, duration, days):
    proxy.clock = clock
    run_one(proxy, lifetime=lifetime_of("7d"))
    proxy.clock += 3 * DAY
    succeeded(run_one(proxy, lifetime=lifetime_of(duration)), "updated")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - instant(row, "created_at") - days * DAY) < SECONDS
    succeeded(run_one(proxy, lifetime=lifetime_of(duration)), "unchanged")


def test_months_are_calendar_months_from_the_creation(proxy):
    succeeded(run_one(proxy, lifetime=lifetime_of("1mo")), "created")
    proxy.clock += 20 * DAY
    succeeded(run_one(proxy, lifetime=lifetime_of("2mo")), "updated")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - parse("2mo").after(instant(row, "created_at"))) < SECONDS


def test_an_expiry_is_not_brought_forward_without_shorten(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    succeeded(run_one(proxy, lifetime=lifetime_of("4d", shorten=False)), "unchanged")
    succeeded(run_one(proxy, lifetime=lifetime_of("8d", shorten=False)), "updated")


def test_a_key_that_never_expires_gets_no_expiry_without_shorten(proxy):
    run_one(proxy)
    succeeded(run_one(proxy, lifetime=lifetime_of("4d", shorten=False)), "unchanged")


def test_an_expired_key_whose_duration_has_passed_is_renewed(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    proxy.clock += 30 * DAY
    succeeded(run_one(proxy, lifetime=lifetime_of("7d")), "updated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY) < SECONDS
    proxy.clock += DAY
    succeeded(run_one(proxy, lifetime=lifetime_of("7d")), "unchanged")


def test_a_duration_from_now_moves_the_expiry(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    proxy.clock += 3 * DAY
    succeeded(run_one(proxy, lifetime=lifetime_of("7d", from_now=True)), "updated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY) < SECONDS


def test_an_expiry_can_be_an_instant(proxy):
    end = proxy.now().replace(microsecond=0) + 9.5 * DAY
    succeeded(run_one(proxy, lifetime=Lifetime(end)), "created")
    assert abs(instant(proxy.row(ALIAS)) - end) < SECONDS
    proxy.clock += 8 * DAY
    succeeded(run_one(proxy, lifetime=Lifetime(end)), "unchanged")


@pytest.mark.parametrize("exists", [False, True])
def test_an_instant_in_the_past_is_refused_and_nothing_is_changed(proxy, exists):
    if exists:
        proxy.add(ALIAS)
    outcome = run_one(proxy, lifetime=Lifetime(proxy.now() - DAY), settings={"tpm_limit": 1})
    assert "is in the past" in str(outcome.error)
    assert list(proxy.counts()) == [LIST]


def test_no_lifetime_leaves_the_expiry_alone(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    proxy.clock += 30 * DAY
    succeeded(run_one(proxy), "unchanged")


@pytest.mark.parametrize(("release", "updates"), [("1.106.2", [None]), ("1.82.2", [None]), ("1.81.0", [None, "-1"])])
def test_an_expiry_is_removed(proxy, release, updates):
    proxy.release = tuple(map(int, release.split(".")))
    run_one(proxy, lifetime=lifetime_of("7d"))
    succeeded(run_one(proxy, lifetime=Lifetime(None), settings={"tpm_limit": 1}), "updated")
    assert proxy.row(ALIAS)["expires"] is None
    assert [body["duration"] for body in bodies(proxy, UPDATE)] in (updates, [None, *updates])


def test_an_expiry_that_this_release_cannot_remove_is_an_error(proxy):
    proxy.release = (1, 80, 0)
    proxy.add(ALIAS, expires=(proxy.now() + DAY).isoformat())
    assert "Invalid duration format" in str(run_one(proxy, lifetime=Lifetime(None)).error)


@pytest.mark.parametrize("release", ["1.76.1", "1.76.3", "1.80.11", "1.80.12"])
@pytest.mark.parametrize("duration", ["36h", "7d", "1mo"])
def test_an_expiry_that_a_release_computes_wrongly_is_corrected(proxy, release, duration):
    proxy.release = tuple(map(int, release.split(".")))
    succeeded(run_one(proxy, lifetime=lifetime_of(duration)), "created")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - parse(duration).after(instant(row, "created_at"))) <= timedelta(seconds=60)
    succeeded(run_one(proxy, lifetime=lifetime_of(duration)), "unchanged")


# Secrets


@pytest.mark.parametrize("secret", [MINE, derive(SEED, ALIAS), derive(SEED, ALIAS, 2)], ids=lambda each: each.source)
def test_a_known_secret_is_returned_in_every_run(proxy, secret):
    for operation in ("created", "unchanged"):
        outcome = succeeded(run_one(proxy, secret=secret), operation)
        assert outcome.secret == secret
        assert is_secret_of_its_key(proxy, outcome)


def test_a_generated_secret_is_returned_once(proxy):
    outcome = succeeded(run_one(proxy), "created")
    assert is_secret_of_its_key(proxy, outcome)
    assert outcome.secret.source == "generated"
    assert succeeded(run_one(proxy), "unchanged").secret is None


def test_the_proxy_generates_secrets_if_it_accepts_no_others(proxy):
    proxy.custom_keys = False
    outcomes = run(proxy, DesiredKey("virtkey-a"), DesiredKey("virtkey-b"))
    assert all(is_secret_of_its_key(proxy, succeeded(outcome, "created")) for outcome in outcomes)
    assert {outcome.secret.source for outcome in outcomes} == {"server"}


@pytest.mark.parametrize(("secret", "option"), [(MINE, "key"), (derive(SEED, ALIAS), "key_seed")])
def test_a_desired_secret_is_an_error_if_the_proxy_generates_secrets(proxy, secret, option):
    proxy.custom_keys = False
    assert f"cannot be created with {option}, because the proxy accepts only secrets that it generates" in str(
        run_one(proxy, secret=secret).error
    )
    assert proxy.rows == {}


@pytest.mark.parametrize("fault", [Fault("close", commit=True), Fault(status=503, commit=True)])
def test_a_lost_secret_of_the_proxy_is_an_error_and_leaves_one_key(proxy, fault):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), fault)
    outcome = run_one(proxy)
    assert "its secret was lost with the response" in str(outcome.error)
    assert (proxy.aliases(), outcome.secret) == ([ALIAS], None)


@pytest.mark.parametrize("fault", [Fault("close"), Fault(status=503)])
def test_a_lost_request_for_a_secret_of_the_proxy_is_repeated(proxy, fault):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), fault)
    assert is_secret_of_its_key(proxy, succeeded(run_one(proxy), "created"))


def test_a_key_with_another_secret_is_an_error_and_a_missing_key_is_created(proxy):
    proxy.add(ALIAS, "sk-the-secret-of-another")
    outcome = run_one(proxy, secret=MINE, settings={"tpm_limit": 1})
    assert "exists with another secret than the given one" in str(outcome.error)
    assert (outcome.secret, list(proxy.counts())) == (None, [LIST])
    succeeded(run_one(proxy, "virtkey-missing", secret=MINE), "created")


def test_the_secret_of_another_key_is_an_error(proxy):
    proxy.add("virtkey-first", MINE.value)
    outcome = run_one(proxy, secret=MINE)
    assert outcome.error == f"Virtual key {ALIAS} cannot be created: its secret already belongs to key virtkey-first"
    assert (outcome.secret, proxy.aliases()) == (None, ["virtkey-first"])
    assert len(proxy.requests) <= 9


def test_a_key_whose_required_secret_is_not_known_is_not_changed(proxy):
    proxy.add(ALIAS)
    outcome = run_one(proxy, secret_required=True, settings={"tpm_limit": 1})
    assert "its secret is not known" in str(outcome.error)
    assert list(proxy.counts()) == [LIST]
    succeeded(run_one(proxy, "virtkey-new", secret_required=True), "created")


# Deletion


def test_every_key_of_the_alias_is_deleted_and_no_other(proxy):
    proxy.add(ALIAS)
    proxy.add(ALIAS)
    proxy.add(f"{ALIAS}-user1")
    proxy.add(f"{ALIAS}.replacement")
    succeeded(run_one(proxy, present=False), "deleted")
    assert sorted(proxy.aliases()) == [f"{ALIAS}-user1", f"{ALIAS}.replacement"]
    assert proxy.counts() == {LIST: 2, DELETE: 1}


def test_a_key_whose_replacement_was_not_finished_is_deleted_too(proxy):
    proxy.add(f"{ALIAS}.replacement", metadata={REPLACES: MINE.key_id})
    succeeded(run_one(proxy, present=False), "deleted")
    assert proxy.rows == {}


def test_a_missing_key_is_absent(proxy):
    assert succeeded(run_one(proxy, present=False), "absent").changed is False
    assert list(proxy.counts().elements()) == [LIST, LIST]


def test_a_key_that_another_client_deleted_counts_as_deleted(proxy):
    proxy.add(ALIAS)
    proxy.fault(DELETE, Fault("nothing", before=proxy.rows.clear))
    succeeded(run_one(proxy, present=False), "deleted")


def test_a_404_to_a_deletion_counts_as_deleted_if_the_key_is_missing(proxy):
    proxy.add(ALIAS)
    proxy.fault(DELETE, Fault(status=404, before=proxy.rows.clear))
    succeeded(run_one(proxy, present=False), "deleted")
    assert proxy.counts()[DELETE] == 1


def test_a_key_that_still_exists_after_its_deletion_is_an_error(proxy):
    proxy.undeletable.add(proxy.add(ALIAS))
    outcome = run_one(proxy, present=False)
    assert "still exists after LiteLLM reported that it was deleted" in str(outcome.error)
    assert outcome.changed is False


def test_a_key_can_be_named_by_its_id(proxy):
    key_id = proxy.add(None)
    succeeded(run_one(proxy, None, key_id=key_id, settings={"blocked": True}), "updated")
    assert proxy.rows[key_id]["blocked"] is True
    succeeded(run_one(proxy, None, key_id=key_id, present=False), "deleted")
    succeeded(run_one(proxy, None, key_id=key_id, present=False), "absent")
    assert "There is no virtual key with the id" in str(run_one(proxy, None, key_id=key_id).error)


CONFLICT = "Project assignment failed because the key was updated concurrently. Retry the request."


def test_an_update_that_conflicts_with_another_client_is_repeated(proxy, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    proxy.add(ALIAS)
    proxy.fault(UPDATE, Fault(status=400, message=CONFLICT))
    succeeded(run(proxy, DesiredKey(ALIAS, settings={"tpm_limit": 1}))[0], "updated")
    assert proxy.counts()[UPDATE] == 2


def test_an_update_that_always_conflicts_is_an_error_in_the_words_of_the_proxy(proxy, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    proxy.add(ALIAS)
    proxy.fault(UPDATE, *[Fault(status=400, message=CONFLICT)] * 20)
    error = run(proxy, DesiredKey(ALIAS, settings={"tpm_limit": 1}))[0].error
    assert str(error).endswith(f"{CONFLICT} Run again")


def test_another_400_is_not_repeated(proxy):
    proxy.add(ALIAS)
    proxy.fault(UPDATE, *[Fault(status=400, message="no")] * 20)
    assert "Correct the options that it refuses" in str(
        run(proxy, DesiredKey(ALIAS, settings={"tpm_limit": 1}))[0].error
    )
    assert proxy.counts()[UPDATE] == 1


def test_a_route_that_the_calling_key_may_not_call_is_no_fault_of_the_options(proxy):
    proxy.allowed_routes = ("info_routes", "/key/list")
    error = str(run(proxy, DesiredKey(ALIAS))[0].error)
    assert error.startswith(f"Cannot create virtual key {ALIAS}: ")
    assert error.endswith("is limited to other routes; pass the master key, or a key that may call this route")


# Several keys


def test_if_some_keys_fail_the_others_are_made_and_returned(proxy):
    proxy.add("virtkey-2", OTHER.value)
    desired = [
        DesiredKey("virtkey-1"),
        DesiredKey("virtkey-2", secret=MINE),
        DesiredKey("virtkey-3"),
        DesiredKey("virtkey-4"),
    ]
    proxy.fault(GENERATE, Fault(status=500))
    outcomes = run(proxy, *desired)
    failed = [outcome for outcome in outcomes if outcome.error]
    assert len(failed) == 2
    for outcome in outcomes:
        assert outcome in failed or is_secret_of_its_key(proxy, succeeded(outcome, "created"))


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_key_that_is_named_by_alias_and_by_id_is_an_error(proxy, check_mode):
    key_id = proxy.add(ALIAS)
    desired = [
        DesiredKey(ALIAS, settings={"tpm_limit": 1}),
        DesiredKey("virtkey-other"),
        DesiredKey(None, key_id=key_id, present=False),
    ]
    first, other, second = run(proxy, *desired, check_mode=check_mode)
    assert first.error == f"Virtual key {ALIAS} is named more than once: {ALIAS} and {key_id[:12]}… are the same key"
    assert "is named more than once" in str(second.error)
    succeeded(other, "created")
    assert proxy.row(ALIAS)["tpm_limit"] is None


# Check mode


@pytest.mark.parametrize(
    ("desired", "operation"),
    [
        ({}, "updated"),
        ({"alias": "virtkey-new"}, "created"),
        ({"present": False}, "deleted"),
        ({"alias": "virtkey-new", "present": False}, "absent"),
        ({"regenerate": "always"}, "regenerated"),
        ({"settings": {}, "lifetime": None}, "unchanged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_check_mode_predicts_the_outcome_and_changes_nothing(proxy, desired, operation):
    proxy.add(ALIAS, max_budget=1.0)
    whole = {"settings": {"tpm_limit": 5}, "lifetime": lifetime_of("7d"), **desired}
    predicted = succeeded(run_one(proxy, **whole, options={"check_mode": True}), operation)
    assert all(request.startswith("GET") for request, _unused in proxy.requests)
    real = succeeded(run_one(proxy, **whole), operation)
    assert predicted.changed == real.changed
    for name in ("tpm_limit", "max_budget"):
        assert predicted.after is None or predicted.after.value(name) == real.after.value(name)


def test_check_mode_detects_the_secret_of_another_key(proxy):
    proxy.add("virtkey-other", MINE.value)
    outcome = run_one(proxy, secret=MINE, options={"check_mode": True})
    assert outcome.error == f"Virtual key {ALIAS} cannot be created: its secret already belongs to key virtkey-other"


# Releases


RELEASES = ["1.60.0", "1.61.8", "1.70.0", "1.76.3", "1.80.11", "1.82.0", "1.83.3", "1.89.7", "1.90.0", "1.106.2"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("count", [1, 5])
def test_the_life_of_keys_on_every_release(proxy, release, count):
    proxy.release = tuple(map(int, release.split(".")))
    for number in range(120):  # others whose aliases contain these
        proxy.add(f"not-virtkey-abc-user1{number}")
    names = [f"virtkey-abc-user{number}" for number in range(count)]

    def run_all(**desired):
        outcomes = run(proxy, *(DesiredKey(name, secret=derive(SEED, name), **desired) for name in names))
        assert [outcome.error for outcome in outcomes] == [None] * count
        return {outcome.operation for outcome in outcomes}

    week = {"lifetime": lifetime_of("7d"), "settings": {"metadata": {"a": 1}, "models": ["gpt-4o"]}}
    assert run_all(**week) == {"created"}
    proxy.clock += DAY
    assert run_all(**week) == {"unchanged"}
    assert run_all(**week | {"lifetime": lifetime_of("14d")}) == {"updated"}
    assert run_all(present=False) == {"deleted"}
    assert run_all(present=False) == {"absent"}
    assert run_all(**week) == {"created"}
    assert len(proxy.rows) == 120 + count


@pytest.mark.parametrize("release", ["1.82.0", "1.106.2"])
def test_a_key_that_disappears_before_it_is_changed_is_created_again(proxy, release):
    proxy.release = tuple(map(int, release.split(".")))
    proxy.add(ALIAS)
    proxy.fault(UPDATE, Fault("nothing", before=proxy.rows.clear))
    outcome = run_one(proxy, settings={"tpm_limit": 1})
    assert outcome.error is None
    assert is_secret_of_its_key(proxy, outcome)


@pytest.mark.parametrize("regenerate", ["never", "always"])
def test_a_key_that_is_created_again_has_the_same_restrictions(proxy, regenerate):
    proxy.add(ALIAS, models=["gpt-4o"], max_budget=3.0, expires=(proxy.now() + 3 * DAY).isoformat(), blocked=True)
    proxy.fault(UPDATE, Fault("nothing", before=proxy.rows.clear))
    outcome = succeeded(run_one(proxy, settings={"tpm_limit": 1}, regenerate=regenerate), "regenerated")
    assert is_secret_of_its_key(proxy, outcome)
    row = proxy.row(ALIAS)
    assert (row["models"], row["max_budget"], row["blocked"], row["tpm_limit"]) == (["gpt-4o"], 3.0, True, 1)
    assert abs(instant(row) - proxy.now() - 3 * DAY) < SECONDS


def test_a_404_for_another_reason_than_the_key_is_reported(proxy):
    proxy.add(ALIAS, team_id="gone")
    outcome = run_one(proxy, settings={"tpm_limit": 1})
    assert "Team doesn't exist in db" in str(outcome.error)
    assert len(bodies(proxy, UPDATE)) == 1


def test_a_wrong_master_key_is_reported(proxy):
    client = Client(Connection(proxy.url, "sk-another-master-key"))
    with pytest.raises(LiteLLMError, match="does not accept the master key"):
        reconcile(client, [DesiredKey(ALIAS, present=False)])


ODD: list[object] = [[], None, 5, {"keys": None}]


@pytest.mark.parametrize("response", ODD, ids=map(repr, ODD))
def test_a_server_that_is_not_litellm_is_reported(proxy, monkeypatch, response):
    monkeypatch.setattr(proxy, "_get_key_list", lambda query: response)
    with pytest.raises(LiteLLMError, match="check that url is a LiteLLM proxy"):
        run_one(proxy)


def test_the_order_of_settings_makes_no_difference(proxy):
    settings = {"tpm_limit": 1, "metadata": {"a": 1}, "models": ["gpt-4o"], "tags": ["x"]}
    rows = []
    for number, order in enumerate(itertools.islice(itertools.permutations(settings), 0, 24, 5)):
        run_one(proxy, f"virtkey-{number}", settings={name: settings[name] for name in order})
        row = dict(proxy.row(f"virtkey-{number}"))
        rows.append({name: row[name] for name in ("tpm_limit", "metadata", "models")})
    assert all(row == rows[0] for row in rows)


@pytest.mark.parametrize(("present", "desired"), [(0, False), (1, True), ({"a": [1]}, {"a": [True]})])
def test_a_change_between_a_number_and_a_boolean_is_reported(proxy, present, desired):
    proxy.add(ALIAS, metadata={"n": present})
    settings = {"metadata": {"n": desired}}
    predicted = run_one(proxy, settings=settings, options={"check_mode": True})
    for outcome in (predicted, run_one(proxy, settings=settings)):
        diff = difference(succeeded(outcome, "updated")) or {}
        assert json.dumps([diff["before"]["metadata"], diff["after"]["metadata"]]) == json.dumps(
            [{"n": present}, {"n": desired}]
        )
    succeeded(run_one(proxy, settings=settings), "unchanged")
