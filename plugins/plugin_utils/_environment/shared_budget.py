# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The budget that all keys of a lab environment share: a team of LiteLLM that has the id of the environment's alias.

The team belongs to the environment if its metadata name the guid and this collection (`managed_by`). Nothing else
proves that. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .._errors import OptionError, UserError
from .._keys.durations import InstantError, parse_instant
from .._keys.model import ObservedKey
from .._keys.result import instant_text
from .._keys.setting_types import DurationSetting, Setting
from .._keys.values import is_amount
from .._text import shorten
from .messages import listed
from .request import Request, is_given

Json = dict[str, Any]

OPTION, DURATION_OPTION = "shared_budget", "shared_budget_duration"
# In the metadata of the team, beside the guid.
MANAGED_BY = "rhpds.litellm_virtual_keys"
# US dollars are shown in millionths: what is left is a difference of binary fractions.
_DIGITS = 6


@dataclass(frozen=True)
class SharedBudget:
    """The desired budget of an environment.

    :ivar limit: in US dollars.
    :ivar duration: after which what was spent is reset; None if that is not given, and left alone.
    """

    team_id: str
    guid: str
    limit: float
    duration: str | None = None


@dataclass(frozen=True)
class ObservedBudget:
    """The budget of an environment as the proxy has it: what is used of the row of a team.

    :ivar guid: the environment that the team belongs to; None if it belongs to none.
    :ivar limit: in US dollars; None without a limit.
    :ivar is_managed: the metadata say that this collection has created the team.
    """

    team_id: str
    guid: str | None
    limit: float | None = None
    duration: str | None = None
    spent: float = 0.0
    resets_at: datetime | None = None
    is_managed: bool = True

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ObservedBudget:
        """Return the budget of a team. Values of unexpected types count as not set."""
        metadata, duration = row.get("metadata"), row.get("budget_duration")
        guid = metadata.get("guid") if isinstance(metadata, dict) else None
        try:
            resets_at = parse_instant(row.get("budget_reset_at"))
        except InstantError:
            resets_at = None
        return cls(
            team_id=str(row["team_id"]),
            guid=None if guid is None else str(guid),
            limit=_amount(row.get("max_budget")),
            duration=duration if isinstance(duration, str) else None,
            spent=_amount(row.get("spend")) or 0.0,
            resets_at=resets_at,
            is_managed=isinstance(metadata, dict) and metadata.get("managed_by") == MANAGED_BY,
        )

    def belongs_to(self, guid: str) -> bool:
        """Return whether this collection has created the team for the environment."""
        return self.is_managed and self.guid == guid

    @property
    def left(self) -> float | None:
        """What is left of the limit, in US dollars; None without a limit."""
        return None if self.limit is None else max(0.0, round(self.limit - self.spent, _DIGITS))

    @property
    def is_spent(self) -> bool:
        return self.limit is not None and self.spent >= self.limit


def _amount(value: Any) -> float | None:
    return float(value) if is_amount(value) else None


def requested_budget(request: Request) -> SharedBudget | None:
    """Return the desired budget; None if the operation does not set it, or it is not given.

    :raises OptionError: if it is invalid, or other options contradict it.
    """
    options, name = request.options, request.wording.option
    if request.operation not in ("provision", "extend"):
        return None
    if not is_given(options[OPTION]):
        if is_given(options[DURATION_OPTION]):
            raise OptionError(f"{name(DURATION_OPTION)} needs {name(OPTION)}, the budget that is reset")
        return None
    for where in team_options(request):
        raise OptionError(
            f"{name(OPTION)} and {where} cannot both be given: the keys that share a budget are in a team of their own"
        )
    duration = options[DURATION_OPTION]
    try:
        return SharedBudget(
            request.alias,
            request.guid,
            float(Setting(OPTION, "float").normalize(options[OPTION])),
            DurationSetting(DURATION_OPTION).normalize(duration) if is_given(duration) else None,
        )
    except OptionError as error:
        problem = str(error)
    given = problem.removeprefix(OPTION) if problem.startswith(OPTION) else f": {problem}"
    raise OptionError(f"{name(OPTION if problem.startswith(OPTION) else DURATION_OPTION)}{given}")


def team_options(request: Request) -> list[str]:
    """Return the options that say in which team the keys are."""
    on_create = request.settings.get("on_create") or {}
    is_set = {
        "team_id in settings": is_given(request.settings.get("team_id")),
        "team_id in unset": "team_id" in (request.settings.get("unset") or ()),
        "team_id in on_create": is_given(on_create.get("team_id")),
    }
    return [where for where, value in is_set.items() if value]


def owner_problem(budget: ObservedBudget, guid: str) -> str | None:
    """Return the error for a team that does not belong to the environment; None if it does."""
    if budget.belongs_to(guid):
        return None
    whose = f"environment {shorten(budget.guid)}" if budget.guid else "no environment"
    if budget.guid == guid:
        whose = f"no environment of this collection (managed_by is not {MANAGED_BY})"
    return (
        f"Team {budget.team_id} exists, and belongs to {whose} according to its metadata, so it cannot hold the shared "
        f"budget of environment {guid}, and is left as it is. Rename or delete the team, or use another guid"
    )


def check_owner(budget: ObservedBudget, guid: str) -> None:
    """Raise a UserError for a team that does not belong to the environment."""
    if problem := owner_problem(budget, guid):
        raise UserError(problem)


def changes(desired: SharedBudget, observed: ObservedBudget | None) -> Json | None:
    """Return the fields of a request that creates the team, or that changes it; None if there is nothing to change.

    :raises UserError: if the team belongs to somebody else.
    """
    fields: Json = {"team_id": desired.team_id}
    duration = {} if desired.duration is None else {"budget_duration": desired.duration}
    if observed is None:
        metadata = {"guid": desired.guid, "managed_by": MANAGED_BY}
        return {**fields, "team_alias": desired.team_id, "max_budget": desired.limit, **duration, "metadata": metadata}
    check_owner(observed, desired.guid)
    differs: Json = {} if observed.limit == desired.limit else {"max_budget": desired.limit}
    if desired.duration not in (None, observed.duration):
        differs.update(duration)
    return {**fields, **differs} if differs else None


def predicted(desired: SharedBudget, observed: ObservedBudget | None) -> ObservedBudget:
    """Return the budget as it will be, as far as that is known: for check mode."""
    before = observed or ObservedBudget(desired.team_id, desired.guid)
    is_reset_later = desired.duration not in (None, before.duration)
    return replace(
        before,
        limit=desired.limit,
        duration=desired.duration or before.duration,
        resets_at=None if is_reset_later else before.resets_at,
    )


def describe_budget(budget: ObservedBudget | None) -> Json:
    """Return the budget as results contain it; empty without one."""
    if budget is None:
        return {}
    return {
        "limit": budget.limit,
        "spent": budget.spent,
        "left": budget.left,
        "duration": budget.duration,
        "resets_at": instant_text(budget.resets_at),
        "team_id": budget.team_id,
    }


def difference(before: ObservedBudget | None, after: ObservedBudget | None) -> Json | None:
    """Return the budget before and after, for diff mode; None if it did not change. Spend is no change."""
    shown = [
        {} if one is None else {"team_id": one.team_id, "limit": one.limit, "duration": one.duration}
        for one in (before, after)
    ]
    if shown[0] == shown[1]:
        return None
    either = after or before
    header = f"shared budget {either.team_id if either else ''}"
    return {"before_header": header, "after_header": header, "before": shown[0], "after": shown[1]}


def budget_line(budget: ObservedBudget, *, check_mode: bool = False) -> str:
    """Return the line of a summary about the budget."""
    if budget.limit is None:
        return f"Shared budget: no limit, {budget.spent:.2f} spent"
    limit = f"Shared budget: {budget.limit:.2f} USD for all keys"
    resets = f", reset at {instant_text(budget.resets_at)}" if budget.resets_at else ""
    return limit if check_mode else f"{limit}: {budget.spent:.2f} spent, {budget.left:.2f} left{resets}"


def spent_budget(guid: str, budget: ObservedBudget, request: Request) -> str:
    """Return the warning about a budget of which nothing is left."""
    limit = f"{budget.limit or 0:.2f}"
    return (
        f"The virtual keys of environment {guid} do not work: their shared budget of {limit} USD is spent. Raise "
        f"{request.wording.option(OPTION)}"
    )


def deleted_budget(guid: str, team_id: str, *, check_mode: bool) -> str:
    """Return the line of a summary about a team that was deleted."""
    return f"{'Would delete' if check_mode else 'Deleted'} the shared budget of environment {guid} (team {team_id})"


def still_used(request: Request, budget: ObservedBudget, keys: Sequence[ObservedKey]) -> str:
    """Return the error for a team that cannot be deleted, because other keys are in it."""
    names = sorted(str(key.alias or key.key_name) for key in keys)
    return (
        f"The shared budget of environment {request.guid} is left, because other virtual keys are in team "
        f"{budget.team_id}: {listed(names)}. Delete them, or move them to another team, and run "
        f"{request.wording.operation('destroy')} again"
    )


def not_removed(request: Request, team_id: str, reason: str) -> str:
    """Return the error for a team that could not be deleted."""
    limit = request.options[OPTION]
    again = request.wording.setting(OPTION, f"{limit:g}" if is_amount(limit) else "1")
    return (
        f"The shared budget of environment {request.guid} may be left in team {team_id}: {reason}. Run "
        f"{request.wording.operation('destroy')} again with {again}, whatever the amount"
    )


def listed_budgets(
    rows: Iterable[Mapping[str, Any]], teams: Mapping[str, str], unused_prefix: str | None = None
) -> list[Json]:
    """Return the shared budgets among the rows of all teams, in the order of their guids.

    :param teams: the result of `budget_keys.teams_of`; a team that does not name the same environment is left out.
    :param unused_prefix: return the teams of this collection that no key is in, too, if their ids start with this.
    """

    def is_listed(budget: ObservedBudget) -> bool:
        if budget.team_id in teams:
            return budget.belongs_to(teams[budget.team_id])
        is_unused = unused_prefix is not None and budget.team_id.startswith(unused_prefix)
        return is_unused and budget.is_managed and budget.guid is not None

    budgets = [ObservedBudget.from_row(row) for row in rows if isinstance(row.get("team_id"), str)]
    own = filter(is_listed, budgets)
    return [{"guid": one.guid, **describe_budget(one)} for one in sorted(own, key=lambda one: str(one.guid))]
