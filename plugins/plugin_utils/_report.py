# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys as a person reads them. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    from_seconds,
    human,
    parse_instant,
)

_HEADINGS = ("KEY", "STATUS", "ENDS", "SPENT", "USER", "MODELS")


def table(keys: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """The keys as lines with columns; nothing if there are none.

    :param keys: entries of the result of `litellm_key_info`.
    """
    rows = [_HEADINGS, *(_row(key, now) for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if keys else []


def _row(key: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        str(key["key_alias"] or key["key_name"] or key["key_id"]),
        str(key["status"]),
        _end(key["expires"], now),
        _spent(key["spend"], key["max_budget"]),
        str(key["user_id"] or "-"),
        ", ".join(map(str, key["models"] or ())) or "all",
    )


def _end(expires: str | None, now: datetime) -> str:
    if not expires:
        return "never"
    left = parse_instant(expires) - now
    # To the hour, or to the minute on the last day: nobody reads seconds.
    grain = timedelta(hours=1) if abs(left) > timedelta(days=1) else timedelta(minutes=1)
    whole = abs(left) // grain * grain
    ago = "" if left > timedelta(0) else " ago"
    told = human(from_seconds(int(whole.total_seconds()))) if whole else "less than a minute"
    return f"{'in ' if not ago else ''}{told}{ago}"


def _spent(spend: float | None, budget: float | None) -> str:
    spent = f"{spend or 0:.2f}"
    return spent if budget is None else f"{spent} of {budget:.2f}"
