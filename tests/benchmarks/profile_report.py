# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Report where the time of the role goes."""

from __future__ import annotations

import statistics

from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.pages import Section, Table
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.pages import show_seconds as _seconds
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import (
    DESTROY,
    EXTEND,
    PARTS,
    PROFILED,
    PROFILED_BARE,
    PROFILED_EMPTY,
    PROVISION,
    PROXY_CPU,
    SECOND_PROVISION,
    Case,
    Results,
    part_of_profile,
)

OPERATIONS = (PROVISION, SECOND_PROVISION, EXTEND, DESTROY)
# The goal for the overhead: a share of the time of the empty playbook and the bare client together, and seconds.
SHARE, SECONDS = 0.1, 0.15


class Profile(Section):
    name = "profile"

    def tables(self, results: Results) -> list[Table]:
        return [_parts(results), _goals(results)]


PROFILE = Profile()


def _cases(results: Results) -> list[tuple[int, str]]:
    return [(users, operation) for users in results.profiled_users() for operation in OPERATIONS]


def _parts(results: Results) -> Table:
    rows = []
    for users, operation in _cases(results):
        whole, empty = results.seconds(PROFILED, operation, users), results.seconds(PROFILED_EMPTY, operation, users)
        parts = [results.seconds(part_of_profile(part), operation, users) for part in PARTS]
        cpu = results.seconds(PROXY_CPU, operation, users) / whole
        rest = whole - empty - sum(parts)
        rows.append([f"{users:,}", operation, *map(_seconds, (whole, empty, *parts, rest)), f"{cpu:.0%}"])
    return Table(
        "Where the time goes",
        "Medians in seconds: the whole command, an empty playbook, and the parts of the role: compiling its Python"
        " code, which ansible-core does in each run, importing it, rendering templates, starting the processes of "
        "the tasks, the action's own work, and waiting for the proxy. The rest is ansible-core's work for the role"
        " and its tasks, less what the empty playbook takes, too. The last column is the CPU time of LiteLLM and "
        "PostgreSQL in relation to the whole command.",
        ["users", "operation", "total", "empty", *PARTS[:-1], "proxy", "rest", "CPU of proxy"],
        rows,
    )


def _goals(results: Results) -> Table:
    rows = []
    contestants = (PROFILED, PROFILED_EMPTY, PROFILED_BARE)
    for users, operation in _cases(results):
        whole, empty, bare = (results.seconds(one, operation, users) for one in contestants)
        overhead = statistics.median(results.differences(*(Case(one, operation, users) for one in contestants)))
        allowed = SHARE * (empty + bare) + SECONDS
        rows.append(
            [
                f"{users:,}",
                operation,
                *map(_seconds, (whole, empty, bare, overhead, allowed)),
                "met" if overhead <= allowed else "not met",
                f"{results.megabytes(PROFILED, operation, users):.0f}",
                f"{results.requests(PROFILED, operation, users):,}",
            ]
        )
    return Table(
        "Overhead of the role",
        "The same runs, the bare client with 8 concurrent requests, and the overhead: the median of how many seconds "
        "longer the role took in each round than the empty playbook and the bare client together. The goal "
        f"is at most {SHARE:.0%} of these two and {SECONDS} seconds. The last columns are the peak of the memory in MB "
        "and the number of requests.",
        ["users", "operation", "total", "empty", "bare client", "overhead", "goal", "status", "MB", "requests"],
        rows,
    )
