# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys are in the team that holds the shared budget of a lab environment, join it or leave it. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .._keys.model import DesiredKey, ObservedKey
from .._keys.outcome import Outcome
from .records import SavedKey
from .request import Request, is_given
from .shared_budget import OPTION, Json


def with_team(desired: Iterable[DesiredKey], found: Iterable[ObservedKey], team_id: str) -> list[DesiredKey]:
    """Return the keys with the team that holds their budget.

    LiteLLM moves a key only while it has no user, so a key keeps the user that it was found with.

    :param found: the observed keys of the environment, if they were listed.
    """
    users = {str(key.final_alias): key.value("user_id") for key in found}
    return [
        replace(one, settings={**_user(users.get(str(one.alias))), **one.settings, "team_id": team_id})
        if one.present
        else one
        for one in desired
    ]


def created_in_team(desired: Iterable[DesiredKey], team_id: str) -> list[DesiredKey]:
    """Return the keys so that a new one is created in the team. Existing ones are left where they are."""
    return [replace(one, creation_settings={**one.creation_settings, "team_id": team_id}) for one in desired]


def moves_of_previous(request: Request, outcomes: Iterable[Outcome]) -> list[DesiredKey]:
    """Return the replaced keys that work until their overlap ends, so that they join or leave the team with their keys.

    :param outcomes: those of the keys that have replaced them.
    """
    moves = []
    for one in outcomes:
        key, settings = one.previous, one.desired.settings
        if not key or one.error or not one.desired.present or "team_id" not in settings:
            continue
        team_id, present = settings["team_id"] or None, key.value("team_id") or None
        if team_id != present and request.alias in (team_id, present):
            user = _user(key.value("user_id")) if team_id else {}
            moves.append(
                DesiredKey(
                    key.alias,
                    guid=request.guid,
                    owner=request.guid,
                    proven_ids=frozenset((key.key_id,)),
                    settings={**user, "team_id": settings["team_id"]},
                    on_missing="ignore",
                )
            )
    return moves


def _user(user_id: Any) -> Json:
    return {"user_id": user_id} if user_id else {}


def is_in_team(key: ObservedKey | None, team_id: str) -> bool:
    """Return whether an observed key is in the team."""
    return key is not None and key.value("team_id") == team_id


def leaves_team(outcome: Outcome, team_id: str) -> bool:
    """Return whether a key was in the team and is not any more."""
    return is_in_team(outcome.before, team_id) and not is_in_team(outcome.after, team_id)


def has_team(request: Request, saved: Iterable[SavedKey], found: Iterable[ObservedKey]) -> bool:
    """Return whether there is a reason to look for a team of the environment.

    :param saved: the saved keys.
    :param found: the observed keys whose aliases are like those of the environment.
    """
    return (
        is_given(request.options[OPTION])
        or any(is_in_team(key, request.alias) for key in found)
        or any(key.guid == request.guid and (key.settings or {}).get("team_id") == request.alias for key in saved)
    )


def teams_of(keys: Iterable[ObservedKey]) -> dict[str, str]:
    """Return the ids of the teams that hold the budgets of environments, as their keys show it, with the guids."""
    found = {}
    for key in keys:
        team_id, alias = key.value("team_id"), str(key.final_alias)
        guid = (key.value("metadata") or {}).get("guid")
        if team_id and guid is not None and (alias == team_id or alias.startswith(f"{team_id}-")):
            found[str(team_id)] = str(guid)
    return found
