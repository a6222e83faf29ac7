# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""At -vvvv, with a log: the master key is shown nowhere, and the virtual key only where the user is told."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    NOWHERE,
    ROLE,
    Ansible,
    Proxy,
    Run,
)

TELLS = "user.info: LiteLLM Virtual Key: "
WRONG_MASTER_KEY = "sk-wrong-master-key-of-some-length"
ANOTHER_SECRET = "sk-another-secret-that-was-saved"


@dataclass(frozen=True)
class Case:
    """One run of the role, in the order of the table.

    :ivar master_key: where the play has it from: a file of its own, a file of extra variables, or the environment.
    """

    master_key: str
    action: str = "provision"
    guid: str = "secrecy"
    display_key: bool = True
    code: int = 0


CASES = {
    "provision": Case("vars_files"),
    "provision again": Case("extra vars"),
    "provision again without telling": Case("environment", display_key=False),
    "provision without telling": Case("vars_files", guid="silent", display_key=False),
    "wrong master key": Case("extra vars", code=2),
    "proxy down": Case("vars_files", code=2),
    "another secret was saved": Case("extra vars", code=2),
    "destroy": Case("environment", action="destroy"),
    "destroy the other": Case("extra vars", action="destroy", guid="silent"),
}


@dataclass(frozen=True)
class Told:
    runs: dict[str, Run]
    secrets: dict[str, str]
    cached: str


@pytest.fixture(scope="module")
def told(ansible: Ansible, proxy: Proxy, guid: str) -> Told:
    def run(name: str, case: Case) -> Run:
        master_key = WRONG_MASTER_KEY if name == "wrong master key" else proxy.master_key
        given = {"litellm_master_key": master_key, "litellm_url": NOWHERE if name == "proxy down" else proxy.url}
        file = ansible.folder / "given.yml"
        file.write_text(yaml.safe_dump(given))
        file.chmod(0o600)
        play = {
            "hosts": "localhost",
            "gather_facts": case.guid == "silent",
            "gather_subset": ["!all"],
            "vars_files": ["given.yml"] if case.master_key == "vars_files" else [],
            "vars": {
                "ACTION": case.action,
                "guid": f"{guid}-{case.guid}",
                "output_dir": str(ansible.folder / f"output-{case.guid}"),
                "ocp4_workload_litellm_virtual_keys_display_key": case.display_key,
                "ocp4_workload_litellm_virtual_keys_retry_count": 0,
            },
            "tasks": [{"ansible.builtin.include_role": {"name": ROLE}}],
        }
        from_environment = given["litellm_master_key"] if case.master_key == "environment" else None
        return ansible.play(
            play,
            *("-vvvv", "--diff"),
            *(("-e", "@given.yml") if case.master_key == "extra vars" else ()),
            LITELLM_MASTER_KEY=from_environment,
            ANSIBLE_CACHE_PLUGIN="jsonfile",
            ANSIBLE_CACHE_PLUGIN_CONNECTION=str(ansible.folder / "cache"),
        )

    runs, secrets = {}, {"the master key": proxy.master_key, "a wrong master key": WRONG_MASTER_KEY}
    for name, case in CASES.items():
        saved = ansible.folder / f"output-{case.guid}" / "provision-user-data.yaml"
        if name == "another secret was saved":
            saved.write_text(saved.read_text().replace(secrets[case.guid], ANOTHER_SECRET))
            secrets["another secret"] = ANOTHER_SECRET
        runs[name] = run(name, case)
        if saved.exists():
            secrets.setdefault(case.guid, yaml.safe_load(saved.read_text())["litellm_virtual_key"])
    (ansible.folder / "given.yml").unlink()
    cached = "".join(path.read_text() for path in (ansible.folder / "cache").iterdir())
    return Told(runs, secrets, cached)


@pytest.mark.parametrize("name", CASES)
def test_each_run_ends_as_expected(told, name):
    run = told.runs[name]
    assert run.code == CASES[name].code, run.output
    assert "<localhost>" in run.output or "task path:" in run.output  # it is verbose indeed
    assert "PLAY RECAP" in run.log


@pytest.mark.parametrize("name", CASES)
def test_no_secret_is_shown_but_to_the_user(told, name):
    run, case = told.runs[name], CASES[name]
    for line in (run.stdout + run.stderr + run.log).splitlines():
        for what, secret in told.secrets.items():
            if secret in line:
                assert case.display_key, f"{what}: {line}"
                assert what == case.guid, f"{what}: {line}"
                assert f"{TELLS}{secret}" in line, f"{what}: {line}"


@pytest.mark.parametrize("name", ["provision", "provision again"])
def test_the_user_is_told_the_key(told, name):
    assert f"{TELLS}{told.secrets['secrecy']}" in told.runs[name].stdout


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.display_key])
def test_without_display_the_user_is_told_where_the_key_is(told, name):
    assert f"{TELLS}in the lab guide" in told.runs[name].stdout


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.code])
def test_a_failure_shows_no_traceback(told, name):
    assert "Traceback" not in told.runs[name].output


def test_a_cache_of_facts_on_disk_gets_no_secret(told):
    assert "ansible_date_time" in told.cached or "ansible_python" in told.cached
    assert not [what for what, secret in told.secrets.items() if secret in told.cached]


def test_nobody_else_can_read_a_file_with_a_secret(told, ansible):
    folders = [ansible.folder, Path(ansible.environment["ANSIBLE_HOME"])]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    holding = [
        path
        for path in files
        if path.name != "ansible.log" and any(secret.encode() in path.read_bytes() for secret in told.secrets.values())
    ]
    assert {path.name for path in holding} == {"provision-user-data.yaml", "provision-user-info.yaml"}
    assert not [path for path in holding if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_master_key_that_is_vaulted_inline_is_understood(ansible, proxy, guid):
    """Before ansible-core 2.19 such a value is no text."""
    password = ansible.folder / "password"
    password.write_text("a password")
    vault = ("--vault-password-file", str(password))
    vaulted = ansible.run("ansible-vault", "encrypt_string", *vault, "--name", "litellm_master_key", proxy.master_key)
    (ansible.folder / "vaulted.yml").write_text(vaulted.stdout)
    run = ansible.play(
        {
            "hosts": "localhost",
            "vars_files": ["vaulted.yml"],
            "tasks": [
                {f"{COLLECTION}.litellm_key": {"guid": f"{guid}-vault", "duration": "1h"}},
                {
                    "ansible.builtin.include_role": {"name": ROLE},
                    "vars": {"ACTION": "destroy", "guid": f"{guid}-vault"},
                },
            ],
        },
        *vault,
        "-vvvv",
        LITELLM_MASTER_KEY=None,
    )
    assert run.code == 0, run.output
    assert run.recap()["changed"] == 2
    assert proxy.master_key not in run.output + run.log
