# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run SQL statements with psql, the client of PostgreSQL.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from .._errors import UserError
from .._masking import mask
from .url import DatabaseURL, service_error


def run_psql(database: DatabaseURL, statement: str, timeout: float) -> str:
    """Run a statement and return the output of psql. `timeout` is in seconds.

    :raises UserError: if psql is missing or fails, or would use another password.
    """
    program = shutil.which("psql")
    if not program:
        raise UserError(
            "psql, the client of PostgreSQL, is not installed on the controller; install it, "
            "or delete the rows through the pod of the database"
        )
    # psql needs no master key.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITELLM_")}
    if database.password:
        if "PGSERVICE" in environment:
            raise service_error()
        environment["PGPASSWORD"] = database.password
    command = [program, "--no-psqlrc", "--no-password", "--tuples-only", "--no-align", "--quiet"]
    try:
        process = subprocess.run(
            [*command, "--set=ON_ERROR_STOP=1", "--dbname", database.url, "--command", statement],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # as the password is decoded
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        problem = f"The database did not respond within {timeout:g} s, so it is not known whether the rows are deleted"
        raise UserError(problem) from None
    if process.returncode:
        # Masked before white space is normalized: a password can contain white space.
        reason = mask(process.stderr, [database.password, database.encoded_password])
        raise UserError(f"The database refused the statement: {' '.join(reason.split())}")
    return process.stdout
