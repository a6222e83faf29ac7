# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the keys of a proxy with few requests, no matter how many other keys it has, on every supported release.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .._concurrency import run_concurrently
from .._errors import LiteLLMError
from .client import Client

# LiteLLM returns 422 for a larger page, in every release.
_PAGE_SIZE = 100
# How often a listing is repeated if keys are created or deleted while its pages are read.
_MAX_ATTEMPTS = 3
# A million keys. A proxy with more is not used for lab environments.
_MAX_PAGES = 10_000
# Up to this many aliases are listed one by one if one is the prefix of the other: a key and its predecessor have a
# common prefix that the keys of many other environments may have, too.
_MIN_PREFIX_SEARCH = 2

Row = dict[str, Any]


class KeyListing:
    """The keys of one proxy as rows of LiteLLM. Remembers which filters the release supports."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._concurrency = client.connection.concurrency
        self._has_substring_filter: bool | None = None
        self._common_prefixes: set[str] = set()
        self._is_complete = True  # the last listing had as many keys as the proxy announced

    def with_aliases(self, aliases: Iterable[str], otherwise: Mapping[str, str] = MappingProxyType({})) -> list[Row]:
        """Return the rows of all keys that have one of these aliases; there may be others among them.

        :param otherwise: maps an alias to one that starts with it and is looked up if no key has the first.
        :raises LiteLLMError: if the keys cannot be listed.
        """
        names = list(dict.fromkeys(aliases))
        rows = self._with_common_prefix(names) if len(names) > 1 else None
        if rows is None:
            rows = self._one_by_one(names)
            found = {row.get("key_alias") for row in rows}
            rows += self._one_by_one([otherwise[name] for name in names if name in otherwise and name not in found])
        return rows

    def with_prefix(self, prefix: str, query: Mapping[str, str] = MappingProxyType({})) -> list[Row]:
        """Return the rows of all keys whose alias starts with a prefix; an empty prefix matches every key.

        :param query: filters of LiteLLM, which some releases interpret in their own way.
        :raises LiteLLMError: if the keys cannot be listed.
        """
        rows = self._with_substring(prefix, query)
        if rows is None:
            rows = self._list(query) or []
        return [row for row in rows if (row.get("key_alias") or "").startswith(prefix)]

    def with_prefix_if_short(self, prefix: str, max_pages: int) -> list[Row] | None:
        """Return the rows of `with_prefix` if one listing of at most `max_pages` pages contains them; else None.

        :raises LiteLLMError: if the keys cannot be listed.
        """
        rows = self._with_substring(prefix, max_pages=max_pages)
        return None if rows is None else [row for row in rows if (row.get("key_alias") or "").startswith(prefix)]

    def with_id(self, key_id: str) -> Row | None:
        """Return the row of the key with this id, or None.

        :raises LiteLLMError: if the key cannot be read.
        """
        try:
            response = self._client.get("/key/info", {"key": key_id})
        except LiteLLMError as error:
            if error.status != 404:
                raise
            return None
        row = response.get("info") if isinstance(response, dict) else None
        if not isinstance(row, dict):
            raise self._unexpected(f"no information about key {key_id}; check that url is a LiteLLM proxy")
        # LiteLLM 1.103 and later keep deleted keys.
        return None if row.get("status") == "deleted" else {**row, "token": key_id}

    def _one_by_one(self, names: Sequence[str]) -> list[Row]:
        pages = run_concurrently(lambda name: self._list({"key_alias": name}), names, self._concurrency)
        return [row for page in pages for row in page or ()]

    def _with_common_prefix(self, names: Sequence[str]) -> list[Row] | None:
        """Return one listing of the keys that contain the common prefix; None if it is unsupported or too long."""
        prefix = _common_prefix(names)
        if prefix in self._common_prefixes or (len(names) <= _MIN_PREFIX_SEARCH and prefix in names):
            return None
        rows = self._with_substring(prefix, max_pages=2 + 2 * (len(names) // _PAGE_SIZE))
        if rows is None:
            self._common_prefixes.add(prefix)
        elif not self._is_complete:
            found = {row.get("key_alias") for row in rows}
            rows += self._one_by_one([name for name in names if name not in found])
        return rows

    def _with_substring(
        self, part: str, query: Mapping[str, str] = MappingProxyType({}), max_pages: int | None = None
    ) -> list[Row] | None:
        """Return the keys whose alias contains the text; None if that is unsupported or more than `max_pages` pages."""
        part = part.strip()
        # A backslash is an escape character to the database.
        if not part or "\\" in part or self._has_substring_filter is False:
            return None
        rows = self._list({**query, "key_alias": part, "substring_matching": "true"}, max_pages)
        if rows is None:
            return None
        if self._has_substring_filter is None:
            # An empty listing may mean that there is no such key, or that this release compares whole aliases.
            self._has_substring_filter = _has_other_alias(rows, part) or self._validates_substring_filter()
        return rows if self._has_substring_filter else None

    def _validates_substring_filter(self) -> bool:
        """Return whether the release knows the filter (>= 1.90): it then refuses an invalid value."""
        try:
            self._client.get("/key/list", {"substring_matching": "neither", "size": "1"})
        except LiteLLMError as error:
            return error.status == 422
        return False

    def _list(self, query: Mapping[str, str], max_pages: int | None = None) -> list[Row] | None:
        """Return all pages of a listing; None if there are more than `max_pages`."""
        rows: dict[str, Row] = {}
        for _attempt in range(_MAX_ATTEMPTS):
            first = self._page(query, 1)
            pages = first["total_pages"] if first["keys"] else 1
            if max_pages is not None and pages > max_pages:
                if "substring_matching" in query and _has_other_alias(first["keys"], query["key_alias"]):
                    self._has_substring_filter = True
                return None
            further = run_concurrently(lambda page: self._page(query, page), range(2, pages + 1), self._concurrency)
            listed = [self._complete(row) for page in (first, *further) for row in page["keys"]]
            rows = {row["token"]: row for row in listed if row}
            # A deletion while the pages are read moves a key to a page that was read before.
            self._is_complete = not further or len(rows) >= first["total_count"]
            if self._is_complete:
                break
        return list(rows.values())

    def _page(self, query: Mapping[str, str], page: int) -> dict[str, Any]:
        paged = {**query, "size": str(_PAGE_SIZE), "page": str(page)}
        try:
            listing = self._client.get("/key/list", {**paged, "return_full_object": "true"})
        except LiteLLMError as error:
            if error.status != 400 or "Unsupported parameter" not in str(error):
                raise
            # Before 1.61.8 LiteLLM lists ids only, and refuses unknown parameters.
            paged.pop("substring_matching", None)
            listing = self._client.get("/key/list", paged)
        keys = listing.get("keys") if isinstance(listing, dict) else None
        if not isinstance(keys, list) or not all(map(_is_row_or_id, keys)):
            raise self._unexpected("no list of keys; check that url is a LiteLLM proxy, 1.60 or later")
        counts = {name: listing.get(name) or 0 for name in ("total_pages", "total_count")}
        if not all(isinstance(count, int) and 0 <= count <= _MAX_PAGES * _PAGE_SIZE for count in counts.values()):
            raise self._unexpected("an invalid number of keys; check that url is a LiteLLM proxy")
        if counts["total_pages"] > _MAX_PAGES:
            raise self._unexpected(f"more than {_MAX_PAGES} pages of keys, which is more than this collection reads")
        return {**listing, **counts}

    def _complete(self, row: Row | str) -> Row | None:
        return self.with_id(row) if isinstance(row, str) else dict(row)

    def _unexpected(self, what: str) -> LiteLLMError:
        return LiteLLMError(f"{self._client.connection.url} returned {what}", transient=False)


def _is_row_or_id(row: Any) -> bool:
    if not isinstance(row, dict):
        return isinstance(row, str)
    return isinstance(row.get("token"), str) and isinstance(row.get("key_alias"), str | None)


def _has_other_alias(rows: Iterable[Row | str], alias: str) -> bool:
    return any(isinstance(row, dict) and row.get("key_alias") != alias for row in rows)


def _common_prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)  # the prefix of these two is the prefix of all
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(pair[0] for pair in same)
