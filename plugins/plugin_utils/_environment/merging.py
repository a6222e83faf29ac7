# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Merge the keys of a run into user data that are saved already.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._keys.outcome import Outcome
from .records import Data, entry_of, make_record
from .user_data import KEY_ALIASES, PREFIX, RECORDS, VIRTUAL_KEY, VIRTUAL_KEYS, build_user_data


def environment_records(data: Mapping[str, Any], prefix: str, guid: str) -> dict[str, Mapping[str, Any]]:
    """Return the saved records of one environment, by alias, in the order in which its users were saved."""
    records = data.get(f"{prefix}{RECORDS}")
    order = data.get(f"{prefix}{PREFIX}{KEY_ALIASES}")
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
    places_of: Callable[[str | None], Data] = lambda _user: {},
) -> tuple[Data, dict[str, Data]]:
    """Return the user data to save after a run, for the whole environment and for the users of the run.

    The data of other users of the environment stay as they are, and they are still counted and listed.

    :param saved: the present user data.
    :param prefix: what the names of saved data start with.
    :param extra: further data for everybody.
    :param places_of: returns where the key of a user is written besides user data, see `make_record`.
    """
    before = environment_records(saved, prefix, guid)
    records = {
        str(one.desired.alias): record
        for one in outcomes
        if (record := make_record(one, guid, before.get(str(one.desired.alias), {}), places_of(one.desired.user)))
    }
    # A key whose replacement failed can have another alias until the next run.
    entries = [
        {**entry_of(one, before.get(str(one.desired.alias), {})), "key_alias": str(one.desired.alias)}
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
        data[f"{PREFIX}{VIRTUAL_KEYS}"] = [entry["key"] or "" for entry in entries if entry.get("user")]
    if records:
        present = saved.get(f"{prefix}{RECORDS}")
        data[RECORDS] = {**(present if isinstance(present, Mapping) else {}), **records}
    of_run = {one.desired.user for one in outcomes}
    return data, {user: of_user for user, of_user in users.items() if user in of_run}


def _with_saved_secret(entry: Data, saved: Mapping[str, Mapping[str, Any]]) -> Data:
    record = saved.get(entry["key_alias"], {})
    is_same = not entry["key"] and record.get("key_id") == entry["key_id"]
    return {**entry, "key": record.get(VIRTUAL_KEY)} if is_same else entry
