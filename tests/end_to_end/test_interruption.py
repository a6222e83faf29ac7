# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the user presses Ctrl-C, no key remains whose secret nobody knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, PATIENCE, Ansible, Proxy

KEYS = 400


@pytest.mark.every_core
def test_the_keys_created_before_the_interruption_are_deleted(ansible: Ansible, proxy: Proxy, guid: str) -> None:
    prefix = f"{guid}-interrupted"

    def count() -> int:
        listing = proxy.request("GET", f"/key/list?size=1&substring_matching=true&key_alias=virtkey-{prefix}")[1]
        return int(listing["total_count"])

    def wait_until(exist: bool, failure: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while bool(count()) is not exist:
            assert time.monotonic() < deadline, failure
            time.sleep(0.1)

    keys = [{"guid": f"{prefix}-{number}"} for number in range(KEYS)]
    task = {f"{COLLECTION}.litellm_key": {"virtual_keys": keys, "duration": "1h"}}
    playbook = ansible.folder / "interrupted.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("ansible-playbook")), playbook.name],
        cwd=ansible.folder,
        env=ansible.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # like a terminal, which sends the signal to the whole process group
    ) as run:
        wait_until(True, "no key was created")
        os.killpg(run.pid, signal.SIGINT)
        output, _nothing = run.communicate(timeout=PATIENCE)
    assert run.returncode != 0, output
    assert "User interrupted execution" in output
    wait_until(False, "keys were left behind")
