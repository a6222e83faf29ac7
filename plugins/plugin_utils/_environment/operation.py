# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run one operation on the virtual keys of a lab environment.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from .._errors import LiteLLMError, UserError
from .._keys.model import DesiredKey, ObservedKey
from .._keys.model_names import describe_unknown, unknown_models
from .._keys.outcome import Outcome
from .._keys.problems import secret_unknown
from .._keys.reconcile import reconcile
from .._keys.references import served_models
from .._litellm.permission import require_administrator
from . import messages
from .budget_keys import has_team
from .budget_run import BudgetRun
from .desired import desired_keys
from .extension import extended_by, nothing_to_extend, without_deleted
from .members import Member, discover_members
from .records import SavedKey
from .request import parse_extension
from .results import EnvironmentRun, Json, result_of, status_of
from .rotation import check_rotation, may_replace
from .saving import delete_if_lost, delete_unsaved_keys, save_or_delete
from .shared_budget import requested_budget


def run_operation(run: EnvironmentRun) -> Json:
    """Run the requested operation, and return the result of the task.

    :raises UserError: if nothing could be done.
    """
    request = run.request
    master_key = run.client.connection.master_key
    budget = BudgetRun(run, requested_budget(request))
    if request.operation != "status":
        # Report invalid options before the first request.
        desired_keys(request, request.named_members[:1], {}, master_key, run.client.now())
    require_administrator(run.client)
    if request.operation == "status":
        status = status_of(run)
        _warn_about_models(run, status.entries)
        if any(entry["team_id"] == request.alias for entry in status.entries):
            budget.show()
            budget.add_to(status)
        return run.finish(status)
    members, found = _members(run)
    if not members and request.operation == "extend":
        raise UserError(nothing_to_extend(request, run.members))
    if request.operation == "rotate":
        check_rotation(request, members, found or ())
    saved: dict[str, list[SavedKey]] = {}
    for key in run.known:
        saved.setdefault(key.alias, []).append(key)
    desired = desired_keys(request, members, saved, master_key, run.client.now())
    if request.operation == "extend" and (by := parse_extension(request.options, request.wording)):
        desired = extended_by(desired, by, found or (), run.client.now(), run.warn)
    if run.saves_user_data and not run.check_mode and any(may_replace(key) for key in desired):
        run.check_writable()  # a key that is replaced is revoked before its new secret is saved
    desired = budget.prepare(desired, found or ())
    removes_team = request.operation == "destroy" and has_team(request, run.known, found or ())
    outcomes = _reconcile(run, desired, found, budget, is_saved_later=removes_team)
    is_saved = run.saves_user_data or request.operation == "destroy"
    with delete_if_lost(run.client, outcomes, is_saved=is_saved):
        if not removes_team:
            budget.follow(outcomes)
        if budget.error and not is_saved:
            delete_unsaved_keys(run.client, outcomes, "saving user data is switched off, and the task fails")
        if request.operation == "extend":
            outcomes = without_deleted(request, outcomes, run.known, run.members, run.warn)
        for outcome in outcomes:
            if outcome.error == secret_unknown(outcome.desired):
                outcome.error = messages.secret_unknown(outcome.desired.name, run.user_data_file, request.wording)
        if removes_team:
            _remove_budget(run, budget, outcomes)
        result = result_of(run, outcomes)
        budget.add_to(result)
        return run.finish(result)


def _reconcile(
    run: EnvironmentRun,
    desired: Sequence[DesiredKey],
    found: Sequence[ObservedKey] | None,
    budget: BudgetRun,
    *,
    is_saved_later: bool,
) -> list[Outcome]:
    """Reconcile the keys. If that cannot start, delete a new team again, which no key is in."""
    request = run.request
    try:
        return reconcile(
            run.client,
            desired,
            found=found,
            observer=run.observer,
            check_mode=run.check_mode,
            on_unknown_models=request.settings.get("on_unknown_models") or request.options["on_unknown_models"],
            teams=budget.team_ids,
            warn=run.warn,
            show_progress=run.show_progress,
            save=lambda done: None if is_saved_later else _save(run, done),
            saves_secrets=run.saves_user_data,
        )
    except UserError:
        budget.discard_if_new()
        raise


def _remove_budget(run: EnvironmentRun, budget: BudgetRun, outcomes: Sequence[Outcome]) -> None:
    """Delete the team after the keys, and then what was saved: that shows a later destroy that there is a team."""
    request = run.request
    if any(outcome.error for outcome in outcomes):
        budget.show()
    else:
        budget.remove(outcomes, whole=not (request.is_selection or request.by_key_id))
    if not budget.error and not run.check_mode:
        _save(run, outcomes)


def _warn_about_models(run: EnvironmentRun, entries: Sequence[Json]) -> None:
    """Warn if keys name models that the proxy does not serve: they may have been renamed since."""
    models = sorted({str(model) for entry in entries for model in entry["models"] or ()})
    with contextlib.suppress(LiteLLMError):  # the status of the keys is known all the same
        if models and (unknown := unknown_models(models, served := served_models(run.client))):
            run.warn(
                f"The virtual keys of environment {run.request.guid} refer to unknown models: "
                f"{describe_unknown(unknown, served)}. To replace a model, run the playbook replace_model"
            )


def _members(run: EnvironmentRun) -> tuple[list[Member], list[ObservedKey] | None]:
    """Return the keys that the operation concerns, and the observed keys of the environment if they were listed."""
    request = run.request
    named = request.named_members
    if request.by_key_id:
        return [Member(request.alias)], None
    # As many pages as an environment with this number of users may need.
    saved = {key.alias for key in run.known if key.guid == request.guid}
    max_pages = 2 + 2 * (max(len(request.users), len(saved)) // 100)
    if request.operation == "provision":
        found = None
        if request.is_multi_user:
            found = run.observer.find_environment_keys_at_once(request.alias, request.successor_alias, max_pages)
        _warn_about_others(run, named, discover_members(request.guid, request.alias, run.known, found or ()), found)
        return named, found
    replaces = request.operation in ("destroy", "rotate", "rotate_old")
    both = replaces or request.options["regenerate"] != "never"
    if request.operation == "extend":
        max_pages = 0  # where many aliases start alike, trying the short listing first would cost a request more
    found = run.observer.find_environment_keys(request.alias, request.successor_alias, both=both, max_pages=max_pages)
    members = discover_members(request.guid, request.alias, run.known, found)
    existing = {key.final_alias for key in found if not key.is_previous}
    run.members = [member for member in members if member.alias in existing]
    if request.operation in ("rotate", "rotate_old"):
        return named if request.is_selection and request.users else members, found
    if request.is_selection:
        if request.operation == "destroy":
            _warn_about_others(run, named, members, found)
        return named, found
    if request.operation != "destroy" and not request.is_multi_user:
        return members, found
    aliases = {member.alias for member in named}
    return [*named, *(member for member in members if member.alias not in aliases)], found


def _warn_about_others(
    run: EnvironmentRun, named: Sequence[Member], members: Sequence[Member], found: Sequence[ObservedKey] | None
) -> None:
    """Warn about the other keys of the environment: those on the proxy, or the saved ones if no keys were listed."""
    aliases = {member.alias for member in named}
    others = [member.alias for member in members if member.alias not in aliases]
    if found is not None:
        existing = {key.final_alias for key in found if not key.is_previous}
        others = [alias for alias in others if alias in existing]
    if others and not run.request.changes_users:
        message = messages.other_keys(run.request, others)
        if run.request.is_selection and run.request.operation == "provision":
            run.note = message  # expected where a play provisions one tenant after the other
        else:
            run.warn(message)


def _save(run: EnvironmentRun, outcomes: Sequence[Outcome]) -> None:
    """Save user data, or else remove those of deleted keys."""
    saves = run.saves_user_data or run.request.operation == "destroy"
    save_or_delete(run.client, outcomes, run.save if saves else None)
    removed = [outcome for outcome in outcomes if not outcome.desired.present]
    if removed and not saves:
        save_or_delete(run.client, removed, run.save)
