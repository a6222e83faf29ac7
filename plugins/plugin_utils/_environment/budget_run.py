# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create, change and delete the team that holds the shared budget of a lab environment.

The team exists before the first key is in it, and is deleted after the last one: LiteLLM refuses all requests of a key
whose team does not exist, and deletes all keys of a team that is deleted.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import LiteLLMError, UserError
from .._keys.outcome import Outcome
from . import shared_budget as rules
from .budget_team import BudgetTeam
from .results import EnvironmentRun, OperationResult
from .shared_budget import ObservedBudget, SharedBudget


class BudgetRun:
    """What an operation does about the shared budget.

    :ivar desired: the desired budget; None if the operation sets none.
    :ivar before: the budget as it was found.
    :ivar after: the budget as it was read back, or in check mode as it would be.
    :ivar error: why the budget is not as desired, as a sentence.
    """

    def __init__(self, run: EnvironmentRun, desired: SharedBudget | None) -> None:
        self.desired = desired
        self.before: ObservedBudget | None = None
        self.after: ObservedBudget | None = None
        self.error: str | None = None
        self._run = run
        self._team = BudgetTeam(run.client, run.observer, run.request.alias, run.request.guid)
        self._team_id = run.request.alias
        self._guid = run.request.guid

    @property
    def team_ids(self) -> frozenset[str]:
        """The teams that exist when keys are created, or that check mode assumes to exist."""
        return frozenset((self._team_id,) if self.desired else ())

    def ensure(self) -> None:
        """Create or change the team, and read it back.

        :raises UserError: if the budget is not as desired.
        """
        desired = self.desired
        if desired is None:
            return
        self.before = self.after = self._team.read()
        if rules.changes(desired, self.after) is None:
            return
        if self._run.check_mode:
            self.after = rules.predicted(desired, self.after)
            return
        try:
            self._team.write(desired)
        except LiteLLMError as error:
            raise UserError(f"Cannot set the shared budget of environment {self._guid}: {error}") from None
        self.after = self._team.budget

    def confirm(self, outcomes: Sequence[Outcome]) -> None:
        """Read the team again after keys were changed: another run may have deleted it meanwhile."""
        if not self.desired or self._run.check_mode:
            return
        if not any(rules.is_in_team(one.after, self._team_id) for one in outcomes):
            self.discard_if_new()
        elif any(one.changed for one in outcomes):
            try:
                self.after = self._team.read()
                if self.after:
                    rules.check_owner(self.after, self._guid)
                problem = None if self.after else "another run has deleted it meanwhile"
            except UserError as error:
                problem = str(error)
            if problem:
                self.error = (
                    f"The shared budget of environment {self._guid} (team {self._team_id}) is not certain: {problem}. "
                    "Run again"
                )

    def discard_if_new(self) -> None:
        """Delete the team again if this run has created it and no key is in it: no later run might look for it."""
        if self.desired and not self._run.check_mode and self.before is None and self.after is not None:
            self.remove((), whole=False)
            self.before = None
            if self.error:
                self._run.warn(self.error)
            self.error = None

    def remove(self, outcomes: Sequence[Outcome], *, whole: bool) -> None:
        """Delete the team if it belongs to the environment and no key is in it any more. Errors are in `error`.

        :param outcomes: the keys that are deleted, which check mode still finds.
        :param whole: all keys of the environment are deleted, so it is an error if a key is in the team.
        """
        was_used = any(rules.is_in_team(one.before, self._team_id) for one in outcomes)
        try:
            self.after = self._team.read()
            self.before = self.before or self.after
            if self.after is None:
                return
            problem = rules.owner_problem(self.after, self._guid)
            if problem and not was_used:  # no key of the environment depends on it
                self._run.warn(problem)
                self.before = self.after = None
            elif problem:
                self.error = problem
            elif keys := self._team.keys(outcomes if self._run.check_mode else ()):
                self.error = rules.still_used(self._run.request, self.after, keys) if whole else None
            elif self._run.check_mode:
                self.after = None
            else:
                self._team.delete()
                self.after = None
        except LiteLLMError as error:
            self.error = rules.not_removed(self._run.request, self._team_id, str(error))

    def show(self) -> None:
        """Read the budget, for the status of an environment. That it cannot be read is a warning."""
        try:
            self.before = self.after = self._team.read()
            if self.after:
                rules.check_owner(self.after, self._guid)
        except UserError as error:
            self._run.warn(str(error))
            self.before = self.after = None

    def add_to(self, result: OperationResult) -> None:
        """Add the budget to the result of the operation."""
        if diff := rules.difference(self.before, self.after):
            result.changed = True
            result.diff.insert(0, diff)
        result.shared_budget = rules.describe_budget(self.after)
        result.error = result.error or self.error
        if self.after:
            line = rules.budget_line(self.after, check_mode=self._run.check_mode)
            after_end = (at for at, one in enumerate(result.summary, start=1) if one.startswith(("End:", "No end:")))
            result.summary.insert(next(after_end, len(result.summary)), line)
            if self._run.request.operation == "status":
                result.report = line
            if self.after.is_spent:
                self._run.warn(rules.spent_budget(self._guid, self.after, self._run.request))
