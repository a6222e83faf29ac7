# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Format virtual keys as a text table. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .._keys.durations import parse_instant
from .._keys.lifetimes import time_until
from .._text import csv_text, printable
from .report import FINDINGS, Key

_HEADINGS = ("KEY", "STATUS", "ENDS", "SPENT", "USER", "MODELS", "FINDINGS")
_BUDGET_HEADINGS = ("SHARED BUDGET", "LIMIT", "SPENT", "LEFT", "RESET")
_MAX_MODELS = 3
_MAX_SUMS = 20
_CSV_COLUMNS = (
    "key_alias",
    "guid",
    "user_id",
    "status",
    "created_at",
    "expires",
    "spend",
    "max_budget",
    "models",
    "findings",
    "team_id",
    "key_id",
)


def format_table(keys: Sequence[Key], now: datetime) -> list[str]:
    """Return the lines of a table with headings; none if there are no keys.

    The column of findings is omitted if it would be empty.
    """
    if not keys:
        return []
    rows = [_HEADINGS, *(_row(key, now) for key in keys)]
    columns = [column for column in zip(*rows, strict=True) if column[0] != "FINDINGS" or any(column[1:])]
    return _aligned(list(zip(*columns, strict=True)))


def key_title(key: Key) -> str:
    """Return the name by which users recognize the key: its alias if it has one."""
    return str(key["key_alias"] or key["key_name"] or key["key_id"])


def end_text(key: Key, now: datetime) -> str:
    """Return when the key expires, in words: `in 3 hours`, `2 days ago`, `never`, `unknown`."""
    return "unknown" if "expires" in key.get("unreadable", ()) else time_until(key["expires"], now)


def spend_text(key: Key) -> str:
    """Return the spend of the key, with its budget if it has one: `1.25 of 5.00`."""
    spend = f"{key['spend'] or 0:.2f}"
    return spend if key["max_budget"] is None else f"{spend} of {key['max_budget']:.2f}"


def additional_findings(key: Key) -> list[str]:
    """Return the findings of the key that its status and its expiry do not already show."""
    return [name for name in key.get("findings", ()) if name not in (key["status"], "never_expires")]


def finding_label(key: Key, name: str) -> str:
    """Return how a finding of the key is displayed: `unknown model gpt-4 (gpt-4o?)`."""
    label = FINDINGS[name].label
    if name != "unknown_models":
        return label
    unknown = [f"{model} ({closest[0]}?)" if closest else model for model, closest in key["unknown_models"].items()]
    omitted = len(unknown) - _MAX_MODELS
    return f"{label} {', '.join(unknown[:_MAX_MODELS])}" + (f" and {omitted} more" if omitted > 0 else "")


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    models = [str(model) for model in key["models"] or ()]
    omitted = len(models) - _MAX_MODELS
    cells = (
        key_title(key),
        str(key["status"]),
        end_text(key, now),
        spend_text(key),
        str(key["user_id"] or "-"),
        ", ".join(models[:_MAX_MODELS]) + (f" and {omitted} more" if omitted > 0 else "") or "all",
        ", ".join([*(finding_label(key, name) for name in additional_findings(key)), *_previous(key)]),
    )
    return tuple(map(printable, cells))


def _previous(key: Key) -> list[str]:
    previous = key.get("previous")
    return [f"previous secret until {previous['expires'] or 'it is deleted'}"] if previous else []


def format_sums(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of tables with the sums of a report for each environment and user, and with shared budgets.

    A table of sums that would have one line is omitted.
    """
    lines: list[str] = []
    for name, field, heading in (("environments", "guid", "ENVIRONMENT"), ("users", "user_id", "USER")):
        sums = report[name]
        if len(sums) < 2:
            continue
        rows = [(heading, "KEYS", "SPENT")]
        rows += [(str(one[field] or "-"), str(one["keys"]), f"{one['spend']:.2f}") for one in sums[:_MAX_SUMS]]
        if len(sums) > _MAX_SUMS:
            further = sums[_MAX_SUMS:]
            keys, spend = sum(one["keys"] for one in further), math.fsum(one["spend"] for one in further)
            rows.append((f"{len(further)} more", str(keys), f"{spend:.2f}"))
        lines += [*([""] if lines else []), *_aligned([tuple(map(printable, row)) for row in rows])]
    if budgets := budget_rows(report):
        lines += [*([""] if lines else []), *_aligned([_BUDGET_HEADINGS, *budgets])]
    return lines


def budget_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the guid, the limit, the spend, what is left and the next reset of each shared budget of a report."""
    return [
        (
            printable(str(one["guid"])),
            *("-" if one[name] is None else f"{one[name]:.2f}" for name in ("limit", "spent", "left")),
            time_until(one["resets_at"], parse_instant(report["now"])),
        )
        for one in report.get("shared_budgets", ())
    ]


def format_report(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a report: the table of its keys, and the sums below it."""
    lines, sums = format_table(report["virtual_keys"], parse_instant(report["now"])), format_sums(report)
    return [*(lines or ["No keys"]), *(["", *sums] if sums else [])]


def format_csv(keys: Sequence[Key]) -> str:
    """Return the keys as CSV, for a spreadsheet."""
    return csv_text(_CSV_COLUMNS, ([_csv_value(key, name) for name in _CSV_COLUMNS] for key in keys))


def _csv_value(key: Key, name: str) -> Any:
    value = key.get(name)
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
