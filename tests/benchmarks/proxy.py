# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start the proxy for the benchmark, fill it with unrelated keys, and count the requests in its log."""

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
USERS_PER_ENVIRONMENT = 25

# Insert rows as /key/generate does: environments with 25 users each, and aliases with the prefix that the role uses.
FILL = f"""
INSERT INTO {TABLE} (token, key_name, key_alias, models, user_id, metadata, created_at, updated_at, expires)
SELECT
  encode(sha256(('sk-unrelated-' || number)::bytea), 'hex'),
  'sk-...' || lpad((number % 10000)::text, 4, '0'),
  'virtkey-' || guid || '-user' || (number % {USERS_PER_ENVIRONMENT} + 1),
  ARRAY['openai/granite-3-2-8b-instruct', 'openai/mistral-7b-instruct'],
  'user' || (number % {USERS_PER_ENVIRONMENT} + 1) || '@example.com',
  jsonb_build_object('guid', guid, 'created_by', 'agnosticd', 'environment', 'sandbox', 'catalog_item', 'unrelated'),
  now() - number * interval '1 second',
  now() - number * interval '1 second',
  now() + interval '30 days'
FROM (
  SELECT number, substr(md5((number / {USERS_PER_ENVIRONMENT})::text), 1, 6) AS guid
  FROM generate_series(1, {{keys}}) AS number
) AS unrelated_keys
"""


INDEX = "litellm_verification_token_key_alias"

# Insert the keys that the role creates for an environment.
FILL_ENVIRONMENT = f"""
INSERT INTO {TABLE} (token, key_name, key_alias, models, user_id, metadata, created_at, updated_at, expires)
SELECT
  encode(sha256(('sk-{{guid}}-' || number)::bytea), 'hex'),
  'sk-...' || lpad((number % 10000)::text, 4, '0'),
  'virtkey-{{guid}}-user' || number,
  ARRAY['openai/granite-3-2-8b-instruct', 'openai/mistral-7b-instruct'],
  'user' || number || '@example.com',
  jsonb_build_object('guid', '{{guid}}', 'user', 'user' || number, 'user_number', number),
  now() - number * interval '1 second',
  now() - number * interval '1 second',
  now() + interval '30 days'
FROM generate_series(1, {{users}}) AS number
"""


@dataclass(frozen=True)
class MeasuredProxy(Proxy):
    """A proxy with its LiteLLM release, its database, its log, and the ids of its first processes."""

    release: str
    database: str = field(repr=False)
    psql: Path
    log: Path
    pids: tuple[int, ...]

    def fill(self, keys: int) -> None:
        """Replace all keys on the proxy with this number of unrelated keys."""
        for statement in (f"TRUNCATE {TABLE} CASCADE", FILL.format(keys=keys), f"VACUUM ANALYZE {TABLE}", "CHECKPOINT"):
            self.sql(statement)

    def sql(self, statement: str) -> str:
        """Return the output of an SQL statement, without headings. The user of the sandbox is a superuser."""
        database = urlsplit(self.database)
        where = ["-h", str(database.hostname), "-p", str(database.port), "-U", str(database.username)]
        command = [str(self.psql), "-XqAt", *where, "-d", database.path.removeprefix("/"), "-v", "ON_ERROR_STOP=1"]
        # Keep the password out of the process list.
        environment = {"PGPASSWORD": str(database.password), "PGOPTIONS": "-c client_min_messages=warning"}
        done = subprocess.run(
            [*command, "-c", statement], check=True, capture_output=True, text=True, cwd="/", env=environment
        )
        return done.stdout

    @contextlib.contextmanager
    def index(self) -> Iterator[None]:
        """Add an ordinary index on aliases, and remove it again."""
        self.sql(f"CREATE INDEX CONCURRENTLY {INDEX} ON {TABLE} (key_alias)")
        try:
            yield
        finally:
            self.sql(f"DROP INDEX {INDEX}")

    def fill_environment(self, guid: str, users: int) -> None:
        """Insert the keys of the users of one environment."""
        self.sql(FILL_ENVIRONMENT.format(guid=guid, users=users))
        self.sql(f"VACUUM ANALYZE {TABLE}")

    def cpu_seconds(self) -> float:
        """Return the CPU time of LiteLLM and PostgreSQL so far."""
        parents: dict[int, int] = {}
        ticks: dict[int, int] = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                # The name of the process, in parentheses, may contain spaces.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                # utime, stime, and those of children that have ended
                parents[int(folder.name)], ticks[int(folder.name)] = int(fields[1]), sum(map(int, fields[11:15]))
        own = set(self.pids)
        while found := {pid for pid, parent in parents.items() if parent in own} - own:
            own |= found
        return sum(ticks.get(pid, 0) for pid in own) / os.sysconf("SC_CLK_TCK")

    def requests(self) -> int:
        """Return the number of requests that the proxy has handled since its start."""
        return len(re.findall(rb'^INFO: +127\.0\.0\.1:\d+ - "', self.log.read_bytes(), re.MULTILINE))


@contextlib.contextmanager
def sandbox() -> Iterator[MeasuredProxy]:
    """Start a separate proxy with the default LiteLLM release. Its logs are kept until the next run."""
    program = [sys.executable, str(ROOT / "tests" / "sandbox" / "sandbox.py")]
    instance = SANDBOXES / "instances" / f"bench-{os.getpid()}"
    try:
        subprocess.run([*program, "start", "--name", instance.name, "--port", "0"], check=True)
        values = dict(line.split("=", 1) for line in (instance / "env").read_text().splitlines())
        state = json.loads((instance / "state.json").read_text())
        release = state["spec"]
        psql = sorted((SANDBOXES / "releases" / release["release"]).glob("**/bin/psql"))[0]
        yield MeasuredProxy(
            values["LITELLM_URL"],
            values["LITELLM_MASTER_KEY"],
            release["version"],
            values["DATABASE_URL"],
            psql,
            instance / "proxy.log",
            tuple(state["pids"].values()),
        )
    finally:
        subprocess.run([*program, "stop", "--name", instance.name], check=False, stdout=subprocess.DEVNULL)
        logs = SANDBOXES / "last-bench"
        shutil.rmtree(logs, ignore_errors=True)
        if instance.exists():
            instance.rename(logs)
        instance.with_name(f"{instance.name}.lock").unlink(missing_ok=True)
