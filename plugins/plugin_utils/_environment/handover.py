# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where keys are written besides user data: environment files, shell profiles, Secrets of a cluster.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._errors import OptionError
from .._text import Wording, printable
from .members import USER_PLACEHOLDER
from .records import HANDOVER, SavedKey

# Each place, and the options that it consists of.
_PLACES_OF = {
    "env_file": ("env_file", "env_file_owner"),
    "profile_file": ("profile_file", "profile_group"),
    "secret_name": ("secret_name", "secret_namespace"),
}
_PLACES = tuple(name for names in _PLACES_OF.values() for name in names)
_FILES = ("env_file", "profile_file")
# The host of files that later runs update and remove although no option names them.
CONTROLLER = "localhost"
_REPLACED = ("created", "regenerated")
_REMOVED = ("deleted", "absent")


@dataclass(frozen=True)
class Remembered:
    """Where earlier runs have written keys, by alias.

    :ivar files: the places of files that exist on the controller.
    :ivar others: Secrets, and files on other hosts, in words. They may no longer exist.
    :ivar aliases: the keys of which it is known whether they were written anywhere.
    """

    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    aliases: frozenset[str] = frozenset()


def remembered_places(known: Iterable[SavedKey], guid: str, exists: Callable[[str], bool]) -> Remembered:
    """Return where earlier runs have written the keys of an environment, from what was saved beside the keys.

    :param exists: returns whether a file exists on the controller.
    """
    files, others, aliases = {}, {}, set()
    for key in known:
        if key.guid != guid:
            continue
        aliases.add(key.alias)
        saved = key.record.get(HANDOVER)
        saved = saved if isinstance(saved, Mapping) else {}
        places = {name: saved[name] for name in ("handover_host", *_PLACES) if isinstance(saved.get(name), str)}
        is_here = places.get("handover_host") == CONTROLLER
        # A file that somebody has removed is not created again.
        here = {name for name in _FILES if is_here and places.get(name) and exists(places[name])}
        if here:
            unused = {*_PLACES_OF, *_PLACES_OF["secret_name"]} - here
            files[key.alias] = {name: value for name, value in places.items() if name not in unused}
        elsewhere = {name: value for name, value in places.items() if not (is_here and name in _FILES)}
        if words := describe_places(elsewhere):
            others[key.alias] = words
    return Remembered(files, others, frozenset(aliases))


def describe_places(places: Mapping[str, Any]) -> list[str]:
    """Return the files and the Secret in words."""
    host = places.get("handover_host")
    on_host = f" on {host}" if host and host != CONTROLLER else ""
    found = [f"{_relative(places[name])}{on_host}" for name in _FILES if places.get(name)]
    if places.get("secret_name"):
        found.append(f"Secret {places['secret_name']} in namespace {places.get('secret_namespace')}")
    return found


def is_on_controller(host: str, own_host: str, transport: str) -> bool:
    """Return whether files are written on the controller.

    :param host: where they are written.
    :param own_host: the host of the task, and how Ansible connects to it.
    """
    return host == CONTROLLER or (host == own_host and transport == "local")


def places_to_save(
    options: Mapping[str, Any], lists: Mapping[str, str], user: str | None, *, is_controller: bool
) -> dict[str, Any]:
    """Return what is saved, for later runs, of where a key is written besides user data.

    :param lists: the paths of the files that list the key, by the option that names them.
    :param is_controller: the files are on the controller.
    """
    saved: dict[str, Any] = dict(lists)
    places = {name: value for name, value in _places_of(options, user or "").items() if value}
    if any(places.get(name) for name in _PLACES_OF):
        saved[HANDOVER] = {**places, "handover_host": CONTROLLER if is_controller else options["handover_host"] or ""}
    return saved


def absolute_files(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options for files on the controller, relative to the current directory as all its other files.

    The module that writes them would start from another directory. It expands the others itself.
    """
    given = {name: options[name] for name in _FILES if options[name]}
    return {name: path if path.startswith(("~", "$")) else str(Path(path).absolute()) for name, path in given.items()}


def _relative(path: str) -> str:
    return path.removeprefix(f"{Path.cwd()}/")


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
    remembered: Remembered | None = None,
) -> list[dict[str, Any]]:
    """Return for each key where it is written and what, or where it is removed from. Empty if there is no such place.

    Without such an option, a key that was replaced or deleted is written to the files that contain it, or removed.

    A key without a user has no place whose name contains a user. A user whose name leads to another directory has no
    file.

    :param entries: entries of the result.
    """
    written = [entry for entry in entries if remove or entry["key"]]
    if not has_places(options):
        files = remembered.files if remembered else {}
        written = [one for one in written if one["operation"] in (_REMOVED if remove else _REPLACED)]
        return [
            _handover({**dict.fromkeys(_PLACES, ""), **files[entry["key_alias"]]}, entry, base_url, remove)
            for entry in written
            if entry["key_alias"] in files
        ]
    for user in [entry["user"] for entry in written if entry.get("user") and _has_file_of_user(options)]:
        if not _is_file_name(user):
            warn(f"The files of user {user!r} are left alone, because the name cannot be part of the path of a file")
    return [
        _handover(
            {**_places_of(options, entry.get("user") or ""), "handover_host": options["handover_host"] or ""},
            entry,
            base_url,
            remove,
        )
        for entry in written
    ]


def has_places(options: Mapping[str, Any]) -> bool:
    """Return whether an option says where keys are written."""
    return any(options[name] for name in _PLACES_OF)


def not_updated(
    entries: Iterable[Mapping[str, Any]], handed_over: Iterable[Mapping[str, Any]], remembered: Remembered
) -> list[str]:
    """Return in words where replaced or deleted keys are left.

    :param handed_over: what `handover` has returned.
    """
    updated = {(one["key_alias"], words) for one in handed_over for words in describe_places(one)}
    gone = (entry["key_alias"] for entry in entries if entry["operation"] in (*_REPLACED, *_REMOVED))
    return [
        words
        for alias in gone
        for words in (*describe_places(remembered.files.get(alias, {})), *remembered.others.get(alias, ()))
        if (alias, words) not in updated
    ]


def _places_of(options: Mapping[str, Any], user: str) -> dict[str, str]:
    """Return where the key of a user is written."""
    places = {name: (options[name] or "").replace(USER_PLACEHOLDER, user) for name in _PLACES}
    for name in _PLACES_OF:
        has_user = any(USER_PLACEHOLDER in (options[one] or "") for one in _PLACES_OF[name])
        if has_user and not (user if name == "secret_name" else _is_file_name(user)):
            places[name] = ""
    return places


def _handover(places: Mapping[str, str], entry: Mapping[str, Any], base_url: str, remove: bool) -> dict[str, Any]:
    alias, variables = entry["key_alias"], {} if remove else environment_variables(entry, base_url)
    assignments = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    return {
        "key_alias": alias,
        "state": "absent" if remove else "present",
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
