# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the user presses Ctrl-C, no key is left behind whose secret nobody knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, Ansible, Proxy

KEYS = 400
PATIENCE = 60  # seconds


def test_keys_that_were_made_until_then_are_removed_again(ansible: Ansible, proxy: Proxy, guid: str) -> None:
    beginning = f"{guid}-interrupted"

    def there() -> int:
        listing = proxy.request("GET", f"/key/list?size=1&substring_matching=true&key_alias=virtkey-{beginning}")[1]
        return int(listing["total_count"])

    def wait_for(what: str, *, some: bool) -> None:
        deadline = time.monotonic() + PATIENCE
        while bool(there()) is not some:
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    keys = [{"guid": f"{beginning}-{number}"} for number in range(KEYS)]
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
        start_new_session=True,  # as a terminal does, which sends the signal to all of them
    ) as run:
        wait_for("no key was made", some=True)
        os.killpg(run.pid, signal.SIGINT)
        output, _nothing = run.communicate(timeout=PATIENCE)
    assert run.returncode != 0, output
    assert "User interrupted execution" in output
    wait_for("keys were left behind", some=False)
