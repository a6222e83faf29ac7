# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import signal
import threading

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._concurrency import run_concurrently
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(), max_size=12), st.integers(1, 5))
def test_results_come_in_the_items_order(items: list[int], concurrency: int) -> None:
    assert run_concurrently(str, items, concurrency) == [str(item) for item in items]


@pytest.mark.parametrize(("items", "concurrency"), [(4, 4), (2, 64)])
def test_work_is_done_at_the_same_time(items: int, concurrency: int) -> None:
    everyone = threading.Barrier(items, timeout=5)  # breaks unless all are there together
    assert sorted(run_concurrently(lambda _item: everyone.wait(), range(items), concurrency)) == list(range(items))


def test_no_more_is_done_at_the_same_time_than_allowed() -> None:
    running, most = threading.Semaphore(3), []

    def work(item: int) -> int:
        most.append(running.acquire(blocking=False))
        threading.Event().wait(0.005)
        running.release()
        return item

    run_concurrently(work, range(12), 3)
    assert most == [True] * 12


def test_one_item_needs_no_thread() -> None:
    assert run_concurrently(lambda _item: threading.current_thread(), [1], 8) == [threading.current_thread()]


def test_one_item_that_must_come_to_its_end_does_so_when_it_is_interrupted() -> None:
    done, caller = [], threading.get_ident()

    def work(_item: int) -> None:
        signal.pthread_kill(caller, signal.SIGINT)
        threading.Event().wait(0.1)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_concurrently(work, [1], 8, finish_started=True)
    assert done == [True]


def test_after_a_failure_what_began_is_ended_and_the_rest_is_not_begun() -> None:
    both, failed, ended = threading.Barrier(2, timeout=5), threading.Event(), []

    def work(item: int) -> None:
        if item < 2:
            both.wait()
        if item == 1:
            failed.set()
            raise ValueError("the second")
        failed.wait(5)
        threading.Event().wait(0.05)
        ended.append(item)

    with pytest.raises(ValueError, match="the second"):
        run_concurrently(work, range(50), 2)
    assert 0 in ended
    assert len(ended) <= 3  # one more may have been begun before the failure was seen


def test_progress_is_told_in_the_callers_thread() -> None:
    told: list[tuple[int, threading.Thread]] = []
    run_concurrently(str, range(5), 2, lambda done: told.append((done, threading.current_thread())))
    assert told == [(done, threading.current_thread()) for done in range(1, 6)]


def test_a_failure_to_tell_progress_ends_the_work() -> None:
    begun = []

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    def work(item: int) -> None:
        begun.append(item)
        threading.Event().wait(0.01)

    with pytest.raises(KeyboardInterrupt):
        run_concurrently(work, range(100), 2, interrupt)
    assert len(begun) < 10
