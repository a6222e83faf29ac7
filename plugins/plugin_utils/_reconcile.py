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
from collections.abc import Callable, Sequence
from dataclasses import replace

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._apply import remove, rewrite, work
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, short
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import SETTINGS, Observed, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer, by_alias
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import (
    NEVER,
    Create,
    Delete,
    Plan,
    Seen,
    Update,
    restoration,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._references import (
    OnUnknownModels,
    check_references,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome, Run
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, generate

# A replacement takes three steps, a race two; one more is for what the proxy understood in its own way.
_ROUNDS = 6
_LONGEST_PAUSE = 8.0  # seconds

Progress = Callable[[str], None]


def reconcile(
    client: Client,
    wanted: Sequence[Wanted],
    *,
    found: Sequence[Observed] | None = None,
    check_mode: bool = False,
    on_unknown_models: OnUnknownModels = "fail",
    warn: Progress = lambda text: None,
    progress: Progress = lambda text: None,
) -> list[Outcome]:
    """Bring the keys about, and report them in the order in which they were asked for.

    When the task's time is out, what has begun is brought to its end, and the outcomes tell what was done and what not.
    When the user interrupts it, new keys whose random secrets nobody would hear of are taken away again, and keys that
    were being replaced are again what they were.

    :param found: what the first look would see, where the caller has just looked: all keys with the aliases that are
        wanted, and with those that they have while they are replaced, if such concern the run.
    :param check_mode: change nothing; the outcomes tell what would be.
    :param warn: is told what the user should know.
    :param progress: is told how far it is, now and then.
    :raises LiteLLMError: when the first look fails, so that nothing was done. Later trouble is in the outcomes.
    """
    observer = Observer(client)
    runs = [Run(key, key.secret_of_new or generate()) for key in wanted]
    _look(client, observer, runs, found)
    check_references(client, runs, on_unknown_models, warn)
    if check_mode:
        for run in runs:
            if isinstance(run.plan.step, Create) and run.wanted.secret_of_new and not run.error:
                run.error = _owner_of_secret(observer, run, run.wanted.secret_of_new)
        return [run.foreseen() for run in runs]
    try:
        _rounds(client, observer, runs, progress)
    except KeyboardInterrupt:
        _take_back(client, observer, runs, warn)
        raise
    except BaseException as interruption:  # noqa: BLE001 - also a task's time-out: what was done must be told
        _account_for(client, observer, runs, interruption)
    for run in runs:
        if run.plan.step and not run.error:
            run.error = str(run.trouble) if run.trouble else _left_undone(observer, run)
        elif run.lost:
            warn(f"Another run created the key {run.wanted.name} at the same time; its secret is not known here")
        _withdraw(client, run)
        _give_back_alias(client, run)
    return [run.outcome() for run in runs]


def _rounds(client: Client, observer: Observer, runs: Sequence[Run], progress: Progress) -> None:
    for _round in range(_ROUNDS + client.connection.retries):
        for run in runs:
            if run.pending and run.trouble and run.trouble.passing:
                run.troubled += 1
                if run.troubled > client.connection.retries:
                    run.error = str(run.trouble)
        pending = [run for run in runs if run.pending]
        if not pending:
            return
        if troubled := max((run.troubled for run in pending if run.trouble), default=0):
            _pause(troubled)
        work(client, pending, progress)
        try:
            _look_patiently(client, observer, pending)
        except LiteLLMError as error:
            for run in pending:
                run.error = f"The key {run.wanted.name} may or may not be as wanted; look again: {run.trouble or error}"
                run.believe(client.now())


def _look(client: Client, observer: Observer, runs: Sequence[Run], found: Sequence[Observed] | None = None) -> None:
    """See what there is for each run, and let it decide.

    :param found: the keys by alias, if they are known; else the proxy is asked.
    """
    names, otherwise = set(), {}
    for run in runs:
        if run.wanted.alias and run.wanted.old_alias:
            names.add(run.wanted.alias)
            if run.replaces:
                names.add(run.wanted.old_alias)
            elif run.wanted.present and (run.seen is None or run.seen.old):
                otherwise[run.wanted.alias] = run.wanted.old_alias
    if found is None:
        rows = observer.with_aliases(sorted(names), otherwise)
    else:
        rows = by_alias(found, [*names, *otherwise.values()])
    ids = [run.wanted.key_id for run in runs if run.wanted.key_id]
    by_id = dict(zip(ids, side_by_side(observer.with_id, ids, client.connection.concurrency), strict=True))
    now = client.now()
    for run in runs:
        alias = run.wanted.alias
        keys = rows[alias] if alias else by_id[str(run.wanted.key_id)]
        old = tuple(key for key in rows.get(str(run.wanted.old_alias), ()) if key.takes_leave_of(alias))
        run.decide(Seen(keys, now, old))


def _look_patiently(client: Client, observer: Observer, runs: Sequence[Run]) -> None:
    """The same, again and again for about as long as one request may take: what was done must not be lost sight of."""
    deadline = time.monotonic() + client.connection.timeout
    for attempt in range(1, client.connection.retries + 1):
        try:
            _look(client, observer, runs)
        except LiteLLMError as error:
            if not error.passing or time.monotonic() > deadline:
                raise
        else:
            return
        _pause(attempt)
    _look(client, observer, runs)


def _withdraw(client: Client, run: Run) -> None:
    """Where another key was left to be the one, let no key of ours stay beside it: nobody is told its secret."""
    reported = run.plan.key.key_id if run.plan.key else None
    beside = run.created and run.created != reported and run.seen and run.created in run.seen.ids
    if not run.error or not beside:
        return
    try:
        _remove_if_there(client, [str(run.created)])
    except LiteLLMError as error:
        run.error += f"; a second key that was made could not be removed: {error}"


def _give_back_alias(client: Client, run: Run) -> None:
    """Where a successor could not be made, let the old key have its name again."""
    if not run.error or not run.wanted.present or not run.seen or not run.seen.old or run.seen.keys:
        return
    back = restoration(run.wanted, run.seen)
    try:
        rewrite(client, back)
    except LiteLLMError as error:
        run.error += f"; the old key works, but is called {run.wanted.old_alias}: {error}"
    else:
        run.plan = Plan("unchanged", key=replace(run.seen.old[0], alias=back.alias))


def _take_back(client: Client, observer: Observer, runs: Sequence[Run], warn: Progress) -> None:
    """Remove the keys that this run has made, unless their secrets are known elsewhere; let old keys be as before."""
    made = [str(run.created) for run in runs if run.made_in_vain]
    replacing = [run for run in runs if run.wanted.present and run.replaces and run.done]
    try:
        _remove_if_there(client, made)
        _look(client, observer, replacing)
        began = [run for run in replacing if run.seen and run.seen.old]
        new = [key.key_id for run in began if run.seen for key in run.seen.keys if key.key_id == run.created]
        _remove_if_there(client, new)
        for run in began:
            if run.seen and all(key.key_id == run.created for key in run.seen.keys):
                rewrite(client, restoration(run.wanted, run.seen))
    except LiteLLMError as error:
        warn(
            f"Interrupted; {len(made)} keys were made whose secrets are lost, {len(replacing)} were being replaced, "
            f"and this could not be taken back: {error}"
        )
        return
    if made:
        warn(f"Interrupted; {len(made)} keys were made and removed again, because their secrets would be lost")
    if began:
        warn(f"Interrupted; {len(began)} keys were being replaced, and are again what they were")
    lost = [run.wanted.name for run in replacing if run.replaced and run not in began and not run.wanted.secret_of_new]
    if lost:
        warn(f"Interrupted; the new secrets of {', '.join(lost)} are lost: have them replaced again (regenerate)")


def _remove_if_there(client: Client, key_ids: Sequence[str]) -> None:
    try:
        remove(client, key_ids)
    except LiteLLMError as error:
        if error.status != 404:
            raise


def _account_for(client: Client, observer: Observer, runs: Sequence[Run], interruption: BaseException) -> None:
    """Look once more, and say of every key what became of it."""
    reason = "the task was interrupted"
    if isinstance(interruption, Exception):
        reason = f"this collection made an error ({type(interruption).__name__}: {interruption}); please report it"
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


def _left_undone(observer: Observer, run: Run) -> str:
    """Why the proxy's yes was not enough."""
    step, name, key = run.plan.step, run.wanted.name, run.plan.key
    if step not in run.done:
        return f"The key {name} is not as wanted yet, because others change it, too; run again"
    if isinstance(step, Create) and run.secret:
        return _owner_of_secret(observer, run, run.secret) or f"LiteLLM accepted the key {name} but does not list it"
    if isinstance(step, Delete):
        return f"LiteLLM says that it deleted the key {name}, but it is still there"
    parts = []
    if isinstance(step, Update) and key:
        parts = [f"{name} is {short(repr(key.value(name)))}" for name in sorted(step.settings) if name in SETTINGS]
        # LiteLLM ignores fields that it does not know.
        parts += [f"{name} is not among what it tells of the key" for name in step.settings if name not in SETTINGS]
        if step.end is not None:
            asked = "never" if step.end is NEVER else step.end
            parts.append(f"it expires at {key.expires} and not {asked}")
    return f"LiteLLM accepted the change of the key {name} but did not make it: {', '.join(parts)}"


def _owner_of_secret(observer: Observer, run: Run, secret: Secret) -> str | None:
    """LiteLLM answers 200, and writes nothing, when the secret of a new key belongs to one that exists: say so."""
    try:
        others = observer.with_id(secret.key_id)
    except LiteLLMError:
        return None
    if not others:
        return None
    owner = short(others[0].alias or others[0].name or others[0].key_id)
    return f"The secret given for the key {run.wanted.name} is that of the key {owner} already"
