# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_row`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import Option, coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.psql import run_psql
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.statements import (
    delete_statement,
    select_statement,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.url import (
    split_password,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import checked_id

OPTIONS = {
    "key_ids": Option("list of str"),
    "postgres_url": Option(secret=True),
    "state": Option(default="absent", choices=("absent",)),
    "timeout": Option("float", 30.0),
}


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        options = coerce_options(OPTIONS, self.arguments(task_vars), "litellm_key_row")
        if options["key_ids"] is None:
            raise OptionError("key_ids is required: the ids of the keys whose rows are deleted")
        key_ids = [checked_id(key_id) for key_id in options["key_ids"]]
        database = split_password(options["postgres_url"] or "")
        if not key_ids:
            return {"changed": False, "key_ids": []}
        statement = (
            select_statement(key_ids) if self._task.check_mode else f"{delete_statement(key_ids)} RETURNING token"
        )
        deleted = run_psql(database, statement, options["timeout"]).split()
        return {"changed": bool(deleted), "key_ids": deleted}

    def secrets(self) -> list[str]:
        """Return the URL, and the password in it as it is written and as it is decoded."""
        url = str(self._task.args.get("postgres_url") or "")
        try:
            database = split_password(url)
        except OptionError:  # its message contains no part of the URL, and nothing else is done with it
            return [url]
        return [url, database.password, database.encoded_password]
