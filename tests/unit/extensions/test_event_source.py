# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of the event source: its documentation, and that ansible-rulebook can run it without Ansible's importer."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events import arguments
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.arguments import parse_arguments
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import ENVIRONMENT

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "extensions" / "eda" / "plugins" / "event_source" / "litellm_keys.py"
OPTIONS = yaml.safe_load(runpy.run_path(str(SOURCE))["DOCUMENTATION"])["options"]


def test_every_argument_is_documented_with_its_default() -> None:
    assert list(OPTIONS) == list(arguments._READERS)
    defaults = {name: option["default"] for name, option in OPTIONS.items() if "default" in option}
    connection = {"url": "https://proxy.example.com", "master_key": "sk-the-master-key"}
    assert parse_arguments({**connection, **defaults}, {}) == parse_arguments(connection, {})
    assert set(OPTIONS) - set(defaults) == {"url", "master_key", "ca_path", "state_file"}
    assert tuple(OPTIONS["events"]["choices"]) == arguments.TYPES
    for name, variables in ENVIRONMENT.items():
        text = " ".join(OPTIONS[name]["description"])
        assert [variable for variable in variables if f"C({variable})" not in text] == []


def test_the_example_has_valid_arguments() -> None:
    (example,) = yaml.safe_load(runpy.run_path(str(SOURCE))["EXAMPLES"])
    ((name, given),) = example.items()
    assert name == "rhpds.litellm_virtual_keys.litellm_keys"
    parse_arguments({**given, "master_key": "sk-the-master-key"}, {})


@pytest.mark.parametrize("other", [False, True], ids=["alone", "beside the package ansible"])
def test_it_runs_without_ansible(tmp_path: Path, other: bool) -> None:
    """Run the file by its path, as ansible-rulebook does, where Python cannot import Ansible."""
    installed = tmp_path / "collections" / "ansible_collections" / "rhpds"
    installed.mkdir(parents=True)
    (installed / "litellm_virtual_keys").symlink_to(ROOT)
    hidden = tmp_path / "site-packages"
    (hidden / "ansible").mkdir(parents=True)
    (hidden / "ansible" / "__init__.py").write_text("raise ImportError('Ansible is imported')")
    if other:
        (hidden / "ansible_collections" / "community").mkdir(parents=True)
        (hidden / "ansible_collections" / "__init__.py").touch()
    run = subprocess.run(
        [sys.executable, str(installed / "litellm_virtual_keys" / SOURCE.relative_to(ROOT))],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(hidden),
            "LITELLM_URL": "https://x",
            "LITELLM_MASTER_KEY": "x",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == "LITELLM_MASTER_KEY must start with 'sk-': pass the key itself, not its hash\n"
    assert run.returncode == 1
    assert json.dumps(run.stdout) == '""'


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("noequals", "Arguments are pairs such as ending_within=3d, but one is 'noequals'\n"),
        ("delay=0", "delay is '0'; it must be 1 to 86400 seconds\n"),
        ("events=", "events is empty; name at least one, or leave events out for the default\n"),
    ],
)
def test_run_by_hand_an_invalid_argument_is_one_sentence(tmp_path: Path, argument: str, message: str) -> None:
    installed = tmp_path / "ansible_collections" / "rhpds"
    installed.mkdir(parents=True)
    (installed / "litellm_virtual_keys").symlink_to(ROOT)
    run = subprocess.run(
        [sys.executable, str(installed / "litellm_virtual_keys" / SOURCE.relative_to(ROOT)), argument],
        env={"PATH": os.environ["PATH"], "LITELLM_URL": "https://x", "LITELLM_MASTER_KEY": "sk-x"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (run.returncode, run.stderr, run.stdout) == (1, message, "")
