# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of `litellm_key` to the keys that are wanted. Pure functions, and a sentence for what is wrong.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import (
    KEY_TYPES,
    SETTINGS,
    Lifetime,
    Wanted,
    checked_alias,
    checked_id,
    setting,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import (
    CONNECTION,
    Option,
    is_vaulted,
    typed,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, derive, given
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import SavedKey

SECRETS = ("key", "key_seed")
_NAMES = ("guid", "key_alias", "key_id")
_LIFETIME = ("expires_at", "runtime", "duration")
_EITHER_OR = (SECRETS, ("key_type", "allowed_routes"), ("soft_budget", "budget_id"))
_NUMBERS = ("int", "float")
# In what is asked for each of many users: that user.
_USER = "{user}"

_SETTINGS = {
    **{name: Option(known.kind) for name, known in SETTINGS.items()},
    "key_type": Option(choices=KEY_TYPES),
}
KEY = {
    "guid": Option(),
    "alias_prefix": Option(default="virtkey-"),
    "key_alias": Option(),
    "key_id": Option(),
    "state": Option(default="present", choices=("present", "absent")),
    "key": Option(secret=True),
    "key_seed": Option(secret=True),
    "key_version": Option("int", 1),
    "regenerate": Option(default="never", choices=("never", "if_unrecoverable", "always")),
    "on_unknown_key": Option(default="ignore", choices=("ignore", "fail")),
    "on_missing_key": Option(default="create", choices=("create", "recreate", "ignore")),
    "expires_at": Option("raw"),
    "runtime": Option("raw"),
    "duration": Option("raw"),
    "duration_from": Option(default="creation", choices=("creation", "now")),
    "shorten": Option("bool", True),
    **_SETTINGS,
    "on_create": Option("dict"),
    "extra_params": Option("dict"),
    "unset": Option("list of str"),
}
OPTIONS = {
    **CONNECTION,
    **KEY,
    "users": Option("list of str"),
    "users_of": Option(),
    "virtual_keys": Option("list", secret=True),
    "settings": Option("dict", secret=True),
    "recall": Option("bool", False),
    "on_unknown_models": Option(default="fail", choices=("fail", "warn", "ignore")),
}
# What `settings` may hold.
_IN_SETTINGS = set(KEY) - {*_NAMES, "alias_prefix", "state"} | {"on_unknown_models"}


def complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with those in `settings`, which come before the others.

    :raises OptionError: when `settings` holds what cannot be there.
    """
    own = {name: value for name, value in arguments.items() if name != "settings"}
    further = typed({"settings": OPTIONS["settings"]}, {"settings": arguments.get("settings")}, "it")["settings"] or {}
    for name in further:
        if name not in _IN_SETTINGS:
            raise OptionError(f"settings has '{name}'; it can have {', '.join(sorted(_IN_SETTINGS))}")
    common, metadata = own.get("metadata"), further.get("metadata")
    if isinstance(common, Mapping) and isinstance(metadata, Mapping):  # of anything else is complained later
        further = {**further, "metadata": {**common, **metadata}}
    return _overridden(own, further)


def all_wanted(
    options: Mapping[str, Any], arguments: Mapping[str, Any], users: Sequence[str | None] = (None,)
) -> list[Wanted]:
    """The keys that are asked for, in that order.

    :param options: all options with their values.
    :param arguments: those that were given.
    :param users: one key for each of them; None is the environment itself.
    :raises OptionError: when they cannot be.
    """
    if options["virtual_keys"] is None:
        wanted = [_wanted(options, options["master_key"], user) for user in users]
    else:
        wanted = _listed(options, arguments)
    names = [key.alias or key.key_id for key in wanted]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        source = "users" if options["virtual_keys"] is None else "virtual_keys"
        raise OptionError(f"{source} names {', '.join(twice)} more than once")
    return wanted


def base_alias(options: Mapping[str, Any]) -> str:
    """The alias that those of an environment's users begin with.

    :raises OptionError: when there is none.
    """
    alias, _key_id = _identity(options)
    if alias is None:
        raise OptionError("users need guid or key_alias: the alias of each key is that, a hyphen and the user")
    return alias


def with_saved(wanted: Sequence[Wanted], saved: Sequence[SavedKey]) -> list[Wanted]:
    """The same with what was saved: the secrets, and for a key that is to come back also its models and its user."""
    by_alias: dict[str | None, list[SavedKey]] = {}
    for key in saved:
        by_alias.setdefault(key.alias, []).append(key)
    complete = []
    for one in wanted:
        mine = by_alias.get(one.alias, [])
        initial = dict(one.initial)
        if one.missing == "recreate":
            for name in ("models", "user_id"):
                had = [value for key in mine if (value := getattr(key, name)) is not None]
                initial.update((name, value) for value in had[:1])
        known = tuple(Secret(key.secret, "given") for key in mine)
        complete.append(replace(one, known=known, initial=initial))
    return complete


def _listed(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Wanted]:
    for name in (*_NAMES, "users", "users_of"):
        if options[name]:
            raise OptionError(f"{name} and virtual_keys both say which keys; give one of them")
    common = {name: value for name, value in arguments.items() if name in KEY}
    wanted = []
    for index, one in enumerate(options["virtual_keys"]):
        where = f"virtual_keys[{index}]"
        if not isinstance(one, Mapping):
            raise OptionError(f"{where} must be a dictionary like {{guid: user1}}")
        try:
            wanted.append(_wanted(typed(KEY, _overridden(common, one), "it"), options["master_key"]))
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None
    return wanted


def _overridden(common: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one key: its own, and where it says nothing the common ones."""
    given = {name for name, value in one.items() if value not in (None, "")}
    own_unset = set(one["unset"]) if isinstance(one.get("unset"), list) else set()
    # Of several ways to say one thing, its own counts.
    silent = {name for names in (_LIFETIME, *_EITHER_OR) if given & {*names} for name in names} | own_unset
    if "expires_at" in own_unset:
        silent.update(_LIFETIME)
    kept = {name: value for name, value in common.items() if name not in silent}
    if isinstance(kept.get("unset"), list):  # of anything else is complained later
        said = given | (set(_LIFETIME) if given & {*_LIFETIME} else set())
        kept["unset"] = [name for name in kept["unset"] if name not in said]
    own = {name: value for name, value in one.items() if name not in common or name in given}
    return {**kept, **own}


def _wanted(options: Mapping[str, Any], master_key: str | None, user: str | None = None) -> Wanted:
    alias, key_id = _identity(options)
    if user is not None:
        if options["key"]:
            raise OptionError("key is one secret, and users are many; derive theirs from a key_seed")
        if not user:
            raise OptionError("users has an empty name")
        alias = checked_alias(f"{base_alias(options)}-{user}", "users")
    for one, other in _EITHER_OR:
        if options[one] not in (None, "") and options[other] not in (None, ""):
            raise OptionError(f"{one} and {other} cannot both be given")
    if options["regenerate"] != "never" and alias is None:
        raise OptionError("regenerate needs guid or key_alias: it makes another key, with another key_id")
    settings, initial = (_of_user(named, user) for named in (_settings(options), _initial(options)))
    if user is None and options.get("users_of"):
        settings, initial = _of_nobody(settings), _of_nobody(initial)
    return Wanted(
        alias=alias,
        key_id=key_id,
        guid=options["guid"],
        user=user,
        present=options["state"] == "present",
        settings=settings,
        initial=initial,
        lifetime=_lifetime(options),
        secret=_secret(options, alias, master_key),
        secret_required=options["on_unknown_key"] == "fail",
        regenerate=options["regenerate"],
        missing=options["on_missing_key"],
    )


def _of_user(settings: dict[str, Any], user: str | None) -> dict[str, Any]:
    """The settings of one of many users, in which that one is named."""
    if user is None:
        return settings

    def named(value: Any) -> Any:
        return value.replace(_USER, user) if isinstance(value, str) else value

    told = {name: named(settings[name]) for name in ("user_id",) if name in settings}
    if isinstance(settings.get("metadata"), Mapping):
        told["metadata"] = {name: named(value) for name, value in settings["metadata"].items()}
    return {**settings, **told}


def _of_nobody(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the one key of an environment that might have had users: what names a user is not for it."""
    metadata = settings.get("metadata")
    if not isinstance(metadata, Mapping):
        return settings
    kept = {name: value for name, value in metadata.items() if not (isinstance(value, str) and _USER in value)}
    return {**settings, "metadata": kept}


def _identity(options: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The alias or the id of the key."""
    names = [name for name in _NAMES if options[name] is not None]
    if len(names) != 1:
        found = f"{' and '.join(names)} are given" if names else "none is given"
        raise OptionError(f"exactly one of guid, key_alias and key_id must name the key, but {found}")
    if names == ["key_id"]:
        return None, checked_id(options["key_id"])
    if names == ["guid"]:
        if not options["guid"]:
            raise OptionError("guid is empty; it must name the environment")
        return checked_alias(options["alias_prefix"] + options["guid"], "guid"), None
    return checked_alias(options["key_alias"]), None


def _secret(options: Mapping[str, Any], alias: str | None, master_key: str | None) -> Secret | None:
    if options["key"]:
        return given(options["key"])
    if not options["key_seed"]:
        return None
    if alias is None:
        raise OptionError("key_seed needs guid or key_alias: the secret is derived from the alias")
    return derive(options["key_seed"], alias, options["key_version"], master_key=master_key)


def _lifetime(options: Mapping[str, Any]) -> Lifetime | None:
    """`expires_at` before `runtime` before `duration`; empty means not given."""
    shorten = options["shorten"]
    if "expires_at" in (options["unset"] or ()):
        if given_too := [name for name in _LIFETIME if options[name] not in (None, "")]:
            raise OptionError(f"{given_too[0]} is given, but expires_at is in unset")
        return Lifetime(None)
    if options["expires_at"] not in (None, ""):
        return Lifetime(parse_instant(options["expires_at"]), shorten=shorten)
    for name in ("runtime", "duration"):
        if options[name] not in (None, ""):
            return Lifetime(parse(options[name]), from_now=options["duration_from"] == "now", shorten=shorten)
    return None


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = dict(options["extra_params"] or {})
    for name in settings:
        if name in OPTIONS or any(name == known.field for known in SETTINGS.values()):
            raise OptionError(f"extra_params has '{name}', which is an option of its own")
        if name in ("duration", "expires", "token", "key_name"):
            raise OptionError(f"extra_params cannot have '{name}'")
    settings.update(_values(options))
    for name in options["unset"] or ():
        if name not in SETTINGS and name != "expires_at":
            raise OptionError(f"unset has '{name}'; it can have expires_at, {', '.join(sorted(SETTINGS))}")
        if options[name] not in (None, ""):
            raise OptionError(f"{name} is both given and in unset")
        if name in SETTINGS:
            settings[name] = setting(name).nothing
    return _as_json(settings)


def _initial(options: Mapping[str, Any]) -> dict[str, Any]:
    """What only a new key gets."""
    given_too = options["on_create"] or {}
    try:
        return _as_json(_values(typed(_SETTINGS, given_too, "It")))
    except OptionError as error:
        problem = f"on_create: {error}"
    raise OptionError(problem)


def _values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are given."""
    settings: dict[str, Any] = {}
    for name, known in SETTINGS.items():
        value = options[name]
        if value is None or value == "":
            continue
        if known.kind in _NUMBERS and not (math.isfinite(value) and value >= 0):
            raise OptionError(f"{name} is {value:g}; it must be 0 or more")
        settings[name] = str(parse(value)) if name == "budget_duration" else value
    return settings


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As LiteLLM gives it back: YAML has dates, and names that are no text; ansible-core has types of its own."""

    def text(value: Any) -> str:
        if isinstance(value, date):
            return value.isoformat()
        if is_vaulted(value):
            return str(value)
        raise TypeError(f"a value of type {type(value).__name__}")

    try:
        read: dict[str, Any] = json.loads(json.dumps(settings, default=text))
        for part in _texts(read):
            part.encode()  # half a character cannot be
            if "\0" in part:
                raise ValueError("the character zero, which PostgreSQL does not store")
    except (TypeError, ValueError) as error:
        problem = f"A setting holds what JSON cannot: {error}"
    else:
        return read
    raise OptionError(problem)


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    for part in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(part)
