# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The maximum number of requests that the keys of an environment may need, for the fake and for a real proxy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Json = dict[str, Any]
# The maximum number of requests for a number of keys.
Budget = Callable[[int], int]


def pages(keys: int) -> int:
    """Return the number of pages of a listing: LiteLLM lists at most 100 keys per page."""
    return math.ceil(keys / 100)


# The steps of litellm_key: the options of each, and its budget. One of the requests checks that the master key sees all
# keys. No response that is needed anyway shows that: LiteLLM lists no keys to anybody if there are none.
STEPS: dict[str, tuple[Json, Budget]] = {
    "provision": ({"duration": "7d"}, lambda keys: keys + 2 * pages(keys) + 3),
    "nothing to do": ({"duration": "7d"}, lambda keys: pages(keys) + 2),
    "extend": ({"duration": "14d"}, lambda keys: keys + 2 * pages(keys) + 3),
    "destroy": ({"state": "absent"}, lambda keys: 2 * pages(keys) + 3),
    "destroy again": ({"state": "absent"}, lambda keys: pages(keys) + 2),
}
# The steps of litellm_environment. To extend an environment, no option names the users.
ENVIRONMENT_STEPS = ("provision", "nothing to do", "extend", "nothing to extend", "destroy")
# The same beside an environment that a search for the users finds, too.
STEPS_BESIDE = ("provision", "extend", "nothing to extend", "destroy")


def over_budget(run: Callable[[Json], list[str]], users: int) -> list[str]:
    """Run the steps of litellm_key, and return those that exceed their budget.

    :param run: run the action with these options, and return its request lines.
    """
    over = []
    for step, (options, budget) in STEPS.items():
        made = len(run(options))
        if made > budget(users):
            over.append(f"{step}: {made} requests, {budget(users)} allowed")
    return over


def environment_over_budget(
    run: Callable[[str, Json], list[str]],
    users: int,
    steps: Iterable[str] = ENVIRONMENT_STEPS,
    extra: Mapping[str, int] | None = None,
) -> list[str]:
    """Run steps of an environment, and return those that exceed their budget or send unexpected changes.

    :param run: run an operation with these options, and return its request lines.
    :param extra: the number of further requests that a step may send.
    """
    over = []
    for step in steps:
        if "extend" in step:
            made = run("extend", {"runtime": 24 * 60})
        else:
            named = {"multi_user": True, "user_count": users} if users > 1 else {}
            made = run("destroy" if step == "destroy" else "provision", named)
        over += [f"{step}: {problem}" for problem in excess(step, made, users, (extra or {}).get(step, 0))]
    return over


def excess(step: str, request_lines: list[str], users: int, extra: int = 0) -> list[str]:
    """Compare the requests of a step of an environment with its budget and with the changes that it must make."""
    changes = sum(line.startswith("POST /key/") for line in request_lines)
    expected = {"provision": users, "extend": users, "destroy": pages(users)}.get(step, 0)
    # An extension discovers the users, which takes one request more.
    allowed = STEPS["nothing to do"][1](users) + 1 if step == "nothing to extend" else STEPS[step][1](users)
    allowed += extra
    return [
        *([f"{changes} changes, {expected} expected"] if changes != expected else []),
        *([f"{len(request_lines)} requests, {allowed} allowed"] if len(request_lines) > allowed else []),
    ]
