# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of facts and user data, and what they contain.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Entry = Mapping[str, Any]

KEY_ALIAS, VIRTUAL_KEY = "key_alias", "virtual_key"
KEY_ALIASES, VIRTUAL_KEYS = "key_aliases", "virtual_keys"
PREFIX = "litellm_"


def _models(entry: Entry) -> list[str]:
    return [str(model) for model in entry["models"] or ()]


# What is reported about one key, each name after the prefix `litellm_`: from an entry of the result.
OF_KEY: dict[str, Callable[[Entry], Any]] = {
    VIRTUAL_KEY: lambda entry: entry["key"],
    KEY_ALIAS: lambda entry: entry["key_alias"],
    "key_id": lambda entry: entry["key_id"],
    "available_models": _models,
    "available_models_list": lambda entry: ", ".join(_models(entry)),
    "key_duration": lambda entry: entry["duration"],
}
# What is reported about each of many users as `litellm_<user>_<name>`.
OF_USER: dict[str, Callable[[Entry], Any]] = {
    VIRTUAL_KEY: OF_KEY[VIRTUAL_KEY],
    KEY_ALIAS: OF_KEY[KEY_ALIAS],
    "key_id": OF_KEY["key_id"],
    "user_email": lambda entry: entry["user_id"],
}
# The lists about all users; the name of the list, and of the value of each user.
LISTS = {
    VIRTUAL_KEYS: VIRTUAL_KEY,
    KEY_ALIASES: KEY_ALIAS,
    "key_ids": "key_id",
    "user_ids": "user_email",
}
USER_COUNT = "user_count"
KEY_DELETED, KEY_WAS_MISSING = f"{PREFIX}key_deleted", f"{PREFIX}key_was_missing"
DOCLING_ENDPOINT, DOCLING_MODEL = f"{PREFIX}docling_endpoint", f"{PREFIX}docling_model"
# The saved keys of all environments, by alias. Only this collection reads it.
RECORDS = f"{PREFIX}keys"


def build_user_data(
    keys: Sequence[Entry], endpoint: str, base_url: str, extra: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the user data for the whole environment, and for each of its users.

    The lab guide of one of many users sees only the data of that user, so they contain everything again. A secret that
    is not known is left out, so that a saved one is kept.

    :param keys: entries of a result.
    :param extra: further data for everybody.
    """
    common = {f"{PREFIX}api_endpoint": endpoint, f"{PREFIX}api_base_url": base_url, **extra}
    of_users = [key for key in keys if key.get("user")]
    users = {
        key["user"]: {**common, **_of_key(key), f"{PREFIX}user_email": OF_USER["user_email"](key)} for key in of_users
    }
    first = next((key for key in keys if not key.get("user")), keys[0])
    data = {**common, **_of_key(first)}
    if of_users:
        data[f"{PREFIX}{USER_COUNT}"] = len(of_users)
        data.update(user_lists(of_users))
        if not all(data[f"{PREFIX}{VIRTUAL_KEYS}"]):
            del data[f"{PREFIX}{VIRTUAL_KEYS}"]
    data.update(by_user(of_users))
    return data, users


def readable_user_data(keys: Sequence[Entry], endpoint: str, base_url: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user data of some keys in the form in which a lab guide reads them; empty without a key."""
    if not keys:
        return {}
    data, users = build_user_data(keys, endpoint, base_url, extra)
    return {**data, "users": users} if users else data


def user_lists(keys: Sequence[Entry]) -> dict[str, list[Any]]:
    """Return the lists about all users."""
    return {f"{PREFIX}{name}": [OF_USER[member](key) for key in keys] for name, member in LISTS.items()}


def by_user(keys: Sequence[Entry]) -> dict[str, Any]:
    """Return the data whose names contain a user, without unknown secrets."""
    return {
        f"{PREFIX}{key['user']}_{name}": read(key)
        for key in keys
        for name, read in OF_USER.items()
        if name != VIRTUAL_KEY or key["key"]
    }


def build_facts(keys: Sequence[Entry], endpoint: str, base_url: str) -> dict[str, Any]:
    """Return every fact; those that do not apply are empty, so that no value of another environment remains.

    :param keys: entries of a result; none after a destroy.
    """
    first = keys[0] if keys else None
    of_users = [key for key in keys if key.get("user")]
    return {
        f"{PREFIX}{VIRTUAL_KEY}": first["key"] or "" if first else "",
        f"{PREFIX}{KEY_ALIAS}": first["key_alias"] if first else "",
        f"{PREFIX}key_id": first["key_id"] or "" if first else "",
        f"{PREFIX}api_endpoint": endpoint if first else "",
        f"{PREFIX}api_base_url": base_url if first else "",
        f"{PREFIX}available_models": _models(first) if first else [],
        f"{PREFIX}key_duration": first["duration"] if first else "",
        f"{PREFIX}key_expires": first["expires"] if first else "",
        **{name: [value or "" for value in values] for name, values in user_lists(of_users).items()},
        "_litellm_user_data": by_user(of_users),
        KEY_DELETED: False,
        KEY_WAS_MISSING: False,
    }


def _of_key(key: Entry) -> dict[str, Any]:
    return {f"{PREFIX}{name}": read(key) for name, read in OF_KEY.items() if name != VIRTUAL_KEY or key["key"]}


def docling_data(options: Mapping[str, Any], endpoint: str) -> dict[str, str]:
    """Return the user data about Docling; empty without it."""
    if not options["include_docling"]:
        return {}
    return {
        DOCLING_ENDPOINT: f"{endpoint}/docling/v1/convert/source",
        DOCLING_MODEL: options["docling_model"],
    }
