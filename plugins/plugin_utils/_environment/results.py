# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operation on a lab environment needs, and what it returns.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .._keys.durations import format_instant
from .._keys.lifetimes import earlier_end
from .._keys.observer import Observer
from .._keys.outcome import Outcome
from .._keys.previous import is_secret_lost, previous_of
from .._keys.problems import unfinished_replacement
from .._keys.result import (
    describe_previous,
    describe_status,
    difference,
    failure,
    not_deleted,
    result_entry,
    unlimited_keys,
)
from .._keys.secrets import Secret
from .._keys.settings import SECRET_VERSION
from .._litellm.client import Client
from .._text import Wording
from . import messages
from .handover import Remembered, describe_places, handover, has_places, not_updated
from .members import Member, discover_members
from .records import SavedKey
from .request import Request
from .saving import Save
from .summary import Place, summarize
from .user_data import KEY_DELETED, KEY_WAS_MISSING, build_facts, docling_data, readable_user_data

Json = dict[str, Any]


@dataclass
class OperationResult:
    """The result of an operation.

    :ivar entries: one for each key, as in the result of `litellm_key`.
    :ivar user_data: what a lab guide can read about the keys, with secrets.
    :ivar messages: what the user reads.
    :ivar report: what the operator reads; for the status of keys, below their table.
    :ivar summary: what was done, where the keys are, and how to try them: what a person at a terminal reads.
    :ivar not_deleted: the ids of keys that LiteLLM reported as deleted and that still exist.
    :ivar shared_budget: the budget that all keys share; empty without one.
    :ivar error: why the operation failed, as a sentence.
    :ivar has_secrets: the entries contain secrets.
    """

    changed: bool = False
    entries: list[Json] = field(default_factory=list)
    facts: Json = field(default_factory=dict)
    user_data: Json = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    report: str = ""
    summary: list[str] = field(default_factory=list)
    handover: list[Json] = field(default_factory=list)
    not_deleted: list[str] = field(default_factory=list)
    shared_budget: Json = field(default_factory=dict)
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
    :ivar user_data_file: the path of the file with the secrets, for messages.
    :ivar lists: the paths of the files that list the keys, for messages, by the option that names them.
    :ivar remembered: where earlier runs have written the keys besides user data.
    :ivar note: what the operator should know, for the report.
    :ivar members: the keys of the environment that exist, if they were listed.
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
    user_data_file: str = ""
    lists: Mapping[str, str] = field(default_factory=dict)
    remembered: Remembered = field(default_factory=Remembered)

    def __post_init__(self) -> None:
        self.observer = Observer(self.client, self.show_progress)
        self.note = ""
        self.members: list[Member] = []

    @property
    def place(self) -> Place:
        """Where the keys of the run are."""
        return Place(
            base_url=self.client.connection.base_url,
            user_data_file=self.user_data_file if self.saves_user_data else "",
            lists=self.lists,
            now=self.client.now(),
            check_mode=self.check_mode,
        )


def result_of(run: EnvironmentRun, outcomes: Sequence[Outcome]) -> OperationResult:
    """Return the result of an operation that may have changed keys."""
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
    kept, removed = (
        [entry for one, entry in zip(outcomes, entries, strict=True) if one.desired.present is present]
        for present in (True, False)
    )
    if request.operation == "destroy":
        is_undeletable = all(one.not_deleted for one in outcomes if one.error)
        if result.error and options["force_db_delete"] and is_undeletable:
            result.error = None  # the caller deletes the rows of `not_deleted`
        found = any(entry["operation"] != "absent" for entry in entries)
        result.facts = {
            **build_facts((), endpoint, base_url),
            KEY_DELETED: found and not run.check_mode and not (failure(outcomes) or result.not_deleted),
            KEY_WAS_MISSING: not found,
        }
        result.handover = handover(options, entries, base_url, run.warn, remove=True, remembered=run.remembered)
        result.summary = summarize(request, (), entries, _place(run, result))
        return result
    existing = [
        entry
        for entry in kept
        if entry["key_id"] or (run.check_mode and entry["operation"] not in ("absent", "failed"))
    ]
    result.facts = build_facts(existing, endpoint, base_url)
    docling = docling_data(options, endpoint)
    result.user_data = readable_user_data(existing, endpoint, base_url, docling)
    if request.operation in ("stop", "start", "rotate_old"):
        result.report = _report_missing(run, kept)
    if result.error:
        return result
    now = run.client.now()
    ends = [end for one in outcomes if one.desired.present and (end := earlier_end(one.desired, one.after, now))]
    result.handover = [
        *handover(options, removed, base_url, run.warn, remove=True, remembered=run.remembered),
        *(
            handover(options, existing, base_url, run.warn, remove=False, remembered=run.remembered)
            if request.operation not in ("stop", "start")
            else ()
        ),
    ]
    earliest = format_instant(min(ends)) if ends else None
    result.summary = summarize(request, existing, removed, _place(run, result), earliest)
    if result.report:
        result.summary = [result.report, *(result.summary if existing else ())]
    if not existing or request.operation == "stop":
        return result
    for problem in messages.unusable(existing, now, request.wording):
        run.warn(problem)
    if request.operation == "start":
        return result
    if request.operation == "rotate_old" and all(entry["operation"] != "regenerated" for entry in existing):
        result.report = result.report or messages.nothing_rotated(existing, request.rotation, now)
        return result
    if request.operation in ("provision", "rotate", "rotate_old"):
        result.messages = messages.provision_messages(
            request, existing, base_url, docling, now, check_mode=run.check_mode
        )
        if warning := unlimited_keys(outcomes, request.wording):
            run.warn(warning)
        result.report = run.note
    elif result.changed:
        result.messages = messages.extension_messages(existing, now, request.wording)
    else:
        result.report = messages.nothing_extended(existing)
    return result


def _report_missing(run: EnvironmentRun, entries: Sequence[Json]) -> str:
    """Return the report about named users without a key, or about an environment without keys; empty without."""
    absent = [entry for entry in entries if entry["operation"] == "absent"]
    missing = [entry["user"] for entry in absent if entry.get("user")]
    if run.members and missing:
        report = messages.users_without_key(run.request, missing, [one.user for one in run.members if one.user])
        run.warn(report)
        return report
    if len(absent) < len(entries):
        return ""
    report = messages.no_keys(run.request.guid)
    if run.request.operation == "rotate_old":  # runs on a schedule: a misspelled guid would never be noticed
        run.warn(report)
    return report


def _place(run: EnvironmentRun, result: OperationResult) -> Place:
    """Return where the keys are after the run."""
    options = run.request.options
    is_known = all(entry["key_alias"] in run.remembered.aliases for entry in result.entries)
    return replace(
        run.place,
        written=describe_places(options) or [words for one in result.handover for words in describe_places(one)],
        not_updated=not_updated(result.entries, result.handover, run.remembered),
        is_complete=is_known or has_places(options),
    )


def status_of(run: EnvironmentRun) -> OperationResult:
    """Return the status of the keys."""
    request, connection = run.request, run.client.connection
    found = run.observer.find_environment_keys(request.alias, request.successor_alias, both=True)
    members = discover_members(request.guid, request.alias, run.known, found)
    users = {member.alias: member.user for member in members}  # in the order of the members
    now = run.client.now()
    aliases = {key.alias for key in found}
    entries = [
        {
            **describe_status(key, now),
            "previous": describe_previous(previous_of(key, found, request.guid) if key.alias == alias else None),
            "guid": request.guid,
            **({"user": user} if user else {}),
        }
        for alias, user in users.items()
        for key in found
        if key.alias == alias or (key.final_alias == alias and alias not in aliases)
    ]
    for key in found:
        if key.alias != key.final_alias and key.final_alias in users and not key.is_previous:
            run.warn(unfinished_replacement(str(key.final_alias), key))
    for key in found:
        own = [Secret(one.secret, "given") for one in run.known if one.alias == key.alias]
        # Anybody with the seed knows a derived secret.
        if SECRET_VERSION not in (key.value("metadata") or {}) and is_secret_lost(key, own, now):
            run.warn(messages.secret_unknown(str(key.alias), run.user_data_file, request.wording))
    for entry in entries:
        if entry["problem"]:
            run.warn(entry["problem"])
    secrets = {secret.key_id: secret.value for secret in (Secret(one.secret, "given") for one in run.known)}
    described = [{**entry, "key": secrets.get(entry["key_id"])} for entry in entries]
    result = OperationResult(entries=entries, has_secrets=any(entry["key"] for entry in described))
    result.facts = build_facts(described, connection.url, connection.base_url)
    result.summary = summarize(request, described, (), run.place)
    if not entries:
        result.report = messages.no_keys(request.guid)
    return result


def without_empty(result: Json, wording: Wording) -> Json:
    """Return what a failed result contains: ansible-core prints all of it on one line, beside the message.

    The message names the keys that failed, so that the user of a playbook does not need entries without a key.
    """
    kept = {name: value for name, value in result.items() if value not in ([], {}, "")}
    if not any(kept.get("facts", {}).values()):
        kept.pop("facts", None)
    if wording.in_playbook and not any(entry["key_id"] for entry in kept.get("virtual_keys", ())):
        return {name: kept[name] for name in ("changed", "operation")}
    return kept
