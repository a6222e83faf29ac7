# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide the next step for a key from its desired state and a snapshot. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from . import problems
from .durations import format_instant
from .lifetimes import TOLERANCE, end_from, instant_of, is_later, new_end
from .model import DesiredKey, ObservedKey, Snapshot, lifetime_start
from .settings import INHERITED_FIELDS, LIFETIME_START, REPLACED, SETTINGS, setting
from .steps import NEVER, Create, Delete, End, Plan, Rename, Update, Wait


def plan(
    desired: DesiredKey,
    snapshot: Snapshot,
    created: str | None = None,
    *,
    waited: bool = False,
    before: ObservedKey | None = None,
    server_secrets: bool = False,
) -> Plan:
    """Return what to do next about one key.

    :param desired: the desired key, after `resolve_lifetime`.
    :param created: the id of the key that this run has created, or has tried to create.
    :param waited: this run has waited for concurrent runs already.
    :param before: the key as this run found it at first.
    :param server_secrets: the proxy accepts only secrets that it generates.
    """
    found = _plan(desired, snapshot, created, waited=waited, before=before)
    if not server_secrets or not isinstance(found.step, Create):
        return found
    if desired.new_secret:
        return replace(found, problem=problems.custom_secret_refused(desired))
    return replace(found, step=replace(found.step, server_secret=True))


def _plan(
    desired: DesiredKey, snapshot: Snapshot, created: str | None, *, waited: bool, before: ObservedKey | None
) -> Plan:
    if foreign := next((key for key in (*snapshot.keys, *snapshot.predecessors) if desired.is_foreign(key)), None):
        return Plan("absent", problem=problems.foreign(desired, foreign))
    if not desired.present:
        return _deletion(snapshot)
    if unreadable := next((key for key in (*snapshot.keys, *snapshot.predecessors) if key.problem), None):
        return Plan("unchanged", key=unreadable, problem=unreadable.problem)
    if snapshot.predecessors and desired.regenerate != "never":
        return _replacement(desired, snapshot, created)
    if snapshot.predecessors and not snapshot.keys:
        # Another run started a replacement and did not finish it.
        return Plan("updated", key=snapshot.predecessors[0], step=restoration(desired, snapshot))
    if not snapshot.keys:
        return _creation(desired, snapshot.now, before)
    if len(snapshot.keys) > 1 and created in snapshot.ids:
        return _race(snapshot, str(created), waited=waited)
    key = next((key for key in snapshot.keys if desired.secret_of(key)), snapshot.keys[0])
    if key.key_id != created:
        has_other_secret = desired.secret is not None and not _is_accepted(desired, key)
        is_replaceable = desired.regenerate == "always" or has_other_secret or not desired.secret_of(key)
        # A key that appeared while this run created its own belongs to a concurrent run, which reports its secret.
        if desired.regenerate != "never" and is_replaceable and created is None:
            if len(snapshot.keys) > 1:
                return Plan("unchanged", key=key, problem=problems.ambiguous(desired, len(snapshot.keys)))
            return _rename_before_replacement(desired, key, snapshot.now)
        if has_other_secret:
            return Plan("unchanged", key=key, problem=problems.secret_mismatch(desired, key))
        if desired.secret_required and not desired.secret_of(key):
            return Plan("unchanged", key=key, problem=problems.secret_unknown(desired))
    return _update(desired, key, snapshot.now)


def _is_accepted(desired: DesiredKey, key: ObservedKey) -> bool:
    """Return whether the key has the desired secret, or a known one where the desired one is derived.

    A seed that is added later does not invalidate a secret that was saved before, until the key is replaced.
    """
    secret = desired.secret_of(key)
    return secret is not None and (secret == desired.secret or (desired.secret or secret).source == "derived")


def differences(desired: DesiredKey, key: ObservedKey) -> dict[str, Any]:
    """Return the settings of the key that are not as desired, with the values to send."""
    found = {}
    for name, value in desired.settings.items():
        present, one = key.value(name), setting(name)
        target = one.merge(value, present)
        if not one.matches(target, present):
            found[name] = target
    return found


def predict(desired: DesiredKey, plan: Plan, now: datetime) -> ObservedKey | None:
    """Return the key as it will be after the plan, as far as that is known: for check mode and diff mode."""
    step, key = plan.step, plan.key
    if isinstance(step, Rename) and key:
        if step.alias == desired.alias:
            restored = replace(key, alias=step.alias, settings={**key.settings, "metadata": step.metadata})
            return predict(desired, _update(desired, restored, now), now)
        step = _successor(desired, key, now)
    if isinstance(step, Create):
        key_id = desired.new_secret.key_id if desired.new_secret else ""
        settings = {**dict.fromkeys(SETTINGS), **step.settings}
        return ObservedKey(key_id, desired.alias, created_at=now, expires=instant_of(step.end, now), settings=settings)
    if isinstance(step, Update) and key:
        expires = instant_of(step.end, now) if step.end else key.expires
        return replace(key, expires=expires, settings={**key.settings, **step.settings})
    if isinstance(step, Delete) and not desired.present:
        return None
    return key


def _deletion(snapshot: Snapshot) -> Plan:
    keys = (*snapshot.keys, *snapshot.predecessors)
    if not keys:
        return Plan("absent")
    return Plan("deleted", key=keys[0], step=Delete(tuple(key.key_id for key in keys)))


def _creation(desired: DesiredKey, now: datetime, before: ObservedKey | None) -> Plan:
    if desired.alias is None:
        return Plan("absent", problem=problems.no_such_id(desired))
    if desired.on_missing == "ignore":
        return Plan("absent")
    if desired.on_missing == "recreate" and not desired.new_secret and desired.regenerate == "never":
        return Plan("absent", problem=problems.not_recreatable(desired))
    end = desired.lifetime.end if desired.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("absent", problem=problems.end_in_the_past(desired, end))
    if before:
        # A concurrent run deleted the key: the new one gets the same restrictions.
        if not desired.lifetime and before.expires and before.expires <= now:
            return Plan("absent", problem=problems.expired(desired, before.expires))
        return Plan("regenerated", step=_successor(desired, before, now))
    start = desired.lifetime_start
    settings = _merged(desired.creation_settings, desired)
    expiry, continues = end_from(end or NEVER, start, now)
    if start and continues:
        settings["metadata"] = {**(settings.get("metadata") or {}), LIFETIME_START: format_instant(start)}
    return Plan("created", step=Create(desired.alias, settings, expiry))


def _rename_before_replacement(desired: DesiredKey, key: ObservedKey, now: datetime) -> Plan:
    """Return the first step of a replacement: free the alias. The key works until its successor exists."""
    if desired.secret and desired.secret.key_id == key.key_id:
        return Plan("unchanged", key=key, problem=problems.same_secret(desired))
    if not desired.lifetime and key.expires and key.expires <= now:
        return Plan("unchanged", key=key, problem=problems.expired(desired, key.expires))
    metadata = {**(key.value("metadata") or {}), REPLACED: desired.alias}
    return Plan("regenerated", key=key, step=Rename(key.key_id, str(desired.predecessor_alias), metadata))


def _replacement(desired: DesiredKey, snapshot: Snapshot, created: str | None) -> Plan:
    """Return the next step of a replacement that this run started, or that another run did not finish."""
    predecessor = snapshot.predecessors[0]
    if snapshot.keys:
        successor = next((key for key in snapshot.keys if key.key_id == created), snapshot.keys[0])
        if successor.key_id == created and (
            correction := _correction(_successor(desired, predecessor, snapshot.now), successor, snapshot.now)
        ):
            return Plan("regenerated", key=successor, step=correction)
        step = Delete(tuple(key.key_id for key in snapshot.predecessors))
        return Plan("regenerated", key=successor, step=step)
    return Plan("regenerated", key=predecessor, step=_successor(desired, predecessor, snapshot.now))


# The settings for which a proxy can have defaults (default_key_generate_params, upperbound_key_generate_params).
_DEFAULTED_SETTINGS = (
    "models",
    "max_budget",
    "budget_duration",
    "tpm_limit",
    "rpm_limit",
    "max_parallel_requests",
    "allowed_routes",
    "blocked",
)


def _correction(created: Create, successor: ObservedKey, now: datetime) -> Update | None:
    """Return the step that makes a replacement like its predecessor where the proxy applied its own defaults."""
    changes = {}
    for name in _DEFAULTED_SETTINGS:
        expected = created.settings.get(name, setting(name).cleared_value)
        if not setting(name).matches(expected, successor.value(name)):
            changes[name] = expected
    end = instant_of(created.end, successor.created_at or now)
    is_same_end = (
        end == successor.expires
        if end is None or successor.expires is None
        else abs(successor.expires - end) <= TOLERANCE
    )
    if not changes and is_same_end:
        return None
    return Update(successor.key_id, changes, None if is_same_end else end or NEVER)


def _race(snapshot: Snapshot, created: str, *, waited: bool) -> Plan:
    """Resolve a race: LiteLLM does not enforce unique aliases if two runs create a key at the same time.

    The oldest key stays, and each run deletes only the key that it created. If this run's key is the oldest and the
    other run does not delete its own in time, it has not seen this one, and this run deletes its key.
    """
    rival = next(key for key in snapshot.keys if key.key_id != created)
    if snapshot.keys[0].key_id == created and not waited:
        return Plan("created", key=snapshot.keys[0], step=Wait())
    return Plan("unchanged", key=rival, step=Delete((created,)))


def restoration(desired: DesiredKey, snapshot: Snapshot) -> Rename:
    """Return the step that undoes the start of a replacement: the predecessor gets its alias back."""
    predecessor = snapshot.predecessors[0]
    return Rename(predecessor.key_id, str(desired.alias), _without_marker(predecessor.value("metadata")))


def _successor(desired: DesiredKey, predecessor: ObservedKey, now: datetime) -> Create:
    """Return the creation of a replacement: the settings of the predecessor, and the desired ones."""
    start = lifetime_start(predecessor)
    end: End = predecessor.expires or NEVER
    continues = True
    if desired.lifetime:
        desired_end, continues = end_from(desired.lifetime.end or NEVER, start, now)
        if desired.lifetime.shorten or is_later(desired_end, end, now):
            end = desired_end
        else:
            continues = True
    settings = _merged(inherited_settings(predecessor), desired)
    metadata = {name: value for name, value in (settings.get("metadata") or {}).items() if name != LIFETIME_START}
    if start and continues:
        metadata[LIFETIME_START] = format_instant(start)
    return Create(str(desired.alias), {**settings, "metadata": metadata}, end, predecessor.spend)


def inherited_settings(key: ObservedKey) -> dict[str, Any]:
    """Return the settings that a key passes on to the one that replaces it, or to the same key when it is recreated."""
    settings = {
        name: value
        for name, value in key.settings.items()
        # What is in the metadata is passed on with them: LiteLLM refuses some of it as a field without a licence.
        if SETTINGS[name].inherited and not SETTINGS[name].in_metadata
        if value != SETTINGS[name].cleared_value and value is not None
    }
    settings.update((name, key.row[name]) for name in INHERITED_FIELDS if key.row.get(name))
    settings["metadata"] = _without_marker(key.value("metadata"))
    return settings


def _merged(present: Mapping[str, Any], desired: DesiredKey) -> dict[str, Any]:
    """Return the settings of a new key: the present ones, overridden by the desired ones; cleared ones are left out."""
    settings = dict(present)
    for name, value in desired.settings.items():
        settings[name] = setting(name).merge(value, settings.get(name))
    return {name: value for name, value in settings.items() if value != setting(name).cleared_value}


def _without_marker(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (metadata or {}).items() if name != REPLACED}


def _update(desired: DesiredKey, key: ObservedKey, now: datetime) -> Plan:
    changes = differences(desired, key)
    end = new_end(desired.lifetime, key, now) if desired.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("unchanged", key=key, problem=problems.end_in_the_past(desired, end))
    if not changes and not end:
        return Plan("unchanged", key=key)
    return Plan("updated", key=key, step=Update(key.key_id, changes, end))
