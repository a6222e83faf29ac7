# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters for reports on virtual keys; they translate between Jinja and `_reports`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import (
    instant_or_now,
    jinja_plugin,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    format_instant,
    parse,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import build_report, period
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.sweep import plan_sweep
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.table import (
    format_csv,
    format_report,
    format_sums,
    format_table,
)


@jinja_plugin
def keys_table(keys: Any, now: object = None) -> list[str]:
    if not isinstance(keys, Mapping):
        return format_table(_checked_keys(keys, "keys_table"), instant_or_now(now))
    report = _checked_report(keys, "keys_table")
    return format_report(report if now is None else {**report, "now": format_instant(instant_or_now(now))})


@jinja_plugin
def keys_report(
    keys: Any,
    now: object = None,
    *,
    guids: object = None,
    soon: object = "24h",
    api_endpoint: str | None = None,
    guid: object = None,
    ending_within: object = None,
    sort: str = "end",
    models: object = None,
    shared_budgets: object = None,
) -> dict[str, Any]:
    return build_report(
        _checked_keys(keys, "keys_report"),
        instant_or_now(now),
        soon=parse(soon),
        guids=parse_guids(guids),
        api_endpoint=api_endpoint,
        guid=str(guid).strip() if guid is not None else None,
        ending_within=period(ending_within),
        sort=str(sort),
        models=_checked_models(models),
        shared_budgets=_checked_budgets(shared_budgets),
    )


@jinja_plugin
def keys_csv(keys: Any) -> str:
    return format_csv(_checked_keys(keys, "keys_csv"))


@jinja_plugin
def keys_sums(report: Any) -> list[str]:
    return format_sums(_checked_report(report, "keys_sums"))


@jinja_plugin
def keys_html(report: Any) -> str:
    # Imported here, so that the other filters do not load the page and its template.
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.page import render_page

    return render_page(_checked_report(report, "keys_html"))


@jinja_plugin
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
    return plan_sweep(
        _checked_keys(keys, "keys_to_sweep"),
        instant_or_now(now),
        choice,
        guids=parse_guids(guids),
        expired_for=period(expired_for),
        at_most=_whole_number(at_most, "at_most"),
        among=None if among is None else _checked_keys(among, "among"),
    )


def _checked_keys(keys: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if isinstance(keys, list | tuple) and all(isinstance(key, Mapping) and "status" in key for key in keys):
        return keys
    raise OptionError(f"{name} requires the virtual_keys of a litellm_key_info result")


def _checked_report(report: Any, name: str) -> Mapping[str, Any]:
    names = {"virtual_keys", "totals", "environments", "users", "now", "soon"}
    if isinstance(report, Mapping) and names <= set(report):
        _checked_keys(report["virtual_keys"], name)
        return report
    raise OptionError(f"{name} requires the result of keys_report")


def _checked_models(models: object) -> Sequence[str] | None:
    if models is None:
        return None
    if isinstance(models, list | tuple) and all(isinstance(model, str) for model in models):
        return models
    raise OptionError("models must be a list of names, such as the models of a litellm_proxy_info result")


def _checked_budgets(budgets: object) -> Sequence[Mapping[str, Any]]:
    if budgets is None:
        return ()
    names = {"guid", "limit", "spent", "left", "resets_at"}
    if isinstance(budgets, list | tuple) and all(isinstance(one, Mapping) and names <= set(one) for one in budgets):
        return budgets
    raise OptionError("shared_budgets must be the shared_budgets of a litellm_key_info result")


def _whole_number(value: object, name: str) -> int:
    try:
        return int(str(value))  # a string if it is set with -e on the command line
    except ValueError:
        raise OptionError(f"{name} must be a whole number, not {value!r}") from None


class FilterModule:
    """The filters of this file, for ansible-core."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "keys_csv": keys_csv,
            "keys_html": keys_html,
            "keys_report": keys_report,
            "keys_sums": keys_sums,
            "keys_table": keys_table,
            "keys_to_sweep": keys_to_sweep,
        }
