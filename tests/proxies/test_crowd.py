# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test a thousand keys in one task, and concurrent runs, with real processes on a separate proxy."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    PATIENCE,
    Ansible,
    Json,
    Proxy,
    resident_memory,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import (
    ACTION,
    Stopwatch,
    sandbox,
)

THOUSAND = 1000
ROUNDS = 20
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with sandbox("crowd") as started:
        yield started


def start_program(ansible: Ansible, program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=ansible.folder,
        env=ansible.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(proxy: Proxy, alias: str) -> list[Json]:
    """Return all keys whose alias contains this text."""
    found: list[Json] = []
    path = f"/key/list?return_full_object=true&size=100&sort_by=created_at&key_alias={alias}&substring_matching=true"
    for page in range(1, 100):
        _status, listing = proxy.request("GET", f"{path}&page={page}")
        found += listing["keys"]
        if page >= listing["total_pages"]:
            break
    return found


def test_a_thousand_keys_in_one_task(ansible: Ansible, proxy: Proxy, guid: str, table: list[list[str]]):
    names = [f"{guid}-{number:04}" for number in range(THOUSAND)]
    saved = ansible.folder / "keys.json"
    tasks: list[Json] = [
        {
            ACTION: {
                "models": [GRANITE],
                "duration": "7d",
                "max_budget": 10,
                "virtual_keys": [{"guid": name, "user_id": f"{name}@example.com"} for name in names],
            },
            "register": "created",
        },
        {
            "ansible.builtin.copy": {
                "content": "{{ created.virtual_keys | to_json }}",
                "dest": str(saved),
                "mode": "0600",
            }
        },
    ]
    (ansible.folder / "thousand.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}])
    )
    watch, peak = Stopwatch(), 0
    run = start_program(ansible, "ansible-playbook", "thousand.yml")
    while run.poll() is None:
        peak = max(peak, resident_memory(run.pid))
        time.sleep(0.05)
    stdout, stderr = run.communicate()
    table.append([f"{THOUSAND} keys", f"{watch.seconds:.0f} s", f"peak memory {peak / MEGABYTE:.0f} MB"])
    assert run.returncode == 0, stdout + stderr
    assert peak < 200 * MEGABYTE
    assert "virtual keys written" in stderr

    keys: list[dict[str, Any]] = json.loads(saved.read_text())
    assert [key["guid"] for key in keys] == names
    assert {key["operation"] for key in keys} == {"created"}
    existing = {row["token"]: row for row in rows(proxy, f"virtkey-{guid}-")}
    assert [existing[hashlib.sha256(key["key"].encode()).hexdigest()]["key_alias"] for key in keys] == [
        f"virtkey-{name}" for name in names
    ]
    assert len(existing) == THOUSAND
    assert all(
        row["user_id"] == f"{row['key_alias'].removeprefix('virtkey-')}@example.com" for row in existing.values()
    )


def test_two_concurrent_controllers(ansible: Ansible, proxy: Proxy, guid: str, table: list[list[str]]):
    """Run two identical commands at the same time, in twenty rounds."""
    watch, clashes = Stopwatch(), 0
    for number in range(ROUNDS):
        name = f"{guid}-race-{number}"
        runs = [
            start_program(ansible, "ansible", "localhost", "-m", ACTION, "-a", f"guid={name} duration=1d")
            for _controller in "ab"
        ]
        printed = [run.communicate(timeout=PATIENCE) for run in runs]
        keys = [json.loads(stdout.partition(" => ")[2])["virtual_key"] for stdout, _stderr in printed]
        (row,) = proxy.rows(f"virtkey-{name}")
        assert [hashlib.sha256(key["key"].encode()).hexdigest() for key in keys if key["key"]] == [row["token"]], keys
        for run, key in zip(runs, keys, strict=True):
            assert key["key_id"] == row["token"], keys
            if key["key"]:
                assert (run.returncode, key["operation"]) == (0, "created")
                assert proxy.chat(key["key"]) == 200
            else:
                assert key["operation"] in ("unchanged", "failed")
        clashes += any("at the same time" in stderr for _stdout, stderr in printed)
    table.append([f"{ROUNDS} races", f"{watch.seconds:.0f} s", f"{clashes} clashes"])
    assert clashes > 0, "no race occurred, so the test proved nothing"
