# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is downloaded is pinned, and code of others runs without permission to write to the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SANDBOX = ROOT / "tests" / "sandbox"
# Publishes a site, and runs no code of this repository or of a package.
WITH_WRITE_PERMISSION = {"actions/deploy-pages"}

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def jobs(workflow: Path) -> Iterator[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Yield the permissions and the steps of each job."""
    content = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    for job in content["jobs"].values():
        yield job.get("permissions", content["permissions"]), job["steps"]


@each_workflow
def test_actions_are_pinned_by_commit(workflow: Path) -> None:
    """A tag can be moved to other code. The version in the comment is for readers, and for Dependabot."""
    used = re.findall(r"uses: *(.*)", workflow.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@each_workflow
def test_code_of_others_does_not_run_in_a_job_that_may_write(workflow: Path) -> None:
    for permissions, steps in jobs(workflow):
        if "write" not in permissions.values():
            continue
        for step in steps:
            if "run" in step:
                assert step["run"].startswith("gh "), step
            else:
                assert step["uses"].partition("@")[0] in WITH_WRITE_PERMISSION, step


@each_workflow
def test_the_token_is_not_left_to_later_steps(workflow: Path) -> None:
    for _permissions, steps in jobs(workflow):
        for step in steps:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_one_job_of_a_release_may_write() -> None:
    permissions = [granted for granted, _steps in jobs(ROOT / ".github" / "workflows" / "release.yml")]
    assert [granted.get("contents") for granted in permissions] == ["read", "read", "write"]


@pytest.mark.parametrize("name", ["requirements", "node"])
def test_the_packages_of_the_sandbox_are_pinned_with_hashes(name: str) -> None:
    text = (SANDBOX / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", "")
    pinned = [line for line in text.splitlines() if not line.startswith("#")]
    for line in pinned:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==\S+ ( *;.*?)?( +--hash=sha256:[0-9a-f]{64})+", line), line
    wanted = [line for line in (SANDBOX / f"{name}.in").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    names = [re.sub(r"\[.*\]", "", line.split(" ")[0]) for line in pinned]
    assert {re.sub(r"\[.*\]", "", line) for line in wanted} <= set(names)
    assert f'"--require-hashes", "-r", HERE / "{name}.txt"' in (SANDBOX / "_install.py").read_text(encoding="utf-8")


def test_examples_install_the_released_version() -> None:
    """A branch can contain code that nobody has released."""
    released = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    pages = [ROOT / "README.md", *ROOT.glob("docs/docsite/rst/*.rst"), *ROOT.glob("roles/*/README.md")]
    found = {}
    for path in [*pages, *ROOT.glob("extensions/**/*.yml")]:
        text = path.read_text(encoding="utf-8")
        for version in re.findall(r"rhpds\.litellm_virtual_keys\.git(?:,|\n +type: git\n +version: )(\S+)", text):
            found[path.name] = version
    assert {"execution-environment.yml", "automation_platform.rst", "install.rst"} <= set(found)
    assert {name: version for name, version in found.items() if version != released} == {}
