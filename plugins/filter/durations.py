# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters of time. Each only translates: what it knows stands in plugin_utils/_duration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime, timezone
from typing import ParamSpec, TypeVar

from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    DurationError,
    InstantError,
    format_instant,
    human,
    parse,
    parse_instant,
    until,
)
from jinja2 import Undefined

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _filter(function: Callable[_P, _R]) -> Callable[_P, _R | Undefined]:
    """Undefined in, undefined out, as ansible-core 2.19 and later do by themselves; our errors as Ansible's."""

    @functools.wraps(function)
    def translated(*args: _P.args, **kwargs: _P.kwargs) -> _R | Undefined:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, Undefined):
                return argument
        try:
            return function(*args, **kwargs)
        except (DurationError, InstantError) as exc:
            # ansible-core 2.19 and later print the cause behind the message, and it says the same.
            raise AnsibleFilterError(str(exc)) from None

    return translated


@_filter
def duration(value: object, unit: str = "h") -> str:
    return str(parse(value, unit))


@_filter
def duration_seconds(value: object, start: object = None, *, unit: str = "h") -> int:
    return parse(value, unit).seconds(_instant_or_now(start))


@_filter
def duration_hours(value: object, start: object = None, *, unit: str = "h") -> int | float:
    seconds = parse(value, unit).seconds(_instant_or_now(start))
    return seconds / 3600 if seconds % 3600 else seconds // 3600


@_filter
def duration_human(value: object, *, unit: str = "h") -> str:
    return human(parse(value, unit))


@_filter
def duration_until(value: object, now: object = None) -> str:
    return str(until(parse_instant(value), _instant_or_now(now)))


@_filter
def expires_at(value: object, start: object = None, *, unit: str = "h") -> str:
    return format_instant(parse(value, unit).after(_instant_or_now(start)))


def _instant_or_now(value: object) -> datetime:
    return datetime.now(timezone.utc) if value is None else parse_instant(value)


class FilterModule:
    """What ansible-core asks for filters."""

    def filters(self) -> dict[str, Callable[..., object]]:
        return {
            "duration": duration,
            "duration_hours": duration_hours,
            "duration_human": duration_human,
            "duration_seconds": duration_seconds,
            "duration_until": duration_until,
            "expires_at": expires_at,
        }
