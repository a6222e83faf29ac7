# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The users that the options of an environment name: by a list, or by a base and a number.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._errors import OptionError
from .._text import Wording

Options = Mapping[str, Any]


def warnings_about(options: Options, wording: Wording) -> list[str]:
    """Return warnings about numbers of users without effect."""
    users: list[str] = options["users"] or []
    if wording.in_playbook and options["operation"] == "provision" and len(users) == 1 and users[0].isdecimal():
        advice = wording.setting("user_count", users[0])
        return [f"{wording.option('users')} names one user, {users[0]}; for {users[0]} users, set {advice} instead"]
    count = str(options["user_count"] or "").strip()
    if not options["users"] and not is_multi_user(options) and count not in ("", "0", "1"):
        advice = wording.setting("multi_user", "true")
        return [f"{wording.option('user_count')} is {count}, but has no effect without {advice}"]
    return []


def is_multi_user(options: Options) -> bool:
    """Return whether each user gets a key: as `multi_user` says, or if there is more than one user."""
    if options["multi_user"] is not None:
        return bool(options["multi_user"])
    number = str(options["num_users"] if options["num_users"] is not None else "").strip()
    return number.isdecimal() and int(number) > 1


def named_users(options: Options, wording: Wording) -> tuple[str, ...]:
    """Return the users who get a key each; none if the environment has one key.

    :raises OptionError: if a user has no name, or the number of users is invalid.
    """
    if options["users"]:
        return _listed_users(options, "users")
    if not is_multi_user(options):
        return ()
    count = str(options["user_count"] if options["user_count"] not in (None, "") else options["num_users"]).strip()
    if not re.fullmatch("0*[1-9][0-9]*", count):
        raise OptionError(
            f"{wording.option('user_count')} is '{count}'; with {wording.option('multi_user')} it must be 1 or more"
        )
    return tuple(f"{options['user_base']}{number}" for number in range(1, int(count) + 1))


def added_and_removed_users(options: Options, wording: Wording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the users who are added to the environment, and those who are removed from it.

    :raises OptionError: if a user has no name, or is both added and removed.
    """
    added, removed = (_listed_users(options, name) for name in ("add_users", "remove_users"))
    for user in removed:
        for name in ("add_users", "users"):
            if user in (options[name] or ()):
                raise OptionError(f"{wording.option(name)} and {wording.option('remove_users')} both contain {user!r}")
    return added, removed


def _listed_users(options: Options, name: str) -> tuple[str, ...]:
    users = tuple(options[name] or ())
    if any(not user.strip() for user in users):
        raise OptionError(f"{name} contains an empty name")
    return users
