# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Remove deleted keys from user data.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .records import Data
from .user_data import KEY_ALIAS, KEY_ALIASES, LISTS, OF_KEY, OF_USER, PREFIX, RECORDS, USER_COUNT


def remove_keys(data: Data, aliases: Collection[str]) -> bool:
    """Remove everything about keys with these aliases from user data, and return whether there was anything."""
    changed = _remove_records(data, aliases)
    for name in [name for name in data if str(name).endswith(KEY_ALIAS) and _is_one_of(data[name], aliases)]:
        stem = str(name).removesuffix(KEY_ALIAS)
        for suffix in {*OF_KEY, *OF_USER}:
            changed = data.pop(stem + suffix, None) is not None or changed
    for name in [name for name in data if str(name).endswith(KEY_ALIASES) and isinstance(data[name], list)]:
        changed = _remove_from_lists(data, str(name).removesuffix(KEY_ALIASES), aliases) or changed
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
    listed = data[f"{stem}{KEY_ALIASES}"]
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
