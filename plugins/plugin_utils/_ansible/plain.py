# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the values of arguments into plain JSON types.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

from .._errors import OptionError
from .._keys.values import MAX_LEVELS
from .._litellm.parsing import has_more_levels
from .options import is_vaulted


def to_plain(value: Any, what: str, *, for_database: bool = False) -> Any:
    """Return the value as plain JSON types: YAML has dates, and keys that are not text; ansible-core has its own types.

    :param what: the subject of the error message.
    :param for_database: PostgreSQL must be able to store the value, too.
    :raises OptionError: if that is not possible.
    """

    def convert(one: Any) -> str:
        if isinstance(one, date):
            return one.isoformat()
        if is_vaulted(one):
            return str(one)
        raise TypeError(f"a value of type {type(one).__name__}")

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant}, which is not a number in JSON")

    try:
        plain = json.loads(json.dumps(value, default=convert), parse_constant=refuse if for_database else None)
        json.dumps(plain, ensure_ascii=False).encode()  # fails for a lone surrogate
        if for_database and any("\0" in text for text in _texts(plain)):
            raise ValueError("a null character, which PostgreSQL cannot store")
        if for_database and has_more_levels(plain, MAX_LEVELS):
            raise ValueError(f"it is nested more than {MAX_LEVELS} levels deep")
    except UnicodeEncodeError as error:
        problem = f"{what} contains a value that cannot be stored: {error.reason}"
    except RecursionError:
        problem = f"{what} contains a value that cannot be stored: it is nested too deep"
    except (TypeError, ValueError) as error:
        problem = f"{what} contains a value that cannot be stored: {error}"
    else:
        return plain
    raise OptionError(problem)


def _texts(value: Any) -> Iterator[str]:
    """Return every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)
