# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys are replaced: the old key works until the new one exists."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import result_entry
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import LIFETIME_START, REPLACES
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
    UPDATE,
    instant,
    is_secret_of_its_key,
    lifetime_of,
    replace_key,
    run,
    run_one,
    succeeded,
)


@pytest.mark.parametrize("custom_keys", [True, False])
def test_a_replaced_key_keeps_alias_settings_spend_and_expiry(proxy, predecessor, custom_keys):
    proxy.custom_keys = custom_keys
    before = dict(proxy.rows[predecessor])
    outcome = succeeded(replace_key(proxy, settings={"tpm_limit": 4}), "regenerated")
    assert is_secret_of_its_key(proxy, outcome)
    after = proxy.row(ALIAS)
    assert list(proxy.deleted) == [predecessor]
    assert after["tpm_limit"] == 4
    assert {name: after[name] for name in ("models", "max_budget", "spend")} == {
        name: before[name] for name in ("models", "max_budget", "spend")
    }
    start = format_instant(instant(before, "created_at"))
    assert after["metadata"] == {**before["metadata"], LIFETIME_START: start, REPLACES: predecessor}
    assert abs(instant(after) - instant(before)) < SECONDS


def test_the_predecessor_exists_until_its_successor_does(proxy, predecessor):
    exists: list[bool] = []
    proxy.fault(GENERATE, Fault("nothing", before=lambda: exists.append(predecessor in proxy.rows)))
    replace_key(proxy)
    assert exists == [True]


@pytest.mark.parametrize(
    ("secret", "operation"),
    [(None, "regenerated"), (MINE, "regenerated"), (OTHER, "unchanged")],
    ids=["unknown", "another", "known"],
)
def test_if_unrecoverable_replaces_only_keys_with_an_unknown_secret(proxy, secret, operation):
    proxy.add(ALIAS, OTHER.value)
    succeeded(replace_key(proxy, regenerate="if_unrecoverable", secret=secret), operation)


@pytest.mark.parametrize("regenerate", ["always", "if_unrecoverable"])
def test_a_missing_key_is_created_instead_of_replaced(proxy, regenerate):
    assert is_secret_of_its_key(proxy, succeeded(replace_key(proxy, regenerate=regenerate), "created"))


@pytest.mark.parametrize("deleted", [True, False])
def test_a_run_finishes_the_replacement_of_another(proxy, deleted):
    """The other run was killed after it had created the new key, or after it had deleted the old one."""
    if not deleted:
        proxy.add(ALIAS, OTHER.value, max_budget=3.0, age=DAY)
    proxy.add(f"{ALIAS}.replacement", max_budget=3.0, metadata={"a": 1, REPLACES: OTHER.key_id})
    outcome = replace_key(proxy, regenerate="if_unrecoverable", secret=MINE)
    assert outcome.error is None
    assert is_secret_of_its_key(proxy, outcome)
    assert (proxy.aliases(), proxy.row(ALIAS)["max_budget"]) == ([ALIAS], 3.0)


@pytest.mark.parametrize("alias", [f"{ALIAS}.replacement", None])
def test_keys_that_the_caller_found_are_the_first_snapshot_only(proxy, alias):
    proxy.add(alias or ALIAS, metadata={REPLACES: OTHER.key_id} if alias else {})
    found = ObservedKey.from_row(proxy.row(alias or ALIAS))
    other = replace(found, alias="virtkey-abcd", key_id="0" * 64)
    (outcome,) = run(proxy, DesiredKey(ALIAS, settings={"tpm_limit": 5}), found=[other, found])
    succeeded(outcome, "updated")
    assert [request for request, _params in proxy.requests[:2]] == [UPDATE, LIST]
    assert proxy.counts()[UPDATE] == (2 if alias else 1)
    assert proxy.row(ALIAS)["tpm_limit"] == 5


def test_if_the_caller_found_no_keys_there_are_none(proxy):
    succeeded(run_one(proxy, options={"found": []}), "created")
    assert next(request for request, _params in proxy.requests) == GENERATE


def test_a_new_key_gets_its_alias_if_the_run_that_created_it_was_killed(proxy):
    proxy.add(f"{ALIAS}.replacement", OTHER.value, age=DAY, metadata={"a": 1, REPLACES: MINE.key_id})
    predicted = succeeded(run_one(proxy, settings={"tpm_limit": 5}, options={"check_mode": True}), "updated")
    assert (predicted.after.alias, predicted.after.value("tpm_limit"), predicted.secret) == (ALIAS, 5, None)
    outcome = succeeded(run_one(proxy, known_secrets=(OTHER,), settings={"tpm_limit": 5}), "updated")
    assert (outcome.secret, list(proxy.rows)) == (OTHER, [OTHER.key_id])
    row = proxy.row(ALIAS)
    assert (row["metadata"]["a"], row["tpm_limit"]) == (1, 5)
    succeeded(run_one(proxy, settings={"tpm_limit": 5}), "unchanged")
    assert list(proxy.counts().elements()) == [LIST]


def test_unfinished_replacements_among_many_keys_cost_no_additional_listing(proxy):
    names = [f"virtkey-abc-user{number}" for number in range(40)]
    for name in names[:5]:
        proxy.add(f"{name}.replacement", metadata={REPLACES: OTHER.key_id})
    for name in names[5:]:
        proxy.add(name)
    outcomes = run(proxy, *map(DesiredKey, names))
    assert [outcome.operation for outcome in outcomes] == ["updated"] * 5 + ["unchanged"] * 35
    assert proxy.aliases() == sorted(names)
    assert proxy.counts() == {LIST: 2, UPDATE: 5}


def test_an_alias_alone_does_not_make_a_key_a_replacement(proxy):
    proxy.add(f"{ALIAS}.replacement")
    succeeded(run_one(proxy), "created")
    assert proxy.aliases() == [ALIAS, f"{ALIAS}.replacement"]


@pytest.mark.parametrize("expires", [None, timedelta(days=-1)])
def test_an_expired_key_is_not_replaced_without_a_new_lifetime(proxy, expires):
    proxy.add(ALIAS, expires=None if expires is None else (proxy.now() + expires).isoformat())
    outcome = replace_key(proxy)
    assert (outcome.error is None) == (expires is None)
    succeeded(replace_key(proxy, lifetime=lifetime_of("7d")), "regenerated")


def test_many_keys_are_replaced_concurrently(proxy):
    names = [f"virtkey-abc-user{number}" for number in range(20)]
    for name in names:
        proxy.add(name)
    for outcome in run(proxy, *(DesiredKey(name, regenerate="always") for name in names)):
        assert is_secret_of_its_key(proxy, succeeded(outcome, "regenerated"))
    assert len(proxy.rows) == 20


def test_a_successor_that_keeps_its_expiry_has_not_got_the_desired_one(proxy):
    proxy.add(ALIAS, expires=(proxy.now() + 7 * DAY).isoformat())
    outcome = replace_key(proxy, lifetime=lifetime_of("3d", shorten=False))
    assert (succeeded(outcome, "regenerated").end_set, result_entry(outcome)["duration"]) == (False, "7d")


def test_defaults_of_the_proxy_are_corrected_before_the_predecessor_is_deleted(proxy):
    predecessor = proxy.add(ALIAS, rpm_limit=7)
    proxy.defaults = {"max_budget": 1.0, "models": ["gpt-4o"], "rpm_limit": 5, "duration": "1d", "user_id": "owner"}
    exists: list[bool] = []
    proxy.fault(UPDATE, Fault("nothing", before=lambda: exists.append(predecessor in proxy.rows)))
    succeeded(replace_key(proxy), "regenerated")
    row = proxy.row(ALIAS)
    assert (row["max_budget"], row["models"], row["rpm_limit"], row["expires"]) == (None, [], 7, None)
    assert row["user_id"] is None
    assert exists == [True]


@pytest.mark.parametrize("is_removed_meanwhile", [False, True])
def test_a_recreated_key_with_defaults_of_the_proxy_is_a_warning(proxy, is_removed_meanwhile):
    proxy.defaults = {"max_budget": 1.0, "models": ["gpt-4o"], "duration": "1d", "tpm_limit": 5}
    warnings: list[str] = []
    desired = {"on_missing": "recreate", "known_secrets": (MINE,), "settings": {"tpm_limit": 7}}
    if is_removed_meanwhile:
        proxy.add(ALIAS)
        desired = {"settings": {"tpm_limit": 7}}
        proxy.fault(UPDATE, Fault("nothing", before=proxy.rows.clear))
    outcome = run_one(proxy, options={"warn": warnings.append}, **desired)
    succeeded(outcome, "regenerated" if is_removed_meanwhile else "created")
    assert (
        f"Virtual key {ALIAS} was recreated with other settings than before: models, max_budget, expires. "
        "The proxy has defaults for new keys. Set these settings"
    ) in warnings
    # A new key has the defaults on purpose.
    warnings.clear()
    succeeded(run_one(proxy, "virtkey-new", options={"warn": warnings.append}), "created")
    assert not [one for one in warnings if "recreated" in one]


def test_a_successor_of_a_key_with_all_routes_never_has_the_default_routes_of_the_proxy(proxy):
    proxy.add(ALIAS)
    proxy.defaults = {"allowed_routes": ["info_routes"]}
    succeeded(replace_key(proxy), "regenerated")
    assert proxy.row(ALIAS)["allowed_routes"] == []
    assert proxy.counts()[UPDATE] == 1  # only the new name


@pytest.mark.parametrize("commit", [True, False])
def test_a_lost_secret_of_the_proxy_is_an_error_only_if_the_new_key_exists(proxy, predecessor, commit):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), Fault("close", commit=commit))
    outcome = replace_key(proxy)
    if commit:
        assert "its secret was lost with the response" in str(outcome.error)
        assert predecessor in proxy.rows
    else:
        assert is_secret_of_its_key(proxy, succeeded(outcome, "regenerated"))


@pytest.mark.parametrize("refused", [True, False])
def test_no_secret_is_lost_if_the_proxy_fails_when_the_old_key_is_deleted(proxy, predecessor, refused):
    proxy.fault(DELETE, *([Fault(status=503)] * 20 if refused else []))
    proxy.fault(LIST, *(Fault("nothing") for _unused in range(3)), *(Fault(status=503) for _unused in range(40)))
    outcome = replace_key(proxy)
    assert "The state of virtual key virtkey-abc is unknown" in str(outcome.error)
    new = proxy.row(f"{ALIAS}.replacement")["token"]
    # If it is not known whether the old key was deleted, its secret is not given up.
    assert outcome.after.key_id == (predecessor if refused else new)
    assert (outcome.unconfirmed_secret if refused else outcome.secret).key_id == new


def test_a_replacement_that_another_run_has_not_finished_is_warned_about(proxy):
    old = [proxy.add(name) for name in ("virtkey-a", "virtkey-b")]
    proxy.add("virtkey-a.replacement", metadata={REPLACES: old[0]})
    warnings: list[str] = []
    for outcome in run(proxy, DesiredKey("virtkey-a"), DesiredKey("virtkey-b"), warn=warnings.append):
        succeeded(outcome, "unchanged")
    assert warnings == [
        "Another run has started to replace virtual key virtkey-a and has not finished: key virtkey-a.replacement "
        "exists. If no run is active, replace the key again (regenerate)"
    ]
    for outcome in run(proxy, *(DesiredKey(name, regenerate="always") for name in ("virtkey-a", "virtkey-b"))):
        assert is_secret_of_its_key(proxy, succeeded(outcome, "regenerated"))
    assert proxy.aliases() == ["virtkey-a", "virtkey-b"]


def test_surplus_keys_are_deleted_and_reported(proxy):
    """A run was killed before it could delete the key that it had created beside another one."""
    proxy.unique_aliases = False
    oldest = proxy.add(ALIAS, age=DAY)
    proxy.add(ALIAS)
    predicted = succeeded(run_one(proxy, options={"check_mode": True}), "updated")
    assert (predicted.after.key_id, len(proxy.rows)) == (oldest, 2)
    warnings: list[str] = []
    succeeded(run_one(proxy, options={"warn": warnings.append}), "updated")
    assert (list(proxy.rows), warnings) == (
        [oldest],
        [
            f"Several keys had the alias {ALIAS}, because concurrent runs created them or a run was killed. "
            "The oldest one stays; deleted: 1"
        ],
    )


# The lifetime of a replacement


def test_a_replacement_expires_when_its_predecessor_would(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    expires = instant(proxy.row(ALIAS))
    for _unused in range(2):
        proxy.clock += 3 * DAY
        succeeded(replace_key(proxy, lifetime=lifetime_of("7d")), "regenerated")
        assert abs(instant(proxy.row(ALIAS)) - expires) < SECONDS
        succeeded(run_one(proxy, lifetime=lifetime_of("7d")), "unchanged")
    outcome = succeeded(run_one(proxy, lifetime=lifetime_of("8d")), "updated")
    assert abs(instant(proxy.row(ALIAS)) - expires - DAY) < SECONDS
    assert result_entry(outcome)["duration"] == "8d"


def test_a_replacement_of_an_expired_key_counts_from_now(proxy):
    run_one(proxy, lifetime=lifetime_of("7d"))
    proxy.clock += 8 * DAY
    succeeded(replace_key(proxy, lifetime=lifetime_of("7d")), "regenerated")
    assert abs(instant(proxy.row(ALIAS)) - proxy.now() - 7 * DAY) < SECONDS
    succeeded(run_one(proxy, lifetime=lifetime_of("7d")), "unchanged")


def test_a_recreated_key_continues_the_lifetime_of_the_first_one(proxy):
    start = proxy.now() - 6 * DAY
    outcome = run_one(
        proxy,
        known_secrets=(MINE,),
        on_missing="recreate",
        creation_settings={"max_budget": 2.0, "metadata": {"a": 1}},
        lifetime=lifetime_of("14d"),
        lifetime_start=start,
    )
    assert succeeded(outcome, "created").secret == MINE
    row = proxy.row(ALIAS)
    assert (row["max_budget"], row["metadata"]) == (2.0, {"a": 1, LIFETIME_START: format_instant(start)})
    assert abs(instant(row) - start - 14 * DAY) < SECONDS
    assert result_entry(outcome)["duration"] == "14d"
    succeeded(run_one(proxy, lifetime=lifetime_of("14d")), "unchanged")
