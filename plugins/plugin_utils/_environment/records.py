# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys as they were saved: with their secrets, their environment and all settings, to find and to recreate them.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .._keys.durations import InstantError, parse_instant
from .._keys.model import lifetime_start
from .._keys.outcome import Outcome
from .._keys.replacement import inherited_settings
from .._keys.result import instant_text, result_entry
from .user_data import KEY_ALIAS, KEY_ALIASES, RECORDS, VIRTUAL_KEY, VIRTUAL_KEYS

Data = dict[str, Any]

# The secret of a key that could not be read back after its creation: the next run compares its hash.
_UNCONFIRMED = "unconfirmed_virtual_key"
_DELETED = "deleted"
KEYS_FILE = "keys_file"
HANDOUT_FILE = "handout_file"
LISTS = (KEYS_FILE, HANDOUT_FILE)
HANDOVER = "handover"


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

    @property
    def was_deleted(self) -> bool:
        """Whether somebody deleted the key before it expired."""
        return self.record.get(_DELETED) is True


def saved_keys(data: Mapping[str, Any], *, has_users: bool = True) -> Iterator[SavedKey]:
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
    users = data.get("users") if has_users else None
    for section in users.values() if isinstance(users, Mapping) else ():
        if isinstance(section, Mapping):
            yield from saved_keys(section, has_users=False)  # a section that contains itself would never end


def _pairs(data: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    for name, value in data.items():
        if str(name).endswith(KEY_ALIAS):
            yield value, data.get(str(name).removesuffix(KEY_ALIAS) + VIRTUAL_KEY)
        elif str(name).endswith(KEY_ALIASES) and isinstance(value, list):
            secrets = data.get(str(name).removesuffix(KEY_ALIASES) + VIRTUAL_KEYS)
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


def make_record(outcome: Outcome, guid: str, saved: Mapping[str, Any], places: Data | None = None) -> Data | None:
    """Return what is saved of a key; None if its secret is not known.

    :param saved: what was saved of it before.
    :param places: where the key is written besides user data: the values of LISTS and HANDOVER, if any.
    """
    entry, key = entry_of(outcome, saved), outcome.after
    secret = entry["key"]
    if not secret and (not key or key.key_id == saved.get("key_id")):
        secret = saved.get(VIRTUAL_KEY)
    if not secret and not outcome.unconfirmed_secret:
        return None
    if not key:
        kept = dict(saved)
        if not outcome.error and kept.pop("settings", None) is not None:
            kept[_DELETED] = True  # by somebody: it is not recreated when it would have expired
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
        **({HANDOVER: saved[HANDOVER]} if HANDOVER in saved else {}),
        **(places or {}),
        **_unconfirmed(outcome),
    }


def entry_of(outcome: Outcome, saved: Mapping[str, Any]) -> Data:
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


def lost_aliases(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    """Return the aliases of the keys whose secrets were saved before, and are not any more."""
    if before == after:
        return []
    kept = {key.alias for key in saved_keys(after)}
    return [alias for alias in dict.fromkeys(key.alias for key in saved_keys(before)) if alias not in kept]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _instant(value: Any) -> datetime | None:
    try:
        return None if value is None else parse_instant(value)
    except InstantError:
        return None
