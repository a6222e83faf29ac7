# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys belong to a lab environment.

A key belongs to the environment if its alias is the one of the environment or of a named user, or if its alias starts
with that of the environment and a hyphen and its metadata on the proxy, or what was saved beside it, name the guid. The
alias alone proves nothing: an environment abc-1 looks like a user of an environment abc.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._keys.model import ObservedKey
from .records import SavedKey

# Stands for the name of a user in options for many users.
USER_PLACEHOLDER = "{user}"


@dataclass(frozen=True)
class Member:
    """One key of an environment.

    :ivar user: the user who gets it; None for the key of the environment itself.
    :ivar number: the position among the named users, from 1.
    :ivar is_removed: a provision deletes the key.
    """

    alias: str
    user: str | None = None
    number: int | None = None
    is_removed: bool = False


def named_members(alias: str, users: Sequence[str]) -> list[Member]:
    """Return the keys of the named users, or the one key of the environment."""
    if not users:
        return [Member(alias)]
    return [Member(f"{alias}-{user}", user, number) for number, user in enumerate(users, start=1)]


def discover_members(guid: str, alias: str, saved: Iterable[SavedKey], observed: Iterable[ObservedKey]) -> list[Member]:
    """Return the keys that belong to an environment, its own key first.

    The users are in the order in which they were named, as far as metadata say so, and else in natural order.

    :param saved: the saved keys.
    :param observed: the keys on the proxy whose alias starts with that of the environment.
    """
    numbers: dict[str, float] = {}
    for saved_key in saved:
        if saved_key.guid == guid:
            numbers[saved_key.alias] = _user_number((saved_key.settings or {}).get("metadata"))
    for key in observed:
        metadata = key.value("metadata") or {}
        own_alias = str(key.final_alias)
        if own_alias == alias or str(metadata.get("guid")) == guid:
            numbers[own_alias] = _user_number(metadata)
    of_users = [one for one in numbers if one.startswith(f"{alias}-")]
    of_users.sort(key=lambda one: (numbers[one], len(one), one))  # user2 before user10
    members = [Member(one, one.removeprefix(f"{alias}-")) for one in of_users]
    return [Member(alias), *members] if alias in numbers else members


def _user_number(metadata: Any) -> float:
    number = metadata.get("user_number") if isinstance(metadata, Mapping) else None
    return number if isinstance(number, int) else math.inf
