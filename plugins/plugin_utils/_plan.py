# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the key that is wanted and the keys that are there: what to do. Pure functions, nothing is asked or changed.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration, format_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import (
    SETTINGS,
    Lifetime,
    Observed,
    Wanted,
)

# LiteLLM computes an expiry from the moment it handles the request, and clocks and waiting times differ a little.
TOLERANCE = timedelta(seconds=60)

Operation = Literal["created", "updated", "unchanged", "deleted", "absent"]


@dataclass(frozen=True)
class Create:
    """Make the key. `end` is an instant, or a duration from the moment of creation, or None: never."""

    alias: str
    settings: Mapping[str, Any]
    end: datetime | Duration | None


@dataclass(frozen=True)
class Update:
    """Change what differs, and nothing else. `end` is None where the expiry stays."""

    key_id: str
    settings: Mapping[str, Any]
    end: datetime | None


@dataclass(frozen=True)
class Delete:
    """Remove these keys."""

    key_ids: tuple[str, ...]


Step = Create | Update | Delete


@dataclass(frozen=True)
class Plan:
    """What to do about one wanted key.

    :ivar key: the key as it is, before the step; None when there is none.
    :ivar step: what to do now; None when all is as wanted.
    :ivar problem: why nothing can be done, as a sentence.
    """

    operation: Operation
    key: Observed | None = None
    step: Step | None = None
    problem: str | None = None
    notes: tuple[str, ...] = field(default=())


def plan(wanted: Wanted, rows: Sequence[Observed], now: datetime, created: str | None = None) -> Plan:
    """What to do about one key.

    :param rows: every key that carries the alias, the oldest first.
    :param now: the time by the proxy's clock.
    :param created: the id of the key that this run has made, once it has tried to.
    """
    if not wanted.present:
        step = Delete(tuple(row.key_id for row in rows)) if rows else None
        return Plan("deleted" if rows else "absent", key=rows[0] if rows else None, step=step)
    if not rows:
        return _creation(wanted, now)
    oldest = rows[0]
    if created is not None and created != oldest.key_id and any(row.key_id == created for row in rows):
        # LiteLLM does not keep aliases unique when two runs create at the same time. The oldest key stays,
        # and each run takes back only what it made itself.
        return Plan("unchanged", key=oldest, step=Delete((created,)))
    key = oldest
    if wanted.secret:
        key = next((row for row in rows if row.key_id == wanted.secret.key_id), oldest)
        if key.key_id != wanted.secret.key_id:
            return Plan("unchanged", key=key, problem=_mismatch(wanted, key))
    elif wanted.secret_required and created != key.key_id:
        return Plan("unchanged", key=key, problem=_unknown(wanted, key))
    notes = ()
    if len(rows) > 1:
        notes = (f"{len(rows)} keys carry the alias {wanted.alias}; this is about {key.name or key.key_id}",)
    return _reconciliation(wanted, key, now, notes)


def foreseen(wanted: Wanted, plan: Plan, now: datetime) -> Observed | None:
    """The key as it will be after the plan, as far as that can be known: for check mode and for diffs."""
    step = plan.step
    if isinstance(step, Create):
        end = step.end.after(now) if isinstance(step.end, Duration) else step.end
        key_id = wanted.secret.key_id if wanted.secret else ""
        settings = {**dict.fromkeys(SETTINGS), **step.settings}
        return Observed(key_id, wanted.alias, created_at=now, expires=end, settings=settings)
    if isinstance(step, Update) and plan.key:
        settings = {**plan.key.settings, **step.settings}
        return replace(plan.key, expires=step.end or plan.key.expires, settings=settings)
    if isinstance(step, Delete) and not wanted.present:
        return None
    return plan.key


def _creation(wanted: Wanted, now: datetime) -> Plan:
    end = wanted.lifetime.end if wanted.lifetime else None
    if isinstance(end, datetime) and end <= now:
        return Plan("absent", problem=_past(wanted, end))
    return Plan("created", step=Create(wanted.alias, dict(wanted.settings), end))


def _reconciliation(wanted: Wanted, key: Observed, now: datetime, notes: tuple[str, ...]) -> Plan:
    changes = {}
    for name, value in wanted.settings.items():
        setting, present = SETTINGS[name], key.settings.get(name)
        target = setting.combined(value, present)
        if not setting.same(target, present):
            changes[name] = target
    end = _new_end(wanted.lifetime, key, now) if wanted.lifetime else None
    if end and end <= now:
        return Plan("unchanged", key=key, problem=_past(wanted, end))
    if not changes and not end:
        return Plan("unchanged", key=key, notes=notes)
    return Plan("updated", key=key, step=Update(key.key_id, changes, end), notes=notes)


def _new_end(lifetime: Lifetime, key: Observed, now: datetime) -> datetime | None:
    """The expiry that the key should get; None when the one it has may stay."""
    end = lifetime.end
    if isinstance(end, Duration):
        length, end = end, end.after(key.created_at or now)
        if end <= now:
            # The time asked for is over. A key that somebody keeps alive stays; a dead one begins anew.
            if key.expires is None or key.expires > now:
                return None
            end = length.after(now)
    if key.expires is not None and abs(key.expires - end) <= TOLERANCE:
        return None
    if not lifetime.shorten and (key.expires is None or key.expires > end):
        return None
    return end


def _mismatch(wanted: Wanted, key: Observed) -> str:
    return (
        f"The key {wanted.alias} exists with another secret than the one given "
        f"(it is {key.name or key.key_id}); give the right one, or remove the key first (state: absent)"
    )


def _unknown(wanted: Wanted, key: Observed) -> str:
    return (
        f"The key {wanted.alias} exists and its secret is not known: LiteLLM shows a secret only once "
        f"(it is {key.name or key.key_id}). Give the secret as key, remove the key first (state: absent), "
        "or use another guid"
    )


def _past(wanted: Wanted, end: datetime) -> str:
    return f"{wanted.alias}: expires_at {format_instant(end)} is in the past; give an instant to come"
