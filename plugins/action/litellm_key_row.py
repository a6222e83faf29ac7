# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key_row`: keys that LiteLLM does not delete, removed from its database by PostgreSQL's client."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import checked_id
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import Option, typed

OPTIONS = {
    "key_ids": Option("list of str"),
    "postgres_url": Option(secret=True),
    "state": Option(default="absent", choices=("absent",)),
    "timeout": Option("float", 30.0),
}
_TABLE = '"LiteLLM_VerificationToken"'


class ActionModule(ControllerAction):
    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        options = typed(OPTIONS, self._task.args, "litellm_key_row")
        key_ids = [checked_id(key_id) for key_id in options["key_ids"] or ()]
        url, password = _without_password(options["postgres_url"] or "")
        if not key_ids:
            return {"changed": False, "key_ids": []}
        tokens = ", ".join(f"'{key_id}'" for key_id in key_ids)
        what = "SELECT token FROM" if self._task.check_mode else "DELETE FROM"
        returning = "" if self._task.check_mode else " RETURNING token"
        statement = f"{what} {_TABLE} WHERE token IN ({tokens}){returning}"
        removed = _psql(url, password, statement, options["timeout"]).split()
        return {"changed": bool(removed), "key_ids": removed}

    def secrets(self) -> list[str]:
        url = str(self._task.args.get("postgres_url") or "")
        try:
            password = urlsplit(url).password
        except ValueError:
            password = None
        return [secret for secret in (url, password, unquote(password or "")) if secret]


def _without_password(url: str) -> tuple[str, str]:
    """The address, which others on this machine may see, and the password, which they may not."""
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
        return url, ""  # whose host is a parameter; put together again, it would lose its slashes
    credentials, _at, host = parts.netloc.rpartition("@")
    user = credentials.partition(":")[0]
    return parts._replace(netloc=f"{user}@{host}" if user else host).geturl(), unquote(password or "")


def _psql(url: str, password: str, statement: str, timeout: float) -> str:
    program = shutil.which("psql")
    if not program:
        raise UserError(
            "psql, the client of PostgreSQL, is not installed where Ansible runs; install it, "
            "or remove the rows through the pod of the database"
        )
    command = [program, "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"]
    try:
        done = subprocess.run(
            [*command, "--set=ON_ERROR_STOP=1", "--dbname", url, "--command", statement],
            env={**os.environ, "PGPASSWORD": password} if password else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"The database did not answer within {timeout:g} s; whether the rows are removed is not known"
        raise UserError(problem) from None
    if done.returncode:
        raise UserError(f"The database could not be asked: {' '.join(done.stderr.split())}")
    return done.stdout
