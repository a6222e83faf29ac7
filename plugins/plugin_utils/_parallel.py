# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many requests at the same time.

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


def side_by_side(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
    *,
    to_its_end: bool = False,
) -> list[Result]:
    """The work's results, in the items' order.

    On the first failure, or when it is interrupted, what has begun is brought to its end and the rest is not begun.

    :param progress: is told, in the caller's thread, how many are done.
    :param to_its_end: a single item, too, is brought to its end when it is interrupted, and has a thread for that.
    """
    if not items or (len(items) == 1 and not to_its_end):
        return [work(item) for item in items]
    executor = ThreadPoolExecutor(max_workers=min(concurrency, len(items)))
    try:
        with _undisturbed():  # who is interrupted while a thread starts does not know of it, and cannot wait for it
            futures = [executor.submit(work, item) for item in items]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            progress(done)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return [future.result() for future in futures]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let the signals wait that end a run; a thread that is started meanwhile leaves them to the others for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGALRM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
