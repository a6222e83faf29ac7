# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the key that is wanted and the keys that are there: what to do. Pure functions, nothing is asked or changed.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration, format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import short
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import (
    FURTHER_FIELDS,
    REPLACED,
    SETTINGS,
    Lifetime,
    Observed,
    Wanted,
    setting,
)

# LiteLLM computes an expiry from the moment it handles the request, and clocks and waiting times differ a little.
TOLERANCE = timedelta(seconds=60)

Operation = Literal["created", "updated", "unchanged", "regenerated", "deleted", "absent"]


class Never(Enum):
    """The end of a key that does not expire, where None means that nothing is said about it."""

    NEVER = "never"


NEVER = Never.NEVER
End = datetime | Duration | Never


@dataclass(frozen=True)
class Create:
    """Make the key. `end` is an instant, or a duration from the moment of creation, or never."""

    alias: str
    settings: Mapping[str, Any]
    end: End
    spend: float | None = None


@dataclass(frozen=True)
class Update:
    """Change what differs, and nothing else. `end` is None where the expiry stays."""

    key_id: str
    settings: Mapping[str, Any]
    end: End | None


@dataclass(frozen=True)
class Rename:
    """Free the alias for the key that is to take this one's place, or give it back; the metadata say so."""

    key_id: str
    alias: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Delete:
    """Remove these keys."""

    key_ids: tuple[str, ...]


@dataclass(frozen=True)
class Wait:
    """Give another run the time to take back what it made."""


Step = Create | Update | Rename | Delete | Wait


@dataclass(frozen=True)
class Seen:
    """What the proxy has, at one time by its clock.

    :ivar keys: every key that carries the alias, or the id, the oldest first.
    :ivar old: keys that were to be replaced, under the name they have until then.
    """

    keys: tuple[Observed, ...]
    now: datetime
    old: tuple[Observed, ...] = ()

    @property
    def ids(self) -> set[str]:
        return {key.key_id for key in self.keys}


@dataclass(frozen=True)
class Plan:
    """What to do about one wanted key.

    :ivar operation: what it comes to, for people.
    :ivar key: the key as it is, before the step; None when there is none.
    :ivar step: what to do now; None when all is as wanted.
    :ivar problem: why nothing can be done, as a sentence.
    """

    operation: Operation
    key: Observed | None = None
    step: Step | None = None
    problem: str | None = None


def settled(wanted: Wanted, now: datetime) -> Wanted:
    """The same with a lifetime that counts from now as the instant that it means, however long the work takes."""
    lifetime = wanted.lifetime
    if lifetime and lifetime.from_now and isinstance(lifetime.end, Duration):
        return replace(wanted, lifetime=replace(lifetime, end=lifetime.end.after(now), from_now=False))
    return wanted


def plan(
    wanted: Wanted,
    seen: Seen,
    created: str | None = None,
    *,
    waited: bool = False,
    before: Observed | None = None,
) -> Plan:
    """What to do next about one key.

    :param wanted: the key, `settled`.
    :param created: the id of the key that this run has made, once it has tried to.
    :param waited: this run has given others time already.
    :param before: the key as this run has found it at first.
    """
    if not wanted.present:
        return _removal(seen)
    if seen.old and wanted.regenerate != "never":
        return _replacement(wanted, seen, created)
    if seen.old and not seen.keys:
        # Another run began to replace the key and did not come to its end.
        return Plan("updated", key=seen.old[0], step=restoration(wanted, seen))
    if not seen.keys:
        return _creation(wanted, seen.now, before)
    oldest = seen.keys[0]
    if len(seen.keys) > 1 and any(key.key_id == created for key in seen.keys):
        return _withdrawal(seen, str(created), waited=waited)
    key = next((key for key in seen.keys if wanted.secret_of(key)), oldest)
    if key.key_id != created:
        is_another = wanted.secret is not None and key.key_id != wanted.secret.key_id
        unwanted = wanted.regenerate == "always" or is_another or not wanted.secret_of(key)
        # A key that appeared while this run made its own is another run's, which has told its secret.
        if wanted.regenerate != "never" and unwanted and created is None:
            if len(seen.keys) > 1:
                return Plan("unchanged", key=key, problem=_several(wanted, seen.keys))
            return _renewal(wanted, key, seen.now)
        if is_another:
            return Plan("unchanged", key=key, problem=_mismatch(wanted, key))
        if wanted.secret_required and not wanted.secret_of(key):
            return Plan("unchanged", key=key, problem=_unknown(wanted))
    return _reconciliation(wanted, key, seen.now)


def differences(wanted: Wanted, key: Observed) -> dict[str, Any]:
    """The settings that are not as wanted, with the values they should have."""
    found = {}
    for name, value in wanted.settings.items():
        present, known = key.value(name), setting(name)
        target = known.combined(value, present)
        if not known.same(target, present):
            found[name] = target
    return found


def foreseen(wanted: Wanted, plan: Plan, now: datetime) -> Observed | None:
    """The key as it will be, as far as that can be known: for check mode and for diffs."""
    step, key = plan.step, plan.key
    if isinstance(step, Rename) and key:
        if step.alias == wanted.alias:
            restored = replace(key, alias=step.alias, settings={**key.settings, "metadata": step.metadata})
            return foreseen(wanted, _reconciliation(wanted, restored, now), now)
        step = _successor(wanted, key, now)
    if isinstance(step, Create):
        key_id = wanted.secret_of_new.key_id if wanted.secret_of_new else ""
        settings = {**dict.fromkeys(SETTINGS), **step.settings}
        return Observed(key_id, wanted.alias, created_at=now, expires=_instant(step.end, now), settings=settings)
    if isinstance(step, Update) and key:
        expires = _instant(step.end, now) if step.end else key.expires
        return replace(key, expires=expires, settings={**key.settings, **step.settings})
    if isinstance(step, Delete) and not wanted.present:
        return None
    return key


def _removal(seen: Seen) -> Plan:
    doomed = (*seen.keys, *seen.old)
    if not doomed:
        return Plan("absent")
    return Plan("deleted", key=doomed[0], step=Delete(tuple(key.key_id for key in doomed)))


def _creation(wanted: Wanted, now: datetime, before: Observed | None) -> Plan:
    if wanted.alias is None:
        return Plan("absent", problem=f"There is no key with the id {wanted.key_id}")
    if wanted.missing == "ignore":
        return Plan("absent")
    if wanted.missing == "recreate" and not wanted.secret_of_new and wanted.regenerate == "never":
        return Plan("absent", problem=_gone(wanted))
    end = wanted.lifetime.end if wanted.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("absent", problem=_past(wanted, end))
    if before:
        # Others have removed it meanwhile. What it was not allowed, the one that takes its place is not, either.
        if not wanted.lifetime and before.expires and before.expires <= now:
            return Plan("absent", problem=_expired(wanted, before.expires))
        return Plan("regenerated", step=_successor(wanted, before, now))
    settings = {**wanted.initial, **wanted.settings}
    given = {name: value for name, value in settings.items() if value != setting(name).nothing}
    return Plan("created", step=Create(wanted.alias, given, end or NEVER))


def _renewal(wanted: Wanted, key: Observed, now: datetime) -> Plan:
    """The first step towards a new secret. The key itself works until the new one exists."""
    if wanted.secret and wanted.secret.key_id == key.key_id:
        return Plan("unchanged", key=key, problem=_same_secret(wanted))
    if not wanted.lifetime and key.expires and key.expires <= now:
        return Plan("unchanged", key=key, problem=_expired(wanted, key.expires))
    metadata = {**(key.value("metadata") or {}), REPLACED: wanted.alias}
    return Plan("regenerated", key=key, step=Rename(key.key_id, str(wanted.old_alias), metadata))


def _replacement(wanted: Wanted, seen: Seen, created: str | None) -> Plan:
    """A key is being replaced, by this run or by one that did not come to its end."""
    if seen.keys:
        made = next((key for key in seen.keys if key.key_id == created), seen.keys[0])
        return Plan("regenerated", key=made, step=Delete(tuple(key.key_id for key in seen.old)))
    return Plan("regenerated", key=seen.old[0], step=_successor(wanted, seen.old[0], seen.now))


def _withdrawal(seen: Seen, created: str, *, waited: bool) -> Plan:
    """LiteLLM does not keep aliases unique when two runs create at the same time: one key is to stay.

    The oldest stays, and each run takes back only what it made itself. If the other one does not, then it did not see
    ours, which came late; so we give way.
    """
    rival = next(key for key in seen.keys if key.key_id != created)
    if seen.keys[0].key_id == created and not waited:
        return Plan("created", key=seen.keys[0], step=Wait())
    return Plan("unchanged", key=rival, step=Delete((created,)))


def restoration(wanted: Wanted, seen: Seen) -> Rename:
    """The way back, where there is no new key: the old one gets its name again."""
    old = seen.old[0]
    return Rename(old.key_id, str(wanted.alias), _unmarked(old.value("metadata")))


def _successor(wanted: Wanted, old: Observed, now: datetime) -> Create:
    """The key that takes the place of another: all of its settings, and what is asked for besides."""
    settings = {
        name: value
        for name, value in old.settings.items()
        if SETTINGS[name].inherited and value != SETTINGS[name].nothing and value is not None
    }
    settings.update((name, old.row[name]) for name in FURTHER_FIELDS if old.row.get(name))
    settings["metadata"] = _unmarked(old.value("metadata"))
    for name, value in wanted.settings.items():
        settings[name] = setting(name).combined(value, settings.get(name))
    settings = {name: value for name, value in settings.items() if value != setting(name).nothing}
    end: End = old.expires or NEVER
    if wanted.lifetime:
        asked = wanted.lifetime.end or NEVER
        if wanted.lifetime.shorten or _later(asked, end, now):
            end = asked
    return Create(str(wanted.alias), settings, end, old.spend)


def _unmarked(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (metadata or {}).items() if name != REPLACED}


def _reconciliation(wanted: Wanted, key: Observed, now: datetime) -> Plan:
    changes = differences(wanted, key)
    end = _new_end(wanted.lifetime, key, now) if wanted.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("unchanged", key=key, problem=_past(wanted, end))
    if not changes and not end:
        return Plan("unchanged", key=key)
    return Plan("updated", key=key, step=Update(key.key_id, changes, end))


def _new_end(lifetime: Lifetime, key: Observed, now: datetime) -> datetime | Never | None:
    """The end that the key should get; None when the one it has may stay."""
    end = lifetime.end
    if end is None:
        return NEVER if key.expires else None
    if isinstance(end, Duration):
        length, end = end, end.after(key.created_at or now)
        if end <= now:
            # The time asked for is over. A key that somebody keeps alive stays; a dead one begins anew.
            if key.expires is None or key.expires > now:
                return None
            end = length.after(now)
    dead = key.expires is not None and key.expires <= now < end  # however near its end is, it does not work
    if key.expires is not None and not dead and abs(key.expires - end) <= TOLERANCE:
        return None
    if not lifetime.shorten and not _later(end, key.expires or NEVER, now):
        return None
    return end


def _later(one: End, other: End, now: datetime) -> bool:
    first, second = _instant(one, now), _instant(other, now)
    return second is not None and (first is None or first > second)


def _instant(end: End, now: datetime) -> datetime | None:
    """The end as an instant; None stands for never."""
    if isinstance(end, Never):
        return None
    return end.after(now) if isinstance(end, Duration) else end


def _mismatch(wanted: Wanted, key: Observed) -> str:
    return (
        f"The key {wanted.name} exists with another secret than the one given "
        f"(it is {short(key.name or key.key_id)}); give the right one, remove the key first "
        "(state: absent; with the role ACTION: destroy), or have it replaced (regenerate: if_unrecoverable)"
    )


def _unknown(wanted: Wanted) -> str:
    return (
        f"The key {wanted.name} exists and its secret is not known: LiteLLM shows a secret only once. "
        "Give the secret as key, remove the key first "
        "(state: absent; with the role ACTION: destroy), use another guid, derive secrets from a key_seed "
        "from the start, or have it replaced (regenerate: if_unrecoverable)"
    )


def _gone(wanted: Wanted) -> str:
    return (
        f"There is no key {wanted.name}: it was removed, perhaps after it had expired, and its secret is not known "
        "here, so that it cannot be made again. Provision it (with the role ACTION: provision), or let it have a new "
        "secret (regenerate: if_unrecoverable)"
    )


def _several(wanted: Wanted, keys: Sequence[Observed]) -> str:
    return (
        f"{len(keys)} keys carry the alias {wanted.name}, and which of them is to be replaced cannot be told; "
        "remove all but one by its key_id (state: absent)"
    )


def _same_secret(wanted: Wanted) -> str:
    return (
        f"The key {wanted.name} cannot be regenerated with the secret that it has; "
        "give another key, or another key_version"
    )


def _expired(wanted: Wanted, expires: datetime) -> str:
    return (
        f"The key {wanted.name} expired at {format_instant(expires)}, and its successor would, too; "
        "say how long it should live (duration, runtime or expires_at)"
    )


def _past(wanted: Wanted, end: datetime) -> str:
    return f"{wanted.name}: expires_at {format_instant(end)} is in the past; give an instant to come"
