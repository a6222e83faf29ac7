# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the values of settings, and check their kinds. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .._errors import OptionError
from .durations import MAX_YEAR, Duration, DurationError, InstantError, parse, parse_instant

Kind = Literal["str", "int", "float", "bool", "list of str", "list", "dict", "raw"]

# The limit of numbers, for writing and for reading.
MAX_NUMBER = 1e18
# The limit of nested lists and dictionaries, for writing and for reading. It leaves room for the levels around a value
# in responses and in user data files, which have limits of their own.
MAX_LEVELS = 40


def is_amount(value: Any) -> bool:
    """Return whether a value is a number within the limits: at least 0 and less than MAX_NUMBER."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < MAX_NUMBER


# JSON in Python may contain infinity, NaN, and integers too large for a float: none of them is an amount.
_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int | float) and -MAX_NUMBER < value < MAX_NUMBER,
    "float": lambda value: isinstance(value, int | float) and -MAX_NUMBER < value < MAX_NUMBER,
    "bool": lambda value: isinstance(value, bool),
    "dict": lambda value: isinstance(value, dict),
    "list of str": lambda value: isinstance(value, list) and all(isinstance(member, str) for member in value),
    "list": lambda value: isinstance(value, list) and all(isinstance(member, dict) for member in value),
    "raw": lambda value: as_instant(value) is not None,
}


def fits(value: Any, kind: Kind) -> bool:
    """Return whether a value of LiteLLM is null or of this kind. The only `raw` values are instants."""
    return value is None or _FITS[kind](value)


_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_KIND_NAMES = {
    "int": f"a whole number of at least 0 and less than {MAX_NUMBER:g}",
    "float": f"a number of at least 0 and less than {MAX_NUMBER:g}",
    "bool": "true or false",
}


def as_kind(name: str, value: Any, kind: Kind) -> Any:
    """Return an amount or a boolean, or the one that a text stands for; null stays null.

    :raises OptionError: for any other value.
    """
    converted = value
    if isinstance(value, str):
        text = value.strip().lower()
        with contextlib.suppress(ValueError, KeyError):
            converted = _BOOLEANS[text] if kind == "bool" else _number(text)
    is_valid = isinstance(converted, bool) if kind == "bool" else is_amount(converted)
    if converted is not None and not (is_valid and (kind != "int" or converted == int(converted))):
        raise OptionError(f"{name} is {value!r}; it must be {_KIND_NAMES[kind]}")
    return converted


def _number(text: str) -> float:
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def as_instant(value: Any) -> str | None:
    """Return an instant as text without a time zone, in UTC; None for any other value, and for a year after MAX_YEAR.

    With a time zone, LiteLLM up to 1.85 rejects all requests of the key: it compares the instant with its naive time.
    """
    try:
        instant = parse_instant(value).replace(tzinfo=None)
    except InstantError:
        return None
    return instant.isoformat(timespec="seconds") if instant.year <= MAX_YEAR else None


def as_duration(value: Any) -> Duration | None:
    """Return a duration of LiteLLM; None for any other value."""
    try:
        return parse(value) if isinstance(value, str) else None
    except DurationError:
        return None


def contains(present: Any, desired: Any) -> bool:
    """Return whether the present value has the desired one, and may have more entries in dictionaries."""
    if desired in (None, [], {}):
        return is_empty(present)
    if isinstance(desired, Mapping):
        shown = {} if present is None else present
        return isinstance(shown, Mapping) and all(contains(shown.get(name), value) for name, value in desired.items())
    if isinstance(desired, list):
        if not isinstance(present, list) or len(desired) != len(present):
            return False
        if not any(isinstance(member, Mapping | list) for member in desired):  # the order of plain names is irrelevant
            desired, present = sorted(desired, key=str), sorted(present, key=str)
        return all(map(contains, present, desired))
    return is_same_json(desired, present)


def is_same_json(one: Any, other: Any) -> bool:
    """Return whether two JSON values are the same. In Python, True is equal to 1, but not in JSON."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(is_same_json(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same_json, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def is_empty(value: Any) -> bool:
    """Return whether the value is null, empty, or a dictionary of such values: LiteLLM returns one for another."""
    if isinstance(value, Mapping):
        return all(map(is_empty, value.values()))
    return value is None or value == []
