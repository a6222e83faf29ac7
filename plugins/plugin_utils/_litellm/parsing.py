# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse what a proxy sent, within limits on the memory and time that it takes.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterable
from typing import Any

# A page of a hundred keys has about 10 000. Python needs about a hundred bytes for each.
_MAX_VALUES = 1_000_000
# LiteLLM's own responses have about ten levels. Python fails at about a thousand, also when it writes what it has read.
_MAX_NESTING = 100
# Characters. The parser of Python 3.10 crashes on expressions that are nested some ten thousand times, and LiteLLM's
# messages have some hundred characters.
_MAX_LITERAL_LENGTH = 2000


def parse_json(body: bytes) -> Any:
    """Parse JSON.

    :raises ValueError: if it is invalid, or has too many values or levels.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise ValueError("too many values")
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("too many levels") from None
    containers = [value]
    for _level in range(_MAX_NESTING):
        containers = [inner for outer in containers for inner in _members(outer) if isinstance(inner, dict | list)]
        if not containers:
            return value
    raise ValueError("too many levels")


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
