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
from .._keys.model import DesiredKey, ObservedKey
from .._keys.outcome import Outcome
from .._keys.reconcile import reconcile
from .._keys.result import failure
from . import shared_budget as rules
from .budget_keys import (
    created_in_team,
    has_team,
    is_in_team,
    leaves_team,
    moves_of_previous,
    with_team,
)
from .budget_team import BudgetTeam
from .request import WRITING_OPERATIONS
from .results import EnvironmentRun, OperationResult
from .shared_budget import ObservedBudget, SharedBudget


class BudgetRun:
    """What an operation does about the shared budget.

    :ivar desired: the desired budget; None if the operation sets none.
    :ivar before: the budget as it was found.
    :ivar after: the budget as it was read back, or in check mode as it would be.
    :ivar is_joined: new keys are created in the team, although the operation does not set the budget.
    :ivar error: why the budget is not as desired, as a sentence.
    """

    def __init__(self, run: EnvironmentRun, desired: SharedBudget | None) -> None:
        self.desired = desired
        self.before: ObservedBudget | None = None
        self.after: ObservedBudget | None = None
        self.is_joined = False
        self.error: str | None = None
        self._run = run
        self._moved: list[Outcome] = []
        self._team = BudgetTeam(run.client, run.observer, run.request.alias, run.request.guid)
        self._team_id = run.request.alias
        self._guid = run.request.guid

    @property
    def team_ids(self) -> frozenset[str]:
        """The teams that exist when keys are created, or that check mode assumes to exist."""
        return frozenset((self._team_id,) if self.desired or self.is_joined else ())

    def prepare(self, keys: Sequence[DesiredKey], found: Sequence[ObservedKey]) -> list[DesiredKey]:
        """Make the budget as desired, and return the desired keys with its team.

        Without a desired budget, new keys are created in the team that other keys of the environment are in.

        :param found: the observed keys of the environment, if they were listed.
        :raises UserError: if the budget is not as desired, or cannot be read.
        """
        request = self._run.request
        if self.desired:
            self._ensure(self.desired)
            return with_team(keys, found, self._team_id)
        creates = request.operation in ("provision", "extend") and not rules.team_options(request)
        if creates and has_team(request, self._run.known, found):
            budget = self._team.read()
            if budget and budget.belongs_to(self._guid):
                self.before = self.after = budget
                self.is_joined = True
                return created_in_team(keys, self._team_id)
        return list(keys)

    def _ensure(self, desired: SharedBudget) -> None:
        """Create or change the team, and read it back.

        :raises UserError: if the budget is not as desired.
        """
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

    def follow(self, outcomes: Sequence[Outcome]) -> None:
        """Do what is to be done about the team after keys were changed, unless they were deleted by a destroy."""
        self._move_previous(outcomes)
        self.confirm(outcomes)
        if self.desired:
            return
        if any(leaves_team(one, self._team_id) for one in (*outcomes, *self._moved)):
            self.remove(outcomes, whole=False)
        is_used = any(is_in_team(one.after, self._team_id) for one in outcomes)
        if is_used and not self.after and self._run.request.operation in (*WRITING_OPERATIONS, "start"):
            self.show()

    def _move_previous(self, outcomes: Sequence[Outcome]) -> None:
        """Let replaced keys that work until their overlap ends join or leave the team with the keys."""
        if moves := moves_of_previous(self._run.request, outcomes):
            try:
                self._moved = reconcile(
                    self._run.client,
                    moves,
                    observer=self._run.observer,
                    check_mode=self._run.check_mode,
                    teams=self.team_ids,
                    warn=self._run.warn,
                )
                self.error = failure(self._moved)
            except UserError as error:
                self.error = str(error)

    def confirm(self, outcomes: Sequence[Outcome]) -> None:
        """Read the team again after keys were changed: another run may have deleted it meanwhile."""
        if not (self.desired or self.is_joined) or self._run.check_mode:
            return
        if not any(is_in_team(one.after, self._team_id) for one in outcomes):
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
        try:
            self.after = self._team.read()
            self.before = self.before or self.after
            if self.after is None:
                return
            problem = rules.owner_problem(self.after, self._guid)
            if problem:
                self._run.warn(problem)
                self.before = self.after = None
            elif keys := self._team.keys((*outcomes, *self._moved) if self._run.check_mode else ()):
                self.error = rules.still_used(self._run.request, self.after, keys) if whole else None
            elif self._run.check_mode:
                self.after = None
            else:
                self._team.delete()
                self.after = None
        except LiteLLMError as error:
            self.error = rules.not_removed(self._run.request, self._team_id, str(error))

    def show(self) -> None:
        """Read the budget of keys. That it cannot be read is a warning."""
        try:
            self.before = self.after = self._team.read()
            if self.after and not self.after.belongs_to(self._guid):
                self.before = self.after = None  # the keys were put into a team of somebody else
        except UserError as error:
            self._run.warn(str(error))
            self.before = self.after = None

    def add_to(self, result: OperationResult) -> None:
        """Add the budget to the result of the operation."""
        if diff := rules.difference(self.before, self.after):
            result.changed = True
            result.diff.insert(0, diff)
        result.changed = result.changed or any(one.changed for one in self._moved)
        result.shared_budget = rules.describe_budget(self.after)
        result.error = result.error or self.error
        check_mode, is_destroy = self._run.check_mode, self._run.request.operation == "destroy"
        if self.after:
            line = rules.budget_line(self.after, check_mode=check_mode)
        elif self.before:
            line = rules.deleted_budget(self._guid, self._team_id, check_mode=check_mode)
        else:
            return
        after_end = (at for at, one in enumerate(result.summary, start=1) if one.startswith(("End:", "No end:")))
        result.summary.insert(next(after_end, len(result.summary)), line)
        if self._run.request.operation == "status":
            result.report = line
        if self.after and self.after.is_spent and not is_destroy:
            self._run.warn(rules.spent_budget(self._guid, self.after, self._run.request))
