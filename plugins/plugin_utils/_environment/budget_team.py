# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The team that holds the shared budget of a lab environment: requests, and what is read back after each.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable

from .._errors import LiteLLMError
from .._keys.model import ObservedKey
from .._keys.observer import Observer
from .._keys.outcome import Outcome
from .._litellm.client import Client
from .._litellm.teams import create_team, delete_team, list_teams, read_team, update_team
from . import shared_budget as rules
from .budget_keys import is_in_team, teams_of
from .shared_budget import ObservedBudget, SharedBudget

# A concurrent run can create the team first, with another budget.
_MAX_ROUNDS = 3
_MAX_PAUSE = 8.0  # seconds


class BudgetTeam:
    """The team with an id, which belongs to an environment if its metadata name the guid and this collection.

    :ivar budget: the budget as it was read last; None if there is no team.
    """

    def __init__(self, client: Client, observer: Observer, team_id: str, guid: str) -> None:
        self.team_id, self.guid = team_id, guid
        self.budget: ObservedBudget | None = None
        self._client, self._observer = client, observer

    def read(self) -> ObservedBudget | None:
        """Read the team.

        :raises LiteLLMError: if it cannot be read.
        """
        row = read_team(self._client, self.team_id)
        self.budget = ObservedBudget.from_row(row) if row else None
        return self.budget

    def write(self, desired: SharedBudget) -> None:
        """Create the team, or change it, and read it back.

        :raises LiteLLMError: if the team does not become as desired.
        :raises UserError: if it belongs to somebody else.
        """

        def send() -> None:
            if fields := rules.changes(desired, self.budget):
                (update_team if self.budget else create_team)(self._client, fields)

        self._repeat(send, lambda: rules.changes(desired, self.budget) is None)

    def delete(self) -> None:
        """Delete the team, which was proven to belong to the environment, unless a key is in it.

        :raises LiteLLMError: if the team, or a key in it, may be left.
        """

        def send() -> None:
            if self.keys():
                raise LiteLLMError("another run has put a virtual key into it meanwhile", transient=False)
            delete_team(self._client, self.team_id)

        self._repeat(send, lambda: self.budget is None)
        if keys := self.keys():  # LiteLLM creates keys in a team that is being deleted
            names = ", ".join(sorted(str(key.alias) for key in keys))
            raise LiteLLMError(f"another run has created {names} in it meanwhile", transient=False)

    def keys(self, leaving: Iterable[Outcome] = ()) -> list[ObservedKey]:
        """Return the keys that are in the team.

        :param leaving: keys that check mode would delete or move, which are left out.
        :raises LiteLLMError: if they cannot be listed.
        """
        gone = [one for one in leaving if not is_in_team(one.after, self.team_id)]
        aliases = {one.desired.alias for one in gone if one.desired.alias}
        ids = {one.before.key_id for one in gone if one.before}
        return [
            key
            for key in self._observer.find_by_prefix("", {"team_id": self.team_id})
            if is_in_team(key, self.team_id) and key.final_alias not in aliases and key.key_id not in ids
        ]

    def _repeat(self, send: Callable[[], None], is_done: Callable[[], bool]) -> None:
        """Send requests, and read the team after each, until it is as desired.

        A request that failed may have been processed, and a concurrent run may have sent another one: what counts is
        what is read back.

        :raises LiteLLMError: if the team does not become as desired.
        """
        retries = self._client.connection.retries
        failed = 0
        for _round in range(_MAX_ROUNDS + retries):
            error: LiteLLMError | None = None
            before = self.budget
            try:
                send()
            except LiteLLMError as failure:
                error = failure
            self.read()
            if is_done():
                return
            if rules.difference(before, self.budget):
                continue  # another run has changed it
            failed += 1
            if error and (not error.transient or failed > retries):
                raise error
            if not error and failed > retries:
                raise LiteLLMError(
                    f"team {self.team_id} did not change after LiteLLM reported success", transient=False
                )
            _pause(failed)
        raise LiteLLMError(f"other clients change team {self.team_id} at the same time; run again", transient=False)


def _pause(attempt: int) -> None:
    """Wait longer after each attempt, and not exactly as long as other controllers."""
    time.sleep(min(_MAX_PAUSE, 0.25 * 2**attempt) * random.uniform(0.5, 1))


def list_shared_budgets(client: Client, keys: Iterable[ObservedKey], unused_prefix: str | None) -> list[rules.Json]:
    """Return the shared budgets of the keys' environments. The teams are listed only if a key points to one.

    :param unused_prefix: return the budgets that no key is in, too, if the ids of their teams start with this.
    :raises LiteLLMError: if the teams cannot be listed.
    """
    teams = teams_of(keys)
    return rules.listed_budgets(list_teams(client), teams, unused_prefix) if teams else []


def warning_about_shared_budgets(error: LiteLLMError) -> str:
    """Return a warning that the budgets of `list_shared_budgets` are missing."""
    return f"The shared budgets of the environments are left out, because they cannot be read: {error}"


def delete_unused_teams(
    client: Client, observer: Observer, outcomes: Iterable[Outcome], *, check_mode: bool
) -> str | None:
    """Delete the team of each shared budget whose last key was deleted, and return an error, or None.

    A team that this collection did not create, or that names another environment, is left as it is.
    """
    outcomes = list(outcomes)
    deleted = [one.before for one in outcomes if one.before and not one.after and not one.error]
    problems = []
    for team_id, guid in teams_of(deleted).items():
        team = BudgetTeam(client, observer, team_id, guid)
        try:
            budget = team.read()
            if budget and budget.belongs_to(guid) and not check_mode and not team.keys():
                team.delete()
        except LiteLLMError as error:
            problems.append(
                f"The team {team_id} of environment {guid}, which no key is in any more, may be left: {error}. Run "
                f"litellm_environment with operation destroy, guid {guid} and any shared_budget"
            )
    return ". ".join(problems) or None
