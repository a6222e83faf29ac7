# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys as they were saved: with their secrets, their environment and all settings, to find and to recreate them.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .._keys.durations import InstantError, parse_instant
from .._keys.model import lifetime_start
from .._keys.plan import inherited_settings
from .._keys.progress import Outcome
from .._keys.result import instant_text, result_entry
from .user_data import KEY_ALIAS, LISTS, OF_KEY, OF_USER, PREFIX, RECORDS, USER_COUNT, VIRTUAL_KEY, build_user_data

Data = dict[str, Any]

# The secret of a key that could not be read back after its creation: the next run compares its hash.
_UNCONFIRMED = "unconfirmed_virtual_key"


@dataclass(frozen=True)
class SavedKey:
    """One saved secret, and what was saved beside it. None stands for what was not saved.

    :ivar guid: the environment that the key belongs to.
    :ivar settings: all settings of the key, to recreate it.
    :ivar expires: when the key expires, or has expired.
    :ivar lifetime_start: the time that the lifetime of the key counts from.
    """

    alias: str
    secret: str
    guid: str | None = None
    user: str | None = None
    settings: Mapping[str, Any] | None = None
    expires: datetime | None = None
    lifetime_start: datetime | None = None
    record: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def saved_keys(data: Mapping[str, Any]) -> Iterator[SavedKey]:
    """Return every key whose secret was saved beside its alias.

    That may be a record of this collection, or, as earlier releases saved it: names at the top or below a user, lists,
    and names with a prefix or a user in front of them.
    """
    for name, value in data.items():
        if str(name).endswith(RECORDS) and isinstance(value, Mapping):
            for alias, record in value.items():
                if isinstance(alias, str) and isinstance(record, Mapping):
                    yield from _from_record(alias, record)
    for alias, secret in _pairs(data):
        if isinstance(alias, str) and isinstance(secret, str) and secret:
            yield SavedKey(alias, secret)
    users = data.get("users")
    for section in users.values() if isinstance(users, Mapping) else ():
        if isinstance(section, Mapping):
            yield from saved_keys(section)


def _pairs(data: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for name, value in data.items():
        if str(name).endswith(KEY_ALIAS):
            yield value, data.get(str(name).removesuffix(KEY_ALIAS) + VIRTUAL_KEY)
        elif str(name).endswith("key_aliases") and isinstance(value, list):
            secrets = data.get(str(name).removesuffix("key_aliases") + "virtual_keys")
            yield from itertools.zip_longest(value, secrets if isinstance(secrets, list) else ())


def _from_record(alias: str, record: Mapping[str, Any]) -> Iterator[SavedKey]:
    settings = record.get("settings")
    for name in (VIRTUAL_KEY, _UNCONFIRMED):
        secret = record.get(name)
        if isinstance(secret, str) and secret:
            yield SavedKey(
                alias,
                secret,
                guid=_text(record.get("guid")),
                user=_text(record.get("user")),
                settings=settings if isinstance(settings, Mapping) else None,
                expires=_instant(record.get("expires")),
                lifetime_start=_instant(record.get("lifetime_start")),
                record=record,
            )


def make_record(outcome: Outcome, guid: str, saved: Mapping[str, Any]) -> Data | None:
    """Return what is saved of a key; None if its secret is not known.

    :param saved: what was saved of it before.
    """
    entry, key = _entry(outcome, saved), outcome.after
    secret = entry["key"]
    if not secret and (not key or key.key_id == saved.get("key_id")):
        secret = saved.get(VIRTUAL_KEY)
    if not secret and not outcome.unconfirmed_secret:
        return None
    if not key:
        # Without an error, somebody deleted the key; without settings, it is not recreated when it would have expired.
        kept = {name: value for name, value in saved.items() if outcome.error or name != "settings"}
        return {**kept, **_unconfirmed(outcome), "guid": guid, "user": entry.get("user")}
    return {
        "guid": guid,
        "user": entry.get("user"),
        VIRTUAL_KEY: secret,
        "key_id": entry["key_id"],
        "user_id": entry["user_id"],
        "models": entry["models"],
        "duration": entry["duration"],
        "expires": entry["expires"],
        "lifetime_start": instant_text(lifetime_start(key)),
        "settings": inherited_settings(key),
        **_unconfirmed(outcome),
    }


def _entry(outcome: Outcome, saved: Mapping[str, Any]) -> Data:
    """Return the entry of the result. An extension that changes nothing keeps the saved duration.

    The total lifetime of a key whose new expiry had passed is longer than the duration that it was extended by.
    """
    entry = result_entry(outcome)
    is_same = all(saved.get(name) == entry[name] for name in ("key_id", "expires"))
    is_extension = outcome.desired.on_missing != "create"
    return {**entry, "duration": saved.get("duration")} if is_same and is_extension else entry


def _unconfirmed(outcome: Outcome) -> Data:
    secret = outcome.unconfirmed_secret
    return {_UNCONFIRMED: secret.value} if secret else {}


def environment_records(data: Mapping[str, Any], prefix: str, guid: str) -> dict[str, Mapping[str, Any]]:
    """Return the saved records of one environment, by alias, in the order in which its users were saved."""
    records = data.get(f"{prefix}{RECORDS}")
    order = data.get(f"{prefix}{PREFIX}key_aliases")
    ordered = [alias for alias in order if isinstance(alias, str)] if isinstance(order, list) else []
    own = {
        alias: record
        for alias, record in (records.items() if isinstance(records, Mapping) else ())
        if isinstance(record, Mapping) and str(record.get("guid")) == guid
    }
    return {alias: own[alias] for alias in (*(one for one in ordered if one in own), *own)}


def record_entry(alias: str, record: Mapping[str, Any]) -> Data:
    """Return a saved key in the form of an entry of the result."""
    names = ("user", "key_id", "user_id", "models", "duration", "expires")
    return {**{name: record.get(name) for name in names}, "key": record.get(VIRTUAL_KEY), "key_alias": alias}


def merge_user_data(
    saved: Mapping[str, Any],
    prefix: str,
    guid: str,
    outcomes: Sequence[Outcome],
    endpoint: str,
    base_url: str,
    extra: Mapping[str, Any],
) -> tuple[Data, dict[str, Data]]:
    """Return the user data to save after a run, for the whole environment and for the users of the run.

    The data of other users of the environment stay as they are, and they are still counted and listed.

    :param saved: the present user data.
    :param prefix: what the names of saved data start with.
    :param extra: further data for everybody.
    """
    before = environment_records(saved, prefix, guid)
    records = {
        str(one.desired.alias): record
        for one in outcomes
        if (record := make_record(one, guid, before.get(str(one.desired.alias), {})))
    }
    # A key whose replacement failed can have another alias until the next run.
    entries = [
        {**_entry(one, before.get(str(one.desired.alias), {})), "key_alias": str(one.desired.alias)}
        for one in outcomes
        if one.after
    ]
    if any(entry.get("user") for entry in entries):
        # A record without a key id is that of a key that may not exist.
        by_alias = {
            alias: record_entry(alias, record)
            for alias, record in before.items()
            if record.get("user") and record.get("key_id")
        }
        by_alias.update((entry["key_alias"], _with_saved_secret(entry, before)) for entry in entries)
        order = [entry["key_alias"] for entry in entries]
        if not set(by_alias) <= set(order):  # some users of the environment are not part of this run
            order = list(by_alias)
        entries = [by_alias[alias] for alias in order]
    data, users = build_user_data(entries, endpoint, base_url, extra) if entries else ({}, {})
    if users:  # also with unknown secrets: a saved list could have another order
        data[f"{PREFIX}virtual_keys"] = [entry["key"] or "" for entry in entries if entry.get("user")]
    if records:
        present = saved.get(f"{prefix}{RECORDS}")
        data[RECORDS] = {**(present if isinstance(present, Mapping) else {}), **records}
    of_run = {one.desired.user for one in outcomes}
    return data, {user: of_user for user, of_user in users.items() if user in of_run}


def _with_saved_secret(entry: Data, saved: Mapping[str, Mapping[str, Any]]) -> Data:
    record = saved.get(entry["key_alias"], {})
    is_same = not entry["key"] and record.get("key_id") == entry["key_id"]
    return {**entry, "key": record.get(VIRTUAL_KEY)} if is_same else entry


def remove_keys(data: Data, aliases: Collection[str]) -> bool:
    """Remove everything about keys with these aliases from user data, and return whether there was anything."""
    changed = _remove_records(data, aliases)
    for name in [name for name in data if str(name).endswith(KEY_ALIAS) and _is_one_of(data[name], aliases)]:
        stem = str(name).removesuffix(KEY_ALIAS)
        for suffix in {*OF_KEY, *OF_USER}:
            changed = data.pop(stem + suffix, None) is not None or changed
    for name in [name for name in data if str(name).endswith("key_aliases") and isinstance(data[name], list)]:
        changed = _remove_from_lists(data, str(name).removesuffix("key_aliases"), aliases) or changed
    users = data.get("users")
    return (isinstance(users, dict) and _remove_from_users(data, users, aliases)) or changed


def _remove_from_users(data: Data, users: Data, aliases: Collection[str]) -> bool:
    changed = False
    for user, section in list(users.items()):
        if isinstance(section, dict) and remove_keys(section, aliases):
            changed = True
            if all(PREFIX in str(name) for name in section):  # nothing but data of this collection is left
                del users[user]
    if changed and not users:
        del data["users"]
    return changed


def _remove_records(data: Data, aliases: Collection[str]) -> bool:
    changed = False
    for name in [name for name in data if str(name).endswith(RECORDS) and isinstance(data[name], dict)]:
        for alias in aliases:
            changed = data[name].pop(alias, None) is not None or changed
        if not data[name]:
            del data[name]
    return changed


def _remove_from_lists(data: Data, stem: str, aliases: Collection[str]) -> bool:
    listed = data[f"{stem}key_aliases"]
    kept = [index for index, alias in enumerate(listed) if not _is_one_of(alias, aliases)]
    if len(kept) == len(listed):
        return False
    for name in LISTS:
        values = data.get(f"{stem}{name}")
        if isinstance(values, list) and len(values) == len(listed) and kept:
            data[f"{stem}{name}"] = [values[index] for index in kept]
        else:
            data.pop(f"{stem}{name}", None)
    if kept:
        data[f"{stem}{USER_COUNT}"] = len(kept)
    else:
        data.pop(f"{stem}{USER_COUNT}", None)
    return True


def _is_one_of(value: Any, aliases: Collection[str]) -> bool:
    return isinstance(value, str) and value in aliases


def lost_aliases(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    """Return the aliases of the keys whose secrets were saved before, and are not any more."""
    kept = {key.alias for key in saved_keys(after)}
    return [alias for alias in dict.fromkeys(key.alias for key in saved_keys(before)) if alias not in kept]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _instant(value: Any) -> datetime | None:
    try:
        return None if value is None else parse_instant(value)
    except InstantError:
        return None
