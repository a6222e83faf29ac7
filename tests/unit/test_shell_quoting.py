# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles pass to a shell stays one value, whatever it contains."""

from __future__ import annotations

import shlex
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.statements import delete_statement
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.handover import handover
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import printable

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

ROLES = Path(__file__).parents[2] / "roles"
ROLE = "_ocp4_workload_litellm_virtual_keys"
PROFILE = "_ocp4_workload_litellm_bastion_profile"
HOSTILE = (
    "$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '"; touch canary; "',
    "a && touch canary",
    "a\ntouch canary\n",
    "-c touch --canary",
    "${HOME} ~ * ?",
    "\\",
    " it's ",
    "naïve 日本語",
    "",
)

each_hostile_text = pytest.mark.parametrize("text", HOSTILE)


def task(role: str, file: str, module: str) -> Mapping[str, Any]:
    """Return the first task of a role, or of a block in it, that runs a module."""
    tasks = yaml.safe_load((ROLES / role / "tasks" / f"{file}.yml").read_text(encoding="utf-8"))
    return next(one for outer in tasks for one in outer.get("block", [outer]) if module in one)


def rendered(text: str, variables: Mapping[str, Any]) -> str:
    templar = Templar(loader=DataLoader(), variables=dict(variables))
    return str(templar.template(trust_as_template(text)))


def output_of_shell(script: str, folder: Path, **environment: str) -> str:
    process = subprocess.run(
        ["sh", "-c", script], cwd=folder, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, check=True
    )
    assert not (folder / "canary").exists()
    return process.stdout.decode()


@each_hostile_text
def test_psql_in_the_pod_gets_each_value_as_one_argument(tmp_path: Path, text: str) -> None:
    delete = task("ocp4_workload_litellm_virtual_keys", "force_db_delete_pod", "kubernetes.core.k8s_exec")
    statement = delete_statement(["a" * 64, "b" * 64])
    variables = {
        f"{ROLE}_database": {"variables": {"database": text}},
        f"{ROLE}_result": {"delete_statement": statement},
        f"{ROLE}_psql": delete["vars"][f"{ROLE}_psql"],
    }
    # k8s_exec splits the command like this, and runs it without another shell.
    program, *arguments = shlex.split(rendered(delete["kubernetes.core.k8s_exec"]["command"], variables))
    assert program == "sh"
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\0" "$argument"; done\n')
    psql.chmod(0o700)
    command = " ".join(["exec", program, *map(shlex.quote, arguments)])
    given = output_of_shell(command, tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin", POSTGRES_USER=text or "litellm")
    assert given.split("\0")[:-1] == [
        *("--no-psqlrc", "--username", text or "litellm"),
        *("--dbname", text, "--command", statement),
    ]


@each_hostile_text
def test_a_profile_of_a_bastion_assigns_the_text(tmp_path: Path, text: str) -> None:
    write = task("ocp4_workload_litellm_bastion_profile", "main", "rhpds.litellm_virtual_keys.private_file")
    names = {"LITELLM_API_URL": "url", "LITELLM_API_KEY": "key"}
    variables = {f"{PROFILE}_data": {"url": text, "key": "sk-a"}, f"{PROFILE}_exports": names}
    (tmp_path / "profile").write_text(
        rendered(write["rhpds.litellm_virtual_keys.private_file"]["content"], variables), encoding="utf-8"
    )
    script = '. ./profile; printf "%s|%s" "$LITELLM_API_URL" "$LITELLM_API_KEY"'
    assert output_of_shell(script, tmp_path) == f"{text}|sk-a"


@pytest.mark.parametrize("content", ["env_content", "profile_content"])
@each_hostile_text
def test_a_file_with_a_key_assigns_the_text(tmp_path: Path, text: str, content: str) -> None:
    entry = {"key": "sk-a", "key_alias": "virtkey-a", "models": [text, "granite"], "user": None, "operation": "created"}
    (one,) = handover(defaultdict(str, env_file="/.env"), [entry], text, print, remove=False)
    (tmp_path / "file").write_text(one[content], encoding="utf-8")
    script = '. ./file; printf "%s|%s|%s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY" "$LITELLM_MODELS"'
    assert output_of_shell(script, tmp_path) == f"{text}|sk-a|{printable(text)},granite"
