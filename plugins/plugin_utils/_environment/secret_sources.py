# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the secrets of existing keys, for actions and lookup in one order: key_seed, user data, the facts of the play.

A secret from these sources proves nothing by itself: its hash is compared with the key id on the proxy.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .records import SavedKey, saved_keys
from .user_data import KEY_ALIAS, KEY_ALIASES, PREFIX, VIRTUAL_KEY, VIRTUAL_KEYS


def known_keys(
    user_data: Mapping[str, Any], read_fact: Callable[[str], Any], aliases: Collection[str] | None = None
) -> Iterator[SavedKey]:
    """Return the keys whose secrets are known from user data and then from the facts of the play.

    :param read_fact: returns the value of a variable, or None.
    :param aliases: the secret of a fact is read only if its alias is one of these: a fact may be a template with a
        lookup of the same key. None reads them all.
    """
    yield from saved_keys(user_data)
    for alias_fact, secret_fact in ((KEY_ALIAS, VIRTUAL_KEY), (KEY_ALIASES, VIRTUAL_KEYS)):
        found = read_fact(f"{PREFIX}{alias_fact}")
        listed = found if isinstance(found, list | tuple) else [found]
        if aliases is None or any(alias in aliases for alias in listed if isinstance(alias, str)):
            yield from saved_keys({alias_fact: found, secret_fact: read_fact(f"{PREFIX}{secret_fact}")})
