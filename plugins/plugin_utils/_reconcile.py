# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the proxy's keys what was asked: observe, plan, apply, and look again until nothing is left to do.

Looking again is what makes it exact. A lost answer is a state not yet seen; a setting that the proxy ignored, an
expiry that it computed in its own way, or another run that created the same alias, are just something left to do.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._apply import change, delete
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Rows, observe
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import (
    Create,
    Delete,
    Operation,
    Plan,
    Update,
    foreseen,
    plan,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, generate

if TYPE_CHECKING:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client

# One to work, one to mend what the proxy understood in its own way, one to see that it is well.
_ROUNDS = 3
_LONGEST_PAUSE = 8.0  # seconds
_KEYS_IN_ONE_DELETION = 100


@dataclass
class Outcome:
    """What became of one wanted key.

    :ivar before: the key as it was found; None when there was none.
    :ivar after: the key as it was read back, or in check mode as it would be; None when there is none.
    :ivar secret: the secret of `after`; None when it is not known.
    :ivar error: why the key is not as wanted, as a sentence.
    """

    wanted: Wanted
    operation: Operation
    before: Observed | None
    after: Observed | None
    secret: Secret | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.operation in ("created", "updated", "deleted")


@dataclass
class _Run:
    """One wanted key on its way through the rounds."""

    wanted: Wanted
    # Chosen before anything is sent: by its hash a lost answer can be told from a lost request.
    secret: Secret
    plan: Plan = field(default_factory=lambda: Plan("unchanged"))
    before: Observed | None = None
    tried: list[Create | Update | Delete] = field(default_factory=list)
    trouble: LiteLLMError | None = None
    error: str | None = None

    def decide(self, rows: Rows, client: Client) -> None:
        created = self.secret.key_id if any(isinstance(step, Create) for step in self.tried) else None
        self.plan = plan(self.wanted, rows[self.wanted.alias], client.now(), created)
        if not self.tried:
            self.before = self.plan.key
        self.error = self.plan.problem
        step = self.plan.step
        if step and self.tried and type(step) is type(self.tried[-1]) and self.trouble and not self.trouble.passing:
            self.error = str(self.trouble)

    @property
    def pending(self) -> bool:
        return self.plan.step is not None and self.error is None

    def outcome(self) -> Outcome:
        key = self.plan.key
        operation: Operation = "unchanged"
        if not self.wanted.present:
            operation = "deleted" if self.before else "absent"
        elif key and key.key_id == self.secret.key_id and any(isinstance(step, Create) for step in self.tried):
            operation = "created"
        elif any(isinstance(step, Update) for step in self.tried):
            operation = "updated"
        return Outcome(
            self.wanted,
            operation,
            self.before,
            key,
            self.secret if key and key.key_id == self.secret.key_id else None,
            self.error,
            self.plan.notes,
        )

    def foreseen(self, client: Client) -> Outcome:
        after = foreseen(self.wanted, self.plan, client.now())
        known = self.wanted.secret if after else None
        return Outcome(self.wanted, self.plan.operation, self.before, after, known, self.error, self.plan.notes)


def reconcile(client: Client, wanted: Sequence[Wanted], *, check_mode: bool = False) -> list[Outcome]:
    """Bring the keys about, and report them in the order in which they were asked for.

    :param check_mode: change nothing; the outcomes tell what would be.
    :raises LiteLLMError: when the first look fails, so that nothing was done. Later trouble is in the outcomes.
    """
    runs = [_Run(key, key.secret or generate()) for key in wanted]
    _decide(client, runs)
    if check_mode:
        return [run.foreseen(client) for run in runs]
    for attempt in range(_ROUNDS + client.connection.retries):
        pending = [run for run in runs if run.pending]
        if not pending:
            break
        if any(run.trouble for run in pending):
            _pause(attempt)
        _work(client, pending)
        try:
            _decide(client, pending)
        except LiteLLMError as error:
            for run in pending:
                run.error = f"{_doing(run)} may or may not have been done: {run.trouble or error}"
    for run in runs:
        if run.pending:
            run.error = str(run.trouble) if run.trouble else _left_undone(run)
    return [run.outcome() for run in runs]


def _decide(client: Client, runs: Sequence[_Run]) -> None:
    rows = observe(client, [run.wanted.alias for run in runs])
    for run in runs:
        run.decide(rows, client)


def _work(client: Client, runs: Sequence[_Run]) -> None:
    """Do every run's step, and note what trouble there was."""
    deletions = [run for run in runs if isinstance(run.plan.step, Delete)]
    for start in range(0, len(deletions), _KEYS_IN_ONE_DELETION):
        _delete(client, deletions[start : start + _KEYS_IN_ONE_DELETION])
    changes = [run for run in runs if not isinstance(run.plan.step, Delete)]
    side_by_side(lambda run: _change(client, run), changes, client.connection.concurrency)


def _change(client: Client, run: _Run) -> None:
    step = run.plan.step
    assert isinstance(step, Create | Update)
    run.tried.append(step)
    try:
        change(client, step, run.secret)
        run.trouble = None
    except LiteLLMError as error:
        run.trouble = error


def _delete(client: Client, runs: Sequence[_Run]) -> None:
    key_ids: list[str] = []
    for run in runs:
        assert isinstance(run.plan.step, Delete)
        run.tried.append(run.plan.step)
        key_ids.extend(run.plan.step.key_ids)
    trouble = None
    try:
        delete(client, key_ids)
    except LiteLLMError as error:
        trouble = error
    for run in runs:
        run.trouble = trouble


def _pause(attempt: int) -> None:
    """Longer each time, and not at the same moment as other controllers."""
    time.sleep(min(_LONGEST_PAUSE, 0.25 * 2**attempt) * random.uniform(0.5, 1))


def _doing(run: _Run) -> str:
    verbs = {Create: "creating", Update: "updating", Delete: "deleting"}
    return f"{verbs[type(run.tried[-1])]} the key {run.wanted.alias}"


def _left_undone(run: _Run) -> str:
    """Why the proxy's yes was not enough."""
    step, alias, key = run.plan.step, run.wanted.alias, run.plan.key
    if isinstance(step, Update) and key:
        differences = [f"{name} is {key.settings.get(name)!r}" for name in sorted(step.settings)]
        if step.end:
            differences.append(f"it expires {key.expires}")
        return f"LiteLLM accepted the settings of the key {alias} but did not take them: {', '.join(differences)}"
    if isinstance(step, Delete):
        return f"LiteLLM says that it deleted the key {alias}, but it is still there"
    # LiteLLM answers 200, and writes nothing, when the secret belongs to a key that exists.
    return f"LiteLLM accepted the key {alias} but does not have it; its secret may belong to another key already"
