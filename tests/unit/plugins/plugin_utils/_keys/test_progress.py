# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run knows of a key: concurrent runs that create the same key, and secrets that cannot be confirmed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    GENERATE,
    LIST,
    MINE,
    OTHER,
    SEED,
    is_secret_of_its_key,
    run_one,
    succeeded,
)


def test_the_run_that_loses_the_race_leaves_the_key_alone_and_reports_no_secret(proxy):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    warnings: list[str] = []
    outcome = succeeded(run_one(proxy, options={"warn": warnings.append}), "unchanged")
    assert (outcome.secret, proxy.aliases()) == (None, [ALIAS])
    assert ["A concurrent run created" in warning for warning in warnings] == [True]


def test_the_run_that_loses_the_race_for_a_secret_of_the_proxy_does_not_claim_the_key(proxy):
    proxy.custom_keys = False
    late = Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value))
    proxy.fault(GENERATE, Fault("nothing"), late)
    outcome = succeeded(run_one(proxy), "unchanged")
    assert (outcome.secret, proxy.aliases()) == (None, [ALIAS])


@pytest.mark.parametrize("regenerate", ["always", "if_unrecoverable"])
def test_the_run_that_loses_the_race_does_not_replace_the_key_of_the_other(proxy, regenerate):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = run_one(proxy, regenerate=regenerate)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


def test_the_run_that_loses_the_race_with_its_own_secret_fails(proxy):
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = run_one(proxy, secret=MINE)
    assert "exists with another secret" in str(outcome.error)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


def test_the_newer_of_two_keys_is_deleted_by_the_run_that_created_it(proxy):
    proxy.unique_aliases = False
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    outcome = succeeded(run_one(proxy), "unchanged")
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


@pytest.mark.parametrize("secret", [None, derive(SEED, ALIAS)], ids=["generated", "derived"])
def test_of_concurrent_runs_one_key_stays_and_every_reported_secret_is_its_own(proxy, secret):
    proxy.unique_aliases = False
    for _unused in range(5):
        proxy.rows.clear()
        clients = [Client(Connection(proxy.url, MASTER_KEY)) for _unused in range(4)]
        with ThreadPoolExecutor() as threads:
            racing = [threads.submit(reconcile, client, [DesiredKey(ALIAS, secret=secret)]) for client in clients]
        outcomes = [outcome for race in racing for outcome in race.result()]
        assert proxy.aliases() == [ALIAS]
        reported = [outcome.secret for outcome in outcomes if outcome.secret and not outcome.error]
        assert {one.key_id for one in reported} == set(proxy.rows)
        assert len(reported) == (1 if secret is None else len(clients))


# Unconfirmed secrets


def fail_after(requests):
    """Return faults for the listings after this many requests."""
    return [*(Fault("nothing") for _unused in range(requests)), *(Fault(status=503) for _unused in range(20))]


@pytest.mark.parametrize("fault", [Fault("close", commit=True), Fault(status=503, commit=True), Fault("half")])
def test_a_secret_is_unconfirmed_if_neither_the_response_nor_the_key_can_be_read(proxy, fault):
    proxy.fault(GENERATE, fault)
    proxy.fault(LIST, *fail_after(2))
    outcome = run_one(proxy)
    assert f"The state of virtual key {ALIAS} is unknown" in str(outcome.error)
    assert (outcome.secret, outcome.after) == (None, None)
    assert outcome.unconfirmed_secret is not None
    assert outcome.unconfirmed_secret.key_id == proxy.row(ALIAS)["token"]
    proxy._faults.clear()
    again = succeeded(run_one(proxy, known_secrets=(outcome.unconfirmed_secret,), secret_required=True), "unchanged")
    assert again.secret == outcome.unconfirmed_secret


def test_a_secret_is_unconfirmed_even_if_the_request_was_not_processed(proxy):
    proxy.fault(GENERATE, Fault("close"))
    proxy.fault(LIST, *fail_after(2))
    outcome = run_one(proxy)
    assert outcome.unconfirmed_secret is not None
    assert proxy.rows == {}


@pytest.mark.parametrize("faults", [[], [Fault("close", commit=True)], [Fault(status=500)], [Fault(status=400)]])
def test_no_secret_is_unconfirmed_after_the_key_was_read(proxy, faults):
    proxy.fault(GENERATE, *faults)
    assert run_one(proxy).unconfirmed_secret is None


def test_the_secret_in_a_response_is_not_unconfirmed(proxy):
    proxy.fault(LIST, *fail_after(2))
    outcome = run_one(proxy)
    assert outcome.error
    assert is_secret_of_its_key(proxy, outcome)
    assert outcome.unconfirmed_secret is None


def test_an_unknown_secret_of_the_proxy_is_not_unconfirmed(proxy):
    proxy.custom_keys = False
    proxy.fault(GENERATE, Fault("nothing"), Fault("close", commit=True))
    proxy.fault(LIST, *fail_after(4))
    outcome = run_one(proxy)
    assert outcome.error
    assert (outcome.secret, outcome.unconfirmed_secret) == (None, None)
