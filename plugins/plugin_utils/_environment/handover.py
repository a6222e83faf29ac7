# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where keys are written besides user data: environment files, shell profiles, Secrets of a cluster.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import OptionError
from .members import USER_PLACEHOLDER

_PLACES = ("env_file", "env_file_owner", "profile_file", "profile_group", "secret_name", "secret_namespace")


def check_handover(options: Mapping[str, Any], is_multi_user: bool, prefix: str = "") -> None:
    """Check that each key has a place of its own.

    :raises OptionError: if it has not, or if an option is missing.
    """
    if options["profile_file"] and not options["profile_group"]:
        raise OptionError(
            f"{prefix}profile_file needs {prefix}profile_group, the group of users who can read the profile"
        )
    if options["secret_name"] and not options["secret_namespace"]:
        raise OptionError(f"{prefix}secret_name needs {prefix}secret_namespace")
    places = [options["env_file"], options["profile_file"]]
    if options["secret_name"]:
        places.append(f"{options['secret_name']}{options['secret_namespace']}")
    if is_multi_user and any(place and USER_PLACEHOLDER not in place for place in places):
        raise OptionError(
            f"With several users, {USER_PLACEHOLDER} must be part of {prefix}env_file, of {prefix}profile_file, and of "
            f"{prefix}secret_name or {prefix}secret_namespace"
        )


def check_file_name(options: Mapping[str, Any], user: str) -> None:
    """Check that the name of a user can be part of the path of a file, and leads to no other directory.

    :raises OptionError: if it cannot.
    """
    has_file = any(USER_PLACEHOLDER in (options[name] or "") for name in ("env_file", "profile_file"))
    if has_file and ("/" in user or user in (".", "..")):
        raise OptionError(f"users contains {user!r}, which cannot be part of the path of a file; use a name without /")


def handover(
    options: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], base_url: str, *, remove: bool
) -> list[dict[str, Any]]:
    """Return for each key where it is written and what, or where it is removed from. Empty if there is no such place.

    :param entries: entries of the result.
    """
    if not any(options[name] for name in ("env_file", "profile_file", "secret_name")):
        return []
    state = "absent" if remove else "present"
    return [
        {
            "key_alias": entry["key_alias"],
            "state": state,
            "handover_host": options["handover_host"] or "",
            **{name: (options[name] or "").replace(USER_PLACEHOLDER, entry.get("user") or "") for name in _PLACES},
            "variables": {} if remove else environment_variables(entry, base_url),
        }
        for entry in entries
        if remove or entry["key"]
    ]


def environment_variables(entry: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """Return the environment variables with which clients use a key."""
    return {
        "LITELLM_API_URL": base_url,
        "LITELLM_API_KEY": entry["key"],
        "LITELLM_MODELS": ",".join(entry["models"] or ()),
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": entry["key"],
    }
