# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import (
    ControllerAction,
    Result,
    interruptible,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    coerce_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model_names import (
    describe_unknown,
    unknown_models,
    with_model_replaced,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import DEFAULT_ALIAS_PREFIX
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import served_models
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    difference,
    failure,
    result_entry,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.replacement import (
    summarize_replacement,
)

OPTIONS = {
    **CONNECTION_OPTIONS,
    "old_model": Option(),
    "new_model": Option(),
    "alias_prefix": Option(default=DEFAULT_ALIAS_PREFIX),
}


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        options = coerce_options(OPTIONS, self.arguments(task_vars), "litellm_key_model")
        old, new, prefix = (str(options[name] or "") for name in ("old_model", "new_model", "alias_prefix"))
        _check(old, new, prefix)
        client = self.connect(options)
        require_administrator(client)
        _check_served(client, new)
        observer = Observer(client, self.progress_reporter())
        desired = [
            DesiredKey(alias=None, key_id=key.key_id, settings=settings)
            for key in observer.find_by_prefix(prefix)
            if (settings := with_model_replaced(key, old, new))
        ]
        with interruptible():
            outcomes = reconcile(
                client,
                desired,
                observer=observer,
                check_mode=self._task.check_mode,
                on_unknown_models="ignore",  # a key may name further models that are gone
                warn=self.warn,
                show_progress=self.progress_reporter(),
            )
        entries = [result_entry(outcome) for outcome in outcomes]
        changed = [entry["key_alias"] for entry, outcome in zip(entries, outcomes, strict=True) if outcome.changed]
        result: Result = {
            "changed": bool(changed),
            "virtual_keys": entries,
            "api_endpoint": client.connection.url,
            "api_base_url": client.connection.base_url,
            "api_calls": client.api_calls,
        }
        if self._task.diff:
            result["diff"] = [diff for outcome in outcomes if (diff := difference(outcome))]
        if message := failure(outcomes):
            result.update(failed=True, msg=message)
        else:
            result["summary"] = summarize_replacement(old, new, changed, check_mode=self._task.check_mode)
        return result


def _check(old: str, new: str, prefix: str) -> None:
    """Check the options.

    :raises OptionError: if one is missing, or the models are the same.
    """
    if not old:
        raise OptionError("old_model is not set; name the model that is replaced, as the keys name it")
    if not new:
        raise OptionError("new_model is not set; name the model that the keys get instead")
    if old == new:
        raise OptionError(f"old_model and new_model are both {old!r}; name two models")
    if not prefix.strip():
        raise OptionError("alias_prefix is empty; it must start the aliases of the keys that may be changed")


def _check_served(client: Client, model: str) -> None:
    """Check that the proxy serves the model that the keys are to get.

    :raises OptionError: otherwise.
    """
    served = served_models(client)
    if unknown := unknown_models([model], served):
        raise OptionError(f"new_model is an unknown model: {describe_unknown(unknown, served)}")
