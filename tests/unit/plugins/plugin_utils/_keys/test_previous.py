# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key is replaced because of its age, and the old secret works until the overlap ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration, format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Snapshot
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.plan import plan, predict
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.previous import find_previous
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.problems import secret_unknown
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import difference, result_entry
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.rotation import Rotation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import (
    SecretVersions,
    derive,
    given,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    PREVIOUS,
    REPLACED_BY,
    REPLACES,
    SECRET_VERSION,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import (
    Create,
    Delete,
    Rename,
    Retire,
    Update,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    DAY,
    DELETE,
    GENERATE,
    LIST,
    SECONDS,
    SEED,
    UPDATE,
    bodies,
    instant,
    is_secret_of_its_key,
    lifetime_of,
    run_one,
    succeeded,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.test_plan import (
    MINE,
    NOW,
    OTHER,
    SECRETS,
    SUCCESSOR,
    key,
    successor_of,
)

HOUR = timedelta(hours=1)
PREVIOUS_ALIAS = f"{ALIAS}.previous"
EVERY_WEEK = Rotation(Duration(7, "d"), Duration(2, "h"))
EVERY_HOUR = Rotation(Duration(1, "h"), Duration(10, "m"))
OLD = {"age": 8 * DAY}
MARK = {PREVIOUS: {"key_id": OTHER.key_id, "overlap": "2h"}}


def previous_of(secret=OTHER, **row):
    row = {"key_alias": PREVIOUS_ALIAS, "expires": HOUR, "metadata": {REPLACED_BY: MINE.key_id}, **OLD, **row}
    return key(secret, **row)


def planned(*keys, created=None, before=None, **desired):
    """Return the plan for keys, which are sorted into a snapshot by their aliases."""
    wanted = DesiredKey(ALIAS, **{"rotate": EVERY_WEEK, **desired})
    own, successors, others = (
        tuple(one for one in keys if one.alias == alias) for alias in (ALIAS, SUCCESSOR, PREVIOUS_ALIAS)
    )
    previous = find_previous(wanted, others, (*own, *successors))
    return plan(wanted, Snapshot(own, NOW, successors, previous), created, before=before)


# Which keys are replaced


@pytest.mark.parametrize(
    ("keys", "is_due"),
    [
        ([key(age=8 * DAY)], True),
        ([key(age=7 * DAY)], True),
        ([key(age=6 * DAY)], False),
        ([key(age=None)], False),
        ([key(age=8 * DAY, expires=HOUR)], True),
        ([key(age=8 * DAY, expires=-HOUR)], False),
        ([key(age=8 * DAY, expires=timedelta(0))], False),
        # The overlap of the last rotation has not ended.
        ([key(MINE, age=8 * DAY, metadata=MARK), previous_of(expires=HOUR)], False),
        # A concurrent run replaces it.
        ([key(age=8 * DAY), successor_of(key(age=8 * DAY), age=timedelta(minutes=14))], False),
    ],
)
def test_a_key_is_replaced_when_it_is_old(keys, is_due):
    result = planned(*keys)
    assert result.operation == ("regenerated" if is_due else "unchanged")
    assert isinstance(result.step, Create) is is_due


def test_the_successor_names_the_key_that_works_beside_it():
    step = planned(key(**OLD, max_budget=3.0)).step
    assert (step.alias, step.settings["max_budget"], step.new_secret, step.secret) == (SUCCESSOR, 3.0, True, None)
    assert step.settings["metadata"][REPLACES] == OTHER.key_id
    assert step.settings["metadata"][PREVIOUS] == {"key_id": OTHER.key_id, "overlap": "2h"}


def test_without_an_overlap_the_old_key_is_deleted():
    step = planned(key(**OLD), rotate=replace(EVERY_WEEK, overlap=None)).step
    assert PREVIOUS not in step.settings["metadata"]
    old = key(**OLD)
    result = planned(old, successor_of(old), created=MINE.key_id, rotate=replace(EVERY_WEEK, overlap=None))
    assert result.step == Delete((OTHER.key_id,))


@pytest.mark.parametrize(
    ("expires", "latest", "end"),
    [(None, None, NOW + 2 * HOUR), (DAY, NOW + DAY, NOW + 2 * HOUR), (HOUR, NOW + HOUR, NOW + HOUR)],
)
def test_the_old_key_is_retired_until_the_overlap_ends_or_until_it_expires(expires, latest, end):
    old = key(**OLD, expires=expires, metadata={"a": 1})
    step = planned(old, successor_of(old, metadata=MARK, expires=expires), created=MINE.key_id).step
    metadata = {"a": 1, REPLACED_BY: MINE.key_id}
    assert step == Retire(OTHER.key_id, PREVIOUS_ALIAS, Duration(2, "h"), latest, metadata)
    assert step.end(NOW) == end


def test_the_successor_gets_the_alias_when_the_old_key_is_retired():
    successor = successor_of(key(**OLD), metadata=MARK)
    assert planned(successor, previous_of(), created=MINE.key_id).step == Rename(MINE.key_id, ALIAS)
    assert planned(successor, previous_of(), rotate=None).step == Rename(MINE.key_id, ALIAS)


def test_an_ended_previous_key_is_deleted_before_the_next_rotation():
    ended = previous_of(expires=-HOUR)
    result = planned(key(MINE, **OLD, metadata=MARK), ended)
    assert (result.operation, result.step) == ("regenerated", Delete((OTHER.key_id,)))


# Derived secrets


def versions(first=1, looked_for=51):
    return SecretVersions(SEED, ALIAS, first, looked_for)


def derived(version):
    return derive(SEED, ALIAS, version)


@pytest.mark.parametrize(
    ("version", "metadata", "first", "following"),
    [(1, {}, 1, 2), (3, {}, 1, 4), (3, {}, 3, 4), (80, {SECRET_VERSION: 80}, 1, 81), (3, {SECRET_VERSION: 80}, 1, 4)],
)
def test_the_next_version_of_a_derived_secret(version, metadata, first, following):
    old = key(derived(version), **OLD, metadata=metadata)
    desired = {"secret": derived(first), "versions": versions(first), "secret_required": True}
    step = planned(old, **desired).step
    assert (step.secret, step.settings["metadata"][SECRET_VERSION]) == (derived(following), following)
    predicted = predict(DesiredKey(ALIAS, **desired), planned(old, **desired), NOW)
    assert predicted is not None
    assert predicted.key_id == derived(following).key_id


def test_a_secret_that_was_saved_before_there_was_a_seed_is_followed_by_the_first_version():
    desired = {"secret": derived(1), "versions": versions(), "known_secrets": (OTHER,)}
    assert planned(key(**OLD), **desired).step.secret == derived(1)


@pytest.mark.parametrize(
    ("version", "metadata", "first", "looked_for", "is_known"),
    [
        (1, {}, 1, 1, True),
        (2, {SECRET_VERSION: 2}, 1, 1, True),
        (2, {}, 1, 1, False),  # it was changed with key_version, which this run does not know
        (2, {}, 1, 51, True),
        (52, {}, 1, 51, False),
        (52, {SECRET_VERSION: 52}, 1, 51, True),
        (1, {SECRET_VERSION: 1}, 2, 51, False),
        (2, {SECRET_VERSION: True}, 1, 1, False),
        (2, {SECRET_VERSION: "2"}, 1, 1, False),
        (2, {SECRET_VERSION: 10**9}, 1, 1, False),
    ],
)
def test_any_controller_with_the_seed_knows_the_secret(version, metadata, first, looked_for, is_known):
    desired = DesiredKey(ALIAS, secret=derived(first), versions=versions(first, looked_for))
    found = desired.secret_of(key(derived(version), metadata=metadata))
    assert found == (derived(version) if is_known else None)


def test_an_expired_key_is_recreated_with_its_last_version():
    desired = DesiredKey(
        ALIAS,
        on_missing="recreate",
        secret=derived(1),
        versions=versions(looked_for=1),
        known_secrets=(given(derived(2).value),),
        creation_settings={"metadata": {SECRET_VERSION: 2}},
    )
    assert desired.new_secret == given(derived(2).value)
    assert replace(desired, creation_settings={}).new_secret == derived(1)
    assert replace(desired, versions=None, secret=None).new_secret == given(derived(2).value)


def test_the_versions_do_not_show_the_seed():
    assert SEED not in repr(versions())


# Keys that were replaced


@pytest.mark.parametrize(
    ("metadata", "current", "owner", "is_found"),
    [
        # The mark must name the key, and both must name the same guid.
        ({REPLACED_BY: "anything"}, {}, None, False),
        ({REPLACED_BY: SECRETS[2].key_id}, {}, None, False),
        ({REPLACED_BY: MINE.key_id, "guid": "other"}, {}, None, False),
        ({REPLACED_BY: MINE.key_id, "guid": "other"}, {"guid": "abc"}, None, False),
        ({REPLACED_BY: MINE.key_id}, {"guid": "abc"}, None, False),
        ({REPLACED_BY: MINE.key_id, "guid": 5}, {"guid": "5"}, None, True),
        ({REPLACED_BY: MINE.key_id}, {}, "abc", False),
        # The key itself names what it has replaced.
        ({"guid": "abc"}, {REPLACES: OTHER.key_id, "guid": "abc"}, "abc", True),
        ({}, {REPLACES: OTHER.key_id, "guid": "abc"}, "abc", True),
        ({"guid": "other"}, {REPLACES: OTHER.key_id, "guid": "abc"}, None, False),
        ({REPLACED_BY: MINE.key_id}, MARK, None, True),
        ({REPLACED_BY: MINE.key_id}, {}, None, True),
        ({}, MARK, None, True),  # an update at the same time has removed the mark
        ({}, {}, None, False),  # a key that happens to have this alias
        ({}, {PREVIOUS: {"key_id": MINE.key_id}}, None, False),
        ({}, {PREVIOUS: OTHER.key_id}, None, False),
        ({REPLACED_BY: 5}, {}, None, False),
        ({REPLACED_BY: MINE.key_id, "guid": "abc"}, {"guid": "abc"}, "abc", True),
        ({REPLACED_BY: MINE.key_id, "guid": "abc"}, {**MARK, "guid": "abc"}, "abc", True),
        ({REPLACED_BY: MINE.key_id, "guid": "abd"}, MARK, "abc", False),
    ],
)
def test_the_alias_alone_does_not_prove_what_a_key_was(metadata, current, owner, is_found):
    desired, previous = DesiredKey(ALIAS, owner=owner), previous_of(metadata=metadata)
    assert find_previous(desired, [previous], [key(MINE, metadata=current)]) == ((previous,) if is_found else ())


@pytest.mark.parametrize("claimants", [[], [key(MINE)]])
@pytest.mark.parametrize(
    ("metadata", "desired", "is_found"),
    [
        ({"guid": "abc"}, {"owner": "abc"}, True),
        ({"guid": "abc"}, {"guid": "abc"}, True),
        ({"guid": "abc"}, {}, False),
        ({}, {"owner": "abc"}, False),
        ({}, {"guid": "abc"}, False),
        ({}, {}, False),
        ({"guid": "other"}, {"owner": "abc"}, False),
        ({"guid": "other"}, {"guid": "abc"}, False),
    ],
)
def test_a_previous_key_whose_successor_is_gone_is_deleted_only_with_the_guid(claimants, metadata, desired, is_found):
    previous = previous_of(metadata={REPLACED_BY: SECRETS[2].key_id, **metadata})
    deletion = DesiredKey(ALIAS, present=False, **desired)
    assert find_previous(deletion, [previous], claimants) == ((previous,) if is_found else ())
    assert find_previous(replace(deletion, present=True), [previous], claimants) == ()


@pytest.mark.parametrize(
    ("row", "settings", "step"),
    [
        ({}, {}, None),
        ({"expires": 2 * HOUR + timedelta(seconds=60)}, {}, None),
        ({"expires": -HOUR}, {}, Delete((OTHER.key_id,))),
        # Concurrent runs have changed its expiry.
        ({"expires": 2 * HOUR + timedelta(seconds=61)}, {}, Update(OTHER.key_id, {}, NOW + 2 * HOUR)),
        ({"expires": None}, {}, Update(OTHER.key_id, {}, NOW + 2 * HOUR)),
        ({"metadata": {"a": 1}}, {}, Update(OTHER.key_id, {"metadata": {"a": 1, REPLACED_BY: MINE.key_id}}, None)),
        # A blocked environment has no key that works.
        ({}, {"blocked": True}, Update(OTHER.key_id, {"blocked": True}, None)),
        ({"blocked": True}, {"blocked": True}, None),
        ({"blocked": True}, {"blocked": False}, Update(OTHER.key_id, {"blocked": False}, None)),
        ({"blocked": True}, {}, None),
    ],
)
@pytest.mark.parametrize("rotate", [None, EVERY_WEEK])
def test_the_previous_key_of_a_key_that_is_as_desired(rotate, row, settings, step):
    current = key(MINE, age=DAY, metadata=MARK, blocked=settings.get("blocked"))
    result = planned(current, previous_of(**row), rotate=rotate, settings=settings)
    assert (result.operation, result.step) == ("updated" if step else "unchanged", step)


@pytest.mark.parametrize("row", [{"metadata": "unreadable"}, {"models": 5}])
def test_a_previous_key_with_unreadable_data_is_not_changed(row):
    current, previous = key(MINE, age=DAY, metadata=MARK), previous_of(**row)
    assert previous.problem
    assert planned(current, previous, settings={"blocked": True}).step == Update(MINE.key_id, {"blocked": True}, None)
    assert planned(replace(current, settings={**current.settings, "blocked": True}), previous).step is None
    assert set(planned(current, previous, present=False).step.key_ids) == {MINE.key_id, OTHER.key_id}


@pytest.mark.parametrize("overlap", ["0s", "soon", None, 5])
def test_an_unreadable_overlap_is_not_corrected(overlap):
    mark = {PREVIOUS: {"key_id": OTHER.key_id, "overlap": overlap}}
    assert planned(key(MINE, age=DAY, metadata=mark), previous_of(expires=None)).step is None
    # And its key is deleted at once, as for any other replacement.
    old = key(**OLD)
    assert planned(old, successor_of(old, metadata=mark), created=MINE.key_id).step == Delete((OTHER.key_id,))


def test_to_replace_a_key_at_once_revokes_both_secrets():
    current, new = key(MINE, age=DAY, metadata=MARK), given("sk-the-newest-of-all-secrets")
    step = planned(current, previous_of(), rotate=None, regenerate="always").step
    assert PREVIOUS not in step.settings["metadata"]
    successor = successor_of(current, new)
    step = planned(current, successor, previous_of(), created=new.key_id, rotate=None, regenerate="always").step
    assert step == Delete((MINE.key_id, OTHER.key_id))
    renamed = key(new, metadata={REPLACES: MINE.key_id})
    step = planned(renamed, previous_of(), created=new.key_id, rotate=None, regenerate="always").step
    assert step == Delete((OTHER.key_id,))


def test_to_replace_a_lost_secret_keeps_the_previous_one():
    current, new = key(MINE, age=DAY, metadata=MARK), given("sk-the-newest-of-all-secrets")
    step = planned(current, previous_of(), rotate=None, regenerate="if_unrecoverable").step
    assert step.settings["metadata"][PREVIOUS] == MARK[PREVIOUS]
    successor = successor_of(current, new, metadata=MARK)
    step = planned(
        current, successor, previous_of(), created=new.key_id, rotate=None, regenerate="if_unrecoverable"
    ).step
    assert step == Delete((MINE.key_id,))


# Other runs


def test_a_run_finishes_the_rotation_of_another_that_was_killed_and_rotates_the_lost_secret():
    old = key(**OLD)
    abandoned = successor_of(old, age=timedelta(minutes=15), metadata=MARK)
    assert isinstance(planned(old, abandoned).step, Retire)
    lost = replace(abandoned, alias=ALIAS)
    step = planned(lost, previous_of(), before=old).step
    assert (step.settings["metadata"][REPLACES], step.settings["metadata"][PREVIOUS]) == (MINE.key_id, MARK[PREVIOUS])
    # Another successor is in the way.
    second = successor_of(old, given("sk-the-secret-of-the-second"), age=timedelta(minutes=15))
    assert planned(lost, second, previous_of(), before=old).step == Delete((second.key_id,))


@pytest.mark.parametrize(
    ("row", "desired"),
    [
        ({"age": timedelta(minutes=14)}, {}),  # of a concurrent run
        ({}, {"known_secrets": (MINE,)}),
        ({"metadata": {**MARK, REPLACES: OTHER.key_id, SECRET_VERSION: 2}}, {}),  # anybody with the seed knows it
        ({"metadata": MARK}, {}),
        ({}, {"rotate": None}),
        ({}, {"rotate": Rotation(Duration(9, "d"), None)}),
    ],
)
def test_a_secret_that_somebody_knows_is_not_replaced(row, desired):
    row = {"key_alias": ALIAS, "age": timedelta(minutes=15), "metadata": {**MARK, REPLACES: OTHER.key_id}, **row}
    assert planned(key(MINE, **row), previous_of(), before=key(**OLD), **desired).step is None


@pytest.mark.parametrize(
    ("row", "known", "desired", "is_reported"),
    [
        ({}, OTHER, {}, True),  # that of the key that it has replaced
        ({}, given("sk-the-secret-before-both"), {}, True),
        ({}, MINE, {}, False),
        ({}, None, {}, False),  # nothing is saved here
        ({"age": timedelta(minutes=14)}, OTHER, {}, False),  # a concurrent run has not saved it yet
        ({"metadata": MARK}, OTHER, {}, False),  # it has replaced none
        ({}, OTHER, {"rotate": None}, False),
    ],
)
@pytest.mark.parametrize("overlap", [HOUR, -HOUR])
def test_a_later_run_reports_a_secret_that_was_lost(row, known, desired, is_reported, overlap):
    current = key(MINE, **{"age": timedelta(minutes=15), "metadata": {**MARK, REPLACES: OTHER.key_id}, **row})
    known_secrets = (known,) if known else ()
    result = planned(current, previous_of(expires=overlap), known_secrets=known_secrets, **desired)
    problem = secret_unknown(DesiredKey(ALIAS))
    assert result.problem == (problem if is_reported else None)


def test_a_key_whose_secret_was_lost_is_replaced_when_it_is_old():
    current = key(MINE, **OLD, metadata={REPLACES: OTHER.key_id})
    assert isinstance(planned(current, known_secrets=(OTHER,)).step, Create)


def test_a_successor_that_another_kind_of_run_has_left_is_marked_first():
    old = key(**OLD)
    abandoned = successor_of(old, age=DAY, metadata={"a": 1})
    metadata = {"a": 1, REPLACES: OTHER.key_id, **MARK}
    assert planned(old, abandoned).step == Update(MINE.key_id, {"metadata": metadata}, None)
    assert planned(old, abandoned, rotate=replace(EVERY_WEEK, overlap=None)).step == Delete((OTHER.key_id,))
    # A concurrent run has created it with the same derived secret.
    assert planned(old, abandoned, created=MINE.key_id).step == Update(MINE.key_id, {"metadata": metadata}, None)


def test_a_successor_with_the_next_derived_secret_is_finished():
    old = key(derived(1), **OLD)
    mark = {PREVIOUS: {"key_id": derived(1).key_id, "overlap": "2h"}, SECRET_VERSION: 2}
    fresh = successor_of(old, derived(2), metadata=mark)
    assert isinstance(planned(old, fresh, secret=derived(1), versions=versions()).step, Retire)


def test_if_unrecoverable_finishes_a_rotation_and_revokes_the_unknown_secret():
    old = key(**OLD)
    result = planned(old, successor_of(old, metadata=MARK), rotate=None, regenerate="if_unrecoverable")
    assert result.step == Delete((OTHER.key_id,))


def test_a_delayed_request_does_not_bring_back_an_old_key():
    old, current = key(**OLD, expires=HOUR), key(MINE, age=DAY, metadata=MARK)
    result = planned(old, current)
    assert result.key == current
    assert result.step == Retire(OTHER.key_id, PREVIOUS_ALIAS, Duration(2, "h"), NOW + HOUR, {REPLACED_BY: MINE.key_id})
    assert result.step.end(NOW) == NOW + HOUR


def test_a_deletion_deletes_all():
    old = key(**OLD)
    successor = successor_of(old, given("sk-the-newest-of-all-secrets"))
    result = planned(key(MINE, metadata=MARK), successor, previous_of(), present=False)
    assert set(result.step.key_ids) == {MINE.key_id, successor.key_id, OTHER.key_id}
    left = previous_of(metadata={REPLACED_BY: MINE.key_id, "guid": "abc"})
    assert planned(left, present=False, guid="abc").step == Delete((OTHER.key_id,))
    assert planned(left, present=False).operation == "absent"


def test_without_a_current_key_one_is_created_beside_the_previous_one():
    assert isinstance(planned(previous_of()).step, Create)
    assert planned(previous_of(), on_missing="ignore").operation == "absent"


# The whole rotation


@pytest.fixture
def old(proxy):
    return proxy.add(
        ALIAS, OTHER.value, models=["gpt-4o"], metadata={"a": 1}, max_budget=9.0, spend=2.5, age=2 * HOUR,
        expires=(proxy.now() + DAY).isoformat(),
    )  # fmt: skip


def rotate(proxy, **desired):
    return run_one(proxy, **{"rotate": EVERY_HOUR, **desired})


def test_both_secrets_work_until_the_overlap_ends(proxy, old):
    outcome = succeeded(rotate(proxy), "regenerated")
    assert is_secret_of_its_key(proxy, outcome)
    assert [*proxy.counts()] == [LIST, GENERATE, UPDATE]
    assert proxy.counts()[UPDATE] == 2
    current, previous = proxy.row(ALIAS), proxy.row(PREVIOUS_ALIAS)
    assert (current["spend"], current["max_budget"], current["models"]) == (2.5, 9.0, ["gpt-4o"])
    assert (previous["token"], previous["spend"], previous["max_budget"]) == (old, 2.5, 9.0)
    assert abs(instant(current) - proxy.now() - DAY) < SECONDS
    assert abs(instant(previous) - proxy.now() - timedelta(minutes=10)) < SECONDS
    shown = result_entry(outcome)["previous"]
    assert shown == {"key_id": old, "key_alias": PREVIOUS_ALIAS, "expires": format_instant(instant(previous))}
    again = succeeded(rotate(proxy, known_secrets=(outcome.secret,)), "unchanged")
    assert (again.secret, result_entry(again)["previous"]) == (outcome.secret, shown)
    assert [*proxy.counts().elements()] == [LIST]


def test_check_mode_predicts_a_rotation(proxy, old):
    before = dict(proxy.rows)
    outcome = succeeded(rotate(proxy, options={"check_mode": True}), "regenerated")
    assert (outcome.secret, outcome.after.created_at > outcome.before.created_at) == (None, True)
    assert proxy.rows == before


@pytest.mark.parametrize("version", [1, 2])
def test_check_mode_predicts_the_next_derived_secret(proxy, version):
    proxy.add(ALIAS, derived(version).value, age=2 * HOUR)
    desired = {"secret": derived(1), "versions": versions(), "secret_required": True}
    outcome = succeeded(rotate(proxy, **desired, options={"check_mode": True}), "regenerated")
    assert outcome.secret == derived(version + 1)


def test_after_the_overlap_the_next_run_deletes_the_old_key(proxy, old):
    rotate(proxy)
    proxy.row(PREVIOUS_ALIAS)["expires"] = (proxy.now() - HOUR).isoformat()
    check = succeeded(run_one(proxy, options={"check_mode": True}), "updated")
    assert check.previous is not None
    outcome = succeeded(run_one(proxy), "updated")
    assert (outcome.previous, proxy.aliases()) == (None, [ALIAS])
    for shown in map(difference, (check, outcome)):
        assert shown is not None
        assert [one["key_alias"] for one in shown["before"].pop("previous")] == [PREVIOUS_ALIAS]
        assert shown["before"] == shown["after"]
    succeeded(run_one(proxy), "unchanged")


@pytest.mark.parametrize("release", ["1.61.0", "1.83.3", "1.90.0", "1.106.2"])
def test_a_deletion_deletes_both_on_every_release(proxy, old, release):
    proxy.release = tuple(map(int, release.split(".")))
    rotate(proxy)
    succeeded(rotate(proxy, known_secrets=(MINE,)), "unchanged")
    assert proxy.aliases() == [ALIAS, PREVIOUS_ALIAS]
    for options in ({"check_mode": True}, {}):
        shown = difference(succeeded(run_one(proxy, present=False, options=options), "deleted"))
        assert shown is not None
        assert [shown["before"]["key_alias"], shown["before"]["previous"][0]["key_alias"]] == [ALIAS, PREVIOUS_ALIAS]
        assert shown["after"] == {}
    assert proxy.aliases() == []


def test_a_key_that_was_never_rotated_costs_no_further_request(proxy):
    proxy.release = (1, 89, 0)
    proxy.add(ALIAS, MINE.value)
    succeeded(run_one(proxy), "unchanged")
    assert [params["key_alias"] for _request, params in proxy.requests] == [ALIAS]


def test_a_deletion_that_is_lost_while_another_run_rotates_the_key_is_repeated(proxy, old):
    def other_run():
        proxy.rows[old].update(key_alias=PREVIOUS_ALIAS, metadata={REPLACED_BY: MINE.key_id})
        proxy.add(SUCCESSOR, MINE.value, metadata={REPLACES: old, PREVIOUS: {"key_id": old, "overlap": "10m"}})

    proxy.fault(DELETE, Fault("close", before=other_run))
    succeeded(run_one(proxy, present=False, options={"retries": 2}), "deleted")
    assert proxy.aliases() == []


def test_the_overlap_is_corrected_if_the_proxy_ignores_it(proxy, old):
    proxy.fault(UPDATE, Fault("nothing", before=lambda: proxy.ignored_fields.add("duration")))
    proxy.fault(UPDATE, Fault("nothing", before=proxy.ignored_fields.clear))
    rotate(proxy)
    assert abs(instant(proxy.row(PREVIOUS_ALIAS)) - proxy.now() - timedelta(minutes=10)) < SECONDS


@pytest.mark.parametrize("request_line", [GENERATE, UPDATE, LIST])
@pytest.mark.parametrize("commit", [True, False])
def test_a_lost_response_changes_nothing(proxy, old, request_line, commit):
    proxy.fault(request_line, Fault("close", commit=commit))
    assert is_secret_of_its_key(proxy, succeeded(rotate(proxy, options={"retries": 2}), "regenerated"))
    assert proxy.aliases() == [ALIAS, PREVIOUS_ALIAS]


def test_a_key_with_the_alias_of_the_previous_one_is_not_touched(proxy, old):
    other = proxy.add(PREVIOUS_ALIAS)
    outcome = rotate(proxy, known_secrets=(OTHER,))
    assert outcome.error.startswith(f"Cannot replace virtual key {ALIAS}: ")
    assert f"Key with alias '{PREVIOUS_ALIAS}' already exists" in outcome.error
    assert outcome.error.endswith(f"delete key {PREVIOUS_ALIAS}, which is in the way, or give it another alias")
    assert {row["token"]: row["key_alias"] for row in proxy.rows.values()} == {old: ALIAS, other: PREVIOUS_ALIAS}


@pytest.mark.parametrize("has_key", [True, False])
def test_a_foreign_key_with_a_forged_mark_is_left_alone(proxy, has_key):
    current = proxy.add(ALIAS, MINE.value, age=2 * HOUR, metadata={"guid": "abc"}) if has_key else "gone"
    forged = {REPLACED_BY: current, "guid": "other"}
    other = proxy.add(PREVIOUS_ALIAS, metadata=forged, expires=(proxy.now() - HOUR).isoformat())
    before = dict(proxy.row(PREVIOUS_ALIAS))
    warnings: list[str] = []
    if has_key:
        assert rotate(proxy, known_secrets=(MINE,)).error
        succeeded(run_one(proxy, settings={"blocked": True}), "updated")
    outcome = run_one(proxy, guid="abc", present=False, options={"warn": warnings.append})
    succeeded(outcome, "deleted" if has_key else "absent")
    assert list(proxy.rows) == [other]
    assert proxy.row(PREVIOUS_ALIAS) == before
    assert [text.split(";")[0] for text in warnings] == [
        f"Key {PREVIOUS_ALIAS} is not deleted, because nothing proves that virtual key {ALIAS} has replaced it"
    ]


def test_an_overlap_that_never_ends_is_reported(proxy, old):
    outcome = rotate(proxy)
    proxy.row(PREVIOUS_ALIAS)["expires"] = None
    warnings: list[str] = []
    arguments = {"known_secrets": (outcome.secret,), "options": {"warn": warnings.append}}
    succeeded(rotate(proxy, **arguments), "updated")
    assert proxy.row(PREVIOUS_ALIAS)["expires"]
    assert warnings == []
    proxy.row(PREVIOUS_ALIAS)["expires"] = None
    proxy.row(ALIAS)["metadata"][PREVIOUS]["overlap"] = None
    outcome = succeeded(rotate(proxy, **arguments), "unchanged")
    assert result_entry(outcome)["previous"]["expires"] is None
    assert warnings == [
        f"Virtual key {ALIAS} is not rotated, because key {PREVIOUS_ALIAS}, which it has replaced, never expires. "
        "Delete that key by its alias (key_alias)"
    ]


def test_a_key_with_the_alias_of_the_successor_is_not_touched(proxy, old):
    proxy.add(SUCCESSOR)
    error = rotate(proxy, known_secrets=(OTHER,)).error
    assert error.endswith(f"delete key {SUCCESSOR}, which is in the way, or give it another alias")
    assert proxy.aliases() == [ALIAS, SUCCESSOR]


def test_of_two_runs_at_the_same_time_one_rotates(proxy, old):
    def other_run():
        marks = {REPLACES: old, PREVIOUS: {"key_id": old, "overlap": "10m"}}
        proxy.add(SUCCESSOR, MINE.value, models=["gpt-4o"], max_budget=9.0, metadata=marks)

    warnings: list[str] = []
    proxy.fault(GENERATE, Fault("nothing", before=other_run))
    outcome = succeeded(rotate(proxy, known_secrets=(OTHER,), options={"warn": warnings.append}), "unchanged")
    assert (outcome.secret, proxy.aliases()) == (OTHER, [ALIAS, SUCCESSOR])
    assert any("A concurrent run created" in warning for warning in warnings)
    # It has ended before the next run, whose warning names the key that is left.
    warnings.clear()
    succeeded(rotate(proxy, known_secrets=(OTHER,), options={"warn": warnings.append}), "unchanged")
    assert warnings == [
        f"Another run has started to replace virtual key {ALIAS} and has not finished: key {SUCCESSOR} exists. If no "
        "run is active, the next rotation finishes it when that key is 15 minutes old"
    ]
    # Much later, nobody knows its secret.
    proxy.row(SUCCESSOR)["created_at"] = (proxy.now() - HOUR).isoformat()
    outcome = succeeded(rotate(proxy, known_secrets=(OTHER,)), "regenerated")
    assert is_secret_of_its_key(proxy, outcome)
    assert (outcome.previous.key_id, proxy.aliases()) == (old, [ALIAS, PREVIOUS_ALIAS])


def test_two_controllers_with_the_seed_agree(proxy):
    old = proxy.add(ALIAS, derived(1).value, age=2 * HOUR)

    def other_run():
        marks = {REPLACES: old, PREVIOUS: {"key_id": old, "overlap": "10m"}, SECRET_VERSION: 2}
        proxy.add(SUCCESSOR, derived(2).value, metadata=marks)

    proxy.fault(GENERATE, Fault("nothing", before=other_run))
    desired = {"secret": derived(1), "versions": versions(), "secret_required": True}
    outcome = succeeded(rotate(proxy, **desired), "regenerated")
    assert (outcome.secret, outcome.previous.key_id) == (derived(2), old)
    assert proxy.aliases() == [ALIAS, PREVIOUS_ALIAS]
    # A third one without the rotation.
    third = succeeded(run_one(proxy, **{**desired, "versions": versions(looked_for=1)}), "unchanged")
    assert third.secret == derived(2)


@pytest.mark.parametrize("custom_keys", [True, False])
def test_a_proxy_that_generates_the_secrets(proxy, old, custom_keys):
    proxy.custom_keys = custom_keys
    assert is_secret_of_its_key(proxy, succeeded(rotate(proxy), "regenerated"))


def test_a_saved_secret_is_not_used_for_the_next_key(proxy, old):
    outcome = succeeded(rotate(proxy, on_missing="recreate", known_secrets=(OTHER,)), "regenerated")
    assert outcome.secret != OTHER
    assert is_secret_of_its_key(proxy, outcome)


def test_the_lifetime_goes_on(proxy, old):
    succeeded(rotate(proxy, lifetime=lifetime_of("7d")), "regenerated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY + 2 * HOUR) < SECONDS
    succeeded(run_one(proxy, lifetime=lifetime_of("7d")), "unchanged")


def test_a_key_with_an_unknown_age_is_left_alone(proxy, old):
    proxy.row(ALIAS)["created_at"] = None
    warnings: list[str] = []
    succeeded(rotate(proxy, options={"warn": warnings.append}), "unchanged")
    assert warnings == [
        f"Virtual key {ALIAS} is not rotated, because the proxy does not return when it was created. Replace it once "
        "(regenerate: always)"
    ]


@pytest.mark.parametrize("blocked", [True, False])
def test_both_keys_are_blocked(proxy, old, blocked):
    rotate(proxy)
    for row in proxy.rows.values():
        row["blocked"] = not blocked
    succeeded(run_one(proxy, settings={"blocked": blocked}), "updated")
    assert [bool(row["blocked"]) for row in proxy.rows.values()] == [blocked, blocked]
    succeeded(run_one(proxy, settings={"blocked": blocked}), "unchanged")


def test_the_previous_key_alone_can_be_changed(proxy, old):
    rotate(proxy)
    proxy.row(PREVIOUS_ALIAS)["blocked"] = True
    succeeded(run_one(proxy, settings={"blocked": False}), "updated")
    assert bodies(proxy, UPDATE) == [{"key": old, "blocked": False}]


def test_ctrl_c_after_the_old_key_was_retired_finishes_the_rotation(proxy, old):
    def interrupt():
        raise KeyboardInterrupt

    warnings: list[str] = []
    calls: list[str] = []

    def progress(text):
        calls.append(text)
        if len(calls) == 2:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        rotate(proxy, options={"show_progress": progress, "warn": warnings.append})
    assert proxy.aliases() == [ALIAS, PREVIOUS_ALIAS]
    assert any(f"the new secrets of {ALIAS} are lost" in warning for warning in warnings)


def test_replacing_at_once_deletes_the_previous_key(proxy, old):
    rotate(proxy)
    succeeded(run_one(proxy, regenerate="always"), "regenerated")
    assert proxy.aliases() == [ALIAS]
    assert len(bodies(proxy, DELETE)) == 1
