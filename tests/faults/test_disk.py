# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test a full disk while user data is saved: the saved data is kept, and the next run saves the new data."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json

LIMIT = 1 << 18  # maximum size of a file in bytes, which also applies to Ansible's own files
SAVED = "provision-user-data.yaml"


def save_user_data(ansible: Ansible, data: Json, *, full: bool) -> subprocess.CompletedProcess[str]:
    """Save user data with real Ansible, on a full disk or not."""
    task = {f"{COLLECTION}.agnosticd_user_info": {"data": data}}
    plays = [
        {"hosts": "localhost", "gather_facts": False, "vars": {"output_dir": str(ansible.folder)}, "tasks": [task]}
    ]
    (ansible.folder / "disk.yml").write_text(json.dumps(plays))
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "disk.yml"],
        cwd=ansible.folder,
        env=ansible.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        # A file size limit has the same effect on a program as a full disk, and requires no root.
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))) if full else None,
    )


def test_a_full_disk_keeps_saved_user_data(ansible: Ansible):
    small: Json = {"litellm_key_alias": "virtkey-small", "litellm_virtual_key": "sk-0123456789abcdef"}
    large: Json = {"litellm_key_alias": "virtkey-large", "notes": "x" * 2 * LIMIT}
    completed = save_user_data(ansible, small, full=True)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    before = (ansible.folder / SAVED).read_bytes()
    files = set(ansible.folder.iterdir())

    failed = save_user_data(ansible, large, full=True)
    assert failed.returncode != 0
    output = " ".join((failed.stdout + failed.stderr).split())
    assert f"Cannot save user data in {ansible.folder}: File too large" in output
    assert (ansible.folder / SAVED).read_bytes() == before
    assert set(ansible.folder.iterdir()) == files

    completed = save_user_data(ansible, large, full=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert ansible.file(SAVED) == {**small, **large}
