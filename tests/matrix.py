# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check with every ansible-core, and show in one table what came of it.

`make test-matrix` calls this. Arguments are words, of which a session's name has to hold one: `2.21`, `sanity`,
`py3.10`. The sessions are in noxfile.py, tagged "matrix"; those tagged "next", with an ansible-core that is not
released yet, are shown, too, and may fail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ("unit", "sanity", "integration", "end_to_end")

Session = dict[str, Any]


def nox(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "nox", *arguments)


def chosen(words: list[str]) -> list[Session]:
    """The sessions of the matrix whose names hold one of the words; without any word, all."""
    listing = nox("--list", "--json", "--tags", "matrix", "next")
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    matrix: list[Session] = json.loads(listed.stdout)
    return [one for one in matrix if not words or any(word in one["session"] for word in words)]


def run(names: list[str]) -> list[Session]:
    """Run these sessions, side by side: what nox reports about each, and about what it had to run before."""
    report = ROOT / ".cache" / "matrix.json"
    report.unlink(missing_ok=True)
    options = ("--no-error-on-missing-interpreters", "--parallel", "auto", "--report", str(report))
    done = subprocess.run(nox(*options, "--sessions", *names), cwd=ROOT, check=False)
    if not report.exists():
        sys.exit(f"nox was stopped, and returned {done.returncode}.")
    sessions: list[Session] = json.loads(report.read_text())["sessions"]
    return sessions


def table(sessions: list[Session]) -> str:
    """A row for each ansible-core, a column for each check; then the other checks, and what was skipped."""
    rows: dict[str, dict[str, list[str]]] = {}
    others, skipped = [], []
    for session in sessions:
        check, dash, rest = session["name"].partition("-")
        core, _dash, python = rest.partition("-py")
        minutes, seconds = divmod(round(session["duration"]), 60)
        outcome = session["result"] if session["result"] == "skipped" else f"{session['result']} {minutes}:{seconds:02}"
        if session["result"] == "skipped":
            skipped.append(f"{session['name']}: {session['reason']}")
        if check in CHECKS and dash:
            rows.setdefault(core, {}).setdefault(check, []).append(f"{python} {outcome}".strip())
        else:
            others.append(f"{session['name']}: {outcome}")
    lines: list[tuple[str, ...]] = [("ansible-core", *CHECKS)]
    for core in sorted(rows, key=lambda core: int(core.split(".")[1])):
        cells = [rows[core].get(check, []) for check in CHECKS]
        for number in range(max(map(len, cells))):
            first = core if number == 0 else ""
            lines.append((first, *(cell[number] if number < len(cell) else "" for cell in cells)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*drawn, *others, *(f"skipped {line}" for line in skipped)])


def main() -> int:
    """Zero when nothing failed, what is not released yet aside."""
    planned = chosen(sys.argv[1:])
    if not planned:
        print(f"No session of the matrix is called {' or '.join(sys.argv[1:])}.", file=sys.stderr)
        return 2
    sessions = run([one["session"] for one in planned])
    may_fail = {one["session"] for one in planned if "next" in one["tags"]}
    failed = [one["name"] for one in sessions if one["result"] in ("failed", "aborted")]
    print(f"\n{table(sessions)}")
    if forgiven := sorted(may_fail.intersection(failed)):
        print(f"not part of the verdict, because that ansible-core is not released yet: {', '.join(forgiven)}")
    return int(not may_fail.issuperset(failed))


if __name__ == "__main__":
    sys.exit(main())
