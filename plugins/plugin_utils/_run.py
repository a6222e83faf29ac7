# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One wanted key on its way: what was seen, what is planned, what was tried, and what became of it.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, printable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import (
    Create,
    Delete,
    Operation,
    Plan,
    Seen,
    Step,
    Update,
    Wait,
    foreseen,
    plan,
    settled,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret


@dataclass
class Outcome:
    """What became of one wanted key.

    :ivar before: the key as it was found; None when there was none.
    :ivar after: the key as it was read back, or in check mode as it would be; None when there is none.
    :ivar secret: the secret of `after`; None when it is not known.
    :ivar error: why the key is not as wanted, as a sentence.
    :ivar not_deleted: the ids of the keys that LiteLLM says it has deleted, and that are still there.
    """

    wanted: Wanted
    operation: Operation
    before: Observed | None
    after: Observed | None
    secret: Secret | None = None
    error: str | None = None
    end_set: bool = False
    not_deleted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.error = self.error and printable(self.error)

    @property
    def changed(self) -> bool:
        return self.operation not in ("unchanged", "absent")


@dataclass
class Run:
    """One wanted key on its way through the rounds.

    :ivar goal: the same as `wanted`, with its lifetime settled when the proxy's clock was first seen.
    :ivar secret: what a new key gets. Chosen before anything is sent: by its hash, a lost answer can be told from a
        lost request. None once the proxy has said that it makes secrets itself.
    :ivar seen: what the proxy had when it was last looked at.
    :ivar created: the id of the key that this run has made, as far as it knows.
    :ivar done: the steps that were tried.
    :ivar trouble: what the last of them met with.
    :ivar troubled: in how many rounds there was trouble that may pass.
    """

    wanted: Wanted
    secret: Secret | None
    goal: Wanted = field(init=False)
    seen: Seen | None = None
    plan: Plan = field(default_factory=lambda: Plan("unchanged"))
    first: Plan | None = None
    created: str | None = None
    done: list[Step] = field(default_factory=list)
    trouble: LiteLLMError | None = None
    troubled: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        self.goal = self.wanted

    @property
    def replaces(self) -> bool:
        """A key that is being replaced concerns this run even where a new one is there."""
        if not self.wanted.present:
            return self.seen is None or bool(self.seen.old)  # what was not there when a key is removed will not come
        return self.wanted.regenerate != "never"

    @property
    def pending(self) -> bool:
        return self.plan.step is not None and self.error is None and not self.stuck

    @property
    def stuck(self) -> bool:
        """The proxy said yes to the same step twice, and it is still to be done."""
        step = self.plan.step
        return step is not None and self.trouble is None and self.done.count(step) > 1

    @property
    def lost(self) -> bool:
        """Another run created the key first."""
        return bool(self._tried(Create) and self.plan.key and self.plan.key.key_id != self.created and not self.error)

    @property
    def made_in_vain(self) -> bool:
        """This run has made the key, anew, with a secret that is known nowhere else."""
        return bool(self.created and not self.wanted.secret_of_new and self.first and not self.first.key)

    @property
    def replaced(self) -> bool:
        """This run has put a new key in the place of the old one, which is gone."""
        return bool(self.created and self.plan.key and self.plan.key.key_id == self.created and self._tried(Delete))

    def decide(self, seen: Seen) -> None:
        """Plan the next step, from what the proxy has now and from what was tried."""
        self.seen = seen
        if self.first is None:
            self.goal = settled(self.wanted, seen.now)
        before = self.first.key if self.first else None
        self.plan = plan(self.goal, seen, self.created, waited=self._tried(Wait), before=before)
        if self.first is None:
            self.first = self.plan
        self.error = self.plan.problem
        if self.trouble and not self.trouble.passing and self._same_again():
            self.error = str(self.trouble)
        refused = self.trouble and self.trouble.status and self.trouble.status < 500
        if self.created is None and self.secret is None and seen.keys and self._tried(Create) and not refused:
            self.error = (
                f"The key {self.wanted.name} was created, but the proxy made its secret and the answer was lost; "
                "run again with regenerate: if_unrecoverable"
            )

    def believe(self, now: datetime) -> None:
        """Where the proxy cannot be asked again, take its yes for what it is worth: it tells a secret only once."""
        expected = foreseen(self.goal, self.plan, now)
        if isinstance(self.plan.step, Create) and not self.trouble and expected and self.created:
            self.plan = Plan("created", key=replace(expected, key_id=self.created))

    def outcome(self) -> Outcome:
        """What became of the key."""
        key = self.plan.key
        before = self.first.key if self.first else None
        operation: Operation = "unchanged" if key else "absent"
        if not self.wanted.present:
            operation = "absent" if not before else "unchanged" if key else "deleted"
        elif key and key.key_id == self.created:
            operation = "regenerated" if before else "created"
        elif key and before and (key.alias != before.alias or (self._tried(Update) and self._differs(key, before))):
            operation = "updated"
        own = self.secret if key and self.secret and key.key_id == self.secret.key_id else None
        known = own or (self.wanted.secret_of(key) if key else None)
        return Outcome(self.wanted, operation, before, key, known, self.error, self._end_set, self._not_deleted)

    def foreseen(self) -> Outcome:
        """What would become of the key, for check mode."""
        after = foreseen(self.goal, self.plan, self.seen.now) if self.seen else None
        known = self.wanted.secret_of(after) if after and self.error is None else None
        return Outcome(self.wanted, self.plan.operation, self.plan.key, after, known, self.error)

    @property
    def _not_deleted(self) -> tuple[str, ...]:
        step = self.plan.step
        return step.key_ids if not self.wanted.present and isinstance(step, Delete) and self.stuck else ()

    @property
    def _end_set(self) -> bool:
        asked = self.goal.lifetime.end if self.goal.lifetime else None
        return any(
            (isinstance(step, Create) and step.end == asked) or (isinstance(step, Update) and step.end is not None)
            for step in self.done
        )

    def _differs(self, key: Observed, before: Observed) -> bool:
        return key != before or any(key.value(name) != before.value(name) for name in self.goal.settings)

    def _tried(self, kind: type[Step]) -> bool:
        return any(isinstance(step, kind) for step in self.done)

    def _same_again(self) -> bool:
        return bool(self.done) and type(self.plan.step) is type(self.done[-1])
