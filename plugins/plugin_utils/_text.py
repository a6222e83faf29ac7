# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make text safe to print: escape control characters, shorten long names, quote cells of a table.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Every master key and every virtual key of LiteLLM starts with this.
SECRET_PREFIX = "sk-"

_MAX_NAME_LENGTH = 100

# A spreadsheet evaluates a cell that starts with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
        """Return the message with what sets an option, if it starts with one or says to set one (`set name: value`)."""
        (word,) = re.findall(r"\A\w*", message)

        def setting(found: re.Match[str]) -> str:
            return f"set {self.setting(found[1], found[2])}" if found[1] in self.names else found[0]

        return self.option(word) + re.sub(r"\bset (\w+): (\w+)", setting, message[len(word) :])


def printable(text: str) -> str:
    """Return the text with control characters escaped: a proxy can put terminal sequences into a message."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shorten(text: str) -> str:
    """Return a name that came from the proxy, cut to a length that fits into a message."""
    return text if len(text) <= _MAX_NAME_LENGTH else f"{text[: _MAX_NAME_LENGTH - 3]}..."


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV. No cell is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
