# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls run concurrently, in order, and finish once they have started."""

from __future__ import annotations

import signal
import threading

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._concurrency import run_concurrently
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(), max_size=12), st.integers(1, 5))
def test_results_are_in_the_order_of_the_items(items: list[int], concurrency: int) -> None:
    assert run_concurrently(str, items, concurrency) == [str(item) for item in items]


@pytest.mark.parametrize(("items", "concurrency"), [(4, 4), (2, 64)])
def test_calls_run_at_the_same_time(items: int, concurrency: int) -> None:
    barrier = threading.Barrier(items, timeout=60)  # breaks unless all calls run at the same time
    assert sorted(run_concurrently(lambda _item: barrier.wait(), range(items), concurrency)) == list(range(items))


def test_no_more_calls_run_at_the_same_time_than_allowed() -> None:
    running, acquired = threading.Semaphore(3), []

    def run(item: int) -> int:
        acquired.append(running.acquire(blocking=False))
        threading.Event().wait(0.005)
        running.release()
        return item

    run_concurrently(run, range(12), 3)
    assert acquired == [True] * 12


def test_a_single_item_needs_no_thread() -> None:
    assert run_concurrently(lambda _item: threading.current_thread(), [1], 8) == [threading.current_thread()]


def test_a_single_call_can_finish_after_an_interruption() -> None:
    finished, caller = [], threading.get_ident()

    def run(_item: int) -> None:
        signal.pthread_kill(caller, signal.SIGINT)
        threading.Event().wait(0.1)
        finished.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_concurrently(run, [1], 8, finish_started=True)
    assert finished == [True]


def test_after_an_exception_started_calls_finish_and_no_others_start() -> None:
    barrier, failed, finished = threading.Barrier(2, timeout=60), threading.Event(), []

    def run(item: int) -> None:
        if item < 2:
            barrier.wait()
        if item == 1:
            failed.set()
            raise ValueError("the second")
        failed.wait(60)
        threading.Event().wait(0.05)
        finished.append(item)

    with pytest.raises(ValueError, match="the second"):
        run_concurrently(run, range(50), 2)
    assert 0 in finished
    assert len(finished) < 25  # some more may have started before the exception was noticed


def test_progress_is_reported_in_the_thread_of_the_caller() -> None:
    reported: list[tuple[int, threading.Thread]] = []
    run_concurrently(str, range(5), 2, lambda finished: reported.append((finished, threading.current_thread())))
    assert reported == [(finished, threading.current_thread()) for finished in range(1, 6)]


def test_an_exception_while_progress_is_reported_stops_further_calls() -> None:
    started = []

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    def run(item: int) -> None:
        started.append(item)
        threading.Event().wait(0.05)

    with pytest.raises(KeyboardInterrupt):
        run_concurrently(run, range(100), 2, interrupt)
    assert len(started) < 50
