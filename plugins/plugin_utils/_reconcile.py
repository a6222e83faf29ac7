# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the proxy's keys what was asked: observe, plan, apply, and look again until nothing is left to do.

Looking again is what makes it exact. A lost answer is a state not yet seen; a setting that the proxy ignored, an
expiry that it computed in its own way, or another run that created the same alias, are just something left to do.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._apply import create, delete, update
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import SETTINGS, Observed, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import (
    NEVER,
    Create,
    Delete,
    Operation,
    Plan,
    Rename,
    Seen,
    Step,
    Update,
    Wait,
    foreseen,
    plan,
    restoration,
    settled,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._references import (
    budget_exists,
    complaint,
    served_models,
    team_exists,
    unknown_models,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, generate

# A replacement takes three steps, a race two; one more is for what the proxy understood in its own way.
_ROUNDS = 6
_LONGEST_PAUSE = 8.0  # seconds
_COURTESY = 1.0  # seconds; some ten times what another run takes to see and to delete

# LiteLLM gives up on a thousand (seen with 1.106 on a busy machine).
_KEYS_IN_ONE_DELETION = 100

OnUnknownModels = Literal["fail", "warn", "ignore"]
Progress = Callable[[str], None]


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
    end_set: bool = False

    @property
    def changed(self) -> bool:
        return self.operation not in ("unchanged", "absent")


@dataclass
class _Run:
    """One wanted key on its way through the rounds.

    :ivar goal: the same as `wanted`, with its lifetime settled when the proxy's clock was first seen.
    :ivar secret: what a new key gets. Chosen before anything is sent: by its hash, a lost answer can be told from a
        lost request. None once the proxy has said that it makes secrets itself.
    :ivar seen: what the proxy had when it was last looked at.
    :ivar created: the id of the key that this run has made, as far as it knows.
    :ivar done: the steps that were tried.
    :ivar trouble: what the last of them met with.
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
    error: str | None = None

    def __post_init__(self) -> None:
        self.goal = self.wanted

    @property
    def old_alias(self) -> str | None:
        """Where a key that is being replaced may be; what was not there when a key is removed will not come."""
        over = not self.wanted.present and self.seen is not None and not self.seen.old
        return None if over else self.wanted.old_alias

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

    def decide(self, seen: Seen) -> None:
        self.seen = seen
        if self.first is None:
            self.goal = settled(self.wanted, seen.now)
        self.plan = plan(self.goal, seen, self.created, waited=self._tried(Wait))
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
        key = self.plan.key
        before = self.first.key if self.first else None
        operation: Operation = "unchanged"
        if not self.wanted.present:
            operation = "absent" if not before else "unchanged" if key else "deleted"
        elif key and key.key_id == self.created:
            operation = "regenerated" if before else "created"
        elif self._tried(Update) and key != before:
            operation = "updated"
        known = self.secret if key and self.secret and key.key_id == self.secret.key_id else None
        end_set = any(isinstance(step, Create | Update) and step.end is not None for step in self.done)
        return Outcome(self.wanted, operation, before, key, known, self.error, end_set)

    def foreseen(self, seen: Seen) -> Outcome:
        after = foreseen(self.goal, self.plan, seen.now)
        known = self.wanted.secret if after and self.error is None else None
        return Outcome(self.wanted, self.plan.operation, self.plan.key, after, known, self.error)

    def _tried(self, kind: type[Step]) -> bool:
        return any(isinstance(step, kind) for step in self.done)

    def _same_again(self) -> bool:
        return bool(self.done) and type(self.plan.step) is type(self.done[-1])


def reconcile(
    client: Client,
    wanted: Sequence[Wanted],
    *,
    check_mode: bool = False,
    on_unknown_models: OnUnknownModels = "fail",
    warn: Progress = lambda text: None,
    progress: Progress = lambda text: None,
) -> list[Outcome]:
    """Bring the keys about, and report them in the order in which they were asked for.

    When it is interrupted, what has begun is brought to its end, and the outcomes tell what was done and what not.

    :param check_mode: change nothing; the outcomes tell what would be.
    :param warn: is told what the user should know.
    :param progress: is told how far it is, now and then.
    :raises LiteLLMError: when the first look fails, so that nothing was done. Later trouble is in the outcomes.
    """
    observer = Observer(client)
    runs = [_Run(key, key.secret or generate()) for key in wanted]
    seen = _look(client, observer, runs)
    _check_references(client, runs, on_unknown_models, warn)
    if check_mode:
        return [run.foreseen(seen[index]) for index, run in enumerate(runs)]
    try:
        _rounds(client, observer, runs, progress)
    except BaseException as interruption:  # noqa: BLE001 - also a task's time-out: what was done must be told
        _account_for(client, observer, runs, interruption)
    for run in runs:
        if run.plan.step and not run.error:
            run.error = str(run.trouble) if run.trouble else _left_undone(client, observer, run)
        elif run.lost:
            warn(f"Another run created the key {run.wanted.name} at the same time; its secret is not known here")
        _give_back_alias(client, run)
    return [run.outcome() for run in runs]


def _rounds(client: Client, observer: Observer, runs: Sequence[_Run], progress: Progress) -> None:
    troubled = 0
    for _round in range(_ROUNDS + client.connection.retries):
        pending = [run for run in runs if run.pending]
        if any(run.trouble and run.trouble.passing for run in pending):
            troubled += 1
            if troubled > client.connection.retries:
                return
            _pause(troubled)
        if not pending:
            return
        _work(client, pending, progress)
        try:
            _look(client, observer, pending)
        except LiteLLMError as error:
            for run in pending:
                run.error = f"The key {run.wanted.name} may or may not be as wanted; look again: {run.trouble or error}"
                run.believe(client.now())


def _look(client: Client, observer: Observer, runs: Sequence[_Run]) -> list[Seen]:
    """See what there is for each run, and let it decide."""
    names = {name for run in runs for name in (run.wanted.alias, run.old_alias) if name}
    rows = observer.with_aliases(sorted(names))
    ids = [run.wanted.key_id for run in runs if run.wanted.key_id]
    by_id = dict(zip(ids, side_by_side(observer.with_id, ids, client.connection.concurrency), strict=True))
    now, all_seen = client.now(), []
    for run in runs:
        alias, old_alias = run.wanted.alias, run.old_alias
        keys = rows[alias] if alias else by_id[str(run.wanted.key_id)]
        old = tuple(key for key in rows[old_alias] if key.takes_leave_of(alias)) if old_alias else ()
        all_seen.append(Seen(keys, now, old))
        run.decide(all_seen[-1])
    return all_seen


def _check_references(client: Client, runs: Sequence[_Run], on_unknown: OnUnknownModels, warn: Progress) -> None:
    """Let the runs fail that would give a key a model, a team or a budget that the proxy does not have."""
    asking = [(run, _to_be_set(run)) for run in runs if run.pending]
    for name, exists in (("team_id", team_exists), ("budget_id", budget_exists)):
        asked = functools.cache(functools.partial(exists, client))
        for run, settings in asking:
            if value := settings.get(name):
                try:
                    missing = not asked(value)
                except LiteLLMError as error:
                    run.error = f"Whether the proxy has the {name} {value} is not known: {error}"
                else:
                    if missing:
                        run.error = (
                            f"The key {run.wanted.name} is to have the {name} {value}, which the proxy does not have"
                        )
    models = [(run, settings["models"]) for run, settings in asking if settings.get("models")]
    if not models or on_unknown == "ignore":
        return
    try:
        served = served_models(client)
    except LiteLLMError as error:
        if on_unknown == "fail":
            raise
        warn(f"Which models the proxy serves is not known: {error}")
        return
    for run, names in models:
        if unknown := unknown_models(names, served):
            sentence = f"The key {run.wanted.name} is to have models, but {complaint(unknown, served)}"
            if on_unknown == "warn":
                warn(sentence)
            else:
                run.error = f"{sentence} (on_unknown_models: warn lets it pass)"


def _to_be_set(run: _Run) -> Mapping[str, Any]:
    """The settings that are asked for and not there yet."""
    step = run.plan.step
    if isinstance(step, Create | Update):
        return step.settings
    return run.goal.settings if isinstance(step, Rename) else {}


def _work(client: Client, runs: Sequence[_Run], progress: Progress) -> None:
    """Do every run's step, and note what trouble there was."""
    deletions = [run for run in runs if isinstance(run.plan.step, Delete)]
    for start in range(0, len(deletions), _KEYS_IN_ONE_DELETION):
        _delete(client, deletions[start : start + _KEYS_IN_ONE_DELETION])
    waits = [run for run in runs if isinstance(run.plan.step, Wait)]
    if waits:
        _wait(waits)
    changes = [run for run in runs if not isinstance(run.plan.step, Delete | Wait)]
    side_by_side(
        lambda run: _change(client, run),
        changes,
        client.connection.concurrency,
        lambda done: progress(f"{done} of {len(changes)} virtual keys written"),
    )


def _change(client: Client, run: _Run) -> None:
    step = run.plan.step
    try:
        if isinstance(step, Create):
            run.created = run.secret.key_id if run.secret else None
            run.done.append(step)
            run.secret = create(client, step, run.secret)
            run.created = run.secret.key_id
        elif isinstance(step, Update | Rename):
            again = step in run.done
            run.done.append(step)
            update(client, step, again=again)
        run.trouble = None
    except LiteLLMError as error:
        run.trouble = error
        if error.status == 403 and "Custom API key" in str(error):  # general_settings.disable_custom_api_keys
            if run.wanted.secret:
                source = "key" if run.wanted.secret.source == "given" else "key_seed"
                run.trouble = LiteLLMError(
                    f"The proxy makes all secrets itself (disable_custom_api_keys), so that {source} cannot be used "
                    f"for the key {run.wanted.name}",
                    passing=False,
                )
            else:
                run.secret, run.created, run.trouble = None, None, None
                run.done.pop()


def _delete(client: Client, runs: Sequence[_Run]) -> None:
    key_ids: list[str] = []
    for run in runs:
        if isinstance(run.plan.step, Delete):
            run.done.append(run.plan.step)
            key_ids.extend(run.plan.step.key_ids)
    trouble = None
    try:
        delete(client, key_ids)
    except LiteLLMError as error:
        # LiteLLM answers 500 when many take it too long. To delete a key by its id once more does no harm.
        trouble = LiteLLMError(str(error), passing=error.passing or (error.status or 0) >= 500, status=error.status)
    for run in runs:
        run.trouble = trouble


def _wait(runs: Sequence[_Run]) -> None:
    time.sleep(_COURTESY)
    for run in runs:
        run.done.append(Wait())


def _give_back_alias(client: Client, run: _Run) -> None:
    """Where a successor could not be made, let the old key have its name again."""
    if not run.error or not run.seen or not run.seen.old or run.seen.keys:
        return
    back = restoration(run.wanted, run.seen)
    try:
        update(client, back)
    except LiteLLMError as error:
        run.error += f"; the old key works, but is called {run.wanted.old_alias}: {error}"
    else:
        run.plan = Plan("unchanged", key=replace(run.seen.old[0], alias=back.alias))


def _account_for(client: Client, observer: Observer, runs: Sequence[_Run], interruption: BaseException) -> None:
    """Look once more, and say of every key what became of it."""
    reason = f"interrupted ({type(interruption).__name__})"
    pending = [run for run in runs if run.pending]
    try:
        _look(client, observer, pending)
    except LiteLLMError as error:
        reason += f", and the proxy could not be asked what was done: {error}"
    for run in pending:
        if run.pending:
            run.error = f"The key {run.wanted.name} is not as wanted: {reason}"


def _pause(attempt: int) -> None:
    """Longer each time, and not at the same moment as other controllers."""
    time.sleep(min(_LONGEST_PAUSE, 0.25 * 2**attempt) * random.uniform(0.5, 1))


def _left_undone(client: Client, observer: Observer, run: _Run) -> str:
    """Why the proxy's yes was not enough."""
    step, name, key = run.plan.step, run.wanted.name, run.plan.key
    if isinstance(step, Create) and run.secret:
        # LiteLLM answers 200, and writes nothing, when the secret belongs to a key that exists.
        try:
            others = observer.with_id(run.secret.key_id)
        except LiteLLMError:
            others = ()
        if others:
            return f"The secret given for the key {name} is that of the key {others[0].alias or others[0].name} already"
        return f"LiteLLM accepted the key {name} but does not list it"
    if isinstance(step, Delete):
        return f"LiteLLM says that it deleted the key {name}, but it is still there"
    parts = []
    if isinstance(step, Update) and key:
        parts = [f"{name} is {key.value(name)!r}" for name in sorted(step.settings) if name in SETTINGS]
        # LiteLLM ignores fields that it does not know.
        parts += [f"{name} is not among what it tells of the key" for name in step.settings if name not in SETTINGS]
        if step.end is not None:
            asked = "never" if step.end is NEVER else step.end
            parts.append(f"it expires at {key.expires} and not {asked}")
    return f"LiteLLM accepted the change of the key {name} but did not make it: {', '.join(parts)}"
