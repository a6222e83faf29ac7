# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write tables to a terminal, and to a section of the documentation."""

from __future__ import annotations

import textwrap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import Results

NOT_RUN = "-"


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(ABC):
    """A section of the page about performance, between comments with its name."""

    name: ClassVar[str]

    @abstractmethod
    def tables(self, results: Results) -> list[Table]:
        """Return the tables of the section."""

    def text(self, results: Results) -> str:
        """Return all tables as text for a terminal."""
        parts = []
        for table in self.tables(results):
            lines = [table.head, *table.rows]
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            shown = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
            parts.append("\n".join([table.title, *shown, ""]))
        return "\n".join(parts)

    def write(self, results: Results, docs: Path) -> None:
        """Write the tables to the page."""
        page = docs / "docsite" / "rst" / "performance.rst"
        begin = f"..\n  Begin of the {self.name}, written by make bench.\n"
        end = f"..\n  End of the {self.name}.\n"
        before, rest = page.read_text().split(begin)
        after = rest.split(end)[1]
        machine = "\n".join(f":{name}: {value}" for name, value in results.machine.items()) + "\n"
        parts = [machine, *map(_rst, self.tables(results))]
        page.write_text(before + begin + "\n" + "\n".join(parts) + "\n" + end + after)


def show_seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}"


def _rst(table: Table) -> str:
    lines = [
        table.title,
        "-" * len(table.title),
        "",
        *textwrap.wrap(table.note, 120),
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
    ]
    for row in (table.head, *table.rows):
        cells = [rf"\{cell}" if cell == NOT_RUN else cell for cell in row]  # a dash alone would be a list
        lines += [f"   {'* -' if not number else '  -'} {cell}".rstrip() for number, cell in enumerate(cells)]
    return "\n".join([*lines, ""])
