# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event source on a fake proxy: each event once, also after a restart, whatever the proxy answers meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events import watching
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.state import StateFile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import ENVIRONMENT
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import (
    MASTER_KEY,
    FakeLiteLLM,
    Fault,
)

Events = list[tuple[str, str]]


async def unexpected(event: dict[str, Any]) -> None:
    pytest.fail(f"unexpected event {event}")


@pytest.fixture
def proxy() -> Iterator[FakeLiteLLM]:
    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture
def run(proxy: FakeLiteLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Events]:
    """Return a function that starts the event source, lets it list the keys as often as there are steps, and stops it.

    A step is a change of the proxy, made before a listing.
    """
    for names in ENVIRONMENT.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)

    def run_source(*steps: Callable[[], object], put: Any = None, **arguments: Any) -> Events:
        given = {
            "url": proxy.url,
            "master_key": MASTER_KEY,
            "retries": 0,
            "state_file": str(tmp_path / "state.json"),
            **arguments,
        }
        sent: Events = []
        waiting = list(steps)

        async def receive(event: dict[str, Any]) -> None:
            if put:
                await put(event)
            sent.append((event["litellm_key"]["alias"], event["litellm_key"]["type"]))

        async def sleep(seconds: float) -> None:
            assert seconds == 60
            if not waiting:
                raise asyncio.CancelledError
            waiting.pop(0)()

        monkeypatch.setattr(asyncio, "sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(watching.watch_keys(given, receive, logging.getLogger("test")))
        return sent

    return run_source


def test_each_event_is_sent_once_also_after_a_restart(run, proxy):
    proxy.add("virtkey-abc", blocked=True)
    proxy.add("service", blocked=True)
    steps = [lambda: None, lambda: proxy.add("virtkey-other", models=["gone"]), lambda: None]
    assert run(*steps) == [("virtkey-abc", "blocked"), ("virtkey-other", "unknown_model")]
    assert run(lambda: None) == []
    proxy.row("virtkey-abc")["blocked"] = False
    assert run(lambda: proxy.row("virtkey-abc").update(blocked=True)) == [("virtkey-abc", "blocked")]
    assert run(lambda: None, state_file=None) == [("virtkey-abc", "blocked"), ("virtkey-other", "unknown_model")]


def test_what_is_true_at_the_first_start_can_be_left_out(run, proxy):
    proxy.add("virtkey-abc", blocked=True)
    changed = [lambda: None, lambda: proxy.add("virtkey-other", blocked=True)]
    assert run(*changed, send_existing=False) == [("virtkey-other", "blocked")]
    assert run(lambda: None, send_existing=False) == []


def test_the_old_key_of_a_rotation_and_an_incomplete_replacement_lead_to_no_event(run, proxy):
    proxy.add("virtkey-abc.previous", blocked=True)
    proxy.add("virtkey-abc.replacement", blocked=True)
    assert run() == []


def test_a_listing_in_the_middle_of_a_replacement_changes_nothing(run, proxy):
    token = proxy.add("virtkey-abc", blocked=True)
    row = proxy.rows[token]
    steps = [lambda: row.update(key_alias="virtkey-abc.replacement"), lambda: row.update(key_alias="virtkey-abc")]
    assert run(*steps) == [("virtkey-abc", "blocked")]


@pytest.mark.parametrize("fault", [Fault("status", 500), Fault("status", 503), Fault("status", 401), Fault("half")])
def test_an_error_of_the_proxy_is_logged_and_changes_nothing(run, proxy, caplog, fault):
    proxy.add("virtkey-abc", blocked=True)

    def fail():
        proxy.fault("GET /key/list", fault)

    assert run(fail, lambda: None) == [("virtkey-abc", "blocked")]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("Cannot list the virtual keys: ")
    assert record.message.endswith(". The next attempt is in 60 seconds")
    assert MASTER_KEY not in caplog.text


def test_a_key_that_does_not_see_every_key_is_not_believed(run, proxy, caplog, tmp_path):
    proxy.add("virtkey-abc", blocked=True)
    assert run() == [("virtkey-abc", "blocked")]
    proxy.caller = "somebody"
    assert run(lambda: setattr(proxy, "caller", None), lambda: None) == []
    assert "it does not see all keys" in caplog.text
    assert '"virtkey-abc"' in (tmp_path / "state.json").read_text()


def test_models_that_cannot_be_listed_are_logged_once(run, proxy, caplog):
    proxy.add("virtkey-abc", models=["gone"], blocked=True)
    proxy.allowed_routes = ("/key/list", "/key/info")
    steps = [lambda: None, lambda: setattr(proxy, "allowed_routes", ())]
    assert run(*steps) == [("virtkey-abc", "blocked"), ("virtkey-abc", "unknown_model")]
    assert caplog.text.count("The models of the proxy cannot be listed, so they are not checked") == 1


def test_events_that_were_not_sent_when_it_was_stopped_are_sent_after_a_restart(run, proxy):
    for number in range(3):
        proxy.add(f"virtkey-{number}", blocked=True)
    received: list[Any] = []

    async def stop_at_the_second(event):
        if received:
            raise asyncio.CancelledError
        received.append(event)

    (first,) = run(put=stop_at_the_second)
    rest = run()
    assert len(rest) == 2
    assert first not in rest


def test_each_event_is_saved_before_the_next_one_is_sent(run, proxy, tmp_path):
    """A process that is killed saves nothing any more."""
    for number in range(3):
        proxy.add(f"virtkey-{number}", blocked=True)
    saved: list[int] = []

    async def look_into_the_state(event):
        saved.append((tmp_path / "state.json").read_text().count('"blocked"'))

    assert len(run(put=look_into_the_state)) == 3
    assert saved == [0, 1, 2]


def test_a_state_that_cannot_be_saved_is_logged_and_kept_in_memory(run, proxy, tmp_path, caplog, monkeypatch):
    proxy.add("virtkey-abc", blocked=True)

    def full(_self, _marks):
        raise UserError("the disk is full")

    monkeypatch.setattr(StateFile, "save", full)
    proxy.add("virtkey-other", blocked=True)
    assert len(run(lambda: None, lambda: None)) == 2
    assert caplog.messages.count("the disk is full") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delay": 0}, "delay is 0; it must be 1 to 86400 seconds"),
        (
            {"state_file": "/nowhere/state.json"},
            "state_file is /nowhere/state.json, but the directory /nowhere does not",
        ),
    ],
)
def test_an_invalid_argument_ends_it_before_any_request(proxy, arguments, message):
    given = {"url": proxy.url, "master_key": MASTER_KEY, **arguments}
    with pytest.raises(OptionError) as caught:
        asyncio.run(watching.watch_keys(given, unexpected, logging.getLogger("test")))
    assert str(caught.value).startswith(message)
    assert proxy.requests == []


def test_without_urllib3_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(watching, "URLLIB3_IMPORT_ERROR", ImportError("No module named 'urllib3'"))
    with pytest.raises(OptionError) as caught:
        asyncio.run(watching.watch_keys({}, unexpected, logging.getLogger("test")))
    assert str(caught.value) == (
        "litellm_keys needs the Python package urllib3 (No module named 'urllib3'); install it with pip"
    )
