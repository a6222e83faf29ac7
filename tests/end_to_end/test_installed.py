# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Install the built artifact in an environment that contains only ansible-core and urllib3."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    COLLECTION,
    GRANITE,
    PATIENCE,
    CommandResult,
    Proxy,
)

ROOT = Path(__file__).resolve().parents[2]

# The top level of the artifact: the plugins and roles, their documentation, and what Galaxy requires.
ARTIFACT = {
    "CHANGELOG.md",
    "FILES.json",
    "LICENSE",
    "MANIFEST.json",
    "README.md",
    "SECURITY.md",
    "changelogs",
    "docs",
    "extensions",
    "meta",
    "playbooks",
    "plugins",
    "roles",
    "tests",
}

Program = Callable[..., CommandResult]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run([galaxy, "collection", "build", str(ROOT), "--output-path", str(folder)], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which `program` installs the artifact."""
    return tmp_path_factory.mktemp("collections")


@pytest.fixture(scope="module")
def program(artifact: Path, collections: Path, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Return a function that runs one of Ansible's programs in a new environment with the artifact installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=True)
    packages = [f"{name}=={importlib.metadata.version(name)}" for name in ("ansible-core", "urllib3")]
    pip = (folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, *packages], check=True)
    work = tmp_path_factory.mktemp("work")

    def run(name: str, *arguments: str) -> CommandResult:
        done = subprocess.run(
            [folder / "venv" / "bin" / name, *arguments],
            cwd=work,
            env={
                "ANSIBLE_HOME": str(folder / "home"),
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
                "HOME": str(folder),
                "LANG": "C.UTF-8",
                "LITELLM_URL": proxy.url,
                "LITELLM_MASTER_KEY": proxy.master_key,
                "NO_PROXY": "127.0.0.1",
                "PATH": f"{folder / 'venv' / 'bin'}:/usr/bin:/bin",
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr, "")

    installed = run("ansible-galaxy", "collection", "install", "--offline", str(artifact), "-p", str(collections))
    assert installed.code == 0, installed.output
    return run


def test_the_artifact_contains_what_users_need_and_nothing_else(artifact):
    with tarfile.open(artifact) as archive:
        names = archive.getnames()
    assert {name.split("/")[0] for name in names} == ARTIFACT
    assert [name for name in names if name.startswith("tests/")] == ["tests/config.yml"]
    assert {name for name in names if re.fullmatch("docs/[^/]+", name)} == {"docs/docsite"}
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tar.gz"))]


def test_the_installed_files_match_the_artifact(program):
    verified = program("ansible-galaxy", "collection", "verify", "--offline", COLLECTION)
    assert verified.code == 0, verified.output


def test_ansible_finds_every_playbook_by_its_name(program, artifact):
    with tarfile.open(artifact) as archive:
        playbooks = [Path(name).stem for name in archive.getnames() if re.fullmatch(r"playbooks/\w+\.yml", name)]
    assert {"provision_key", "extend_key", "report_keys", "destroy_key", "check_connection"} <= set(playbooks)
    named = [f"{COLLECTION}.{playbook}" for playbook in playbooks]
    checked = program("ansible-playbook", "--syntax-check", *named, "-e", "guid=user123")
    assert checked.code == 0, checked.output


def test_the_playbooks_cover_the_life_cycle_of_a_key(program, collections, proxy, guid):
    """They need no file outside of these four directories, which the Ansible community requires."""
    for path in collections.joinpath("ansible_collections", *COLLECTION.split(".")).iterdir():
        if path.name not in ("meta", "playbooks", "plugins", "roles"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    guid = f"{guid}-installed"
    alias = f"virtkey-{guid}"

    def play(name: str, *arguments: str) -> CommandResult:
        done: CommandResult = program("ansible-playbook", f"{COLLECTION}.{name}", "-e", f"guid={guid}", *arguments)
        assert done.code == 0, done.output
        assert "WARNING" not in done.output
        return done

    assert "ansible-core" in play("check_connection").task_msg("Show the result")[-1]
    shown = play("provision_key", "-e", f"models={GRANITE}", "-e", "rpm_limit=9").task_msg("Show the result")
    assert shown[0] == f"Created virtual key {alias}"
    assert shown[-1].startswith("Try it: curl -H 'Authorization: Bearer sk-")
    created = proxy.row(alias)
    assert (created["models"], created["rpm_limit"]) == ([GRANITE], 9)
    again = play("provision_key", "-e", f"models={GRANITE}", "-e", "display_key=false")
    assert again.recap()["changed"] == 0
    assert "sk-" not in again.output
    assert play("extend_key", "-e", "by=30d").task_msg("Show the result")[0] == f"Extended virtual key {alias}"
    extended = proxy.row(alias)
    assert extended["token"] == created["token"]
    assert extended["expires"] > created["expires"]
    assert guid in play("report_keys").output
    assert play("destroy_key").task_msg("Show the result") == [f"Deleted virtual key {alias}"]
    assert proxy.rows(alias) == []
