# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Render a report on virtual keys as a self-contained HTML page.

Aliases, users, models and metadata are untrusted input. The template escapes every value, and the content security
policy of the page allows only its own script and no external resources.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from .._keys.durations import human, parse, parse_instant
from .._text import printable
from .table import additional_findings, budget_rows, end_text, finding_label, key_title

_TEMPLATE = Path(__file__).with_name("page.html.j2")
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

# The scales of the timeline. Each shows this much of the future, and a quarter of that of the past.
_SPANS = {
    "day": ("1 day", _DAY),
    "week": ("1 week", 7 * _DAY),
    "month": ("1 month", 30 * _DAY),
    "quarter": ("3 months", 91 * _DAY),
    "year": ("1 year", 365 * _DAY),
}
_EVERYTHING = "everything"
# The initial scale is the shortest one that shows the expiry of this fraction of the keys that have not expired.
_MIN_VISIBLE = 0.9

# Ticks of the time axis: the possible distances, in hours and in months, each with its label format.
_MAX_TICKS = 5
_CLOCK, _DATE = "%H:%M", "%d %b"
_HOUR_STEPS = (
    *((hours, _CLOCK) for hours in (1, 2, 3, 6, 12)),
    *((24 * days, _DATE) for days in (1, 2, 7, 14)),
)
_MONTH_STEPS = (
    *((months, "%b %Y") for months in (1, 3, 6)),
    *((12 * years * factor, "%Y") for factor in (1, 10, 100, 1000) for years in (1, 2, 5)),
)
_HOURS_PER_MONTH = 730.5
# Ticks are multiples of their distance from this instant. It is a Monday, so that weeks start on Mondays.
_EPOCH = datetime(2001, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Scale:
    """A period that the timeline can show.

    :ivar start: in hours from now.
    :ivar hours: the length of the period.
    :ivar ticks: the positions of the labels of the axis, in percent, and the labels.
    """

    name: str
    label: str
    start: float
    hours: float
    ticks: Sequence[tuple[float, str]]


def render_page(report: Mapping[str, Any]) -> str:
    """Return the HTML page of a report from `build_report`."""
    now = parse_instant(report["now"])
    keys = report["virtual_keys"]
    template, script = _load_template()
    return template.render(
        report=report,
        now=_to_minute(now),
        soon=human(parse(report["soon"])),
        keys=[_row(key, now) for key in keys],
        budgets=budget_rows(report),
        scales=_scales(keys, now),
        initial_scale=_initial_scale(keys, now),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


@cache
def _load_template() -> tuple[Template, str]:
    """Return the template and its script, which contains no values and is the same on every page."""
    text = _TEMPLATE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text), script


def _row(key: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return the values of one row of the table."""
    created, expires = (None if key[name] is None else parse_instant(key[name]) for name in ("created_at", "expires"))
    budget, spend = key["max_budget"], key["spend"] or 0
    return {
        **{name: key[name] for name in ("key_id", "status", "findings")},
        **{name: key[name] and printable(str(key[name])) for name in ("guid", "key_name", "user_id", "team_id")},
        "title": printable(key_title(key)),
        "models": [printable(str(model)) for model in key["models"] or ()],
        "created": created and _to_minute(created),
        "expires": expires and _to_minute(expires),
        "time_until": end_text(key, now),
        "problem": printable(str(key.get("problem") or "")),
        "start": None if created is None else _in_hours(created - now),
        "end": None if expires is None else _in_hours(expires - now),
        "spend": spend,
        "budget": budget,
        # A budget of 0 counts as spent.
        "spent_percent": None if budget is None else 100 if spend >= budget else round(100 * spend / budget, 1),
        "badges": (badges := additional_findings(key)),
        "labels": {name: printable(finding_label(key, name)) for name in badges},
    }


def _initial_scale(keys: Sequence[Mapping[str, Any]], now: datetime) -> str:
    remaining = sorted(expires - now for expires in _instants(keys, "expires") if expires > now)
    if not remaining:
        return _EVERYTHING
    visible = remaining[int(_MIN_VISIBLE * (len(remaining) - 1))]
    return next((name for name, (_label, span) in _SPANS.items() if visible <= span), _EVERYTHING)


def _scales(keys: Sequence[Mapping[str, Any]], now: datetime) -> list[Scale]:
    instants = [now, *_instants(keys, "created_at"), *_instants(keys, "expires")]
    margin = (max(instants) - min(instants)) / 50 + _HOUR
    scales = [_scale(name, label, now, now - span / 4, now + span) for name, (label, span) in _SPANS.items()]
    return [*scales, _scale(_EVERYTHING, "everything", now, min(instants) - margin, max(instants) + margin)]


def _scale(name: str, label: str, now: datetime, start: datetime, end: datetime) -> Scale:
    ticks = [(round(100 * ((tick - start) / (end - start)), 2), text) for tick, text in _ticks(start, end)]
    return Scale(name, label, _in_hours(start - now), _in_hours(end - start), ticks)


def _ticks(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Return a few round instants of the period, with labels."""
    min_hours = (end - start) / _HOUR / _MAX_TICKS
    for hours, label in _HOUR_STEPS:
        if min_hours <= hours:
            # At midnight, the label is the date.
            return [
                (tick, tick.strftime(label if tick.hour else _DATE)) for tick in _multiples(start, end, hours * _HOUR)
            ]
    for months, label in _MONTH_STEPS:
        if min_hours <= months * _HOURS_PER_MONTH:
            return [(tick, tick.strftime(label)) for tick in _month_starts(start, end, months)]
    return []


def _multiples(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    tick = _EPOCH - (_EPOCH - start) // step * step
    while tick <= end:
        yield tick
        tick += step


def _month_starts(start: datetime, end: datetime, step: int) -> Iterator[datetime]:
    """Yield the first day of every step-th calendar month of the period."""
    month = -(-(start.year * 12 + start.month) // step) * step  # since January of the year 0
    while month // 12 <= datetime.max.year:
        tick = datetime(month // 12, month % 12 + 1, 1, tzinfo=timezone.utc)
        if tick > end:
            return
        yield tick
        month += step


def _instants(keys: Sequence[Mapping[str, Any]], name: str) -> list[datetime]:
    return [parse_instant(key[name]) for key in keys if key[name] is not None]


def _in_hours(time: timedelta) -> float:
    return round(time / _HOUR, 2)


def _to_minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
