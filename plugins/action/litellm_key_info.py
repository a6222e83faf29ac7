# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key_info`: what the proxy says of keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import format_instant, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Observed, checked_alias, checked_id
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import (
    CONNECTION,
    Option,
    connect,
    typed,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._result import described

OPTIONS = {
    **CONNECTION,
    "guid": Option("raw"),
    "key_alias": Option("raw"),
    "key_id": Option("raw"),
    "alias_prefix": Option(),
    "user_id": Option(),
    "team_id": Option(),
    "metadata": Option("dict"),
    "expires_before": Option("raw"),
    "status": Option(choices=("active", "expired", "blocked")),
}
_DEFAULT_PREFIX = "virtkey-"


class ActionModule(ControllerAction):
    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        self._given = self.with_connection(task_vars)
        options = typed(OPTIONS, self._given, "litellm_key_info")
        before = parse_instant(options["expires_before"]) if options["expires_before"] else None
        aliases, ids = _names(options)
        client = connect(options, self.warn)
        observer = Observer(client)
        if aliases or ids or any(options[name] is not None for name in ("guid", "key_alias", "key_id")):
            rows = observer.with_aliases(aliases)
            keys = [key for alias in aliases for key in rows[alias]]
            for found in side_by_side(observer.with_id, ids, client.connection.concurrency):
                keys.extend(found)
        else:
            query = {name: options[name] for name in ("user_id", "team_id") if options[name]}
            keys = observer.beginning_with(options["alias_prefix"] or "", query)
        now = client.now()
        return {
            "changed": False,
            "virtual_keys": [
                {**described(key), "guid": _guid(key, options), "status": _status(key, now)}
                for key in keys
                if _matches(key, options, before, now)
            ],
            "now": format_instant(now),
            "api_endpoint": client.connection.url,
            "api_base_url": f"{client.connection.url}/v1",
            "api_calls": client.api_calls,
        }

    def secrets(self) -> list[str]:
        key = getattr(self, "_given", self._task.args).get("master_key")
        return [str(key)] if key else []


def _names(options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The aliases and the ids that are asked for by name."""
    prefix = _DEFAULT_PREFIX if options["alias_prefix"] is None else options["alias_prefix"]
    aliases = [checked_alias(prefix + guid, "guid") for guid in _one_or_many(options, "guid")]
    aliases += [checked_alias(alias) for alias in _one_or_many(options, "key_alias")]
    return list(dict.fromkeys(aliases)), [checked_id(key_id) for key_id in _one_or_many(options, "key_id")]


def _one_or_many(options: Mapping[str, Any], name: str) -> Sequence[str]:
    value = options[name]
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int) or one == "":
            raise OptionError(f"{name} must be a name or a list of names, but has {one!r}")
    return [str(one) for one in values]


def _matches(key: Observed, options: Mapping[str, Any], before: datetime | None, now: datetime) -> bool:
    """Whether the key passes all filters: releases of LiteLLM ignore some of them, or match parts of names."""
    return (
        all(key.value(name) == options[name] for name in ("user_id", "team_id") if options[name])
        and _has(key.value("metadata"), options["metadata"])
        and (before is None or (key.expires is not None and key.expires < before))
        and (options["status"] is None or _status(key, now) == options["status"])
    )


def _has(metadata: Any, asked: Mapping[str, Any] | None) -> bool:
    """Whether the metadata have these values, as text: a guid of digits is a number to YAML."""
    return all(str((metadata or {}).get(name)) == str(value) for name, value in (asked or {}).items())


def _status(key: Observed, now: datetime) -> str:
    if key.value("blocked"):
        return "blocked"
    return "expired" if key.expires is not None and key.expires <= now else "active"


def _guid(key: Observed, options: Mapping[str, Any]) -> str | None:
    prefix = options["alias_prefix"] or _DEFAULT_PREFIX
    return key.alias.removeprefix(prefix) if key.alias and key.alias.startswith(prefix) else None
