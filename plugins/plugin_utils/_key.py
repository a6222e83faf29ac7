# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a virtual key is: the key that is wanted, the key that is there, and the settings both have.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
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


def _same(wanted: Any, present: Any) -> bool:
    return bool(wanted == present)


def _same_members(wanted: Any, present: Any) -> bool:
    return set(wanted) == set(present or ())


def _replaced(wanted: Any, present: Any) -> Any:
    return wanted


def _merged(wanted: Any, present: Any) -> Any:
    return {**(present or {}), **wanted}


@dataclass(frozen=True)
class Setting:
    """One option of a key that LiteLLM stores, and how it is compared and changed.

    :ivar name: the option's name, which is the field's name in LiteLLM too.
    :ivar same: whether the value wanted and the value present mean the same.
    :ivar combined: the value to send, from the value wanted and the value present. LiteLLM replaces whole values.
    """

    name: str
    same: Callable[[Any, Any], bool] = _same
    combined: Callable[[Any, Any], Any] = _replaced

    def target(self, wanted: Any, present: Any) -> Any:
        """The value that the key should have, given the one it has."""
        target = self.combined(wanted, present)
        return present if self.same(target, present) else target


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("models", same=_same_members),
        Setting("max_budget"),
        Setting("user_id"),
        # Some of LiteLLM's own settings live inside a key's metadata: what is not named must stay.
        Setting("metadata", combined=_merged),
    )
}


@dataclass(frozen=True)
class Lifetime:
    """When a key should end: at an instant, or some time after it was created."""

    end: datetime | Duration
    shorten: bool = True
    asked: str | None = None


@dataclass(frozen=True)
class Wanted:
    """One key as the user wants it. Settings and a lifetime that were not given are left alone.

    :ivar secret: the secret it must have; None where any will do.
    :ivar secret_required: leave a key alone whose secret is not known.
    """

    alias: str
    guid: str | None = None
    present: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    lifetime: Lifetime | None = None
    secret: Secret | None = None
    secret_required: bool = False


@dataclass(frozen=True)
class Observed:
    """One key as the proxy has it. All times are UTC."""

    key_id: str
    alias: str | None
    name: str | None = None
    created_at: datetime | None = None
    expires: datetime | None = None
    blocked: bool = False
    spend: float | None = None
    team_id: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Observed:
        """A row of LiteLLM's `/key/list?return_full_object=true`."""
        return cls(
            key_id=row["token"],
            alias=row.get("key_alias"),
            name=row.get("key_name"),
            created_at=_instant(row.get("created_at")),
            expires=_instant(row.get("expires")),
            blocked=bool(row.get("blocked")),
            spend=row.get("spend"),
            team_id=row.get("team_id"),
            settings={name: row.get(name) for name in SETTINGS},
        )


def _instant(value: Any) -> datetime | None:
    return None if value is None else parse_instant(value)
