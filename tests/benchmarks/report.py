# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report the comparison with other contestants: tables, a chart, and whether the performance goals are met."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import astuple
from pathlib import Path

import matplotlib as mpl
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.pages import (
    NOT_RUN,
    Section,
    Table,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.pages import (
    show_seconds as _seconds,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import (
    CONCURRENCIES,
    DESTROY,
    EMPTY,
    ENGINE,
    LARGE,
    LARGE_BARE,
    LOOKUP,
    ORIGINAL,
    PROVISION,
    REPORT,
    ROLE,
    SECOND_PROVISION,
    URI_LOOPS,
    URI_TASKS,
    Case,
    Results,
    bare_client,
)
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

OPERATIONS = (PROVISION, SECOND_PROVISION, DESTROY)
BARE = "bare client"
MANY = 50  # the number of users in the performance goals
GREY = "#808080"  # legible on both white and black
COLORS = {URI_TASKS: "#e07b39", ROLE: "#2f8fd0", EMPTY: GREY}
MARKERS = {URI_TASKS: "o", ROLE: "o", EMPTY: ""}
LABELS = {URI_TASKS: "uri tasks", ROLE: "this collection", EMPTY: "empty playbook"}


class Comparison(Section):
    name = "comparison"

    def tables(self, results: Results) -> list[Table]:
        return [
            _goals(results),
            _playbooks(results),
            _memory(results),
            _requests(results),
            _engine(results),
            _scaling(results),
            _large(results),
            _lookups(results),
        ]

    def write(self, results: Results, docs: Path) -> None:
        """Write the tables to the page, and the chart."""
        super().write(results, docs)
        chart(results, docs / "docsite" / "images" / "speed.svg")


COMPARISON = Comparison()


def chart(results: Results, path: Path) -> None:
    """Plot the run time in seconds by number of users, for provision and destroy."""
    mpl.rcParams.update(
        {
            "font.family": "sans-serif",
            "svg.fonttype": "none",
            "svg.hashsalt": "speed",  # the same numbers give the same file
            "text.color": GREY,
            "axes.labelcolor": GREY,
            "axes.edgecolor": GREY,
            "xtick.color": GREY,
            "ytick.color": GREY,
        }
    )
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for panel, operation in zip(panels, (PROVISION, DESTROY), strict=True):
        _panel(panel, results, operation)
    panels[0].set_ylabel("seconds (log scale)")
    figure.savefig(path, transparent=True, metadata={"Date": None})
    lines = path.read_text().splitlines()
    license_line = (
        "<!-- Written by make bench. GNU General Public License v3.0+ SPDX-License-Identifier: GPL-3.0-or-later -->"
    )
    path.write_text("\n".join([lines[0], license_line, *(line.rstrip() for line in lines[1:]), ""]))


def _panel(panel: Axes, results: Results, operation: str) -> None:
    users = results.users()
    positions = range(len(users))
    for contestant in (URI_TASKS, ROLE, EMPTY):
        measured_operation = PROVISION if contestant == EMPTY else operation
        points = [
            (position, results.seconds(contestant, measured_operation, number))
            for position, number in enumerate(users)
            if results.has(contestant, measured_operation, number)
        ]
        if not points:
            continue
        xs, ys = zip(*points, strict=True)
        color, is_baseline = COLORS[contestant], contestant == EMPTY
        panel.plot(xs, ys, color=color, linewidth=2, linestyle=":" if is_baseline else "-", marker=MARKERS[contestant])
        _annotate(panel, LABELS[contestant], (xs[-1], ys[-1]), (6, -16 if is_baseline else 22), color, "right")
        for position, seconds in () if is_baseline else points:
            # At the left, the lines are too close for a label above the point.
            is_beside = contestant == ROLE and position == 0
            offset, align = ((-8, -4), "right") if is_beside else ((0, 8), "center")
            _annotate(panel, _seconds(seconds), (position, seconds), offset, color, align, 9)
    panel.set_yscale("log")
    panel.set_xticks(list(positions), [f"{number} user{'s' if number > 1 else ''}" for number in users])
    panel.set_title(operation.capitalize(), color=GREY)
    panel.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _position: f"{value:g}"))
    panel.yaxis.grid(visible=True, color=GREY, alpha=0.25)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.margins(x=0.16, y=0.2)


def _annotate(
    panel: Axes, text: str, point: tuple[float, float], offset: tuple[int, int], color: str, align: str, size: int = 10
) -> None:
    panel.annotate(text, point, xytext=offset, textcoords="offset points", color=color, ha=align, fontsize=size)


def _goals(results: Results) -> Table:
    """Compare the results with the performance goals. Omit goals that were not measured."""
    rows = []

    def add(goal: str, rounds: list[float], bound: float, *, at_least: bool = False, unit: str = "") -> None:
        value = statistics.median(rounds)
        is_met = value >= bound if at_least else value <= bound
        limit = "at least" if at_least else "at most"
        spread = f"{min(rounds):.2f}, {max(rounds):.2f}" if len(rounds) > 1 else NOT_RUN
        status = "met" if is_met else "not met"
        rows.append([goal, f"{limit} {bound:.3g}{unit}", f"{value:.2f}{unit}", spread, str(len(rounds)), status])

    for operation in (PROVISION, DESTROY):
        if results.has(URI_TASKS, operation, MANY):
            ratios = results.ratios(Case(URI_TASKS, operation, MANY), Case(ROLE, operation, MANY))
            add(f"{MANY} users, {operation}: speedup over uri tasks", ratios, 25, at_least=True)
    if results.has(ENGINE, PROVISION, MANY):
        for operation in (PROVISION, DESTROY):
            ratios = results.ratios(Case(ENGINE, operation, MANY), results.fastest(operation, MANY))
            add(f"{MANY} users, {operation}: requests only, relative to the bare client", ratios, 1.25)
    if results.has(URI_TASKS, PROVISION, 1):
        ratios = results.ratios(Case(ROLE, PROVISION, 1), Case(URI_TASKS, PROVISION, 1))
        add("1 user, provision: time relative to uri tasks", ratios, 0.65)
    if counts := results.unrelated_keys():
        fewest, users = counts[0], results.users_among_unrelated_keys()
        for many, operation in itertools.product(counts[1:], OPERATIONS):
            ratios = results.ratios(Case(ROLE, operation, users, many), Case(ROLE, operation, users, fewest))
            growth = results.ratio(results.fastest(operation, users, many), results.fastest(operation, users, fewest))
            limit = 1.05 if operation == SECOND_PROVISION else growth * 1.05
            add(f"{users} users, {operation}, {many:,} unrelated keys: time relative to {fewest:,} keys", ratios, limit)
    if large := results.large_environments():
        for operation in (REPORT, DESTROY):
            ratios = results.ratios(Case(LARGE, operation, large[-1]), Case(LARGE_BARE, operation, large[-1]))
            add(f"{large[-1]:,} keys, {operation}: time relative to the bare client", ratios, 1.15)
    if results.has(ROLE, SECOND_PROVISION, MANY):
        overhead = results.differences(Case(ROLE, SECOND_PROVISION, MANY), Case(EMPTY, PROVISION, MANY))
        add(f"{MANY} users, {SECOND_PROVISION}: overhead over an empty playbook", overhead, 0.4, unit=" s")
    return Table(
        "Performance goals",
        "Each ratio on this page is the median of the ratios of single rounds, in which both contestants ran one after "
        "the other, and can differ slightly from the ratio of the two medians. The target for provision and destroy "
        "among unrelated keys is 1.05 times the growth of the bare client. In the other columns are the minimum, the "
        "maximum, and the number of rounds.",
        ["goal", "target", "measured", "min, max", "rounds", "status"],
        rows,
    )


def _playbooks(results: Results) -> Table:
    rows = []
    others = [one for one in (URI_TASKS, URI_LOOPS, ORIGINAL) if results.has(one, PROVISION, results.users()[0])]
    for users in results.users():
        for operation in OPERATIONS:
            role = Case(ROLE, operation, users)
            cells = []
            for contestant in others:
                other = Case(contestant, operation, users)
                was_run = results.has(*astuple(other))
                cells.append(_seconds(results.seconds(*astuple(other))) if was_run else NOT_RUN)
                cells.append(f"{results.ratio(other, role):.1f}" if was_run else NOT_RUN)
            rows.append(
                [
                    f"{users}",
                    operation,
                    _seconds(results.seconds(*astuple(role))),
                    _range(results.spread(*astuple(role))),
                    *cells,
                    _seconds(results.seconds(EMPTY, PROVISION, users)),
                    f"{results.runs(*astuple(role))}/{results.runs(URI_TASKS, operation, users)}",
                ]
            )
    return Table(
        "Playbooks",
        "Run times of the complete ansible-playbook command: medians in seconds, and for the role also the minimum and "
        "the maximum. The column after each other contestant has the speedup of the role. The last column has the "
        "number of runs of the role and of the uri tasks. A dash means that a case was not run: only the role can "
        f"provision a second time{_skipped(results)}.",
        [
            "users",
            "operation",
            "role",
            "min, max",
            *(cell for one in others for cell in (one, "speedup")),
            "empty",
            "runs",
        ],
        rows,
    )


def _memory(results: Results) -> Table:
    rows = []
    for users in results.users():
        for operation in OPERATIONS:
            cases = [(contestant, operation, users) for contestant in (ROLE, URI_TASKS)]
            used = [f"{results.megabytes(*case):.0f}" if results.has(*case) else NOT_RUN for case in cases]
            rows.append([f"{users}", operation, *used])
    return Table(
        "Memory",
        "The peak of all processes of the ansible-playbook command together in MB, with shared memory counted once for "
        "each process.",
        ["users", "operation", "role", "uri tasks"],
        rows,
    )


def _skipped(results: Results) -> str:
    skipped = [str(users) for users in results.users() if not results.has(URI_TASKS, DESTROY, users)]
    return f", and the uri tasks take too long to destroy the keys of {' or '.join(skipped)} users" if skipped else ""


def _requests(results: Results) -> Table:
    rows = []
    for users in results.users():
        cells = [str(users)]
        for operation in OPERATIONS:
            for contestant in (ROLE, URI_TASKS):
                case = (contestant, operation, users)
                cells.append(f"{results.requests(*case):,}" if results.has(*case) else NOT_RUN)
        rows.append([*cells[:4], *cells[5:]])  # the uri tasks cannot provision a second time
    return Table(
        "Requests",
        "The number of requests in the log of the proxy.",
        ["users", PROVISION, "uri tasks", SECOND_PROVISION, DESTROY, "uri tasks"],
        rows,
    )


def _engine(results: Results) -> Table:
    rows = []
    for users in results.users():
        for operation in OPERATIONS:
            engine = results.seconds(ENGINE, operation, users)
            ratio = results.ratio(Case(ENGINE, operation, users), results.fastest(operation, users))
            clients = [results.seconds(bare_client(concurrency), operation, users) for concurrency in CONCURRENCIES]
            rows.append([str(users), operation, *map(_milliseconds, (engine, *clients)), f"{ratio:.2f}"])
    return Table(
        "Requests without Ansible",
        "Medians in milliseconds. The engine is the code that the action runs, with 8 concurrent requests. The bare "
        "client uses urllib3 directly and sends only the necessary requests: list the keys, make the changes, list the "
        "keys again. It was run with 8, 16 and 32 concurrent requests, and the ratio refers to the fastest of these.",
        ["users", "operation", "engine", *(f"bare, {concurrency}" for concurrency in CONCURRENCIES), "ratio"],
        rows,
    )


def _scaling(results: Results) -> Table:
    rows = []
    users, counts = results.users_among_unrelated_keys(), results.unrelated_keys()
    columns = [*((unrelated, False) for unrelated in counts), (counts[-1], True)]
    for operation in OPERATIONS:
        for contestant in (ROLE, ENGINE, BARE):
            cases = [
                results.fastest(operation, users, unrelated, indexed=indexed)
                if contestant == BARE
                else Case(contestant, operation, users, unrelated, indexed)
                for unrelated, indexed in columns
            ]
            seconds = [results.seconds(*astuple(case)) for case in cases]
            cells = [_seconds(number) if contestant == ROLE else f"{number:.3f}" for number in seconds]
            ratios = [f"{results.ratio(case, cases[0]):.2f}" for case in cases[-2:]]
            rows.append([operation, contestant, *cells[:-1], ratios[0], cells[-1], ratios[1]])
    return Table(
        "Unrelated keys",
        f"Seconds for {users} users, by the number of keys of other environments on the proxy, and the ratio of the "
        "largest number to the smallest one. Slowdown that also affects the bare client is caused by LiteLLM: it has "
        "no index on aliases, so its database scans all keys whenever an alias is looked up or set. The last two "
        f"columns are with {counts[-1]:,} keys and an index on ``key_alias``.",
        ["operation", "contestant", *(f"{number:,}" for number in counts), "ratio", "with index", "ratio"],
        rows,
    )


def _large(results: Results) -> Table:
    rows = []
    for operation in (REPORT, DESTROY):
        for keys in results.large_environments():
            own, bare = Case(LARGE, operation, keys), Case(LARGE_BARE, operation, keys)
            rows.append(
                [
                    operation,
                    f"{keys:,}",
                    _seconds(results.seconds(*astuple(own))),
                    _seconds(results.seconds(*astuple(bare))),
                    f"{results.ratio(own, bare):.2f}",
                    f"{results.megabytes(*astuple(own)):.0f}",
                    f"{results.requests(*astuple(own)):,}",
                ]
            )
    return Table(
        "Large environments",
        "One environment with many keys, which are reported with the playbook ``report_keys`` and destroyed with "
        "the role: seconds for the whole command, for the bare client, and their ratio; the peak of the memory in "
        "MB; requests.",
        ["operation", "keys", "seconds", BARE, "ratio", "MB", "requests"],
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
        "A playbook renders one template that looks up the same key many times.",
        ["lookups", "seconds", "requests"],
        rows,
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _range(spread: tuple[float, float]) -> str:
    return ", ".join(map(_seconds, spread))
