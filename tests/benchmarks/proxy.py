# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy that is measured: started, filled with keys of others, and its requests counted in its own log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy

ROOT = Path(__file__).resolve().parents[2]
SANDBOXES = ROOT / ".cache" / "sandbox"
TABLE = '"LiteLLM_VerificationToken"'
USERS_OF_OTHERS = 25

# Rows as /key/generate writes them: environments of 25 users each, with aliases that begin as ours do.
FILL = f"""
INSERT INTO {TABLE} (token, key_name, key_alias, models, user_id, metadata, created_at, updated_at, expires)
SELECT
  encode(sha256(('sk-of-others-' || number)::bytea), 'hex'),
  'sk-...' || lpad((number % 10000)::text, 4, '0'),
  'virtkey-' || guid || '-user' || (number % {USERS_OF_OTHERS} + 1),
  ARRAY['openai/granite-3-2-8b-instruct', 'openai/mistral-7b-instruct'],
  'user' || (number % {USERS_OF_OTHERS} + 1) || '@example.com',
  jsonb_build_object('guid', guid, 'created_by', 'agnosticd', 'environment', 'sandbox', 'catalog_item', 'others'),
  now() - number * interval '1 second',
  now() - number * interval '1 second',
  now() + interval '30 days'
FROM (
  SELECT number, substr(md5((number / {USERS_OF_OTHERS})::text), 1, 6) AS guid
  FROM generate_series(1, {{keys}}) AS number
) AS keys_of_others
"""


@dataclass(frozen=True)
class Measured(Proxy):
    """A proxy with its release, its database and its log."""

    release: str
    database: str = field(repr=False)
    psql: Path
    log: Path

    def fill(self, keys: int) -> None:
        """Let the proxy hold this many keys of others and none of ours."""
        for statement in (f"TRUNCATE {TABLE} CASCADE", FILL.format(keys=keys), f"VACUUM ANALYZE {TABLE}", "CHECKPOINT"):
            self.sql(statement)

    def sql(self, statement: str) -> str:
        """What the database answers, without headings. The sandbox's user may do everything."""
        database = urlsplit(self.database)
        where = ["-h", str(database.hostname), "-p", str(database.port), "-U", str(database.username)]
        command = [str(self.psql), "-XqAt", *where, "-d", database.path.removeprefix("/"), "-v", "ON_ERROR_STOP=1"]
        # The password is not for the process list.
        environment = {"PGPASSWORD": str(database.password), "PGOPTIONS": "-c client_min_messages=warning"}
        done = subprocess.run(
            [*command, "-c", statement], check=True, capture_output=True, text=True, cwd="/", env=environment
        )
        return done.stdout

    def requests(self) -> int:
        """How many requests the proxy has answered since it was started."""
        return len(re.findall(rb'^INFO: +127\.0\.0\.1:\d+ - "', self.log.read_bytes(), re.MULTILINE))


@contextlib.contextmanager
def sandbox() -> Iterator[Measured]:
    """A proxy of our own, of the release that all tests use. Its logs stay until the next run."""
    program = [sys.executable, str(ROOT / "tests" / "sandbox" / "sandbox.py")]
    instance = SANDBOXES / "instances" / f"bench-{os.getpid()}"
    try:
        subprocess.run([*program, "start", "--name", instance.name, "--port", "0"], check=True)
        values = dict(line.split("=", 1) for line in (instance / "env").read_text().splitlines())
        release = json.loads((instance / "state.json").read_text())["spec"]
        psql = sorted((SANDBOXES / "releases" / release["release"]).glob("**/bin/psql"))[0]
        yield Measured(
            values["LITELLM_URL"],
            values["LITELLM_MASTER_KEY"],
            release["version"],
            values["DATABASE_URL"],
            psql,
            instance / "proxy.log",
        )
    finally:
        subprocess.run([*program, "stop", "--name", instance.name], check=False, stdout=subprocess.DEVNULL)
        logs = SANDBOXES / "last-bench"
        shutil.rmtree(logs, ignore_errors=True)
        if instance.exists():
            instance.rename(logs)
        instance.with_name(f"{instance.name}.lock").unlink(missing_ok=True)
