# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import (
    ControllerAction,
    Result,
    interruptible,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import (
    LITELLM_KEY_OPTIONS,
    each_key_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import desired_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    difference,
    failure,
    not_deleted,
    result_entry,
    unlimited_keys,
    unusable_key,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)


class ActionModule(ControllerAction):
    OPTIONS = LITELLM_KEY_OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        arguments = self.arguments(task_vars)
        options = coerce_options(self.OPTIONS, arguments, "litellm_key")
        in_list = options["virtual_keys"] is not None
        desired = desired_keys(each_key_options(options, arguments), options["master_key"], in_list=in_list)
        if options["recall"]:
            desired = self._with_known_secrets(desired, task_vars)
        client = self.connect(options)
        if desired:
            require_administrator(client)
        with interruptible():
            outcomes = reconcile(
                client,
                desired,
                check_mode=self._task.check_mode,
                on_unknown_models=options["on_unknown_models"],
                warn=self.warn,
                show_progress=self.progress_reporter(),
            )
            left = self._delete_unused_teams(client, outcomes)
        for outcome in outcomes:
            outcome.error = outcome.error and self.masked(outcome.error)
        if problem := unlimited_keys(outcomes, self.wording):
            self.warn(problem)
        entries = [result_entry(outcome) for outcome in outcomes]
        for outcome, entry in zip(outcomes, entries, strict=True):
            # A secret that is handed out should work, unless the key is blocked on purpose.
            is_handed_out = entry["key"] and not outcome.error and not outcome.desired.settings.get("blocked")
            if is_handed_out and (problem := unusable_key(entry, client.now(), self.wording)):
                self.warn(problem)
        result: Result = {
            "changed": any(outcome.changed for outcome in outcomes),
            "virtual_keys": entries,
            "api_endpoint": client.connection.url,
            "api_base_url": client.connection.base_url,
            "api_calls": client.api_calls,
        }
        if len(entries) == 1:
            result["virtual_key"] = entries[0]
        if self._task.diff:
            result["diff"] = [diff for outcome in outcomes if (diff := difference(outcome))]
        if message := failure(outcomes):
            result.update(failed=True, msg=message, not_deleted=not_deleted(outcomes))
        elif left:
            result.update(failed=True, msg=self.masked(left))
        if any(outcome.secret for outcome in outcomes):
            self.hide_secrets()
        return result

    def _delete_unused_teams(self, client: Client, outcomes: Sequence[Outcome]) -> str | None:
        """Delete the teams of shared budgets whose last key was deleted. Return why one may be left, or None."""
        if not any(one.before and not one.after and one.before.value("team_id") for one in outcomes):
            return None
        # Imported here, because few tasks need it.
        from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import (
            delete_unused_teams,
        )

        return delete_unused_teams(client, Observer(client), outcomes, check_mode=self._task.check_mode)

    def _with_known_secrets(self, desired: Sequence[DesiredKey], task_vars: Mapping[str, Any]) -> list[DesiredKey]:
        """Return the keys with the secrets that user data and the facts of the play contain."""
        # Imported here, because ansible-core compiles each module again in every run, and few tasks need these.
        from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.agnosticd import known_keys_of

        known = known_keys_of(self, task_vars)
        return [
            replace(key, known_secrets=tuple(Secret(one.secret, "given") for one in known if one.alias == key.alias))
            for key in desired
        ]
