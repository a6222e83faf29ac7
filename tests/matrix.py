# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check with every supported ansible-core version, and print the results as a table.

`make test-matrix` runs this program. Its arguments are words such as `2.21`, `sanity` or `py3.10`, and it runs the
sessions whose names contain at least one of them. noxfile.py defines the sessions, with the tag "matrix". Sessions with
the tag "next" use an ansible-core version that is not released yet; the table includes them, but they may fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ("unit", "sanity", "integration", "end_to_end")

Session = dict[str, Any]


def nox(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "nox", *arguments)


def select_sessions(words: list[str]) -> list[Session]:
    """Return the sessions of the matrix whose names contain one of the words, or all sessions without words."""
    listing = nox("--list", "--json", "--tags", "matrix", "next")
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    matrix: list[Session] = json.loads(listed.stdout)
    return [session for session in matrix if not words or any(word in session["session"] for word in words)]


def run(names: list[str]) -> list[Session]:
    """Run these sessions in parallel, and return nox's report about them and about the sessions that they require."""
    report = ROOT / ".cache" / "matrix.json"
    report.unlink(missing_ok=True)
    options = ("--no-error-on-missing-interpreters", "--parallel", "auto", "--report", str(report))
    environment = {**os.environ, "TEST_MATRIX": "1"}  # every end-to-end test with every ansible-core
    process = subprocess.run(nox(*options, "--sessions", *names), cwd=ROOT, env=environment, check=False)
    if not report.exists():
        sys.exit(f"nox exited with code {process.returncode} before it wrote a report. The reason is shown above.")
    sessions: list[Session] = json.loads(report.read_text())["sessions"]
    return sessions


def table(sessions: list[Session]) -> str:
    """Format one row per ansible-core version and one column per check, then other and skipped sessions."""
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
    """Return 0 if no session failed, except sessions with an unreleased ansible-core."""
    planned = select_sessions(sys.argv[1:])
    if not planned:
        print(
            f"No session name contains {' or '.join(sys.argv[1:])}. To list the sessions, run: nox --list",
            file=sys.stderr,
        )
        return 2
    sessions = run([session["session"] for session in planned])
    may_fail = {session["session"] for session in planned if "next" in session["tags"]}
    failed = [session["name"] for session in sessions if session["result"] in ("failed", "aborted")]
    print(f"\n{table(sessions)}")
    if ignored := sorted(may_fail.intersection(failed)):
        print(f"Failures ignored, because this ansible-core is not released yet: {', '.join(ignored)}")
    return int(not may_fail.issuperset(failed))


if __name__ == "__main__":
    sys.exit(main())
