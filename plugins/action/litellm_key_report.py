# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_report`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    coerce_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import (
    list_shared_budgets,
    unread_shared_budgets,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import (
    LiteLLMError,
    OptionError,
    naming,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import Duration, parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import DEFAULT_ALIAS_PREFIX
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import served_models
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import describe_listed
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import Guids, parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.output import (
    FORMATS,
    check_file,
    displayed,
    format_for,
    render,
    save,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import ORDERS, build_report

OPTIONS = {
    **CONNECTION_OPTIONS,
    "alias_prefix": Option(default=DEFAULT_ALIAS_PREFIX),
    "guid": Option(),
    "ending_within": Option("raw"),
    "sort": Option(default="end", choices=tuple(ORDERS)),
    "guids": Option("raw"),
    "guids_file": Option("path"),
    "soon": Option("raw", "24h"),
    "format": Option(choices=FORMATS),
    "file": Option("path"),
}


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        options = coerce_options(OPTIONS, self.arguments(task_vars), "litellm_key_report")
        file = options["file"]
        its_format = format_for(options["format"], file)
        if file:
            check_file(file)
        soon, ending_within = (_duration(options, name) for name in ("soon", "ending_within"))
        if soon is None:
            raise OptionError("soon is empty; it must be a duration, such as 24h")
        guids = _guids(options)
        client = self.connect(options)
        require_administrator(client)
        prefix = options["alias_prefix"]
        keys = Observer(client, self.progress_reporter()).find_by_prefix(prefix)
        now = client.now()
        report = build_report(
            describe_listed(keys, keys, now, prefix or DEFAULT_ALIAS_PREFIX),
            now,
            soon=soon,
            guids=guids,
            api_endpoint=client.connection.url,
            guid=(options["guid"] or "").strip(),
            ending_within=ending_within,
            sort=options["sort"],
            models=self._models(client),
            shared_budgets=self._shared_budgets(client, keys, prefix),
        )
        result = {"changed": False, "totals": report["totals"], "summary": report["summary"]}
        if not file:
            result["report"] = displayed(report, its_format)
        else:
            result["file"] = file
            result["changed"] = save(render(report, its_format), file, check_mode=self._task.check_mode)
        return {**result, "api_calls": client.api_calls}

    def _models(self, client: Client) -> Collection[str] | None:
        try:
            return served_models(client)
        except LiteLLMError as error:
            self.warn(f"The report does not check the models of the keys, because they cannot be listed: {error}")
            return None

    def _shared_budgets(self, client: Client, keys: Sequence[ObservedKey], prefix: str) -> list[Result]:
        try:
            return list_shared_budgets(client, keys, prefix)
        except LiteLLMError as error:
            self.warn(unread_shared_budgets(error))
            return []


def _duration(options: Mapping[str, Any], name: str) -> Duration | None:
    """Return the duration in an option; None if it is empty or zero.

    :raises OptionError: for any other value.
    """
    value = options[name]
    if value is None or value in ("", "0", 0):
        return None
    with naming(name):
        return parse(value)


def _guids(options: Mapping[str, Any]) -> Guids | None:
    """Return the guids of the existing environments; None if none of the two options is set.

    :raises OptionError: if they cannot be read.
    """
    listed = options["guids"]
    if not options["guids_file"]:
        return parse_guids(listed)
    try:
        content = Path(options["guids_file"]).read_bytes()
    except OSError as error:
        problem = f"Cannot read guids_file {options['guids_file']}: {error.strerror or error}"
    else:
        return parse_guids([listed, content])
    raise OptionError(problem)
