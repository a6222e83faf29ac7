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
    is_empty,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import (
    list_shared_budgets,
    warning_about_shared_budgets,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import (
    LiteLLMError,
    OptionError,
    naming,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._files import check_file, write_file
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
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
    displayed,
    format_of,
    render,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import (
    ORDERS,
    build_report,
    period,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording

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
        arguments = self.arguments(task_vars)
        self.wording = Wording({**self.typed_names(task_vars), **self.wording.names})
        options = coerce_options(OPTIONS, arguments, "litellm_key_report")
        file = options["file"]
        name = format_of(options["format"], file, self.wording)
        if file:
            check_file(Path(file), "file")
        with naming("soon"):
            soon = parse(OPTIONS["soon"].default if is_empty(options["soon"]) else options["soon"])
        with naming("ending_within"):
            ending_within = period(options["ending_within"])
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
        if file:
            content = render(report, name).encode("utf-8")
            changed = write_file(Path(file), content, is_strict=False, check_mode=self._task.check_mode)
            result.update(changed=changed, file=file)
        else:
            result["report"] = displayed(report, name)
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
            self.warn(warning_about_shared_budgets(error))
            return []


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
