# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the real `reconcile` of one controller up to its next request.

A controller is a deterministic function: the responses that it got so far determine its next request, or its result. So
it can be run again from the start with the responses of any history, and two histories in which it got the same
responses need only one run. Nothing here waits, and no thread is needed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile as engine
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import (
    START,
    Pending,
    Request,
    Response,
    World,
    begin,
    commit,
)

_PACKAGE = "ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils."
_CONNECTION = Connection("http://proxy", "sk-the-master-key-of-the-model", retries=2, concurrency=1)
# A run that sends more requests for one key does not end.
MAX_REQUESTS = 80

WOKE_UP = Response(200, '"woke up"')


@dataclass(frozen=True)
class Sleep:
    """The controller sleeps."""


@dataclass(frozen=True)
class Finished:
    """The run has ended.

    :ivar outcomes: None if it raised an exception.
    """

    outcomes: tuple[Outcome, ...] | None
    warnings: tuple[str, ...] = ()
    exception: BaseException | None = None


Action = Request | Sleep | Finished


class EndlessRun(Exception):
    """A run sends requests for ever."""


@dataclass(eq=False)
class Node:
    """A controller after some responses.

    :ivar action: what it does next.
    :ivar depth: the number of its responses so far.
    """

    controller: Controller
    parent: Node | None
    response: Response | None
    action: Action
    children: dict[Response, Node] = field(default_factory=dict)
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        self.depth = self.parent.depth + 1 if self.parent else 0
        if self.parent and self.response:
            self.parent.children[self.response] = self

    def after(self, response: Response, world: World) -> Node:
        """Return the controller after one more response.

        :param world: the present world. If the controller has to be run, the nodes that follow without an interruption
            are made in the same run, because they are likely to be needed.
        """
        return self.children.get(response) or self.controller.run(self, response, world)

    def path(self) -> list[Node]:
        """Return the controller after each response, the first one being before any."""
        nodes = [self]
        while nodes[-1].parent:
            nodes.append(nodes[-1].parent)
        return nodes[::-1]


class Controller:
    """One run of `reconcile` for the desired keys, with its own name, which is also part of its random secrets."""

    def __init__(self, name: str, desired: Sequence[DesiredKey]) -> None:
        self.name = name
        self.desired = desired
        self.nodes = 0
        self.root = self.run(None, None, World())

    def execute(self, client: Any, warn: Callable[[str], None]) -> Sequence[Outcome]:
        """Do what the controller does."""
        return engine.reconcile(client, self.desired, on_unknown_models="ignore", warn=warn)

    def run(self, parent: Node | None, response: Response | None, world: World) -> Node:
        """Run the controller from the start, with the responses up to `parent` and one more, and return its node."""
        client = _Client(self, parent, response, world)
        warnings: list[str] = []
        exception, outcomes = None, None
        with _patched(self.name, client):
            try:
                outcomes = tuple(self.execute(client, warnings.append))
            except _Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - judged by the laws
                exception = error
        if not client.stopped:
            client.add_node(Finished(outcomes, tuple(warnings), exception))
        self.nodes += len(client.new_nodes)
        return client.new_nodes[0]


class _Stopped(BaseException):
    """The run is long enough."""


class _Client:
    """Answers requests: first with the responses of a node, then from a world without an interruption.

    :ivar new_nodes: the nodes after the given responses.
    """

    def __init__(self, controller: Controller, parent: Node | None, response: Response | None, world: World) -> None:
        self.connection = _CONNECTION
        self.api_calls = 0
        self.new_nodes: list[Node] = []
        self.stopped = False
        self._controller = controller
        self._past = parent.path() if parent else []
        self._responses = [node.response for node in self._past[1:]] + ([response] if parent else [])
        self._last = (parent, response)
        self._world = world
        self._position = 0

    def add_node(self, action: Action) -> Node:
        """Add the node for the present position."""
        node = Node(self._controller, *self._last, action)
        self.new_nodes.append(node)
        return node

    def now(self) -> datetime:
        return START

    def get(self, path: str, query: Any = None, check_size: Any = None) -> Any:
        return self._send("GET", path, dict(query or {}))

    def post(self, path: str, body: Any) -> Any:
        return self._send("POST", path, dict(body))

    def sleep(self, seconds: float) -> None:
        self._next("sleep", "", None)

    def _send(self, method: str, path: str, params: Any) -> Any:
        self.api_calls += 1
        response = self._next(method, path, params)
        body = _parsed(response.body)
        if response.status is None:
            raise LiteLLMError(f"http://proxy did not respond to {method} {path} within 30 s", transient=True)
        if response.status >= 400:
            # As in the client.
            transient = response.status in (429, 502, 503, 504) or (method == "GET" and response.status == 500)
            detail = body["error"]["message"] if "error" in body else body
            message = f"LiteLLM returned {response.status} for {method} {path}: {detail}"
            raise LiteLLMError(message, transient=transient, status=response.status)
        return body

    def _next(self, method: str, path: str, params: Any) -> Response:
        position, self._position = self._position, self._position + 1
        if position < len(self._responses):
            before, response = self._past[position].action, self._responses[position]
            if response is None or (isinstance(before, Request) and (before.method, before.path) != (method, path)):
                raise AssertionError(f"not deterministic: {method} {path} instead of {before}")
            return response
        if self.stopped:
            raise _Stopped
        is_sleep = method == "sleep"
        limit = MAX_REQUESTS * len(self._controller.desired)
        action: Action = Sleep() if is_sleep else Request(method, path, json.dumps(params, sort_keys=True))
        if position >= limit:
            action = Finished(None, (), EndlessRun(f"no end after {limit} requests"))
        node = self.add_node(action)
        if node.parent is None or position >= limit:
            self.stopped = True
            raise _Stopped
        response = WOKE_UP if is_sleep else self._respond(action)
        if response in node.children:
            # What follows is known already.
            self.stopped = True
            raise _Stopped
        self._last = (node, response)
        return response

    def _respond(self, action: Action) -> Response:
        assert isinstance(action, Request)
        self._world, result = begin(self._world, action)
        while isinstance(result, Pending):
            self._world, result = commit(self._world, result, self._controller.name)
        return result


@cache
def _parsed(body: str) -> Any:
    """Return the body of a response, which the engine only reads."""
    return json.loads(body)


def _one_after_the_other(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
    *,
    finish_started: bool = False,
) -> list[Any]:
    """Replace `run_concurrently`: requests of one run, which concern different keys, are sent one after the other."""
    results = []
    for item in items:
        results.append(function(item))
        progress(len(results))
    return results


@contextlib.contextmanager
def _patched(name: str, client: _Client) -> Iterator[None]:
    """Replace what is not a function of the responses: time, randomness and threads."""
    numbers = itertools.count(1)
    replacements = {
        "time": SimpleNamespace(sleep=client.sleep, monotonic=lambda: 0.0),
        "generate": lambda: Secret(f"sk-random-secret-{name}-{next(numbers)}", "generated"),
        "run_concurrently": _one_after_the_other,
        "block_termination_signals": contextlib.nullcontext,
        "require_administrator": lambda client: None,
    }
    changed = []
    for module in _modules():
        for attribute, replacement in replacements.items():
            if attribute in vars(module):
                changed.append((module, attribute, vars(module)[attribute]))
                setattr(module, attribute, replacement)
    try:
        yield
    finally:
        for module, attribute, original in changed:
            setattr(module, attribute, original)


def _modules() -> list[Any]:
    """Return the engine's modules."""
    if not _MODULES:
        _MODULES.extend(
            module
            for module_name, module in list(sys.modules.items())
            if module_name.startswith((_PACKAGE + "_keys.", _PACKAGE + "_litellm.", _PACKAGE + "_environment."))
            and not module_name.endswith(".secrets")
        )
    return _MODULES


_MODULES: list[Any] = []
