# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Track one desired key: what was observed, planned and attempted, and the outcome.

Only this module changes a KeyProgress; `apply` and `reconcile` report events to it and read its state.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from .._errors import LiteLLMError
from . import problems
from .lifetimes import resolve_lifetime
from .model import DesiredKey, ObservedKey, Snapshot
from .outcome import Outcome
from .plan import plan, predict
from .secrets import Secret, generate
from .steps import Create, Delete, Operation, Plan, Rename, Retire, Step, Update
from .values import is_same_json


@dataclass
class KeyProgress:
    """The progress of one desired key through the rounds of a run.

    :ivar goal: `desired` with a lifetime that is resolved at the first snapshot.
    :ivar secret: the secret for a new key. It is chosen before anything is sent: its hash shows whether a request whose
        response was lost was processed. None if the proxy accepts only secrets that it generates.
    :ivar snapshot: the last observed state.
    :ivar first_plan: the plan after the first snapshot.
    :ivar created: the id of the key that this run has created, as far as it knows.
    :ivar was_created: LiteLLM has reported, or a snapshot has shown, that it was created.
    :ivar attempted: the steps that were attempted.
    :ivar last_error: the error of the last attempt.
    :ivar failed_rounds: the number of rounds with a transient error.
    :ivar server_secrets: the proxy accepts only secrets that it generates.
    :ivar previous_found: the keys that the key had replaced and that still existed, by id.
    :ivar observed_last_attempt: there was a snapshot after the last attempt.
    """

    desired: DesiredKey
    secret: Secret | None
    goal: DesiredKey = field(init=False)
    snapshot: Snapshot | None = None
    plan: Plan = field(default_factory=lambda: Plan("unchanged"))
    first_plan: Plan | None = None
    created: str | None = None
    was_created: bool = False
    attempted: list[Step] = field(default_factory=list)
    last_error: LiteLLMError | None = None
    failed_rounds: int = 0
    server_secrets: bool = False
    previous_found: dict[str, ObservedKey] = field(default_factory=dict)
    observed_last_attempt: bool = True
    error: str | None = None

    def __post_init__(self) -> None:
        self.goal = self.desired

    # Events

    def observe(self, snapshot: Snapshot) -> None:
        """Record a snapshot and plan the next step."""
        self.snapshot = snapshot
        self.observed_last_attempt = True
        self.was_created |= self.created in {key.key_id for key in snapshot.claimants}
        self.previous_found |= {key.key_id: key for key in snapshot.previous}
        if self.first_plan is None:
            self.goal = resolve_lifetime(self.desired, snapshot.now)
        if self.last_error and self.last_error.refuses_custom_secrets and not self.server_secrets:
            self._let_the_proxy_generate_secrets()
        self.plan = plan(
            self.goal,
            snapshot,
            self.created,
            before=self.before,
            server_secrets=self.server_secrets,
        )
        self.first_plan = self.first_plan or self.plan
        self.error = self.plan.problem
        if self.error is None and self.last_error and not self.last_error.transient and self._repeats_last_step():
            self.error = problems.failure(self.desired, self.plan.step, self.last_error)
        if self._lost_server_secret():
            self.error = problems.secret_lost(self.desired)

    def start_attempt(self, step: Step) -> None:
        """Record that a step is about to be sent."""
        if isinstance(step, Create):
            is_used = step.new_secret and self.secret == self.desired.new_secret
            if step.secret:
                self.secret = step.secret
            elif self.secret and (is_used or (self.was_created and not self.desired.new_secret)):
                self.secret = generate()  # another run has deleted the key, perhaps to revoke its secret
            self.created = self.secret.key_id if self.secret else None
        self.attempted.append(step)
        self.observed_last_attempt = False

    def finish_attempt(self, error: LiteLLMError | None = None, secret: Secret | None = None) -> None:
        """Record the result of a step.

        :param secret: the secret of the key that was created.
        """
        self.last_error = error
        if secret:
            self.secret, self.created, self.was_created = secret, secret.key_id, True

    def skip_attempt(self, reason: LiteLLMError) -> None:
        """Record that the step was not attempted in this round."""
        self.last_error = reason

    def count_failed_round(self, max_failed_rounds: int) -> None:
        """Count a round whose attempt had a transient error; fail after too many."""
        if self.pending and self.last_error and self.last_error.transient:
            self.failed_rounds += 1
            if self.failed_rounds > max_failed_rounds:
                self.error = problems.failure(self.desired, self.plan.step, self.last_error)

    def fail(self, message: str) -> None:
        """Record why the key cannot be made as desired."""
        self.error = message

    def add_to_error(self, message: str) -> None:
        """Add the failure of a clean-up to the error."""
        self.error = f"{self.error}; {message}"

    def assume_applied(self, now: datetime) -> None:
        """Trust a successful response if the key cannot be read back: the secret is returned only once."""
        expected = predict(self.goal, self.plan, now)
        step = self.plan.step
        is_final = isinstance(step, Create) and step.alias == self.desired.alias
        if is_final and not self.last_error and expected and self.created:
            self.plan = Plan("created", key=replace(expected, key_id=self.created))
        elif isinstance(step, Delete | Retire) and step in self.attempted and not self.last_error and self.snapshot:
            # The old key does not have the alias, and the new one has not got it yet.
            new = next((key for key in self.snapshot.successors if key.key_id == self.created), None)
            self.plan = Plan("regenerated", key=new) if new else self.plan

    def deleted_again(self) -> None:
        """Record that the key that this run created was deleted again."""
        self.plan, self.created = Plan("absent"), None

    def fail_with_last_error(self) -> None:
        """Record the error of the last attempt as the reason why the key cannot be made as desired."""
        if self.last_error:
            self.error = problems.failure(self.desired, self.plan.step, self.last_error)

    # State

    @property
    def before(self) -> ObservedKey | None:
        """The key as it was found."""
        return self.first_plan.key if self.first_plan else None

    @property
    def pending(self) -> bool:
        """Whether there is a step to attempt."""
        return self.plan.step is not None and self.error is None and not self.not_converging

    @property
    def settings_to_write(self) -> Mapping[str, Any]:
        """The settings that the planned step, or the replacement that it starts, will write."""
        step = self.plan.step
        if self.plan.operation == "regenerated":
            return self.goal.settings  # the others are those of the key that is replaced
        return step.settings if isinstance(step, Create | Update) else {}

    @property
    def not_converging(self) -> bool:
        """Whether the proxy reported success for the same step twice and the step is still to be done."""
        step = self.plan.step
        return step is not None and self.last_error is None and self.attempted.count(step) > 1

    @property
    def needs_successors(self) -> bool:
        """Whether keys that are about to replace a key, or that it has replaced, matter if there is a key, too."""
        if not self.desired.present:
            # A key that a request did not delete may have another alias by now.
            return not self.snapshot or bool(self.last_error or self.snapshot.successors or self.snapshot.previous)
        # A replacement that has started before an update does not have the changes.
        return self.desired.regenerate != "never" or bool(self.desired.rotate) or self._has_attempted(Update)

    @property
    def is_being_replaced(self) -> bool:
        """Whether the key that this run found still exists beside the one that is to replace it."""
        before, ids = self.before, {key.key_id for key in self.snapshot.claimants} if self.snapshot else set()
        return bool(before and {before.key_id, self.created} <= ids)

    @property
    def lost_race(self) -> bool:
        """Whether a concurrent run created the key first."""
        key = self.plan.key
        return bool(self._has_attempted(Create) and key and key.key_id != self.created and not self.error)

    @property
    def secret_unrecoverable(self) -> bool:
        """Whether this run has created a new key with a secret that exists nowhere else."""
        return bool(self.created and not self.desired.new_secret and self.first_plan and not self.first_plan.key)

    @property
    def has_replaced(self) -> bool:
        """Whether this run has deleted or retired the key that it found, so that another one has its alias."""
        key, before = self.plan.key, self.before
        retired = {step.key_id for step in self.attempted if isinstance(step, Retire)}
        return bool(key and before and key.key_id != before.key_id and before.key_id in self._deleted | retired)

    @property
    def surplus_deleted(self) -> int:
        """How many keys this run has deleted that were surplus when it started."""
        before = self.before if self.desired.present else None
        return len(self._deleted - self.previous_found.keys() - {before.key_id, self.created}) if before else 0

    @property
    def previous(self) -> ObservedKey | None:
        """The key that the key has replaced and that works until its overlap ends."""
        found = self.snapshot.previous if self.snapshot else ()
        return found[-1] if found and self.desired.present and self.plan.key else None

    def outcome(self) -> Outcome:
        """Return the outcome after the last round."""
        key, before = self.plan.key, self.before
        operation: Operation = "unchanged" if key else "absent"
        if not self.desired.present:
            operation = "absent" if not before else "unchanged" if key else "deleted"
        elif key and (key.key_id == self.created or self.has_replaced):
            operation = "regenerated" if before and before.key_id != key.key_id else "created"
        elif key and before and self._has_changed(key, before):
            operation = "updated"
        own = self.secret if key and self.secret and key.key_id == self.secret.key_id else None
        secret = own or (self.desired.secret_of(key) if key else None)
        unconfirmed = None if self.observed_last_attempt or secret == self.secret else self.secret
        if self.attempted and isinstance(last := self.attempted[-1], Create) and last.alias != self.desired.alias:
            unconfirmed = None  # the key that it was to replace is still there
        return Outcome(
            self.desired,
            operation,
            before,
            key,
            secret,
            self.error,
            unconfirmed if self.created else None,
            self._end_set(),
            self._not_deleted(),
            self.previous,
        )

    def preview(self) -> Outcome:
        """Return the outcome that check mode reports."""
        after = predict(self.goal, self.plan, self.snapshot.now) if self.snapshot else None
        secret = self.desired.secret_of(after) if after and self.error is None else None
        return Outcome(
            self.desired, self.plan.operation, self.plan.key, after, secret, self.error, previous=self.previous
        )

    def _let_the_proxy_generate_secrets(self) -> None:
        """Forget the refused attempt; the next plan lets the proxy generate the secret."""
        self.server_secrets = True
        if not self.desired.new_secret:
            self.secret = self.created = self.last_error = None
            self.attempted.pop()

    def _lost_server_secret(self) -> bool:
        """Whether the proxy created the key with a secret of its own and the response was lost."""
        is_refused = self.last_error and self.last_error.status and self.last_error.status < 500
        if self.created or self.secret or is_refused or not self.snapshot:
            return False
        created = {step.alias for step in self.attempted if isinstance(step, Create)}
        return any(key.alias in created for key in self.snapshot.all)

    def _end_set(self) -> bool:
        desired_end = self.goal.lifetime.end if self.goal.lifetime else None
        return any(
            (isinstance(step, Create) and step.end == desired_end)
            or (isinstance(step, Update) and step.end is not None)
            for step in self.attempted
        )

    def _not_deleted(self) -> tuple[str, ...]:
        """Return the ids of the keys that were observed after the last of several attempts to delete them."""
        step = self.plan.step
        if self.desired.present or not isinstance(step, Delete) or not self.observed_last_attempt:
            return ()
        attempts = sum(isinstance(one, Delete) for one in self.attempted)
        return step.key_ids if attempts > 1 or (attempts and self.error) else ()

    def _has_changed(self, key: ObservedKey, before: ObservedKey) -> bool:
        """Whether this run has changed the key that it found, or deleted keys with its alias."""
        touched = self._deleted | {step.key_id for step in self.attempted if isinstance(step, Update)}
        others = self.surplus_deleted or self._has_attempted(Rename) or touched & self.previous_found.keys()
        return bool(others) or self._has_updated(key, before)

    def _has_updated(self, key: ObservedKey, before: ObservedKey) -> bool:
        if not self._has_attempted(Update):
            return False
        names = {*key.settings, *self.goal.settings}
        return key != before or not all(is_same_json(key.value(name), before.value(name)) for name in names)

    @property
    def _deleted(self) -> set[str]:
        """The ids of the keys that this run has deleted, as far as it knows."""
        attempted = {key_id for step in self.attempted if isinstance(step, Delete) for key_id in step.key_ids}
        return attempted - self.snapshot.ids if self.snapshot else set()

    def _has_attempted(self, kind: type[Step]) -> bool:
        return any(isinstance(step, kind) for step in self.attempted)

    def _repeats_last_step(self) -> bool:
        return bool(self.attempted) and type(self.plan.step) is type(self.attempted[-1])
