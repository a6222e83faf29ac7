# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters for durations and instants; they translate between Jinja and `_keys.durations`."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import (
    instant_or_now,
    jinja_plugin,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    format_instant,
    human,
    parse,
    parse_instant,
    until,
)


@jinja_plugin
def duration(value: object, unit: str = "h") -> str:
    return str(parse(value, unit))


@jinja_plugin
def duration_seconds(value: object, start: object = None, *, unit: str = "h") -> int:
    return parse(value, unit).seconds(instant_or_now(start))


@jinja_plugin
def duration_hours(value: object, start: object = None, *, unit: str = "h") -> int | float:
    seconds = parse(value, unit).seconds(instant_or_now(start))
    return seconds / 3600 if seconds % 3600 else seconds // 3600


@jinja_plugin
def duration_human(value: object, *, unit: str = "h") -> str:
    return human(parse(value, unit))


@jinja_plugin
def duration_until(value: object, now: object = None) -> str:
    return str(until(parse_instant(value), instant_or_now(now)))


@jinja_plugin
def expires_at(value: object, start: object = None, *, unit: str = "h") -> str:
    return format_instant(parse(value, unit).after(instant_or_now(start)))


class FilterModule:
    """The filters of this file, for ansible-core."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {
            "duration": duration,
            "duration_hours": duration_hours,
            "duration_human": duration_human,
            "duration_seconds": duration_seconds,
            "duration_until": duration_until,
            "expires_at": expires_at,
        }
