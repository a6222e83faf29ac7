# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine against a LiteLLM in memory: what is asked for is there in the end, once, whatever goes wrong."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.progress import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive, given
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACED, setting
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import (
    MASTER_KEY,
    ErrorResponse,
    FakeLiteLLM,
    Fault,
)

ALIAS = "virtkey-abc"
MINE = given("sk-the-secret-that-i-chose")
OTHER = given("sk-the-secret-of-another")
SEED = "a seed of more than 32 characters, as asked"
DAY = timedelta(days=1)
SECONDS = timedelta(seconds=5)  # between our clock and the fake's, and for a busy machine

GENERATE, UPDATE, DELETE = "POST /key/generate", "POST /key/update", "POST /key/delete"
LIST, MODELS = "GET /key/list", "GET /v1/models"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(_reconcile, "_pause", lambda attempt: None)
    monkeypatch.setattr(_apply, "_COURTESY", 0.05)


@pytest.fixture
def proxy():
    with FakeLiteLLM().running() as fake:
        yield fake


def run(proxy, *desired, retries=1, timeout=5.0, concurrency=8, **options):
    """One run of the engine: a new client, as a new task has."""
    proxy.requests.clear()
    client = Client(Connection(proxy.url, MASTER_KEY, retries=retries, timeout=timeout, concurrency=concurrency))
    outcomes = reconcile(client, desired, **options)
    assert client.api_calls == len(proxy.requests)
    return outcomes


def run_one(proxy, alias=ALIAS, *, options=None, **desired) -> Outcome:
    outcome: Outcome
    (outcome,) = run(proxy, DesiredKey(alias, **desired), **(options or {}))
    return outcome


def sent(proxy, request):
    return [given for made, given in proxy.requests if made == request]


def lasting(duration, **how):
    return Lifetime(parse(duration), **how)


def instant(row, name="expires"):
    return parse_instant(row[name])


def good(outcome: Outcome, operation):
    assert (outcome.error, outcome.operation) == (None, operation)
    return outcome


def is_its_secret(proxy, outcome):
    """The secret that is told opens the only key of that alias."""
    assert proxy.aliases().count(outcome.desired.alias) == 1
    return outcome.secret is not None and outcome.secret.key_id == proxy.row(outcome.desired.alias)["token"]


# Requests


def test_one_new_key_costs_four_requests_and_a_second_run_one(proxy):
    desired = {"lifetime": lasting("7d"), "settings": {"max_budget": 5.0, "metadata": {"team": "a"}}}
    good(run_one(proxy, **desired), "created")
    assert list(proxy.counts().elements()) == [LIST, LIST, LIST, GENERATE]
    good(run_one(proxy, **desired), "unchanged")
    assert list(proxy.counts().elements()) == [LIST]


def test_models_cost_one_request_more(proxy):
    good(run_one(proxy, settings={"models": ["gpt-4o"]}), "created")
    assert len(proxy.requests) == 5


@pytest.mark.parametrize("others", [0, 950])
@pytest.mark.parametrize("count", [4, 100, 230])
def test_many_keys_cost_little_more_than_one_each(proxy, count, others):
    for number in range(others):
        proxy.add(f"virtkey-other-{number}")
    desired = [DesiredKey(f"virtkey-abc-user{number}", lifetime=lasting("7d")) for number in range(count)]
    pages = math.ceil(count / 100)

    outcomes = run(proxy, *desired)
    assert all(good(outcome, "created") and is_its_secret(proxy, outcome) for outcome in outcomes)
    assert len(proxy.requests) <= count + 2 * pages + 2

    assert {outcome.operation for outcome in run(proxy, *desired)} == {"unchanged"}
    assert len(proxy.requests) <= pages + 2

    gone = run(proxy, *(DesiredKey(key.alias, present=False) for key in desired))
    assert {(outcome.operation, outcome.error) for outcome in gone} == {("deleted", None)}
    assert len(proxy.requests) <= 2 * pages + 2
    assert len(proxy.rows) == others


def test_the_order_of_the_outcomes_is_the_order_of_asking(proxy):
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
    ("permissions", {"allow_pii_controls": True}, {"allow_pii_controls": False}),
    ("blocked", True, False),
]


@pytest.mark.parametrize(("name", "value", "another"), SETTINGS, ids=[name for name, *_unused in SETTINGS])
def test_a_setting_is_given_kept_changed_and_taken_off(proxy, name, value, another):
    proxy.teams |= {"red", "blue"}
    proxy.budgets |= {"gold", "silver"}
    for asked, operation in ((value, "created"), (value, "unchanged"), (another, "updated"), (another, "unchanged")):
        outcome = good(run_one(proxy, settings={name: asked}), operation)
        assert outcome.after.value(name) == asked
    good(run_one(proxy), "unchanged")
    nothing = setting(name).nothing
    good(run_one(proxy, settings={name: nothing}), "unchanged" if name == "blocked" else "updated")
    assert good(run_one(proxy), "unchanged").after.value(name) in (nothing, False)
    good(run_one(proxy, settings={name: nothing}), "unchanged")


def test_a_list_in_another_order_is_no_change(proxy):
    proxy.add(ALIAS, models=["b", "a"])
    good(run_one(proxy, settings={"models": ["a", "b"]}), "unchanged")


def test_metadata_is_merged_over_what_is_there(proxy):
    proxy.add(ALIAS, metadata={"team": "a", "tags": ["x"], "owner": "me"})
    good(run_one(proxy, settings={"metadata": {"team": "b"}}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"team": "b", "tags": ["x"], "owner": "me"}


def test_metadata_is_taken_off_without_what_litellm_keeps_in_it(proxy):
    proxy.add(ALIAS, metadata={"team": "a", "tags": ["x"]})
    good(run_one(proxy, settings={"metadata": None}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"tags": ["x"]}
    good(run_one(proxy, settings={"metadata": None}), "unchanged")


def test_metadata_and_what_is_kept_in_it_change_together(proxy):
    proxy.add(ALIAS, metadata={"tags": ["old"], "model_rpm_limit": {"gpt-4o": 1}})
    desired = {"metadata": {"team": "b"}, "tags": ["new"]}
    good(run_one(proxy, settings=desired), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"team": "b", "tags": ["new"], "model_rpm_limit": {"gpt-4o": 1}}
    assert len(sent(proxy, UPDATE)) == 1


def test_what_was_not_given_is_not_sent(proxy):
    proxy.add(ALIAS, max_budget=3.0, models=["gpt-4o"], expires="2099-01-01T00:00:00Z")
    good(run_one(proxy, settings={"tpm_limit": 5}), "updated")
    assert [set(body) for body in sent(proxy, UPDATE)] == [{"key", "tpm_limit"}]


def test_what_the_proxy_fills_in_by_default_is_put_right(proxy):
    proxy.defaults = {"models": ["gpt-4o"], "duration": "1d"}
    outcome = good(run_one(proxy, settings={"models": []}, lifetime=Lifetime(None)), "created")
    assert (outcome.after.value("models"), outcome.after.expires) == ([], None)


@pytest.mark.parametrize("fields", [{"tomorrows_field": 1}, {"tomorrows_field": [1, 2], "metadata_field": {"a": 1}}])
def test_a_field_that_the_proxy_does_not_know_is_an_error_that_names_it(proxy, fields):
    outcome = run_one(proxy, settings=fields)
    assert "tomorrows_field" in str(outcome.error)
    assert is_its_secret(proxy, outcome)
    assert len(proxy.requests) <= 8


def test_a_setting_that_the_proxy_ignores_is_an_error_that_names_it(proxy):
    proxy.ignored_fields = {"tpm_limit"}
    proxy.add(ALIAS)
    outcome = run_one(proxy, settings={"tpm_limit": 7})
    assert outcome.error == f"LiteLLM accepted the change of the key {ALIAS} but did not make it: tpm_limit is None"


def test_a_soft_budget_cannot_be_changed_before_1_102(proxy):
    proxy.release = (1, 101, 0)
    good(run_one(proxy, settings={"soft_budget": 5.0}), "created")
    assert "soft_budget is 5.0" in str(run_one(proxy, settings={"soft_budget": 6.0}).error)


# Lifetimes


def test_a_duration_counts_from_the_creation(proxy):
    desired = {"lifetime": lasting("7d")}
    good(run_one(proxy, **desired), "created")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - instant(row, "created_at") - 7 * DAY) < SECONDS
    proxy.clock += 3 * DAY
    good(run_one(proxy, **desired), "unchanged")


@pytest.mark.parametrize("clock", [timedelta(0), -100 * DAY, 100 * DAY])
@pytest.mark.parametrize(("duration", "days"), [("14d", 14), ("4d", 4), ("P14D", 14)])
def test_another_duration_lands_on_the_second(proxy, clock, duration, days):
    proxy.clock = clock
    run_one(proxy, lifetime=lasting("7d"))
    proxy.clock += 3 * DAY
    good(run_one(proxy, lifetime=lasting(duration)), "updated")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - instant(row, "created_at") - days * DAY) < SECONDS
    good(run_one(proxy, lifetime=lasting(duration)), "unchanged")


def test_months_are_calendar_months_from_the_creation(proxy):
    good(run_one(proxy, lifetime=lasting("1mo")), "created")
    proxy.clock += 20 * DAY
    good(run_one(proxy, lifetime=lasting("2mo")), "updated")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - parse("2mo").after(instant(row, "created_at"))) < SECONDS


def test_an_expiry_is_not_brought_forward_when_it_shall_not(proxy):
    run_one(proxy, lifetime=lasting("7d"))
    good(run_one(proxy, lifetime=lasting("4d", shorten=False)), "unchanged")
    good(run_one(proxy, lifetime=lasting("8d", shorten=False)), "updated")


def test_a_key_without_an_end_does_not_get_one_when_it_shall_not_be_shortened(proxy):
    run_one(proxy)
    good(run_one(proxy, lifetime=lasting("4d", shorten=False)), "unchanged")


def test_a_dead_key_whose_time_is_over_begins_anew(proxy):
    run_one(proxy, lifetime=lasting("7d"))
    proxy.clock += 30 * DAY
    good(run_one(proxy, lifetime=lasting("7d")), "updated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY) < SECONDS
    proxy.clock += DAY
    good(run_one(proxy, lifetime=lasting("7d")), "unchanged")


def test_from_now_moves_the_end(proxy):
    run_one(proxy, lifetime=lasting("7d"))
    proxy.clock += 3 * DAY
    good(run_one(proxy, lifetime=lasting("7d", from_now=True)), "updated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY) < SECONDS


def test_an_instant_is_reached(proxy):
    end = proxy.now().replace(microsecond=0) + 9.5 * DAY
    good(run_one(proxy, lifetime=Lifetime(end)), "created")
    assert abs(instant(proxy.row(ALIAS)) - end) < SECONDS
    proxy.clock += 8 * DAY
    good(run_one(proxy, lifetime=Lifetime(end)), "unchanged")


@pytest.mark.parametrize("there", [False, True])
def test_an_instant_in_the_past_is_refused_and_nothing_is_done(proxy, there):
    if there:
        proxy.add(ALIAS)
    outcome = run_one(proxy, lifetime=Lifetime(proxy.now() - DAY), settings={"tpm_limit": 1})
    assert "is in the past" in str(outcome.error)
    assert list(proxy.counts()) == [LIST]


def test_no_lifetime_leaves_the_expiry_alone(proxy):
    run_one(proxy, lifetime=lasting("7d"))
    proxy.clock += 30 * DAY
    good(run_one(proxy), "unchanged")


@pytest.mark.parametrize(("release", "updates"), [("1.106.2", [None]), ("1.82.2", [None]), ("1.81.0", [None, "-1"])])
def test_an_expiry_is_taken_off(proxy, release, updates):
    proxy.release = tuple(map(int, release.split(".")))
    run_one(proxy, lifetime=lasting("7d"))
    good(run_one(proxy, lifetime=Lifetime(None), settings={"tpm_limit": 1}), "updated")
    assert proxy.row(ALIAS)["expires"] is None
    assert [body["duration"] for body in sent(proxy, UPDATE)] in (updates, [None, *updates])


def test_an_expiry_that_this_release_cannot_take_off_is_an_error(proxy):
    proxy.release = (1, 80, 0)
    proxy.add(ALIAS, expires=(proxy.now() + DAY).isoformat())
    assert "Invalid duration format" in str(run_one(proxy, lifetime=Lifetime(None)).error)


@pytest.mark.parametrize("release", ["1.76.1", "1.76.3", "1.80.11", "1.80.12"])
@pytest.mark.parametrize("duration", ["36h", "7d", "1mo"])
def test_an_expiry_that_a_release_computes_wrongly_is_put_right(proxy, release, duration):
    proxy.release = tuple(map(int, release.split(".")))
    good(run_one(proxy, lifetime=lasting(duration)), "created")
    row = proxy.row(ALIAS)
    assert abs(instant(row) - parse(duration).after(instant(row, "created_at"))) <= timedelta(seconds=60)
    good(run_one(proxy, lifetime=lasting(duration)), "unchanged")


# Secrets


@pytest.mark.parametrize("secret", [MINE, derive(SEED, ALIAS), derive(SEED, ALIAS, 2)], ids=lambda each: each.source)
def test_a_secret_that_is_known_is_told_in_every_run(proxy, secret):
    for operation in ("created", "unchanged"):
        outcome = good(run_one(proxy, secret=secret), operation)
        assert outcome.secret == secret
        assert is_its_secret(proxy, outcome)


def test_a_generated_secret_is_told_once(proxy):
    outcome = good(run_one(proxy), "created")
    assert is_its_secret(proxy, outcome)
    assert outcome.secret.source == "generated"
    assert good(run_one(proxy), "unchanged").secret is None


def test_where_the_proxy_insists_it_makes_the_secrets(proxy):
    proxy.custom_keys = False
    outcomes = run(proxy, DesiredKey("virtkey-a"), DesiredKey("virtkey-b"))
    assert all(is_its_secret(proxy, good(outcome, "created")) for outcome in outcomes)
    assert {outcome.secret.source for outcome in outcomes} == {"server"}


@pytest.mark.parametrize(("secret", "option"), [(MINE, "key"), (derive(SEED, ALIAS), "key_seed")])
def test_where_the_proxy_insists_no_other_secret_can_be_asked_for(proxy, secret, option):
    proxy.custom_keys = False
    assert f"so that {option} cannot be used" in str(run_one(proxy, secret=secret).error)
    assert proxy.rows == {}


@pytest.mark.parametrize("fault", [Fault("close", commit=True), Fault(status=503, commit=True)])
def test_a_secret_of_the_proxys_that_was_lost_is_an_error_and_one_key(proxy, fault):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), fault)
    outcome = run_one(proxy)
    assert "the answer was lost" in str(outcome.error)
    assert (proxy.aliases(), outcome.secret) == ([ALIAS], None)


@pytest.mark.parametrize("fault", [Fault("close"), Fault(status=503)])
def test_a_request_for_a_secret_of_the_proxys_that_was_lost_is_made_again(proxy, fault):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), fault)
    assert is_its_secret(proxy, good(run_one(proxy), "created"))


def test_another_secret_than_the_one_given_is_told_from_a_missing_key(proxy):
    proxy.add(ALIAS, "sk-the-secret-of-another")
    outcome = run_one(proxy, secret=MINE, settings={"tpm_limit": 1})
    assert "exists with another secret than the one given" in str(outcome.error)
    assert (outcome.secret, list(proxy.counts())) == (None, [LIST])
    good(run_one(proxy, "virtkey-missing", secret=MINE), "created")


def test_the_secret_of_another_key_is_told_from_success(proxy):
    proxy.add("virtkey-first", MINE.value)
    outcome = run_one(proxy, secret=MINE)
    assert outcome.error == f"The secret given for the key {ALIAS} is that of the key virtkey-first already"
    assert (outcome.secret, proxy.aliases()) == (None, ["virtkey-first"])
    assert len(proxy.requests) <= 7


def test_a_key_whose_secret_is_required_and_not_known_is_left_alone(proxy):
    proxy.add(ALIAS)
    outcome = run_one(proxy, secret_required=True, settings={"tpm_limit": 1})
    assert "its secret is not known" in str(outcome.error)
    assert list(proxy.counts()) == [LIST]
    good(run_one(proxy, "virtkey-new", secret_required=True), "created")


# Exactly once

CARRIED_OUT = [
    Fault("close", commit=True),
    Fault("stall", commit=True),
    Fault("half"),
    *(Fault(status=status, commit=True) for status in (500, 502, 503, 504)),
]
NOT_CARRIED_OUT = [
    Fault("close"),
    Fault("stall"),
    Fault(status=429, headers={"Retry-After": "0"}),
    *(Fault(status=status) for status in (502, 503, 504)),
    Fault(status=503, headers={"Retry-After": "0"}),
]


def named(fault):
    return f"{fault.how}-{fault.status}-{'done' if fault.commit else 'undone'}"


@pytest.mark.parametrize("fault", CARRIED_OUT + NOT_CARRIED_OUT, ids=named)
@pytest.mark.parametrize("secret", [None, MINE, derive(SEED, ALIAS)], ids=["generated", "given", "derived"])
def test_a_key_is_created_once_and_its_secret_known_whatever_befalls_the_request(proxy, fault, secret):
    proxy.stall_seconds = 0.15
    proxy.fault(GENERATE, fault)
    outcome = run_one(proxy, secret=secret, lifetime=lasting("7d"), options={"timeout": 0.1})
    assert is_its_secret(proxy, good(outcome, "created"))
    assert proxy.deleted == {}
    assert len(sent(proxy, GENERATE)) == (1 if fault in CARRIED_OUT else 2)


def test_a_500_that_did_nothing_is_not_repeated(proxy):
    proxy.fault(GENERATE, Fault(status=500))
    outcome = run_one(proxy)
    assert outcome.error == "LiteLLM answered POST /key/generate with 500: Internal Server Error."
    assert (outcome.changed, outcome.secret, proxy.rows) == (False, None, {})
    assert len(sent(proxy, GENERATE)) == 1


def test_a_proxy_that_stays_busy_is_an_error_after_some_tries(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(20)))
    outcome = run_one(proxy)
    assert "503" in str(outcome.error)
    assert len(sent(proxy, GENERATE)) == 2  # retries: 1


@pytest.mark.parametrize("fault", CARRIED_OUT + NOT_CARRIED_OUT, ids=named)
def test_a_change_is_made_whatever_befalls_the_request(proxy, fault):
    proxy.stall_seconds = 0.15
    proxy.add(ALIAS, metadata={"owner": "me"})
    proxy.fault(UPDATE, fault)
    desired = {"settings": {"tpm_limit": 1, "metadata": {"a": 1}}, "lifetime": lasting("7d")}
    good(run_one(proxy, **desired, options={"timeout": 0.1}), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"owner": "me", "a": 1}
    good(run_one(proxy, **desired), "unchanged")


@pytest.mark.parametrize("fault", CARRIED_OUT + NOT_CARRIED_OUT, ids=named)
def test_a_key_is_removed_whatever_befalls_the_request(proxy, fault):
    proxy.stall_seconds = 0.15
    proxy.add(ALIAS)
    proxy.fault(DELETE, fault)
    good(run_one(proxy, present=False, options={"timeout": 0.1}), "deleted")
    assert proxy.rows == {}


def test_a_first_look_that_fails_does_nothing(proxy):
    proxy.fault(LIST, *(Fault(status=503) for _unused in range(9)))
    with pytest.raises(LiteLLMError, match="503"):
        run_one(proxy)
    assert list(proxy.counts()) == [LIST]


def test_the_secret_of_a_key_that_was_made_is_told_even_when_the_last_look_fails(proxy):
    proxy.fault(LIST, Fault("nothing"), Fault("nothing"), *(Fault(status=503) for _unused in range(9)))
    outcome = run_one(proxy)
    assert "may or may not" in str(outcome.error)
    assert is_its_secret(proxy, outcome)


def test_the_last_look_has_patience(proxy):
    proxy.fault(LIST, Fault("nothing"), Fault("nothing"), *(Fault(status=503) for _unused in range(3)))
    good(run_one(proxy), "created")


def test_when_many_in_a_row_have_trouble_the_others_wait_for_the_next_round(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(12)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-abc-user{number}") for number in range(60)), concurrency=4, retries=3)
    assert all(is_its_secret(proxy, good(outcome, "created")) for outcome in outcomes)
    assert len(sent(proxy, GENERATE)) <= 60 + 12


def test_a_proxy_that_never_makes_a_key_is_not_asked_for_each(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(1000)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-abc-user{number}") for number in range(60)), concurrency=4)
    assert all("503" in str(outcome.error) or "was not tried" in str(outcome.error) for outcome in outcomes)
    assert len(sent(proxy, GENERATE)) <= 2 * (4 + 4)  # rounds: how many in a row, and how many side by side


def test_the_trouble_of_one_key_does_not_hold_up_the_others(proxy):
    names = [f"virtkey-{number}" for number in range(5)]
    old_keys = [proxy.add(name) for name in names]
    handle = proxy.handle

    def stubborn(method, path, given):
        if path == "/key/update" and given["key"] == old_keys[0]:
            raise ErrorResponse(503, "busy")
        return handle(method, path, given)

    proxy.handle = stubborn
    first, *others = run(proxy, *(DesiredKey(name, regenerate="always") for name in names))
    assert "503" in str(first.error)
    assert all(is_its_secret(proxy, good(outcome, "regenerated")) for outcome in others)
    assert sorted(proxy.deleted) == sorted(old_keys[1:])


# Two runs at once


def test_the_run_that_comes_late_leaves_the_key_alone_and_reports_no_secret(proxy):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    warnings: list[str] = []
    outcome = good(run_one(proxy, options={"warn": warnings.append}), "unchanged")
    assert (outcome.secret, proxy.aliases()) == (None, [ALIAS])
    assert ["Another run created" in warning for warning in warnings] == [True]


def test_the_run_that_comes_late_where_the_proxy_makes_the_secrets_does_not_call_the_key_its_own(proxy):
    proxy.custom_keys = False
    late = Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value))
    proxy.fault(GENERATE, Fault("nothing"), late)
    outcome = good(run_one(proxy), "unchanged")
    assert (outcome.secret, proxy.aliases()) == (None, [ALIAS])


@pytest.mark.parametrize("regenerate", ["always", "if_unrecoverable"])
def test_the_run_that_comes_late_does_not_replace_the_key_of_the_other(proxy, regenerate):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = run_one(proxy, regenerate=regenerate)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


def test_the_run_that_comes_late_with_a_secret_of_its_own_fails_and_says_so(proxy):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = run_one(proxy, secret=MINE)
    assert "exists with another secret" in str(outcome.error)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


def test_of_two_keys_the_younger_is_taken_back_by_the_run_that_made_it(proxy):
    proxy.unique_aliases = False
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = good(run_one(proxy), "unchanged")
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


def test_a_key_that_could_not_be_taken_back_is_not_left_beside_the_other(proxy):
    proxy.unique_aliases = False
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    proxy.fault(DELETE, Fault(status=400))
    outcome = run_one(proxy)
    assert "400" in str(outcome.error)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


@pytest.mark.parametrize("secret", [None, derive(SEED, ALIAS)], ids=["generated", "derived"])
def test_of_runs_at_once_one_key_stays_and_every_secret_that_is_told_opens_it(proxy, secret):
    proxy.unique_aliases = False
    for _unused in range(5):
        proxy.rows.clear()
        clients = [Client(Connection(proxy.url, MASTER_KEY)) for _unused in range(4)]
        with ThreadPoolExecutor() as threads:
            racing = [threads.submit(reconcile, client, [DesiredKey(ALIAS, secret=secret)]) for client in clients]
        outcomes = [outcome for race in racing for outcome in race.result()]
        assert proxy.aliases() == [ALIAS]
        told = [outcome.secret for outcome in outcomes if outcome.secret and not outcome.error]
        assert {one.key_id for one in told} == set(proxy.rows)
        assert len(told) == (1 if secret is None else len(clients))


# Regeneration


def replaced(proxy, **desired):
    return run_one(proxy, **{"regenerate": "always", **desired})


@pytest.fixture
def old_key(proxy):
    return proxy.add(
        ALIAS, models=["gpt-4o"], metadata={"a": 1, "tags": ["x"]}, max_budget=9.0, spend=2.5,
        expires=(proxy.now() + 3 * DAY).isoformat(), age=DAY,
    )  # fmt: skip


@pytest.mark.parametrize("custom_keys", [True, False])
def test_a_key_that_is_replaced_keeps_alias_settings_spending_and_end(proxy, old_key, custom_keys):
    proxy.custom_keys = custom_keys
    before = dict(proxy.rows[old_key])
    outcome = good(replaced(proxy, settings={"tpm_limit": 4}), "regenerated")
    assert is_its_secret(proxy, outcome)
    after = proxy.row(ALIAS)
    assert list(proxy.deleted) == [old_key]
    assert after["tpm_limit"] == 4
    assert {name: after[name] for name in ("models", "metadata", "max_budget", "spend")} == {
        name: before[name] for name in ("models", "metadata", "max_budget", "spend")
    }
    assert abs(instant(after) - instant(before)) < SECONDS


def test_the_old_key_is_there_until_the_new_one_is(proxy, old_key):
    there: list[bool] = []
    proxy.fault(GENERATE, Fault("nothing", before=lambda: there.append(old_key in proxy.rows)))
    replaced(proxy)
    assert there == [True]


@pytest.mark.parametrize(
    ("secret", "operation"),
    [(None, "regenerated"), (MINE, "regenerated"), (OTHER, "unchanged")],
    ids=["unknown", "another", "known"],
)
def test_only_what_is_not_known_is_replaced_when_unrecoverable(proxy, secret, operation):
    proxy.add(ALIAS, OTHER.value)
    good(replaced(proxy, regenerate="if_unrecoverable", secret=secret), operation)


@pytest.mark.parametrize("regenerate", ["always", "if_unrecoverable"])
def test_a_key_that_is_missing_is_just_created(proxy, regenerate):
    assert is_its_secret(proxy, good(replaced(proxy, regenerate=regenerate), "created"))


REFUSED = [[Fault(status=500)], [Fault(status=503) for _unused in range(20)], [Fault("close") for _unused in range(20)]]


@pytest.mark.parametrize("faults", REFUSED, ids=["refused", "busy", "dropped"])
def test_a_key_that_cannot_be_replaced_gets_its_name_back(proxy, old_key, faults):
    proxy.fault(GENERATE, *faults)
    outcome = replaced(proxy)
    assert outcome.error
    assert (list(proxy.rows), proxy.aliases()) == ([old_key], [ALIAS])
    assert (outcome.secret, outcome.changed) == (None, False)
    assert outcome.after.alias == ALIAS


@pytest.mark.parametrize("request_", [UPDATE, GENERATE, DELETE])
@pytest.mark.parametrize("fault", CARRIED_OUT + NOT_CARRIED_OUT, ids=named)
def test_a_key_is_replaced_whatever_befalls_one_of_the_requests(proxy, old_key, request_, fault):
    proxy.stall_seconds = 0.15
    proxy.fault(request_, fault)
    outcome = good(replaced(proxy, options={"timeout": 0.1}), "regenerated")
    assert is_its_secret(proxy, outcome)
    assert (len(proxy.rows), list(proxy.deleted)) == (1, [old_key])


@pytest.mark.parametrize("made", [True, False])
def test_a_run_finishes_what_another_began(proxy, made):
    """The other one ended after the old key had been renamed, or after the new one had been made."""
    proxy.add(f"{ALIAS}.replaced", max_budget=3.0, age=DAY, metadata={"a": 1, REPLACED: ALIAS})
    if made:
        proxy.add(ALIAS, MINE.value, max_budget=3.0)
    outcome = replaced(proxy, regenerate="if_unrecoverable", secret=MINE)
    assert outcome.error is None
    assert is_its_secret(proxy, outcome)
    assert (proxy.aliases(), proxy.row(ALIAS)["max_budget"]) == ([ALIAS], 3.0)


@pytest.mark.parametrize("old", [f"{ALIAS}.replaced", None])
def test_what_the_caller_has_seen_is_the_first_look_and_no_other(proxy, old):
    proxy.add(old or ALIAS, metadata={REPLACED: ALIAS} if old else {})
    known = ObservedKey.from_row(proxy.row(old or ALIAS))
    stranger = replace(known, alias="virtkey-abcd", key_id="0" * 64)
    (outcome,) = run(proxy, DesiredKey(ALIAS, settings={"tpm_limit": 5}), found=[stranger, known])
    good(outcome, "updated")
    changes = 2 if old else 1
    assert [made for made, _given in proxy.requests[:2]] == [UPDATE, LIST]
    assert proxy.counts() == {UPDATE: changes, LIST: changes}
    assert proxy.row(ALIAS)["tpm_limit"] == 5


def test_where_the_caller_has_seen_nothing_there_is_nothing(proxy):
    good(run_one(proxy, options={"found": []}), "created")
    assert next(made for made, _given in proxy.requests) == GENERATE


def test_a_key_that_another_run_began_to_replace_is_what_it_was(proxy):
    proxy.add(f"{ALIAS}.replaced", OTHER.value, age=DAY, metadata={"a": 1, REPLACED: ALIAS})
    predict = good(run_one(proxy, settings={"tpm_limit": 5}, options={"check_mode": True}), "updated")
    assert (predict.after.alias, predict.after.value("tpm_limit"), predict.secret) == (ALIAS, 5, None)
    outcome = good(run_one(proxy, known=(OTHER,), settings={"tpm_limit": 5}), "updated")
    assert (outcome.secret, list(proxy.rows)) == (OTHER, [OTHER.key_id])
    row = proxy.row(ALIAS)
    assert (row["metadata"], row["tpm_limit"]) == ({"a": 1}, 5)
    good(run_one(proxy, settings={"tpm_limit": 5}), "unchanged")
    assert list(proxy.counts().elements()) == [LIST]


@pytest.mark.parametrize("fault", CARRIED_OUT + NOT_CARRIED_OUT, ids=named)
def test_a_key_gets_its_name_back_whatever_befalls_the_request(proxy, fault):
    proxy.stall_seconds = 0.15
    proxy.add(f"{ALIAS}.replaced", metadata={REPLACED: ALIAS})
    proxy.fault(UPDATE, fault)
    good(run_one(proxy, options={"timeout": 0.1}), "updated")
    assert proxy.aliases() == [ALIAS]


def test_of_many_keys_those_that_another_run_began_to_replace_cost_no_listing_of_their_own(proxy):
    names = [f"virtkey-abc-user{number}" for number in range(40)]
    for name in names[:5]:
        proxy.add(f"{name}.replaced", metadata={REPLACED: name})
    for name in names[5:]:
        proxy.add(name)
    outcomes = run(proxy, *map(DesiredKey, names))
    assert [outcome.operation for outcome in outcomes] == ["updated"] * 5 + ["unchanged"] * 35
    assert proxy.aliases() == sorted(names)
    assert proxy.counts() == {LIST: 2, UPDATE: 5}


def test_a_key_of_the_users_that_is_just_called_so_is_left_alone(proxy):
    proxy.add(f"{ALIAS}.replaced")
    good(run_one(proxy), "created")
    assert proxy.aliases() == [ALIAS, f"{ALIAS}.replaced"]


@pytest.mark.parametrize("expires", [None, timedelta(days=-1)])
def test_a_dead_key_is_not_replaced_by_a_dead_one(proxy, expires):
    proxy.add(ALIAS, expires=None if expires is None else (proxy.now() + expires).isoformat())
    outcome = replaced(proxy)
    assert (outcome.error is None) == (expires is None)
    good(replaced(proxy, lifetime=lasting("7d")), "regenerated")


def test_many_keys_are_replaced_side_by_side(proxy):
    names = [f"virtkey-abc-user{number}" for number in range(20)]
    for name in names:
        proxy.add(name)
    for outcome in run(proxy, *(DesiredKey(name, regenerate="always") for name in names)):
        assert is_its_secret(proxy, good(outcome, "regenerated"))
    assert len(proxy.rows) == 20


# Removal


def test_every_key_of_the_alias_is_removed_and_no_other(proxy):
    proxy.add(ALIAS)
    proxy.add(ALIAS)
    proxy.add(f"{ALIAS}-user1")
    proxy.add(f"{ALIAS}.replaced")
    good(run_one(proxy, present=False), "deleted")
    assert sorted(proxy.aliases()) == [f"{ALIAS}-user1", f"{ALIAS}.replaced"]
    assert list(proxy.counts().elements()) == [LIST, LIST, LIST, DELETE]


def test_a_key_whose_replacement_did_not_come_to_its_end_is_removed_too(proxy):
    proxy.add(f"{ALIAS}.replaced", metadata={REPLACED: ALIAS})
    good(run_one(proxy, present=False), "deleted")
    assert proxy.rows == {}


def test_a_key_that_is_missing_is_absent(proxy):
    assert good(run_one(proxy, present=False), "absent").changed is False
    assert list(proxy.counts().elements()) == [LIST, LIST]


def test_a_key_that_another_removed_meanwhile_is_deleted(proxy):
    proxy.add(ALIAS)
    proxy.fault(DELETE, Fault("nothing", before=proxy.rows.clear))
    good(run_one(proxy, present=False), "deleted")


def test_a_key_that_is_gone_although_the_proxy_finds_nothing_to_delete_is_deleted(proxy):
    proxy.add(ALIAS)
    proxy.fault(DELETE, Fault(status=404, before=proxy.rows.clear))
    good(run_one(proxy, present=False), "deleted")
    assert proxy.counts()[DELETE] == 1


def test_a_key_that_stays_although_the_proxy_says_otherwise_is_an_error(proxy):
    proxy.undeletable.add(proxy.add(ALIAS))
    outcome = run_one(proxy, present=False)
    assert "but it is still there" in str(outcome.error)
    assert outcome.changed is False


def test_a_key_can_be_named_by_its_id(proxy):
    key_id = proxy.add(None)
    good(run_one(proxy, None, key_id=key_id, settings={"blocked": True}), "updated")
    assert proxy.rows[key_id]["blocked"] is True
    good(run_one(proxy, None, key_id=key_id, present=False), "deleted")
    good(run_one(proxy, None, key_id=key_id, present=False), "absent")
    assert "There is no key with the id" in str(run_one(proxy, None, key_id=key_id).error)


# Some of many


def test_what_worked_is_kept_and_told_when_some_fail(proxy):
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
        assert outcome in failed or is_its_secret(proxy, good(outcome, "created"))


class OutOfTime(BaseException):
    """As ansible-core ends a task whose time is out."""


def test_when_the_user_interrupts_what_nobody_would_hear_of_is_taken_back(proxy):
    def interrupt(text):
        raise KeyboardInterrupt

    proxy.add("virtkey-there-before")
    desired = [DesiredKey(f"virtkey-{number}") for number in range(40)]
    desired += [
        DesiredKey(f"virtkey-seed{number}", secret=derive(SEED, f"virtkey-seed{number}")) for number in range(3)
    ]
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(proxy, *reversed(desired), DesiredKey("virtkey-there-before"), progress=interrupt, warn=told.append)
    kept = {"virtkey-there-before", *(f"virtkey-seed{number}" for number in range(3))}
    assert set(proxy.aliases()) <= kept
    assert "keys were made and removed again" in told[0]


@pytest.mark.parametrize("during", [UPDATE, GENERATE, DELETE])
def test_when_the_user_interrupts_a_replacement_the_old_key_is_what_it_was(proxy, monkeypatch, during):
    old_keys = {proxy.add(f"virtkey-{number}", metadata={"a": number}): number for number in range(12)}
    other = proxy.add("virtkey-other", MINE.value)
    honest = _apply.work

    def interrupted(client, runs, progress):
        honest(client, runs, progress)
        if during in proxy.counts():
            raise KeyboardInterrupt

    monkeypatch.setattr(_reconcile, "work", interrupted)
    told: list[str] = []
    desired = [DesiredKey(f"virtkey-{number}", regenerate="always") for number in range(11)]
    with pytest.raises(KeyboardInterrupt):
        # The last one is to have a secret that is another key's.
        run(proxy, *desired, DesiredKey("virtkey-11", regenerate="always", secret=MINE), warn=told.append)
    assert other in proxy.rows
    if during == DELETE:  # it is too late
        assert "the new secrets of" in told[-1]
        assert [alias for alias in proxy.aliases() if alias.endswith("replaced")] == []
    else:
        assert {key: row["metadata"] for key, row in proxy.rows.items() if key != other} == {
            key: {"a": number} for key, number in old_keys.items()
        }
        assert proxy.aliases() == sorted([*(f"virtkey-{number}" for number in range(12)), "virtkey-other"])
        assert told == ["Interrupted; 12 keys were being replaced, and are again what they were"]


def test_what_was_made_is_told_when_the_time_is_out(proxy):
    def interrupt(text):
        raise OutOfTime

    desired = [DesiredKey(f"virtkey-{number}") for number in range(50)]
    outcomes = run(proxy, *desired, progress=interrupt)
    made = [outcome for outcome in outcomes if not outcome.error]
    assert 1 <= len(made) < len(desired)
    assert sorted(outcome.desired.alias for outcome in made) == proxy.aliases()
    assert all(is_its_secret(proxy, outcome) for outcome in made)
    assert {outcome.error for outcome in outcomes if outcome.error} == {
        f"The key {outcome.desired.alias} is not as wanted: the task was interrupted"
        for outcome in outcomes
        if outcome.error
    }


# Check mode


@pytest.mark.parametrize(
    ("wanted", "operation"),
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
def test_check_mode_tells_what_would_be_and_does_nothing(proxy, desired, operation):
    proxy.add(ALIAS, max_budget=1.0)
    whole = {"settings": {"tpm_limit": 5}, "lifetime": lasting("7d"), **desired}
    predict = good(run_one(proxy, **whole, options={"check_mode": True}), operation)
    assert all(request.startswith("GET") for request, _unused in proxy.requests)
    real = good(run_one(proxy, **whole), operation)
    assert predict.changed == real.changed
    for name in ("tpm_limit", "max_budget"):
        assert predict.after is None or predict.after.value(name) == real.after.value(name)


# What a key refers to


@pytest.mark.parametrize("there", [False, True])
def test_a_model_that_is_not_there_fails_before_anything_is_done(proxy, there):
    if there:
        proxy.add(ALIAS)
    outcome = run_one(proxy, settings={"models": ["gpt-4o", "gpt-4"]})
    assert "'gpt-4' (did you mean 'gpt-4o'?)" in str(outcome.error)
    assert set(proxy.counts()) == {LIST, MODELS}


def test_a_model_that_is_not_there_can_be_let_pass(proxy):
    warnings: list[str] = []
    good(run_one(proxy, settings={"models": ["gpt-4"]}, options={"on_unknown_models": "ignore"}), "created")
    assert MODELS not in proxy.counts()
    proxy.rows.clear()
    options = {"on_unknown_models": "warn", "warn": warnings.append}
    good(run_one(proxy, settings={"models": ["gpt-4"]}, options=options), "created")
    assert len(warnings) == 1


def test_models_that_a_key_has_already_are_not_checked(proxy):
    proxy.add(ALIAS, models=["gone-since"])
    good(run_one(proxy, settings={"models": ["gone-since"]}), "unchanged")
    assert MODELS not in proxy.counts()


@pytest.mark.parametrize("name", ["team_id", "budget_id"])
def test_what_a_key_refers_to_is_asked_for_once_for_all_keys(proxy, name):
    outcomes = run(proxy, *(DesiredKey(f"virtkey-{number}", settings={name: "nowhere"}) for number in range(5)))
    assert all(f"the {name} nowhere, which the proxy does not have" in str(outcome.error) for outcome in outcomes)
    assert proxy.rows == {}
    proxy.teams, proxy.budgets = {"nowhere"}, {"nowhere"}
    before = len(proxy.requests)
    assert before <= 4
    for outcome in run(proxy, *(DesiredKey(f"virtkey-{number}", settings={name: "nowhere"}) for number in range(5))):
        good(outcome, "created")


def test_what_cannot_be_known_is_not_asked_for_again_for_each_key(proxy):
    proxy.fault("GET /team/info", *(Fault(status=500) for _unused in range(100)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-{number}", settings={"team_id": "red"}) for number in range(20)))
    assert all(str(one.error).startswith("Whether the proxy has the team_id red is not known: ") for one in outcomes)
    assert proxy.counts()["GET /team/info"] <= 10


# Releases

RELEASES = ["1.60.0", "1.61.8", "1.70.0", "1.76.3", "1.80.11", "1.82.0", "1.83.3", "1.89.7", "1.90.0", "1.106.2"]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("count", [1, 5])
def test_the_life_of_keys_on_every_release(proxy, release, count):
    proxy.release = tuple(map(int, release.split(".")))
    for number in range(120):  # others, whose aliases contain ours
        proxy.add(f"not-virtkey-abc-user1{number}")
    names = [f"virtkey-abc-user{number}" for number in range(count)]

    def go(**desired):
        outcomes = run(proxy, *(DesiredKey(name, secret=derive(SEED, name), **desired) for name in names))
        assert [outcome.error for outcome in outcomes] == [None] * count
        return {outcome.operation for outcome in outcomes}

    week = {"lifetime": lasting("7d"), "settings": {"metadata": {"a": 1}, "models": ["gpt-4o"]}}
    assert go(**week) == {"created"}
    proxy.clock += DAY
    assert go(**week) == {"unchanged"}
    assert go(**week | {"lifetime": lasting("14d")}) == {"updated"}
    assert go(present=False) == {"deleted"}
    assert go(present=False) == {"absent"}
    assert go(**week) == {"created"}
    assert len(proxy.rows) == 120 + count


@pytest.mark.parametrize("release", ["1.82.0", "1.106.2"])
def test_a_key_that_goes_away_before_it_is_changed_is_made_again(proxy, release):
    proxy.release = tuple(map(int, release.split(".")))
    proxy.add(ALIAS)
    proxy.fault(UPDATE, Fault("nothing", before=proxy.rows.clear))
    outcome = run_one(proxy, settings={"tpm_limit": 1})
    assert outcome.error is None
    assert is_its_secret(proxy, outcome)


@pytest.mark.parametrize("regenerate", ["never", "always"])
def test_a_key_that_is_made_again_is_allowed_no_more_than_before(proxy, regenerate):
    proxy.add(ALIAS, models=["gpt-4o"], max_budget=3.0, expires=(proxy.now() + 3 * DAY).isoformat(), blocked=True)
    proxy.fault(UPDATE, Fault("nothing", before=proxy.rows.clear))
    outcome = good(run_one(proxy, settings={"tpm_limit": 1}, regenerate=regenerate), "regenerated")
    assert is_its_secret(proxy, outcome)
    row = proxy.row(ALIAS)
    assert (row["models"], row["max_budget"], row["blocked"], row["tpm_limit"]) == (["gpt-4o"], 3.0, True, 1)
    assert abs(instant(row) - proxy.now() - 3 * DAY) < SECONDS


def test_a_404_that_means_another_thing_than_the_key_is_told(proxy):
    proxy.add(ALIAS, team_id="gone")
    outcome = run_one(proxy, settings={"tpm_limit": 1})
    assert "Team doesn't exist in db" in str(outcome.error)
    assert len(sent(proxy, UPDATE)) == 1


def test_a_wrong_master_key_is_told(proxy):
    client = Client(Connection(proxy.url, "sk-another-master-key"))
    with pytest.raises(LiteLLMError, match="does not accept the master key"):
        reconcile(client, [DesiredKey(ALIAS, present=False)])


ODD: list[object] = [[], None, 5, {"keys": None}]


@pytest.mark.parametrize("answer", ODD, ids=map(repr, ODD))
def test_a_server_that_is_not_litellm_is_told(proxy, monkeypatch, answer):
    monkeypatch.setattr(proxy, "_get_key_list", lambda query: answer)
    with pytest.raises(LiteLLMError, match="is it a LiteLLM proxy"):
        run_one(proxy)


def test_options_make_no_difference_by_their_order(proxy):
    settings = {"tpm_limit": 1, "metadata": {"a": 1}, "models": ["gpt-4o"], "tags": ["x"]}
    rows = []
    for number, order in enumerate(itertools.islice(itertools.permutations(settings), 0, 24, 5)):
        run_one(proxy, f"virtkey-{number}", settings={name: settings[name] for name in order})
        row = dict(proxy.row(f"virtkey-{number}"))
        rows.append({name: row[name] for name in ("tpm_limit", "metadata", "models")})
    assert all(row == rows[0] for row in rows)


def test_check_mode_sees_that_a_given_secret_is_that_of_another_key(proxy):
    proxy.add("virtkey-other", MINE.value)
    outcome = run_one(proxy, secret=MINE, options={"check_mode": True})
    assert outcome.error == f"The secret given for the key {ALIAS} is that of the key virtkey-other already"


def test_a_successor_that_keeps_its_end_was_not_given_the_one_asked_for(proxy):
    proxy.add(ALIAS, expires=(proxy.now() + 7 * DAY).isoformat())
    outcome = replaced(proxy, lifetime=lasting("3d", shorten=False))
    assert (good(outcome, "regenerated").end_set, entry(outcome)["duration"]) == (False, "7d")
