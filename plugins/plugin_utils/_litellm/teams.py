# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read, create, change and delete teams.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from typing import Any

from .._errors import LiteLLMError
from .client import Client, Json
from .pages import unexpected

Row = dict[str, Any]

# LiteLLM returns 422 for a larger page.
_PAGE_SIZE = 100
_MAX_PAGES = 1000


def read_team(client: Client, team_id: str) -> Row | None:
    """Return the row of a team, or None.

    `/team/info` would report an error of the database as a missing team, and lists the keys of the team.

    :raises LiteLLMError: if the team cannot be read.
    """
    rows, _pages = _read_page(client, {"team_id": team_id}, 1)
    return next((row for row in rows if row.get("team_id") == team_id), None)


def list_teams(client: Client) -> list[Row]:
    """Return the rows of all teams.

    :raises LiteLLMError: if they cannot be read.
    """
    rows, pages = _read_page(client, {}, 1)
    for number in range(2, pages + 1):
        rows += _read_page(client, {}, number)[0]
    return rows


def _read_page(client: Client, query: dict[str, str], number: int) -> tuple[list[Row], int]:
    """Return the rows of a page, and the number of pages."""
    paged = {**query, "page": str(number), "page_size": str(_PAGE_SIZE), "sort_by": "team_id"}
    listing = client.get("/v2/team/list", paged)
    rows = listing.get("teams") if isinstance(listing, dict) else None
    pages = listing.get("total_pages") if isinstance(listing, dict) else None
    is_valid = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    if not is_valid or not isinstance(pages, int) or not 0 <= pages <= _MAX_PAGES:
        raise unexpected(client.connection, "no list of teams", ", 1.67 or later")
    return list(rows or ()), pages


def create_team(client: Client, fields: Json) -> None:
    """Create a team. LiteLLM refuses a second one with the same `team_id`.

    :raises LiteLLMError: if the request failed; the team may exist all the same.
    """
    client.post("/team/new", fields)


def update_team(client: Client, fields: Json) -> None:
    """Change the fields of the team that `team_id` names.

    :raises LiteLLMError: if the request failed; it may have been processed all the same.
    """
    client.post("/team/update", fields)


def delete_team(client: Client, team_id: str) -> None:
    """Delete a team, which deletes all its keys, too. A missing team is not an error.

    :raises LiteLLMError: if the request failed; the team may be deleted all the same.
    """
    try:
        client.post("/team/delete", {"team_ids": [team_id]})
    except LiteLLMError as error:
        if error.status != 404:
            raise
