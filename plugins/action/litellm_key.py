# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key`: Ansible's words in, Ansible's words out. What to do is decided below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils import _secret
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import (
    DurationError,
    InstantError,
    parse,
    parse_instant,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import (
    SETTINGS,
    Lifetime,
    Wanted,
    checked_alias,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import (
    CONNECTION,
    Option,
    connect,
    typed,
    with_sources,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._result import difference, entry, failure

KEY = {
    "guid": Option(),
    "alias_prefix": Option(default="virtkey-"),
    "key_alias": Option(),
    "state": Option(default="present", choices=("present", "absent")),
    "key": Option(secret=True),
    "on_unknown_key": Option(default="ignore", choices=("ignore", "fail")),
    "duration": Option("raw"),
    "runtime": Option("raw"),
    "expires_at": Option("raw"),
    "shorten": Option("bool", True),
    "models": Option("list of str"),
    "max_budget": Option("float"),
    "user_id": Option(),
    "metadata": Option("dict"),
}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        secrets: list[str] = []
        problem = None
        try:
            given = with_sources(CONNECTION, self._task.args, lambda name: self._variable(name, task_vars or {}))
            secrets = [str(given[name]) for name in ("master_key", "key") if given.get(name)]
            result.update(self._reconciled(typed({**CONNECTION, **KEY}, given, "litellm_key")))
        except (OptionError, LiteLLMError, DurationError, InstantError) as error:
            problem = _secret.mask(str(error), secrets)
        if problem:
            # Returned and not raised: ansible-core 2.19 prints an exception and its causes whatever no_log says.
            result.update(failed=True, changed=False, msg=problem)
        return result

    def _variable(self, name: str, task_vars: Mapping[str, Any]) -> Any:
        return self._templar.template(task_vars[name]) if name in task_vars else None

    def _reconciled(self, options: dict[str, Any]) -> dict[str, Any]:
        wanted = _wanted(options)
        client = connect(options)
        outcomes = reconcile(client, [wanted], check_mode=self._task.check_mode)
        entries = [entry(outcome) for outcome in outcomes]
        result: dict[str, Any] = {
            "changed": any(outcome.changed for outcome in outcomes),
            "virtual_keys": entries,
            "virtual_key": entries[0],
            "api_endpoint": client.connection.url,
            "api_base_url": f"{client.connection.url}/v1",
            "api_calls": client.api_calls,
        }
        if self._task.diff:
            result["diff"] = [diff for outcome in outcomes if (diff := difference(outcome))]
        if message := failure(outcomes):
            result.update(failed=True, msg=message)
        # A registered result keeps its secrets and no output shows them, but ad hoc, where the output is all there is.
        if any(outcome.secret for outcome in outcomes) and not context.CLIARGS.get("module_name"):
            result["_ansible_no_log"] = True
        return result


def _wanted(options: Mapping[str, Any]) -> Wanted:
    guid, alias = options["guid"], options["key_alias"]
    if (guid is None) == (alias is None):
        found = "neither is given" if guid is None else "both are given"
        raise OptionError(f"which key: guid or key_alias must name it, and {found}")
    if guid is not None:
        if not guid:
            raise OptionError("guid is empty; it must name the environment")
        alias = checked_alias(options["alias_prefix"] + guid, "guid")
    else:
        alias = checked_alias(alias)
    key = options["key"]
    return Wanted(
        alias=alias,
        guid=guid,
        present=options["state"] == "present",
        settings={name: options[name] for name in SETTINGS if options[name] is not None},
        lifetime=_lifetime(options),
        secret=_secret.given(key) if key else None,
        secret_required=options["on_unknown_key"] == "fail",
    )


def _lifetime(options: Mapping[str, Any]) -> Lifetime | None:
    """`expires_at` before `runtime` before `duration`; empty means not given."""
    shorten = options["shorten"]
    if options["expires_at"] not in (None, ""):
        return Lifetime(parse_instant(options["expires_at"]), shorten)
    for name in ("runtime", "duration"):
        if options[name] not in (None, ""):
            length = parse(options[name])
            return Lifetime(length, shorten, asked=str(length))
    return None
