# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make the keys of a proxy as desired: observe, plan, apply, and observe again until nothing is left to do.

Observing again makes the result exact. A lost response is a state that was not observed yet; a setting that the proxy
ignored, an expiry that it computed differently, or a concurrent run that created the same alias, are work that is left.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from .._concurrency import block_termination_signals
from .._errors import LiteLLMError
from .._litellm.client import Client
from .._text import shorten
from .apply import apply_steps
from .cleanup import account_for_interruption, delete_surplus_key, undo_changes
from .durations import format_instant
from .model import DesiredKey, ObservedKey
from .observer import Observer
from .outcome import Outcome
from .plan import secret_of_creation
from .previous import stops_rotation
from .problems import endless_previous, not_applied, not_proven, unfinished_replacement, unknown_age
from .progress import KeyProgress
from .references import OnUnknownModels, reference_problems
from .replacement import correction
from .run import Notify, Run, take_snapshots
from .secrets import Secret, generate
from .settings import SETTINGS
from .steps import NEVER, Create, Delete, Retire, Step, Update

# To finish the replacement of another run takes two steps, and one's own three. A race takes up to three more, and what
# the proxy interpreted in its own way one.
_MAX_ROUNDS = 9
_MAX_PAUSE = 8.0  # seconds


def reconcile(
    client: Client,
    desired: Sequence[DesiredKey],
    *,
    found: Sequence[ObservedKey] | None = None,
    observer: Observer | None = None,
    check_mode: bool = False,
    on_unknown_models: OnUnknownModels = "fail",
    teams: Collection[str] = (),
    warn: Notify = lambda text: None,
    show_progress: Notify = lambda text: None,
    save: Callable[[list[Outcome]], None] = lambda outcomes: None,
    saves_secrets: bool = False,
) -> list[Outcome]:
    """Make the keys as desired and return their outcomes, in the same order.

    If the time of the task is up, requests that have started finish, and the outcomes show what was done. If the user
    interrupts the task, new keys whose random secrets would be lost are deleted, and replacements are undone.

    :param found: the keys of the first snapshot, if the caller has just listed them: all keys with the desired aliases,
        and those that are being replaced if they matter.
    :param observer: the observer that the caller used, which knows the filters of the release.
    :param check_mode: change nothing; the outcomes are predictions.
    :param teams: teams that exist, or that check mode assumes to exist.
    :param save: called with the outcomes before control returns to the caller, also after an interruption, and not
        interrupted itself.
    :param saves_secrets: `save` saves the secrets of the outcomes, so that none of them is lost.
    :raises LiteLLMError: if the first snapshot fails, so that nothing was changed. Later errors are in the outcomes.
    """
    keys = [KeyProgress(key, key.new_secret or generate()) for key in desired]
    run = Run(client, keys, warn, show_progress, observer or Observer(client, show_progress))
    take_snapshots(run, run.keys, found)
    _check_unique(run)
    _warn_about_others(run)
    _warn_about_ages(run)
    _check_references(run, on_unknown_models, teams)
    if check_mode:
        return _preview(run)
    with contextlib.ExitStack() as signals:
        try:
            _run_rounds(run)
            signals.enter_context(block_termination_signals())
        except KeyboardInterrupt:
            signals.enter_context(block_termination_signals())
            undo_changes(run, saves_secrets=saves_secrets)
            save([one.outcome() for one in run.keys])
            raise
        except BaseException as interruption:  # noqa: BLE001 - the timeout of a task, too: its effects must be reported
            signals.enter_context(block_termination_signals())
            account_for_interruption(run, interruption)
        outcomes = _finish(run)
        save(outcomes)
    return outcomes


def _check_unique(run: Run) -> None:
    """Fail the keys that are named twice, by alias and by id: the last one would win."""
    by_id: dict[str, list[KeyProgress]] = {}
    for one in run.keys:
        for key_id in one.snapshot.ids if one.snapshot else ():
            by_id.setdefault(key_id, []).append(one)
    for named in by_id.values():
        if len(named) > 1:
            names = " and ".join(one.desired.name for one in named)
            for one in named:
                one.fail(f"Virtual key {one.desired.name} is named more than once: {names} are the same key")


def _warn_about_others(run: Run) -> None:
    """Warn about a replacement that this run does not finish, and about previous keys that it does not delete."""
    for one in run.keys:
        is_left = one.desired.present and one.plan.operation != "regenerated" and not isinstance(one.plan.step, Delete)
        if is_left and one.snapshot and one.snapshot.keys and one.snapshot.successors:
            rotates = one.desired.rotate is not None
            run.warn(unfinished_replacement(one.desired.name, one.snapshot.successors[0], rotates=rotates))
        for key in run.unproven[str(one.desired.alias)] if not one.desired.present else ():
            if key.is_previous:
                run.warn(not_proven(one.desired.name, key))


def _warn_about_ages(run: Run) -> None:
    """Warn about keys that are not replaced because of their age, because it is unknown or an overlap does not end."""
    for one in run.keys:
        if one.desired.rotate and one.before and one.before.created_at is None and one.plan.operation != "regenerated":
            run.warn(unknown_age(one.desired.name))
        if one.desired.rotate and one.snapshot and (stops := stops_rotation(one.before, one.snapshot.previous)):
            run.warn(endless_previous(one.desired.name, stops))


def _check_references(run: Run, on_unknown_models: OnUnknownModels, teams: Collection[str]) -> None:
    """Fail the keys that refer to a model, a team or a budget that the proxy does not have."""
    settings = {one.desired.name: one.settings_to_write for one in run.keys if one.pending}
    problems = reference_problems(run.client, settings, on_unknown_models, run.warn, teams)
    for one in run.keys:
        if problem := problems.get(one.desired.name):
            one.fail(problem)


def _preview(run: Run) -> list[Outcome]:
    """Return the outcomes that check mode reports."""
    for one in run.keys:
        step = one.plan.step
        secret = secret_of_creation(one.desired, step) if isinstance(step, Create) and not one.error else None
        if secret and (problem := _owner_of_secret(run, one, secret)):
            one.fail(problem)
    return [
        replace(one.preview(), deleted_previous=_previous_among(one, [one.plan.step], frozenset())) for one in run.keys
    ]


def _run_rounds(run: Run) -> None:
    """Apply and observe until nothing is left to do, or until another round would not help."""
    max_failed_rounds = run.client.connection.retries
    for _round in range(_MAX_ROUNDS + max_failed_rounds):
        for one in run.keys:
            one.count_failed_round(max_failed_rounds)
        pending = [one for one in run.keys if one.pending]
        if not pending:
            return
        if failed_rounds := max((one.failed_rounds for one in pending if one.last_error), default=0):
            _pause(failed_rounds)
        apply_steps(run.client, pending, run.show_progress)
        try:
            _observe_with_retries(run, pending)
        except LiteLLMError as error:
            for one in pending:
                one.fail(
                    f"The state of virtual key {one.desired.name} is unknown: {one.last_error or error}. Run again"
                )
                one.assume_applied(run.client.now())


def _observe_with_retries(run: Run, keys: Sequence[KeyProgress]) -> None:
    """Observe, and retry for about as long as one request may take: the effect of a step must not stay unknown."""
    deadline = time.monotonic() + run.client.connection.timeout
    for attempt in range(1, run.client.connection.retries + 1):
        try:
            take_snapshots(run, keys)
        except LiteLLMError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
        else:
            return
        _pause(attempt)
    take_snapshots(run, keys)


def _finish(run: Run) -> list[Outcome]:
    """Explain what is left, clean up after failed keys, and return the outcomes."""
    for one in run.keys:
        if one.plan.step and not one.error:
            if one.last_error:
                one.fail_with_last_error()
            else:
                one.fail(_why_not_converged(run, one))
        elif one.lost_race:
            run.warn(
                f"A concurrent run created virtual key {one.desired.name} at the same time; "
                "its secret is not known to this run"
            )
        if one.surplus_deleted:
            run.warn(
                f"Several keys had the alias {one.desired.name}, because concurrent runs created them or a run was "
                f"killed. The oldest one stays; deleted: {one.surplus_deleted}"
            )
        key = one.plan.key
        if one.created and not one.error and not one.desired.lifetime and not one.before and key and key.expires:
            run.warn(
                f"Virtual key {one.desired.name} expires at {format_instant(key.expires)}, although no lifetime was "
                "set: the proxy has a default duration. Set duration, runtime or expires_at"
            )
        _warn_about_defaults(run, one)
        delete_surplus_key(run.client, one)
    return [
        replace(
            one.outcome(),
            deleted_previous=_previous_among(one, one.attempted, one.snapshot.ids if one.snapshot else ()),
        )
        for one in run.keys
    ]


def _previous_among(one: KeyProgress, steps: Sequence[Step | None], left: Collection[str]) -> tuple[ObservedKey, ...]:
    """Return the previous keys that steps delete.

    :param left: the ids of keys that still exist.
    """
    ids = {key_id for step in steps if isinstance(step, Delete) for key_id in step.key_ids} - set(left)
    return tuple(key for key_id, key in one.previous_found.items() if key_id in ids)


def _warn_about_defaults(run: Run, one: KeyProgress) -> None:
    """Warn if a key that was recreated as it was has other settings: the proxy has defaults for new keys."""
    key, step = one.plan.key, next((step for step in reversed(one.attempted) if isinstance(step, Create)), None)
    is_recreated = step and step.alias == one.desired.alias and (one.before or one.desired.on_missing == "recreate")
    if not step or not key or not is_recreated or one.error or key.key_id != one.created:
        return
    if found := correction(step, key, run.client.now()):
        names = [*found.settings, *(["expires"] if found.end else [])]
        run.warn(
            f"Virtual key {one.desired.name} was recreated with other settings than before: {', '.join(names)}. "
            "The proxy has defaults for new keys. Set these settings"
        )


def _pause(attempt: int) -> None:
    """Wait longer after each attempt, and not exactly as long as other controllers."""
    time.sleep(min(_MAX_PAUSE, 0.25 * 2**attempt) * random.uniform(0.5, 1))


def _why_not_converged(run: Run, one: KeyProgress) -> str:
    """Return why a step had no effect although the proxy reported success."""
    step, name, key = one.plan.step, one.desired.name, one.plan.key
    if step not in one.attempted:
        return f"Virtual key {name} is not as desired yet, because other clients change it at the same time. Run again"
    if isinstance(step, Create) and one.secret:
        return _owner_of_secret(run, one, one.secret) or (
            f"Virtual key {name} is missing after LiteLLM reported that it was created. Run again"
        )
    if isinstance(step, Retire):
        return f"Virtual key {name} still has its alias after LiteLLM reported that it has another one"
    if isinstance(step, Delete):
        return f"Virtual key {name} still exists after LiteLLM reported that it was deleted"
    parts = []
    if isinstance(step, Update) and key:
        parts = [
            not_applied(field, value, key.value(field))
            for field, value in sorted(step.settings.items())
            if field in SETTINGS
        ]
        # LiteLLM ignores unknown fields.
        parts += [f"{field} is not among the returned fields" for field in step.settings if field not in SETTINGS]
        if step.end is not None:
            desired_end = "never" if step.end is NEVER else step.end
            parts.append(f"expires is {key.expires} instead of {desired_end}")
    return f"Virtual key {name} did not change after LiteLLM reported success: {', '.join(parts)}"


def _owner_of_secret(run: Run, one: KeyProgress, secret: Secret) -> str | None:
    """Return an error if the secret of a new key belongs to an existing key: LiteLLM returns 200 and writes nothing."""
    try:
        others = run.observer.find_by_id(secret.key_id)
    except LiteLLMError:
        return None
    if not others:
        return None
    owner = shorten(others[0].alias or others[0].key_name or others[0].key_id)
    return f"Virtual key {one.desired.name} cannot be created: its secret already belongs to key {owner}"
