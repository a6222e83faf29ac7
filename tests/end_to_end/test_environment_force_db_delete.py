# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role with force_db_delete: keys that LiteLLM reports as deleted and that still exist in its real database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import (
    Database,
    Snapshot,
    expect_failure,
    prefixed,
    role,
    snapshots,
    take_snapshot,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    Ansible,
    CommandResult,
    Json,
    Proxy,
)

TABLE = '"LiteLLM_VerificationToken"'
# A trigger that keeps the rows of a guid, except if psql deletes them. LiteLLM receives no error.
KEEP = """
CREATE FUNCTION keep_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.key_alias LIKE 'virtkey-{guid}%' AND current_setting('application_name') <> 'psql' THEN
        RETURN NULL;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep_{name} BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION keep_{name}();
"""
# Records its arguments and runs the real psql.
PSQL = """#!/bin/sh
{{ printf '%s\\n' "$@"; }} >> '{calls}'
exec '{real}' "$@"
"""
# Replaces kubernetes.core.k8s_exec: runs the command on this machine, with the variables that the pod's image sets.
K8S_EXEC = """
import json, os, shlex, subprocess
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        with open(os.environ["K8S_CALLS"], "a") as calls:
            calls.write(json.dumps({**args, "become": self._task.become, "host": self._task.delegate_to}) + "\\n")
        if (args["namespace"], args["pod"]) != ("ai", "database-1"):
            return {**result, "failed": True, "msg": "pods database-1 not found"}
        environment = {"PATH": os.environ["K8S_PATH"], **json.loads(os.environ["K8S_ENV"])}
        process = subprocess.run(shlex.split(args["command"]), env=environment, capture_output=True, text=True)
        result.update(changed=True, rc=process.returncode, stdout=process.stdout, stderr=process.stderr)
        if process.returncode:
            result.update(failed=True, msg=process.stderr)
        return result
"""


@dataclass(frozen=True)
class Controller:
    """A controller with the database, and with programs that record their calls."""

    ansible: Ansible
    proxy: Proxy
    database: Database
    guid: str
    folder: Path

    @property
    def psql_calls(self) -> list[str]:
        calls = self.folder / "psql.txt"
        return calls.read_text().splitlines() if calls.exists() else []

    @property
    def k8s_calls(self) -> list[Json]:
        calls = self.folder / "k8s.jsonl"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []

    def clear_calls(self) -> None:
        for name in ("psql.txt", "k8s.jsonl"):
            (self.folder / name).unlink(missing_ok=True)

    def run(self, *tasks: Json, psql: bool = True, kubernetes: bool = True, **variables: object) -> CommandResult:
        self.clear_calls()
        parts = urlsplit(self.database.url)
        pod_environment = {
            "PGHOST": parts.hostname,
            "PGPORT": str(parts.port),
            "PGPASSWORD": parts.password,
            "POSTGRES_USER": parts.username,
        }
        paths = self.ansible.environment["ANSIBLE_COLLECTIONS_PATH"]
        tools = ":".join(path for path in os.environ["PATH"].split(":") if not (Path(path) / "psql").exists())
        play = {
            "hosts": "localhost",
            "vars": {
                "guid": self.guid,
                "output_dir": str(self.folder / "output"),
                **prefixed(models=[GRANITE], duration="1d", users=["ann", "bob"]),
                **prefixed(**variables),
            },
            "tasks": list(tasks),
        }
        run = self.ansible.play(
            play,
            "-vvv",
            PATH=f"{self.folder / 'bin'}:{tools}" if psql else tools,
            ANSIBLE_COLLECTIONS_PATH=f"{self.folder / 'collections'}:{paths}" if kubernetes else paths,
            K8S_CALLS=str(self.folder / "k8s.jsonl"),
            K8S_PATH=f"{self.database.programs}:{os.environ['PATH']}",
            K8S_ENV=json.dumps(pod_environment),
        )
        # Even with -vvv, the password of the database is not printed.
        assert str(parts.password) not in run.output + run.log
        return run

    def rows(self) -> list[str]:
        """Return the aliases in the database."""
        return self.database.query(
            f"SELECT key_alias FROM {TABLE} WHERE key_alias LIKE 'virtkey-{self.guid}%' ORDER BY key_alias"
        ).split()


@pytest.fixture(scope="module")
def controller(
    ansible: Ansible, proxy: Proxy, guid: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Controller]:
    database = Database.from_environment()
    folder = tmp_path_factory.mktemp("force")
    (folder / "bin").mkdir()
    program = folder / "bin" / "psql"
    program.write_text(PSQL.format(calls=folder / "psql.txt", real=database.programs / "psql"))
    program.chmod(0o700)
    plugins = folder / "collections/ansible_collections/kubernetes/core/plugins"
    for kind, content in (("action", K8S_EXEC), ("modules", "")):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "k8s_exec.py").write_text(content)
    names = {"name": guid, "guid": f"{guid}-undeletable", "table": TABLE}
    database.query(KEEP.format(**names))
    yield Controller(ansible, proxy, database, names["guid"], folder)
    database.query("DROP TRIGGER keep_{name} ON {table}; DROP FUNCTION keep_{name}();".format(**names))
    database.query(f"DELETE FROM {TABLE} WHERE key_alias LIKE 'virtkey-{names['guid']}%'")


@pytest.fixture
def undeletable(controller: Controller) -> list[str]:
    """Return the aliases of two keys that LiteLLM cannot delete."""
    run = controller.run(role(ACTION="provision", regenerate="if_unrecoverable"))
    assert run.code == 0, run.output
    aliases = [f"virtkey-{controller.guid}-{user}" for user in ("ann", "bob")]
    assert controller.rows() == aliases
    return aliases


def facts(snapshot: Snapshot) -> tuple[Any, Any]:
    return snapshot.facts["litellm_key_deleted"], snapshot.facts["litellm_key_was_missing"]


def test_the_rows_are_deleted_with_psql(controller: Controller, undeletable: list[str]):
    """Without force_db_delete the destroy fails. With it the rows are deleted, and a second destroy needs no psql."""
    run = controller.run(
        expect_failure("without force", role(ACTION="destroy", postgres_url=controller.database.url)),
        take_snapshot("without force"),
        role(ACTION="destroy", postgres_url=controller.database.url, force_db_delete=True),
        take_snapshot("with force"),
        role(ACTION="destroy", postgres_url=controller.database.url, force_db_delete=True),
        take_snapshot("again"),
        kubernetes=False,
    )
    assert run.code == 0, run.output
    error = run.task_msg("without force")
    assert "still exist" in error
    assert all(alias in error for alias in undeletable)
    after = snapshots(run)
    assert sorted(after["without force"].rows) == undeletable
    assert after["with force"].rows == {}
    assert controller.rows() == []
    assert "Delete the rows in the database" in after["with force"].changed
    assert facts(after["with force"]) == (True, False)
    assert after["again"].changed == []
    assert facts(after["again"]) == (False, True)
    assert controller.k8s_calls == []
    # It ran once, without the password in its arguments, which other users of the machine can read.
    assert len([argument for argument in controller.psql_calls if argument == "--command"]) == 1
    assert str(urlsplit(controller.database.url).password) not in "\n".join(controller.psql_calls)


def test_the_rows_are_deleted_through_the_pod_of_the_database(controller: Controller, undeletable: list[str]):
    """The client of the cluster runs on the controller without become, even if the role runs with become."""
    pod = {"namespace": "ai", "postgres_pod": "database-1", "force_db_delete": True}
    run = controller.run(
        {
            "ansible.builtin.include_role": {
                **role()["ansible.builtin.include_role"],
                "apply": {"become": True, "become_user": "no_such_user"},
            },
            "vars": {"ACTION": "destroy", **prefixed(**pod)},
        },
        take_snapshot("with force"),
        role(ACTION="destroy", **pod),
        take_snapshot("again"),
        psql=False,
    )
    assert run.code == 0, run.output
    after = snapshots(run)
    assert after["with force"].rows == {}
    assert controller.rows() == []
    assert facts(after["with force"]) == (True, False)
    assert facts(after["again"]) == (False, True)
    (call,) = controller.k8s_calls
    assert (call["namespace"], call["pod"], call["become"]) == ("ai", "database-1", False)
    assert controller.psql_calls == []


def test_database_problems_are_short_error_messages(controller: Controller, undeletable: list[str]):
    parts = urlsplit(controller.database.url)
    wrong = controller.database.url.replace(f":{parts.password}@", ":wr0ng-passw0rd@")
    nowhere = controller.database.url.replace(f":{parts.port}/", ":9/")
    force = {"ACTION": "destroy", "force_db_delete": True}
    run = controller.run(
        expect_failure("wrong password", role(**force, postgres_url=wrong)),
        expect_failure("no server", role(**force, postgres_url=nowhere)),
        expect_failure("not a database URL", role(**force, postgres_url="https://litellm.example.com")),
        expect_failure("wrong namespace", role(**force, namespace="elsewhere")),
        take_snapshot("failed"),
    )
    assert run.code == 0, run.output
    assert "password authentication failed" in run.task_msg("wrong password")
    assert "wr0ng-passw0rd" not in run.output
    assert "refused" in run.task_msg("no server")
    assert (
        run.task_msg("not a database URL") == "postgres_url must look like postgresql://user:password@host:5432/litellm"
    )
    assert run.task_msg("wrong namespace") == "pods database-1 not found"
    for name in ("wrong password", "no server"):
        assert "\n" not in run.task_msg(name)
    assert sorted(snapshots(run)["failed"].rows) == undeletable

    without_psql = controller.run(
        expect_failure("no psql", role(**force, postgres_url=controller.database.url)),
        psql=False,
    )
    assert without_psql.task_msg("no psql").startswith(
        "psql, the client of PostgreSQL, is not installed on the controller"
    )

    without_collection = controller.run(role(**force), kubernetes=False)
    assert without_collection.code != 0
    assert "the collection kubernetes.core is not installed on the controller" in without_collection.text
    assert "couldn't resolve" not in without_collection.text
    assert controller.rows() == undeletable


def test_the_database_is_not_used_if_litellm_deletes_the_keys(controller: Controller):
    """Without kubernetes.core, everything else still parses and runs."""
    common = {"guid": f"deletable-{controller.guid}", **prefixed(users=[], force_db_delete=True)}
    for more in ({}, {"postgres_url": controller.database.url}):
        run = controller.run(
            {
                "block": [role(ACTION="provision"), role(ACTION="destroy"), take_snapshot("destroy")],
                "vars": {**common, **prefixed(**more)},
            },
            kubernetes=bool(more),
        )
        assert run.code == 0, run.output
        assert snapshots(run)["destroy"].rows == {}
        assert facts(snapshots(run)["destroy"]) == (True, False)
        assert (controller.psql_calls, controller.k8s_calls) == ([], [])
    for playbook in ("provision_key", "destroy_key", "extend_key", "report_keys"):
        checked = controller.ansible.run("ansible-playbook", "--syntax-check", f"rhpds.litellm_virtual_keys.{playbook}")
        assert checked.code == 0, checked.output
