# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a declared type accepts a JSON value, as FastAPI does, and which values a type can have. Pure functions.

A type is text: of Python, such as `list[str] | None`, `one of a, b` for an enumeration, or of a column in Prisma's
schema, such as `String[]` or `Json?`. Any other name is that of a model, which is a JSON object.
"""

from __future__ import annotations

import ast
import contextlib
import operator
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    InstantError,
    parse_instant,
)

_ANY = "Any"
_PRISMA = {
    "String": "str",
    "Int": "int",
    "BigInt": "int",
    "Float": "float",
    "Decimal": "float",
    "Boolean": "bool",
    "DateTime": "datetime",
    "Json": _ANY,
}
# A value of each simple type.
_EXAMPLES: dict[str, list[Any]] = {
    "None": [None],
    "str": ["text"],
    "int": [1],
    "float": [1.5],
    "bool": [True],
    "datetime": ["2030-01-01T00:00:00Z"],
    _ANY: [],
}


def is_accepted(declared: str, value: Any, *, in_query: bool = False) -> bool:
    """Return whether a field of this type accepts a JSON value, or the text of a query.

    Converts as little as every release of Pydantic does: whole numbers to decimals and back, and the text of a query.
    """
    declared = _python(declared)
    members = _split(declared, "|")
    if len(members) > 1:
        return any(is_accepted(one, value, in_query=in_query) for one in members)
    if declared in (_ANY, ""):
        return True
    if declared.startswith("one of "):
        return isinstance(value, str) and value in declared.removeprefix("one of ").split(", ")
    name, arguments = _parse(declared)
    if name == "list":
        (member,) = arguments or (_ANY,)
        values = [value] if in_query else value
        return isinstance(values, list) and all(is_accepted(member, one, in_query=in_query) for one in values)
    if name in _SIMPLE:
        return _SIMPLE[name](_from_text(value) if in_query and name not in ("str", "datetime") else value)
    of_values = arguments[-1] if name == "dict" and arguments else _ANY
    return isinstance(value, dict) and all(is_accepted(of_values, one) for one in value.values())


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "min_length": lambda value, limit: len(value) >= limit,
    "max_length": lambda value, limit: len(value) <= limit,
    "pattern": lambda value, limit: bool(re.search(limit, value)),
}


def is_within(limits: str, value: Any, *, in_query: bool = False) -> bool:
    """Return whether a value is within limits such as `ge=1, max_length=9`. Only constants are compared."""
    call = ast.parse(f"_({limits})", mode="eval").body
    assert isinstance(call, ast.Call)
    for keyword in () if value is None else call.keywords:
        name = str(keyword.arg)
        number = _from_text(value) if in_query and name in ("ge", "gt", "le", "lt") else value
        with contextlib.suppress(ValueError, TypeError):  # not a constant, or for another type of a union
            if not _COMPARISONS[name](number, ast.literal_eval(keyword.value)):
                return False
    return True


def examples(declared: str) -> list[Any]:
    """Return a JSON value for each kind of values that a type can have; nothing for a type that can be anything."""
    declared = _python(declared)
    members = _split(declared, "|")
    if len(members) > 1:
        return [value for one in members for value in examples(one)]
    if not declared:
        return []
    if declared.startswith("one of "):
        return [declared.removeprefix("one of ").split(", ")[0]]
    name, arguments = _parse(declared)
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if name == "list":
        return [[value] for value in examples(arguments[0])] if arguments else [[]]
    return [{"text": value} for value in examples(arguments[-1])] if name == "dict" and arguments else [{}]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse_instant(value))
    except InstantError:
        return False


_SIMPLE: dict[str, Callable[[Any], bool]] = {
    "None": lambda value: value is None,
    "str": lambda value: isinstance(value, str),
    "int": lambda value: _is_number(value) and value == int(value),
    "float": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "datetime": _is_instant,
}


def _from_text(text: Any) -> Any:
    """Return the number or the boolean that the text of a query stands for; else the text."""
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


def _python(declared: str) -> str:
    """Return a type of Python for that of a column."""
    declared = declared.strip().strip("'\"")
    column = re.fullmatch(r"(\w+)(\[\])?(\?)?", declared)
    if not column or column[1] not in _PRISMA:
        return declared
    name = f"list[{_PRISMA[column[1]]}]" if column[2] else _PRISMA[column[1]]
    return f"{name} | None" if column[3] else name


def _parse(declared: str) -> tuple[str, list[str]]:
    """Return the name of a type, and its arguments in brackets."""
    match = re.fullmatch(r"([\w.]+)(?:\[(.*)\])?", declared)
    if not match:
        return declared, []
    return match[1].split(".")[-1], _split(match[2], ",") if match[2] else []


def _split(text: str, separator: str) -> list[str]:
    """Split a type at a separator outside of brackets; an enumeration is one part."""
    parts, level = [""], 0
    for character in text:
        level += (character == "[") - (character == "]")
        if character == separator and level == 0 and not (separator == "," and parts[-1].strip().startswith("one of")):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
