# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read keys from the proxy as observed keys, oldest first.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from .._litellm.client import Client
from .._litellm.listing import KeyListing
from .._litellm.search import Row
from .model import ObservedKey, by_age
from .names import previous_alias

KeysByAlias = dict[str, tuple[ObservedKey, ...]]


class Observer:
    """Finds keys on one proxy.

    :param show_progress: called with a progress message from time to time.
    """

    def __init__(self, client: Client, show_progress: Callable[[str], None] = lambda text: None) -> None:
        self._listing = KeyListing(client, show_progress)

    def find_by_alias(
        self,
        aliases: Iterable[str],
        successors: Mapping[str, str] = MappingProxyType({}),
        always: Collection[str] = (),
        *,
        previous: bool = False,
        always_previous: Collection[str] = (),
    ) -> KeysByAlias:
        """Return every key that has one of these aliases, oldest first, and an empty tuple for each other alias.

        :param successors: maps an alias to that of a successor, which is looked up if no key has the first.
        :param always: the aliases whose successors are looked up anyway.
        :param previous: return the keys that others have replaced, too. They are looked up for keys whose metadata say
            that there may be one.
        :param always_previous: those of `always` for which they are looked up anyway.
        :raises LiteLLMError: if the keys cannot be read.
        """
        names = list(dict.fromkeys(aliases))
        replaced = {alias: previous_alias(alias) for alias in names} if previous else {}
        others = {
            alias: [successors[alias], *([replaced[alias]] if alias in always_previous else ())] for alias in always
        }
        rows = self._listing.with_aliases(names, successors, others, also=replaced.values())
        names += [*successors.values(), *replaced.values()]
        found = _grouped(rows, names)
        unseen = [
            other
            for alias, other in replaced.items()
            if not found[other]
            and any(key.previous_id for key in found[alias] + found.get(successors.get(alias, ""), ()))
        ]
        return {**found, **_grouped(self._listing.with_aliases(unseen), unseen)} if unseen else found

    def find_by_id(self, key_id: str) -> tuple[ObservedKey, ...]:
        """Return the key with this id, if there is one.

        :raises LiteLLMError: if the key cannot be read.
        """
        row = self._listing.with_id(key_id)
        return (ObservedKey.from_row(row),) if row else ()

    def find_by_prefix(self, prefix: str, query: Mapping[str, str] = MappingProxyType({})) -> list[ObservedKey]:
        """Return the keys whose alias starts with a prefix, oldest first; an empty prefix matches every key.

        :param query: filters of LiteLLM, which some releases interpret in their own way.
        :raises LiteLLMError: if the keys cannot be read.
        """
        return sorted(map(ObservedKey.from_row, self._listing.with_prefix(prefix, query)), key=by_age)

    def find_environment_keys_at_once(
        self, alias: str, successor_alias: str, max_pages: int
    ) -> list[ObservedKey] | None:
        """Return the keys of `find_environment_keys` if one listing of at most `max_pages` pages has them; else None.

        :raises LiteLLMError: if the keys cannot be read.
        """
        rows = self._listing.with_prefix_if_short(alias, max_pages)
        if rows is None:
            return None
        names = (alias, successor_alias, previous_alias(alias))
        own = [row for row in rows if row["key_alias"] in names or row["key_alias"][len(alias)] == "-"]
        return sorted(map(ObservedKey.from_row, own), key=by_age)

    def find_environment_keys(
        self, alias: str, successor_alias: str, *, both: bool, max_pages: int = 2
    ) -> list[ObservedKey]:
        """Return every key that has this alias, or this alias, a hyphen and more text, and those that it has replaced.

        If one short listing does not contain them, these are two requests, because the prefix `virtkey-abc` may also
        match the environments abc1, abc2 and so on. The keys of an environment abc-1 are returned, too: its aliases
        look like those of a user, and LiteLLM can filter neither by metadata nor by prefix.

        :param successor_alias: the alias of the key that is about to replace the environment's key.
        :param both: whether to look up `successor_alias` even if there is a key with the alias.
        :param max_pages: the maximum length of the short listing; 0 to send the two requests immediately.
        :raises LiteLLMError: if the keys cannot be read.
        """
        if max_pages:
            at_once = self.find_environment_keys_at_once(alias, successor_alias, max_pages)
            if at_once is not None:
                return at_once
        of_users = self.find_by_prefix(f"{alias}-")
        own = self.find_by_alias([alias], {alias: successor_alias}, [alias] if both else [], previous=True)
        return [*(key for keys in own.values() for key in keys), *of_users]


def _grouped(rows: Iterable[Row], names: Sequence[str]) -> KeysByAlias:
    # 1.83.3 to 1.89 list every alias that contains the one in the request, in upper and lower case.
    return group_by_alias([ObservedKey.from_row(row) for row in rows if row.get("key_alias") in names], names)


def group_by_alias(keys: Iterable[ObservedKey], names: Iterable[str]) -> KeysByAlias:
    """Return the keys of each alias, oldest first, and an empty tuple for an alias without a key."""
    found: dict[str, list[ObservedKey]] = {name: [] for name in names}
    for key in {key.key_id: key for key in keys}.values():
        if key.alias in found:
            found[key.alias].append(key)
    return {name: tuple(sorted(keys, key=by_age)) for name, keys in found.items()}
