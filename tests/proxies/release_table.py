# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write which operations were tested on which LiteLLM release to a page of the documentation. Pure functions.

A run that tests only some releases replaces only their rows. Incomplete runs of a release change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

OPERATIONS = ("create", "again", "extend", "replace", "destroy", "list", "report")
BEGIN = "..\n  Begin of the LiteLLM releases, written by make test-litellm-matrix.\n"
END = "..\n  End of the LiteLLM releases.\n"
_HEAD = ("LiteLLM", *OPERATIONS, "other tests", "packages", "run on")
_ROW = re.compile(r"^   \* - (.*)\n((?:     - .*\n)*)", re.MULTILINE)


@dataclass
class ReleaseRun:
    """The tests that ran on one release.

    :ivar outcomes: whether each test passed, by the operation that it tests; "" for other tests.
    :ivar remarks: what replaces the number of tests that passed, by operation.
    :ivar packages: which packages of LiteLLM were replaced; empty if none was.
    :ivar is_started: the release exists, and its proxy has started.
    :ivar tests: the ids of all tests of the release, no matter which of them were selected.
    :ivar finished: the ids of those that have run.
    """

    outcomes: dict[str, list[bool]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    packages: str = ""
    is_started: bool = False
    tests: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)

    def incomplete(self) -> str:
        """Return why the run must not be written; empty if it is complete."""
        if not self.is_started:
            return "its proxy did not start"
        if missing := len(self.tests - self.finished):
            return f"{missing} of {len(self.tests)} tests did not run"
        return ""

    def cells(self, release: str, date: str) -> tuple[str, ...]:
        """Return the row of the table."""
        tests = (self._cell(operation) for operation in (*OPERATIONS, ""))
        return (release, *tests, self.packages or "as released", date)

    def _cell(self, operation: str) -> str:
        outcomes = self.outcomes.get(operation, [])
        if failures := outcomes.count(False):
            return f"{failures} of {len(outcomes)} failed"
        if not outcomes:
            return "not run"
        return self.remarks.get(operation) or f"{len(outcomes)} passed"


def update_page(page: str, rows: Sequence[tuple[str, ...]]) -> str:
    """Return the page with these rows in its table; other rows stay. The first cell of a row is the release."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    merged = {row[0]: row for row in (*_parse(table), *rows)}
    ordered = [merged[release] for release in sorted(merged, key=_by_number)]
    lines = [
        line for row in (_HEAD, *ordered) for line in (f"   * - {row[0]}", *(f"     - {cell}" for cell in row[1:]))
    ]
    listing = "\n".join([".. list-table::", "   :header-rows: 1", "", *lines])
    return f"{before}{BEGIN}\n{listing}\n\n{END}{after}"


def _parse(table: str) -> list[tuple[str, ...]]:
    rows = [(first, *re.findall(r"- (.*)\n", rest)) for first, rest in _ROW.findall(table)]
    return [row for row in rows[1:] if len(row) == len(_HEAD)]


def _by_number(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]
