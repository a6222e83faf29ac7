# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which events follow from the keys, the time, and what was sent before: each once, and again when it happens again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.arguments import TYPES, Watch
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.decisions import (
    Decision,
    Snapshot,
    decide,
    without,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import format_instant, parse
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import NOW, key
from hypothesis import given
from hypothesis import strategies as st

URL = "https://proxy.example.com"
ALL = Watch(frozenset(TYPES), parse("24h"), (50, 80, 100))
HOUR = timedelta(hours=1)


def listed(name: str, **fields: Any) -> dict[str, Any]:
    """Return a key that has the same id whatever else changes, and does not expire soon."""
    return {**key(f"virtkey-{name}"), "key_id": hashlib.sha256(name.encode()).hexdigest(), **fields}


def at(offset: timedelta) -> str:
    return format_instant(NOW + offset)


def decided(
    *keys: dict[str, Any],
    before: Mapping[str, Collection[str]] | None = None,
    watch: Watch = ALL,
    models: Collection[str] | None = ("granite",),
    now: datetime = NOW,
) -> Decision:
    return decide(Snapshot(keys, now, models, URL), watch, before or {})


def kinds(decision: Decision) -> list[tuple[Any, ...]]:
    """Return the alias, the type and the details of each event."""
    bodies = [event.body["litellm_key"] for event in decision.events]
    return [
        (body["alias"], body["type"], *(body[name] for name in ("seconds_left", "percent", "model") if name in body))
        for body in bodies
    ]


def test_an_event_has_no_secret_and_says_which_key_it_is_about() -> None:
    one = listed("abc-ann", expires=at(HOUR), metadata={"guid": "abc", "user": "ann"}, spend=1.5, max_budget=10)
    (event,) = decided(one).events
    assert event.body == {
        "litellm_key": {
            "type": "ends_soon",
            "alias": "virtkey-abc-ann",
            "key_id": one["key_id"],
            "guid": "abc",
            "user": "ann",
            "user_id": None,
            "team_id": None,
            "expires": at(HOUR),
            "seconds_left": 3600,
            "spend": 1.5,
            "max_budget": 10,
            "blocked": False,
            "api_endpoint": URL,
        }
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires": at(timedelta(hours=25))}, []),
        ({"expires": None}, []),
        ({"expires": at(timedelta(hours=24))}, [("ends_soon", 86400)]),
        ({"expires": at(timedelta(seconds=1))}, [("ends_soon", 1)]),
        ({"expires": at(timedelta(0))}, [("ended",)]),
        ({"expires": at(-HOUR), "blocked": True}, [("ended",), ("blocked",)]),
        ({"max_budget": 10, "spend": 4.99}, []),
        ({"max_budget": 10, "spend": 5}, [("spent", 50)]),
        ({"max_budget": 10, "spend": 9}, [("spent", 80)]),
        ({"max_budget": 10, "spend": 11}, [("spent", 100)]),
        ({"max_budget": 0, "spend": None}, [("spent", 100)]),
        ({"max_budget": None, "spend": 11}, []),
        ({"models": ["granite", "all-team-models"]}, []),
        ({"models": ["granit", "granite", "llama"]}, [("unknown_model", "granit"), ("unknown_model", "llama")]),
        ({"models": None}, []),
    ],
)
def test_what_is_true_of_a_key(fields: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    decision = decided(listed("abc", **fields))
    assert [kind[1:] for kind in kinds(decision)] == expected
    assert decided(listed("abc", **fields), before=decision.marks).events == []
    for type_ in TYPES:
        some = decided(listed("abc", **fields), watch=Watch(frozenset({type_}), parse("24h"), (50, 80, 100)))
        assert [kind[1:] for kind in kinds(some)] == [kind for kind in expected if kind[0] == type_]


def test_the_events_are_in_the_order_in_which_the_keys_end() -> None:
    keys = [
        listed("never", blocked=True, expires=None),
        listed("later", expires=at(2 * HOUR)),
        listed("soon", expires=at(HOUR)),
        listed("gone", expires=at(-HOUR)),
    ]
    assert [kind[0] for kind in kinds(decided(*keys))] == [
        "virtkey-gone",
        "virtkey-soon",
        "virtkey-later",
        "virtkey-never",
    ]


def test_a_key_that_is_extended_ends_soon_once_more() -> None:
    first = decided(listed("abc", expires=at(HOUR)))
    extended = decided(listed("abc", expires=at(100 * HOUR)), before=first.marks)
    assert (extended.events, extended.marks) == ([], {})
    again = decided(listed("abc", expires=at(100 * HOUR)), before=extended.marks, now=NOW + 90 * HOUR)
    assert kinds(again) == [("virtkey-abc", "ends_soon", 36000)]
    moved = decided(listed("abc", expires=at(101 * HOUR)), before=again.marks, now=NOW + 90 * HOUR)
    assert kinds(moved) == [("virtkey-abc", "ends_soon", 39600)]


def test_the_parts_of_a_budget_are_reached_one_by_one_and_again_after_a_reset() -> None:
    def spent(spend: float, before: Decision | None = None) -> Decision:
        return decided(listed("abc", max_budget=10, spend=spend), before=before.marks if before else None)

    half = spent(6)
    assert kinds(half) == [("virtkey-abc", "spent", 50)]
    all_of_it = spent(12, half)
    assert kinds(all_of_it) == [("virtkey-abc", "spent", 100)]
    assert kinds(spent(8.5, all_of_it)) == []
    reset = spent(0, all_of_it)
    assert kinds(spent(6, reset)) == [("virtkey-abc", "spent", 50)]


def test_a_key_that_is_unblocked_can_be_blocked_again() -> None:
    blocked = decided(listed("abc", blocked=True))
    unblocked = decided(listed("abc"), before=blocked.marks)
    assert unblocked.marks == {}
    assert kinds(decided(listed("abc", blocked=True), before=unblocked.marks)) == [("virtkey-abc", "blocked")]


def test_models_that_are_not_known_for_a_while_lead_to_no_second_event() -> None:
    one = listed("abc", models=["llama"])
    first = decided(one)
    unknown = decided(one, before=first.marks, models=None)
    assert unknown.events == []
    assert decided(one, before=unknown.marks).events == []
    served = decided(one, before=unknown.marks, models=("llama",))
    assert kinds(decided(one, before=served.marks)) == [("virtkey-abc", "unknown_model", "llama")]


def test_a_key_that_is_replaced_leads_to_no_second_event() -> None:
    """A replacement has another id, and inherits the spend: an event for it could replace it again and again."""
    spent = {"max_budget": 10, "spend": 9, "blocked": True, "models": ["gone"], "expires": at(HOUR)}
    first = decided(listed("abc", **spent))
    assert len(first.events) == 4
    replaced = decided({**listed("abc", **spent), "key_id": "2" * 64}, before=first.marks)
    assert replaced == Decision([], first.marks)
    nobody = decided({**listed("x", **spent), "key_alias": None})
    assert decided({**listed("x", **spent), "key_alias": None}, before=nobody.marks).events == []


def test_what_is_true_of_a_key_that_is_just_being_replaced_is_kept() -> None:
    first = decided(listed("abc", blocked=True))
    between = decide(Snapshot([], NOW, (), URL, being_replaced={"virtkey-abc", "virtkey-new"}), ALL, first.marks)
    assert between == Decision([], first.marks)
    assert decided({**listed("abc", blocked=True), "key_id": "2" * 64}, before=between.marks).events == []
    present = Snapshot([listed("abc")], NOW, (), URL, being_replaced={"virtkey-abc"})
    assert decide(present, Watch(frozenset({"blocked"}), parse("24h"), ()), first.marks).marks == {}


def test_each_of_two_keys_with_one_alias_leads_to_an_event() -> None:
    both = [{**listed("abc", blocked=True), "key_id": digit * 64} for digit in "12"]
    first = decided(*both)
    assert [event.body["litellm_key"]["key_id"] for event in first.events] == ["1" * 64, "2" * 64]
    assert decided(*both, before=first.marks).events == []
    assert decided(both[0], before=first.marks) == Decision([], first.marks)


def test_keys_that_are_gone_are_forgotten() -> None:
    first = decided(listed("abc", blocked=True), listed("other", blocked=True))
    assert len(first.marks) == 2
    assert len(decided(listed("other", blocked=True), before=first.marks).marks) == 1


def test_what_was_not_sent_is_sent_after_a_restart() -> None:
    one = listed("abc", blocked=True, expires=at(HOUR))
    first = decided(one)
    marks = without(first.marks, first.events[1:])
    assert kinds(decided(one, before=marks)) == kinds(first)[1:]
    assert without(first.marks, first.events) == {}


TEMPLATES = ("{{ lookup('pipe', 'id') }}", "{% raw %}", "{# #}", "{{{", "a{", "\x1b[2J{\n")


@given(st.sampled_from(TEMPLATES) | st.text())
def test_no_text_of_an_event_is_a_template(text: str) -> None:
    one = {**listed("abc", blocked=True, models=[text]), "key_alias": text, "guid": text, "user_id": text}
    decision = decided(
        {**one, "team_id": text, "metadata": {"guid": text, "user": text}}, models=("granite", f"x{text}")
    )
    for event in decision.events:
        body = json.loads(json.dumps(event.body))

        def texts(value: Any) -> list[str]:
            if isinstance(value, dict | list):
                return [one for part in (value.values() if isinstance(value, dict) else value) for one in texts(part)]
            return [value] if isinstance(value, str) else []

        assert not [one for one in texts(body) if "{" in one or not one.isprintable()]
