# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compute when a key should expire. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from .durations import Duration, from_seconds, human, parse_instant
from .model import DesiredKey, Lifetime, ObservedKey, lifetime_start
from .steps import NEVER, End, Never

# LiteLLM computes an expiry when it handles the request, and clocks and waiting times differ a little.
TOLERANCE = timedelta(seconds=60)


def resolve_lifetime(desired: DesiredKey, now: datetime) -> DesiredKey:
    """Return the desired key with a lifetime that counts from now as an instant, which later rounds do not move."""
    lifetime = desired.lifetime
    if lifetime and lifetime.from_now and isinstance(lifetime.end, Duration):
        return replace(desired, lifetime=replace(lifetime, end=lifetime.end.after(now), from_now=False))
    return desired


def new_end(lifetime: Lifetime, key: ObservedKey, now: datetime) -> datetime | Never | None:
    """Return the expiry that the key should get; None if its present one is right."""
    end = lifetime.end
    if end is None:
        return NEVER if key.expires else None
    if isinstance(end, Duration):
        start, is_active = lifetime_start(key), key.expires is not None and key.expires > now
        if start is None and is_active:  # LiteLLM has forgotten when the key was created: its expiry cannot be checked
            return None
        length, end = end, end.after(start or now)
        if end <= now:
            # The duration has passed. A key that has not expired keeps its expiry; any other is renewed from now.
            if is_active:
                return None
            end = length.after(now)
    has_expired = key.expires is not None and key.expires <= now < end  # renewed even within the tolerance
    if key.expires is not None and not has_expired and abs(key.expires - end) <= TOLERANCE:
        return None
    if not lifetime.shorten and not is_later(end, key.expires or NEVER, now):
        return None
    return end


def earlier_end(desired: DesiredKey, key: ObservedKey | None, now: datetime) -> datetime | None:
    """Return the expiry that the key does not get because it would be shortened; None if there is none."""
    lifetime = desired.lifetime
    if lifetime is None or lifetime.shorten or key is None or new_end(lifetime, key, now) is not None:
        return None
    end = new_end(replace(lifetime, shorten=True), key, now)
    return end if isinstance(end, datetime) else None


def is_later(one: End, other: End, now: datetime) -> bool:
    first, second = instant_of(one, now), instant_of(other, now)
    return second is not None and (first is None or first > second)


def end_from(end: End, start: datetime | None, now: datetime) -> tuple[End, bool]:
    """Return the expiry of a new key whose lifetime started before, and whether that lifetime continues.

    A duration that has passed counts from now, as for an expired key.
    """
    if not isinstance(end, Duration) or start is None:
        return end, True
    instant = end.after(start)
    return (instant, True) if instant > now else (end, False)


def instant_of(end: End, now: datetime) -> datetime | None:
    """Return the end as an instant; None stands for never."""
    if isinstance(end, Never):
        return None
    return end.after(now) if isinstance(end, Duration) else end


def time_until(expires: str | None, now: datetime) -> str:
    """Return the time from now to the expiry in words: `in 3 hours`, `2 days ago`, `never`.

    It is rounded down to hours, or to minutes if it is at most a day.
    """
    if not expires:
        return "never"
    remaining = parse_instant(expires) - now
    unit = timedelta(hours=1) if abs(remaining) > timedelta(days=1) else timedelta(minutes=1)
    rounded = abs(remaining) // unit * unit
    text = human(from_seconds(int(rounded.total_seconds()))) if rounded else "less than a minute"
    return f"in {text}" if remaining > timedelta(0) else f"{text} ago"
