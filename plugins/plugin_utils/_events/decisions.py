# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide which events follow from a listing of keys, the time, and what was sent before. Pure functions.

What is true of a key is a mark, such as `blocked` or `ended:2026-12-01T08:00:00Z`. A mark that was not there before
leads to an event. A mark that is no longer true is forgotten, so that it leads to an event when it becomes true again.

The marks of a key are known by its alias, so that they also count for a key that replaces it: it has another id, and
inherits the end, the spend and all settings.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .._keys.durations import parse_instant
from .._keys.model_names import unknown_models
from .._keys.result import budget_at
from .._reports.report import expiry_order, guid_of
from .._text import printable
from .arguments import BLOCKED, ENDED, ENDS_SOON, SPENT, UNKNOWN_MODEL, Watch

Json = dict[str, Any]
# The marks of each key, by its alias, or by its id if it has none.
Marks = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Event:
    """An event to send.

    :ivar name: the alias of the key, or its id.
    :ivar mark: what it stands for.
    """

    name: str
    mark: str
    body: Json


@dataclass(frozen=True)
class Decision:
    """The events to send, and all marks, including those of the events."""

    events: Sequence[Event]
    marks: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Snapshot:
    """What was observed.

    :ivar keys: as `litellm_key_info` returns them.
    :ivar models: what the proxy serves; None if that is unknown.
    :ivar being_replaced: the aliases that keys get in a moment, and which may belong to no key until then.
    """

    keys: Sequence[Mapping[str, Any]]
    now: datetime
    models: Collection[str] | None
    api_endpoint: str = ""
    being_replaced: Collection[str] = ()


@dataclass
class _Found:
    """What is true of one key: the fields of the event of each mark, and marks that lead to no event."""

    fields: dict[str, Json] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)


def decide(snapshot: Snapshot, watch: Watch, before: Marks) -> Decision:
    """Return the events for what was not true before, in the order in which the keys end.

    :param before: the marks that were true before.
    """
    events = []
    marks = {name: frozenset(before[name]) for name in snapshot.being_replaced if name in before}
    for name in map(_name, snapshot.keys):
        marks.pop(name, None)
    for key in sorted(snapshot.keys, key=expiry_order):
        name = _name(key)
        known, found = frozenset(before.get(name, ())), _Found()
        for find in (_end, _spend, _block, _models):
            find(found, key, snapshot, watch, known)
        for mark, fields in found.fields.items():
            if mark not in known:
                body = {**_common(key, snapshot), "type": mark.partition(":")[0], **fields}
                events.append(Event(name, mark, {"litellm_key": _escaped(body)}))
        if true := frozenset(found.fields) | found.silent:
            marks[name] = true | marks.get(name, frozenset())  # two keys may have one alias
    return Decision(events, marks)


def without(marks: Mapping[str, frozenset[str]], unsent: Sequence[Event]) -> dict[str, frozenset[str]]:
    """Return the marks without those of events that were not sent."""
    left = dict(marks)
    for event in unsent:
        left[event.name] = left[event.name] - {event.mark}
    return {name: true for name, true in left.items() if true}


def _name(key: Mapping[str, Any]) -> str:
    return str(key["key_alias"] or key["key_id"])


def _end(found: _Found, key: Mapping[str, Any], snapshot: Snapshot, watch: Watch, _known: Collection[str]) -> None:
    if key["expires"] is None:
        return
    expires, now = parse_instant(key["expires"]), snapshot.now
    # A key whose end has moved ends soon once more.
    if expires <= now and ENDED in watch.types:
        found.fields[f"{ENDED}:{key['expires']}"] = {}
    elif now < expires <= watch.ending_within.after(now) and ENDS_SOON in watch.types:
        found.fields[f"{ENDS_SOON}:{key['expires']}"] = {"seconds_left": int((expires - now).total_seconds())}


def _spend(found: _Found, key: Mapping[str, Any], snapshot: Snapshot, watch: Watch, known: Collection[str]) -> None:
    budget, spend = budget_at(key, snapshot.now), key["spend"] or 0
    if budget is None or SPENT not in watch.types:
        return
    reached = [percent for percent in watch.percents if spend >= budget * percent / 100]
    marks = {percent: f"{SPENT}:{percent:g}" for percent in reached}
    new = [percent for percent in reached if marks[percent] not in known]
    # Of several parts that are reached at once, only the largest is an event.
    found.silent.update(mark for percent, mark in marks.items() if percent not in new[-1:])
    found.fields.update({marks[percent]: {"percent": percent} for percent in new[-1:]})


def _block(found: _Found, key: Mapping[str, Any], _snapshot: Snapshot, watch: Watch, _known: Collection[str]) -> None:
    if key["blocked"] and BLOCKED in watch.types:
        found.fields[BLOCKED] = {}


def _models(found: _Found, key: Mapping[str, Any], snapshot: Snapshot, watch: Watch, known: Collection[str]) -> None:
    if UNKNOWN_MODEL not in watch.types:
        return
    if snapshot.models is None:
        found.silent.update(mark for mark in known if mark.startswith(f"{UNKNOWN_MODEL}:"))
        return
    for model, closest in unknown_models(map(str, key["models"] or ()), snapshot.models).items():
        found.fields[f"{UNKNOWN_MODEL}:{model}"] = {"model": model, "closest": closest}


def _common(key: Mapping[str, Any], snapshot: Snapshot) -> Json:
    metadata = key["metadata"] if isinstance(key["metadata"], Mapping) else {}
    user = metadata.get("user")
    return {
        "alias": key["key_alias"],
        "key_id": key["key_id"],
        "guid": guid_of(key),
        "user": user if isinstance(user, str) else None,
        "user_id": key["user_id"],
        "team_id": key["team_id"],
        "expires": key["expires"],
        "spend": key["spend"] or 0,
        "max_budget": budget_at(key, snapshot.now),
        "blocked": key["blocked"],
        "api_endpoint": snapshot.api_endpoint,
    }


def _escaped(value: Any) -> Any:
    """Return a value whose texts are no templates and contain no control characters.

    Every user of a proxy can name keys. ansible-rulebook passes events to playbooks as extra variables, in which
    Ansible evaluates templates.
    """
    if isinstance(value, dict):
        return {name: _escaped(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return printable(value).replace("{", "\\x7b") if isinstance(value, str) else value
