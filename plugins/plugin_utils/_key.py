# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual key is: the key that is wanted, the key that is there, and the settings both have.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    Duration,
    InstantError,
    parse_instant,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError, short
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret

# LiteLLM takes any text; its optional format check (>= 1.82) allows 255 characters.
MAXIMUM_ALIAS_LENGTH = 255


def checked_alias(alias: str, option: str = "key_alias") -> str:
    """The alias, if LiteLLM of every release takes it and gives it back unchanged.

    LiteLLM >= 1.93 refuses control characters and path traversal. All releases take an empty alias for a
    real one when they create, and for "every key" when they list.

    :raises OptionError: otherwise.
    """
    shown = repr(alias if len(alias) <= 60 else alias[:57] + "...")
    if not alias.strip():
        raise OptionError(f"{option} is empty; it must name the key")
    if alias != alias.strip():
        raise OptionError(f"{option} {shown} begins or ends with a blank")
    if not alias.isprintable():
        raise OptionError(f"{option} {shown} contains a character that cannot be printed")
    if ".." in alias.split("/"):
        raise OptionError(f"{option} {shown} has '..' between slashes, which LiteLLM refuses")
    if len(alias) > MAXIMUM_ALIAS_LENGTH:
        raise OptionError(
            f"{option} {shown} makes an alias of {len(alias)} characters; {MAXIMUM_ALIAS_LENGTH} are allowed"
        )
    return alias


def checked_id(key_id: str) -> str:
    """The id, if it is one.

    :raises OptionError: otherwise, without quoting it: it may be a secret.
    """
    if not re.fullmatch("[0-9a-f]{64}", key_id):
        raise OptionError("key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret")
    return key_id


# In the metadata of a key while another takes its place: the alias that it had.
REPLACED = "replaced_in_litellm_virtual_keys"

# Further fields that a key hands on to the one that takes its place, besides its SETTINGS and metadata.
FURTHER_FIELDS = (
    "access_group_ids",
    "agent_id",
    "allowed_cache_controls",
    "auto_rotate",
    "budget_fallbacks",
    "budget_limits",
    "config",
    "rotation_interval",
    "router_settings",
    "tpd_limit",
)

# What LiteLLM makes of a key's type, which it keeps nowhere else before 1.94: the routes that the key may use.
_ROUTES_OF_TYPE = {
    "default": [],
    "llm_api": ["llm_api_routes"],
    "management": ["management_routes"],
    "read_only": ["info_routes"],
}
KEY_TYPES = tuple(_ROUTES_OF_TYPE)

Row = Mapping[str, Any]
Kind = Literal["str", "int", "float", "bool", "list of str", "dict"]


@dataclass(frozen=True)
class Setting:
    """One option of a key that LiteLLM stores: where it is read, how it is compared, changed and taken off.

    :ivar name: the option's name; the field's name too, unless `field` says otherwise.
    :ivar in_metadata: LiteLLM keeps it inside of the key's metadata.
    :ivar merged: what is not named in it stays.
    :ivar inherited: a key that replaces another gets it too.
    """

    name: str
    kind: Kind = "str"
    field: str = ""
    in_metadata: bool = False
    merged: bool = False
    inherited: bool = True

    @property
    def nothing(self) -> Any:
        """What takes it off. LiteLLM refuses null for lists; null in one of its JSON columns breaks the key."""
        return None if self.merged else {"list of str": [], "dict": {}}.get(self.kind)

    def read(self, row: Row) -> Any:
        if self.in_metadata:
            value = (row.get("metadata") or {}).get(self.field or self.name)
            return value if _fits(value, self.kind) else None  # anybody can write anything there
        return row.get(self.field or self.name)

    def combined(self, wanted: Any, present: Any) -> Any:
        """The value to send: LiteLLM replaces whole values."""
        if not self.merged:
            return wanted
        if wanted is None:
            return {name: value for name, value in (present or {}).items() if name in _IN_METADATA}
        return {**(present or {}), **wanted}

    def same(self, wanted: Any, present: Any) -> bool:
        if self.kind == "list of str":
            return set(wanted or ()) == set(present or ())
        if self.kind == "dict":
            return bool((wanted or {}) == (present or {}))
        if self.kind == "bool":
            return bool(wanted) == bool(present)
        return bool(wanted == present)

    def sent(self, value: Any, *, new: bool) -> dict[str, Any]:
        """The fields of a request that gives this value to a new key, or to one that exists."""
        return {self.field or self.name: value}


class _KeyType(Setting):
    """`key_type` can be given at creation only; later it is the routes that it stands for."""

    @property
    def nothing(self) -> str:
        return "default"

    def read(self, row: Row) -> Any:
        routes = row.get("allowed_routes") or []
        return next((name for name, those in _ROUTES_OF_TYPE.items() if those == routes), None)

    def sent(self, value: Any, *, new: bool) -> dict[str, Any]:
        return {"key_type": value} if new else {"allowed_routes": _ROUTES_OF_TYPE[value]}


class _Organization(Setting):
    """`/key/list` calls it otherwise than all other routes."""

    def read(self, row: Row) -> Any:
        return row.get("organization_id") or row.get("org_id")


class _SoftBudget(Setting):
    """It is kept in a budget: for a key without one LiteLLM makes a budget of its own.

    For a key with a `budget_id` that budget is changed, for every key that shares it.
    """

    def read(self, row: Row) -> Any:
        return (row.get("litellm_budget_table") or {}).get("soft_budget")


class _AsFarAsAsked(Setting):
    """LiteLLM shows more than it was given; only what was asked for counts."""

    def same(self, wanted: Any, present: Any) -> bool:
        return _as_far_as_asked(wanted, present)


class _ObjectPermission(_AsFarAsAsked):
    """LiteLLM merges it into what is there: to take all of it off, each part must be sent empty."""

    def combined(self, wanted: Any, present: Any) -> Any:
        if wanted:
            return wanted
        permitted = {name: value for name, value in (present or {}).items() if value and name != "object_permission_id"}
        return {name: type(value)() for name, value in permitted.items()}

    def same(self, wanted: Any, present: Any) -> bool:
        return super().same(wanted, present) if wanted else not self.combined(wanted, present)


class _Extra(_AsFarAsAsked):
    """A field that we know nothing of. LiteLLM may keep it inside of the metadata."""

    def read(self, row: Row) -> Any:
        value = row.get(self.name)
        return (row.get("metadata") or {}).get(self.name) if value is None else value


def _as_far_as_asked(wanted: Any, present: Any) -> bool:
    if wanted in (None, [], {}):
        return _is_nothing(present)
    if isinstance(wanted, Mapping):
        shown = {} if present is None else present
        return isinstance(shown, Mapping) and all(
            _as_far_as_asked(value, shown.get(name)) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        if not isinstance(present, list) or len(wanted) != len(present):
            return False
        if not any(isinstance(member, Mapping | list) for member in wanted):  # of plain names the order means nothing
            wanted, present = sorted(wanted, key=str), sorted(present, key=str)
        return all(map(_as_far_as_asked, wanted, present))
    return bool(wanted == present)


def _is_nothing(value: Any) -> bool:
    """Null, or empty: LiteLLM shows one for the other, and what is empty with names that are null."""
    if isinstance(value, Mapping):
        return all(map(_is_nothing, value.values()))
    return value is None or value == []


SETTINGS: dict[str, Setting] = {
    known.name: known
    for known in (
        Setting("models", "list of str"),
        Setting("model_aliases", "dict", field="aliases"),
        Setting("max_budget", "float"),
        _SoftBudget("soft_budget", "float", inherited=False),
        Setting("budget_duration"),
        Setting("budget_id"),
        Setting("tpm_limit", "int"),
        Setting("rpm_limit", "int"),
        Setting("max_parallel_requests", "int"),
        Setting("model_tpm_limit", "dict", in_metadata=True),
        Setting("model_rpm_limit", "dict", in_metadata=True),
        Setting("model_max_budget", "dict"),
        # Some of LiteLLM's own settings live inside of a key's metadata: what is not named must stay.
        Setting("metadata", "dict", merged=True),
        Setting("tags", "list of str", in_metadata=True),
        Setting("guardrails", "list of str", in_metadata=True),
        Setting("user_id"),
        Setting("team_id"),
        _Organization("organization_id"),
        Setting("project_id"),
        _KeyType("key_type", inherited=False),
        Setting("allowed_routes", "list of str"),
        Setting("permissions", "dict"),
        _ObjectPermission("object_permission", "dict"),
        Setting("blocked", "bool"),
    )
}


_IN_METADATA = {name for name, known in SETTINGS.items() if known.in_metadata}


def setting(name: str) -> Setting:
    """The setting of this name; a field of `extra_params` is one, too."""
    return SETTINGS.get(name) or _Extra(name)


@dataclass(frozen=True)
class Lifetime:
    """When a key should end: at an instant, some time after its creation, or (None) never.

    :ivar from_now: the time counts from now, not from the creation.
    :ivar shorten: an expiry may be brought forward.
    """

    end: datetime | Duration | None
    from_now: bool = False
    shorten: bool = True


Regenerate = Literal["never", "if_unrecoverable", "always"]
Missing = Literal["create", "recreate", "ignore"]


@dataclass(frozen=True)
class Wanted:
    """One key as the user wants it. Settings and a lifetime that were not given are left alone.

    :ivar alias: names the key, unless `key_id` does.
    :ivar user: whose key it is, of the users of the environment.
    :ivar settings: values by name; a setting's `nothing` takes it off. Names that are not among SETTINGS are fields
        of LiteLLM's that we know nothing of.
    :ivar initial: settings that it gets when it is created, and that are left alone later.
    :ivar secret: the secret it must have; None where any will do.
    :ivar known: secrets that it may have, by which it is recognised.
    :ivar secret_required: leave a key alone whose secret is not known.
    :ivar missing: what to do when it is not there: create it; recreate it, with the secret that it had; or nothing.
    """

    alias: str | None
    key_id: str | None = None
    guid: str | None = None
    present: bool = True
    user: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    initial: Mapping[str, Any] = field(default_factory=dict)
    lifetime: Lifetime | None = None
    secret: Secret | None = None
    known: tuple[Secret, ...] = ()
    secret_required: bool = False
    regenerate: Regenerate = "never"
    missing: Missing = "create"

    def secret_of(self, key: Observed) -> Secret | None:
        """The secret of this key, if it is known."""
        return next((secret for secret in (self.secret, *self.known) if secret and secret.key_id == key.key_id), None)

    @property
    def secret_of_new(self) -> Secret | None:
        """The secret that a new key must have; None where any will do.

        A known one is used only where the same key is to come back: whoever removed a key meant its secret to end.
        """
        return self.secret or (self.known[0] if self.known and self.missing == "recreate" else None)

    @property
    def name(self) -> str:
        """The key's name for people."""
        return self.alias or f"{str(self.key_id)[:12]}…"

    @property
    def old_alias(self) -> str | None:
        """What the key is called while another takes its place; None for one that has no alias."""
        return f"{self.alias}.replaced" if self.alias else None


@dataclass(frozen=True)
class Observed:
    """One key as the proxy has it. All times are UTC.

    :ivar settings: the values of all SETTINGS.
    :ivar row: all that LiteLLM says of the key.
    """

    key_id: str
    alias: str | None
    name: str | None = None
    created_at: datetime | None = None
    expires: datetime | None = None
    spend: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    row: Row = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_row(cls, row: Row) -> Observed:
        """A row of LiteLLM's `/key/list?return_full_object=true` or `/key/info`.

        :raises LiteLLMError: when it is not what LiteLLM says of a key.
        """
        for name, kind in _KINDS.items():
            if not _fits(row.get(name), kind):
                raise _odd(row, f"{name} is of type {type(row[name]).__name__}")
        return cls(
            key_id=row["token"],
            alias=row.get("key_alias"),
            name=row.get("key_name"),
            created_at=_instant(row, "created_at", 2900),
            expires=_instant(row, "expires", 9029),
            spend=row.get("spend"),
            settings={name: known.read(row) for name, known in SETTINGS.items()},
            row=row,
        )

    def takes_leave_of(self, alias: str | None) -> bool:
        """Whether this is the key with that alias, which another is to replace: its name alone is no proof."""
        return alias is not None and (self.value("metadata") or {}).get(REPLACED) == alias

    def value(self, name: str) -> Any:
        """The value of a setting."""
        return self.settings[name] if name in self.settings else setting(name).read(self.row)


# What LiteLLM says of a key besides its settings, and what these are kept in.
_KINDS: dict[str, Kind] = {
    **{known.field or name: known.kind for name, known in SETTINGS.items() if not known.in_metadata},
    **dict.fromkeys(("token", "key_alias", "key_name", "org_id"), "str"),
    "spend": "float",
    "litellm_budget_table": "dict",
}
# Python reads infinity and NaN from JSON, and whole numbers that are too large for a float: none of them is money.
_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int | float) and -1e18 < value < 1e18,
    "float": lambda value: isinstance(value, int | float) and -1e18 < value < 1e18,
    "bool": lambda value: isinstance(value, bool),
    "dict": lambda value: isinstance(value, dict),
    "list of str": lambda value: isinstance(value, list) and all(isinstance(member, str) for member in value),
}


def _fits(value: Any, kind: Kind) -> bool:
    return value is None or _FITS[kind](value)


def _instant(row: Row, name: str, latest: int) -> datetime | None:
    """An instant that can be reckoned with: until that year, and no sooner than there were keys."""
    if row.get(name) is None:
        return None
    try:
        instant = parse_instant(row[name])
    except InstantError as error:
        problem = str(error)
    else:
        if 2016 <= instant.year <= latest:
            return instant
        problem = f"{instant.year} is not a year of a key"
    raise _odd(row, f"{name}: {problem}")


def _odd(row: Row, why: str) -> LiteLLMError:
    name = short(str(row.get("key_alias") or row.get("key_name") or row.get("token")))
    return LiteLLMError(f"The proxy says of the key {name} what LiteLLM does not say: {why}", passing=False)
