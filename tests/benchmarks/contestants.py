# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is compared: playbooks, as their users run them, and below them our engine against a bare HTTP client."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import urllib3
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client, Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Lifetime, Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.proxy import Measured
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import Sample
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import GRANITE, MISTRAL, Json
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import resident

HERE = Path(__file__).parent
MODELS = [GRANITE, MISTRAL]
DURATION = "7d"
DELETED_AT_ONCE = 100
SECONDS_BETWEEN_LOOKS = 0.05
_ROLE = "ocp4_workload_litellm_virtual_keys_"


def aliases(guid: str, users: int) -> list[str]:
    """The keys of an environment. One user means an environment of one key, which does not name its user."""
    return [f"virtkey-{guid}"] if users == 1 else [f"virtkey-{guid}-user{number}" for number in range(1, users + 1)]


@dataclass(frozen=True)
class Playbooks:
    """Runs playbooks as on the machine of a user, in a folder of their own."""

    proxy: Measured
    folder: Path
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, proxy: Measured, folder: Path) -> Playbooks:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "LITELLM_", "PYTHON"))
        }
        ours = {
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            "ANSIBLE_HOME": str(folder / "home"),
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "NO_PROXY": "127.0.0.1",
        }
        return cls(proxy, folder, {**inherited, **ours})

    def run(self, playbook: str, guid: str, users: int, **variables: object) -> Sample:
        """Run a playbook for an environment.

        :raises RuntimeError: when it fails.
        """
        output = self.folder / guid
        output.mkdir(exist_ok=True)
        everything = {
            "litellm_url": self.proxy.url,
            "litellm_master_key": self.proxy.master_key,
            "guid": guid,
            "output_dir": str(output),
            **variables,
        }
        told = output / "variables.json"
        told.write_text(json.dumps(everything))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), str(HERE / playbook), "-e", f"@{told}"]
        log = output / "output.txt"
        before = self.proxy.requests()
        with log.open("w") as printed:
            start = time.perf_counter()
            run = subprocess.Popen(
                command, cwd=output, env=self.environment, stdout=printed, stderr=subprocess.STDOUT, text=True
            )
            # To wait in small steps would end up to one step late.
            with _watched(run.pid) as memory:
                code = run.wait()
                seconds = time.perf_counter() - start
        if code != 0:
            raise RuntimeError(f"{playbook} failed for {users} users:\n{log.read_text()[-3000:]}")
        return Sample(seconds, max(memory), self.proxy.requests() - before)

    def empty(self, guid: str) -> Sample:
        return self.run("empty.yml", guid, 1)

    def role(self, action: str, guid: str, users: int) -> Sample:
        many: Json = {f"{_ROLE}multi_user": True, f"{_ROLE}user_count": users, f"{_ROLE}user_base": "user"}
        common = {"ACTION": action, f"{_ROLE}models": MODELS, f"{_ROLE}duration": DURATION}
        return self.run("role.yml", guid, users, **common, **(many if users > 1 else {}))

    def by_hand(self, action: str, guid: str, users: int) -> Sample:
        playbook = "destroy" if action == "destroy" else "provision_many" if users > 1 else "provision_one"
        common = {"models": MODELS, "duration": DURATION, "user_count": users if users > 1 else 0}
        return self.run(f"by_hand/{playbook}.yml", guid, users, **common)


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The memory of a process and of all that it starts, looked at now and then until it has ended."""
    memory, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            memory.append(resident(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield memory
    finally:
        ended.set()
        watching.join()


def end_state(playbooks: Playbooks, guid: str, users: int) -> Json:
    """What there is after a provision: the keys on the proxy, and all that the user data tell. To compare two of them.

    Guids, ids and secrets are named after what they belong to, as these differ.

    :raises RuntimeError: when the user data do not have the secret of each key.
    """
    rows = {alias: playbooks.proxy.row(alias) for alias in aliases(guid, users)}
    owners = {row["token"]: alias for alias, row in rows.items()}
    known = set()

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: named(one) for name, one in value.items()}
        if isinstance(value, list):
            return list(map(named, value))
        if value in owners:
            return f"id of {owners[value]}"
        if isinstance(value, str) and (owner := owners.get(hashlib.sha256(value.encode()).hexdigest())):
            known.add(owner)
            return f"secret of {owner}"
        return value

    state = {
        "keys": {
            alias: {"models": row["models"], "user_id": row["user_id"], "guid": row["metadata"]["guid"]}
            for alias, row in rows.items()
        },
        "user data": named(yaml.safe_load((playbooks.folder / guid / "provision-user-data.yaml").read_text())),
    }
    if unknown := rows.keys() - known:
        raise RuntimeError(f"The user data do not have the secrets of {', '.join(sorted(unknown))}")
    told: Json = json.loads(json.dumps(state).replace(guid, "GUID"))
    return told


def different(one: Any, other: Any, where: str = "") -> list[str]:
    """In what two states differ; no value of them is shown."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            difference
            for name in sorted({*one, *other})
            for difference in different(one.get(name), other.get(name), f"{where}/{name}")
        ]
    return [] if one == other else [where]


class Engine:
    """What our action runs, without Ansible around it."""

    def __init__(self, proxy: Measured) -> None:
        self._connection = Connection(proxy.url, proxy.master_key)

    def do(self, action: str, guid: str, users: int) -> None:
        wanted = [
            Wanted(
                alias,
                present=action == "provision",
                settings={} if action == "destroy" else _settings(guid, number),
                lifetime=None if action == "destroy" else Lifetime(parse(DURATION)),
            )
            for number, alias in enumerate(aliases(guid, users), start=1)
        ]
        errors = [outcome.error for outcome in reconcile(Client(self._connection), wanted) if outcome.error]
        if errors:
            raise RuntimeError(errors[0])


class Bare:
    """The least that has to be asked, by the fastest client there is: nothing is decided, checked, or tried again.

    Each action begins with one look (is something there?) and, where something was done, ends with one.
    """

    def __init__(self, proxy: Measured, concurrency: int) -> None:
        self._url = proxy.url
        self._concurrency = concurrency
        self._headers = {"Authorization": f"Bearer {proxy.master_key}", "Content-Type": "application/json"}

    def do(self, action: str, guid: str, users: int) -> None:
        pool = urllib3.PoolManager(maxsize=self._concurrency, headers=self._headers)
        there = self._listed(pool, guid, users)
        if action == "provision" and not there:
            bodies = [
                {"key_alias": alias, "duration": DURATION, **_settings(guid, number)}
                for number, alias in enumerate(aliases(guid, users), start=1)
            ]
            with ThreadPoolExecutor(self._concurrency) as executor:
                list(executor.map(lambda body: self._ask(pool, "POST", "/key/generate", body), bodies))
            self._listed(pool, guid, users)
        if action == "destroy":
            for start in range(0, users, DELETED_AT_ONCE):
                self._ask(pool, "POST", "/key/delete", {"keys": there[start : start + DELETED_AT_ONCE]})
            self._listed(pool, guid, users)

    def _listed(self, pool: urllib3.PoolManager, guid: str, users: int) -> list[str]:
        found: list[str] = []
        alias = quote(f"virtkey-{guid}" + ("-user" if users > 1 else ""))
        part = "&substring_matching=true" if users > 1 else ""
        for page in range(1, 2 + (users - 1) // 100):
            question = f"/key/list?return_full_object=true&size=100&page={page}&key_alias={alias}{part}"
            found += [row["token"] for row in self._ask(pool, "GET", question)["keys"]]
        return found

    def _ask(self, pool: urllib3.PoolManager, method: str, path: str, body: Json | None = None) -> Any:
        answer = pool.request(method, self._url + path, body=None if body is None else json.dumps(body))
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status}")
        return json.loads(answer.data)


def timed(proxy: Measured, work: Callable[[], None]) -> Sample:
    """What some work in this process takes."""
    before = proxy.requests()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return Sample(seconds, 0, proxy.requests() - before)


def _settings(guid: str, number: int) -> Json:
    metadata = {"guid": guid, "created_by": "agnosticd", "environment": "sandbox", "catalog_item": "unknown"}
    return {"models": MODELS, "user_id": f"user{number}@lab.opentlc.com", "metadata": metadata}
