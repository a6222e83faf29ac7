# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize an operation for a person at a terminal: what was done, where the keys are, and how to try one.

The lines contain no double quotes, which ansible-core would escape, so that commands in them can be copied.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .._keys.durations import parse_instant
from .._keys.lifetimes import time_until
from .._keys.result import unusable_key
from .messages import is_too_young, listed, no_keys, nothing_extended, previous_ends, unusable
from .records import HANDOUT_FILE, KEYS_FILE
from .request import Request

Entry = Mapping[str, Any]

# What an operation did with a key, and what it would do in check mode.
_VERBS = {
    "created": ("Created", "Would create"),
    "updated": ("Updated", "Would update"),
    "regenerated": ("Replaced", "Would replace"),
    "deleted": ("Deleted", "Would delete"),
}
_VERBS_OF_UPDATES = {
    "extend": ("Extended", "Would extend"),
    "stop": ("Blocked", "Would block"),
    "start": ("Unblocked", "Would unblock"),
}
_UNCHANGED = {
    "stop": "already blocked",
    "start": "not blocked",
}


@dataclass(frozen=True)
class Place:
    """Where keys are saved, and when and how the operation runs.

    :ivar user_data_file: empty if user data are not saved.
    :ivar lists: the files that list the keys, by the option that names them.
    :ivar written: the files and Secrets that keys are written to, or removed from.
    :ivar not_updated: those that still contain a replaced or deleted key.
    :ivar is_complete: there are no others.
    """

    base_url: str
    user_data_file: str
    lists: Mapping[str, str]
    now: datetime
    check_mode: bool
    written: Sequence[str] = ()
    not_updated: Sequence[str] = ()
    is_complete: bool = True


def summarize(
    request: Request, entries: Sequence[Entry], removed: Sequence[Entry], place: Place, earlier_end: str | None = None
) -> list[str]:
    """Return the lines of the summary.

    :param entries: entries of the result for the keys that exist now; they contain the secrets that are known.
    :param removed: entries for keys that were deleted.
    :param earlier_end: the expiry that was requested, if keys were not shortened to it.
    """
    lines = [*_actions(request, entries, removed, place)]
    if request.operation == "status":
        lines = [_status(request, entries)]
    if removed and not place.check_mode:
        lines += _removed_from(request, place)
    if not entries or request.operation in ("stop", "start"):
        lines += _problems(request, entries, place) if request.operation == "start" else ()
        lines += [f"To unblock, run {request.wording.operation('start')}"] * bool(
            request.operation == "stop" and entries
        )
        return lines
    if request.operation in ("provision", "rotate", "rotate_old"):
        lines.append(_models(request, entries))
    lines.append(_expiry(entries, place))
    lines += _previous(entries, place)
    if earlier_end and request.operation == "provision":
        lines.append(f"Not shortened to {earlier_end}: to shorten, set {request.wording.setting('shorten', 'true')}")
    lines += _problems(request, entries, place)
    if not place.check_mode:
        lines += _saved(request, entries, place) if request.operation != "extend" else ()
        lines += _written(request, place)
    if not place.check_mode and request.operation != "extend" and (command := _command(request, entries, place)):
        lines.append(command)
    return lines


def _actions(request: Request, entries: Sequence[Entry], removed: Sequence[Entry], place: Place) -> Iterator[str]:
    """Yield a line for each kind of change, and for the keys that did not change."""
    groups: dict[str, list[Entry]] = {}
    for entry in (*entries, *removed):
        groups.setdefault(entry.get("operation") or "", []).append(entry)
    if len(groups) > 1 and not (request.users or request.removed_users):
        groups.pop("absent", None)  # of the environment itself, where only its users have keys
    for operation, group in groups.items():
        verbs = _VERBS_OF_UPDATES.get(request.operation) if operation == "updated" else None
        if verbs := verbs or _VERBS.get(operation):
            yield f"{verbs[place.check_mode]} {_keys(request, group)}"
        elif operation == "unchanged" and request.operation == "extend":
            yield nothing_extended(group)
        elif operation == "unchanged":
            for state, some in _states(request, group, place.now):
                yield f"Left as {'it is' if len(some) == 1 else 'they are'} ({state}): {_keys(request, some)}"
        elif operation == "absent":
            named = bool(request.users or request.removed_users) and request.operation in ("destroy", "provision")
            yield f"Not found: {_keys(request, group)}" if named else no_keys(request.guid)
    if not entries and not removed and request.operation != "status":
        yield no_keys(request.guid)


def _states(request: Request, unchanged: Sequence[Entry], now: datetime) -> Iterator[tuple[str, list[Entry]]]:
    """Yield why keys did not change, and their entries."""
    if request.operation != "rotate_old":
        yield _UNCHANGED.get(request.operation, "unchanged"), list(unchanged)
        return
    rotation = request.rotation
    for state, are_young in (("not old enough", True), ("cannot be rotated now", False)):
        if some := [entry for entry in unchanged if is_too_young(entry, rotation, now) == are_young]:
            yield state, some


def _keys(request: Request, entries: Sequence[Entry]) -> str:
    aliases = [str(entry["key_alias"]) for entry in entries]
    if len(aliases) == 1:
        return f"virtual key {aliases[0]}"
    return f"{len(aliases)} virtual keys of environment {request.guid}: {listed(aliases)}"


def _status(request: Request, entries: Sequence[Entry]) -> str:
    if not entries:
        return no_keys(request.guid)
    counts = Counter(str(entry["status"]) for entry in entries)
    number = "1 virtual key" if len(entries) == 1 else f"{len(entries)} virtual keys"
    return f"Environment {request.guid} has {number}: {', '.join(f'{counts[one]} {one}' for one in counts)}"


def _models(request: Request, entries: Sequence[Entry]) -> str:
    models = [str(model) for model in entries[0]["models"] or ()]
    budget = entries[0]["max_budget"]
    is_shared = all(entry.get("team_id") == request.alias for entry in entries)
    limit = "a shared budget" if is_shared else "no budget limit"
    if budget is not None:
        limit = f"a budget of {budget:.2f} USD{' each' if len(entries) > 1 else ''}"
    return f"Models: {listed(models) or 'all models of the proxy'}, with {limit}"


def _expiry(entries: Sequence[Entry], place: Place) -> str:
    now = place.now - timedelta(minutes=1)  # 7 days after its creation a moment ago is not 6 days and 23 hours
    expiries = {entry["expires"] for entry in entries}
    dated = sorted((one for one in expiries if one), key=parse_instant)
    is_unknown = any("expires" in entry.get("unreadable", ()) for entry in entries)
    if not dated and is_unknown:
        return "End: unknown"
    if not dated:
        return "No end: it never expires" if len(entries) == 1 else "No end: they never expire"
    first, last = dated[0], dated[-1]
    if None in expiries:
        return f"End: from {first}, {time_until(first, now)}; some {'are unknown' if is_unknown else 'never expire'}"
    if first != last and (parse_instant(last) - parse_instant(first)).total_seconds() > 60:
        return f"End: from {first}, {time_until(first, now)}, to {last}, {time_until(last, now)}"
    return f"End: {first}, {time_until(first, now)}"


def _previous(entries: Sequence[Entry], place: Place) -> Iterator[str]:
    """Yield until when the secrets work that were replaced because of their age."""
    if ends := previous_ends(entries):
        which = "The previous secret works" if len(entries) == 1 else "Previous secrets work"
        yield f"{which} until {ends[-1]}, {time_until(ends[-1], place.now)}" if ends[-1] else f"{which} without an end"


def _saved(request: Request, entries: Sequence[Entry], place: Place) -> Iterator[str]:
    if not place.user_data_file:
        yield "Not saved, because user data is switched off: the key is only in the facts of this play"
    else:
        others = " and so on" if len(entries) > 1 else ""
        names = f" (as litellm_{entries[0]['user']}_virtual_key{others})" if entries[0].get("user") else ""
        yield f"Saved in: {place.user_data_file}{names}"
    if HANDOUT_FILE in place.lists:
        yield f"Page to print: {place.lists[HANDOUT_FILE]}"
    if KEYS_FILE in place.lists:
        yield f"List of all keys: {place.lists[KEYS_FILE]}"
    elif entries[0].get("user") and request.operation == "provision":
        yield f"For a list of all keys, run again with {request.wording.setting('keys_file', 'keys.csv')}"


def _written(request: Request, place: Place) -> Iterator[str]:
    yield from (f"Written to: {one}" for one in place.written)
    if place.not_updated:
        yield (
            f"Not updated: {listed(place.not_updated)}, with the old secret. To write the new key there, run "
            f"{request.wording.operation('provision')} with the same variables as before"
        )
    elif request.operation in ("rotate", "rotate_old") and not place.is_complete:
        yield "The old key was not saved here, so the files and Secrets that contain it are not known; update them"


def _removed_from(request: Request, place: Place) -> Iterator[str]:
    if request.operation == "destroy":
        yield from (f"Removed from: {one}" for one in place.written)
    if place.not_updated:
        yield f"Not removed from: {listed(place.not_updated)}, where the key no longer works"


def _problems(request: Request, entries: Sequence[Entry], place: Place) -> list[str]:
    """Return why keys do not work; one line if all are blocked, as after a stop."""
    if len(entries) > 1 and all(entry["blocked"] for entry in entries):
        return [f"They do not work: all are blocked. Unblock them ({request.wording.operation('start')})"]
    return unusable(entries, place.now, request.wording)


def _command(request: Request, entries: Sequence[Entry], place: Place) -> str | None:
    """Return the command that tries a key. The secret of one of many users is not displayed."""
    if not request.options["display_key"] or all(unusable_key(one, place.now, request.wording) for one in entries):
        return None
    secret = entries[0].get("key") if len(entries) == 1 and not entries[0].get("user") else "KEY"
    if not secret:
        return None
    which = f"{'one of them' if len(entries) > 1 else 'it'}{' (instead of KEY)' if secret == 'KEY' else ''}"
    header = shlex.quote(f"Authorization: Bearer {secret}")
    return f"Try {which}: curl -H {header} {shlex.quote(place.base_url + '/models')}"
