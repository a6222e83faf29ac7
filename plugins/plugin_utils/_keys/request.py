# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the options of `litellm_key` into desired keys. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .._errors import OptionError, naming
from .durations import MAX_YEAR, parse, parse_instant, parse_with_unit
from .model import DesiredKey, Lifetime
from .names import checked_alias, checked_id
from .rotation import Rotation, parse_rotation
from .secrets import LATER_VERSIONS, Secret, SecretVersions, derive, given, later_key_ids
from .settings import SETTINGS, setting

IDENTITY_OPTIONS = ("guid", "key_alias", "key_id")
LIFETIME_OPTIONS = ("expires_at", "runtime", "duration")
# Only one option of each group may be given.
EXCLUSIVE_OPTIONS = (("key", "key_seed"), ("key_type", "allowed_routes"), ("soft_budget", "budget_id"))

# Neither has an effect without the other.
TEMPORARY_BUDGET = ("temp_budget_increase", "temp_budget_expiry")
# Two options that LiteLLM stores together only. The first one alone can be false.
SENT_TOGETHER = (("auto_rotate", "rotation_interval"), TEMPORARY_BUDGET)

# The options of one key, all of them, with coerced values; None stands for an option that is not given.
KeyOptions = Mapping[str, Any]

_NOT_EXTRA_PARAMS = ("duration", "expires", "token", "key_name")


def desired_keys(each: Sequence[KeyOptions], master_key: str | None, *, in_list: bool) -> list[DesiredKey]:
    """Return the desired keys in the order of their options.

    :param in_list: they are those of `virtual_keys`.
    :raises OptionError: if options contradict each other, or name a key more than once.
    """
    keys = []
    for index, options in enumerate(each):
        try:
            keys.append(desired_key(options, master_key))
        except OptionError as error:
            where = f"virtual_keys[{index}]: " if in_list else ""
            raise OptionError(f"{where}{error}") from None
    check_unique(keys, "virtual_keys")
    return keys


def check_unique(keys: Sequence[DesiredKey], option: str) -> None:
    """Check that no two keys have the same alias, id or secret.

    :raises OptionError: if they do.
    """
    names = Counter(key.alias or key.key_id for key in keys)
    if repeated := sorted(str(name) for name, count in names.items() if count > 1):
        raise OptionError(f"{option} names {', '.join(repeated)} more than once")
    secrets = [key.secret.value for key in keys if key.present and key.secret]
    if len(set(secrets)) < len(secrets):
        raise OptionError("Several virtual keys have the same secret (key); pass one for each, or a key_seed for all")


def desired_key(options: KeyOptions, master_key: str | None) -> DesiredKey:
    """Return the desired state of one key.

    :param master_key: must differ from `key_seed`.
    :raises OptionError: if options contradict each other or have invalid values.
    """
    alias, key_id = _identity(options)
    for one, other in EXCLUSIVE_OPTIONS:
        if options[one] not in (None, "") and options[other] not in (None, ""):
            raise OptionError(f"{one} and {other} cannot both be given")
    rotation = parse_rotation(options["rotate"])
    for name, is_given in (("regenerate", options["regenerate"] != "never"), ("rotate", rotation is not None)):
        if is_given and alias is None:
            raise OptionError(f"{name} needs guid or key_alias: it creates another key, with another key_id")
    if rotation and options["key"]:
        raise OptionError("rotate and key cannot both be given: each new secret differs from the last one")
    if rotation and options["regenerate"] == "always":
        raise OptionError("rotate and regenerate: always cannot both be given: one replaces only keys that are old")
    if rotation and (options["auto_rotate"] or (options["on_create"] or {}).get("auto_rotate")):
        raise OptionError("rotate and auto_rotate: true cannot both be given: LiteLLM does not return its new secrets")
    return DesiredKey(
        alias=alias,
        key_id=key_id,
        guid=options["guid"],
        present=options["state"] == "present",
        settings=_settings(options),
        creation_settings=_given_settings(options["on_create"], "on_create: "),
        lifetime=_lifetime(options),
        secret=_secret(options, alias, master_key),
        versions=_versions(options, alias, rotation),
        later_ids=_later_ids(options, alias),
        secret_required=options["on_unknown_key"] == "fail",
        regenerate=options["regenerate"],
        rotate=rotation,
        on_missing=options["on_missing_key"],
    )


def override_options(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of one key: its own, and the common ones that they do not override.

    An option overrides its alternatives, too: a key with a `duration` of its own ignores a common `expires_at`.
    """
    named = {name for name, value in own.items() if value not in (None, "")}
    own_unset = set(own["unset"]) if isinstance(own.get("unset"), list) else set()
    overridden = own_unset | {
        name for group in (LIFETIME_OPTIONS, *EXCLUSIVE_OPTIONS) if named & {*group} for name in group
    }
    if "expires_at" in own_unset:
        overridden.update(LIFETIME_OPTIONS)
    kept = {name: value for name, value in common.items() if name not in overridden}
    if isinstance(kept.get("unset"), list):  # any other type is reported later
        set_again = named | (set(LIFETIME_OPTIONS) if named & {*LIFETIME_OPTIONS} else set())
        kept["unset"] = [name for name in kept["unset"] if name not in set_again]
    return {**kept, **{name: value for name, value in own.items() if name not in common or name in named}}


def _identity(options: KeyOptions) -> tuple[str | None, str | None]:
    """Return the alias or the id of the key."""
    names = [name for name in IDENTITY_OPTIONS if options[name] is not None]
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


def _secret(options: KeyOptions, alias: str | None, master_key: str | None) -> Secret | None:
    if options["key"]:
        return given(options["key"])
    if not options["key_seed"]:
        return None
    if alias is None:
        raise OptionError("key_seed needs guid or key_alias: the secret is derived from the alias")
    return derive(options["key_seed"], alias, options["key_version"], master_key=master_key)


def _versions(options: KeyOptions, alias: str | None, rotation: Rotation | None) -> SecretVersions | None:
    if not options["key_seed"] or alias is None:
        return None
    # Without rotation, a later secret counts only if the metadata of the key say that it was rotated.
    looked_for = 1 + LATER_VERSIONS if rotation else 1
    return SecretVersions(options["key_seed"], alias, options["key_version"], looked_for)


def _later_ids(options: KeyOptions, alias: str | None) -> frozenset[str]:
    if options["regenerate"] == "never" or not options["key_seed"] or alias is None:
        return frozenset()
    return later_key_ids(options["key_seed"], alias, options["key_version"])


def _lifetime(options: KeyOptions) -> Lifetime | None:
    """Return the lifetime: `expires_at` before `runtime` before `duration`; empty means not given."""
    shorten = options["shorten"]
    if "expires_at" in (options["unset"] or ()):
        if conflicting := [name for name in LIFETIME_OPTIONS if options[name] not in (None, "")]:
            raise OptionError(f"{conflicting[0]} is given, but expires_at is in unset")
        return Lifetime(None)
    if options["expires_at"] not in (None, ""):
        with naming("expires_at"):
            end = parse_instant(options["expires_at"])
        if end.year > MAX_YEAR:
            raise OptionError(f"expires_at is {options['expires_at']!r}; the year must be {MAX_YEAR} or earlier")
        return Lifetime(end, shorten=shorten)
    for name, read in (("runtime", parse), ("duration", parse_with_unit)):
        if options[name] not in (None, ""):
            with naming(name):
                length = read(options[name])
            return Lifetime(length, from_now=options["duration_from"] == "now", shorten=shorten)
    return None


def _settings(options: KeyOptions) -> dict[str, Any]:
    settings: dict[str, Any] = dict(options["extra_params"] or {})
    for name in settings:
        if name in options or any(name == one.field for one in SETTINGS.values()):
            raise OptionError(f"extra_params contains '{name}', which is an option; use the option instead")
        if name in _NOT_EXTRA_PARAMS:
            raise OptionError(f"extra_params cannot contain '{name}'")
    settings.update(_given_settings(options))
    for name in options["unset"] or ():
        if name not in SETTINGS and name != "expires_at":
            raise OptionError(f"unset contains '{name}'; it can contain expires_at, {', '.join(sorted(SETTINGS))}")
        if options[name] not in (None, ""):
            raise OptionError(f"{name} is given and is also in unset")
        if name in SETTINGS:
            settings[name] = setting(name).cleared_value
        if name in TEMPORARY_BUDGET:
            settings.update(dict.fromkeys(TEMPORARY_BUDGET))
    return settings


def _given_settings(options: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, one in SETTINGS.items():
        value = options.get(name)
        if value is None or value == "":
            continue
        try:
            settings[name] = one.normalize(value)
        except OptionError as error:
            raise OptionError(f"{where}{error}") from None
    for name, other in SENT_TOGETHER:
        if settings.get(name) is False and other in settings:
            raise OptionError(
                f"{where}{other} is given, but {name} is false; remove one of them, or set {name} to true"
            )
        is_set = settings.get(name) is not None and settings[name] is not False
        if is_set != (other in settings):
            needed, by = (other, name) if is_set else (name, other)
            raise OptionError(f"{where}{by} needs {needed}: LiteLLM stores them together only")
    return settings
