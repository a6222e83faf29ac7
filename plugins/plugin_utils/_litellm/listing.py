# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the keys of a proxy with few requests, no matter how many other keys it has, on every supported release.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from .._concurrency import run_concurrently
from .._errors import LiteLLMError
from .client import Client
from .pages import PAGE_SIZE, Pages, unexpected
from .search import Keep, Row, Search

# How often a listing is repeated if keys are created or deleted while its pages are read.
_MAX_ATTEMPTS = 5
# How many keys that moved between two pages are read one by one.
_MAX_MOVED = 100
# How often the keys of two aliases are listed until two listings agree.
_MAX_PASSES = 10


class IncompleteListingError(LiteLLMError):
    """Keys may be missing from a listing, because other clients created or deleted keys meanwhile."""


class KeyListing:
    """The keys of one proxy as rows of LiteLLM. Remembers which filters the release supports.

    :param show_progress: called with a progress message after each page.
    """

    def __init__(self, client: Client, show_progress: Callable[[str], None] = lambda text: None) -> None:
        self._client = client
        self._show_progress = show_progress
        self._pages = Pages(client)
        self._concurrency = client.connection.concurrency
        self._has_substring_filter: bool | None = None
        self._common_prefixes: set[str] = set()
        self._long_listings: set[str] = set()  # parts of aliases that more keys have than fit on a page

    def with_aliases(
        self,
        aliases: Iterable[str],
        second: Mapping[str, str] = MappingProxyType({}),
        always: Mapping[str, Sequence[str]] = MappingProxyType({}),
        also: Collection[str] = (),
    ) -> list[Row]:
        """Return the rows of all keys that have one of these aliases, or a related one.

        :param second: maps an alias to one that starts with it and is looked up if no key has the first.
        :param always: maps an alias to those that start with it and are looked up anyway. Their rows are as they were
            at one time, as far as their aliases are concerned.
        :param also: aliases that are not looked up, but whose rows are returned if a listing contains them.
        :raises LiteLLMError: if the keys cannot be listed, or other clients change them again and again.
        """
        aliases = list(dict.fromkeys(aliases))
        names = [*aliases, *itertools.chain.from_iterable(always.values())]
        search = self._search({*names, *second.values(), *also}.__contains__)
        rows = self._with_common_prefix(names, search, is_one_key=len(aliases) == 1) if len(names) > 1 else None
        if rows is not None:
            return rows
        if always:
            rows = self._stable(always, search)
            others = [alias for alias in aliases if alias not in always]
            return rows + (self.with_aliases(others, second, also=also) if others else [])
        if len(names) == 1 and second:
            rows = self._with_extensions(aliases[0], search)
        if rows is None:
            rows = self._one_by_one(aliases, search)
        found = {row["key_alias"] for row in rows}
        missing = [alias for alias in second if alias in aliases and not {alias, second[alias]} & found]
        return rows + self._one_by_one([second[alias] for alias in missing], search)

    def _stable(self, others: Mapping[str, Sequence[str]], search: Search) -> list[Row]:
        """Return the rows of aliases and of others that start with them, as they were at one time.

        The others are listed first, because a key may get the first alias meanwhile. If no key has one of the others,
        and each first alias has one, then so it was at the time of the last listing. Otherwise two passes must agree.
        """
        related = [*itertools.chain.from_iterable(others.values())]
        before: set[tuple[str, str]] | None = None
        for _attempt in range(_MAX_PASSES):
            rows = self._one_by_one(related, search)
            is_simple = not rows
            rows += self._one_by_one(list(others), search)
            found = {(row["token"], row["key_alias"]) for row in rows}
            if found == before or (is_simple and {alias for _token, alias in found} >= set(others)):
                return rows
            before = found
        raise LiteLLMError(
            f"other clients created, renamed or deleted {', '.join(others)} during each of {_MAX_PASSES} listings",
            transient=True,
        )

    def with_prefix(self, prefix: str, query: Mapping[str, str] = MappingProxyType({})) -> list[Row]:
        """Return the rows of all keys whose alias starts with a prefix; an empty prefix matches every key.

        :param query: filters of LiteLLM, which some releases interpret in their own way.
        :raises LiteLLMError: if the keys cannot be listed.
        """
        search = self._search(lambda alias: alias.startswith(prefix))
        rows = self._with_substring(prefix, search, query)
        return self._list(query, search) or [] if rows is None else rows

    def with_prefix_if_short(self, prefix: str, max_pages: int) -> list[Row] | None:
        """Return the rows of `with_prefix` if one listing of at most `max_pages` pages contains them; else None.

        :raises LiteLLMError: if the keys cannot be listed.
        """
        search = self._search(lambda alias: alias.startswith(prefix))
        rows = self._with_substring(prefix, search, max_pages=max_pages)
        if rows is None:
            self._common_prefixes.add(prefix)
        return rows

    def with_id(self, key_id: str) -> Row | None:
        """Return the row of the key with this id, or None.

        :raises LiteLLMError: if the key cannot be read.
        """
        return self._info(key_id)

    def _info(self, key_id: str, check_size: Callable[[int], object] = bool) -> Row | None:
        try:
            response = self._client.get("/key/info", {"key": key_id}, check_size)
        except LiteLLMError as error:
            if error.status != 404:
                raise
            return None
        row = response.get("info") if isinstance(response, dict) else None
        if not isinstance(row, dict):
            raise unexpected(self._client.connection, f"no information about key {key_id}")
        # LiteLLM 1.103 and later keep deleted keys.
        return None if row.get("status") == "deleted" else {**row, "token": key_id}

    def _search(self, keep: Keep) -> Search:
        return Search(self._client.connection.url, keep)

    def _one_by_one(self, names: Collection[str], search: Search) -> list[Row]:
        pages = run_concurrently(lambda name: self._list({"key_alias": name}, search), list(names), self._concurrency)
        return [row for page in pages for row in page or ()]

    def _with_common_prefix(self, names: Sequence[str], search: Search, *, is_one_key: bool) -> list[Row] | None:
        """Return the keys that contain the common prefix; None if that is unsupported, too long or incomplete."""
        prefix = _common_prefix(names)
        # The common prefix of an alias and its related ones may be that of many other environments.
        if prefix in self._common_prefixes or (is_one_key and self._is_long(prefix)):
            return None
        max_pages = 1 if is_one_key else 2 + 2 * (len(names) // PAGE_SIZE)
        try:
            rows = self._with_substring(prefix, search, max_pages=max_pages)
        except IncompleteListingError:
            return None
        if rows is None:
            self._common_prefixes.add(prefix)
        return rows

    def _is_long(self, part: str) -> bool:
        """Return whether more keys are known to contain the text than fit on a page."""
        return any(part in longer for longer in self._long_listings)

    def _with_extensions(self, alias: str, search: Search) -> list[Row] | None:
        """Return the keys whose alias contains this one, from one page; None if there are more pages.

        A release that compares whole aliases returns only those of this one.
        """
        if self._is_long(alias):
            return None
        return self._with_substring(alias, search, max_pages=1, verify=False)

    def _with_substring(
        self,
        part: str,
        search: Search,
        query: Mapping[str, str] = MappingProxyType({}),
        max_pages: int | None = None,
        *,
        verify: bool = True,
    ) -> list[Row] | None:
        """Return the keys whose alias contains the text; None if that is unsupported or more than `max_pages` pages.

        :param verify: find out whether it is supported.
        """
        part = part.strip()
        # A backslash is an escape character to the database.
        if not part or "\\" in part or self._has_substring_filter is False:
            return None
        rows = self._list({**query, "key_alias": part, "substring_matching": "true"}, search, max_pages)
        if rows is None or not verify:
            return rows
        if self._has_substring_filter is None:
            # The listing may be complete, or this release compares whole aliases.
            self._has_substring_filter = self._validates_substring_filter()
        return rows if self._has_substring_filter else None

    def _validates_substring_filter(self) -> bool:
        """Return whether the release knows the filter (>= 1.90): it then refuses an invalid value."""
        try:
            self._client.get("/key/list", {"substring_matching": "neither", "size": "1"})
        except LiteLLMError as error:
            return error.status == 422
        return False

    def _list(self, query: Mapping[str, str], search: Search, max_pages: int | None = None) -> list[Row] | None:
        """Return the searched keys on all pages of a listing; None if there are more than `max_pages`.

        A deletion while the pages are read moves a key to a page that was read before. An earlier attempt has read it,
        so the keys of earlier attempts that the last one did not list are read one by one.

        :raises IncompleteListingError: if fewer keys than the proxy announced are found in each attempt.
        """
        earlier: set[str] = set()
        for _attempt in range(_MAX_ATTEMPTS):
            first = self._pages.read(query, 1, search)
            numbers = range(2, 1 + (first.total_pages if first.tokens else 1))
            if numbers and "substring_matching" in query:
                self._long_listings.add(query["key_alias"])
            is_short = max_pages is None or len(numbers) < max_pages
            further = run_concurrently(
                lambda number: self._pages.read(query, number, search),
                numbers if is_short else (),
                self._concurrency,
                partial(self._show_pages, first.total_count),
            )
            pages = (first, *further)
            if "substring_matching" in query and any(page.has_other_alias for page in pages):
                self._has_substring_filter = True
            if not is_short:
                return None
            tokens = {token for page in pages for token in page.tokens}
            # In a complete listing, the keys of earlier attempts were deleted.
            is_complete = not further or len(tokens) >= first.total_count
            moved = [] if is_complete else self._moved(earlier - tokens, query, search)
            if is_complete or len(tokens) + len(moved) >= first.total_count:
                completed = [self._complete(key_id, search) for page in pages for key_id in page.ids]
                rows = [*(row for page in pages for row in page.rows), *(row for row in completed if row), *moved]
                return list({row["token"]: row for row in rows if search.keeps(row)}.values())
            earlier |= tokens
        raise IncompleteListingError(
            f"Cannot list the keys of {self._client.connection.url}, because other clients created or deleted keys "
            f"during each of {_MAX_ATTEMPTS} listings; run again",
            transient=True,
        )

    def _show_pages(self, total_count: int, further: int) -> None:
        """Show the progress of a listing: its first page and this number of further pages were read."""
        self._show_progress(f"{min((1 + further) * PAGE_SIZE, total_count)} of {total_count} virtual keys listed")

    def _moved(self, key_ids: Collection[str], query: Mapping[str, str], search: Search) -> list[Row]:
        """Return the rows of those keys that still exist and match the query; none if there are too many."""
        if len(key_ids) > _MAX_MOVED:
            return []
        rows = run_concurrently(lambda key_id: self._complete(key_id, search), sorted(key_ids), self._concurrency)
        return [row for row in rows if row and _matches(row, query)]

    def _complete(self, key_id: str, search: Search) -> Row | None:
        search.check()
        return self._info(key_id, search.check)


def _common_prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)  # the prefix of these two is the prefix of all
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(pair[0] for pair in same)


def _matches(row: Row, query: Mapping[str, str]) -> bool:
    """Return whether a listing with this query certainly contains the key."""
    same = (name for name in query if name not in ("key_alias", "substring_matching"))
    return query.get("key_alias", "") in (row.get("key_alias") or "") and all(
        row.get(name) == query[name] for name in same
    )
