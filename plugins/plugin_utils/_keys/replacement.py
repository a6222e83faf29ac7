# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings and the expiry of a key that replaces another one. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from .durations import format_instant
from .lifetimes import TOLERANCE, end_from, instant_of, is_later
from .model import DesiredKey, ObservedKey, lifetime_start
from .settings import (
    INHERITED_FIELDS,
    LIFETIME_START,
    PREVIOUS,
    REPLACED_BY,
    REPLACES,
    SECRET_VERSION,
    SETTINGS,
    setting,
    stored,
)
from .steps import NEVER, Create, End, Update

# What the metadata of a key say about that key only.
_OWN_MARKS = (LIFETIME_START, SECRET_VERSION)
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
    "user_id",
    "team_id",
    "object_permission",
)


def correction(created: Create, successor: ObservedKey, now: datetime) -> Update | None:
    """Return the step that gives a key the settings it was created with where the proxy applied its own defaults."""
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


def successor_of(
    desired: DesiredKey, replaced: ObservedKey, now: datetime, marks: Mapping[str, Any] = MappingProxyType({})
) -> Create:
    """Return the creation of a key beside the one that it replaces.

    :param marks: further entries of the metadata.
    """
    step = recreation_of(desired, replaced, now)
    metadata = {**step.settings["metadata"], REPLACES: replaced.key_id, **marks}
    return replace(step, alias=str(desired.successor_alias), settings={**step.settings, "metadata": metadata})


def recreation_of(desired: DesiredKey, replaced: ObservedKey, now: datetime) -> Create:
    """Return the creation of a key with the settings of another one, and the desired ones."""
    start = lifetime_start(replaced)
    end: End = replaced.expires or NEVER
    continues = True
    if desired.lifetime:
        desired_end, continues = end_from(desired.lifetime.end or NEVER, start, now)
        if desired.lifetime.shorten or is_later(desired_end, end, now):
            end = desired_end
        else:
            continues = True
    settings = stored(merged_settings(inherited_settings(replaced), desired))
    metadata = {name: value for name, value in (settings.get("metadata") or {}).items() if name not in _OWN_MARKS}
    if start and continues:
        metadata[LIFETIME_START] = format_instant(start)
    settings = {**settings, "metadata": metadata}
    if not settings.keys() & {"key_type", "allowed_routes"}:
        settings["key_type"] = "default"  # LiteLLM >= 1.109 would apply its default routes
    return Create(str(desired.alias), settings, end, replaced.spend)


def inherited_settings(key: ObservedKey) -> dict[str, Any]:
    """Return the settings that a key passes on to the one that replaces it, or to the same key when it is recreated."""
    settings = {
        name: value
        for name, value in key.settings.items()
        # What is in the metadata is passed on with them: LiteLLM refuses some of it as a field without a licence.
        if SETTINGS[name].inherited and not SETTINGS[name].in_metadata
        if value != SETTINGS[name].cleared_value and value is not None
        if value or not SETTINGS[name].sent_with  # each row has auto_rotate: false
    }
    settings.update((name, key.row[name]) for name in INHERITED_FIELDS if key.row.get(name))
    settings["metadata"] = _without_marker(key.value("metadata"))
    return settings


def merged_settings(present: Mapping[str, Any], desired: DesiredKey) -> dict[str, Any]:
    """Return the settings of a new key: the present ones, overridden by the desired ones; cleared ones are left out."""
    settings = dict(present)
    for name, value in desired.settings.items():
        settings[name] = setting(name).merge(value, settings.get(name))
    return {name: value for name, value in settings.items() if value != setting(name).cleared_value}


def _without_marker(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (metadata or {}).items() if name not in (PREVIOUS, REPLACED_BY, REPLACES)}
