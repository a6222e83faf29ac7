# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""Replace a key because of its age, while the replaced key works until an overlap ends. Pure functions.

The new key is created beside the old one, as for every replacement. Then the old key is retired: one request gives it
another alias, and the end of the overlap as its expiry.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from .lifetimes import TOLERANCE
from .model import DesiredKey, ObservedKey, Snapshot
from .names import previous_alias
from .replacement import successor_of
from .secrets import Secret
from .settings import PREVIOUS, REPLACED_BY, SECRET_VERSION
from .steps import Create, Delete, Retire, Update

# A run that replaces a key takes seconds, and with hundreds of keys minutes.
_ABANDONED_AFTER = timedelta(minutes=15)


def find_previous(
    desired: DesiredKey, candidates: Sequence[ObservedKey], claimants: Sequence[ObservedKey]
) -> tuple[ObservedKey, ...]:
    """Return the keys that the desired key has replaced and that work until their overlap ends.

    Anybody can give a key such an alias, and write any metadata. An update that another run sends at the same time can
    remove the mark from a key, and then the key that has replaced it proves it.

    :param candidates: keys with the alias of a previous key.
    :param claimants: the keys that have the alias of the desired key, or get it.
    """
    return tuple(
        one
        for one in candidates
        if not desired.is_foreign(one)
        and (_is_left(desired, one) or any(_has_replaced(desired, key, one) for key in claimants))
    )


def previous_of(key: ObservedKey, found: Iterable[ObservedKey], owner: str | None = None) -> ObservedKey | None:
    """Return the key among others that a key has replaced and that works until its overlap ends, if there is one."""
    candidates = [one for one in found if key.alias and one.alias == previous_alias(key.alias)]
    return next(iter(find_previous(DesiredKey(key.alias, owner=owner), candidates, [key])), None)


def _has_replaced(desired: DesiredKey, key: ObservedKey, old: ObservedKey) -> bool:
    """Return whether a key has replaced another one. The first proves it, or the second one with the same guid does."""
    guid = _guid_of(old)
    if old.key_id in (key.previous_id, key.replaces):
        return guid in (None, _guid_of(key))
    # The key that has replaced the old one may be gone: this one has replaced it at once.
    is_named = old.is_previous and (old.value("metadata") or {})[REPLACED_BY] in (key.key_id, key.replaces)
    return is_named and guid == _guid_of(key) and (guid is not None or desired.owner is None)


def _guid_of(key: ObservedKey) -> str | None:
    guid = (key.value("metadata") or {}).get("guid")
    return None if guid is None else str(guid)


def _is_left(desired: DesiredKey, key: ObservedKey) -> bool:
    """Return whether a key is deleted with the environment whose guid it has, also if its successor is gone."""
    return (
        not desired.present
        and key.is_previous
        and _guid_of(key) is not None
        and _guid_of(key) == (desired.owner or desired.guid)
    )


def is_due(desired: DesiredKey, key: ObservedKey, snapshot: Snapshot) -> bool:
    """Return whether a key is so old that it is replaced. One whose overlap has not ended delays that."""
    if desired.rotate is None or key.created_at is None or _has_expired(key, snapshot.now):
        return False
    has_overlap = not all(_has_expired(one, snapshot.now) for one in snapshot.previous)
    return desired.rotate.is_due(key.created_at, snapshot.now) and not has_overlap


def stops_rotation(key: ObservedKey | None, previous: Sequence[ObservedKey]) -> ObservedKey | None:
    """Return a previous key without an expiry, which a run cannot set: the overlap never ends."""
    if not key or not previous:
        return None
    return next((one for one in previous if one.expires is None and (one.problem or not key.overlap)), None)


def is_lost_rotation(desired: DesiredKey, key: ObservedKey, before: ObservedKey, now: datetime) -> bool:
    """Return whether nobody knows the secret of a key that has replaced an old one, because its run was killed.

    :param before: the key that this run found at first.
    """
    if desired.rotate is None or before.created_at is None or before.key_id != key.replaces:
        return False
    is_derived = SECRET_VERSION in (key.value("metadata") or {})
    is_unknown = not is_derived and not desired.secret_of(key)
    return is_unknown and is_abandoned(key, now) and desired.rotate.is_due(before.created_at, now)


def is_secret_lost(key: ObservedKey, known: Collection[Secret], now: datetime) -> bool:
    """Return whether the known secrets are those of keys that the key has replaced.

    The run that has replaced them was killed before it saved the new secret, or has saved it elsewhere. One that is not
    done is not counted.
    """
    is_known = key.key_id in {one.key_id for one in known}
    return bool(known) and not is_known and key.replaces is not None and is_abandoned(key, now)


def without_replaced(keys: Sequence[ObservedKey]) -> tuple[ObservedKey, ...]:
    """Return the keys with an alias without those that others among them have replaced."""
    replaced = {one.previous_id for one in keys}
    return tuple(one for one in keys if one.key_id not in replaced) or tuple(keys)


def retirement_again(key: ObservedKey, keys: Sequence[ObservedKey]) -> Retire | None:
    """Return the step that retires a key again which has got its former alias from a delayed request.

    :param keys: the keys with the alias.
    """
    again = next((one for one in keys if one.key_id == key.previous_id), None)
    return retirement(again, key) if again and key in keys else None


def is_abandoned(successor: ObservedKey, now: datetime) -> bool:
    """Return whether the run that created the key was killed."""
    return successor.created_at is None or successor.created_at + _ABANDONED_AFTER <= now


def rotated(desired: DesiredKey, key: ObservedKey, now: datetime, before: ObservedKey | None = None) -> Create:
    """Return the creation of the key that replaces an old one, with the next version of a derived secret.

    :param before: the old key that the key has replaced, if nobody knows the secret of the key. The key is deleted, and
        the old one works until its overlap ends.
    """
    marks = previous_mark(key) if before else _new_mark(desired, key)
    if not desired.versions:
        return replace(successor_of(desired, key, now, marks), new_secret=True)
    version = desired.version_of(before or key)
    version = desired.versions.first if version is None else version + 1
    step = successor_of(desired, key, now, {**marks, SECRET_VERSION: version})
    return replace(step, new_secret=True, secret=desired.versions.secret(version))


def previous_mark(key: ObservedKey) -> dict[str, Any]:
    """Return the entry of the metadata that says which key the key has replaced, if it may still work."""
    return {name: value for name, value in (key.value("metadata") or {}).items() if name == PREVIOUS}


def _new_mark(desired: DesiredKey, key: ObservedKey) -> dict[str, Any]:
    overlap = desired.rotate.overlap if desired.rotate else None
    return {PREVIOUS: {"key_id": key.key_id, "overlap": str(overlap)}} if overlap else {}


def adoption(desired: DesiredKey, key: ObservedKey, successor: ObservedKey) -> Update | None:
    """Return the step after which a successor that a killed run has left replaces the key with an overlap."""
    mark = _new_mark(desired, key)
    if not mark or previous_mark(successor):
        return None
    return Update(successor.key_id, {"metadata": {**(successor.value("metadata") or {}), **mark}}, None)


def retirement(key: ObservedKey, successor: ObservedKey) -> Retire | None:
    """Return the step that lets the key work until its overlap ends; None if the successor replaces it at once."""
    if successor.previous_id != key.key_id or not successor.overlap:
        return None
    metadata = {**(key.value("metadata") or {}), REPLACED_BY: successor.key_id}
    return Retire(key.key_id, previous_alias(str(key.alias)), successor.overlap, key.expires, metadata)


def tidy(desired: DesiredKey, key: ObservedKey, snapshot: Snapshot) -> Delete | Update | None:
    """Return the next step for the keys that a key has replaced, once that key is as desired; None if there is none."""
    now = snapshot.now
    ended = [one for one in snapshot.previous if desired.regenerate == "always" or _has_expired(one, now)]
    if ended:
        return Delete(tuple(one.key_id for one in ended))
    for one in snapshot.previous:
        if one.problem:  # it can be deleted, but not changed
            continue
        changes: dict[str, Any] = {}
        # A run that changes the settings of the key while another one retires it sends them to the retired key.
        latest = key.overlap.after(now) if key.overlap else None
        is_too_late = latest is not None and (one.expires is None or one.expires > latest + TOLERANCE)
        if not one.is_previous:
            changes["metadata"] = {**(one.value("metadata") or {}), REPLACED_BY: key.key_id}
        blocked = desired.settings.get("blocked")
        if blocked is not None and bool(one.value("blocked")) != blocked:
            changes["blocked"] = blocked
        if changes or is_too_late:
            return Update(one.key_id, changes, latest if is_too_late else None)
    return None


def _has_expired(key: ObservedKey, now: datetime) -> bool:
    return key.expires is not None and key.expires <= now
