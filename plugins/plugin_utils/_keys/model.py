# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The desired state and the observed state of a virtual key.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from .._litellm.parsing import has_more_levels
from .._text import shorten
from .durations import Duration, DurationError, InstantError, parse, parse_instant
from .names import PREVIOUS_SUFFIX, SUCCESSOR_SUFFIX, successor_alias
from .rotation import Rotation
from .secrets import Secret, SecretVersions
from .setting_types import Row
from .settings import (
    LIFETIME_START,
    PREVIOUS,
    REPLACED_BY,
    REPLACES,
    ROW_KINDS,
    SECRET_VERSION,
    SETTINGS,
    setting,
)
from .values import MAX_LEVELS, fits

# There was no LiteLLM before. From a later creation, the expiry of the longest lifetime has no year in the calendar.
_FIRST_YEAR = 2016
_LAST_YEAR_OF_CREATION = 2900
_LAST_YEAR = 9029


@dataclass(frozen=True)
class Lifetime:
    """When a key should expire: at an instant, some time after its creation, or (None) never.

    :ivar from_now: a duration counts from now instead of from the creation.
    :ivar shorten: the expiry may be brought forward.
    """

    end: datetime | Duration | None
    from_now: bool = False
    shorten: bool = True


Regenerate = Literal["never", "if_unrecoverable", "always"]
OnMissingKey = Literal["create", "recreate", "ignore"]


@dataclass(frozen=True)
class DesiredKey:
    """The desired state of one key. Settings and a lifetime that are not given are left alone.

    :ivar alias: identifies the key, unless `key_id` does.
    :ivar owner: the guid of the environment that must own the key: one whose metadata name another is not touched.
    :ivar proven_ids: the ids of keys that were saved as keys of the owner; None if the alias alone proves that.
    :ivar user: the user of the environment who gets the key, if it has several.
    :ivar settings: values by name; the `cleared_value` of a setting clears it. Names outside of SETTINGS are fields
        that have no option.
    :ivar creation_settings: settings for a new key, which are not reconciled later.
    :ivar lifetime_start: the time that the lifetime of a recreated key counts from; None for its creation.
    :ivar secret: the secret that the key must have; None if any will do.
    :ivar versions: the versions of the secret, if it is derived. A later one is as good as `secret`.
    :ivar later_ids: the ids of the key with later secrets from the same seed: it must not be replaced by an older one.
    :ivar known_secrets: secrets that the key may have, by which it is recognized.
    :ivar secret_required: report an error for a key whose secret is not known.
    :ivar rotate: when the key is replaced because of its age; None if it is not.
    :ivar on_missing: what to do without a key: create one, recreate it with its known secret, or nothing.
    """

    alias: str | None
    key_id: str | None = None
    guid: str | None = None
    present: bool = True
    owner: str | None = None
    proven_ids: frozenset[str] | None = None
    user: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    creation_settings: Mapping[str, Any] = field(default_factory=dict)
    lifetime: Lifetime | None = None
    lifetime_start: datetime | None = None
    secret: Secret | None = None
    versions: SecretVersions | None = None
    later_ids: frozenset[str] = frozenset()
    known_secrets: tuple[Secret, ...] = ()
    secret_required: bool = False
    regenerate: Regenerate = "never"
    rotate: Rotation | None = None
    on_missing: OnMissingKey = "create"

    def is_foreign(self, key: ObservedKey) -> bool:
        """Return whether an observed key is not proven to belong to the owner.

        The metadata of the key must not name another environment. If they name none, the alias must be proof, or the
        key must have been saved as one of the owner.
        """
        guid = (key.value("metadata") or {}).get("guid")
        if self.owner is None:
            return False
        if guid is None:
            return self.proven_ids is not None and key.key_id not in self.proven_ids
        return str(guid) != self.owner

    def owns(self, key: ObservedKey) -> bool:
        """Return whether the metadata of an observed key name the owner, if there is one: an alias is no proof."""
        return self.owner is None or str((key.value("metadata") or {}).get("guid")) == self.owner

    def secret_of(self, key: ObservedKey) -> Secret | None:
        """Return the secret of an observed key, if it is known."""
        candidates = (self.secret, *self.known_secrets)
        known = next((secret for secret in candidates if secret and secret.key_id == key.key_id), None)
        if known or not self.versions or not (version := self.version_of(key)):
            return known
        return self.versions.secret(version)

    def version_of(self, key: ObservedKey) -> int | None:
        """Return which version of the derived secret an observed key has; None if it has another secret."""
        hint = (key.value("metadata") or {}).get(SECRET_VERSION)
        return self.versions.version_of(key.key_id, hint) if self.versions else None

    @property
    def new_secret(self) -> Secret | None:
        """The secret that a new key must have; None if any will do.

        A known secret is used only to recreate a key: a key may have been deleted to revoke its secret.
        """
        known = self.known_secrets[0] if self.known_secrets and self.on_missing == "recreate" else None
        if known and self.versions:
            hint = (self.creation_settings.get("metadata") or {}).get(SECRET_VERSION)
            if self.versions.version_of(known.key_id, hint):
                return known  # it was replaced since the first version
        return self.secret or known

    @property
    def name(self) -> str:
        """The name of the key in messages."""
        return self.alias or f"{str(self.key_id)[:12]}…"

    @property
    def successor_alias(self) -> str | None:
        """The alias of a key that replaces this one, until this one is deleted; None for a key without an alias."""
        return successor_alias(self.alias) if self.alias else None


@dataclass(frozen=True)
class ObservedKey:
    """The observed state of one key. All times are UTC.

    :ivar key_name: LiteLLM's masked secret, such as `sk-...abcd`.
    :ivar spend: in US dollars.
    :ivar settings: the values of all SETTINGS.
    :ivar row: everything that LiteLLM returned about the key.
    :ivar problem: why parts of the row could not be read, as a sentence. They count as not set. Such a key can be
        deleted, which needs only its id and alias, but not changed.
    :ivar unreadable: the names of these parts.
    """

    key_id: str
    alias: str | None
    key_name: str | None = None
    created_at: datetime | None = None
    expires: datetime | None = None
    spend: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    row: Row = field(default_factory=dict, repr=False, compare=False)
    problem: str | None = None
    unreadable: frozenset[str] = frozenset()

    @classmethod
    def from_row(cls, row: Row) -> ObservedKey:
        """Return the key of a row of LiteLLM's `/key/list?return_full_object=true` or `/key/info`."""
        problems: dict[str, str] = {}
        readable = dict(row)
        for name, kind in ROW_KINDS.items():
            if not fits(row.get(name), kind):
                value = row[name]  # quoted only if it is a number: anything else may contain a secret
                shown = shorten(str(value)) if isinstance(value, int | float) else type(value).__name__
                problems[name] = f"{name} is {shown}"
                readable[name] = None
        for name, value in row.items() if has_more_levels(row, MAX_LEVELS + 1) else ():
            if has_more_levels(value, MAX_LEVELS):
                problems[name] = f"{name} has more than {MAX_LEVELS} levels"
                readable[name] = None
        instants: dict[str, datetime | None] = {}
        for name, last_year in (("created_at", _LAST_YEAR_OF_CREATION), ("expires", _LAST_YEAR)):
            try:
                instants[name] = _instant(row, name, last_year)
            except InstantError as error:
                problems[name] = f"{name}: {error}"
                instants[name] = None
        shown = shorten(str(readable.get("key_alias") or readable.get("key_name") or row["token"]))
        return cls(
            key_id=row["token"],
            alias=readable.get("key_alias"),
            key_name=readable.get("key_name"),
            **instants,
            spend=readable.get("spend"),
            settings={name: one.read(readable) for name, one in SETTINGS.items()},
            row=readable,
            problem=(
                f"The proxy returned unexpected data for key {shown}: {'; '.join(problems.values())}"
                if problems
                else None
            ),
            unreadable=frozenset(problems),
        )

    @property
    def replaces(self) -> str | None:
        """The id of the key that this one replaces, or has replaced."""
        key_id = (self.value("metadata") or {}).get(REPLACES)
        return key_id if isinstance(key_id, str) else None

    @property
    def is_previous(self) -> bool:
        """Whether another key has replaced this one, which works until its overlap ends."""
        is_marked = isinstance((self.value("metadata") or {}).get(REPLACED_BY), str)
        return is_marked and (self.alias or "").endswith(PREVIOUS_SUFFIX)

    @property
    def previous_id(self) -> str | None:
        """The id of the key that this one replaces, or has replaced, and that works beside it for some time."""
        return self._previous_mark("key_id")

    @property
    def overlap(self) -> Duration | None:
        """How long that key works after it was replaced."""
        try:
            return parse(self._previous_mark("overlap") or "")
        except DurationError:
            return None

    def _previous_mark(self, name: str) -> str | None:
        mark = (self.value("metadata") or {}).get(PREVIOUS)
        return str(mark[name]) if isinstance(mark, Mapping) and isinstance(mark.get(name), str) else None

    @property
    def final_alias(self) -> str | None:
        """The alias that the key has, that it gets when the key that it replaces is deleted, or that it had."""
        if self.alias and self.is_previous:
            return self.alias.removesuffix(PREVIOUS_SUFFIX)
        if self.alias and self.replaces and self.alias.endswith(SUCCESSOR_SUFFIX):
            return self.alias.removesuffix(SUCCESSOR_SUFFIX)
        return self.alias

    def value(self, name: str) -> Any:
        """Return the value of a setting."""
        return self.settings[name] if name in self.settings else setting(name).read(self.row)


@dataclass(frozen=True)
class Snapshot:
    """The observed state at one time by the proxy's clock.

    :ivar keys: every key that has the alias, or the id, oldest first.
    :ivar successors: every key that was created to replace one with the alias and has not got its alias yet, oldest
        first.
    :ivar previous: every key that one with the alias has replaced and that works until its overlap ends.
    """

    keys: tuple[ObservedKey, ...]
    now: datetime
    successors: tuple[ObservedKey, ...] = ()
    previous: tuple[ObservedKey, ...] = ()

    @property
    def claimants(self) -> tuple[ObservedKey, ...]:
        """The keys that have the alias, or may get it."""
        return (*self.keys, *self.successors)

    @property
    def all(self) -> tuple[ObservedKey, ...]:
        return (*self.claimants, *self.previous)

    @property
    def ids(self) -> set[str]:
        return {key.key_id for key in self.all}


def by_age(key: ObservedKey) -> tuple[bool, Any, str]:
    """Return the sort key that sorts the oldest key first."""
    return (key.created_at is None, key.created_at, key.key_id)


def lifetime_start(key: ObservedKey) -> datetime | None:
    """Return when the lifetime of a key started: at its creation, or at that of the first key that it replaces."""
    marker = (key.value("metadata") or {}).get(LIFETIME_START)
    try:
        start = None if marker is None else parse_instant(marker)
    except InstantError:
        start = None
    # Any client can write anything into the metadata.
    return start if start and _FIRST_YEAR <= start.year <= _LAST_YEAR_OF_CREATION else key.created_at


def _instant(row: Row, name: str, last_year: int) -> datetime | None:
    """Return an instant of a row.

    :raises InstantError: if it is not an instant, or its year is not plausible.
    """
    if row.get(name) is None:
        return None
    instant = parse_instant(row[name])
    if not _FIRST_YEAR <= instant.year <= last_year:
        raise InstantError(f"the year {instant.year} is out of range")
    return instant
