# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Format virtual keys as a text table. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from .._keys.durations import from_seconds, human, parse_instant
from .._text import printable
from .report import FINDINGS, Key

_HEADINGS = ("KEY", "STATUS", "ENDS", "SPENT", "USER", "MODELS", "FINDINGS")
_MAX_MODELS = 3


def format_table(keys: Sequence[Key], now: datetime) -> list[str]:
    """Return the lines of a table with headings; none if there are no keys.

    The column of findings is omitted if it would be empty.
    """
    if not keys:
        return []
    rows = [_HEADINGS, *(_row(key, now) for key in keys)]
    columns = [column for column in zip(*rows, strict=True) if column[0] != "FINDINGS" or any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*columns, strict=True)
    ]


def key_title(key: Key) -> str:
    """Return the name by which users recognize the key: its alias if it has one."""
    return str(key["key_alias"] or key["key_name"] or key["key_id"])


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


def spend_text(key: Key) -> str:
    """Return the spend of the key, with its budget if it has one: `1.25 of 5.00`."""
    spend = f"{key['spend'] or 0:.2f}"
    return spend if key["max_budget"] is None else f"{spend} of {key['max_budget']:.2f}"


def additional_findings(key: Key) -> list[str]:
    """Return the findings of the key that its status and its expiry do not already show."""
    return [name for name in key.get("findings", ()) if name not in (key["status"], "never_expires")]


def _row(key: Key, now: datetime) -> tuple[str, ...]:
    models = [str(model) for model in key["models"] or ()]
    omitted = len(models) - _MAX_MODELS
    cells = (
        key_title(key),
        str(key["status"]),
        time_until(key["expires"], now),
        spend_text(key),
        str(key["user_id"] or "-"),
        ", ".join(models[:_MAX_MODELS]) + (f" and {omitted} more" if omitted > 0 else "") or "all",
        ", ".join(FINDINGS[name].label for name in additional_findings(key)),
    )
    return tuple(map(printable, cells))
