# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill or interrupt the controller at each of its requests, and check that the next run repairs the keys."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import LONG_TIMEOUT, MANY, STILL_CHANGED, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS, Operation
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Relay, Request
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import Controller, controller

Recorder = Callable[[Operation, bool], list[Request]]

SIZES = pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
SEQUENTIAL: Json = {"concurrency": 1, "timeout": LONG_TIMEOUT}


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


def run_with_signal(
    case: Case, number: int, how: signal.Signals, when: str, **further: object
) -> tuple[Case, int, Json]:
    """Send a signal to a run before or after the proxy processes its n-th request, and before it gets the response."""
    running: list[Controller] = []

    def send_signal(_request: Request, now: str) -> None:
        if now == when and len(relay.log.requests) == number:
            running[0].signal(how)
            if when == "before":
                time.sleep(0.3)  # let a controller that does not wait for the response exit before the proxy responds

    with (
        Relay(case.proxy.url, callback=send_signal) as relay,
        controller(case, relay.url, SEQUENTIAL, **further) as process,
    ):
        running.append(process.start())
        code, result = process.wait()
    return case, code, result


def run_again(case: Case, **further: object) -> list[Outcome]:
    outcomes = case.run(case.proxy.url, SEQUENTIAL, **further)
    assert isinstance(outcomes, list), outcomes
    return outcomes


def signal_at_each_request(
    threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, name: str, many: bool,
    how: signal.Signals = signal.SIGKILL, when: str = "after", **further: object,
) -> list[tuple[Case, int, Json]]:  # fmt: skip
    """Run an operation once per request, and send a signal to each run at another request."""
    operation = OPERATIONS[name]
    numbers = range(1, len(record(operation, many)) + 1)
    cases = [Case(proxy, operation, MANY if many else 1) for _number in numbers]
    return list(threads.map(lambda case, number: run_with_signal(case, number, how, when, **further), cases, numbers))


def finish(case: Case, **further: object) -> None:
    """Check the keys after a clean run of the same operation."""
    outcomes = run_again(case, **further)
    case.check_clean_run(outcomes, outcomes)
    case.clean_up()
    assert [violation for violation in case.violations if violation != STILL_CHANGED] == []


# Killed


@SIZES
@pytest.mark.parametrize("name", ["provision", "extend", "regenerate", "destroy"])
def test_killed_with_derived_secrets(
    threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, name: str, many: bool
):
    """Nothing is lost, and running the operation again completes it."""
    seeded = name in ("provision", "regenerate")
    regenerate: Json = {"regenerate": "if_unrecoverable"} if name == "regenerate" else {}
    for case, code, _result in signal_at_each_request(threads, proxy, record, name, many, seeded=seeded, **regenerate):
        assert code == -signal.SIGKILL
        finish(case, seeded=seeded, **regenerate)


@SIZES
def test_killed_with_random_secrets(threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool):
    """The secrets are lost: the next run reports it, and replaces the keys only on demand. No alias has two keys."""
    lost = 0
    for case, code, _result in signal_at_each_request(threads, proxy, record, "provision", many):
        assert code == -signal.SIGKILL
        existing = {alias for alias, rows in case.rows().items() if rows} - {case.unrelated_alias}
        for outcome in run_again(case, secret_required=True):
            alias = str(outcome.desired.alias)
            assert len(case.rows()[alias]) == 1
            if alias in existing:
                assert "its secret is not known" in str(outcome.error)
                assert outcome.secret is None
                lost += 1
            else:
                assert outcome.error is None
                assert outcome.secret
        finish(case, regenerate="if_unrecoverable", known_secrets=())
    assert lost > 0


@SIZES
def test_killed_during_regeneration(threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool):
    """A later run without regeneration creates no second key; the old key works until the new secret is returned."""
    finished = 0
    for case, _code, _result in signal_at_each_request(threads, proxy, record, "regenerate", many):
        before = case.rows()
        outcomes = run_again(case, regenerate="never")
        assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
        after = case.rows()
        for alias in case.aliases:
            assert len(after[alias]) == 1, (before.keys(), after.keys())
            new = f"{alias}.replacement"
            if not before.get(alias):
                finished += 1
                assert after[alias][0]["token"] == before[new][0]["token"]
                assert new not in after
            elif before.get(new):
                assert case.works(case.known_secrets[alias][0])
        finish(case)
    assert finished > 0


# Interrupted


@SIZES
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_during_provision(
    threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool, when: str
):
    """No key with an unknown secret remains."""
    interrupted = 0
    for case, code, result in signal_at_each_request(threads, proxy, record, "provision", many, signal.SIGINT, when):
        rows = case.rows()
        assert code in (0, 130), result
        interrupted += code == 130
        if code:
            assert [alias for alias in case.aliases if rows[alias]] == [], result
        finish(case)
    assert interrupted >= 4


@SIZES
@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupted_during_regeneration(
    threads: ThreadPoolExecutor, proxy: Proxy, record: Recorder, many: bool, when: str
):
    """Either nothing changes, or the new secrets are returned, or a warning reports which secrets are lost."""
    untouched = lost = 0
    for case, code, result in signal_at_each_request(threads, proxy, record, "regenerate", many, signal.SIGINT, when):
        rows = case.rows()
        assert code in (0, 130), result
        assert set(rows) == {case.unrelated_alias, *case.aliases}
        assert all(len(rows[alias]) == 1 for alias in case.aliases)
        unknown = [alias for alias in case.aliases if not any(map(case.works, case.known_secrets[alias]))]
        if unknown:
            warning = re.search(r"the new secrets of (.+) are lost\. .*\(regenerate\)", result["stderr"])
            assert warning, result
            assert warning[1].split(", ") == unknown
            lost += 1
        untouched += code == 130 and all(case.works(case.known_secrets[alias][0]) for alias in case.aliases)
        finish(case)
    assert untouched >= 3
    assert lost > 0
