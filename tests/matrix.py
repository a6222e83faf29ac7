# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check with every supported ansible-core version, and record the results in the documentation.

`make test-matrix` runs this program. Its arguments are words such as `2.21`, `sanity` or `py3.10`, and it runs the
sessions whose names contain at least one of them. noxfile.py defines the sessions, with the tag "matrix". Sessions with
the tag "next" use an ansible-core version that is not released yet; the table includes them, but they may fail.

The page `compatibility` shows the last result of each session. A run replaces the results of its own sessions only,
and of these only if they ran to their end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "docsite" / "rst" / "compatibility.rst"
BEGIN = "..\n  Begin of the results of make test-matrix.\n"
END = "..\n  End of the results of make test-matrix.\n"
CHECKS = {
    "sanity": "sanity",
    "unit": "units",
    "integration": "integration",
    "end_to_end": "end to end",
    "demo": "demo",
}
CORE, PYTHON = "ansible-core", "Python"
HEADER = (CORE, PYTHON, *CHECKS.values())
NOT_RUN = "not run"
# Before the release of ansible-core in a cell, if it is not that of the row.
WITH = " with "

Session = dict[str, Any]
# A row of the table: a cell by the title of its column. Its key is the series of ansible-core, and Python.
Row = dict[str, str]
Results = dict[tuple[str, str], Row]


def nox(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "nox", *arguments)


def select_sessions(words: list[str]) -> list[Session]:
    """Return the sessions of the matrix whose names contain one of the words, or all sessions without words."""
    listing = nox("--list", "--json", "--tags", "matrix", "next")
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    matrix: list[Session] = json.loads(listed.stdout)
    return [session for session in matrix if not words or any(word in session["session"] for word in words)]


def run(names: list[str], jobs: str, *, quick: bool) -> list[Session]:
    """Run these sessions, and return nox's report about them and about the sessions that they require.

    :param jobs: how many sessions run at the same time.
    :param quick: of the end-to-end tests, run only those that depend on the version of ansible-core.
    """
    report = ROOT / ".cache" / "matrix.json"
    report.unlink(missing_ok=True)
    options = ("--no-error-on-missing-interpreters", "--parallel", jobs, "--report", str(report))
    environment = {**os.environ, "TEST_MATRIX": "every_core" if quick else "all"}
    process = subprocess.run(nox(*options, "--sessions", *names), cwd=ROOT, env=environment, check=False)
    if not report.exists():
        sys.exit(f"nox exited with code {process.returncode} before it wrote a report. The reason is shown above.")
    sessions: list[Session] = json.loads(report.read_text())["sessions"]
    return sessions


def installed(session: str) -> tuple[str, str] | None:
    """Return the releases of ansible-core and Python in the environment of a session, or None if there is none."""
    folder = Path(os.environ.get("NOX_ENVDIR") or ROOT / ".cache" / "nox") / re.sub(r"[^\w-]+", "-", session)
    found = re.search(
        r"/python(\S+)/site-packages/ansible_core-(\S+)\.dist-info$",
        "\n".join(map(str, folder.glob("lib/python3*/site-packages/ansible_core-*.dist-info"))),
        re.MULTILINE,
    )
    return (found[2], found[1]) if found else None


def results_of(sessions: list[Session], day: str, *, quick: bool) -> Results:
    """Return the rows of these sessions."""
    results: Results = {}
    for session in sessions:
        check, dash, rest = session["name"].partition("-")
        core, _dash, python = rest.partition("-py")
        if check not in CHECKS or not dash:
            continue
        release, text = core, NOT_RUN
        if session["result"] != "skipped":
            versions = installed(session["name"])
            if session["result"] not in ("success", "failed") or not versions:
                continue  # it was interrupted, or could not be prepared
            release, python = versions
            text = f"{'passed' if session['result'] == 'success' else session['result']} {day}"
            text += " (selection)" if quick and check == "end_to_end" else ""
        row = results.setdefault((core, python), {CORE: release, PYTHON: python})
        row[CHECKS[check]] = text
    return results


def read(page: str) -> Results:
    """Return the rows of the page."""
    listing = page.partition(BEGIN)[2].partition(END)[0]
    results: Results = {}
    for text in listing.split("\n   * -")[2:]:
        row = dict(zip(HEADER, (cell.strip() for cell in text.split("\n     -")), strict=True))
        results[".".join(row[CORE].split(".")[:2]), row[PYTHON]] = {name: cell for name, cell in row.items() if cell}
    return results


def merge(before: Results, now: Results) -> Results:
    """Return the rows with the results of this run. What did not run does not replace an earlier result.

    A row has the release of the last run. Results that were found with an earlier one are kept, with that release.
    """
    merged = {key: dict(row) for key, row in before.items()}
    for key, row in now.items():
        ran = {name: cell for name, cell in row.items() if cell != NOT_RUN}
        has_run = set(ran) - {CORE, PYTHON}
        earlier = merged.get(key, {})
        if has_run and earlier.get(CORE) != row[CORE]:
            earlier = {name: _with_release(cell, earlier[CORE]) for name, cell in earlier.items()}
        merged[key] = {**row, **earlier, **(ran if has_run else {})}
    return merged


def _with_release(cell: str, release: str) -> str:
    """Return a result with the release of ansible-core that it was found with; any other cell as it is."""
    is_result = cell.startswith(("passed ", "failed ")) and WITH not in cell
    return f"{cell}{WITH}{release}" if is_result else cell


def write(page: str, results: Results) -> str:
    """Return the page with these rows."""

    def numbers(key: tuple[str, str]) -> list[list[int]]:
        return [[int(number) for number in re.findall(r"\d+", version)] for version in key]

    rows = [dict(zip(HEADER, HEADER, strict=True)), *(results[key] for key in sorted(results, key=numbers))]
    lines = [
        f"   {'* -' if not number else '  -'} {row.get(name, '')}".rstrip()
        for row in rows
        for number, name in enumerate(HEADER)
    ]
    before, _begin, rest = page.partition(BEGIN)
    listing = "\n".join(["", ".. list-table::", "   :header-rows: 1", "", *lines, "", ""]) if results else "\n"
    return f"{before}{BEGIN}{listing}{END}{rest.partition(END)[2]}"


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
    parser = argparse.ArgumentParser(description="Run every check with every supported ansible-core version.")
    parser.add_argument("words", nargs="*", help="run only sessions whose names contain one of these words")
    parser.add_argument("--jobs", default="auto", help="how many sessions run at the same time (default: one per CPU)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="of the end-to-end tests, run only those that depend on the version of ansible-core",
    )
    arguments = parser.parse_args()
    if os.environ.get("PYTEST_ADDOPTS"):
        print("PYTEST_ADDOPTS is set, but the matrix records complete runs only; unset it", file=sys.stderr)
        return 2
    planned = select_sessions(arguments.words)
    if not planned:
        print(
            f"No session name contains {' or '.join(arguments.words)}. To list the sessions, run: nox --list",
            file=sys.stderr,
        )
        return 2
    sessions = run([session["session"] for session in planned], arguments.jobs, quick=arguments.quick)
    now = results_of(sessions, f"{datetime.now(UTC):%Y-%m-%d}", quick=arguments.quick)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(write(page, merge(read(page), now)), encoding="utf-8")
    may_fail = {session["session"] for session in planned if "next" in session["tags"]}
    failed = [session["name"] for session in sessions if session["result"] in ("failed", "aborted")]
    print(f"\n{table(sessions)}\nRecorded in {PAGE.relative_to(ROOT)}.")
    if ignored := sorted(may_fail.intersection(failed)):
        print(f"Failures ignored, because this ansible-core is not released yet: {', '.join(ignored)}")
    return int(not may_fail.issuperset(failed))


if __name__ == "__main__":
    sys.exit(main())
