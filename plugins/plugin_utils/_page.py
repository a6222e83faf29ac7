# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of keys as a page for the browser: one file that needs no other. Pure, but for reading its template.

Aliases, users, models and metadata are what anybody wrote. The template escapes every value by itself, and the page
forbids the browser to run any other script than its own, or to load anything.

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

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import human, parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import printable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._report import FINDINGS, ending, title
from jinja2 import Environment, StrictUndefined, Template

_TEMPLATE = Path(__file__).with_name("_page.html.j2")
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
# What the timeline can show: so much of the future, and a quarter of that of the past.
_SPANS = {
    "day": ("1 day", _DAY),
    "week": ("1 week", 7 * _DAY),
    "month": ("1 month", 30 * _DAY),
    "quarter": ("3 months", 91 * _DAY),
    "year": ("1 year", 365 * _DAY),
}
_EVERYTHING = "everything"
# The timeline begins with the shortest span in which so many of the keys end that have not yet ended.
_MOST = 0.9
_MOST_TICKS = 5
_CLOCK, _DATE = "%H:%M", "%d %b"
# How far two ticks can be from each other, in hours, and how they are written.
_STEPS = (
    *((hours, _CLOCK) for hours in (1, 2, 3, 6, 12)),
    *((24 * days, _DATE) for days in (1, 2, 7, 14)),
)
_MONTHS = (
    *((months, "%b %Y") for months in (1, 3, 6)),
    *((12 * years * thousands, "%Y") for thousands in (1, 10, 100, 1000) for years in (1, 2, 5)),
)
_HOURS_OF_MONTH = 730.5
# A Monday, from which weeks are counted.
_EPOCH = datetime(2001, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Scale:
    """A stretch of time that the timeline shows.

    :ivar start: hours from now.
    :ivar hours: how long it is.
    :ivar ticks: where the axis is labelled, in percent, and how.
    """

    name: str
    label: str
    start: float
    hours: float
    ticks: Sequence[tuple[float, str]]


def page(report: Mapping[str, Any]) -> str:
    """The page of what `_report.report` gives."""
    now = parse_instant(report["now"])
    keys = report["virtual_keys"]
    scales = _scales(keys, now)
    template, script = _template()
    return template.render(
        report=report,
        now=_shown(now),
        soon=human(parse(report["soon"])),
        keys=[_row(key, now) for key in keys],
        findings={name: words[0] for name, words in FINDINGS.items()},
        scales=scales,
        scale=_best_scale(keys, now),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


@cache
def _template() -> tuple[Template, str]:
    """The template, and the one script of the page, which is the same on every page."""
    text = _TEMPLATE.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text), script


def _row(key: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What the template needs to know of a key beside what the report says."""
    created, ends = (None if key[name] is None else parse_instant(key[name]) for name in ("created_at", "expires"))
    budget, spend = key["max_budget"], key["spend"] or 0
    return {
        **{name: key[name] for name in ("key_id", "status", "findings")},
        **{name: key[name] and printable(str(key[name])) for name in ("guid", "key_name", "user_id", "team_id")},
        "title": printable(title(key)),
        "models": [printable(str(model)) for model in key["models"] or ()],
        "created": created and _shown(created),
        "ends": ends and _shown(ends),
        "ending": ending(key["expires"], now),
        "from": None if created is None else _hours(created - now),
        "to": None if ends is None else _hours(ends - now),
        "spend": spend,
        "budget": budget,
        # In percent. A budget of nothing is spent.
        "part": None if budget is None else 100 if spend >= budget else round(100 * spend / budget, 1),
        "marks": [name for name in key["findings"] if name not in (key["status"], "never_expires")],
    }


def _best_scale(keys: Sequence[Mapping[str, Any]], now: datetime) -> str:
    left = sorted(end - now for end in _instants(keys, "expires") if end > now)
    if not left:
        return _EVERYTHING
    most = left[int(_MOST * (len(left) - 1))]
    return next((name for name, (_label, span) in _SPANS.items() if most <= span), _EVERYTHING)


def _scales(keys: Sequence[Mapping[str, Any]], now: datetime) -> list[Scale]:
    instants = [now, *_instants(keys, "created_at"), *_instants(keys, "expires")]
    margin = (max(instants) - min(instants)) / 50 + _HOUR
    scales = [_scale(name, label, now, now - span / 4, now + span) for name, (label, span) in _SPANS.items()]
    return [*scales, _scale(_EVERYTHING, "everything", now, min(instants) - margin, max(instants) + margin)]


def _scale(name: str, label: str, now: datetime, start: datetime, end: datetime) -> Scale:
    ticks = [(round(100 * ((tick - start) / (end - start)), 2), text) for tick, text in _ticks(start, end)]
    return Scale(name, label, _hours(start - now), _hours(end - start), ticks)


def _ticks(start: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Round instants between the two, a few of them."""
    shortest = (end - start) / _HOUR / _MOST_TICKS
    for hours, form in _STEPS:
        if shortest <= hours:
            # Each midnight says which day begins.
            return [
                (tick, tick.strftime(form if tick.hour else _DATE)) for tick in _multiples(start, end, hours * _HOUR)
            ]
    for months, form in _MONTHS:
        if shortest <= months * _HOURS_OF_MONTH:
            return [(tick, tick.strftime(form)) for tick in _month_starts(start, end, months)]
    return []


def _multiples(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    tick = _EPOCH - (_EPOCH - start) // step * step
    while tick <= end:
        yield tick
        tick += step


def _month_starts(start: datetime, end: datetime, step: int) -> Iterator[datetime]:
    """Each first of a month between the two, of every so many months of the calendar."""
    month = -(-(start.year * 12 + start.month) // step) * step  # counted from the year 0; January has the number 0
    while month // 12 <= datetime.max.year:
        tick = datetime(month // 12, month % 12 + 1, 1, tzinfo=timezone.utc)
        if tick > end:
            return
        yield tick
        month += step


def _instants(keys: Sequence[Mapping[str, Any]], name: str) -> list[datetime]:
    return [parse_instant(key[name]) for key in keys if key[name] is not None]


def _hours(time: timedelta) -> float:
    return round(time / _HOUR, 2)


def _shown(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"
