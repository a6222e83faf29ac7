# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse what a proxy sent, within limits on the memory and time that it takes.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable
from typing import Any

# A page of a hundred keys has about 10 000. Python needs about a hundred bytes for each.
_MAX_VALUES = 1_000_000
# LiteLLM's own responses have about ten levels. Python fails at about a thousand, also when it writes what it has read.
MAX_LEVELS = 100
# In a response with so many levels: four for each value.
_MAX_MARKS = 4 * _MAX_VALUES
_TOKENS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
# Characters. The parser of Python 3.10 crashes on expressions that are nested some ten thousand times, and LiteLLM's
# messages have some hundred characters.
_MAX_LITERAL_LENGTH = 2000


def parse_json(body: bytes) -> Any:
    """Parse JSON. Lists and objects below MAX_LEVELS levels are replaced by null: any client can store some in a key.

    :raises ValueError: if it is invalid, or has too many values.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise ValueError("too many values")
    for parse in (json.loads, lambda text: json.loads(_without_deep_levels(text))):
        try:
            value = parse(body)
        except RecursionError:
            continue
        if not has_more_levels(value, MAX_LEVELS):
            return value
    raise ValueError("too many levels")


def has_more_levels(value: Any, limit: int) -> bool:
    """Return whether lists and dictionaries are nested in a JSON value more than `limit` levels deep."""
    containers = [value] if isinstance(value, dict | list) else []
    for _level in range(limit):
        if not containers:
            return False
        containers = [inner for outer in containers for inner in _members(outer) if isinstance(inner, dict | list)]
    return bool(containers)


def _without_deep_levels(body: bytes) -> bytes:
    """Return JSON in which each list and object below MAX_LEVELS levels is null. In invalid JSON, some may remain.

    :raises ValueError: if it has too many quotation marks and escapes: a million take about a second.
    """
    if body.count(b'"') + body.count(b"\\") > _MAX_MARKS:
        raise ValueError("too many texts")
    parts: list[bytes] = []
    start = level = 0
    in_text = False
    for match in _TOKENS.finditer(body):
        token = match[0]
        if token == b'"':
            in_text = not in_text
        elif in_text or token.startswith(b"\\"):
            continue
        elif token in b"[{":
            level += 1
            if level == MAX_LEVELS + 1:
                parts.append(body[start : match.start()])
        else:
            if level == MAX_LEVELS + 1:
                parts.append(b"null")
                start = match.end()
            level -= 1
    return b"".join((*parts, body[start:]))


def parse_literal(text: str) -> Any:
    """Parse a value that Python has written.

    :raises ValueError: if it is something else, or too long.
    """
    if len(text) > _MAX_LITERAL_LENGTH:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():  # they would quote the text
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
