# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every step takes effect exactly once, whatever happens to its request."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import ErrorResponse, Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    DELETE,
    GENERATE,
    LIST,
    MINE,
    NOT_PROCESSED,
    OTHER,
    PROCESSED,
    SEED,
    UPDATE,
    bodies,
    fault_name,
    impatient,
    is_secret_of_its_key,
    lifetime_of,
    replace_key,
    run,
    run_one,
    succeeded,
)

# Creation


@pytest.mark.parametrize("fault", PROCESSED + NOT_PROCESSED, ids=fault_name)
@pytest.mark.parametrize("secret", [None, MINE, derive(SEED, ALIAS)], ids=["generated", "given", "derived"])
def test_a_key_is_created_once_and_its_secret_is_known_despite_a_fault(proxy, fault, secret):
    proxy.fault(GENERATE, fault)
    outcome = run_one(proxy, secret=secret, lifetime=lifetime_of("7d"), options=impatient(fault))
    assert is_secret_of_its_key(proxy, succeeded(outcome, "created"))
    assert proxy.deleted == {}
    assert len(bodies(proxy, GENERATE)) == (1 if fault in PROCESSED else 2)


def test_a_500_to_a_creation_is_not_retried(proxy):
    proxy.fault(GENERATE, Fault(status=500))
    outcome = run_one(proxy)
    assert outcome.error == (
        "Cannot create virtual key virtkey-abc: LiteLLM returned 500 for POST /key/generate: Internal Server Error. "
        "Run again, and if it fails again, check the log of the proxy"
    )
    assert (outcome.changed, outcome.secret, proxy.rows) == (False, None, {})
    assert len(bodies(proxy, GENERATE)) == 1


def test_a_proxy_that_stays_busy_is_an_error_after_the_retries(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(20)))
    outcome = run_one(proxy)
    assert "503" in str(outcome.error)
    assert len(bodies(proxy, GENERATE)) == 2  # retries: 1


@pytest.mark.parametrize("fault", PROCESSED + NOT_PROCESSED, ids=fault_name)
def test_a_key_is_changed_despite_a_fault(proxy, fault):
    proxy.add(ALIAS, metadata={"owner": "me"})
    proxy.fault(UPDATE, fault)
    desired = {"settings": {"tpm_limit": 1, "metadata": {"a": 1}}, "lifetime": lifetime_of("7d")}
    succeeded(run_one(proxy, **desired, options=impatient(fault)), "updated")
    assert proxy.row(ALIAS)["metadata"] == {"owner": "me", "a": 1}
    succeeded(run_one(proxy, **desired), "unchanged")


@pytest.mark.parametrize("fault", PROCESSED + NOT_PROCESSED, ids=fault_name)
def test_a_key_is_deleted_despite_a_fault(proxy, fault):
    proxy.add(ALIAS)
    proxy.fault(DELETE, fault)
    succeeded(run_one(proxy, present=False, options=impatient(fault)), "deleted")
    assert proxy.rows == {}


def test_the_progress_of_a_listing_and_of_many_deletions_is_shown(proxy):
    aliases = [f"virtkey-abc-user{number}" for number in range(1, 251)]
    run(proxy, *map(DesiredKey, aliases))
    shown: list[str] = []
    run(proxy, *(DesiredKey(alias, present=False) for alias in aliases), show_progress=shown.append)
    listed = [f"{number} of 250 virtual keys listed" for number in (200, 250)]
    deleted = [f"{number} of 250 virtual keys deleted" for number in (100, 200, 250)]
    assert shown == listed + deleted


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("retries", [0, 1, 2, 3])
@pytest.mark.parametrize(("position", "count"), [(0, 3), (149, 150)])
def test_a_key_that_cannot_be_deleted_does_not_affect_the_others(proxy, position, count, retries, status):
    """Such a key makes the whole request fail, so that the batches become smaller."""
    names = [f"virtkey-abc-user{number:03}" for number in range(count)]
    key_ids = [proxy.add(name) for name in names]
    handle = proxy.handle

    def fail_for_one(method, path, params):
        if path == "/key/delete" and key_ids[position] in params["keys"]:
            raise ErrorResponse(status, "Internal Server Error.")
        return handle(method, path, params)

    proxy.handle = fail_for_one
    outcomes = run(proxy, *(DesiredKey(name, present=False) for name in names), retries=retries)
    assert [outcome.desired.alias for outcome in outcomes if outcome.error] == [names[position]]
    assert proxy.aliases() == [names[position]]
    assert len(bodies(proxy, DELETE)) < 30


def test_a_proxy_that_is_down_is_not_asked_for_each_key(proxy):
    names = [f"virtkey-abc-user{number:03}" for number in range(150)]
    for name in names:
        proxy.add(name)
    proxy.fault(DELETE, *(Fault(status=503) for _unused in range(999)))
    outcomes = run(proxy, *(DesiredKey(name, present=False) for name in names), retries=1)
    assert all(outcome.error for outcome in outcomes)
    assert len(bodies(proxy, DELETE)) < 15


def test_nothing_is_changed_if_the_first_snapshot_fails(proxy):
    proxy.fault(LIST, *(Fault(status=503) for _unused in range(9)))
    with pytest.raises(LiteLLMError, match="503"):
        run_one(proxy)
    assert list(proxy.counts()) == [LIST]


def test_the_secret_of_a_created_key_is_returned_if_the_last_snapshot_fails(proxy):
    proxy.fault(LIST, Fault("nothing"), Fault("nothing"), *(Fault(status=503) for _unused in range(9)))
    outcome = run_one(proxy)
    assert f"The state of virtual key {ALIAS} is unknown" in str(outcome.error)
    assert is_secret_of_its_key(proxy, outcome)


def test_the_last_snapshot_is_retried(proxy):
    proxy.fault(LIST, Fault("nothing"), Fault("nothing"), *(Fault(status=503) for _unused in range(3)))
    succeeded(run_one(proxy), "created")


def test_after_consecutive_errors_the_other_keys_wait_for_the_next_round(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(12)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-abc-user{number}") for number in range(60)), concurrency=4, retries=3)
    assert all(is_secret_of_its_key(proxy, succeeded(outcome, "created")) for outcome in outcomes)
    assert len(bodies(proxy, GENERATE)) <= 60 + 12


def test_a_proxy_that_always_fails_does_not_get_a_request_for_each_key(proxy):
    proxy.fault(GENERATE, *(Fault(status=503) for _unused in range(1000)))
    outcomes = run(proxy, *(DesiredKey(f"virtkey-abc-user{number}") for number in range(60)), concurrency=4)
    assert all("503" in str(outcome.error) or "was not attempted" in str(outcome.error) for outcome in outcomes)
    # In each of two rounds: the consecutive errors, and the requests that run at the same time.
    assert len(bodies(proxy, GENERATE)) <= 2 * (4 + 4)


def test_the_errors_of_one_key_do_not_stop_the_others(proxy):
    names = [f"virtkey-{number}" for number in range(5)]
    predecessors = [proxy.add(name) for name in names]
    handle = proxy.handle

    def fail_for_the_first(method, path, params):
        if path == "/key/generate" and params["key_alias"] == "virtkey-0.replacement":
            raise ErrorResponse(503, "busy")
        return handle(method, path, params)

    proxy.handle = fail_for_the_first
    first, *others = run(proxy, *(DesiredKey(name, regenerate="always") for name in names))
    assert "503" in str(first.error)
    assert all(is_secret_of_its_key(proxy, succeeded(outcome, "regenerated")) for outcome in others)
    assert sorted(proxy.deleted) == sorted(predecessors[1:])


# Replacement


@pytest.mark.parametrize("route", [UPDATE, GENERATE, DELETE])
@pytest.mark.parametrize("fault", PROCESSED + NOT_PROCESSED, ids=fault_name)
def test_a_key_is_replaced_despite_a_fault(proxy, predecessor, route, fault):
    proxy.fault(route, fault)
    outcome = succeeded(replace_key(proxy, options=impatient(fault)), "regenerated")
    assert is_secret_of_its_key(proxy, outcome)
    assert (len(proxy.rows), list(proxy.deleted)) == (1, [predecessor])


@pytest.mark.parametrize("fault", PROCESSED + NOT_PROCESSED, ids=fault_name)
def test_a_new_key_gets_the_alias_of_the_old_one_despite_a_fault(proxy, fault):
    proxy.add(f"{ALIAS}.replacement", metadata={REPLACES: OTHER.key_id})
    proxy.fault(UPDATE, fault)
    succeeded(run_one(proxy, options=impatient(fault)), "updated")
    assert proxy.aliases() == [ALIAS]
