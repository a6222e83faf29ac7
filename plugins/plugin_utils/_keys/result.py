# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn outcomes into the results that users see: plain data.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .._text import Wording, printable
from .durations import Duration, format_instant, from_seconds, parse_instant
from .lifetimes import TOLERANCE
from .model import ObservedKey, lifetime_start
from .names import guid_in_alias
from .outcome import Outcome
from .previous import previous_of
from .settings import SETTINGS, setting
from .values import is_same_json

Json = dict[str, Any]

_MAX_LISTED = 10


def result_entry(outcome: Outcome) -> Json:
    """Return one entry of the result's `virtual_keys`. It contains the secret if that is known."""
    desired, secret = outcome.desired, outcome.secret
    entry: Json = {
        "key": secret.value if secret else None,
        "key_source": secret.source if secret else None,
        "guid": desired.guid,
        "operation": "failed" if outcome.error else outcome.operation,
        **describe_key(outcome.after or outcome.before or ObservedKey(key_id="", alias=desired.alias)),
        "previous": describe_previous(outcome.previous),
    }
    if desired.user:
        entry["user"] = desired.user
    if duration := _desired_duration(outcome):
        entry["duration"] = str(duration)
    if outcome.error:
        entry["error"] = outcome.error
    return entry


def _desired_duration(outcome: Outcome) -> Duration | None:
    """Return the duration in the user's unit if the key has it: a key that was extended before may have another."""
    key, lifetime = outcome.after, outcome.desired.lifetime
    if not key or not lifetime or not isinstance(lifetime.end, Duration) or not key.expires:
        return None
    if not (start := lifetime_start(key)):
        return None
    is_exact = abs(lifetime.end.after(start) - key.expires) <= TOLERANCE
    return lifetime.end if is_exact or outcome.end_set else None


def describe_key(key: ObservedKey) -> Json:
    """Return the fields of an observed key that results contain. They contain no secret."""
    return {
        "key_alias": key.alias,
        "key_id": key.key_id or None,
        "key_name": key.key_name,
        "models": key.value("models"),
        "duration": lifespan(key),
        "expires": instant_text(key.expires),
        "created_at": instant_text(key.created_at),
        "blocked": bool(key.value("blocked")),
        "user_id": key.value("user_id"),
        "team_id": key.value("team_id"),
        "max_budget": key.value("max_budget"),
        "spend": key.spend,
        "metadata": key.value("metadata"),
    }


def describe_previous(key: ObservedKey | None) -> Json | None:
    """Return the fields of a key that was replaced and works until its overlap ends; None if there is none."""
    if key is None:
        return None
    return {"key_id": key.key_id, "key_alias": key.alias, "expires": instant_text(key.expires)}


def lifespan(key: ObservedKey) -> str | None:
    """Return how long the key lives in total, to the minute, such as `30d`. None if it never expires."""
    start = lifetime_start(key)
    if key.expires is None or start is None:
        return None
    seconds = round((key.expires - start) / timedelta(minutes=1)) * 60
    return str(from_seconds(seconds)) if seconds > 0 else "0m"


def describe_status(key: ObservedKey, now: datetime) -> Json:
    """Return the fields of `describe_key`, the status of the key, and which of its data could not be read."""
    return {
        **describe_key(key),
        "status": key_status(key, now),
        "is_previous": key.is_previous,
        "problem": key.problem,
        "unreadable": sorted(key.unreadable),
    }


def describe_listed(
    keys: Iterable[ObservedKey], listed: Iterable[ObservedKey], now: datetime, prefix: str
) -> list[Json]:
    """Return the fields of `describe_status`, the guid in the alias, and the previous key of each of these keys.

    :param listed: all keys that were found, among them the previous ones.
    :param prefix: what an alias starts with, before the guid.
    """
    replaced: dict[str | None, list[ObservedKey]] = {}
    for key in listed:
        if key.is_previous:
            replaced.setdefault(key.final_alias, []).append(key)
    return [
        {
            **describe_status(key, now),
            "previous": describe_previous(previous_of(key, replaced.get(key.alias, ()))),
            "guid": guid_in_alias((key.final_alias if key.is_previous else key.alias) or "", prefix),
        }
        for key in keys
    ]


def key_status(key: ObservedKey, now: datetime) -> str:
    """Return `blocked`, `expired`, `active`, or `unknown` if what determines it could not be read."""
    if key.value("blocked"):
        return "blocked"
    if key.unreadable & {"blocked", "expires"}:
        return "unknown"
    return "expired" if key.expires is not None and key.expires <= now else "active"


def unusable_key(entry: Mapping[str, Any], now: datetime, wording: Wording) -> str | None:
    """Return why the proxy refuses the secret of a key that exists, as a sentence; None if it accepts it.

    :param entry: the fields of `describe_key`.
    """
    reason, budget = None, budget_at(entry, now)
    if entry["blocked"]:
        how = "" if wording.in_playbook else " with block_on_stop, or blocked: false"
        reason = f"it is blocked. Unblock it ({wording.operation('start')}{how})"
    elif entry["expires"] and parse_instant(entry["expires"]) <= now:
        how = f" ({wording.operation('extend')})" if wording.in_playbook else ""
        reason = f"it expired at {entry['expires']}. Extend it{how}"
    elif budget is not None and (entry["spend"] or 0) >= budget:
        reason = f"its budget of {budget:g} is spent. Raise {wording.option('max_budget')}"
    return reason and printable(f"Virtual key {entry['key_alias'] or entry['key_name']} does not work: {reason}")


def budget_at(entry: Mapping[str, Any], now: datetime) -> float | None:
    """Return the budget that LiteLLM applies at a time: `max_budget`, plus the temporary increase until its expiry.

    :param entry: the fields of `describe_key`.
    """
    budget, metadata = entry["max_budget"], entry.get("metadata")
    increase, expiry = (
        SETTINGS[name].read({"metadata": metadata if isinstance(metadata, Mapping) else None})
        for name in ("temp_budget_increase", "temp_budget_expiry")
    )
    is_increased = budget is not None and increase and expiry and parse_instant(expiry) > now
    return float(budget + increase) if is_increased else budget


def unlimited_keys(outcomes: Sequence[Outcome], wording: Wording) -> str | None:
    """Return a warning about new keys that can use every model, and have neither a budget nor an end; None without."""
    limits = ("models", "max_budget", "budget_limits", "budget_id", "team_id", "organization_id", "project_id")
    names = [
        outcome.desired.name
        for outcome in outcomes
        if outcome.operation == "created"
        and (key := outcome.after)
        and key.expires is None
        and all(key.value(name) in (None, [], "") for name in limits)
    ]
    if not names:
        return None
    shown = ", ".join(names[:_MAX_LISTED]) + (
        f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    )
    options = ", ".join(wording.option(name) for name in ("models", "max_budget"))
    return (
        f"New virtual keys can use all models of the proxy, and have neither a budget nor an end: {shown}. To limit "
        f"them, set {options} or {wording.option('duration')}"
    )


def difference(outcome: Outcome) -> Json | None:
    """Return the key before and after, for diff mode; None if it did not change. It contains no secret."""
    gone = [one for one in outcome.deleted_previous if one is not outcome.before]
    if outcome.before is outcome.after and not gone:  # nothing was done
        return None
    extra = [name for name in outcome.desired.settings if name not in SETTINGS]
    before, after = (_diffable(key, extra) for key in (outcome.before, outcome.after))
    if gone:
        before["previous"] = [_diffable(one, extra) for one in gone]
    if is_same_json(before, after):
        return None
    observed = outcome.after or outcome.before
    alias = outcome.desired.alias or (observed and observed.alias)
    header = printable(f"virtual key {alias or outcome.desired.name}")
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def failure(outcomes: Sequence[Outcome]) -> str | None:
    """Return one message that names each failed key and why it failed; None if no key failed."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed or len(outcomes) == 1:
        return failed[0].error if failed else None
    names_by_error: dict[str, list[str]] = {}
    for outcome in failed:
        # Hundreds of keys can fail for the same reason, which is then reported once.
        name = printable(outcome.desired.name)
        error = str(outcome.error).replace(f"Virtual key {name}", "The virtual key")
        error = error.replace(f"virtual key {name}", "the virtual key")
        names_by_error.setdefault(error, []).append(name)
    reasons = [f"{', '.join(names)}: {error}" for error, names in names_by_error.items()]
    return f"{len(failed)} of {len(outcomes)} keys failed. {'. '.join(reasons)}"


def not_deleted(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the ids of the keys that LiteLLM reported as deleted and that still exist."""
    return [key_id for outcome in outcomes for key_id in outcome.not_deleted]


def _diffable(key: ObservedKey | None, extra: Sequence[str]) -> Json:
    if key is None:
        return {}
    values = {name: key.value(name) for name in (*SETTINGS, *extra)}
    settings = {
        name: value
        for name, value in values.items()
        if value not in (None, [], {}, setting(name).cleared_value) and value is not False
    }
    # The settings that LiteLLM stores in the metadata are shown once.
    if metadata := {
        name: value for name, value in (settings.pop("metadata", None) or {}).items() if name not in settings
    }:
        settings["metadata"] = metadata
    return {"key_alias": key.alias, "key_id": key.key_id or None, "expires": instant_text(key.expires), **settings}


def instant_text(instant: datetime | None) -> str | None:
    """Return an instant as ISO 8601, or None."""
    return None if instant is None else format_instant(instant)
