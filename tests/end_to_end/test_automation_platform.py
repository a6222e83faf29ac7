# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run jobs as Automation Platform does: with ansible-runner, a credential, and no files that outlive the job."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import CONNECTION_OPTIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    PATIENCE,
    ROLE,
    Json,
    Proxy,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

EXTENSION = Path(__file__).resolve().parents[2] / "extensions" / "automation_platform"
CREDENTIAL_TYPE = yaml.safe_load((EXTENSION / "credential_type.yml").read_text())
SEED = "a-seed-of-at-least-32-characters-for-tests"

PROVISION = {
    "include_role": {"name": ROLE},
    "vars": {"ACTION": "provision", "ocp4_workload_litellm_virtual_keys_display_key": False},
}
DESTROY = {"include_role": {"name": ROLE}, "vars": {"ACTION": "destroy"}}


def inject(inputs: Json, private: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment and the extra variables of a job with this credential, as Automation Platform builds them.

    A field that was not filled in is undefined, or false if it is a boolean. Files are written to the folder env of the
    job, and templates read their paths from tower.filename.
    """
    fields = dict(inputs)
    for one in CREDENTIAL_TYPE["inputs"]["fields"]:
        if one["type"] == "boolean":
            fields.setdefault(one["id"], False)
    injectors = CREDENTIAL_TYPE["injectors"]
    tower = SimpleNamespace(filename=SimpleNamespace())

    def render(template: str) -> str:
        return ImmutableSandboxedEnvironment().from_string(template).render(**fields, tower=tower)

    for name, template in injectors["file"].items():
        file = private / "env" / f"tmp_{name}"
        file.touch(mode=0o600)
        file.write_text(render(template))
        setattr(tower.filename, name.removeprefix("template."), str(file))
    environment = {name: render(template) for name, template in injectors["env"].items()}
    return environment, {name: render(template) for name, template in injectors["extra_vars"].items()}


@dataclass(frozen=True)
class Job:
    """The artifacts of a finished job."""

    artifacts: Path

    @property
    def code(self) -> int:
        return int((self.artifacts / "rc").read_text())

    @property
    def stdout(self) -> str:
        return (self.artifacts / "stdout").read_text()

    @property
    def changed(self) -> int:
        (count,) = re.findall(r"changed=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", self.stdout))
        return int(count)

    def stored(self, part: str) -> dict[str, str]:
        """Return the files that the platform stores and that match a pattern, by path.

        Do not use it for the file `command`, which contains the environment of any job.
        """
        return {str(path): path.read_text() for path in self.artifacts.glob(part) if path.is_file()}


class Platform:
    """Send a job as the control node does, run it as the execution node does, and store the artifacts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs = 0

    def job(self, inputs: Json, tasks: list[Json], verbosity: int = 0, **extra_vars: Any) -> Job:
        self._jobs += 1
        name = f"job{self._jobs}"
        private = self._folder / name / "private"
        for part in ("project", "inventory", "env"):
            (private / part).mkdir(parents=True, mode=0o700)
        environment, injected = inject(inputs, private)
        # Gather facts, so that there is a fact cache, but not the environment, which is one of the facts.
        play = {"hosts": "all", "gather_facts": True, "gather_subset": ["!all", "!min", "platform"], "tasks": tasks}
        (private / "project" / "play.yml").write_text(yaml.safe_dump([play]))
        (private / "inventory" / "hosts").write_text(
            "localhost ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'\n"
        )
        # The collections that the execution environment contains.
        environment["ANSIBLE_COLLECTIONS_PATH"] = os.environ["ANSIBLE_COLLECTIONS_PATH"]
        (private / "env" / "envvars").write_text(yaml.safe_dump(environment))
        (private / "env" / "extravars").write_text(yaml.safe_dump({**injected, **extra_vars}))

        verbose = [f"-{'v' * verbosity}"] if verbosity else []
        sent = self._runner("transmit", str(private), "--playbook", "play.yml", "--ident", name, *verbose)
        worker = self._folder / name / "worker"
        returned = self._runner("worker", "--private-data-dir", str(worker), stream=sent)
        stored = self._folder / name / "stored"
        self._runner("process", str(stored), "--ident", name, stream=returned)
        return Job(stored / "artifacts" / name)

    def _runner(self, *arguments: str, stream: bytes = b"") -> bytes:
        programs = Path(sys.executable).parent
        return subprocess.run(
            [programs / "ansible-runner", *arguments],
            env={
                "ANSIBLE_HOME": str(self._folder / "home"),
                "HOME": str(self._folder / "home"),
                "LANG": "C.UTF-8",
                "NO_PROXY": "127.0.0.1",
                "PATH": f"{programs}:/usr/bin:/bin",
            },
            input=stream,
            capture_output=True,
            timeout=PATIENCE,
            check=arguments[0] != "worker",  # it fails if the job fails
        ).stdout


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Platform(tmp_path_factory.mktemp("platform"))


@pytest.fixture(scope="module")
def credential(proxy: Proxy) -> Json:
    return {"url": proxy.url, "master_key": proxy.master_key, "validate_certs": True}


def test_automation_platform_accepts_the_credential_type():
    """Check the rules that Automation Platform validates."""
    assert set(CREDENTIAL_TYPE) == {"name", "description", "kind", "inputs", "injectors"}
    fields = CREDENTIAL_TYPE["inputs"]["fields"]
    ids = [one["id"] for one in fields]
    assert len(ids) == len(set(ids))
    assert set(CREDENTIAL_TYPE["inputs"]["required"]) <= set(ids)
    for one in fields:
        allowed = {"id", "type", "label", "help_text", "default"}
        assert set(one) <= (allowed | {"secret", "multiline", "format"} if one["type"] == "string" else allowed), one
        assert one["type"] in {"string", "boolean"}
        if "default" in one:
            assert isinstance(one["default"], {"string": str, "boolean": bool}[one["type"]]), one
    templates = [text for kind in CREDENTIAL_TYPE["injectors"].values() for text in kind.values()]
    assert {name for text in templates for name in re.findall(r"(?:{{|if) (\w+)", text)} == {*ids, "tower"}
    assert {one["id"] for one in fields if one.get("secret")} == {"master_key", "key_seed"}


def test_the_credential_sets_environment_variables_that_the_plugins_read(tmp_path):
    (tmp_path / "env").mkdir()
    read = {name for option in CONNECTION_OPTIONS.values() for name in option.environment}
    certificates = {"ca_certificate": "-----BEGIN CERTIFICATE-----\n"}
    environment, _extra_vars = inject({"url": "https://litellm.example.com", **certificates}, tmp_path)
    assert set(environment) <= read
    assert Path(environment["LITELLM_CA_PATH"]).read_text().startswith("-----BEGIN")
    environment, _extra_vars = inject({"url": "https://litellm.example.com"}, tmp_path)
    assert environment["LITELLM_CA_PATH"] == ""


def test_a_play_needs_only_the_credential(platform, credential, proxy, guid):
    guid = f"{guid}-platform"
    job = platform.job(
        credential,
        [
            {f"{COLLECTION}.litellm_key": {"guid": guid, "models": [GRANITE], "duration": "1h"}, "register": "created"},
            {"debug": {"msg": "{{ created.virtual_key.operation }} {{ created.virtual_key.key is match('sk-') }}"}},
            {f"{COLLECTION}.litellm_key": {"guid": guid, "state": "absent"}},
        ],
        verbosity=4,
    )
    assert job.code == 0, job.stdout
    assert "created True" in job.stdout
    assert proxy.rows(f"virtkey-{guid}") == []


def test_a_later_job_derives_the_same_secret_from_the_seed(platform, credential, proxy, guid):
    guid = f"{guid}-seeded"
    credential = {**credential, "key_seed": SEED}
    first = platform.job(credential, [PROVISION], guid=guid)
    assert first.code == 0, first.stdout
    row = proxy.row(f"virtkey-{guid}")
    again = platform.job(credential, [PROVISION], guid=guid)
    assert (again.code, again.changed) == (0, 0), again.stdout
    assert proxy.row(f"virtkey-{guid}") == row
    destroyed = platform.job(credential, [DESTROY], guid=guid)
    assert destroyed.code == 0, destroyed.stdout
    assert proxy.rows(f"virtkey-{guid}") == []


@pytest.mark.parametrize("verbosity", [0, 4])
def test_the_stored_artifacts_of_a_job_contain_no_secret(platform, credential, proxy, guid, tmp_path, verbosity):
    """Check the events, the output and the fact cache of a job that succeeds and of one that fails."""
    guid = f"{guid}-stored-{verbosity}"
    file = tmp_path / "secret"
    secret_of = f"lookup('{COLLECTION}.litellm_key', guid, key_seed=ocp4_workload_litellm_virtual_keys_key_seed)"
    provisioned = platform.job(
        {**credential, "key_seed": SEED},
        [
            PROVISION,
            {"copy": {"content": f"{{{{ {secret_of} }}}}", "dest": str(file), "mode": "0600"}, "no_log": True},
            {f"{COLLECTION}.litellm_key": {"guid": guid, "max_budget": 5}},
        ],
        verbosity=verbosity,
        guid=guid,
    )
    assert (provisioned.code, provisioned.changed) == (0, 3), provisioned.stdout
    secret, wrong = file.read_text(), f"sk-wrong-{guid}"
    assert proxy.chat(secret) == 200
    refused = platform.job({**credential, "master_key": wrong}, [PROVISION], verbosity=verbosity, guid=guid)
    assert refused.code != 0
    proxy.delete(f"virtkey-{guid}")

    for job in (provisioned, refused):
        for part in ("stdout", "stderr", "job_events/*", "fact_cache/*"):
            stored = job.stored(part)
            assert stored, part
            for path, text in stored.items():
                for value in (proxy.master_key, secret, SEED, wrong):
                    assert value not in text, path


def test_the_execution_environment_can_be_built(tmp_path):
    """Check what is possible without a container engine: the definition is valid, and urllib3 is a dependency."""
    builder = Path(sys.executable).with_name("ansible-builder")
    definition = EXTENSION / "execution-environment.yml"
    subprocess.run([builder, "create", "--file", str(definition), "--context", str(tmp_path)], check=True)
    assert "rhpds.litellm_virtual_keys" in (tmp_path / "_build" / "requirements.yml").read_text()
    introspected = subprocess.run(
        [builder, "introspect", os.environ["ANSIBLE_COLLECTIONS_PATH"]], check=True, capture_output=True, text=True
    )
    dependencies = yaml.safe_load(introspected.stdout)
    assert [line.split()[0] for line in dependencies["python"]] == ["urllib3>=1.26"]
    assert dependencies["system"] == []
