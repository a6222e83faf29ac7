# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller is killed, or interrupted, after each of its requests: the next run ends right."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import MANY, PATIENCE, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, Relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import Controller, controller

Recorder = Callable[[Operation, bool], list[Asked]]

SIZES = pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
CALM: Json = {"concurrency": 1, "timeout": PATIENCE}


@pytest.fixture(scope="module")
def at_once() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def stopped(case: Case, number: int, how: signal.Signals, when: str, **further: object) -> tuple[Case, int, Json]:
    """A run that gets a signal before or after the proxy carries out its n-th request; it has no answer yet."""
    running: list[Controller] = []

    def strike(_asked: Asked, now: str) -> None:
        if now == when and len(relay.seen.asked) == number:
            running[0].signal(how)
            if when == "before":
                time.sleep(0.3)  # so that who does not wait for the answer is done before the proxy is

    with Relay(case.proxy.url, each=strike) as relay, controller(case, relay.url, CALM, **further) as one:
        running.append(one.go())
        code, told = one.end()
    return case, code, told


def again(case: Case, **further: object) -> list[Outcome]:
    told = case.run(case.proxy.url, CALM, **further)
    assert isinstance(told, list), told
    return told


def after_each(
    threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, name: str, many: bool,
    how: signal.Signals = signal.SIGKILL, when: str = "after", **further: object,
) -> list[tuple[Case, int, Json]]:  # fmt: skip
    operation = OPERATIONS[name]
    numbers = range(1, len(record(operation, many)) + 1)
    cases = [Case(proxy, operation, MANY if many else 1) for _number in numbers]
    return list(threads.map(lambda case, number: stopped(case, number, how, when, **further), cases, numbers))


def finish(case: Case, **further: object) -> None:
    """A clean run of the same, after which all has to be right."""
    told = again(case, **further)
    case.judge_clean(told, told)
    case.clean_up()
    assert [one for one in case.complaints if one != "the clean run still had something to do"] == []


# Killed


@SIZES
@pytest.mark.parametrize("name", ["provision", "extend", "regenerate", "destroy"])
def test_killed_with_secrets_that_are_derived(
    at_once: ThreadPoolExecutor, proxy: Proxy, record: Recorder, name: str, many: bool
):
    """Nothing is lost, and the same run again does the rest."""
    seeded = name in ("provision", "regenerate")
    regenerate: Json = {"regenerate": "if_unrecoverable"} if name == "regenerate" else {}
    for case, code, _told in after_each(at_once, proxy, record, name, many, seeded=seeded, **regenerate):
        assert code == -signal.SIGKILL
        finish(case, seeded=seeded, **regenerate)


@SIZES
def test_killed_with_secrets_that_nobody_else_knows(
    at_once: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool
):
    """What was made is lost: the next run says so, and replaces it when it is told to; there is never a second key."""
    lost = 0
    for case, code, _told in after_each(at_once, proxy, record, "provision", many):
        assert code == -signal.SIGKILL
        there = {alias for alias, rows in case.rows().items() if rows} - {case.bystander}
        for outcome in again(case, secret_required=True):
            alias = str(outcome.wanted.alias)
            assert len(case.rows()[alias]) == 1
            if alias in there:
                assert "its secret is not known" in str(outcome.error)
                assert outcome.secret is None
                lost += 1
            else:
                assert outcome.error is None
                assert outcome.secret
        finish(case, regenerate="if_unrecoverable", known=())
    assert lost > 0


@SIZES
def test_killed_while_it_replaces(at_once: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool):
    """A later run that is to replace nothing makes no second key; the old key works until the new one is told."""
    restored = 0
    for case, _code, _told in after_each(at_once, proxy, record, "regenerate", many):
        before = case.rows()
        outcomes = again(case, regenerate="never")
        assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
        after = case.rows()
        for alias in case.aliases:
            assert len(after[alias]) == 1, (before.keys(), after.keys())
            old = f"{alias}.replaced"
            if before.get(old) and not before.get(alias):
                restored += 1
                assert old not in after
                assert case.works(case.known[alias][0])
                assert after[alias][0]["metadata"] == {"purpose": "faults"}
            elif old in after:
                assert case.works(case.known[alias][0])
        finish(case)
    assert restored > 0


# Interrupted


@SIZES
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_while_it_makes_keys(
    at_once: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool, when: str
):
    """No key stays whose secret nobody knows."""
    interrupted = 0
    for case, code, told in after_each(at_once, proxy, record, "provision", many, signal.SIGINT, when):
        rows = case.rows()
        assert code in (0, 130), told
        interrupted += code == 130
        if code:
            assert [alias for alias in case.aliases if rows[alias]] == [], told
        finish(case)
    assert interrupted >= 4


@SIZES
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_while_it_replaces(
    at_once: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool, when: str
):
    """All is as it was, or all is done and somebody is told the new secret, or at least that it is lost."""
    untouched = lost = 0
    for case, code, told in after_each(at_once, proxy, record, "regenerate", many, signal.SIGINT, when):
        rows = case.rows()
        assert code in (0, 130), told
        assert set(rows) == {case.bystander, *case.aliases}
        assert all(len(rows[alias]) == 1 for alias in case.aliases)
        unknown = [alias for alias in case.aliases if not any(map(case.works, case.known[alias]))]
        if unknown:
            warning = re.search(r"the new secrets of (.+) are lost: .*\(regenerate\)", told["stderr"])
            assert warning, told
            assert warning[1].split(", ") == unknown
            lost += 1
        untouched += code == 130 and all(case.works(case.known[alias][0]) for alias in case.aliases)
        finish(case)
    assert untouched >= 4
    assert lost > 0
