# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared helpers: run Ansible's programs as a user does, and query the proxy without the collection's client."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import quote

import yaml

Json = dict[str, Any]

COLLECTION = "rhpds.litellm_virtual_keys"
ROLE = f"{COLLECTION}.ocp4_workload_litellm_virtual_keys"
GRANITE = "openai/granite-3-2-8b-instruct"
MISTRAL = "openai/mistral-7b-instruct"
# The seconds after which a program or the proxy hangs for certain, also on a busy machine.
PATIENCE = 600
NOWHERE = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens

KEY_LIST_LOOKUP = (
    "lookup('ansible.builtin.url', litellm_url ~ '/key/list?return_full_object=true&size=100&key_alias='"
    " ~ (alias | urlencode), headers={'Authorization': 'Bearer ' ~ master}) | from_json"
)

_DIRECT = request.build_opener(request.ProxyHandler({}))


@dataclass(frozen=True)
class Proxy:
    """The LiteLLM proxy, queried with the standard library only: its responses are the reference for the tests."""

    url: str
    master_key: str = field(repr=False)

    def request(self, method: str, path: str, body: Json | None = None, key: str | None = None) -> tuple[int, Any]:
        """Send a request with the master key or another key, and return the status and the decoded body."""
        prepared = request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key or self.master_key}", "Content-Type": "application/json"},
        )
        try:
            with _DIRECT.open(prepared, timeout=PATIENCE) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, json.load(error)

    def rows(self, alias: str) -> list[Json]:
        """Return all keys with exactly this alias."""
        status, listing = self.request("GET", f"/key/list?return_full_object=true&size=100&key_alias={quote(alias)}")
        assert status == 200, listing
        return [row for row in listing["keys"] if row["key_alias"] == alias]

    def row(self, alias: str) -> Json:
        """Return the only key with this alias."""
        (row,) = self.rows(alias)
        return row

    def chat(self, key: str, model: str = GRANITE) -> int:
        """Send a chat request as an OpenAI client does, and return its status."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        return self.request("POST", "/v1/chat/completions", body, key)[0]

    def delete(self, *aliases: str) -> None:
        tokens = [row["token"] for alias in aliases for row in self.rows(alias)]
        if tokens:
            self.request("POST", "/key/delete", {"keys": tokens})


@dataclass(frozen=True)
class Task:
    """The printed outcome of one task on one host; `result` is None if no result was printed."""

    name: str
    host: str
    status: str
    result: Any


@dataclass(frozen=True)
class CommandResult:
    """The exit code, output and log of a program."""

    code: int
    stdout: str
    stderr: str
    log: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def text(self) -> str:
        """Return the output on one line, because ansible-core wraps long lines."""
        return " ".join(self.output.split())

    @property
    def failed(self) -> Task:
        """Return the only task that failed."""
        (task,) = [task for task in self.tasks if task.status == "fatal"]
        return task

    @cached_property
    def tasks(self) -> list[Task]:
        found = []
        for block in re.split(r"^(?=(?:TASK|RUNNING HANDLER|PLAY) )", self.stdout, flags=re.MULTILINE):
            title = re.match(r"TASK \[(.*?)\] \*+$", block, re.MULTILINE)
            for line in re.finditer(
                r"^(ok|changed|fatal|failed): \[([^\]]+)\](?:: FAILED!)?( => )?", block, re.MULTILINE
            ):
                result = None
                if line[3]:
                    with contextlib.suppress(json.JSONDecodeError):
                        result, _end = json.JSONDecoder().raw_decode(block, line.end())
                found.append(Task(title[1].split(" : ")[-1] if title else "", line[2], line[1], result))
        return found

    def task_msg(self, task: str, host: str | None = None) -> Any:
        """Return the `msg` that a task printed, or the last one if the task ran several times."""
        *_unused, last = (entry for entry in self.tasks if entry.name == task and host in (None, entry.host))
        return last.result["msg"]

    def recap(self, host: str = "localhost") -> dict[str, int]:
        line = re.search(rf"^{re.escape(host)} +: (.*)$", self.stdout, re.MULTILINE)
        assert line, self.output
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line[1])}


@dataclass(frozen=True)
class Ansible:
    """Run Ansible's programs in a temporary folder, without the user's configuration."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, program: str, *arguments: str, **environment: str | None) -> CommandResult:
        """Run a program with additional environment variables; a value of None removes a variable.

        No run may cause a deprecation warning, with any ansible-core.
        """
        log = self.folder / "ansible.log"
        log.unlink(missing_ok=True)
        merged = {**self.environment, "ANSIBLE_LOG_PATH": str(log), **environment}
        process = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.folder,
            env={name: value for name, value in merged.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        result = CommandResult(
            process.returncode, process.stdout, process.stderr, log.read_text() if log.exists() else ""
        )
        assert "[DEPRECATION WARNING]" not in result.output, result.output
        return result

    def play(self, plays: str | Json | list[Json], *arguments: str, **environment: str | None) -> CommandResult:
        """Run a playbook, given as YAML text, one play, or a list of plays."""
        if isinstance(plays, dict):
            plays = [plays]
        if not isinstance(plays, str):
            plays = yaml.safe_dump([{"gather_facts": False, **play} for play in plays], sort_keys=False, width=1000)
        playbook = self.folder / "playbook.yml"
        playbook.write_text(plays)
        return self.run("ansible-playbook", playbook.name, *arguments, **environment)

    def file(self, name: str) -> Any:
        """Return the content of a YAML file in the folder."""
        return yaml.safe_load((self.folder / name).read_text())


def key_list_vars(alias: str) -> Json:
    """Return task variables whose `rows` lists the proxy's keys with this alias, without the collection's client.

    The alias may be a template. The URL is read from the variable `litellm_url`, the master key from the environment.
    """
    return {
        "rows": f"{{{{ ({KEY_LIST_LOOKUP})['keys'] }}}}",
        "alias": alias,
        "master": "{{ lookup('ansible.builtin.env', 'LITELLM_MASTER_KEY') }}",
    }


@dataclass
class Relay:
    """Record every request and forward it to the real proxy.

    :ivar before: called with the request line before a request is forwarded.
    :ivar requests: the user agent, request line and body of each request.
    """

    url: str
    before: Callable[[str], object] = lambda request_line: None
    requests: list[tuple[str, str, Json]] = field(default_factory=list)

    def collection_requests(self) -> list[list[tuple[str, Json]]]:
        """Return the collection's requests without query strings, in groups separated by requests of other clients."""
        groups: list[list[tuple[str, Json]]] = [[]]
        for agent, request_line, body in self.requests:
            if agent == COLLECTION:
                groups[-1].append((request_line.split("?")[0], body))
            else:
                groups.append([])
        return groups


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process and its descendants in bytes; shared pages count once per process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # the process has exited
        return 0
    return pages * 4096 + sum(resident_memory(int(child)) for child in children)
