# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Define the contestants: playbooks with the role or with uri tasks, the engine, and a bare HTTP client."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import urllib3
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.proxy import MeasuredProxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.benchmarks.results import EXTEND, PARTS, Sample
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    MISTRAL,
    Json,
    resident_memory,
)

HERE = Path(__file__).parent
MODELS = [GRANITE, MISTRAL]
DURATION, EXTENSION, EXTENDED_DURATION = "7d", "1d", "8d"
DELETE_BATCH_SIZE = 100
MEMORY_POLL_SECONDS = 0.05
_ROLE = "ocp4_workload_litellm_virtual_keys_"


def aliases(guid: str, users: int) -> list[str]:
    """Return the aliases of an environment. With one user, the alias does not contain the user."""
    return [f"virtkey-{guid}"] if users == 1 else [f"virtkey-{guid}-user{number}" for number in range(1, users + 1)]


@dataclass(frozen=True)
class Playbooks:
    """Run playbooks as a user would, each environment in a separate directory."""

    proxy: MeasuredProxy
    folder: Path
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def create(cls, proxy: MeasuredProxy, folder: Path) -> Playbooks:
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

    def run(
        self,
        playbook: str,
        guid: str,
        users: int,
        *,
        environment: Mapping[str, str] = MappingProxyType({}),
        **variables: object,
    ) -> Sample:
        """Run a playbook for an environment.

        :param playbook: a file in this folder, or the name of a playbook in a collection.
        :raises RuntimeError: if the playbook fails.
        """
        output = self.folder / guid
        output.mkdir(exist_ok=True)
        extra_vars = {
            "litellm_url": self.proxy.url,
            "litellm_master_key": self.proxy.master_key,
            "guid": guid,
            "output_dir": str(output),
            **variables,
        }
        vars_file = output / "variables.json"
        vars_file.write_text(json.dumps(extra_vars))
        name = str(HERE / playbook) if playbook.endswith(".yml") else playbook
        command = [str(Path(sys.executable).with_name("ansible-playbook")), name, "-e", f"@{vars_file}"]
        log = output / "output.txt"
        before = self.proxy.requests()
        with log.open("w") as stdout:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=output,
                env={**self.environment, **environment},
                stdout=stdout,
                stderr=subprocess.STDOUT,
                text=True,
            )
            # Wait without polling, which would add up to one interval to the measured time.
            with _memory_samples(process.pid) as memory:
                code = process.wait()
                seconds = time.perf_counter() - start
        if code != 0:
            raise RuntimeError(f"{playbook} failed for {users} users:\n{log.read_text()[-3000:]}")
        return Sample(seconds, max(memory), self.proxy.requests() - before)

    def empty(self, guid: str) -> Sample:
        return self.run("empty.yml", guid, 1)

    def role(self, action: str, guid: str, users: int, environment: Mapping[str, str] = MappingProxyType({})) -> Sample:
        many: Json = {f"{_ROLE}multi_user": True, f"{_ROLE}user_count": users, f"{_ROLE}user_base": "user"}
        lifetime = {f"{_ROLE}extend_by": EXTENSION} if action == EXTEND else {f"{_ROLE}duration": DURATION}
        common: Json = {"ACTION": action, f"{_ROLE}models": MODELS, **lifetime}
        if users > 1:
            common.update(many)
        return self.run("role.yml", guid, users, environment=environment, **common)

    def profiled_role(self, action: str, guid: str, users: int) -> tuple[Sample, dict[str, float]]:
        """Run the role, and return how long each of the PARTS took, too."""
        with tempfile.TemporaryDirectory() as folder:
            hook = {"BENCH_PROFILE": folder, "PYTHONPATH": str(HERE / "profiling")}
            sample = self.role(action, guid, users, hook)
            times: Counter[str] = Counter()
            for file in Path(folder).iterdir():
                times.update(json.loads(file.read_text()))
        times["action"] -= times["requests"]
        return sample, {part: times[part] for part in PARTS}

    def original(self, collections: Path, action: str, guid: str, users: int) -> Sample:
        """Run the role of another release of this collection, which is installed with all that it needs."""
        return self.role(action, guid, users, {"ANSIBLE_COLLECTIONS_PATH": str(collections)})

    def uri_loops(self, action: str, guid: str, users: int) -> Sample:
        common: Json = {"models": MODELS, "duration": DURATION, "user_count": users if users > 1 else 0}
        return self.run(f"uri_loops/{action}.yml", guid, users, **common)

    def uri_tasks(self, action: str, guid: str, users: int) -> Sample:
        playbook = "destroy" if action == "destroy" else "provision_many" if users > 1 else "provision_one"
        common: Json = {"models": MODELS, "duration": DURATION, "user_count": users if users > 1 else 0}
        return self.run(f"uri_tasks/{playbook}.yml", guid, users, **common)


@contextlib.contextmanager
def _memory_samples(pid: int) -> Iterator[list[int]]:
    """Sample the memory of a process and its descendants in the background."""
    memory, ended = [0], threading.Event()

    def poll() -> None:
        while not ended.wait(MEMORY_POLL_SECONDS):
            memory.append(resident_memory(pid))

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()


def end_state(playbooks: Playbooks, guid: str, users: int) -> Json:
    """Return the keys on the proxy and the user data after a provision, for comparison.

    Guids, key ids and secrets, which differ between runs, are replaced by placeholders.

    :raises RuntimeError: if the user data lack the secret of a key.
    """
    user_data = yaml.safe_load((playbooks.folder / guid / "provision-user-data.yaml").read_text())
    user_data.pop("litellm_keys", None)  # the role saves these for its next run; the uri tasks have none
    rows = {alias: playbooks.proxy.row(alias) for alias in aliases(guid, users)}
    owners = {row["token"]: alias for alias, row in rows.items()}
    with_secret = set()

    def normalized(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: normalized(one) for name, one in value.items()}
        if isinstance(value, list):
            return list(map(normalized, value))
        if value in owners:
            return f"id of {owners[value]}"
        if isinstance(value, str) and (owner := owners.get(hashlib.sha256(value.encode()).hexdigest())):
            with_secret.add(owner)
            return f"secret of {owner}"
        return value

    state = {
        "keys": {
            alias: {"models": row["models"], "user_id": row["user_id"], "guid": row["metadata"]["guid"]}
            for alias, row in rows.items()
        },
        "user data": normalized(user_data),
    }
    if missing := rows.keys() - with_secret:
        raise RuntimeError(f"The user data lack the secrets of {', '.join(sorted(missing))}")
    result: Json = json.loads(json.dumps(state).replace(guid, "GUID"))
    return result


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Return the paths at which two states differ, without the values, which can be secret."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            difference
            for name in sorted({*one, *other})
            for difference in differences(one.get(name), other.get(name), f"{path}/{name}")
        ]
    return [] if one == other else [path]


class Engine:
    """Run the code of the action without Ansible."""

    def __init__(self, proxy: MeasuredProxy) -> None:
        self._connection = Connection(proxy.url, proxy.master_key)

    def run(self, action: str, guid: str, users: int) -> None:
        desired = [
            DesiredKey(
                alias,
                present=action == "provision",
                settings={} if action == "destroy" else _settings(guid, number),
                lifetime=None if action == "destroy" else Lifetime(parse(DURATION)),
            )
            for number, alias in enumerate(aliases(guid, users), start=1)
        ]
        errors = [outcome.error for outcome in reconcile(Client(self._connection), desired) if outcome.error]
        if errors:
            raise RuntimeError(errors[0])


class BareClient:
    """Send the minimum number of requests with urllib3, without any checks or retries.

    Each action lists the keys first and, after a change, once more.
    """

    def __init__(self, proxy: MeasuredProxy, concurrency: int) -> None:
        self._url = proxy.url
        self._concurrency = concurrency
        self._headers = {"Authorization": f"Bearer {proxy.master_key}", "Content-Type": "application/json"}

    def run(self, action: str, guid: str, users: int) -> None:
        pool = urllib3.PoolManager(maxsize=self._concurrency, headers=self._headers)
        key_ids = self._list(pool, guid, users)
        if action == "provision" and not key_ids:
            bodies = [
                {"key_alias": alias, "duration": DURATION, **_settings(guid, number)}
                for number, alias in enumerate(aliases(guid, users), start=1)
            ]
            with ThreadPoolExecutor(self._concurrency) as executor:
                list(executor.map(lambda body: self._request(pool, "POST", "/key/generate", body), bodies))
            self._list(pool, guid, users)
        if action == EXTEND:
            bodies = [{"key": key_id, "duration": EXTENDED_DURATION} for key_id in key_ids]
            with ThreadPoolExecutor(self._concurrency) as executor:
                list(executor.map(lambda body: self._request(pool, "POST", "/key/update", body), bodies))
            self._list(pool, guid, users)
        if action == "destroy":
            for start in range(0, users, DELETE_BATCH_SIZE):
                self._request(pool, "POST", "/key/delete", {"keys": key_ids[start : start + DELETE_BATCH_SIZE]})
            self._list(pool, guid, users)

    def _list(self, pool: urllib3.PoolManager, guid: str, users: int) -> list[str]:
        alias = quote(f"virtkey-{guid}" + ("-user" if users > 1 else ""))
        part = "&substring_matching=true" if users > 1 else ""

        def page(number: int) -> Json:
            path = f"/key/list?return_full_object=true&size=100&page={number}&key_alias={alias}{part}"
            listing: Json = self._request(pool, "GET", path)
            return listing

        first = page(1)
        with ThreadPoolExecutor(self._concurrency) as executor:
            further = executor.map(page, range(2, 1 + first["total_pages"]))
        return [row["token"] for listing in (first, *further) for row in listing["keys"]]

    def _request(self, pool: urllib3.PoolManager, method: str, path: str, body: Json | None = None) -> Any:
        response = pool.request(method, self._url + path, body=None if body is None else json.dumps(body))
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status}")
        return json.loads(response.data)


def measure(proxy: MeasuredProxy, function: Callable[[], None]) -> Sample:
    """Measure the time and the requests of a function in this process."""
    before = proxy.requests()
    start = time.perf_counter()
    function()
    seconds = time.perf_counter() - start
    return Sample(seconds, 0, proxy.requests() - before)


def _settings(guid: str, number: int) -> Json:
    metadata = {"guid": guid, "created_by": "agnosticd", "environment": "sandbox", "catalog_item": "unknown"}
    return {"models": MODELS, "user_id": f"user{number}@lab.opentlc.com", "metadata": metadata}
