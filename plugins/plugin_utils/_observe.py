# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy's rows as observed keys.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side

if TYPE_CHECKING:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client

# LiteLLM answers 422 to more, in every release.
_PAGE_SIZE = 100

Rows = dict[str, tuple[Observed, ...]]


def observe(client: Client, aliases: Iterable[str]) -> Rows:
    """Every key that carries one of these aliases, the oldest first.

    :raises LiteLLMError: when the proxy cannot be asked.
    """
    names = list(dict.fromkeys(aliases))
    found = side_by_side(lambda alias: _with_alias(client, alias), names, client.connection.concurrency)
    return dict(zip(names, found, strict=True))


def _with_alias(client: Client, alias: str) -> tuple[Observed, ...]:
    keys: dict[str, Observed] = {}  # by key id: paging shifts when others create keys meanwhile
    page = pages = 1
    while page <= pages:
        listing = client.get(
            "/key/list",
            {"key_alias": alias, "return_full_object": "true", "size": str(_PAGE_SIZE), "page": str(page)},
        )
        if not isinstance(listing, dict) or not isinstance(listing.get("keys"), list):
            raise LiteLLMError(f"{client.connection.url} listed no keys; is it a LiteLLM proxy?")
        for row in listing["keys"]:
            # 1.83.3 to 1.89 find every alias that contains this one, in any case.
            if row.get("key_alias") == alias:
                keys[row["token"]] = Observed.from_row(row)
        pages = listing.get("total_pages") or 1
        page += 1
    return tuple(sorted(keys.values(), key=lambda key: (key.created_at is None, key.created_at, key.key_id)))
