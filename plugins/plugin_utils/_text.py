# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make text safe to print: escape control characters, shorten long names, mask secrets, quote cells of a table.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

# Every master key and every virtual key of LiteLLM starts with this.
SECRET_PREFIX = "sk-"
MASK = "********"

_MAX_NAME_LENGTH = 100

# A spreadsheet evaluates a cell that starts with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# The characters that RFC 6750 allows in a bearer token. LiteLLM's `key_name`, `sk-...abcd`, is not a secret; a full
# stop at the end belongs to the sentence.
_LOOKS_LIKE_A_SECRET = re.compile(r"\bsk-(?!\.\.\.)[A-Za-z0-9._~+/=-]{7,}[A-Za-z0-9_~+/=-]")


@dataclass(frozen=True)
class Wording:
    """What messages call options and operations: what the user of an action, of the role or of a playbook writes.

    :ivar names: the names of options that are set by something else than the option of the action.
    :ivar in_playbook: the user runs a playbook of this collection, and sets variables on the command line.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    in_playbook: bool = False

    def option(self, name: str) -> str:
        """Return what sets an option."""
        return self.names.get(name, name)

    def setting(self, name: str, value: str) -> str:
        """Return how to set an option to a value."""
        return f"-e {self.option(name)}={value}" if self.in_playbook else f"{self.option(name)}: {value}"

    def operation(self, name: str) -> str:
        """Return how to run an operation."""
        return f"playbook {name}_key" if self.in_playbook else f"ACTION: {name}"

    def reword(self, message: str) -> str:
        """Return the message; if it starts with an option, with what sets that option."""
        (word,) = re.findall(r"\A\w*", message)
        return self.option(word) + message[len(word) :]


def printable(text: str) -> str:
    """Return the text with control characters escaped: a proxy can put terminal sequences into a message."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shorten(text: str) -> str:
    """Return a name that came from the proxy, cut to a length that fits into a message."""
    return text if len(text) <= _MAX_NAME_LENGTH else f"{text[: _MAX_NAME_LENGTH - 3]}..."


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, and without anything that looks like a key of LiteLLM.

    :param secrets: values to replace in every spelling that a message may contain; three characters or fewer are
        ignored, because they would match ordinary words.
    """
    spellings = {spelling for secret in secrets if len(secret) > len(SECRET_PREFIX) for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return _LOOKS_LIKE_A_SECRET.sub(f"{SECRET_PREFIX}{MASK}", text)


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV. No cell is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _spellings(secret: str) -> tuple[str, ...]:
    """Return the secret as it is, and as Python, JSON and a URL quote it."""
    return secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="", errors="replace")
