# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failed and interrupted runs leave no surplus key, no lost secret, and no key under another alias."""

from __future__ import annotations

import contextlib
import signal
from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import apply
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile as reconcile_module
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import Fault
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._keys.engine import (
    ALIAS,
    DELETE,
    GENERATE,
    MINE,
    OTHER,
    SEED,
    UPDATE,
    is_secret_of_its_key,
    replace_key,
    run,
    run_one,
)

# Failures


def test_deleting_the_newer_of_two_keys_is_repeated_at_the_end(proxy):
    proxy.unique_aliases = False
    proxy.fault(GENERATE, Fault("nothing", before=lambda: proxy.add(ALIAS, OTHER.value, age=timedelta(seconds=1))))
    proxy.fault(DELETE, Fault(status=400))
    outcome = run_one(proxy)
    assert "400" in str(outcome.error)
    assert (outcome.secret, list(proxy.rows)) == (None, [OTHER.key_id])


FAULTS = [[Fault(status=500)], [Fault(status=503) for _unused in range(20)], [Fault("close") for _unused in range(20)]]


@pytest.mark.parametrize("faults", FAULTS, ids=["refused", "busy", "dropped"])
def test_a_key_that_cannot_be_replaced_is_not_changed(proxy, predecessor, faults):
    proxy.fault(GENERATE, *faults)
    outcome = replace_key(proxy)
    assert outcome.error
    assert (list(proxy.rows), proxy.aliases()) == ([predecessor], [ALIAS])
    assert (outcome.secret, outcome.changed) == (None, False)
    assert outcome.after.alias == ALIAS


def test_the_new_key_is_deleted_again_if_the_old_one_cannot_be_deleted(proxy, predecessor):
    proxy.undeletable.add(predecessor)
    outcome = replace_key(proxy)
    assert "still exists after LiteLLM reported that it was deleted" in str(outcome.error)
    assert (outcome.secret, outcome.changed) == (None, False)
    assert (list(proxy.rows), proxy.aliases()) == ([predecessor], [ALIAS])


def test_a_new_key_that_cannot_be_deleted_again_is_named(proxy, predecessor):
    proxy.fault(DELETE, *(Fault(status=500) for _unused in range(20)))
    outcome = replace_key(proxy)
    assert "Cannot replace virtual key virtkey-abc: " in str(outcome.error)
    assert f"; the key {ALIAS}.replacement that this run created could not be deleted: " in str(outcome.error)
    assert proxy.row(ALIAS)["token"] == predecessor
    proxy.forget_faults()
    assert is_secret_of_its_key(proxy, replace_key(proxy))
    assert proxy.aliases() == [ALIAS]


# Interruptions


class TaskTimeout(BaseException):
    """How ansible-core ends a task whose time is up."""


def test_after_an_interruption_new_keys_with_random_secrets_are_deleted(proxy):
    def interrupt(text):
        raise KeyboardInterrupt

    proxy.add("virtkey-existing")
    desired = [DesiredKey(f"virtkey-{number}") for number in range(40)]
    desired += [
        DesiredKey(f"virtkey-seed{number}", secret=derive(SEED, f"virtkey-seed{number}")) for number in range(3)
    ]
    warnings: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(proxy, *reversed(desired), DesiredKey("virtkey-existing"), show_progress=interrupt, warn=warnings.append)
    kept = {"virtkey-existing", *(f"virtkey-seed{number}" for number in range(3))}
    assert set(proxy.aliases()) <= kept
    assert "new keys were deleted, because their secrets would be lost" in warnings[0]


@pytest.mark.parametrize("route", [UPDATE, GENERATE, DELETE])
def test_after_an_interruption_replacements_are_undone(proxy, monkeypatch, route):
    predecessors = {proxy.add(f"virtkey-{number}", metadata={"a": number}): number for number in range(12)}
    other = proxy.add("virtkey-other", MINE.value)
    apply_steps = apply.apply_steps

    def interrupted(client, pending, report):
        apply_steps(client, pending, report)
        if route in proxy.counts():
            raise KeyboardInterrupt

    monkeypatch.setattr(reconcile_module, "apply_steps", interrupted)
    warnings: list[str] = []
    desired = [DesiredKey(f"virtkey-{number}", regenerate="always") for number in range(11)]
    with pytest.raises(KeyboardInterrupt):
        # The secret for the last one belongs to another key.
        run(proxy, *desired, DesiredKey("virtkey-11", regenerate="always", secret=MINE), warn=warnings.append)
    assert other in proxy.rows
    if route != GENERATE:  # too late to undo the replacement
        assert "the new secrets of" in warnings[-1]
        assert [alias for alias in proxy.aliases() if alias.endswith("replacement")] == []
    else:
        assert {key: row["metadata"] for key, row in proxy.rows.items() if key != other} == {
            key: {"a": number} for key, number in predecessors.items()
        }
        assert proxy.aliases() == sorted([*(f"virtkey-{number}" for number in range(12)), "virtkey-other"])
        assert warnings == ["Interrupted; the replacement of 11 keys was undone"]


@pytest.mark.parametrize("interruption", [None, TaskTimeout, KeyboardInterrupt], ids=str)
def test_outcomes_are_saved_before_control_returns(proxy, interruption):
    """A signal during the save would lose secrets, so it is blocked."""

    def interrupt(text):
        if interruption:
            raise interruption

    saved: list[Outcome] = []

    def save(outcomes):
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        saved.extend(outcomes)

    desired = [DesiredKey("virtkey-existing", known_secrets=(OTHER,))]
    desired += [DesiredKey(f"virtkey-{number}", secret=derive(SEED, f"virtkey-{number}")) for number in range(30)]
    proxy.add("virtkey-existing", OTHER.value)
    with pytest.raises(interruption) if interruption is KeyboardInterrupt else contextlib.nullcontext():
        run(proxy, *desired, show_progress=interrupt, save=save)
    assert [outcome.desired for outcome in saved] == desired
    assert set(proxy.rows) <= {
        secret.key_id for outcome in saved if (secret := outcome.secret or outcome.desired.secret)
    }
    assert saved[0].secret == OTHER
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_bug_is_reported_and_created_keys_are_returned(proxy, monkeypatch):
    apply_steps = apply.apply_steps

    def fail(client, pending, report):
        apply_steps(client, pending[:1], report)
        raise ValueError("oops")

    monkeypatch.setattr(reconcile_module, "apply_steps", fail)
    first, second = run(proxy, DesiredKey("virtkey-a"), DesiredKey("virtkey-b"))
    assert is_secret_of_its_key(proxy, first)
    assert first.error is None
    assert "because of a bug in this collection (ValueError: oops); please report it" in str(second.error)


def test_when_the_time_is_up_created_keys_are_returned(proxy):
    def interrupt(text):
        raise TaskTimeout

    desired = [DesiredKey(f"virtkey-{number}") for number in range(50)]
    outcomes = run(proxy, *desired, show_progress=interrupt)
    created = [outcome for outcome in outcomes if not outcome.error]
    assert 1 <= len(created) < len(desired)
    assert sorted(outcome.desired.alias for outcome in created) == proxy.aliases()
    assert all(is_secret_of_its_key(proxy, outcome) for outcome in created)
    assert {outcome.error for outcome in outcomes if outcome.error} == {
        f"Virtual key {outcome.desired.alias} is not as desired, because the task was interrupted"
        for outcome in outcomes
        if outcome.error
    }
