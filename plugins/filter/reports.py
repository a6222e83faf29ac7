# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters of keys. Each only translates: plugin_utils/_report decides what they say, and _page draws the page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, ParamSpec, TypeVar

from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils import _page, _report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration, parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from jinja2 import Undefined

_P = ParamSpec("_P")
_R = TypeVar("_R")
_NO_TIME = ("", "0", 0)


def _filter(function: Callable[_P, _R]) -> Callable[_P, _R | Undefined]:
    """Undefined in, undefined out, as ansible-core 2.19 and later do by themselves; our errors as Ansible's."""

    @functools.wraps(function)
    def translated(*args: _P.args, **kwargs: _P.kwargs) -> _R | Undefined:
        for argument in (*args, *kwargs.values()):
            if isinstance(argument, Undefined):
                return argument
        try:
            return function(*args, **kwargs)
        except OptionError as exc:
            # ansible-core 2.19 and later print the cause behind the message, and it says the same.
            raise AnsibleFilterError(str(exc)) from None

    return translated


@_filter
def keys_table(keys: Any, now: object = None) -> list[str]:
    return _report.table(_keys(keys, "keys_table"), _instant_or_now(now))


@_filter
def keys_report(
    keys: Any, now: object = None, *, guids: object = None, soon: object = "24h", api_endpoint: str | None = None
) -> dict[str, Any]:
    return _report.report(
        _keys(keys, "keys_report"),
        _instant_or_now(now),
        soon=parse(soon),
        guids=_report.parse_guids(guids),
        api_endpoint=api_endpoint,
    )


@_filter
def keys_html(report: Any) -> str:
    if not isinstance(report, Mapping) or not {"virtual_keys", "totals", "now", "soon"} <= set(report):
        raise OptionError("keys_html takes what keys_report gives")
    return _page.page(report)


@_filter
def keys_to_sweep(
    keys: Any,
    choice: object,
    now: object = None,
    *,
    guids: object = None,
    expired_for: object = None,
    at_most: object = 100,
    among: Any = None,
) -> dict[str, Any]:
    return _report.sweep(
        _keys(keys, "keys_to_sweep"),
        _instant_or_now(now),
        choice,
        guids=_report.parse_guids(guids),
        expired_for=_duration_or_none(expired_for),
        at_most=_count(at_most),
        among=None if among is None else _keys(among, "among"),
    )


def _keys(keys: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(keys, list | tuple) and all(isinstance(key, Mapping) and "status" in key for key in keys):
        return keys
    raise OptionError(f"{name} takes the virtual_keys of a result of litellm_key_info")


def _instant_or_now(value: object) -> datetime:
    return datetime.now(timezone.utc) if value is None else parse_instant(value)


def _duration_or_none(value: object) -> Duration | None:
    return None if value is None or value in _NO_TIME else parse(value)


def _count(value: object) -> int:
    """What is given on the command line is a text."""
    try:
        return int(str(value))
    except ValueError:
        raise OptionError(f"at_most must be a whole number, but is {value!r}") from None


class FilterModule:
    """What ansible-core asks for filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "keys_html": keys_html,
            "keys_report": keys_report,
            "keys_table": keys_table,
            "keys_to_sweep": keys_to_sweep,
        }
