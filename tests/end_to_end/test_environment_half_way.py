# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test `litellm_environment` when it fails or is interrupted half-way: no secret is lost, and the next run finishes.

Most cases run the action in this process, as a worker of Ansible does, and take a fraction of a second each.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.in_process import (
    ACTION,
    DATA,
    Controller,
    controller,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import key_id
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import (
    GRANITE,
    PATIENCE,
    Ansible,
    Json,
    Proxy,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import (
    Fault,
    Relay,
    Request,
    RequestFault,
    drop_response,
    error_response,
)

__all__ = ["controller"]

USERS = ["user1", "user2", "user3"]
LIST = "GET /key/list"
GENERATE, UPDATE, DELETE = "POST /key/generate", "POST /key/update", "POST /key/delete"
FAULTS: dict[str, Fault] = {
    "400": error_response(400, "no"),
    "500": error_response(500, "Internal Server Error."),
    "lost": drop_response,
}


class TaskTimeout(BaseException):
    """Like the exception that ansible-core raises when the time of a task is up."""


@dataclass
class Environment:
    """An environment of three users."""

    controller: Controller
    guid: str

    @property
    def proxy(self) -> Proxy:
        return self.controller.proxy

    @property
    def folder(self) -> Path:
        return self.controller.folder

    @property
    def aliases(self) -> list[str]:
        return [f"virtkey-{self.guid}-{user}" for user in USERS]

    def run(self, url: str = "", operation: str = "provision", **arguments: Any) -> Json:
        return self.controller.run(self.guid, operation, url=url, multi_user=True, user_count=len(USERS), **arguments)

    def tokens(self) -> dict[str, str]:
        return self.controller.tokens(self.guid)

    def check_nothing_is_lost(self) -> None:
        """Check that the user data contain the secret of every key, except of one that was to replace another."""
        saved, tokens = self.controller.saved_ids(), self.tokens()
        unused = {f"{alias}.replacement" for alias in tokens}
        assert [alias for alias, token in tokens.items() if token not in saved and alias not in unused] == []

    def check_clean_run(self) -> None:
        """Check that one more run makes the missing keys, keeps the secrets of the others, and saves correct data."""
        before, warnings = self.tokens(), self.controller.warnings
        result = self.run()
        assert not result.get("failed"), result["msg"]
        tokens = self.tokens()
        if unused := set(tokens) - set(self.aliases):  # the run that created them could not delete them again
            assert {alias for alias in unused if f"key {alias} exists" in "".join(warnings)} == unused
            self.proxy.request("POST", "/key/delete", {"keys": [tokens[alias] for alias in unused]})
            tokens = self.tokens()
        assert sorted(tokens) == sorted(self.aliases)
        assert {alias: tokens[alias] for alias in self.aliases if alias in before} == {
            alias: token for alias, token in before.items() if alias in self.aliases
        }
        data = self.controller.data
        assert [key_id(secret) for secret in data["litellm_virtual_keys"]] == [tokens[alias] for alias in self.aliases]
        assert data["litellm_key_aliases"] == self.aliases
        assert data["litellm_user_count"] == len(self.aliases)
        for user, alias in zip(USERS, self.aliases, strict=True):
            assert data["users"][user]["litellm_key_alias"] == alias
            assert key_id(data["users"][user]["litellm_virtual_key"]) == tokens[alias]
            assert key_id(data[f"litellm_{user}_virtual_key"]) == tokens[alias]


@pytest.fixture
def environment(controller: Controller) -> Environment:
    controller.sets_facts = False  # a failed or interrupted task sets none
    return Environment(controller, controller.prefix)


def lists_before_changes(environment: Environment) -> int:
    """Return how often an operation lists the keys before it changes any."""
    with Relay(environment.proxy.url) as relay:
        environment.run(relay.url, "status")
    return relay.counts[LIST]


class Faults(RequestFault):
    """Several faults. The client sends one request at a time."""

    def __init__(self, *faults: RequestFault) -> None:
        self._faults = faults

    def applies_to(self, request: Request) -> bool:
        chosen = next((one for one in self._faults if one.applies_to(request)), None)
        if chosen:
            self.fault = chosen.fault
        return chosen is not None


# A request fails


@pytest.mark.parametrize("number", range(3), ids=["first", "second", "last"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_creation_loses_no_other_key(environment: Environment, fault: str, number: int):
    with Relay(environment.proxy.url, request_fault=RequestFault(FAULTS[fault], Request(GENERATE, number))) as relay:
        result = environment.run(relay.url)
    assert relay.log.injected == 1
    assert bool(result.get("failed")) == (fault != "lost"), result
    assert len(environment.tokens()) == (3 if fault == "lost" else 2)
    if result.get("failed"):
        assert result["msg"].startswith(f"1 of 3 keys failed. {environment.aliases[number]}: ")
        assert result["facts"]["litellm_virtual_keys"] == environment.controller.data["litellm_virtual_keys"]
    environment.check_nothing_is_lost()
    environment.check_clean_run()


@pytest.mark.parametrize("fault", ["400", "500"])
def test_without_user_data_a_failed_creation_leaves_no_key(environment: Environment, fault: str):
    """The play ends before it sets the facts, which would be the only place of the secrets."""
    with Relay(environment.proxy.url, request_fault=RequestFault(FAULTS[fault], Request(GENERATE, 1))) as relay:
        result = environment.run(relay.url, save_user_data=False)
    created = [alias for number, alias in enumerate(environment.aliases) if number != 1]
    assert f"{', '.join(created)}: The secret of the virtual key could not be saved" in result["msg"]
    assert ", so the key was deleted again" in result["msg"]
    assert environment.tokens() == {}
    environment.check_clean_run()


@pytest.mark.parametrize(
    ("creation", "look", "save"),
    [
        (None, "500", True),
        (None, "lost", True),
        ("lost", "500", True),
        ("lost", "lost", True),
        ("400", "500", True),
        ("500", "lost", True),
        (None, "lost", False),
        ("lost", "500", False),
    ],
)
def test_if_the_look_afterwards_fails_no_secret_is_lost(
    environment: Environment, creation: str | None, look: str, save: bool
):
    looks = RequestFault(FAULTS[look], Request(LIST, lists_before_changes(environment)), persistent=True)
    faults = [looks]
    if creation:
        faults.append(RequestFault(FAULTS[creation], Request(GENERATE, 1)))
    with Relay(environment.proxy.url, request_fault=Faults(*faults)) as relay:
        result = environment.run(relay.url, save_user_data=save)
    assert relay.log.injected > 1
    assert result["failed"]
    if save:
        assert len(environment.tokens()) == (2 if creation in ("400", "500") else 3)
        environment.check_nothing_is_lost()
    else:
        assert environment.tokens() == {}
    environment.check_clean_run()


@pytest.mark.parametrize(("endpoint", "number"), [(UPDATE, 0), (GENERATE, 2), (DELETE, 0)])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_replacement_loses_no_secret(environment: Environment, fault: str, endpoint: str, number: int):
    environment.run()
    before = environment.tokens()
    # One request deletes all old keys, and is repeated.
    faulty = RequestFault(FAULTS[fault], Request(endpoint, number), persistent=endpoint == DELETE)
    with Relay(environment.proxy.url, request_fault=faulty) as relay:
        result = environment.run(relay.url, regenerate="always")
    assert relay.log.injected
    # A new key gets its alias after the old one was deleted, so this request is repeated.
    is_repeated = fault == "lost" or (endpoint, fault) == (UPDATE, "500")
    assert bool(result.get("failed")) == (not is_repeated), result
    environment.check_nothing_is_lost()
    if result.get("failed") and endpoint != DELETE:  # the others were replaced
        same = [alias for alias, token in environment.tokens().items() if token == before.get(alias)]
        assert same == ([environment.aliases[number]] if endpoint == GENERATE else [])
    environment.check_clean_run()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("endpoint", [DELETE, LIST])
def test_a_failed_destroy_forgets_no_key_that_exists(environment: Environment, fault: str, endpoint: str):
    environment.run()
    first = 0 if endpoint == DELETE else lists_before_changes(environment)
    faulty = RequestFault(FAULTS[fault], Request(endpoint, first), persistent=True)
    with Relay(environment.proxy.url, request_fault=faulty) as relay:
        result = environment.run(relay.url, "destroy")
    assert relay.log.injected
    assert result.get("failed") or not environment.tokens()
    environment.check_nothing_is_lost()
    assert not environment.run(operation="destroy").get("failed")
    assert environment.tokens() == {}
    assert environment.controller.saved_ids() == set()


# Secrets cannot be saved


LIMIT = 1 << 18  # bytes


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Let no file grow beyond a limit, which has the same effect as a full disk; the user data have reached it."""
    folder.mkdir(exist_ok=True)
    with (folder / DATA).open("a") as data:
        data.write(f"notes: {'x' * LIMIT}\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def file_instead_of_folder(folder: Path) -> Iterator[None]:
    folder.touch()
    yield
    folder.unlink()


@pytest.mark.parametrize("disk", [full_disk, file_instead_of_folder])
def test_new_keys_are_deleted_if_their_secrets_cannot_be_saved(environment: Environment, disk: Any):
    with disk(environment.folder):
        result = environment.run()
    assert result["failed"]
    assert "could not be saved (Cannot save user data in " in result["msg"]
    assert environment.tokens() == {}
    environment.check_clean_run()


@pytest.mark.parametrize("disk", [full_disk, file_instead_of_folder])
def test_nothing_is_replaced_if_its_secret_could_not_be_saved(environment: Environment, disk: Any):
    environment.run()
    before, folder = environment.tokens(), environment.folder
    environment.controller.folder = folder if disk is full_disk else folder.with_name("elsewhere")
    with disk(environment.folder):
        result = environment.run(regenerate="always")
    environment.controller.folder = folder
    assert result["msg"].startswith("Cannot save user data in ")
    assert environment.tokens() == before
    environment.check_nothing_is_lost()
    environment.check_clean_run()


def test_a_lost_response_to_their_deletion_is_no_failure(environment: Environment):
    faulty = RequestFault(drop_response, Request(DELETE, 0))
    with Relay(environment.proxy.url, request_fault=faulty) as relay, full_disk(environment.folder):
        result = environment.run(relay.url)
    assert relay.log.injected == 1
    assert "so the key was deleted again" in result["msg"]
    assert environment.tokens() == {}


@pytest.mark.parametrize("fault", ["400", "500"])
def test_keys_that_cannot_be_deleted_either_are_named_and_returned(environment: Environment, fault: str):
    faulty = RequestFault(FAULTS[fault], Request(DELETE, 0), persistent=True)
    with Relay(environment.proxy.url, request_fault=faulty) as relay, full_disk(environment.folder):
        result = environment.run(relay.url)
    assert relay.log.injected
    assert result["failed"]
    secrets = {key_id(entry["key"]): entry for entry in result["virtual_keys"] if entry["key"]}
    assert len(environment.tokens()) == len(secrets) == 3
    for alias, token in environment.tokens().items():
        assert "could not be deleted again" in secrets[token]["error"]
        assert alias in result["msg"]


# The task is interrupted


def provision(environment: Environment) -> Callable[[str], Json]:
    return environment.run


def replace(environment: Environment) -> Callable[[str], Json]:
    environment.run()
    return lambda url: environment.run(url, regenerate="always")


def recreate(environment: Environment) -> Callable[[str], Json]:
    """Provision an environment two of whose keys expired and were removed by LiteLLM, and return its extension."""
    environment.run()
    tokens = environment.tokens()
    swept = [tokens[alias] for alias in (environment.aliases[0], environment.aliases[2])]
    environment.proxy.request("POST", "/key/delete", {"keys": swept})
    data = environment.controller.data
    for record in data["litellm_keys"].values():
        record["expires"] = "2026-01-01T00:00:00Z"
    (environment.folder / DATA).write_text(yaml.safe_dump(data))
    return lambda url: environment.run(url, operation="extend", runtime=336)


def destroy(environment: Environment) -> Callable[[str], Json]:
    environment.run()
    return lambda url: environment.run(url, operation="destroy")


@pytest.mark.parametrize("prepare", [provision, replace, recreate, destroy])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM], ids=["interrupt", "timeout"])
def test_an_interruption_at_any_request_loses_no_secret(
    environment: Environment,
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Environment], Callable[[str], Json]],
    number: int,
):
    def interrupt(*_unused: object) -> None:
        raise TaskTimeout

    # The relay's threads would take a signal to the process although the main thread has blocked it.
    main = threading.main_thread().ident or 0
    previous = signal.signal(signal.SIGALRM, interrupt)
    guid = environment.guid
    for step in itertools.count():  # until no request is left
        environment.guid = f"{guid}-{step:02}"
        run = prepare(environment)
        sent: list[Request] = []

        def callback(request: Request, moment: str, *, sent: list[Request], step: int) -> None:
            if moment == "before" and not sent and len(relay.log.requests) == step + 1:
                sent.append(request)
                signal.pthread_kill(main, number)

        result: Json = {}
        with (
            Relay(environment.proxy.url, callback=partial(callback, sent=sent, step=step)) as relay,
            contextlib.suppress(KeyboardInterrupt, TaskTimeout),
        ):
            result = run(relay.url)
        if not sent:
            assert not result.get("failed"), result
            break
        with subtests.test(step=step, request=str(*sent)):
            environment.check_nothing_is_lost()
            environment.check_clean_run()
    assert step > 2
    signal.signal(signal.SIGALRM, previous)


def worker_of(process_id: int) -> int:
    """Return the id of the only child of a process."""
    (child,) = Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()
    return int(child)


@pytest.mark.every_core
@pytest.mark.parametrize("how", ["interrupt", "timeout"])
def test_ansible_saves_what_was_created_before_the_interruption(environment: Environment, ansible: Ansible, how: str):
    """As a user sees it: Ctrl-C, or the timeout of the task, during the second creation."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{
            ACTION: {"guid": environment.guid, "users": USERS, "models": [GRANITE], "duration": "7d", "concurrency": 1},
            **({"timeout": PATIENCE} if how == "timeout" else {}),
        }],
        "vars": {"output_dir": str(environment.folder)},
    }  # fmt: skip
    (ansible.folder / "half_way.yml").write_text(json.dumps([play]))
    interrupted = threading.Event()

    def callback(request: Request, when: str) -> None:
        if (request, when) == (Request(GENERATE, 1), "before"):
            if how == "interrupt":
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            else:
                os.kill(worker_of(process.pid), signal.SIGALRM)  # as the timer of the task does
            interrupted.set()

    with (
        Relay(environment.proxy.url, callback=callback) as relay,
        subprocess.Popen(
            [str(Path(sys.executable).with_name("ansible-playbook")), "half_way.yml"],
            cwd=ansible.folder,
            env={**ansible.environment, "LITELLM_URL": relay.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        ) as process,
    ):
        output = process.communicate(timeout=PATIENCE)[0]
        process.wait()
    assert interrupted.is_set(), output
    assert process.returncode != 0
    environment.check_nothing_is_lost()
    assert len(environment.tokens()) == (0 if how == "interrupt" else 2), output
    environment.check_clean_run()
