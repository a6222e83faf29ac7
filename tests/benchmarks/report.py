# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured, for people: tables, a picture, and whether the promises hold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import matplotlib as mpl
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import (
    AGAIN,
    CONCURRENCIES,
    DESTROY,
    EMPTY,
    ENGINE,
    HAND,
    LOOKUP,
    PROVISION,
    ROLE,
    Case,
    Results,
    bare,
)
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

WORKS = (PROVISION, AGAIN, DESTROY)
NOT_RUN = "-"
BARE = "bare client"
BEGIN, END = "..\n  Measured: make bench writes from here on.\n", "..\n  Measured: to here.\n"
MANY = 50  # the users of the promises
GREY = "#808080"  # can be read on white as on black
COLOURS = {HAND: "#e07b39", ROLE: "#2f8fd0", EMPTY: GREY}
MARKS = {HAND: "o", ROLE: "o", EMPTY: ""}
NAMES = {HAND: "by hand, with uri", ROLE: "this collection", EMPTY: "an empty playbook"}


@dataclass(frozen=True)
class Table:
    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> list[Table]:
    return [
        _hopes(results),
        _playbooks(results),
        _requests(results),
        _engine(results),
        _growth(results),
        _lookups(results),
    ]


def text(results: Results) -> str:
    """All tables for a terminal."""
    parts = []
    for table in tables(results):
        lines = [table.head, *table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        shown = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        parts.append("\n".join([table.title, *shown, ""]))
    return "\n".join(parts)


def write(results: Results, docs: Path) -> None:
    """The page's tables, between its marks, and the picture."""
    page = docs / "docsite" / "rst" / "speed.rst"
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    parts = [_machine(results), *map(_rst, tables(results))]
    page.write_text(before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after)
    picture(results, docs / "docsite" / "images" / "speed.svg")


def picture(results: Results, path: Path) -> None:
    """Seconds over users, for a provision and for a destroy."""
    mpl.rcParams.update(
        {
            "font.family": "sans-serif",
            "svg.fonttype": "none",
            "svg.hashsalt": "speed",  # so that the same numbers make the same file
            "text.color": GREY,
            "axes.labelcolor": GREY,
            "axes.edgecolor": GREY,
            "xtick.color": GREY,
            "ytick.color": GREY,
        }
    )
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for panel, work in zip(panels, (PROVISION, DESTROY), strict=True):
        _panel(panel, results, work)
    panels[0].set_ylabel("seconds; each line ten times more")
    figure.savefig(path, transparent=True, metadata={"Date": None})
    lines = path.read_text().splitlines()
    licence = (
        "<!-- Written by make bench. GNU General Public License v3.0+ SPDX-License-Identifier: GPL-3.0-or-later -->"
    )
    path.write_text("\n".join([lines[0], licence, *(line.rstrip() for line in lines[1:]), ""]))


def _panel(panel: Axes, results: Results, work: str) -> None:
    users = results.users()
    positions = range(len(users))
    for contestant in (HAND, ROLE, EMPTY):
        known = [
            (position, results.seconds(contestant, PROVISION if contestant == EMPTY else work, number))
            for position, number in enumerate(users)
            if results.has(contestant, PROVISION if contestant == EMPTY else work, number)
        ]
        if not known:
            continue
        where, seconds = zip(*known, strict=True)
        colour, is_floor = COLOURS[contestant], contestant == EMPTY
        panel.plot(
            where, seconds, color=colour, linewidth=2, linestyle=":" if is_floor else "-", marker=MARKS[contestant]
        )
        end = (where[-1], seconds[-1])
        _write_at(panel, NAMES[contestant], end, (6, -16 if is_floor else 22), colour, "right")
        for position, number in () if is_floor else known:
            # At the left the lines are near each other.
            beside = contestant == ROLE and position == 0
            away, align = ((-8, -4), "right") if beside else ((0, 8), "center")
            _write_at(panel, _seconds(number), (position, number), away, colour, align, 9)
    panel.set_yscale("log")
    panel.set_xticks(list(positions), [f"{number} user{'s' if number > 1 else ''}" for number in users])
    panel.set_title(work.capitalize(), color=GREY)
    panel.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _position: f"{value:g}"))
    panel.yaxis.grid(visible=True, color=GREY, alpha=0.25)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.margins(x=0.16, y=0.2)


def _write_at(
    panel: Axes, text: str, point: tuple[float, float], away: tuple[int, int], colour: str, align: str, size: int = 10
) -> None:
    panel.annotate(text, point, xytext=away, textcoords="offset points", color=colour, ha=align, fontsize=size)


def _hopes(results: Results) -> Table:
    """What issue 6 asks for, and whether it is so; only what was measured."""
    rows = []

    def judge(what: str, number: float, bound: float, *, at_least: bool = False, unit: str = "") -> None:
        met = number >= bound if at_least else number <= bound
        word = "at least" if at_least else "at most"
        rows.append([what, f"{word} {bound:g}{unit}", f"{number:.2f}{unit}", "met" if met else "not met"])

    for work in (PROVISION, DESTROY):
        if results.has(HAND, work, MANY):
            ratio = results.ratio(Case(HAND, work, MANY), Case(ROLE, work, MANY))
            rounds = results.runs(HAND, work, MANY)
            judge(f"{MANY} users, {work}: times as fast as by hand (rounds: {rounds})", ratio, 25, at_least=True)
    if results.has(ENGINE, PROVISION, MANY):
        for work in (PROVISION, DESTROY):
            ratio = results.ratio(Case(ENGINE, work, MANY), results.fastest(work, MANY))
            judge(f"{MANY} users, {work}: the requests, of the bare client's time", ratio, 1.25)
    if results.has(HAND, PROVISION, 1):
        ratio = results.ratio(Case(ROLE, PROVISION, 1), Case(HAND, PROVISION, 1))
        judge("1 user, provision: of the time by hand", ratio, 0.65)
    if results.others():
        fewest, most, users = results.others()[0], results.others()[-1], results.users_among_others()
        for work in WORKS:
            ratio = results.ratio(Case(ROLE, work, users, most), Case(ROLE, work, users, fewest))
            judge(f"{most:,} keys of others, {users} users, {work}: of the time with {fewest:,}", ratio, 1.15)
    if results.has(ROLE, AGAIN, MANY):
        more = results.difference(Case(ROLE, AGAIN, MANY), Case(EMPTY, PROVISION, MANY))
        judge(f"{MANY} users, again: longer than an empty playbook", more, 0.4, unit=" s")
    return Table(
        "What was hoped for",
        "Set before anything was built. As everywhere on this page, a ratio is the median of the ratios of single "
        "rounds, in which both ran one after the other; it may differ a little from the ratio of two medians.",
        ["", "hoped for", "measured", ""],
        rows,
    )


def _playbooks(results: Results) -> Table:
    rows = []
    for users in results.users():
        for work in WORKS:
            role, hand = (ROLE, work, users), (HAND, work, users)
            by_hand = results.has(*hand)
            rows.append(
                [
                    f"{users}",
                    work,
                    _seconds(results.seconds(*role)),
                    _range(results.spread(*role)),
                    _seconds(results.seconds(*hand)) if by_hand else NOT_RUN,
                    f"{results.ratio(Case(*hand), Case(*role)):.1f}" if by_hand else NOT_RUN,
                    _seconds(results.seconds(EMPTY, PROVISION, users)),
                    f"{results.megabytes(*role):.0f}",
                    f"{results.megabytes(*hand):.0f}" if by_hand else NOT_RUN,
                    f"{results.runs(*role)}/{results.runs(*hand)}",
                ]
            )
    return Table(
        "Playbooks",
        "The whole of ansible-playbook, medians in seconds. Memory is that of all its processes at its highest, in MB; "
        "what they share counts each time. The last column says how often the role and the tasks by hand were run. A "
        f"dash: not run. By hand, nothing can be provisioned again, and {_left_out(results)}.",
        ["users", "work", "role", "from, to", "by hand", "times", "empty", "MB", "MB by hand", "runs"],
        rows,
    )


def _left_out(results: Results) -> str:
    left = [str(users) for users in results.users() if not results.has(HAND, DESTROY, users)]
    return f"to destroy the keys of {' or '.join(left)} users takes far too long" if left else "all else was run"


def _requests(results: Results) -> Table:
    rows = []
    for users in results.users():
        cells = [str(users)]
        for work in WORKS:
            for contestant in (ROLE, HAND):
                case = (contestant, work, users)
                cells.append(f"{results.requests(*case):,}" if results.has(*case) else NOT_RUN)
        rows.append([*cells[:4], *cells[5:]])  # by hand, nothing can be provisioned again
    return Table(
        "Requests",
        "As the proxy's own log counts them.",
        ["users", PROVISION, "by hand", AGAIN, DESTROY, "by hand"],
        rows,
    )


def _engine(results: Results) -> Table:
    rows = []
    for users in results.users():
        for work in WORKS:
            ours = results.seconds(ENGINE, work, users)
            ratio = results.ratio(Case(ENGINE, work, users), results.fastest(work, users))
            each = [_milliseconds(results.seconds(bare(concurrency), work, users)) for concurrency in CONCURRENCIES]
            rows.append([str(users), work, _milliseconds(ours), *each, f"{ratio:.2f}"])
    return Table(
        "Requests alone",
        "Without Ansible, medians in milliseconds: what the action runs, with 8 requests at a time, against a bare "
        "urllib3 client that asks only what has to be asked (one look, then the work, then another look), with 8, 16 "
        "and 32 at a time. The ratio is to the fastest of these three.",
        ["users", "work", "engine", *(f"bare, {concurrency}" for concurrency in CONCURRENCIES), "ratio"],
        rows,
    )


def _growth(results: Results) -> Table:
    rows = []
    users = results.users_among_others()
    for work in WORKS:
        for contestant in (ROLE, ENGINE, BARE):
            cases = [
                results.fastest(work, users, others) if contestant == BARE else Case(contestant, work, users, others)
                for others in results.others()
            ]
            cells = [results.seconds(*astuple(case)) for case in cases]
            shown = [_seconds(cell) if contestant == ROLE else f"{cell:.3f}" for cell in cells]
            rows.append([work, contestant, *shown, f"{results.ratio(cases[-1], cases[0]):.2f}"])
    return Table(
        "Keys of others",
        f"Seconds for {users} users while the proxy holds so many keys of other environments, and the ratio of the "
        "last to the first. What the bare client loses, too, LiteLLM loses: it has no index on aliases, so that its "
        "database reads all keys for each alias that it is asked for or given.",
        ["work", "", *(f"{others:,}" for others in results.others()), "ratio"],
        rows,
    )


def _lookups(results: Results) -> Table:
    rows = [
        [
            f"{number:,}",
            _seconds(results.seconds(LOOKUP, str(number), 1)),
            str(results.requests(LOOKUP, str(number), 1)),
        ]
        for number in results.lookups()
    ]
    return Table(
        "Lookups",
        "A playbook with one template that names one key so many times: seconds and requests.",
        ["lookups", "seconds", "requests"],
        rows,
    )


def _machine(results: Results) -> str:
    return "\n".join(f":{name}: {value}" for name, value in results.machine.items()) + "\n"


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
        lines += [f"   {'* -' if not number else '  -'} {cell}".rstrip() for number, cell in enumerate(row)]
    return "\n".join([*lines, ""])


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.1f}" if seconds >= 10 else f"{seconds:.2f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _range(spread: tuple[float, float]) -> str:
    return ", ".join(map(_seconds, spread))
