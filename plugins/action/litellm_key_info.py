# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key_info`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    coerce_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._concurrency import run_concurrently
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import (
    LiteLLMError,
    OptionError,
    naming,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import (
    format_instant,
    parse_instant,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import (
    DEFAULT_ALIAS_PREFIX,
    checked_alias,
    checked_id,
    previous_alias,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import KeysByAlias, Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    describe_listed,
    key_status,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)

OPTIONS = {
    **CONNECTION_OPTIONS,
    "guid": Option("raw"),
    "key_alias": Option("raw"),
    "key_id": Option("raw"),
    "alias_prefix": Option(),
    "user_id": Option(),
    "team_id": Option(),
    "metadata": Option("dict"),
    "expires_before": Option("raw"),
    "status": Option(choices=("active", "expired", "blocked", "unknown")),
    "shared_budgets": Option("bool", False),
}
# The options that can leave out keys of an environment.
_FILTERS = ("guid", "key_alias", "key_id", "user_id", "team_id", "metadata", "expires_before", "status")


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        options = coerce_options(OPTIONS, self.arguments(task_vars), "litellm_key_info")
        with naming("expires_before"):
            before = parse_instant(options["expires_before"]) if options["expires_before"] else None
        aliases, ids = _names(options)
        client = self.connect(options)
        require_administrator(client)
        observer = Observer(client, self.progress_reporter())
        if aliases or ids or any(options[name] is not None for name in ("guid", "key_alias", "key_id")):
            by_alias = observer.find_by_alias(aliases, previous=True)
            keys = [key for alias in aliases for key in (*by_alias[alias], *_previous(by_alias, alias))]
            for found in run_concurrently(observer.find_by_id, ids, client.connection.concurrency):
                keys.extend(found)
        else:
            query = {name: options[name] for name in ("user_id", "team_id") if options[name]}
            keys = observer.find_by_prefix(options["alias_prefix"] or "", query)
        now = client.now()
        matching = [key for key in keys if _matches(key, options, before, now)]
        return {
            "changed": False,
            "virtual_keys": describe_listed(matching, keys, now, options["alias_prefix"] or DEFAULT_ALIAS_PREFIX),
            "shared_budgets": self._shared_budgets(client, matching, options) if options["shared_budgets"] else [],
            "now": format_instant(now),
            "api_endpoint": client.connection.url,
            "api_base_url": client.connection.base_url,
            "api_calls": client.api_calls,
        }

    def _shared_budgets(self, client: Client, keys: Sequence[ObservedKey], options: Mapping[str, Any]) -> list[Result]:
        """Return the shared budgets of the keys' environments. Teams are listed only if a key points to one."""
        # Imported here, because only this option needs it.
        from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import (
            list_shared_budgets,
            warning_about_shared_budgets,
        )

        is_filtered = any(options[name] is not None for name in _FILTERS)
        try:
            return list_shared_budgets(client, keys, None if is_filtered else options["alias_prefix"] or "")
        except LiteLLMError as error:
            self.warn(warning_about_shared_budgets(error))
            return []


def _names(options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the aliases and the ids of the keys that are named."""
    prefix = DEFAULT_ALIAS_PREFIX if options["alias_prefix"] is None else options["alias_prefix"]
    aliases = [checked_alias(prefix + guid, "guid") for guid in _one_or_many(options, "guid")]
    aliases += [checked_alias(alias) for alias in _one_or_many(options, "key_alias")]
    return list(dict.fromkeys(aliases)), [checked_id(key_id) for key_id in _one_or_many(options, "key_id")]


def _previous(by_alias: KeysByAlias, alias: str) -> list[ObservedKey]:
    """Return the keys that the key with this alias has replaced and that work until their overlap ends."""
    return [key for key in by_alias[previous_alias(alias)] if key.is_previous]


def _one_or_many(options: Mapping[str, Any], name: str) -> Sequence[str]:
    value = options[name]
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int) or one == "":
            raise OptionError(f"{name} must be a name or a list of names, but contains {one!r}")
    return [str(one) for one in values]


def _matches(key: ObservedKey, options: Mapping[str, Any], before: datetime | None, now: datetime) -> bool:
    """Return whether the key passes all filters. Some releases of LiteLLM ignore filters, or match parts of names."""
    return (
        all(key.value(name) == options[name] for name in ("user_id", "team_id") if options[name])
        and _has_metadata(key.value("metadata"), options["metadata"])
        and (before is None or (key.expires is not None and key.expires < before))
        and (options["status"] is None or key_status(key, now) == options["status"])
    )


def _has_metadata(metadata: Any, expected: Mapping[str, Any] | None) -> bool:
    """Return whether the metadata contain these values, compared as text: YAML reads a guid of digits as a number."""
    return all(str((metadata or {}).get(name)) == str(value) for name, value in (expected or {}).items())
