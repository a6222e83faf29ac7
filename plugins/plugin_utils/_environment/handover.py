# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where keys are written besides user data: environment files, shell profiles, Secrets of a cluster.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._errors import OptionError
from .._text import Wording, printable
from .members import USER_PLACEHOLDER

# Each place, and the options that it consists of.
_PLACES_OF = {
    "env_file": ("env_file", "env_file_owner"),
    "profile_file": ("profile_file", "profile_group"),
    "secret_name": ("secret_name", "secret_namespace"),
}
_PLACES = tuple(name for names in _PLACES_OF.values() for name in names)


def check_handover(options: Mapping[str, Any], is_multi_user: bool, wording: Wording, *, is_new: bool = False) -> None:
    """Check that each key has a place of its own.

    :param is_new: no users count but the named ones. Otherwise, users of existing keys count, too.
    :raises OptionError: if it has not, or if an option is missing.
    """
    name = wording.option
    of_user = [one for one in _PLACES if USER_PLACEHOLDER in (options[one] or "")]
    if of_user and is_new and not is_multi_user:
        raise OptionError(
            f"{name(of_user[0])} contains {USER_PLACEHOLDER}, but the environment has no users; set {name('users')}, "
            f"or remove {USER_PLACEHOLDER}"
        )
    if options["profile_file"] and not options["profile_group"]:
        raise OptionError(
            f"{name('profile_file')} needs {name('profile_group')}, the group of users who can read the profile"
        )
    if options["secret_name"] and not options["secret_namespace"]:
        raise OptionError(f"{name('secret_name')} needs {name('secret_namespace')}")
    places = [options["env_file"], options["profile_file"]]
    if options["secret_name"]:
        places.append(f"{options['secret_name']}{options['secret_namespace']}")
    if is_multi_user and any(place and USER_PLACEHOLDER not in place for place in places):
        raise OptionError(
            f"With several users, {USER_PLACEHOLDER} must be part of {name('env_file')}, of {name('profile_file')}, "
            f"and of {name('secret_name')} or {name('secret_namespace')}"
        )


def check_file_name(options: Mapping[str, Any], user: str) -> None:
    """Check that the name of a user can be part of the path of a file, and leads to no other directory.

    :raises OptionError: if it cannot.
    """
    if _has_file_of_user(options) and not _is_file_name(user):
        raise OptionError(
            f"users contains {user!r}, which cannot be part of the path of a file; use a name without /, $ and ~"
        )


def handover(
    options: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    base_url: str,
    warn: Callable[[str], None],
    *,
    remove: bool,
) -> list[dict[str, Any]]:
    """Return for each key where it is written and what, or where it is removed from. Empty if there is no such place.

    A key without a user has no place whose name contains a user. A user whose name leads to another directory has no
    file.

    :param entries: entries of the result.
    """
    if not any(options[name] for name in ("env_file", "profile_file", "secret_name")):
        return []
    written = [entry for entry in entries if remove or entry["key"]]
    for user in [entry["user"] for entry in written if entry.get("user") and _has_file_of_user(options)]:
        if not _is_file_name(user):
            warn(f"The files of user {user!r} are left alone, because the name cannot be part of the path of a file")
    return [
        _handover(options, entry, {} if remove else environment_variables(entry, base_url), remove) for entry in written
    ]


def _handover(
    options: Mapping[str, Any], entry: Mapping[str, Any], variables: Mapping[str, str], remove: bool
) -> dict[str, Any]:
    user, alias = entry.get("user") or "", entry["key_alias"]
    places = {name: (options[name] or "").replace(USER_PLACEHOLDER, user) for name in _PLACES}
    for name in ("env_file", "profile_file", "secret_name"):
        has_user = any(USER_PLACEHOLDER in (options[one] or "") for one in _PLACES_OF[name])
        if has_user and not (user if name == "secret_name" else _is_file_name(user)):
            places[name] = ""
    assignments = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    return {
        "key_alias": alias,
        "state": "absent" if remove else "present",
        "handover_host": options["handover_host"] or "",
        **places,
        "env_content": "".join(assignments),
        # By this line, the profile is recognized when it is removed.
        "profile_header": f"# Virtual key {alias}, written by rhpds.litellm_virtual_keys",
        "profile_content": "".join(f"export {assignment}" for assignment in assignments),
        "variables": variables,
    }


def _has_file_of_user(options: Mapping[str, Any]) -> bool:
    return any(USER_PLACEHOLDER in (options[name] or "") for name in ("env_file", "profile_file"))


def _is_file_name(user: str) -> bool:
    """Return whether a name leads to no other directory, also where variables and home directories are expanded."""
    return user not in ("", ".", "..") and not any(sign in user for sign in "/$~")


def environment_variables(entry: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """Return the environment variables with which clients use a key."""
    return {
        "LITELLM_API_URL": base_url,
        "LITELLM_API_KEY": entry["key"],
        # The names come from the proxy. A line break in one could end the block in the file, or start a variable.
        "LITELLM_MODELS": printable(",".join(entry["models"] or ())),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": entry["key"],
    }
