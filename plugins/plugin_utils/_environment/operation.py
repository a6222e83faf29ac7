# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run one operation on the virtual keys of a lab environment.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import UserError
from .._keys.model import ObservedKey
from .._keys.observer import Observer
from .._keys.progress import Outcome
from .._keys.reconcile import reconcile
from .._keys.result import describe_key, difference, failure, key_status, not_deleted, result_entry
from .._keys.secrets import Secret
from .._litellm.client import Client
from .._litellm.permission import require_administrator
from . import messages
from .handover import handover
from .members import Member, discover_members, named_members, own_alias_of
from .records import SavedKey
from .request import Request, desired_keys
from .saving import Save, delete_if_lost, save_or_delete
from .user_data import KEY_DELETED, KEY_WAS_MISSING, build_facts, docling_data, readable_user_data

Json = dict[str, Any]


@dataclass
class OperationResult:
    """The result of an operation.

    :ivar entries: one for each key, as in the result of `litellm_key`.
    :ivar user_data: what a lab guide can read about the keys, with secrets.
    :ivar messages: what the user reads.
    :ivar report: what the operator reads.
    :ivar not_deleted: the ids of keys that LiteLLM reported as deleted and that still exist.
    :ivar error: why the operation failed, as a sentence.
    :ivar has_secrets: the entries contain secrets.
    """

    changed: bool = False
    entries: list[Json] = field(default_factory=list)
    facts: Json = field(default_factory=dict)
    user_data: Json = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    report: str = ""
    handover: list[Json] = field(default_factory=list)
    not_deleted: list[str] = field(default_factory=list)
    diff: list[Json] = field(default_factory=list)
    error: str | None = None
    has_secrets: bool = False


@dataclass
class EnvironmentRun:
    """What an operation needs.

    :ivar known: the keys whose secrets are known.
    :ivar save: saves user data after the keys were changed.
    :ivar check_writable: checks that user data can be saved.
    :ivar saves_user_data: user data are saved at all; else secrets are only in the result.
    :ivar finish: turns the result into that of the task.
    :ivar note: what the operator should know, for the report.
    """

    request: Request
    client: Client
    known: Sequence[SavedKey]
    save: Save
    finish: Callable[[OperationResult], Json]
    check_writable: Callable[[], None]
    saves_user_data: bool
    check_mode: bool
    warn: Callable[[str], None]
    show_progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.observer = Observer(self.client)
        self.note = ""


def run_operation(run: EnvironmentRun) -> Json:
    """Run the requested operation, and return the result of the task.

    :raises UserError: if nothing could be done.
    """
    request = run.request
    master_key = run.client.connection.master_key
    if request.operation != "status":
        # Report invalid options before the first request.
        desired_keys(request, named_members(request.alias, request.users)[:1], {}, master_key, run.client.now())
    require_administrator(run.client)
    if request.operation == "status":
        return run.finish(_status(run))
    members, found = _members(run)
    if not members and request.operation == "extend":
        raise UserError(_nothing_to_extend(request))
    saved: dict[str, list[SavedKey]] = {}
    for key in run.known:
        saved.setdefault(key.alias, []).append(key)
    desired = desired_keys(request, members, saved, master_key, run.client.now())
    if run.saves_user_data and not run.check_mode and any(key.regenerate != "never" for key in desired):
        run.check_writable()  # a key that is replaced is revoked before its new secret is saved
    saves = run.saves_user_data or request.operation == "destroy"
    outcomes = reconcile(
        run.client,
        desired,
        found=found,
        observer=run.observer,
        check_mode=run.check_mode,
        on_unknown_models=request.settings.get("on_unknown_models") or request.options["on_unknown_models"],
        warn=run.warn,
        show_progress=run.show_progress,
        save=lambda done: save_or_delete(run.client, done, run.save if saves else None),
        saves_secrets=run.saves_user_data,
    )
    if request.operation == "extend":
        outcomes = _drop_deleted(run, outcomes)
    with delete_if_lost(run.client, outcomes, is_saved=saves):
        return run.finish(_result(run, outcomes))


def _members(run: EnvironmentRun) -> tuple[list[Member], list[ObservedKey] | None]:
    """Return the keys that the operation concerns, and the observed keys of the environment if they were listed."""
    request = run.request
    named = named_members(request.alias, request.users)
    if request.by_key_id:
        return [Member(request.alias)], None
    # As many pages as an environment with this number of users may need.
    saved = {key.alias for key in run.known if key.guid == request.guid}
    max_pages = 2 + 2 * (max(len(request.users), len(saved)) // 100)
    if request.operation == "provision":
        found = None
        if request.is_multi_user:
            found = run.observer.find_environment_keys_at_once(request.alias, request.predecessor_alias, max_pages)
        _warn_about_others(run, named, discover_members(request.guid, request.alias, run.known, found or ()), found)
        return named, found
    both = request.operation == "destroy" or request.options["regenerate"] != "never"
    if request.operation == "extend":
        max_pages = 0  # where many aliases start alike, trying the short listing first would cost a request more
    found = run.observer.find_environment_keys(request.alias, request.predecessor_alias, both=both, max_pages=max_pages)
    members = discover_members(request.guid, request.alias, run.known, found)
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
        existing = {own_alias_of(key) for key in found}
        others = [alias for alias in others if alias in existing]
    if others:
        message = messages.other_keys(run.request.guid, others, run.request.operation)
        if run.request.is_selection and run.request.operation == "provision":
            run.note = message  # expected where a play provisions one tenant after the other
        else:
            run.warn(message)


def _drop_deleted(run: EnvironmentRun, outcomes: list[Outcome]) -> list[Outcome]:
    """Leave out the keys that an extension did not find: they were deleted on purpose, or were never provisioned.

    A key whose secret was saved without its settings may have expired and cannot be recreated, which is an error.

    :raises UserError: if there is no other key.
    """
    deleted = {key.alias for key in run.known if key.was_deleted or key.settings is not None}
    without_settings = {key.alias for key in run.known} - deleted
    for outcome in outcomes:
        name = outcome.desired.name
        if outcome.operation == "absent" and not outcome.error and name in without_settings:
            outcome.error = (
                f"Virtual key {name} does not exist and cannot be recreated, because its settings were not saved. "
                "Provision it (ACTION: provision)"
            )
    existing = [outcome for outcome in outcomes if outcome.operation != "absent" or outcome.error]
    missing = [outcome.desired.name for outcome in outcomes if outcome not in existing]
    if not existing:
        raise UserError(_nothing_to_extend(run.request))
    if missing:
        run.warn(
            f"Not extended, because they were deleted before they expired or never existed: {', '.join(missing)}. "
            "Provision them to create them again (ACTION: provision)"
        )
    return existing


def _nothing_to_extend(request: Request) -> str:
    return (
        f"There is no virtual key of environment {request.guid} to extend: none exists, and none was saved that has "
        "expired. Provision it (ACTION: provision)"
    )


def _result(run: EnvironmentRun, outcomes: Sequence[Outcome]) -> OperationResult:
    request, options, connection = run.request, run.request.options, run.client.connection
    endpoint, base_url = connection.url, connection.base_url
    entries = [result_entry(outcome) for outcome in outcomes]
    result = OperationResult(
        changed=any(outcome.changed for outcome in outcomes),
        entries=entries,
        diff=[diff for outcome in outcomes if (diff := difference(outcome))],
        error=failure(outcomes),
        not_deleted=not_deleted(outcomes),
        has_secrets=any(outcome.secret for outcome in outcomes),
    )
    if request.operation == "destroy":
        is_undeletable = all(one.not_deleted for one in outcomes if one.error)
        if result.error and options["force_db_delete"] and is_undeletable:
            result.error = None  # the caller deletes the rows of `not_deleted`
        found = any(entry["operation"] != "absent" for entry in entries)
        result.facts = {
            **build_facts((), endpoint, base_url),
            KEY_DELETED: found and not run.check_mode,
            KEY_WAS_MISSING: not found,
        }
        result.handover = handover(options, entries, base_url, run.warn, remove=True)
        return result
    existing = [entry for entry in entries if entry["key_id"] or run.check_mode]
    result.facts = build_facts(existing, endpoint, base_url)
    docling = docling_data(options, endpoint)
    result.user_data = readable_user_data(existing, endpoint, base_url, docling)
    if request.operation in ("stop", "start") and not existing:
        result.report = messages.no_keys(request.guid)
    if result.error or not existing or request.operation == "stop":
        return result
    now = run.client.now()
    for problem in messages.unusable(existing, now):
        run.warn(problem)
    if request.operation == "start":
        return result
    result.handover = handover(options, existing, base_url, run.warn, remove=False)
    if request.operation == "provision":
        result.messages = messages.provision_messages(request, existing, base_url, docling, now)
        result.report = run.note
    elif result.changed:
        result.messages = messages.extension_messages(existing, now)
    else:
        result.report = messages.nothing_extended(existing)
    return result


def _status(run: EnvironmentRun) -> OperationResult:
    request, connection = run.request, run.client.connection
    found = run.observer.find_environment_keys(request.alias, request.predecessor_alias, both=True)
    members = discover_members(request.guid, request.alias, run.known, found)
    users = {member.alias: member.user for member in members}  # in the order of the members
    now = run.client.now()
    entries = [
        {**describe_key(key), "guid": request.guid, **({"user": user} if user else {}), "status": key_status(key, now)}
        for alias, user in users.items()
        for key in found
        if key.alias == alias
    ]
    secrets = {secret.key_id: secret.value for secret in (Secret(one.secret, "given") for one in run.known)}
    described = [{**entry, "key": secrets.get(entry["key_id"])} for entry in entries]
    result = OperationResult(entries=entries, has_secrets=any(entry["key"] for entry in described))
    result.facts = build_facts(described, connection.url, connection.base_url)
    if not entries:
        result.report = messages.no_keys(request.guid)
    return result
