# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the pages of a listing of keys.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .._errors import LiteLLMError
from .client import Client
from .connection import Connection
from .search import Row, Search

# LiteLLM returns 422 for a larger page, in every release.
PAGE_SIZE = 100
# A million keys. A proxy with more is not used for lab environments.
_MAX_PAGES = 10_000


class Page(NamedTuple):
    """What is used of a page of a listing.

    :ivar tokens: the ids of all keys on it.
    :ivar rows: of those keys whose alias is wanted.
    :ivar ids: of keys that the proxy lists without a row.
    :ivar has_other_alias: whether an alias is not the one in the query.
    """

    total_pages: int
    total_count: int
    tokens: list[str]
    rows: list[Row]
    ids: list[str]
    has_other_alias: bool


class Pages:
    """The pages of the listings of one proxy."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, query: Mapping[str, str], number: int, search: Search) -> Page:
        """Read one page.

        :raises LiteLLMError: if that fails, or if the response is no listing.
        """
        search.check()
        listing = self._listing(query, number, search.check)
        keys = listing["keys"]
        rows = [row for row in keys if isinstance(row, dict)]
        return Page(
            total_pages=listing["total_pages"],
            total_count=listing["total_count"],
            tokens=[row["token"] if isinstance(row, dict) else row for row in keys],
            rows=[row for row in rows if search.keeps(row)],
            ids=[key_id for key_id in keys if isinstance(key_id, str)],
            has_other_alias=any(row.get("key_alias") != query.get("key_alias") for row in rows),
        )

    def _listing(self, query: Mapping[str, str], page: int, check_size: Callable[[int], object]) -> dict[str, Any]:
        paged = {**query, "size": str(PAGE_SIZE), "page": str(page)}
        try:
            listing = self._client.get("/key/list", {**paged, "return_full_object": "true"}, check_size)
        except LiteLLMError as error:
            if error.status != 400 or "Unsupported parameter" not in str(error):
                raise
            # Before 1.61.8 LiteLLM lists ids only, and refuses unknown parameters.
            paged.pop("substring_matching", None)
            listing = self._client.get("/key/list", paged, check_size)
        keys = listing.get("keys") if isinstance(listing, dict) else None
        if not isinstance(keys, list) or not all(map(_is_row_or_id, keys)):
            raise unexpected(self._client.connection, "no list of keys", ", 1.60 or later")
        counts = {name: listing.get(name) or 0 for name in ("total_pages", "total_count")}
        if not all(isinstance(count, int) and 0 <= count <= _MAX_PAGES * PAGE_SIZE for count in counts.values()):
            raise unexpected(self._client.connection, "an invalid number of keys")
        if counts["total_pages"] > _MAX_PAGES:
            raise LiteLLMError(
                f"{self._client.connection.url} returned more than {_MAX_PAGES} pages of keys, which is more than this "
                "collection reads",
                transient=False,
            )
        return {"keys": keys, **counts}


def unexpected(connection: Connection, what: str, releases: str = "") -> LiteLLMError:
    """Return the error for a response that a LiteLLM proxy does not send."""
    advice = f"check that {connection.name('url')} is a LiteLLM proxy{releases}"
    return LiteLLMError(f"{connection.url} returned {what}; {advice}", transient=False)


def _is_row_or_id(row: Any) -> bool:
    if not isinstance(row, dict):
        return isinstance(row, str)
    return isinstance(row.get("token"), str) and isinstance(row.get("key_alias"), str | None)
