# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is decided, and the laws that every decision keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration, parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
    Snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.plan import (
    differences,
    plan,
    predict,
    resolve_lifetime,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import given as secret_of
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    REPLACED,
    SETTINGS,
    setting,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import (
    NEVER,
    Create,
    Delete,
    Plan,
    Rename,
    Update,
    Wait,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(0)))
DAY = timedelta(days=1)
ALIAS = "virtkey-abc"
SECRETS = [secret_of(f"sk-secret-number-{number}") for number in range(4)]
MINE, OTHER, *_unused = SECRETS


def key(secret=OTHER, *, age=DAY, expires=None, **row):
    """A key as it is there; `expires` is from now on."""
    end = None if expires is None else (NOW + expires).isoformat()
    created_at = (NOW - age).isoformat()
    return ObservedKey.from_row(
        {"token": secret.key_id, "key_alias": ALIAS, "created_at": created_at, "expires": end, "metadata": {}, **row}
    )


def planned(*keys, now=NOW, old=(), created=None, waited=False, **desired) -> Plan:
    whole = resolve_lifetime(DesiredKey(**{"alias": ALIAS, **desired}), now)
    return plan(whole, Snapshot(keys, now, tuple(old)), created, waited=waited)


# Tables

WEEK = Duration(7, "d")
AT = NOW + 10 * DAY
IN_A_MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("lifetime", "end"),
    [
        (None, NEVER),
        (Lifetime(None), NEVER),
        (Lifetime(WEEK), WEEK),
        (Lifetime(WEEK, from_now=True), NOW + 7 * DAY),
        (Lifetime(AT), AT),
    ],
)
def test_the_end_of_a_new_key(lifetime, end):
    assert planned(lifetime=lifetime) == Plan("created", step=Create(ALIAS, {}, end))


@pytest.mark.parametrize(
    ("lifetime", "age", "expires", "end"),
    [
        # What there is stays when nothing is said, or when it is right to the minute.
        (None, DAY, None, None),
        (None, DAY, -DAY, None),
        (Lifetime(WEEK), DAY, 6 * DAY, None),
        (Lifetime(WEEK), DAY, 6 * DAY + IN_A_MINUTE, None),
        (Lifetime(WEEK), DAY, 6 * DAY - IN_A_MINUTE, None),
        (Lifetime(AT), DAY, 10 * DAY, None),
        # It moves in both directions, and is set where there was none.
        (Lifetime(WEEK), DAY, 6 * DAY + 2 * IN_A_MINUTE, NOW + 6 * DAY),
        (Lifetime(WEEK), DAY, 2 * DAY, NOW + 6 * DAY),
        (Lifetime(WEEK), DAY, None, NOW + 6 * DAY),
        (Lifetime(AT), DAY, 20 * DAY, AT),
        (Lifetime(AT), DAY, -20 * DAY, AT),
        # Never brought forward.
        (Lifetime(WEEK, shorten=False), DAY, 8 * DAY, None),
        (Lifetime(WEEK, shorten=False), DAY, None, None),
        (Lifetime(AT, shorten=False), DAY, 11 * DAY, None),
        (Lifetime(WEEK, shorten=False), DAY, 2 * DAY, NOW + 6 * DAY),
        # The time is over: a dead key begins anew, one that somebody extended lives on.
        (Lifetime(WEEK), 30 * DAY, -23 * DAY, NOW + 7 * DAY),
        (Lifetime(WEEK), 30 * DAY, 2 * DAY, None),
        (Lifetime(WEEK), 30 * DAY, None, None),
        (Lifetime(WEEK, shorten=False), 30 * DAY, -DAY, NOW + 7 * DAY),
        # Dead before its time is over.
        (Lifetime(WEEK), DAY, -timedelta(hours=1), NOW + 6 * DAY),
        # From now on, in every run.
        (Lifetime(WEEK, from_now=True), 30 * DAY, 2 * DAY, NOW + 7 * DAY),
        (Lifetime(WEEK, from_now=True), 30 * DAY, 7 * DAY, None),
        # Never.
        (Lifetime(None), DAY, 2 * DAY, NEVER),
        (Lifetime(None), DAY, -2 * DAY, NEVER),
        (Lifetime(None), DAY, None, None),
        # Months are those of the calendar: created on 22 November.
        (Lifetime(Duration(1, "mo")), DAY, 29 * DAY, None),
        (Lifetime(Duration(3, "mo")), DAY, 29 * DAY, datetime(2027, 2, 22, 8, tzinfo=NOW.tzinfo)),
    ],
)
def test_the_end_of_a_key_that_is_there(lifetime, age, expires, end):
    step = planned(key(age=age, expires=expires), lifetime=lifetime).step
    assert step == (None if end is None else Update(OTHER.key_id, {}, end))


@pytest.mark.parametrize("keys", [[], [key()], [key(expires=5 * DAY)]])
def test_an_end_in_the_past_is_a_problem(keys):
    result = planned(*keys, lifetime=Lifetime(NOW - DAY), settings={"tpm_limit": 1})
    assert (result.step, "is in the past" in str(result.problem)) == (None, True)


def test_an_end_in_the_past_that_the_key_has_is_none():
    assert planned(key(expires=-DAY), lifetime=Lifetime(NOW - DAY)) == Plan("unchanged", key(expires=-DAY))


UNRECOVERABLE = {"regenerate": "if_unrecoverable"}
ALWAYS = {"regenerate": "always"}


@pytest.mark.parametrize(
    ("wanted", "step", "problem"),
    [
        ({}, None, None),
        ({"secret": OTHER}, None, None),
        ({"secret": MINE}, None, "exists with another secret than the one given"),
        ({"secret_required": True}, None, "its secret is not known"),
        ({"secret_required": True, "secret": OTHER}, None, None),
        (UNRECOVERABLE, Rename, None),
        ({**UNRECOVERABLE, "secret": MINE}, Rename, None),
        ({**UNRECOVERABLE, "secret": OTHER}, None, None),
        ({**UNRECOVERABLE, "known": (OTHER,)}, None, None),
        # Another is wanted than the one that was saved, as with a key_version that was raised.
        ({**UNRECOVERABLE, "known": (OTHER,), "secret": MINE}, Rename, None),
        ({"known": (OTHER,), "secret": MINE}, None, "exists with another secret than the one given"),
        (ALWAYS, Rename, None),
        ({**ALWAYS, "secret": MINE}, Rename, None),
        ({**ALWAYS, "secret": OTHER}, None, "cannot be regenerated with the secret that it has"),
    ],
)
def test_what_becomes_of_a_key_with_some_secret(desired, step, problem):
    result = planned(key(OTHER), **desired)
    assert isinstance(result.step, step or type(None))
    assert (result.problem is None) == (problem is None)
    assert (problem or "") in (result.problem or "")


def test_no_problem_tells_a_secret():
    for desired in ({"secret": MINE}, {"secret_required": True}, {**ALWAYS, "secret": OTHER}):
        problem = str(planned(key(OTHER), **desired).problem)
        assert not any(secret.value in problem for secret in SECRETS)


def test_the_steps_of_a_replacement():
    old = key(OTHER, expires=5 * DAY, models=["a"], spend=1.5)
    marked = {"metadata": {REPLACED: ALIAS}}
    renamed = replace(old, alias=f"{ALIAS}.replaced", settings={**old.settings, **marked})
    new = key(MINE, expires=5 * DAY, models=["a"], age=timedelta(0))
    assert planned(old, **ALWAYS).step == Rename(OTHER.key_id, f"{ALIAS}.replaced", **marked)
    created = planned(old=[renamed], **ALWAYS).step
    assert created == Create(ALIAS, {"models": ["a"], "metadata": {}}, NOW + 5 * DAY, 1.5)
    assert planned(new, old=[renamed], created=MINE.key_id, **ALWAYS).step == Delete((OTHER.key_id,))
    assert planned(new, created=MINE.key_id, **ALWAYS).step is None


def test_a_successor_gets_what_was_asked_for_over_what_there_was():
    old = key(models=["a"], tpm_limit=5, metadata={"a": 1, "tags": ["x"]}, blocked=False)
    step = planned(old=[old], **ALWAYS, settings={"models": [], "metadata": {"b": 2}}, lifetime=Lifetime(WEEK)).step
    assert isinstance(step, Create)
    desired = {"tpm_limit": 5, "metadata": {"a": 1, "b": 2, "tags": ["x"]}, "tags": ["x"], "blocked": False}
    assert (step.settings, step.end) == (desired, WEEK)


def test_a_successor_keeps_budget_and_routes_and_not_the_other_words_for_them():
    old = key(budget_id="its-own", litellm_budget_table={"soft_budget": 5.0}, allowed_routes=["llm_api_routes"])
    step = planned(old=[old], **ALWAYS).step
    assert isinstance(step, Create)
    assert step.settings == {"budget_id": "its-own", "allowed_routes": ["llm_api_routes"], "metadata": {}}


def test_of_two_keys_the_younger_is_taken_back_by_who_made_it():
    older, younger = key(OTHER, age=DAY), key(MINE, age=timedelta(0))
    assert planned(older, younger, created=MINE.key_id).step == Delete((MINE.key_id,))
    assert planned(older, younger, created=OTHER.key_id).step == Wait()
    # The other run ended before it saw ours.
    assert planned(older, younger, created=OTHER.key_id, waited=True).step == Delete((OTHER.key_id,))
    # Neither is ours.
    assert planned(older, younger).step is None


@pytest.mark.parametrize("wanted", [UNRECOVERABLE, ALWAYS])
def test_a_key_that_another_run_made_meanwhile_is_not_replaced(desired):
    assert planned(key(OTHER), created=MINE.key_id, **desired).step is None


def test_a_removal_takes_all_of_the_alias_and_only_them():
    keys = [key(secret) for secret in SECRETS]
    assert planned(*keys[:2], old=keys[2:], present=False).step == Delete(tuple(one.key_id for one in SECRETS))
    assert planned(present=False) == Plan("absent")


def test_an_id_without_a_key_is_a_problem_unless_it_is_to_go():
    assert "There is no key with the id" in str(planned(alias=None, key_id="0" * 64).problem)
    assert planned(alias=None, key_id="0" * 64, present=False) == Plan("absent")


# Laws, over a proxy that does at once and exactly what it is told

law = settings(max_examples=60, deadline=None)  # of time: the machine may be busy
VALUES = {
    "str": st.sampled_from(["one", "two"]),
    "int": st.integers(0, 3),
    "float": st.sampled_from([0.0, 1.0, 2.5]),
    "bool": st.booleans(),
    "list of str": st.lists(st.sampled_from("abc"), unique=True),
    "dict": st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
}
VALUE_OF = {name: VALUES[known.kind] for name, known in SETTINGS.items()} | {
    "key_type": st.sampled_from(["default", "llm_api", "management", "read_only"])
}
some_settings = st.fixed_dictionaries({}, optional=VALUE_OF)
spans = st.integers(-40 * 24, 40 * 24).map(lambda hours: timedelta(hours=hours))
durations = st.sampled_from(["1h", "36h", "7d", "30d", "1mo", "3mo"]).map(parse)
ends = st.one_of(st.none(), durations, spans.filter(lambda span: span > DAY).map(lambda span: NOW + span))
lifetimes = st.one_of(st.none(), st.builds(Lifetime, ends, st.booleans(), st.booleans()))


@st.composite
def wanted_keys(draw, /, **fixed):
    asked = draw(some_settings)
    unset = draw(st.lists(st.sampled_from(sorted(set(SETTINGS) - {"soft_budget"})), max_size=3))
    asked |= {name: setting(name).nothing for name in unset}
    for one, other in (("key_type", "allowed_routes"), ("soft_budget", "budget_id")):
        if one in asked:
            asked.pop(other, None)  # refused together
    possible = {
        "lifetime": lifetimes,
        "secret": st.sampled_from([None, *SECRETS]),
        "regenerate": st.sampled_from(["never", "if_unrecoverable", "always"]),
        "secret_required": st.booleans(),
    }
    options = {name: draw(values) for name, values in possible.items() if name not in fixed}
    return resolve_lifetime(DesiredKey(ALIAS, settings=asked, **options | fixed), NOW)


@st.composite
def rows(draw, secret):
    """A key's row, with some of its settings set and some life left or lost."""
    row = {"token": secret.key_id, "key_alias": ALIAS, "metadata": draw(VALUES["dict"]), "spend": 0.0}
    row["created_at"] = NOW - abs(draw(spans))
    row["expires"] = draw(st.one_of(st.none(), spans.map(lambda span: NOW + span)))
    return written(row, {name: value for name, value in draw(some_settings).items() if name != "metadata"})


@st.composite
def key_rows(draw, least=0, most=2):
    secrets = draw(st.lists(st.sampled_from(SECRETS[1:]), min_size=least, max_size=most, unique=True))
    return [draw(rows(secret)) for secret in secrets]


def written(row, values):
    """The row, with these settings as LiteLLM writes them."""
    row = {**row, "metadata": dict(row["metadata"])}
    for name, value in sorted(values.items(), key=lambda item: item[0] != "metadata"):
        known = setting(name)
        if known.in_metadata:
            row["metadata"][name] = value
        elif name == "soft_budget":
            row["litellm_budget_table"] = {"soft_budget": value}
        else:
            row |= known.sent(value, new=False)
    return row


def seen(rows) -> Snapshot:
    keys = [ObservedKey.from_row(row) for row in sorted(rows, key=lambda row: row["created_at"])]
    old = tuple(one for one in keys if one.alias != ALIAS)
    return Snapshot(tuple(one for one in keys if one.alias == ALIAS), NOW, old)


def done(step, rows, secret):
    """The rows after this step."""
    if isinstance(step, Create):
        end = step.end.after(NOW) if isinstance(step.end, Duration) else None if step.end is NEVER else step.end
        new = {"token": secret.key_id, "key_alias": ALIAS, "created_at": NOW, "expires": end, "metadata": {}}
        return [*rows, written({**new, "spend": step.spend or 0.0}, step.settings)]
    if isinstance(step, Delete):
        return [row for row in rows if row["token"] not in step.key_ids]
    (row,) = (row for row in rows if row["token"] == step.key_id)
    if isinstance(step, Rename):
        changed = {**row, "key_alias": step.alias}
    else:
        changed = written(row, step.settings)
        if step.end is not None:
            changed["expires"] = None if step.end is NEVER else step.end
    return [changed if one is row else one for one in rows]


def carried_out(desired, rows):
    """All steps to the end: the rows then, the last plan and the id of the key that was made."""
    secret, created = desired.secret or SECRETS[0], None
    for _unused in range(7):
        result = plan(desired, seen(rows), created)
        if result.step is None:
            return rows, result, created
        if isinstance(result.step, Create):
            created = secret.key_id
        rows = done(result.step, rows, secret)
    raise AssertionError(f"still to be done: {result.step}")


@law
@given(wanted_keys(), key_rows())
def test_what_was_planned_and_done_is_as_wanted_and_nothing_is_left(desired, rows):
    after, last, _unused = carried_out(desired, rows)
    if last.problem is None:
        assert last.key is not None
        assert differences(desired, last.key) == {}
        assert {row["key_alias"] for row in after} == {ALIAS}
        known = next(secret for secret in SECRETS if secret.key_id == last.key.key_id)
        again = replace(desired, secret=known, regenerate="if_unrecoverable", secret_required=True)
        assert plan(again, seen(after)) == Plan("unchanged", last.key)


@law
@given(wanted_keys(regenerate="never"), key_rows(least=1))
def test_what_is_not_asked_for_is_not_touched(desired, rows):
    step = plan(desired, seen(rows)).step
    assert isinstance(step, Update | None)
    if step:
        assert set(step.settings) <= set(desired.settings)
        assert desired.lifetime or step.end is None


@law
@given(wanted_keys(), key_rows(least=1, most=1))
def test_metadata_that_is_not_named_stays(desired, rows):
    if desired.settings.get("metadata", {}) is None:
        return  # taken off
    (key_id, *_rest) = [one.key_id for one in seen(rows).keys]
    before = next(row["metadata"] for row in rows if row["token"] == key_id)
    _unused, last, _unused = carried_out(replace(desired, secret=desired.secret and SECRETS[0]), rows)
    named = {*desired.settings, *desired.settings.get("metadata", {})}
    assert {name: value for name, value in before.items() if name not in named}.items() <= (
        last.key.value("metadata").items()
    )


@law
@given(wanted_keys(), key_rows(least=1, most=1))
def test_no_end_is_brought_forward_that_was_not_asked_to_be(desired, rows):
    lifetime = desired.lifetime and replace(desired.lifetime, shorten=False)
    oldest = seen(rows).keys[0]
    _unused, last, _unused = carried_out(
        replace(desired, lifetime=lifetime, secret=desired.secret and SECRETS[0]), rows
    )
    assert last.key.expires is None or (oldest.expires is not None and last.key.expires >= oldest.expires)


@law
@given(wanted_keys(), key_rows(most=1))
def test_a_key_goes_only_when_another_has_taken_its_place(desired, rows):
    after, _unused, created = carried_out(desired, rows)
    lost = {row["token"] for row in rows} - {row["token"] for row in after}
    assert len(lost) <= (1 if created and desired.regenerate != "never" else 0)


@law
@given(wanted_keys(), key_rows())
def test_the_order_of_options_makes_no_difference(desired, rows):
    backwards = replace(desired, settings=dict(reversed(desired.settings.items())))
    assert plan(backwards, seen(rows)) == plan(desired, seen(rows))


@law
@given(wanted_keys(present=False), key_rows())
def test_a_removal_leaves_nothing(desired, rows):
    assert carried_out(desired, rows)[0] == []


@law
@given(wanted_keys(), key_rows(most=1))
def test_what_check_mode_foresees_comes_to_be(desired, rows):
    first = plan(desired, seen(rows))
    expected = predict(desired, first, NOW)
    _unused, last, created = carried_out(desired, rows)
    if first.problem or not expected or not last.key:
        return
    assert expected.expires == last.key.expires
    for name in set(SETTINGS) - {"key_type", "allowed_routes", *(n for n in SETTINGS if SETTINGS[n].in_metadata)}:
        if name != "metadata" and not (created and name == "soft_budget"):
            assert (expected.value(name) or None) == (last.key.value(name) or None), name


def test_a_saved_secret_is_recognised_but_never_given_to_a_new_key():
    known = {"known": (MINE,), "secret_required": True}
    assert planned(key(MINE), **known).problem is None
    assert "its secret is not known" in str(planned(key(OTHER), **known).problem)
    assert isinstance(planned(**known).step, Create)


def test_one_of_several_keys_with_one_alias_is_not_replaced():
    problem = planned(key(MINE), key(OTHER), **ALWAYS).problem
    assert "2 keys carry the alias" in str(problem)
