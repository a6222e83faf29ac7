# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that LiteLLM says it has deleted and that are still there: removed from its real database, when asked to."""

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
# The database keeps chosen keys, whoever deletes them, but for its own client: LiteLLM hears that all is well.
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
# Notes what it is started with, and hands over to the real one.
PSQL = """#!/bin/sh
{{ printf '%s\\n' "$@"; }} >> '{notes}'
exec '{real}' "$@"
"""
# In place of a cluster: the command runs here, as in the pod of the database, in which its image's variables are set.
K8S_EXEC = """
import json, os, shlex, subprocess
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = self._task.args
        with open(os.environ["K8S_NOTES"], "a") as notes:
            notes.write(json.dumps({**args, "become": self._task.become, "host": self._task.delegate_to}) + "\\n")
        if (args["namespace"], args["pod"]) != ("ai", "database-1"):
            return {**result, "failed": True, "msg": "pods database-1 not found"}
        inside = {"PATH": os.environ["K8S_PATH"], **json.loads(os.environ["K8S_ENV"])}
        done = subprocess.run(shlex.split(args["command"]), env=inside, capture_output=True, text=True)
        result.update(changed=True, rc=done.returncode, stdout=done.stdout, stderr=done.stderr)
        if done.returncode:
            result.update(failed=True, msg=done.stderr)
        return result
"""


@dataclass(frozen=True)
class Place:
    """Where the role runs: with the database, the programs that it may call, and what they were called with."""

    ansible: Ansible
    proxy: Proxy
    database: Database
    guid: str
    folder: Path

    @property
    def psql_notes(self) -> list[str]:
        notes = self.folder / "psql.txt"
        return notes.read_text().splitlines() if notes.exists() else []

    @property
    def k8s_notes(self) -> list[Json]:
        notes = self.folder / "k8s.jsonl"
        return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    def forget(self) -> None:
        for name in ("psql.txt", "k8s.jsonl"):
            (self.folder / name).unlink(missing_ok=True)

    def run(self, *tasks: Json, psql: bool = True, kubernetes: bool = True, **variables: object) -> CommandResult:
        self.forget()
        parts = urlsplit(self.database.url)
        inside = {
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
            K8S_NOTES=str(self.folder / "k8s.jsonl"),
            K8S_PATH=f"{self.database.programs}:{os.environ['PATH']}",
            K8S_ENV=json.dumps(inside),
        )
        # At -vvv: neither the password of the database nor its address with the password.
        assert str(parts.password) not in run.output + run.log
        return run

    def rows(self) -> list[str]:
        """The aliases in the database itself."""
        return self.database.query(
            f"SELECT key_alias FROM {TABLE} WHERE key_alias LIKE 'virtkey-{self.guid}%' ORDER BY key_alias"
        ).split()


@pytest.fixture(scope="module")
def place(ansible: Ansible, proxy: Proxy, guid: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    database = Database.from_environment()
    folder = tmp_path_factory.mktemp("force")
    (folder / "bin").mkdir()
    program = folder / "bin" / "psql"
    program.write_text(PSQL.format(notes=folder / "psql.txt", real=database.programs / "psql"))
    program.chmod(0o700)
    plugins = folder / "collections/ansible_collections/kubernetes/core/plugins"
    for kind, content in (("action", K8S_EXEC), ("modules", "")):
        (plugins / kind).mkdir(parents=True)
        (plugins / kind / "k8s_exec.py").write_text(content)
    names = {"name": guid, "guid": f"{guid}-undying", "table": TABLE}
    database.query(KEEP.format(**names))
    yield Place(ansible, proxy, database, names["guid"], folder)
    database.query("DROP TRIGGER keep_{name} ON {table}; DROP FUNCTION keep_{name}();".format(**names))
    database.query(f"DELETE FROM {TABLE} WHERE key_alias LIKE 'virtkey-{names['guid']}%'")


@pytest.fixture
def undying(place: Place) -> list[str]:
    """The aliases of two keys that LiteLLM cannot delete."""
    run = place.run(role(ACTION="provision", regenerate="if_unrecoverable"))
    assert run.code == 0, run.output
    aliases = [f"virtkey-{place.guid}-{user}" for user in ("ann", "bob")]
    assert place.rows() == aliases
    return aliases


def facts(snapshot: Snapshot) -> tuple[Any, Any]:
    return snapshot.facts["litellm_key_deleted"], snapshot.facts["litellm_key_was_missing"]


def test_by_the_address_of_the_database(place: Place, undying: list[str]):
    """Without force it fails; with it the rows go, and a second destroy finds nothing and calls nobody."""
    run = place.run(
        expect_failure("without force", role(ACTION="destroy", postgres_url=place.database.url)),
        take_snapshot("without force"),
        role(ACTION="destroy", postgres_url=place.database.url, force_db_delete=True),
        take_snapshot("with force"),
        role(ACTION="destroy", postgres_url=place.database.url, force_db_delete=True),
        take_snapshot("again"),
        kubernetes=False,
    )
    assert run.code == 0, run.output
    said = run.task_msg("without force")
    assert "still there" in said
    assert all(alias in said for alias in undying)
    after = snapshots(run)
    assert sorted(after["without force"].rows) == undying
    assert after["with force"].rows == {}
    assert place.rows() == []
    assert "Remove the rows from the database" in after["with force"].changed
    assert facts(after["with force"]) == (True, False)
    assert after["again"].changed == []
    assert facts(after["again"]) == (False, True)
    assert place.k8s_notes == []
    # Called once; the password is in none of its arguments, which others on this machine can see.
    assert len([argument for argument in place.psql_notes if argument == "--command"]) == 1
    assert str(urlsplit(place.database.url).password) not in "\n".join(place.psql_notes)


def test_through_the_pod_of_the_database(place: Place, undying: list[str]):
    """With become around it and a host that is not the controller: neither is for the cluster's client."""
    pod = {"namespace": "ai", "postgres_pod": "database-1", "force_db_delete": True}
    run = place.run(
        {
            "ansible.builtin.include_role": {
                **role()["ansible.builtin.include_role"],
                "apply": {"become": True, "become_user": "nobody_such"},
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
    assert place.rows() == []
    assert facts(after["with force"]) == (True, False)
    assert facts(after["again"]) == (False, True)
    (called,) = place.k8s_notes
    assert (called["namespace"], called["pod"], called["become"]) == ("ai", "database-1", False)
    assert place.psql_notes == []


def test_what_went_wrong_with_the_database_is_one_sentence(place: Place, undying: list[str]):
    parts = urlsplit(place.database.url)
    wrong = place.database.url.replace(f":{parts.password}@", ":wr0ng-passw0rd@")
    nowhere = place.database.url.replace(f":{parts.port}/", ":9/")
    force = {"ACTION": "destroy", "force_db_delete": True}
    run = place.run(
        expect_failure("wrong password", role(**force, postgres_url=wrong)),
        expect_failure("nobody there", role(**force, postgres_url=nowhere)),
        expect_failure("another thing", role(**force, postgres_url="https://litellm.example.com")),
        expect_failure("another pod", role(**force, namespace="elsewhere")),
        take_snapshot("failed"),
    )
    assert run.code == 0, run.output
    assert "password authentication failed" in run.task_msg("wrong password")
    assert "wr0ng-passw0rd" not in run.output
    assert "refused" in run.task_msg("nobody there")
    assert run.task_msg("another thing") == "postgres_url must look like postgresql://user:password@host:5432/litellm"
    assert run.task_msg("another pod") == "pods database-1 not found"
    for name in ("wrong password", "nobody there"):
        assert "\n" not in run.task_msg(name)
    assert sorted(snapshots(run)["failed"].rows) == undying

    bare = place.run(
        expect_failure("no psql", role(**force, postgres_url=place.database.url)),
        psql=False,
    )
    assert bare.task_msg("no psql").startswith("psql, the client of PostgreSQL, is not installed where Ansible runs")

    without = place.run(role(**force), kubernetes=False)
    assert without.code != 0
    assert "couldn't resolve module/action 'kubernetes.core.k8s_exec'" in without.text
    assert place.rows() == undying


def test_it_is_not_used_where_it_is_not_needed(place: Place):
    """A key that LiteLLM deletes; and without kubernetes.core all else parses and runs."""
    common = {"guid": f"mortal-{place.guid}", **prefixed(users=[], force_db_delete=True)}
    for more in ({}, {"postgres_url": place.database.url}):
        run = place.run(
            {
                "block": [role(ACTION="provision"), role(ACTION="destroy"), take_snapshot("destroy")],
                "vars": {**common, **prefixed(**more)},
            },
            kubernetes=bool(more),
        )
        assert run.code == 0, run.output
        assert snapshots(run)["destroy"].rows == {}
        assert facts(snapshots(run)["destroy"]) == (True, False)
        assert (place.psql_notes, place.k8s_notes) == ([], [])
    for playbook in ("provision_key", "destroy_key", "extend_key", "report_keys"):
        checked = place.ansible.run("ansible-playbook", "--syntax-check", f"rhpds.litellm_virtual_keys.{playbook}")
        assert checked.code == 0, checked.output
