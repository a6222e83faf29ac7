# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The disk is full while user data are written: what was saved before stays, and the next run saves the rest."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Json

LIMIT = 1 << 18  # bytes that any file may have; also those that Ansible itself writes
SAVED = "provision-user-data.yaml"


def play(ansible: Ansible, data: Json, *, full: bool) -> subprocess.CompletedProcess[str]:
    """Save user data with real Ansible, on a disk that takes no more, or on one that does."""
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
        # To every program a limit of its own looks like the end of the disk, and it works for any user.
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))) if full else None,
    )


def test_a_full_disk_takes_nothing_away(ansible: Ansible):
    small: Json = {"litellm_key_alias": "virtkey-small", "litellm_virtual_key": "sk-0123456789abcdef"}
    large: Json = {"litellm_key_alias": "virtkey-large", "notes": "x" * 2 * LIMIT}
    done = play(ansible, small, full=True)
    assert done.returncode == 0, done.stdout + done.stderr
    before = (ansible.folder / SAVED).read_bytes()
    files = set(ansible.folder.iterdir())

    failed = play(ansible, large, full=True)
    assert failed.returncode != 0
    said = " ".join((failed.stdout + failed.stderr).split())
    assert f"User data cannot be saved in {ansible.folder}: File too large" in said
    assert (ansible.folder / SAVED).read_bytes() == before
    assert set(ansible.folder.iterdir()) == files

    done = play(ansible, large, full=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ansible.file(SAVED) == {**small, **large}
