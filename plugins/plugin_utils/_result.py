# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the keys, as users see it. Every value here is plain data.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    Duration,
    format_instant,
    from_seconds,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import SETTINGS, Observed, setting
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import TOLERANCE
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome

Json = dict[str, Any]


def entry(outcome: Outcome) -> Json:
    """One key as the result's `virtual_keys` list it. It holds the secret, where that is known."""
    wanted, secret = outcome.wanted, outcome.secret
    shown: Json = {
        "key": secret.value if secret else None,
        "key_source": secret.source if secret else None,
        "guid": wanted.guid,
        "operation": "failed" if outcome.error else outcome.operation,
        **described(outcome.after or outcome.before or Observed(key_id="", alias=wanted.alias)),
    }
    if wanted.user:
        shown["user"] = wanted.user
    if asked := _granted(outcome):
        shown["duration"] = str(asked)
    if outcome.error:
        shown["error"] = outcome.error
    return shown


def _granted(outcome: Outcome) -> Duration | None:
    """The lifetime that was asked for, if it is the one that the key has: an extended key may have another."""
    key, lifetime = outcome.after, outcome.wanted.lifetime
    if not key or not lifetime or not isinstance(lifetime.end, Duration) or not key.created_at or not key.expires:
        return None
    on_time = abs(lifetime.end.after(key.created_at) - key.expires) <= TOLERANCE
    return lifetime.end if on_time or outcome.end_set else None


def described(key: Observed) -> Json:
    """What the proxy says of a key. It holds no secret."""
    return {
        "key_alias": key.alias,
        "key_id": key.key_id or None,
        "key_name": key.name,
        "models": key.value("models"),
        "duration": lifespan(key),
        "expires": _text(key.expires),
        "created_at": _text(key.created_at),
        "blocked": bool(key.value("blocked")),
        "user_id": key.value("user_id"),
        "team_id": key.value("team_id"),
        "max_budget": key.value("max_budget"),
        "spend": key.spend,
        "metadata": key.value("metadata"),
    }


def lifespan(key: Observed) -> str | None:
    """How long the key lives, from creation to expiry, to the minute: `30d`. None if it never expires."""
    if key.expires is None or key.created_at is None:
        return None
    seconds = round((key.expires - key.created_at) / timedelta(minutes=1)) * 60
    return str(from_seconds(seconds)) if seconds > 0 else "0m"


def difference(outcome: Outcome) -> Json | None:
    """The key before and after, for diff mode. It holds no secret."""
    further = [name for name in outcome.wanted.settings if name not in SETTINGS]
    before, after = (_diffable(key, further) for key in (outcome.before, outcome.after))
    if before == after:
        return None
    header = f"virtual key {outcome.wanted.name}"
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def failure(outcomes: Sequence[Outcome]) -> str | None:
    """What went wrong, in one message that names each key and why; None if nothing did."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if not failed or len(outcomes) == 1:
        return failed[0].error if failed else None
    names_by_error: dict[str, list[str]] = {}
    for outcome in failed:
        # Hundreds of keys can fail for one reason, which is then told once.
        error = str(outcome.error).replace(f"The key {outcome.wanted.name} ", "The key ")
        names_by_error.setdefault(error, []).append(outcome.wanted.name)
    reasons = [f"{', '.join(names)}: {error}" for error, names in names_by_error.items()]
    return f"{len(failed)} of {len(outcomes)} keys failed. {'. '.join(reasons)}"


def not_deleted(outcomes: Sequence[Outcome]) -> list[str]:
    """The ids of the keys that LiteLLM says it has deleted, and that are still there."""
    return [key_id for outcome in outcomes for key_id in outcome.not_deleted]


def _diffable(key: Observed | None, further: Sequence[str]) -> Json:
    if key is None:
        return {}
    values = {name: key.value(name) for name in (*SETTINGS, *further)}
    settings = {
        name: value
        for name, value in values.items()
        if value not in (None, [], {}, setting(name).nothing) and value is not False
    }
    return {"key_alias": key.alias, "key_id": key.key_id or None, "expires": _text(key.expires), **settings}


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else format_instant(instant)
