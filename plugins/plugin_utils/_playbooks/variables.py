# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Translate the variables that a person sets on the command line of a playbook. Pure functions.

The playbooks accept short names beside the prefixed variables of the role. Only extra variables are translated: a
variable of an inventory, or of a catalog item, can have the same name and another meaning.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._errors import OptionError

# A platform that passes these as extra variables also passes those of all its workloads, so no short name is read.
_OF_CATALOG_ITEMS = frozenset({"__meta__", "cloud_provider"})
# A file of a catalog item has these, too. The first one takes precedence.
ACTION_VARIABLES = ("agnosticd_action", "ACTION")
PLATFORM_VARIABLES = _OF_CATALOG_ITEMS | set(ACTION_VARIABLES)

# The others are named after their operation.
OPERATION_OF_PLAYBOOK = {"rotate_keys": "rotate_old"}
# Where Ansible puts what is on the command line without a name.
_UNNAMED = "_raw_params"
# What people write for a variable whose name is not similar.
_SYNONYMS = {
    "budget": "max_budget",
    "expires": "expires_at",
    "expiry": "expires_at",
    "expiration": "expires_at",
    "lifetime": "duration",
    "ttl": "duration",
    "seed": "key_seed",
    "csv_file": "keys_file",
    "url": "litellm_url",
    "master_key": "litellm_master_key",
    "validate_certs": "litellm_validate_certs",
    "verify_ssl": "litellm_validate_certs",
    "ca_path": "litellm_ca_path",
}
# Settings that a user who is added does not share with the others.
_OWN_SETTINGS = {"user_id", "blocked"}
# From this similarity on, an unknown variable is a misspelled one.
_SIMILARITY = 0.8


@dataclass(frozen=True)
class Names:
    """The variables of a playbook.

    :ivar short: the variable that each short name stands for.
    :ivar settings: short names for members of the dictionary in the variable `settings_variable`.
    :ivar members: further names for members of dictionaries, by the variable with the dictionary.
    :ivar other: further variables that the playbook reads.
    :ivar prefix: what the long names start with.
    """

    short: Mapping[str, str]
    settings: Collection[str] = ()
    settings_variable: str = ""
    members: Mapping[str, Collection[str]] = field(default_factory=dict)
    other: Collection[str] = ()
    prefix: str = ""

    @property
    def all(self) -> set[str]:
        """The names that can be set."""
        members = (name for names in self.members.values() for name in names)
        return {*self.short, *self.short.values(), *self.settings, *members, *self.other}


@dataclass(frozen=True)
class Translation:
    """The result of a translation.

    :ivar variables: the values of variables that were set by a short name.
    :ivar typed: for each short name, what messages call its variable.
    :ivar unread: short names that were set and are not read.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def translate(extra: Mapping[str, Any], names: Names, known_elsewhere: Collection[str] = ()) -> Translation:
    """Return the variables that the extra variables set by short names.

    :param extra: the extra variables with their values.
    :param known_elsewhere: variables of other playbooks, which are ignored.
    :raises OptionError: for a variable that is set twice, and for an unknown variable with a similar name.
    """
    typed = {short: long if long in extra else short for short, long in names.short.items()}
    if PLATFORM_VARIABLES & set(extra):
        own = {*names.short, *names.settings} - set(names.short.values())
        # With the variables of all workloads of a catalog item, those of others could have such a name.
        return Translation(typed=typed, unread=[] if _OF_CATALOG_ITEMS & set(extra) else sorted(own & set(extra)))
    if _UNNAMED in extra:
        raise OptionError(
            "A value of -e has a space and no quotes, so that only its first part was read; write lists without spaces "
            "(-e models=a,b), and other values in quotes of their own (-e \"duration='7 days'\")"
        )
    for name in sorted(set(extra) - names.all - set(known_elsewhere)):
        if similar := similar_name(name, names):
            raise OptionError(f"There is no variable {name}; did you mean {similar}?")
    variables: dict[str, Any] = {}
    for short, long in names.short.items():
        if short not in extra or short == long:
            continue
        if long in extra:
            raise OptionError(f"{short} and {long} are the same variable; set one of them")
        variables[long] = extra[short]
    if names.short.get("user_count") in variables and not set(extra) & {
        "multi_user",
        "ocp4_workload_multi_user",
        names.short["multi_user"],
    }:
        variables[names.short["multi_user"]] = True
    if settings := {name: extra[name] for name in names.settings if name in extra}:
        variables[names.settings_variable] = _merged_settings(extra, names, settings)
    for variable, members in names.members.items():
        if given := {name: extra[name] for name in members if name in extra}:
            if variable in extra or variable in variables:
                other = variable if variable in extra else typed_of(variable, names)
                raise OptionError(f"{other} and {next(iter(given))} are both set; set one of them")
            variables[variable] = given
    return Translation(variables, typed)


def typed_of(variable: str, names: Names) -> str:
    """Return the short name of a variable."""
    return next(short for short, long in names.short.items() if long == variable)


def check_operation(extra: Mapping[str, Any], playbook: str, operations: Mapping[str, str]) -> str:
    """Return the operation of a playbook for one environment, which its name says.

    :param extra: the extra variables with their values; one that requests an operation would override the playbook.
    :param operations: the operations, by the values of these variables.
    :raises OptionError: if such a variable requests another operation.
    """
    operation = OPERATION_OF_PLAYBOOK.get(playbook, playbook.removesuffix("_key"))
    for name in ACTION_VARIABLES:
        value = extra.get(name)
        requested = operations.get(str(value))
        if value is not None and requested != operation:
            playbooks = {operation: name for name, operation in OPERATION_OF_PLAYBOOK.items()}
            other = f", or run {playbooks.get(requested, f'{requested}_key')}" if requested else ""
            raise OptionError(
                f"{name} is '{value}', but the playbook {playbook} runs {operation}. Remove it from the extra "
                f"variables{other}"
            )
    return operation


def default_output_dir(guid: str) -> str:
    """Return the directory of the saved keys of an environment, relative to the current directory."""
    return f"virtual_keys/{re.sub('[^A-Za-z0-9-]', '_', guid)}"


def similar_name(name: str, names: Names) -> str | None:
    """Return the variable that was probably meant by an unknown one, or None."""
    # Compared without the prefix, which would make all long names similar.
    if names.prefix and name.startswith(names.prefix):
        stem = name.removeprefix(names.prefix)
        close = difflib.get_close_matches(stem, _stems(names), n=1, cutoff=_SIMILARITY)
        return names.prefix + close[0] if close else None
    if (synonym := _SYNONYMS.get(name)) in names.all:
        return synonym
    candidates = [one for one in names.all if not (names.prefix and one.startswith(names.prefix))]
    close = difflib.get_close_matches(name.replace("-", "_"), sorted(candidates), n=1, cutoff=_SIMILARITY)
    return close[0] if close else None


def _stems(names: Names) -> Iterable[str]:
    return sorted(one.removeprefix(names.prefix) for one in names.short.values() if one.startswith(names.prefix))


def _merged_settings(extra: Mapping[str, Any], names: Names, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with those that were set by names of their own."""
    given_names = [one for one in (names.settings_variable, _short_of(names)) if one in extra]
    merged: dict[str, Any] = {}
    for source in given_names:
        if not isinstance(extra[source], Mapping):
            raise OptionError(f"{source} must be a dictionary if {', '.join(settings)} is set, too")
        merged.update(extra[source])
    for name in settings:
        if name in merged:
            raise OptionError(f"{name} is set, and is also in {given_names[0]}; set it once")
    return {**merged, **settings}


def _short_of(names: Names) -> str:
    return next((short for short, long in names.short.items() if long == names.settings_variable), "")


def like_others(translated: Mapping[str, Any], record: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return the variables that give a user who is added the same settings and the same end as another user has.

    :param translated: variables that are set.
    :param record: the saved record of the key of another user.
    """
    settings = record.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    values = {"models": settings.get("models") or [], "max_budget": settings.get("max_budget")}
    if not any(names.short[name] in translated for name in ("expires_at", "runtime", "duration")):
        values["expires_at" if record.get("expires") else "duration"] = record.get("expires") or ""
    found = {names.short[name]: value for name, value in values.items() if names.short[name] not in translated}
    # The keys that share a budget are in a team of their own.
    left_out = _OWN_SETTINGS | (
        {"team_id"} if translated.get(names.short["shared_budget"]) not in (None, "") else set()
    )
    others = {
        name: settings[name]
        for name in names.settings
        if name not in left_out and settings.get(name) not in (None, "", [], {})
    }
    if others and names.settings_variable not in translated:
        found[names.settings_variable] = others
    return found
