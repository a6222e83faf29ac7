# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide the next step for a key from its desired state and a snapshot. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from . import problems
from .durations import format_instant
from .lifetimes import end_from, instant_of, new_end
from .model import DesiredKey, ObservedKey, Snapshot, by_age
from .previous import (
    adoption,
    is_abandoned,
    is_due,
    is_lost_rotation,
    is_secret_lost,
    previous_mark,
    retirement,
    retirement_again,
    rotated,
    tidy,
    without_replaced,
)
from .replacement import correction, merged_settings, recreation_of, successor_of
from .secrets import Secret
from .settings import LIFETIME_START, SETTINGS, setting, with_companions
from .steps import NEVER, Create, Delete, Plan, Rename, Step, Update


@dataclass(frozen=True)
class Claims:
    """Which of the keys that claim an alias has it.

    LiteLLM does not enforce unique aliases if two clients create keys at the same time. The oldest key wins. Every run
    that sees both decides alike, and a key that appears later cannot be older. A key that has replaced another one
    wins: a delayed request can give that one the alias again.

    :ivar key: the key that has the alias, or gets it.
    :ivar successor: the key that is about to replace it.
    :ivar surplus: keys that have lost a race. The runs that have created them delete them, and so do later runs.
    """

    key: ObservedKey
    successor: ObservedKey | None
    surplus: tuple[ObservedKey, ...]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Claims:
        """Return the claims to an alias that at least one key claims."""
        ids = {key.key_id for key in snapshot.keys}
        # A key claims the alias of the one that it replaces as soon as that one is deleted, or has another alias.
        heirs = [one for one in snapshot.successors if one.replaces not in ids]
        key = min((*without_replaced(snapshot.keys), *heirs), key=by_age)
        successor = next((one for one in snapshot.successors if one.replaces == key.key_id), None)
        return cls(key, successor, tuple(one for one in snapshot.claimants if one not in (key, successor)))


def plan(
    desired: DesiredKey,
    snapshot: Snapshot,
    created: str | None = None,
    *,
    before: ObservedKey | None = None,
    server_secrets: bool = False,
) -> Plan:
    """Return what to do next about one key.

    :param desired: the desired key, after `resolve_lifetime`.
    :param created: the id of the key that this run has created, or has tried to create.
    :param before: the key as this run found it at first.
    :param server_secrets: the proxy accepts only secrets that it generates.
    """
    found = _plan(desired, snapshot, created, before)
    if not found.step and not found.problem and found.key and desired.present:
        # The key is as desired.
        step = tidy(desired, found.key, snapshot)
        found = replace(found, operation="updated", step=step) if step else found
    if not server_secrets or not isinstance(found.step, Create):
        return found
    if found.step.secret or (desired.new_secret and not found.step.new_secret):
        return replace(found, problem=problems.custom_secret_refused(desired))
    return replace(found, step=replace(found.step, server_secret=True))


def _plan(desired: DesiredKey, snapshot: Snapshot, created: str | None, before: ObservedKey | None) -> Plan:
    if foreign := next((key for key in snapshot.all if desired.is_foreign(key)), None):
        return Plan("absent", problem=problems.foreign(desired, foreign))
    if not desired.present:
        return _deletion(snapshot)
    if unreadable := next((key for key in snapshot.claimants if key.problem), None):
        return Plan("unchanged", key=unreadable, problem=unreadable.problem)
    if not snapshot.claimants:
        return _creation(desired, snapshot.now, before)
    claims = Claims.of(snapshot)
    key, successor = claims.key, claims.successor
    if created in {one.key_id for one in claims.surplus}:
        return Plan("unchanged", key=key, step=Delete((str(created),)))
    if step := retirement_again(key, snapshot.keys):
        return Plan("updated", key=key, step=step)
    is_ours = created in {one.key_id for one in (key, successor) if one}
    # Other runs delete their own surplus keys, unless these keep the key or its successor from the alias.
    in_the_way = [one.key_id for one in claims.surplus if desired.owns(one) and _is_in_the_way(one, claims, snapshot)]
    if in_the_way and (key not in snapshot.keys or key.key_id != created):
        return Plan("updated", key=key, step=Delete(tuple(in_the_way)))
    if desired.alias and key not in snapshot.keys:
        return Plan("regenerated" if is_ours else "updated", key=key, step=Rename(key.key_id, desired.alias))
    if key.key_id == created:
        return _update(desired, key, snapshot.now)
    if successor and successor.key_id == created:
        # A concurrent run may have created it with the same derived secret.
        adopted = adoption(desired, key, successor) if desired.regenerate == "never" else None
        finished = _replacement(desired, key, successor, snapshot)
        return replace(finished, step=adopted or finished.step)
    return _plan_for_existing(desired, claims, snapshot, created, before)


def _plan_for_existing(
    desired: DesiredKey, claims: Claims, snapshot: Snapshot, created: str | None, before: ObservedKey | None
) -> Plan:
    """Return what to do about a key that this run has not created."""
    key, successor, now = claims.key, claims.successor, snapshot.now
    has_other_secret = desired.secret is not None and not _is_accepted(desired, key)
    is_replaceable = desired.regenerate == "always" or has_other_secret or not desired.secret_of(key)
    # A key that appeared while this run created its own belongs to a concurrent run, which reports its secret.
    is_found = created is None or (before is not None and key.key_id == before.key_id)
    if desired.regenerate != "never" and is_replaceable and is_found:
        if successor:
            # Finish the replacement of another run, whether it was killed or not.
            return _replacement(DesiredKey(desired.alias), key, successor, snapshot, revoke=True)
        if claims.surplus:
            return Plan("regenerated", key=key, step=Delete(tuple(one.key_id for one in claims.surplus)))
        return _successor_creation(desired, key, now)
    if created is None and before and is_lost_rotation(desired, key, before, now):
        if abandoned := [one.key_id for one in snapshot.successors if is_abandoned(one, now)]:
            return Plan("regenerated", key=key, step=Delete(tuple(abandoned)))
        return Plan("regenerated", key=key, step=rotated(desired, key, now, before))
    if has_other_secret:
        return Plan("unchanged", key=key, problem=problems.secret_mismatch(desired, key))
    if desired.secret_required and not desired.secret_of(key):
        return Plan("unchanged", key=key, problem=problems.secret_unknown(desired))
    if is_found and is_due(desired, key, snapshot) and (due := _rotation(desired, claims, snapshot)):
        return due
    if desired.rotate and not desired.secret_of(key) and is_secret_lost(key, desired.known_secrets, now):
        return Plan("unchanged", key=key, problem=problems.secret_unknown(desired))
    found = _update(desired, key, now)
    if successor and not found.step and not found.problem:
        # A concurrent run may have copied the settings before this run changed them.
        return replace(_update(desired, successor, now), operation="unchanged", key=key)
    return found


def _is_in_the_way(surplus: ObservedKey, claims: Claims, snapshot: Snapshot) -> bool:
    """Return whether a surplus key has the alias, or would get it instead of the successor."""
    successor = claims.successor
    return surplus in snapshot.keys or (successor is not None and by_age(surplus) < by_age(successor))


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
    return with_companions(found, desired.settings, key.value("metadata"))


def secret_of_creation(desired: DesiredKey, step: Create) -> Secret | None:
    """Return the secret that a new key gets; None if it is not known before."""
    return step.secret or (None if step.new_secret else desired.new_secret)


def predict(desired: DesiredKey, plan: Plan, now: datetime) -> ObservedKey | None:
    """Return the key as it will be after the plan, as far as that is known: for check mode and diff mode."""
    step, key = plan.step, plan.key
    if isinstance(step, Rename) and key:
        renamed = replace(key, alias=step.alias)
        return predict(desired, _update(desired, renamed, now), now)
    if isinstance(step, Create):
        secret = secret_of_creation(desired, step)
        key_id = secret.key_id if secret else ""
        settings = {**dict.fromkeys(SETTINGS), **step.settings}
        return ObservedKey(key_id, desired.alias, created_at=now, expires=instant_of(step.end, now), settings=settings)
    if isinstance(step, Update) and key and step.key_id == key.key_id:
        expires = instant_of(step.end, now) if step.end else key.expires
        return replace(key, expires=expires, settings={**key.settings, **step.settings})
    if isinstance(step, Delete) and not desired.present:
        return None
    return key


def _deletion(snapshot: Snapshot) -> Plan:
    if not snapshot.all:
        return Plan("absent")
    return Plan("deleted", key=snapshot.all[0], step=Delete(tuple(key.key_id for key in snapshot.all)))


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
        return Plan("regenerated", step=recreation_of(desired, before, now))
    start = desired.lifetime_start
    settings = merged_settings(desired.creation_settings, desired)
    expiry, continues = end_from(end or NEVER, start, now)
    if start and continues:
        settings["metadata"] = {**(settings.get("metadata") or {}), LIFETIME_START: format_instant(start)}
    return Plan("created", step=Create(desired.alias, settings, expiry))


def _successor_creation(desired: DesiredKey, key: ObservedKey, now: datetime) -> Plan:
    """Return the first step of a replacement: create the new key beside the old one, which works meanwhile."""
    if desired.secret and desired.secret.key_id == key.key_id:
        return Plan("unchanged", key=key, problem=problems.same_secret(desired))
    if key.key_id in desired.later_ids:
        return Plan("unchanged", key=key, problem=problems.older_secret(desired))
    if not desired.lifetime and key.expires and key.expires <= now:
        return Plan("unchanged", key=key, problem=problems.expired(desired, key.expires))
    # To replace a key at once revokes all its secrets; else, the one that it has replaced works until its overlap ends.
    marks = {} if desired.regenerate == "always" else previous_mark(key)
    return Plan("regenerated", key=key, step=successor_of(desired, key, now, marks))


def _rotation(desired: DesiredKey, claims: Claims, snapshot: Snapshot) -> Plan | None:
    """Return the next step of the replacement of a key because of its age; None if another run is replacing it."""
    key, successor = claims.key, claims.successor
    # The old key need not be replaced now, unlike one with `regenerate`.
    if not all(is_abandoned(one, snapshot.now) or desired.secret_of(one) for one in snapshot.successors):
        return None
    if ended := [one.key_id for one in snapshot.previous]:
        return Plan("regenerated", key=key, step=Delete(tuple(ended)))
    if successor:
        finished = _replacement(DesiredKey(desired.alias), key, successor, snapshot)
        return replace(finished, step=adoption(desired, key, successor) or finished.step)
    if claims.surplus:
        return Plan("regenerated", key=key, step=Delete(tuple(one.key_id for one in claims.surplus)))
    return Plan("regenerated", key=key, step=rotated(desired, key, snapshot.now))


def _replacement(
    desired: DesiredKey, key: ObservedKey, successor: ObservedKey, snapshot: Snapshot, *, revoke: bool = False
) -> Plan:
    """Return the next step of a replacement whose new key exists: correct the new key, or delete or retire the old one.

    :param revoke: delete the old key, also if it was to work until an overlap ends.
    """
    step: Step | None = correction(successor_of(desired, key, snapshot.now), successor, snapshot.now)
    if not step and not revoke:
        step = retirement(key, successor)
    previous = snapshot.previous if desired.regenerate == "always" else ()
    return Plan("regenerated", key=key, step=step or Delete((key.key_id, *(one.key_id for one in previous))))


def _update(desired: DesiredKey, key: ObservedKey, now: datetime) -> Plan:
    changes = differences(desired, key)
    end = new_end(desired.lifetime, key, now) if desired.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("unchanged", key=key, problem=problems.end_in_the_past(desired, end))
    if not changes and not end:
        return Plan("unchanged", key=key)
    return Plan("updated", key=key, step=Update(key.key_id, changes, end))
