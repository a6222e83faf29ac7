# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The next step for a key: single cases, and properties that hold for every plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    Duration,
    format_instant,
    parse,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.lifetimes import resolve_lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    ObservedKey,
    Snapshot,
    by_age,
    lifetime_start,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.plan import differences, plan, predict
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.replacement import inherited_settings
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import given as secret_of
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    LIFETIME_START,
    REPLACES,
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
)
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(0)))
DAY = timedelta(days=1)
ALIAS = "virtkey-abc"
SUCCESSOR = "virtkey-abc.replacement"
SECRETS = [secret_of(f"sk-secret-number-{number}") for number in range(4)]
MINE, OTHER, *_unused = SECRETS


def key(secret=OTHER, *, age=DAY, expires=None, **row):
    """Return an observed key; `expires` counts from now."""
    end = None if expires is None else (NOW + expires).isoformat()
    created_at = None if age is None else (NOW - age).isoformat()
    return ObservedKey.from_row(
        {"token": secret.key_id, "key_alias": ALIAS, "created_at": created_at, "expires": end, "metadata": {}, **row}
    )


def successor_of(replaced: ObservedKey, secret=MINE, **row) -> ObservedKey:
    """Return a key that is to replace another."""
    metadata = {**row.pop("metadata", {}), REPLACES: replaced.key_id}
    successor: ObservedKey = key(secret, **{"key_alias": SUCCESSOR, "age": timedelta(0), **row, "metadata": metadata})
    return successor


def planned(*keys, now=NOW, created=None, before=None, server_secrets=False, **options) -> Plan:
    desired = resolve_lifetime(DesiredKey(**{"alias": ALIAS, **options}), now)
    successors = tuple(one for one in keys if one.alias == SUCCESSOR)
    snapshot = Snapshot(tuple(one for one in keys if one not in successors), now, successors)
    return plan(desired, snapshot, created, before=before, server_secrets=server_secrets)


# Single cases

WEEK = Duration(7, "d")
INSTANT = NOW + 10 * DAY
REPLACES_OTHER = {REPLACES: OTHER.key_id}
MINUTE = timedelta(seconds=60)
SINCE_YESTERDAY = {LIFETIME_START: format_instant(NOW - DAY)}


@pytest.mark.parametrize(
    ("lifetime", "end"),
    [
        (None, NEVER),
        (Lifetime(None), NEVER),
        (Lifetime(WEEK), WEEK),
        (Lifetime(WEEK, from_now=True), NOW + 7 * DAY),
        (Lifetime(INSTANT), INSTANT),
    ],
)
def test_the_expiry_of_a_new_key(lifetime, end):
    assert planned(lifetime=lifetime) == Plan("created", step=Create(ALIAS, {}, end))


@pytest.mark.parametrize(
    ("lifetime", "age", "expires", "end"),
    [
        # It is kept without a lifetime, and within the tolerance of a minute.
        (None, DAY, None, None),
        (None, DAY, -DAY, None),
        (Lifetime(WEEK), DAY, 6 * DAY, None),
        (Lifetime(WEEK), DAY, 6 * DAY + MINUTE, None),
        (Lifetime(WEEK), DAY, 6 * DAY - MINUTE, None),
        (Lifetime(INSTANT), DAY, 10 * DAY, None),
        # It moves in both directions, and is set if there was none.
        (Lifetime(WEEK), DAY, 6 * DAY + MINUTE + timedelta(seconds=1), NOW + 6 * DAY),
        (Lifetime(WEEK), DAY, 2 * DAY, NOW + 6 * DAY),
        (Lifetime(WEEK), DAY, None, NOW + 6 * DAY),
        (Lifetime(INSTANT), DAY, 20 * DAY, INSTANT),
        (Lifetime(INSTANT), DAY, -20 * DAY, INSTANT),
        # It is not brought forward without shorten.
        (Lifetime(WEEK, shorten=False), DAY, 8 * DAY, None),
        (Lifetime(WEEK, shorten=False), DAY, None, None),
        (Lifetime(INSTANT, shorten=False), DAY, 11 * DAY, None),
        (Lifetime(WEEK, shorten=False), DAY, 2 * DAY, NOW + 6 * DAY),
        # The duration has passed: an expired key is renewed, and one that was extended is kept.
        (Lifetime(WEEK), 30 * DAY, -23 * DAY, NOW + 7 * DAY),
        (Lifetime(WEEK), 30 * DAY, 2 * DAY, None),
        (Lifetime(WEEK), 30 * DAY, None, NOW + 7 * DAY),  # one that never expires gets an expiry
        (Lifetime(WEEK, shorten=False), 30 * DAY, None, None),
        (Lifetime(WEEK, shorten=False), 30 * DAY, -DAY, NOW + 7 * DAY),
        (Lifetime(WEEK), 7 * DAY, timedelta(0), NOW + 7 * DAY),
        # An expired key is renewed within the tolerance, too.
        (Lifetime(NOW + MINUTE / 2), DAY, timedelta(0), NOW + MINUTE / 2),
        # The key expired before its duration has passed.
        (Lifetime(WEEK), DAY, -timedelta(hours=1), NOW + 6 * DAY),
        # From now, in every run.
        (Lifetime(WEEK, from_now=True), 30 * DAY, 2 * DAY, NOW + 7 * DAY),
        (Lifetime(WEEK, from_now=True), 30 * DAY, 7 * DAY, None),
        # Never.
        (Lifetime(None), DAY, 2 * DAY, NEVER),
        (Lifetime(None), DAY, -2 * DAY, NEVER),
        (Lifetime(None), DAY, None, None),
        # Calendar months: the key was created on 22 November.
        (Lifetime(Duration(1, "mo")), DAY, 29 * DAY, None),
        (Lifetime(Duration(3, "mo")), DAY, 29 * DAY, datetime(2027, 2, 22, 8, tzinfo=NOW.tzinfo)),
        # Without a creation time, only an expired key gets an expiry.
        (Lifetime(WEEK), None, 2 * DAY, None),
        (Lifetime(WEEK), None, -DAY, NOW + 7 * DAY),
        (Lifetime(WEEK), None, None, NOW + 7 * DAY),
        (Lifetime(INSTANT), None, 2 * DAY, INSTANT),
    ],
)
def test_the_expiry_of_an_existing_key(lifetime, age, expires, end):
    step = planned(key(age=age, expires=expires), lifetime=lifetime).step
    assert step == (None if end is None else Update(OTHER.key_id, {}, end))


@pytest.mark.parametrize("keys", [[], [key()], [key(expires=5 * DAY)]])
@pytest.mark.parametrize("end", [NOW, NOW - DAY], ids=str)
def test_an_expiry_in_the_past_is_refused(keys, end):
    result = planned(*keys, lifetime=Lifetime(end), settings={"tpm_limit": 1})
    assert (result.step, "is in the past" in str(result.problem)) == (None, True)


@pytest.mark.parametrize(("end", "expires"), [(NOW - DAY, -DAY), (NOW, -MINUTE / 2)], ids=str)
def test_an_expiry_in_the_past_that_the_key_already_has_is_accepted(end, expires):
    assert planned(key(expires=expires), lifetime=Lifetime(end)) == Plan("unchanged", key(expires=expires))


UNRECOVERABLE = {"regenerate": "if_unrecoverable"}
ALWAYS = {"regenerate": "always"}


@pytest.mark.parametrize(
    ("desired", "step", "problem"),
    [
        ({}, None, None),
        ({"secret": OTHER}, None, None),
        ({"secret": MINE}, None, "exists with another secret than the given one"),
        ({"secret_required": True}, None, "its secret is not known"),
        ({"secret_required": True, "secret": OTHER}, None, None),
        (UNRECOVERABLE, Create, None),
        ({**UNRECOVERABLE, "secret": MINE}, Create, None),
        ({**UNRECOVERABLE, "secret": OTHER}, None, None),
        ({**UNRECOVERABLE, "known_secrets": (OTHER,)}, None, None),
        # The desired secret differs from the saved one, as with a new key_version.
        ({**UNRECOVERABLE, "known_secrets": (OTHER,), "secret": MINE}, Create, None),
        ({"known_secrets": (OTHER,), "secret": MINE}, None, "exists with another secret than the given one"),
        (ALWAYS, Create, None),
        ({**ALWAYS, "secret": MINE}, Create, None),
        ({**ALWAYS, "secret": OTHER}, None, "cannot be regenerated with the secret that it already has"),
        (
            {**ALWAYS, "secret": MINE, "later_ids": frozenset({OTHER.key_id})},
            None,
            "would be replaced by one with an old",
        ),
        (
            {**UNRECOVERABLE, "secret": MINE, "later_ids": frozenset({OTHER.key_id})},
            None,
            "secret of a later key_version",
        ),
        ({**ALWAYS, "secret": MINE, "later_ids": frozenset({MINE.key_id})}, Create, None),
    ],
)
def test_the_plan_depends_on_the_secret_of_the_key(desired, step, problem):
    result = planned(key(OTHER), **desired)
    assert isinstance(result.step, step or type(None))
    assert (result.problem is None) == (problem is None)
    assert (problem or "") in (result.problem or "")


def test_no_error_contains_a_secret():
    for desired in ({"secret": MINE}, {"secret_required": True}, {**ALWAYS, "secret": OTHER}):
        problem = str(planned(key(OTHER), **desired).problem)
        assert not any(secret.value in problem for secret in SECRETS)


def test_the_steps_of_a_replacement():
    old = key(OTHER, expires=5 * DAY, models=["a"], spend=1.5)
    new = successor_of(old, expires=5 * DAY, models=["a"])
    settings = {"models": ["a"], "metadata": {**SINCE_YESTERDAY, **REPLACES_OTHER}, "key_type": "default"}
    assert planned(old, **ALWAYS).step == Create(SUCCESSOR, settings, NOW + 5 * DAY, 1.5)
    assert planned(old, new, created=MINE.key_id, **ALWAYS).step == Delete((OTHER.key_id,))
    rename = Rename(MINE.key_id, ALIAS)
    assert planned(new, created=MINE.key_id, **ALWAYS) == Plan("regenerated", new, rename)
    assert planned(new) == Plan("updated", new, rename)  # the key of another run
    assert planned(replace(new, alias=ALIAS), created=MINE.key_id, **ALWAYS).step is None


@pytest.mark.parametrize("expires", [timedelta(0), -DAY], ids=str)
def test_an_expired_key_is_replaced_only_with_a_new_lifetime(expires):
    old = key(OTHER, expires=expires)
    for keys, before in (((old,), None), ((), old)):  # by this run, and after a concurrent run deleted it
        result = planned(*keys, before=before, **ALWAYS)
        assert (result.step, "expired at" in str(result.problem)) == (None, True)
        assert isinstance(planned(*keys, before=before, **ALWAYS, lifetime=Lifetime(WEEK)).step, Create)


def test_a_successor_gets_the_desired_settings_over_the_inherited_ones():
    old = key(OTHER, models=["a"], tpm_limit=5, metadata={"a": 1, "tags": ["x"]}, blocked=False)
    step = planned(old, **ALWAYS, settings={"models": [], "metadata": {"b": 2}}, lifetime=Lifetime(WEEK)).step
    assert isinstance(step, Create)
    metadata = {"a": 1, "b": 2, "tags": ["x"], **SINCE_YESTERDAY, **REPLACES_OTHER}
    assert step.settings == {"tpm_limit": 5, "metadata": metadata, "blocked": False, "key_type": "default"}
    assert step.end == NOW + 6 * DAY  # a week from the creation of the first key


def test_a_successor_inherits_budget_id_and_routes_but_not_soft_budget_and_key_type():
    routes = ["llm_api_routes"]
    old = key(OTHER, budget_id="its-own", litellm_budget_table={"soft_budget": 5.0}, allowed_routes=routes)
    step = planned(old, **ALWAYS).step
    assert isinstance(step, Create)
    metadata = {**SINCE_YESTERDAY, **REPLACES_OTHER}
    assert step.settings == {"budget_id": "its-own", "allowed_routes": routes, "metadata": metadata}


@pytest.mark.parametrize(
    ("desired", "sent"),
    [
        ({}, {"key_type": "default"}),
        ({"key_type": "llm_api"}, {"key_type": "llm_api"}),
        ({"key_type": "default"}, {"key_type": "default"}),
    ],
)
def test_a_replacement_of_a_key_with_all_routes_does_not_get_the_default_routes_of_the_proxy(desired, sent):
    old = key(OTHER)
    for keys, before in (((old,), None), ((), old)):  # by this run, and after a concurrent run deleted it
        step = planned(*keys, before=before, **ALWAYS, settings=desired).step
        assert isinstance(step, Create)
        assert {name: step.settings[name] for name in ("key_type", "allowed_routes") if name in step.settings} == sent


@pytest.mark.parametrize(
    ("rotation", "inherited"), [((False, None), {}), ((True, "30d"), {"auto_rotate": True, "rotation_interval": "30d"})]
)
def test_only_an_automatic_rotation_that_is_on_is_inherited(rotation, inherited):
    auto_rotate, interval = rotation
    settings = inherited_settings(key(OTHER, auto_rotate=auto_rotate, rotation_interval=interval))
    assert {name: value for name, value in settings.items() if "rotat" in name} == inherited


def test_only_defaults_of_the_proxy_are_corrected():
    old = key(OTHER)
    new = successor_of(old, permissions={"a": True}, model_max_budget={"a": {}})
    assert planned(old, new, created=MINE.key_id, **ALWAYS).step == Delete((OTHER.key_id,))


@pytest.mark.parametrize(
    ("expires", "end"),
    [(5 * DAY, None), (5 * DAY + MINUTE, None), (DAY, NOW + 5 * DAY), (None, NOW + 5 * DAY)],
)
def test_the_expiry_of_a_successor_is_corrected_before_the_old_key_is_deleted(expires, end):
    old = key(OTHER, expires=5 * DAY)
    step = planned(old, successor_of(old, expires=expires), created=MINE.key_id, **ALWAYS).step
    assert step == (Delete((OTHER.key_id,)) if end is None else Update(MINE.key_id, {}, end))


@pytest.mark.parametrize(("age", "expires"), [(timedelta(hours=2), 7 * DAY - timedelta(hours=2)), (None, 7 * DAY)])
def test_a_duration_that_starts_again_counts_from_the_creation_of_the_successor(age, expires):
    old = key(OTHER, age=30 * DAY, expires=-DAY)
    new = successor_of(old, age=age, expires=expires)
    step = planned(old, new, created=MINE.key_id, **ALWAYS, lifetime=Lifetime(WEEK)).step
    assert step == Delete((OTHER.key_id,))


def test_a_change_of_the_old_key_is_made_to_its_successor_before_the_old_key_is_deleted():
    old = key(OTHER, max_budget=5.0)
    step = planned(old, successor_of(old, max_budget=1.0), created=MINE.key_id, **ALWAYS).step
    assert step == Update(MINE.key_id, {"max_budget": 5.0}, None)


@pytest.mark.parametrize("options", [{"settings": {"max_budget": 5.0}}, {"lifetime": Lifetime(WEEK)}], ids=str)
def test_a_key_that_another_run_is_replacing_is_changed_and_so_is_its_successor(options):
    old = key(OTHER, max_budget=1.0, expires=DAY)
    new = successor_of(old, max_budget=1.0, expires=DAY)
    first = planned(old, new, **options).step
    assert isinstance(first, Update)
    assert first.key_id == OTHER.key_id
    changed = key(OTHER, max_budget=5.0, expires=6 * DAY)
    second = planned(changed, new, **options).step
    assert isinstance(second, Update)
    assert (second.key_id, second.settings) == (MINE.key_id, first.settings)
    assert planned(changed, successor_of(old, max_budget=5.0, expires=7 * DAY), **options).step is None


@pytest.mark.parametrize("options", [{}, UNRECOVERABLE, ALWAYS, {"present": False}], ids=str)
def test_a_replacement_that_was_killed_after_the_old_key_was_deleted_is_finished(options):
    new = successor_of(key(OTHER))
    step = Delete((MINE.key_id,)) if options == {"present": False} else Rename(MINE.key_id, ALIAS)
    assert planned(new, **options).step == step


def test_a_run_that_replaces_a_key_first_finishes_the_replacement_of_another_run():
    old = key(OTHER, max_budget=5.0)
    new, third = successor_of(old, max_budget=1.0), SECRETS[2]
    assert planned(old, new, **ALWAYS).step == Update(MINE.key_id, {"max_budget": 5.0}, None)
    new = successor_of(old, max_budget=5.0)
    assert planned(old, new, **ALWAYS).step == Delete((OTHER.key_id,))
    assert planned(new, before=old, **ALWAYS).step == Rename(MINE.key_id, ALIAS)
    renamed = replace(new, alias=ALIAS)
    step = planned(renamed, before=old, **ALWAYS).step
    assert isinstance(step, Create)
    assert (step.alias, step.settings["metadata"][REPLACES]) == (SUCCESSOR, MINE.key_id)
    # The other run was faster, and reports its secret.
    assert planned(old, new, created=third.key_id, before=old, **ALWAYS).step == Delete((OTHER.key_id,))
    assert planned(renamed, created=third.key_id, before=old, **ALWAYS).step is None
    # The other run was interrupted and has deleted its key.
    assert isinstance(planned(old, created=third.key_id, before=old, **ALWAYS).step, Create)


OLDEST, MIDDLE, YOUNGEST = (
    key(secret, age=age * timedelta(seconds=1)) for secret, age in zip(SECRETS[:3], (3, 2, 1), strict=True)
)
IDS = [one.key_id for one in SECRETS]


def test_the_oldest_of_several_keys_stays():
    # A run deletes the key that it has created, unless it is the oldest one.
    assert planned(OLDEST, MIDDLE, created=MIDDLE.key_id) == Plan("unchanged", OLDEST, Delete((MIDDLE.key_id,)))
    assert planned(OLDEST, MIDDLE, created=OLDEST.key_id) == Plan("unchanged", OLDEST)
    # Later runs delete what other runs have left.
    assert planned(OLDEST, MIDDLE, YOUNGEST) == Plan("updated", OLDEST, Delete((MIDDLE.key_id, YOUNGEST.key_id)))
    assert planned(OLDEST, MIDDLE, YOUNGEST, created=YOUNGEST.key_id).step == Delete((YOUNGEST.key_id,))
    assert planned(OLDEST, MIDDLE, present=False).step == Delete((OLDEST.key_id, MIDDLE.key_id))


def test_a_surplus_key_without_the_guid_of_its_owner_is_not_deleted():
    own = key(SECRETS[2], metadata={"guid": "abc"}, age=timedelta(seconds=1))
    assert planned(OLDEST, MIDDLE, own, owner="abc").step == Delete((own.key_id,))
    assert planned(OLDEST, MIDDLE, owner="abc") == Plan("unchanged", OLDEST)


def test_the_oldest_of_several_successors_stays():
    old = key(SECRETS[2], age=DAY)
    first, second = (successor_of(old, SECRETS[number], age=timedelta(seconds=2 - number)) for number in (0, 1))
    assert planned(old, first, second, created=IDS[1], **ALWAYS).step == Delete((IDS[1],))
    assert planned(old, first, second, created=IDS[0], **ALWAYS).step == Delete((old.key_id,))
    assert planned(first, second, created=IDS[0], **ALWAYS).step == Rename(IDS[0], ALIAS)
    assert planned(first, second, created=IDS[1], **ALWAYS).step == Delete((IDS[1],))
    renamed = replace(first, alias=ALIAS)
    assert planned(renamed, second, created=IDS[1], **ALWAYS).step == Delete((IDS[1],))
    # A successor of a key that was replaced by another one is in the way of a new successor.
    assert planned(renamed, second).step is None
    assert planned(renamed, second, **ALWAYS) == Plan("regenerated", renamed, Delete((IDS[1],)))


def test_a_key_in_the_way_of_an_older_successor_is_deleted():
    successor = successor_of(key(SECRETS[2]), SECRETS[0], age=timedelta(seconds=2))
    younger = key(SECRETS[1], age=timedelta(seconds=1))
    for created in (None, *IDS[:2]):
        assert planned(younger, successor, created=created, **ALWAYS).step == Delete((IDS[1],))
    older = key(SECRETS[1], age=timedelta(seconds=3))
    assert planned(older, successor, created=IDS[0], **ALWAYS).step == Delete((IDS[0],))


def test_a_late_successor_of_a_key_that_is_gone_never_takes_the_alias_from_a_younger_successor():
    # Its run, and every other one that sees the present key, deletes it, whether that key is replaced meanwhile or not.
    late = successor_of(key(SECRETS[2]), SECRETS[0], age=timedelta(seconds=2))
    present = key(SECRETS[3], age=timedelta(seconds=3))
    younger = successor_of(present, SECRETS[1], age=timedelta(seconds=1))
    assert planned(present, late, younger, created=IDS[0], **ALWAYS).step == Delete((IDS[0],))
    assert planned(present, late, younger, created=IDS[1], **ALWAYS).step == Delete((IDS[0],))
    assert planned(present, younger, created=IDS[1], **ALWAYS).step == Delete((IDS[3],))
    # If it appears later, the younger one has the alias before it.
    later = replace(late, created_at=NOW)
    assert planned(present, later, younger, created=IDS[1], **ALWAYS).step == Delete((IDS[3],))
    assert planned(later, younger, created=IDS[1], **ALWAYS).step == Rename(IDS[1], ALIAS)


def test_surplus_keys_are_deleted_before_the_key_is_replaced():
    new = successor_of(OLDEST, OTHER)
    keys = (OLDEST, replace(MIDDLE, key_id="0" * 64))
    assert planned(*keys, new, created=OTHER.key_id, **ALWAYS).step == Delete(("0" * 64,))
    assert planned(*keys, **ALWAYS).step == Delete(("0" * 64,))


@given(st.permutations(range(3)), st.sampled_from([None, *IDS]))
def test_all_runs_agree_which_key_stays(order, created):
    """No run deletes the key that the others keep, whichever of them has created it."""
    keys = sorted(
        (key(SECRETS[number], age=(index + 1) * timedelta(seconds=1)) for index, number in enumerate(order)), key=by_age
    )
    step = planned(*keys, created=created).step
    assert step is None or (isinstance(step, Delete) and keys[0].key_id not in step.key_ids)


@pytest.mark.parametrize("desired", [UNRECOVERABLE, ALWAYS])
def test_a_key_that_a_concurrent_run_created_is_not_replaced(desired):
    assert planned(key(OTHER), created=MINE.key_id, **desired).step is None


def test_a_deletion_deletes_all_keys_of_the_alias():
    keys = [OLDEST, MIDDLE, successor_of(OLDEST, SECRETS[2])]
    assert planned(*keys, present=False) == Plan("deleted", OLDEST, Delete(tuple(IDS[:3])))
    assert planned(present=False) == Plan("absent")


def test_check_mode_predicts_which_key_a_deletion_leaves():
    surplus, absent = DesiredKey(ALIAS), DesiredKey(ALIAS, present=False)
    snapshot = Snapshot((OLDEST, MIDDLE), NOW)
    assert predict(surplus, plan(surplus, snapshot), NOW) == OLDEST
    assert predict(absent, plan(absent, snapshot), NOW) is None


def test_an_id_without_a_key_is_an_error_unless_the_key_should_be_absent():
    assert "There is no virtual key with the id" in str(planned(alias=None, key_id="0" * 64).problem)
    assert planned(alias=None, key_id="0" * 64, present=False) == Plan("absent")


def test_a_known_secret_is_recognized_but_not_used_for_a_new_key():
    options = {"known_secrets": (MINE,), "secret_required": True}
    assert planned(key(MINE), **options).problem is None
    assert "its secret is not known" in str(planned(key(OTHER), **options).problem)
    assert isinstance(planned(**options).step, Create)


@pytest.mark.parametrize(
    ("options", "is_created"),
    [({}, False), (UNRECOVERABLE, True), (ALWAYS, True), ({"known_secrets": (MINE,)}, True)],
    ids=str,
)
def test_a_key_is_recreated_with_its_known_secret_or_if_it_may_be_replaced(options, is_created):
    result = planned(on_missing="recreate", **options)
    assert isinstance(result.step, Create) == is_created
    assert ("cannot be recreated, because its secret is not known" in str(result.problem)) != is_created


# Properties, with a proxy that processes every step at once and exactly

property_test = settings(max_examples=60)
VALUES = {
    "str": st.sampled_from(["one", "two"]),
    "int": st.integers(0, 3),
    "float": st.sampled_from([0.0, 1.0, 2.5]),
    "bool": st.booleans(),
    "list of str": st.lists(st.sampled_from("abc"), unique=True),
    "list": st.lists(
        st.fixed_dictionaries({"budget_duration": st.sampled_from(["1d", "7d"]), "max_budget": st.integers(0, 2)}),
        unique_by=lambda one: one["budget_duration"],
    ),
    "dict": st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)),
    "raw": st.sampled_from(["2030-01-01T00:00:00", "2031-01-01T00:00:00"]),
}
VALUE_OF = {name: VALUES[one.kind] for name, one in SETTINGS.items()} | {
    "key_type": st.sampled_from(["default", "llm_api", "management", "read_only"])
}
some_settings = st.fixed_dictionaries({}, optional=VALUE_OF)
spans = st.integers(-40 * 24, 40 * 24).map(lambda hours: timedelta(hours=hours))
durations = st.sampled_from(["1h", "36h", "7d", "30d", "1mo", "3mo"]).map(parse)
ends = st.one_of(st.none(), durations, spans.filter(lambda span: span > DAY).map(lambda span: NOW + span))
lifetimes = st.one_of(st.none(), st.builds(Lifetime, ends, st.booleans(), st.booleans()))


@st.composite
def desired_keys(draw, /, **fixed):
    requested = draw(some_settings)
    unset = draw(st.lists(st.sampled_from(sorted(set(SETTINGS) - {"soft_budget"})), max_size=3))
    requested |= {name: setting(name).cleared_value for name in unset}
    for one, other in (("key_type", "allowed_routes"), ("soft_budget", "budget_id")):
        if one in requested:
            requested.pop(other, None)  # cannot be combined
    possible = {
        "lifetime": lifetimes,
        "secret": st.sampled_from([None, *SECRETS]),
        "regenerate": st.sampled_from(["never", "if_unrecoverable", "always"]),
        "secret_required": st.booleans(),
    }
    options = {name: draw(values) for name, values in possible.items() if name not in fixed}
    return resolve_lifetime(DesiredKey(ALIAS, settings=requested, **options | fixed), NOW)


@st.composite
def rows(draw, secret):
    """Draw the row of a key with some settings, which may have expired."""
    row = {"token": secret.key_id, "key_alias": ALIAS, "metadata": draw(VALUES["dict"]), "spend": 0.0}
    row["created_at"] = NOW - abs(draw(spans))
    row["expires"] = draw(st.one_of(st.none(), spans.map(lambda span: NOW + span)))
    return with_settings(row, {name: value for name, value in draw(some_settings).items() if name != "metadata"})


@st.composite
def key_rows(draw, least=0, most=2):
    secrets = draw(st.lists(st.sampled_from(SECRETS[1:]), min_size=least, max_size=most, unique=True))
    return [draw(rows(secret)) for secret in secrets]


def with_settings(row, values):
    """Return the row with these settings, as LiteLLM stores them."""
    row = {**row, "metadata": dict(row["metadata"])}
    for name, value in sorted(values.items(), key=lambda item: item[0] != "metadata"):
        one_setting = setting(name)
        if one_setting.in_metadata:
            row["metadata"][name] = value
        elif name == "soft_budget":
            row["litellm_budget_table"] = {"soft_budget": value}
        else:
            row |= one_setting.to_request(value, new=False)
    return row


def snapshot_of(rows) -> Snapshot:
    keys = [ObservedKey.from_row(row) for row in sorted(rows, key=lambda row: row["created_at"])]
    successors = tuple(one for one in keys if one.alias != ALIAS)
    return Snapshot(tuple(one for one in keys if one.alias == ALIAS), NOW, successors)


def rows_after(step, rows, secret):
    """Return the rows after a step."""
    if isinstance(step, Create):
        end = step.end.after(NOW) if isinstance(step.end, Duration) else None if step.end is NEVER else step.end
        new = {"token": secret.key_id, "key_alias": step.alias, "created_at": NOW, "expires": end, "metadata": {}}
        return [*rows, with_settings({**new, "spend": step.spend or 0.0}, step.settings)]
    if isinstance(step, Delete):
        return [row for row in rows if row["token"] not in step.key_ids]
    (row,) = (row for row in rows if row["token"] == step.key_id)
    if isinstance(step, Rename):
        changed = {**row, "key_alias": step.alias}
    else:
        changed = with_settings(row, step.settings)
        if step.end is not None:
            changed["expires"] = None if step.end is NEVER else step.end
    return [changed if one is row else one for one in rows]


def run_to_the_end(desired, rows):
    """Process all steps. Return the rows after them, the last plan, and the id of the created key."""
    secret, created = desired.secret or SECRETS[0], None
    for _unused in range(7):
        result = plan(desired, snapshot_of(rows), created)
        if result.step is None:
            return rows, result, created
        if isinstance(result.step, Create):
            created = secret.key_id
        rows = rows_after(result.step, rows, secret)
    raise AssertionError(f"not finished: {result.step}")


@property_test
@given(desired_keys(), key_rows())
def test_after_all_steps_the_key_is_as_desired_and_nothing_is_left_to_do(desired, rows):
    after, last, _unused = run_to_the_end(desired, rows)
    if last.problem is None:
        assert last.key is not None
        assert differences(desired, last.key) == {}
        assert {row["key_alias"] for row in after} == {ALIAS}
        secret = next(secret for secret in SECRETS if secret.key_id == last.key.key_id)
        again = replace(desired, secret=secret, regenerate="if_unrecoverable", secret_required=True)
        assert plan(again, snapshot_of(after)) == Plan("unchanged", last.key)


@property_test
@given(desired_keys(regenerate="never"), key_rows(least=1, most=1))
def test_only_desired_settings_are_changed(desired, rows):
    step = plan(desired, snapshot_of(rows)).step
    assert isinstance(step, Update | None)
    if step:
        assert set(step.settings) <= set(desired.settings)
        assert desired.lifetime or step.end is None


@property_test
@given(desired_keys(), key_rows(least=1, most=1))
def test_metadata_that_are_not_named_are_kept(desired, rows):
    if desired.settings.get("metadata", {}) is None:
        return  # cleared
    (key_id, *_rest) = [one.key_id for one in snapshot_of(rows).keys]
    before = next(row["metadata"] for row in rows if row["token"] == key_id)
    _unused, last, _unused = run_to_the_end(replace(desired, secret=desired.secret and SECRETS[0]), rows)
    named = {*desired.settings, *desired.settings.get("metadata", {})}
    assert {name: value for name, value in before.items() if name not in named}.items() <= (
        last.key.value("metadata").items()
    )


@property_test
@given(desired_keys(), key_rows(least=1, most=1))
def test_no_expiry_is_brought_forward_without_shorten(desired, rows):
    lifetime = desired.lifetime and replace(desired.lifetime, shorten=False)
    oldest = snapshot_of(rows).keys[0]
    _unused, last, _unused = run_to_the_end(
        replace(desired, lifetime=lifetime, secret=desired.secret and SECRETS[0]), rows
    )
    assert last.key.expires is None or (oldest.expires is not None and last.key.expires >= oldest.expires)


@property_test
@given(desired_keys(), key_rows(most=1))
def test_a_key_is_deleted_only_after_it_was_replaced(desired, rows):
    after, _unused, created = run_to_the_end(desired, rows)
    lost = {row["token"] for row in rows} - {row["token"] for row in after}
    assert len(lost) <= (1 if created and desired.regenerate != "never" else 0)


@property_test
@given(desired_keys(), key_rows())
def test_the_order_of_settings_makes_no_difference(desired, rows):
    backwards = replace(desired, settings=dict(reversed(desired.settings.items())))
    assert plan(backwards, snapshot_of(rows)) == plan(desired, snapshot_of(rows))


@property_test
@given(desired_keys(present=False), key_rows())
def test_a_deletion_leaves_no_key(desired, rows):
    assert run_to_the_end(desired, rows)[0] == []


@property_test
@given(desired_keys(), key_rows(most=1))
def test_the_prediction_of_check_mode_is_correct(desired, rows):
    first = plan(desired, snapshot_of(rows))
    expected = predict(desired, first, NOW)
    _unused, last, created = run_to_the_end(desired, rows)
    if first.problem or not expected or not last.key:
        return
    assert expected.expires == last.key.expires
    for name in set(SETTINGS) - {"key_type", "allowed_routes", *(n for n in SETTINGS if SETTINGS[n].in_metadata)}:
        if name != "metadata" and not (created and name == "soft_budget"):
            assert (expected.value(name) or None) == (last.key.value(name) or None), name


# The start of the lifetime


def successor(**options) -> Create:
    """Return the creation of a replacement for a key that was created ten days ago and expires in five days."""
    step = planned(key(OTHER, age=10 * DAY, expires=5 * DAY), **ALWAYS, **options).step
    assert isinstance(step, Create)
    assert step.settings["metadata"].pop(REPLACES) == OTHER.key_id
    return step


SINCE_TEN_DAYS = {LIFETIME_START: format_instant(NOW - 10 * DAY)}


@pytest.mark.parametrize(
    ("lifetime", "end", "metadata"),
    [
        # Without a lifetime, the successor expires when the old key would.
        (None, NOW + 5 * DAY, SINCE_TEN_DAYS),
        (Lifetime(Duration(30, "d")), NOW + 20 * DAY, SINCE_TEN_DAYS),
        (Lifetime(Duration(1, "mo")), datetime(2026, 12, 13, 8, tzinfo=NOW.tzinfo), SINCE_TEN_DAYS),
        (Lifetime(INSTANT), INSTANT, SINCE_TEN_DAYS),
        (Lifetime(None), NEVER, SINCE_TEN_DAYS),
        # The duration has passed: it counts from now, and so does every later lifetime.
        (Lifetime(WEEK), WEEK, {}),
        # An earlier expiry than that of the old key, without shorten.
        (Lifetime(Duration(12, "d"), shorten=False), NOW + 5 * DAY, SINCE_TEN_DAYS),
        (Lifetime(WEEK, shorten=False), WEEK, {}),
        (Lifetime(Duration(1, "h"), shorten=False), NOW + 5 * DAY, SINCE_TEN_DAYS),
        (Lifetime(WEEK, from_now=True), NOW + 7 * DAY, SINCE_TEN_DAYS),
    ],
)
def test_the_lifetime_of_a_successor_counts_from_the_first_creation(lifetime, end, metadata):
    step = successor(lifetime=lifetime)
    assert (step.end, step.settings["metadata"]) == (end, metadata)


def test_a_second_replacement_hands_on_the_start_of_the_first_key():
    first = key(OTHER, age=DAY, expires=5 * DAY, metadata={**SINCE_TEN_DAYS, REPLACES: MINE.key_id})
    step = planned(first, **ALWAYS, lifetime=Lifetime(Duration(30, "d"))).step
    assert isinstance(step, Create)
    assert (step.end, step.settings["metadata"]) == (NOW + 20 * DAY, {**SINCE_TEN_DAYS, **REPLACES_OTHER})


def test_clearing_metadata_in_a_replacement_keeps_the_start_of_the_lifetime():
    assert successor(settings={"metadata": None}).settings["metadata"] == SINCE_TEN_DAYS


@pytest.mark.parametrize(
    ("lifetime", "expires", "end"),
    [
        (Lifetime(Duration(12, "d")), 2 * DAY, None),
        (Lifetime(Duration(14, "d")), 2 * DAY, NOW + 4 * DAY),
        (Lifetime(WEEK), 2 * DAY, None),  # the week has passed, and the key was extended
        (Lifetime(WEEK), -DAY, NOW + 7 * DAY),
    ],
)
def test_the_lifetime_of_a_key_that_replaced_another_counts_from_the_first_creation(lifetime, expires, end):
    step = planned(key(expires=expires, metadata=SINCE_TEN_DAYS), lifetime=lifetime).step
    assert step == (None if end is None else Update(OTHER.key_id, {}, end))


@pytest.mark.parametrize(
    ("lifetime", "end", "metadata"),
    [
        (Lifetime(Duration(30, "d")), NOW + 20 * DAY, SINCE_TEN_DAYS),
        (Lifetime(INSTANT), INSTANT, SINCE_TEN_DAYS),
        (Lifetime(WEEK), WEEK, {}),
        (None, NEVER, SINCE_TEN_DAYS),
    ],
)
def test_the_lifetime_of_a_recreated_key_counts_from_the_first_creation(lifetime, end, metadata):
    step = planned(
        on_missing="recreate",
        known_secrets=(MINE,),
        creation_settings={"max_budget": 2.0, "metadata": {"a": 1}},
        lifetime=lifetime,
        lifetime_start=NOW - 10 * DAY,
    ).step
    assert step == Create(ALIAS, {"max_budget": 2.0, "metadata": {"a": 1, **metadata}}, end)


@property_test
@given(desired_keys(regenerate="always", secret=None), key_rows(least=1, most=1))
def test_replacing_a_key_again_does_not_change_its_lifetime(desired, rows):
    first, last, _unused = run_to_the_end(replace(desired, secret=SECRETS[0]), rows)
    if last.problem:
        return
    _unused, last_again, _unused = run_to_the_end(replace(desired, secret=SECRETS[1]), first)
    if rows[0]["token"] != SECRETS[1].key_id and not last_again.problem:
        assert last_again.key.expires == last.key.expires
        assert lifetime_start(last_again.key) == lifetime_start(last.key)


# The settings of a new key


def test_metadata_at_creation_are_merged_with_the_desired_metadata():
    step = planned(
        creation_settings={"rpm_limit": 5, "metadata": {"a": 1, "b": 1}},
        settings={"rpm_limit": 7, "metadata": {"b": 2}},
    ).step
    assert step == Create(ALIAS, {"rpm_limit": 7, "metadata": {"a": 1, "b": 2}}, NEVER)


def test_settings_at_creation_are_ignored_later():
    assert planned(key(), creation_settings={"rpm_limit": 5, "metadata": {"a": 1}}) == Plan("unchanged", key())


# Keys of other environments


@pytest.mark.parametrize("options", [{}, ALWAYS, {"present": False}, {"settings": {"blocked": True}}], ids=str)
@pytest.mark.parametrize("is_successor", [False, True])
def test_a_key_of_another_environment_is_not_touched(options, is_successor):
    foreign, own = key(metadata={"guid": "abc-1"}), key(metadata={"guid": "abc"})
    for one in (foreign, own):
        claimant = successor_of(key(OTHER), metadata=dict(one.value("metadata"))) if is_successor else one
        found = planned(claimant, owner="abc", **options)
        is_refused = "it belongs to environment abc-1 and not to abc" in str(found.problem)
        assert is_refused == (one is foreign)
        assert found.step is None or not is_refused


def test_a_key_whose_metadata_name_no_environment_can_be_managed():
    assert planned(key(), owner="abc") == Plan("unchanged", key())


# Secrets that the proxy generates


def test_the_proxy_generates_the_secret_if_it_accepts_no_other():
    assert planned(server_secrets=True).step == Create(ALIAS, {}, NEVER, server_secret=True)
    assert plan(DesiredKey(ALIAS), Snapshot((), NOW)).step == Create(ALIAS, {}, NEVER)
    step = planned(key(), server_secrets=True, **ALWAYS).step
    assert isinstance(step, Create)
    assert step.server_secret


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ({"secret": MINE}, "key"),
        ({"secret": derive("a seed of exactly 32 characters.", ALIAS)}, "key_seed"),
        ({"known_secrets": (MINE,), "on_missing": "recreate"}, "its saved secret"),
    ],
)
def test_a_desired_secret_is_an_error_if_the_proxy_generates_secrets(options, source):
    found = planned(server_secrets=True, **options)
    assert f"cannot be created with {source}, because the proxy accepts only secrets that it" in str(found.problem)
    assert MINE.value not in str(found.problem)
    existing = key(options.get("secret", MINE))
    assert planned(existing, server_secrets=True, **options).problem is None  # nothing is created


@pytest.mark.parametrize("options", [{}, {"present": False}, {"settings": {"tpm_limit": 1}}], ids=str)
def test_a_proxy_that_generates_secrets_makes_no_other_difference(options):
    assert planned(key(), server_secrets=True, **options) == planned(key(), **options)


# Defaults of the proxy, and seeds that are added later


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        ({"models": ["default"]}, {"models": []}),
        ({"max_budget": 5.0, "budget_duration": "30d"}, {"max_budget": None, "budget_duration": None}),
        ({"tpm_limit": 9}, {"tpm_limit": None}),
        ({"allowed_routes": ["info_routes"]}, {"allowed_routes": []}),
    ],
)
def test_defaults_of_the_proxy_are_removed_from_a_successor_before_the_old_key_is_deleted(row, changes):
    old = key(OTHER, models=[], metadata={})
    step = planned(old, successor_of(old, **row), created=MINE.key_id, **ALWAYS).step
    assert isinstance(step, Update)
    assert (step.key_id, step.settings) == (MINE.key_id, changes)


def test_a_default_duration_of_the_proxy_is_removed_from_a_successor():
    old = key(OTHER, expires=None)
    step = planned(old, successor_of(old, expires=14 * DAY), created=MINE.key_id, **ALWAYS).step
    assert step == Update(MINE.key_id, {}, NEVER)


def test_a_seed_that_is_added_later_accepts_the_saved_secret_until_the_key_is_replaced():
    saved, derived = secret_of("sk-saved-0123456789abc"), derive("a seed of more than 32 characters..", ALIAS)
    present = key(saved)
    desired = DesiredKey(ALIAS, secret=derived, known_secrets=(saved,))
    assert plan(desired, Snapshot((present,), NOW)) == Plan("unchanged", key=present)
    again = replace(desired, regenerate="if_unrecoverable")
    assert plan(again, Snapshot((present,), NOW)) == Plan("unchanged", key=present)
    assert isinstance(plan(replace(desired, regenerate="always"), Snapshot((present,), NOW)).step, Create)
    assert plan(replace(desired, known_secrets=()), Snapshot((present,), NOW)).problem
