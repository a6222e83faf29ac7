# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run requests concurrently.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_concurrently(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
    *,
    finish_started: bool = False,
) -> list[Result]:
    """Call the function for each item and return the results in the order of the items.

    After the first exception, or when the caller is interrupted, calls that have started finish and the others are not
    started.

    :param concurrency: how many calls run at the same time.
    :param progress: called in the caller's thread with the number of finished calls.
    :param finish_started: use a thread for a single item as well, so that its call finishes after an interruption.
    """
    if not items or (len(items) == 1 and not finish_started):
        return [function(item) for item in items]
    executor = ThreadPoolExecutor(max_workers=min(concurrency, len(items)))
    try:
        # An interruption while a thread starts would leave a call that the executor does not wait for.
        with block_termination_signals():
            futures = [executor.submit(function, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in futures]


@contextlib.contextmanager
def block_termination_signals() -> Iterator[None]:
    """Block termination signals; new threads inherit the mask and leave these signals to the main thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
