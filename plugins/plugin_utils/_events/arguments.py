# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of the event source: types, defaults, environment variables, and one sentence for what is invalid.

ansible-rulebook passes arguments as they are in the rulebook, or as text if a template made them.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import OptionError
from .._keys.durations import Duration, parse
from .._keys.names import DEFAULT_ALIAS_PREFIX
from .._litellm.connection import ENVIRONMENT, Connection

ENDS_SOON, ENDED, SPENT, BLOCKED, UNKNOWN_MODEL = TYPES = ("ends_soon", "ended", "spent", "blocked", "unknown_model")

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_MIN_DELAY, _MAX_DELAY = 1, 86_400
# ansible-rulebook adds this one.
_IGNORED = {"eda_feedback_queue"}


@dataclass(frozen=True)
class Watch:
    """What is watched for.

    :ivar types: some of TYPES.
    :ivar ending_within: a key that expires within this time ends soon.
    :ivar percents: parts of the budget, in percent, in ascending order.
    """

    types: frozenset[str]
    ending_within: Duration
    percents: Sequence[float]


@dataclass(frozen=True)
class Arguments:
    """The arguments of the event source.

    :ivar alias_prefix: only keys whose alias starts with this prefix are watched.
    :ivar delay: the seconds between two listings of the keys.
    :ivar state_file: where is saved what was sent; None to keep it in memory only.
    :ivar send_existing: without a state, also send what is true already when the source starts.
    """

    connection: Connection
    watch: Watch
    alias_prefix: str
    delay: float
    state_file: Path | None
    send_existing: bool


def parse_arguments(given: Mapping[str, Any], environment: Mapping[str, str]) -> Arguments:
    """Return the arguments.

    :param environment: the environment variables of the process.
    :raises OptionError: if one is unknown or invalid.
    """
    for name in given:
        if name not in _READERS and name not in _IGNORED:
            close = difflib.get_close_matches(str(name), _READERS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"choose from {', '.join(_READERS)}"
            raise OptionError(f"litellm_keys has no argument {str(name)!r}; {advice}")
    found = {name: value for name, value in given.items() if value is not None and value != ""}
    for name in ("events", "spent_percents"):
        if given.get(name) is not None and given[name] in ("", [], ()):
            raise OptionError(f"{name} is empty; name at least one, or leave {name} out for the default")
    names = {}
    for name, variables in ENVIRONMENT.items():
        for variable in variables:
            if name not in found and environment.get(variable):
                found[name], names[name] = environment[variable], variable
    for name in ("url", "master_key"):
        if name not in found:
            raise OptionError(
                f"{name} is not set; set the argument {name} or the environment variable {ENVIRONMENT[name][0]}"
            )
    values = {name: read(names.get(name, name), found[name]) for name, read in _READERS.items() if name in found}
    state_file = values.get("state_file")
    return Arguments(
        connection=Connection(**{name: values[name] for name in ENVIRONMENT if name in values}, names=names),
        watch=Watch(
            types=frozenset(values.get("events", TYPES)),
            ending_within=values.get("ending_within") or parse("24h"),
            percents=values.get("spent_percents", (80.0, 100.0)),
        ),
        # An empty prefix stands for every key, so it is not a prefix that was left out.
        alias_prefix="" if given.get("alias_prefix") == "" else values.get("alias_prefix", DEFAULT_ALIAS_PREFIX),
        delay=values.get("delay", 60.0),
        state_file=Path(state_file).expanduser().absolute() if state_file else None,
        send_existing=values.get("send_existing", True),
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise OptionError(f"{name} must be text, but is a value of type {type(value).__name__}")
    return value


def _bool(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise OptionError(f"{name} is {value!r}; it must be true or false")
    return text in _TRUE


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise OptionError(f"{name} is {value!r}; it must be a number")
    return number


def _integer(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise OptionError(f"{name} is {value!r}; it must be a whole number")
    return int(number)


def _delay(name: str, value: Any) -> float:
    number = _number(name, value)
    if not _MIN_DELAY <= number <= _MAX_DELAY:
        raise OptionError(f"{name} is {value!r}; it must be {_MIN_DELAY} to {_MAX_DELAY} seconds")
    return number


def _duration(name: str, value: Any) -> Duration:
    try:
        return parse(value)
    except OptionError as error:
        raise OptionError(f"{name}: {error}") from None


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


def _types(name: str, value: Any) -> list[str]:
    for one in (types := _list(value)):
        if one not in TYPES:
            raise OptionError(f"{name} contains {one!r}; choose from {', '.join(TYPES)}")
    return types


def _percents(name: str, value: Any) -> tuple[float, ...]:
    for number in (numbers := tuple(sorted({_number(name, one) for one in _list(value)}))):
        if not 0 < number <= 100:
            raise OptionError(f"{name} contains {number:g}; each must be more than 0 and at most 100 percent")
    return numbers


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "url": _text,
    "master_key": _text,
    "validate_certs": _bool,
    "ca_path": _text,
    "timeout": _number,
    "retries": _integer,
    "concurrency": _integer,
    "alias_prefix": _text,
    "events": _types,
    "ending_within": _duration,
    "spent_percents": _percents,
    "delay": _delay,
    "state_file": _text,
    "send_existing": _bool,
}
