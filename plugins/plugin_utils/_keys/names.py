# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of keys: their aliases and ids.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re

from .._errors import OptionError

# What an alias starts with, before the guid, unless the user sets another prefix.
DEFAULT_ALIAS_PREFIX = "virtkey-"
# The alias of a key that replaces another is that one's alias with this suffix, until the other is deleted.
SUCCESSOR_SUFFIX = ".replacement"
# The alias of a key that was rotated is that of the current key with this suffix, until its overlap ends.
PREVIOUS_SUFFIX = ".previous"
# LiteLLM accepts any text; its optional format check (>= 1.82) allows 255 characters.
MAX_ALIAS_LENGTH = 255


def successor_alias(alias: str) -> str:
    """Return the alias of a key that replaces the one with this alias, until that one is deleted or retired."""
    return f"{alias}{SUCCESSOR_SUFFIX}"


def previous_alias(alias: str) -> str:
    """Return the alias of the key that a key with this alias has replaced, while both work."""
    return f"{alias}{PREVIOUS_SUFFIX}"


def guid_in_alias(alias: str, prefix: str) -> str | None:
    """Return what follows the prefix in an alias; None if it does not start with it."""
    return alias.removeprefix(prefix) if alias.startswith(prefix) else None


def checked_alias(alias: str, option: str = "key_alias") -> str:
    """Return the alias if every release of LiteLLM accepts it and returns it unchanged.

    LiteLLM >= 1.93 refuses control characters and path traversal. All releases accept an empty alias at creation, and
    list every key for one.

    :raises OptionError: otherwise.
    """
    shown = repr(alias if len(alias) <= 60 else alias[:57] + "...")
    if not alias.strip():
        raise OptionError(f"{option} is empty; it must name the key")
    if alias != alias.strip():
        raise OptionError(f"{option} {shown} starts or ends with white space")
    if not alias.isprintable():
        raise OptionError(f"{option} {shown} contains a character that is not printable")
    if ".." in alias.split("/"):
        raise OptionError(f"{option} {shown} contains '..' between slashes, which LiteLLM refuses")
    if len(alias) > MAX_ALIAS_LENGTH:
        raise OptionError(
            f"{option} {shown} makes an alias of {len(alias)} characters; at most {MAX_ALIAS_LENGTH} are allowed"
        )
    return alias


def checked_id(key_id: str) -> str:
    """Return the key id if it is valid.

    :raises OptionError: otherwise, without quoting it: it may be a secret.
    """
    if not re.fullmatch("[0-9a-f]{64}", key_id):
        raise OptionError("key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret")
    return key_id
