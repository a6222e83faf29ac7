# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse and format durations and instants.

Private to this collection: names and behaviour may change in any release.

Users write a lifetime in many ways. LiteLLM accepts one form, `<whole number><unit>`, and parses it as a prefix: every
release up to 1.106 reads `1d12h` as one day, and `0s` as a key that has already expired. So a value is parsed here
completely or refused, and sent as one amount in one unit that every release since 1.53 reads alike.

A value is a list of terms, each an amount with a unit:

    168, '168', 1.5         a number, by default of hours
    30d, 36h, 90m, 2w, 1mo  LiteLLM's own units, in lower case as LiteLLM requires
    1d12h, 7 days           the same in combination, or in words (in any case)
    P7D, PT1H30M, P1M       ISO 8601

Nothing is rounded: a value that is not a whole number of seconds is refused.
"""

from __future__ import annotations

import calendar
import math
import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from .._errors import OptionError

Unit = Literal["mo", "d", "h", "m", "s"]

# The units with a fixed length, in seconds, largest first. A month has no fixed length.
_SECONDS: dict[Unit, int] = {"d": 86400, "h": 3600, "m": 60, "s": 1}

# The units that users may write, largest first. The letters are LiteLLM's and case-sensitive; the words are not.
_WORDS: dict[str, tuple[str, ...]] = {
    "mo": ("month", "months"),
    "w": ("week", "weeks"),
    "d": ("day", "days"),
    "h": ("hour", "hours", "hr", "hrs"),
    "m": ("minute", "minutes", "min", "mins"),
    "s": ("second", "seconds", "sec", "secs"),
}
_UNIT_OF_WORD = {word: unit for unit, words in _WORDS.items() for word in words}
_RANK = {unit: rank for rank, unit in enumerate(_WORDS)}

# The unit that is sent for each. LiteLLM supports `w` since 1.61.8 only, so weeks become days.
_WRITTEN_AS: dict[str, tuple[int, Unit]] = {"mo": (1, "mo"), "w": (7, "d"), **{unit: (1, unit) for unit in _SECONDS}}

_REFUSED_UNITS = {
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), "LiteLLM has no unit for years; write 365d or 12mo"),
    "M": "M could mean minutes or months; write m or mo",
}

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_TERM = re.compile(rf"\s*({_NUMBER.pattern})\s*([A-Za-z]+)\s*,?\s*")
_CLOCK = re.compile(r"(?<!\S)([0-9]+):([0-5][0-9]):([0-5][0-9])$")
_ISO_DURATION = re.compile(r"P([0-9.,YMWD]*)(?:T([0-9.,HMS]+))?")
_ISO_INSTANT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<clock>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)"
    r"(?:Z|(?P<zone_hours>[+-][0-9]{2}):?(?P<zone_minutes>[0-9]{2})?)?)?",
    re.IGNORECASE,
)

# The calendar of Python, here and in LiteLLM, ends with the year 9999, and must contain the expiry of every key.
_MAX_YEARS = 7000
# The last year in which a key may expire: earlier than the last one that is accepted when a key is read.
MAX_YEAR = 9000
_MAX_TEXT = 100
_HOW_TO_WRITE = "write a number, 7d, 36h, 1mo, '1 day 12 hours' or P7D"


class DurationError(OptionError):
    """The value is not a duration; the message quotes it and explains what is allowed."""


class InstantError(OptionError):
    """The value is not an instant, or not a usable one; the message quotes it."""


@dataclass(frozen=True)
class Duration:
    """An exact amount of time in one unit of LiteLLM: more than zero, and within the calendar.

    `str()` is the form that LiteLLM accepts, such as `168h`. `Duration(24, "h")` and `Duration(1, "d")` differ: a
    duration keeps the unit of its source.

    :raises DurationError: if the amount is out of bounds.
    """

    amount: int
    unit: Unit

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise DurationError("it must be more than zero")
        in_a_year = 12 if self.unit == "mo" else 31_557_600 / _SECONDS[self.unit]  # seconds in 365.25 days
        if self.amount > _MAX_YEARS * in_a_year:
            raise DurationError(f"it must not be longer than {_MAX_YEARS} years")

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    def after(self, start: datetime) -> datetime:
        """Return the instant, in UTC, at which this much time has passed since start (a naive start is UTC).

        Months are calendar months in UTC, clipped to the end of the month: one month after 31 January is the last
        day of February. LiteLLM does the same, but in the time zone of its server.

        :raises DurationError: if the instant is after the year 9999.
        """
        start = _as_utc(start)
        try:
            if self.unit != "mo":
                return start + timedelta(seconds=self.amount * _SECONDS[self.unit])
            year, month = divmod(start.year * 12 + start.month - 1 + self.amount, 12)
            last_day = calendar.monthrange(year, month + 1)[1]
            return start.replace(year=year, month=month + 1, day=min(start.day, last_day))
        except (OverflowError, ValueError):
            raise DurationError(f"{self} from {format_instant(start)} is after the year 9999") from None

    def seconds(self, start: datetime | None = None) -> int:
        """Return whole seconds. Months count from start, by default from now; start has no other effect."""
        if self.unit != "mo":
            return self.amount * _SECONDS[self.unit]
        start = _as_utc(start or datetime.now(timezone.utc))
        return (self.after(start) - start) // timedelta(seconds=1)


def parse(value: object, unit: str = "h") -> Duration:
    """Parse a duration: a number (of unit), a text, a timedelta, or a Duration.

    A number and a single amount with its unit keep the unit if the amount is whole (`168` is `168h`, and `48 hours` is
    `48h`); anything else becomes the largest unit that fits exactly (`1.5` is `90m`, `1d12h` is `36h`). Weeks become
    days.

    :raises DurationError: for any other value.
    """
    try:
        return _parse(value, _unit(str(unit)))
    except DurationError as exc:
        raise DurationError(f"{_quote(value)} is not a duration: {exc}") from None


def parse_with_unit(value: object) -> Duration:
    """Parse a duration that is not a bare number: on a command line, `duration=7 days` passes only the 7.

    :raises DurationError: for a bare number, and for any other value that is not a duration.
    """
    number = str(value).strip()
    if isinstance(value, (int, float, str)) and _NUMBER.fullmatch(number) and number.strip("0."):
        raise DurationError(f"{_quote(value)} has no unit; write {number}h for hours or {number}d for days")
    return parse(value)


def from_seconds(seconds: int) -> Duration:
    """Return a number of seconds in the largest of days, hours, minutes and seconds that fits exactly.

    :raises DurationError: if the number is zero or negative.
    """
    try:
        return _from_seconds(seconds)
    except DurationError as exc:
        raise DurationError(f"{_quote(seconds)} seconds is not a duration: {exc}") from None


def until(end: datetime, now: datetime) -> Duration:
    """Return the time from now to end, rounded up to a whole second, so that no key expires too early.

    Naive datetimes are UTC.

    :raises InstantError: if end is not after now.
    """
    seconds = -((_as_utc(now) - _as_utc(end)) // timedelta(seconds=1))
    if seconds <= 0:
        raise InstantError(f"'{format_instant(end)}' is in the past: it is not after {format_instant(now)}")
    return from_seconds(seconds)


def human(duration: Duration) -> str:
    """Return the duration in words: `7 days`, `1 day 12 hours`, `1 month`. parse() accepts the result."""
    if duration.unit == "mo":
        return f"{duration.amount} {_WORDS['mo'][duration.amount != 1]}"
    parts, rest = [], duration.seconds()
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {_WORDS[unit][count != 1]}")
    return " ".join(parts)


def parse_instant(value: object) -> datetime:
    """Parse an ISO 8601 instant, or convert a datetime, to an aware datetime in UTC.

    Without a time zone it is UTC, as all of LiteLLM's times are; a date without a time is midnight in UTC. Digits after
    the microsecond are dropped.

    :raises InstantError: for any other value.
    """
    try:
        if isinstance(value, datetime):
            return _as_utc(value)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
        if isinstance(value, str) and (match := _ISO_INSTANT.fullmatch(value.strip())):
            return _as_utc(datetime.fromisoformat(_plain_iso(match)))
    except (ValueError, OverflowError):
        # The form is right, but there is no such day, hour or time zone.
        raise InstantError(f"{_quote(value)} is not an instant: there is no such date or time") from None
    raise InstantError(f"{_quote(value)} is not an instant: write it as 2026-11-30T08:00:00Z")


def format_instant(instant: datetime) -> str:
    """Return ISO 8601 in UTC, `2026-11-30T08:00:00Z`. Fractions of a second are dropped; a naive instant is UTC."""
    return _as_utc(instant).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


# Below, a DurationError has only the reason; the public functions add the value.


def _parse(value: object, unit: str) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, timedelta):
        return _from_seconds(Fraction(value // timedelta(microseconds=1), 10**6))
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise DurationError(f"it is of type {type(value).__name__}; {_HOW_TO_WRITE}")
    if isinstance(value, str):
        return _from_text(value.strip(), unit)
    if isinstance(value, float) and not math.isfinite(value):
        raise DurationError("it is not finite")
    # A float has its decimal value: 1.1 is eleven tenths, not the nearest binary fraction.
    return _from_terms([(Fraction(repr(value)), unit)])


@lru_cache
def _from_text(text: str, unit: str) -> Duration:
    if not text:
        raise DurationError(f"it is empty; {_HOW_TO_WRITE}")
    if len(text) > _MAX_TEXT:
        raise DurationError(f"it is longer than {_MAX_TEXT} characters")
    if _NUMBER.fullmatch(text):
        return _from_terms([(Fraction(text), unit)])
    if iso := _ISO_DURATION.fullmatch(text):
        # The same terms with other letters. M means months before the T, and minutes after it.
        days, clock = iso[1], iso[2] or ""
        text = (days.replace("M", "mo") + clock).lower().replace(",", ".")
    # ansible-core before 2.19 converts a timedelta in a variable to text: '7 days, 0:00:00'.
    text = _CLOCK.sub(r"\1h\2m\3s", text)
    terms = _TERM.findall(text)
    if not terms or _TERM.sub("", text):
        raise DurationError(_HOW_TO_WRITE)
    return _from_terms([(Fraction(number), _unit(name)) for number, name in terms])


def _unit(name: str) -> str:
    if name in _WORDS:
        return name
    lower = name.lower()
    if lower in _UNIT_OF_WORD:
        return _UNIT_OF_WORD[lower]
    if reason := _REFUSED_UNITS.get(name) or _REFUSED_UNITS.get(lower):
        raise DurationError(reason)
    if lower in _WORDS:
        raise DurationError(f"the unit {name} is written {lower}")
    raise DurationError(f"{_quote(name)} is not a unit; use {', '.join(_WORDS)}, or the words for them")


def _from_terms(terms: list[tuple[Fraction, str]]) -> Duration:
    ranks = [_RANK[name] for _amount, name in terms]
    if ranks != sorted(set(ranks)):
        raise DurationError("units must go from the largest to the smallest, each at most once")
    if any(amount < 0 for amount, _name in terms):
        raise DurationError("it must be more than zero")
    parts = [(amount * _WRITTEN_AS[name][0], _WRITTEN_AS[name][1]) for amount, name in terms]
    amount, unit = parts[0]
    if len(parts) == 1 and amount.denominator == 1:
        return Duration(amount.numerator, unit)
    if unit == "mo":
        raise DurationError(
            "months have no fixed length, so they must be whole and cannot be combined; use days instead"
        )
    return _from_seconds(sum((amount * _SECONDS[unit] for amount, unit in parts), Fraction(0)))


def _from_seconds(seconds: Fraction | int) -> Duration:
    if seconds.denominator != 1:
        raise DurationError("it is not a whole number of seconds")
    unit, size = next((unit, size) for unit, size in _SECONDS.items() if seconds % size == 0)
    return Duration(seconds.numerator // size, unit)


def _plain_iso(match: re.Match[str]) -> str:
    """Return an instant in the form that Python 3.10 parses: no fraction or six digits, and a zone with a colon."""
    clock = match["clock"] or "00:00"
    if "." in clock:
        clock = clock[:15].ljust(15, "0")
    zone = f"{match['zone_hours']}:{match['zone_minutes'] or '00'}" if match["zone_hours"] else "+00:00"
    return f"{match['date']}T{clock}{zone}"


def _as_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=timezone.utc) if instant.tzinfo is None else instant.astimezone(timezone.utc)


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
