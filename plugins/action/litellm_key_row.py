# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_key_row`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import Option, coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.database import (
    delete_statement,
    select_statement,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import checked_id

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
        url, password = _split_password(options["postgres_url"] or "")
        if not key_ids:
            return {"changed": False, "key_ids": []}
        statement = (
            select_statement(key_ids) if self._task.check_mode else f"{delete_statement(key_ids)} RETURNING token"
        )
        deleted = _psql(url, password, statement, options["timeout"]).split()
        return {"changed": bool(deleted), "key_ids": deleted}

    def secrets(self) -> list[str]:
        """Return the URL, and the password in it as it is written and as it is decoded."""
        url = str(self._task.args.get("postgres_url") or "")
        try:
            password = urlsplit(url).password
        except ValueError:
            password = None
        return [secret for secret in (url, password, unquote(password or "")) if secret]


def _split_password(url: str) -> tuple[str, str]:
    """Return the URL without its password, and the password: other users can read the arguments of a process.

    :raises OptionError: if the URL is invalid.
    """
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        parts, password = urlsplit(""), None
    if parts.scheme not in ("postgres", "postgresql"):
        raise OptionError("postgres_url must look like postgresql://user:password@host:5432/litellm")
    if "password" in parts.query:
        raise OptionError("postgres_url must have its password before the host, as in postgresql://user:password@host")
    if not parts.netloc:
        return url, ""  # the host is a parameter; urlunsplit would drop the slashes
    credentials, _at, host = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    return parts._replace(netloc=f"{user}@{host}" if user else host).geturl(), unquote(password or "")


def _psql(url: str, password: str, statement: str, timeout: float) -> str:
    """Run a statement and return the output of psql. `timeout` is in seconds.

    :raises UserError: if psql is missing or fails.
    """
    program = shutil.which("psql")
    if not program:
        raise UserError(
            "psql, the client of PostgreSQL, is not installed on the controller; install it, "
            "or delete the rows through the pod of the database"
        )
    command = [program, "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"]
    try:
        process = subprocess.run(
            [*command, "--set=ON_ERROR_STOP=1", "--dbname", url, "--command", statement],
            env={**os.environ, "PGPASSWORD": password} if password else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"The database did not respond within {timeout:g} s, so it is not known whether the rows are deleted"
        raise UserError(problem) from None
    if process.returncode:
        raise UserError(f"The database refused the statement: {' '.join(process.stderr.split())}")
    return process.stdout
