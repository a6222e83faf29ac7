# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy's rows as observed keys: how they are found with few requests, whatever else the proxy holds.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side

# LiteLLM answers 422 to more, in every release.
_PAGE_SIZE = 100
# So often a listing is begun anew when keys come and go meanwhile.
_LISTINGS = 3
# A hundred keys on each. Whoever has more does not keep them for lab environments.
_MOST_PAGES = 10_000
# A key, and the name it has while it is replaced: what begins like the one may be of many other environments.
_FEW = 2

Rows = dict[str, tuple[Observed, ...]]


class Observer:
    """Finds keys on one proxy, and remembers what its release can do."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._concurrency = client.connection.concurrency
        self._finds_parts: bool | None = None
        self._too_common: set[str] = set()

    def with_aliases(self, aliases: Iterable[str], otherwise: Mapping[str, str] = MappingProxyType({})) -> Rows:
        """Every key that carries one of these aliases, the oldest first; an alias without a key has none.

        :param otherwise: for an alias, one that begins with it and is looked for where there is no key with the first.
        :raises LiteLLMError: when the proxy cannot be asked.
        """
        names = list(dict.fromkeys(aliases))
        rows = self._with_common_part(names) if len(names) > 1 else None
        if rows is None:
            rows = self._with_each(names)
            found = {row.get("key_alias") for row in rows}
            rows += self._with_each([otherwise[name] for name in names if name in otherwise and name not in found])
        return by_alias(map(Observed.from_row, rows), [*names, *otherwise.values()])

    def with_id(self, key_id: str) -> tuple[Observed, ...]:
        """The key with this id, if there is one.

        :raises LiteLLMError: when the proxy cannot be asked.
        """
        row = self._info(key_id)
        return (Observed.from_row(row),) if row else ()

    def beginning_with(self, beginning: str, query: Mapping[str, str]) -> list[Observed]:
        """Every key whose alias begins with this, the oldest first; an empty one stands for all keys.

        :param query: filters of LiteLLM's own, which its release may understand in its own way.
        :raises LiteLLMError: when the proxy cannot be asked.
        """
        rows = self._with_part(beginning, query)
        if rows is None:
            rows = self._list(query) or []
        keys = map(Observed.from_row, rows)
        return sorted((key for key in keys if (key.alias or "").startswith(beginning)), key=_age)

    def of_environment(self, alias: str, old_alias: str, *, both: bool) -> list[Observed]:
        """Every key with this alias, and every one whose alias is that, a hyphen and something more.

        These are two questions, because what begins with `virtkey-abc` may be of the environments abc1, abc2 and so on.
        An environment called abc-1 cannot be told from a user by its aliases: its keys are listed, too, and a proxy has
        no narrower question, as it neither filters by metadata nor asks how an alias begins.

        :param old_alias: what the key of the environment is called while it is replaced.
        :param both: whether to look for that one also where there is a key with the alias.
        :raises LiteLLMError: when the proxy cannot be asked.
        """
        of_users = self.beginning_with(f"{alias}-", {})
        rows = self.with_aliases([alias, old_alias]) if both else self.with_aliases([alias], {alias: old_alias})
        return [*itertools.chain.from_iterable(rows.values()), *of_users]

    def _with_each(self, names: Sequence[str]) -> list[dict[str, Any]]:
        pages = side_by_side(lambda name: self._list({"key_alias": name}), names, self._concurrency)
        return [row for page in pages for row in page or ()]

    def _with_common_part(self, names: Sequence[str]) -> list[dict[str, Any]] | None:
        """One listing of all that contains what the names begin with; None if it cannot be had or is too long."""
        part = _common_beginning(names)
        if part in self._too_common or (len(names) <= _FEW and part in names):
            return None
        rows = self._with_part(part, at_most_pages=2 + 2 * (len(names) // _PAGE_SIZE))
        if rows is None:
            self._too_common.add(part)
        return rows

    def _with_part(
        self, part: str, query: Mapping[str, str] = MappingProxyType({}), at_most_pages: int | None = None
    ) -> list[dict[str, Any]] | None:
        """All keys whose alias has this in it; None if they cannot be had by it or are more pages than that."""
        part = part.strip()
        if not part or "\\" in part or self._finds_parts is False:  # a backslash means more than itself to a database
            return None
        rows = self._list({**query, "key_alias": part, "substring_matching": "true"}, at_most_pages)
        if rows is None:
            return None
        if self._finds_parts is None:
            # An empty answer may mean that nothing is there, or that this release compares whole aliases.
            found_part = any(row.get("key_alias") != part for row in rows)
            self._finds_parts = found_part or self._knows_substring_matching()
        return rows if self._finds_parts else None

    def _knows_substring_matching(self) -> bool:
        """Whether the release has the filter (>= 1.90): if so, it refuses a value that makes no sense."""
        try:
            self._client.get("/key/list", {"substring_matching": "neither", "size": "1"})
        except LiteLLMError as error:
            return error.status == 422
        return False

    def _list(self, query: Mapping[str, str], at_most_pages: int | None = None) -> list[dict[str, Any]] | None:
        """All pages of a listing; None if they are more than that."""
        rows: dict[str, dict[str, Any]] = {}
        for _attempt in range(_LISTINGS):
            first = self._page(query, 1)
            pages = first["total_pages"] if first["keys"] else 1
            if at_most_pages is not None and pages > at_most_pages:
                return None
            further = side_by_side(lambda page: self._page(query, page), range(2, pages + 1), self._concurrency)
            listed = [self._row(row) for page in (first, *further) for row in page["keys"]]
            rows = {row["token"]: row for row in listed if row}
            if not further or len(rows) >= first["total_count"]:
                break
            # A key that goes meanwhile moves another to a page that was read before.
        return list(rows.values())

    def _page(self, query: Mapping[str, str], page: int) -> dict[str, Any]:
        paged = {**query, "size": str(_PAGE_SIZE), "page": str(page)}
        try:
            listing = self._client.get("/key/list", {**paged, "return_full_object": "true"})
        except LiteLLMError as error:
            if error.status != 400 or "Unsupported parameter" not in str(error):
                raise
            # Before 1.61.8: ids only, and nothing that is unknown.
            paged.pop("substring_matching", None)
            listing = self._client.get("/key/list", paged)
        keys = listing.get("keys") if isinstance(listing, dict) else None
        if not isinstance(keys, list) or not all(map(_is_key, keys)):
            problem = f"{self._client.connection.url} listed no keys; is it a LiteLLM proxy, 1.60 or later?"
            raise LiteLLMError(problem, passing=False)
        counted = {name: listing.get(name) or 0 for name in ("total_pages", "total_count")}
        if not all(isinstance(count, int) and 0 <= count <= _MOST_PAGES * _PAGE_SIZE for count in counted.values()):
            problem = f"{self._client.connection.url} cannot say how many keys it has; is it a LiteLLM proxy?"
            raise LiteLLMError(problem, passing=False)
        if counted["total_pages"] > _MOST_PAGES:
            problem = (
                f"{self._client.connection.url} lists more than {_MOST_PAGES} pages of keys, which are not all read"
            )
            raise LiteLLMError(problem, passing=False)
        return {**listing, **counted}

    def _row(self, row: Any) -> dict[str, Any] | None:
        return self._info(row) if isinstance(row, str) else dict(row)

    def _info(self, key_id: str) -> dict[str, Any] | None:
        try:
            answer = self._client.get("/key/info", {"key": key_id})
        except LiteLLMError as error:
            if error.status != 404:
                raise
            return None
        row = answer.get("info") if isinstance(answer, dict) else None
        if not isinstance(row, dict):
            problem = f"{self._client.connection.url} told nothing of the key {key_id}; is it a LiteLLM proxy?"
            raise LiteLLMError(problem, passing=False)
        # From 1.103 on LiteLLM remembers deleted keys.
        return None if row.get("status") == "deleted" else {**row, "token": key_id}


def _is_key(row: Any) -> bool:
    """Whether this may be a row of a listing: an id, or what there is to say of a key."""
    if not isinstance(row, dict):
        return isinstance(row, str)
    return isinstance(row.get("token"), str) and isinstance(row.get("key_alias"), str | None)


def _common_beginning(names: Sequence[str]) -> str:
    first, last = min(names), max(names)  # what these two begin with, all do
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(pair[0] for pair in same)


def by_alias(keys: Iterable[Observed], names: Iterable[str]) -> Rows:
    """The keys that carry one of these aliases, the oldest first; an alias without a key has none."""
    found: dict[str, list[Observed]] = {name: [] for name in names}
    for key in {key.key_id: key for key in keys}.values():
        # 1.83.3 to 1.89 find every alias that contains the one asked for, in any case of letters.
        if key.alias in found:
            found[key.alias].append(key)
    return {name: tuple(sorted(keys, key=_age)) for name, keys in found.items()}


def _age(key: Observed) -> tuple[bool, Any, str]:
    return (key.created_at is None, key.created_at, key.key_id)
