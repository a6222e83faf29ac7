# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_environment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import (
    SHORT_NAMES,
    ControllerAction,
    Result,
    interruptible,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.agnosticd import (
    is_installed,
    known_keys_of,
    merge_user_data_files,
    output_folder,
    user_info_defaults,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
    ROLE,
    ROLE_PREFIX,
    coerce_settings,
    role_wording,
    unknown_role_variables,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    coerce_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.plain import to_plain
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.statements import delete_statement
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.handover import (
    absolute_files,
    is_on_controller,
    places_to_save,
    remembered_places,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.key_lists import (
    KeyList,
    display_path,
    key_ids_of,
    key_lists,
    update_lists,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.merging import (
    environment_records,
    merge_user_data,
    record_entry,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.messages import (
    no_access_to_database,
    not_blocked,
    unknown_operation,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.operation import run_operation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import (
    SavedKey,
    saved_keys,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.removal import remove_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import (
    WRITING_OPERATIONS,
    Request,
    parse_request,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.results import (
    EnvironmentRun,
    OperationResult,
    without_empty,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import (
    check_writable,
    data_file,
    load,
    remove_messages,
    update,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import docling_data
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.users import warnings_about
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client

# What the role needs to write a Secret, and to delete rows through the pod of the database.
_KUBERNETES = "kubernetes.core"
# The operations that write a Secret, or remove it.
_HANDING_OVER = (*WRITING_OPERATIONS, "destroy")


class ActionModule(ControllerAction):
    OPTIONS = ENVIRONMENT_OPTIONS
    EMPTY_IS_NOT_GIVEN = True

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        role = getattr(self._task, "_role", None)
        in_role = bool(role and role.get_name().rpartition(".")[2] == ROLE)
        arguments = self.arguments(task_vars)
        if in_role:
            self.wording = role_wording(self.wording.names, self.fact(SHORT_NAMES, task_vars))
        options = coerce_options(self.OPTIONS, arguments, "litellm_environment")
        if self._writes_here(options, task_vars):
            options.update(absolute_files(options))
        options["metadata"] = to_plain(options["metadata"], "metadata", for_database=True)
        request = parse_request(options, coerce_settings(options["settings"]), coerce_key_options({}), self.wording)
        if request is None:
            return self._nothing_to_do(self.masked(unknown_operation(options["operation"])))
        if request.operation in ("stop", "start") and not options["block_on_stop"]:
            return self._nothing_to_do(not_blocked(self.wording))
        if in_role and options["secret_name"] and request.operation in _HANDING_OVER and not is_installed(_KUBERNETES):
            raise OptionError(
                f"secret_name needs the collection {_KUBERNETES}, which is not installed on the controller. Install it"
            )
        unknown = unknown_role_variables(task_vars) if in_role else ()
        for warning in (*warnings_about(options, self.wording), *unknown):
            self.warn(warning)
        client = self.connect(options)
        known = known_keys_of(self, task_vars)
        lists = key_lists(request, known)
        with interruptible():
            return run_operation(
                EnvironmentRun(
                    request,
                    client,
                    known=known,
                    save=lambda outcomes: self._save(request, client, outcomes, task_vars, lists),
                    finish=lambda done: self._finish(request, client, done, lists, known, task_vars, in_role=in_role),
                    check_writable=lambda: check_writable(output_folder(self, task_vars), "provision"),
                    saves_user_data=options["save_user_data"],
                    check_mode=self._task.check_mode,
                    warn=self.warn,
                    show_progress=self.progress_reporter(),
                    user_data_file=display_path(output_folder(self, task_vars) / data_file("provision")),
                    lists={one.option: display_path(one.path) for one in lists if one.is_written},
                    remembered=remembered_places(known, request.guid, lambda path: Path(path).expanduser().is_file()),
                )
            )

    def _finish(
        self,
        request: Request,
        client: Client,
        done: OperationResult,
        lists: Sequence[KeyList],
        known: Sequence[SavedKey],
        task_vars: Mapping[str, Any],
        *,
        in_role: bool,
    ) -> Result:
        """Return the result of the task, after the files that list the keys are written."""
        if lists:
            try:
                keys = self._listed_keys(request, done, task_vars)
            except UserDataError as error:
                done.error = done.error or str(error)
            else:
                url, own_ids = client.connection.base_url, key_ids_of(known)
                # Without saved user data, a deleted key proves as well that a file is of this environment.
                own_ids |= {str(entry["key_id"]) for entry in done.entries if entry["operation"] == "deleted"}
                for warning in update_lists(lists, done, keys, url, request.guid, own_ids, self._task.check_mode):
                    self.warn(warning)
        missing = self._missing_collection(done, task_vars) if in_role else None
        return self._to_result(request, client, done, missing)

    def _missing_collection(self, done: OperationResult, task_vars: Mapping[str, Any]) -> str | None:
        """Return why the role cannot delete rows in the database; None if it can, or need not."""
        name = f"{ROLE_PREFIX}postgres_url"
        if not done.not_deleted or done.error or self.platform_variable(name, task_vars, ""):
            return None
        return None if is_installed(_KUBERNETES) else no_access_to_database(done.not_deleted, _KUBERNETES, name)

    def _listed_keys(self, request: Request, done: OperationResult, task_vars: Mapping[str, Any]) -> list[Result]:
        """Return the keys that the environment has now, for the files that list them."""
        if not request.options["save_user_data"]:
            return [entry for entry in done.entries if entry["key"]]
        prefix = str(user_info_defaults(self).get("data_prefix") or "")
        records = environment_records(load(output_folder(self, task_vars)), prefix, request.guid)
        return [record_entry(alias, record) for alias, record in records.items() if record.get("key_id")]

    def _to_result(
        self, request: Request, client: Client, done: OperationResult, missing_collection: str | None
    ) -> Result:
        """Return the result of the task."""
        if done.has_secrets:
            self.hide_secrets()
        for entry in done.entries:
            if "error" in entry:
                entry["error"] = self.masked(entry["error"])
        is_table = request.operation == "status" and done.entries
        report = [*self._table(done.entries), *filter(None, [done.report])] if is_table else done.report
        result: Result = {
            "changed": done.changed,
            "operation": request.operation,
            "virtual_keys": done.entries,
            "facts": done.facts,
            "user_data": done.user_data,
            "messages": done.messages if request.options["return_messages"] else [],
            "report": report,
            "summary": done.summary,
            "handover": done.handover,
            "not_deleted": done.not_deleted,
            "shared_budget": done.shared_budget,
            "delete_statement": delete_statement(done.not_deleted) if done.not_deleted else "",
            "follow_up": _follow_up(done, report),
            "api_endpoint": client.connection.url,
            "api_base_url": client.connection.base_url,
            "api_calls": client.api_calls,
        }
        if error := done.error or missing_collection:
            result = {**without_empty(result, self.wording), "failed": True, "msg": self.masked(error)}
        if self._task.diff:
            result["diff"] = done.diff
        return result

    def _nothing_to_do(self, report: str) -> Result:
        lists: Result = {name: [] for name in ("virtual_keys", "messages", "handover", "not_deleted")}
        return {
            "changed": False,
            "operation": "",
            "report": report,
            "follow_up": ["report"],
            "summary": [report],
            **{name: {} for name in ("facts", "user_data", "shared_budget")},
            "delete_statement": "",
            **lists,
        }

    def _save(
        self,
        request: Request,
        client: Client,
        outcomes: Sequence[Outcome],
        task_vars: Mapping[str, Any],
        lists: Sequence[KeyList],
    ) -> None:
        """Save the user data of keys that were created or changed, and remove those of deleted keys.

        :raises UserDataError: if a file cannot be read or written.
        """
        removed = [one for one in outcomes if not one.desired.present]
        kept = [one for one in outcomes if one.desired.present]
        if removed:
            folder = output_folder(self, task_vars)
            deleted = {str(one.desired.alias or (one.before and one.before.alias)) for one in removed if not one.after}
            revoked = {key.secret for key in saved_keys(load(folder)) if key.alias in deleted}
            remove_messages(folder, "provision", revoked)
            update(folder, "provision", lambda data: remove_keys(data, deleted))
        if kept and request.operation in WRITING_OPERATIONS:
            url = client.connection.url
            extra, is_here = docling_data(request.options, url), self._writes_here(request.options, task_vars)
            paths = {one.option: str(one.path) for one in lists if not one.is_former}
            places = partial(places_to_save, request.options, paths, is_controller=is_here)
            try:
                merge_user_data_files(
                    self,
                    task_vars,
                    lambda saved, name: merge_user_data(
                        saved, name, request.guid, kept, url, f"{url}/v1", extra, places
                    ),
                )
            except AnsibleError as error:  # of AgnosticD's action, or of a template in its module_defaults
                raise UserDataError(f"Cannot save user data: {error}") from None

    def _writes_here(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> bool:
        own = str(task_vars.get("inventory_hostname", ""))
        # A task that is delegated has the connection of another host.
        transport = "" if self._task.delegate_to else self._connection.transport
        return is_on_controller(options["handover_host"] or own, own, transport)

    @staticmethod
    def _table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
        # Imported here, because only this operation needs it.
        from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.table import format_table

        return format_table(entries, datetime.now(timezone.utc))


def _follow_up(done: OperationResult, report: object) -> list[str]:
    """Return the names of the role's task files that are needed after this result."""
    files = {"report": report, "force_db_delete": done.not_deleted, "handover": done.handover}
    return [name for name, is_needed in files.items() if is_needed]
