# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the end-to-end tests share: Ansible's programs as a user runs them, and the proxy asked without our client."""

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
NOWHERE = "http://127.0.0.1:9"  # the port of the discard service, where nothing listens

LOOK_UP = (
    "lookup('ansible.builtin.url', litellm_url ~ '/key/list?return_full_object=true&size=100&key_alias='"
    " ~ (alias | urlencode), headers={'Authorization': 'Bearer ' ~ master}) | from_json"
)

_DIRECT = request.build_opener(request.ProxyHandler({}))


@dataclass(frozen=True)
class Proxy:
    """The LiteLLM proxy, asked with the standard library alone: what it says is the truth that we test against."""

    url: str
    master_key: str = field(repr=False)

    def ask(self, method: str, path: str, body: Json | None = None, key: str | None = None) -> tuple[int, Any]:
        """Ask as the administrator, or with another key: the status and the answer."""
        asked = request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key or self.master_key}", "Content-Type": "application/json"},
        )
        try:
            with _DIRECT.open(asked, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    def rows(self, alias: str) -> list[Json]:
        """Every key that carries exactly this alias."""
        status, listing = self.ask("GET", f"/key/list?return_full_object=true&size=100&key_alias={quote(alias)}")
        assert status == 200, listing
        return [row for row in listing["keys"] if row["key_alias"] == alias]

    def row(self, alias: str) -> Json:
        """The one key with this alias."""
        (row,) = self.rows(alias)
        return row

    def chat(self, key: str, model: str = GRANITE) -> int:
        """The status of a chat request, as any OpenAI client would make it."""
        question = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        return self.ask("POST", "/v1/chat/completions", question, key)[0]

    def delete(self, *aliases: str) -> None:
        tokens = [row["token"] for alias in aliases for row in self.rows(alias)]
        if tokens:
            self.ask("POST", "/key/delete", {"keys": tokens})


@dataclass(frozen=True)
class Task:
    """What was printed about one task on one host; `result` is None when no result was shown."""

    name: str
    host: str
    status: str
    result: Any


@dataclass(frozen=True)
class Run:
    """What a program did and said."""

    code: int
    stdout: str
    stderr: str
    log: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def text(self) -> str:
        """All that was printed, on one line: ansible-core breaks long lines where it likes."""
        return " ".join(self.output.split())

    @property
    def failed(self) -> Task:
        """The one task that failed."""
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

    def said(self, task: str, host: str | None = None) -> Any:
        """The `msg` that a task printed; the last one, when it ran several times."""
        *_unused, last = (one for one in self.tasks if one.name == task and host in (None, one.host))
        return last.result["msg"]

    def recap(self, host: str = "localhost") -> dict[str, int]:
        line = re.search(rf"^{re.escape(host)} +: (.*)$", self.stdout, re.MULTILINE)
        assert line, self.output
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line[1])}


@dataclass(frozen=True)
class Ansible:
    """Runs Ansible's programs in a folder of their own, away from the user's settings."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    def run(self, program: str, *arguments: str, **environment: str | None) -> Run:
        """Run a program; environment variables may be added, or taken away with None."""
        log = self.folder / "ansible.log"
        log.unlink(missing_ok=True)
        merged = {**self.environment, "ANSIBLE_LOG_PATH": str(log), **environment}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.folder,
            env={name: value for name, value in merged.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr, log.read_text() if log.exists() else "")

    def play(self, plays: str | Json | list[Json], *arguments: str, **environment: str | None) -> Run:
        """Run a playbook: YAML text, one play, or several."""
        if isinstance(plays, dict):
            plays = [plays]
        if not isinstance(plays, str):
            plays = yaml.safe_dump([{"gather_facts": False, **play} for play in plays], sort_keys=False, width=1000)
        playbook = self.folder / "playbook.yml"
        playbook.write_text(plays)
        return self.run("ansible-playbook", playbook.name, *arguments, **environment)

    def file(self, name: str) -> Any:
        """What a YAML file in the folder holds."""
        return yaml.safe_load((self.folder / name).read_text())


def look(alias: str) -> Json:
    """What a task needs to print the proxy's rows with this alias, which may be a template: asked without our client.

    The address is the variable `litellm_url`, the master key that of the environment.
    """
    return {
        "rows": f"{{{{ ({LOOK_UP})['keys'] }}}}",
        "alias": alias,
        "master": "{{ lookup('ansible.builtin.env', 'LITELLM_MASTER_KEY') }}",
    }


@dataclass
class Relay:
    """Hands every request on to the real proxy, and notes it: who asked, what for, and with which body.

    :ivar before: is told of each request before that is handed on, and may do something itself.
    """

    url: str
    before: Callable[[str], object] = lambda request_line: None
    requests: list[tuple[str, str, Json]] = field(default_factory=list)

    def of_ours(self) -> list[list[tuple[str, Json]]]:
        """Our requests, without their queries, in groups: what was asked between two requests of others."""
        groups: list[list[tuple[str, Json]]] = [[]]
        for agent, request_line, body in self.requests:
            if agent == COLLECTION:
                groups[-1].append((request_line.split("?")[0], body))
            else:
                groups.append([])
        return groups
