# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests at the same time.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item], concurrency: int) -> list[Result]:
    """The work's results in the items' order. The first failure is raised, and what has not begun is not done."""
    if len(items) < 2:
        return [work(item) for item in items]
    executor = ThreadPoolExecutor(max_workers=min(concurrency, len(items)))
    try:
        return list(executor.map(work, items))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
