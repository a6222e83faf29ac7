# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print a history as a story that a person can read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.controller import Finished, Node, Sleep
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import (
    Move,
    Runner,
    Scenario,
    Violation,
    replay,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import LAWS
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import Json, Request, World, hashed


def story_of(violation: Violation) -> str:
    """Return the story of a history that breaks a law."""
    numbers = " ".join(map(str, violation.numbers))
    return "\n".join(
        [
            f"Law broken: {LAWS[violation.law]}",
            f"Problem: {violation.problem}.",
            *describe(violation.scenario, violation.numbers),
            f"To replay: make simulate ARGS='--replay \"{violation.scenario}\" {numbers}'",
        ]
    )


def describe(scenario: Scenario, numbers: Sequence[int]) -> Iterator[str]:
    """Return the lines of a story: the keys at the start, each move, and the results."""
    yield f"Scenario: {scenario}"
    runners: Sequence[Runner] = ()
    for state, move in replay(scenario, numbers):
        if move is None:
            yield from (f"  at first: {_key(row)}" for row in state.world.all_keys() if _concerns(scenario, row))
            if not any(_concerns(scenario, row) for row in state.world.all_keys()):
                yield "  at first: no key"
        else:
            yield f"  {_line(runners[move.controller].node, move)}"
        runners, world = state.runners, state.world
    for runner in runners:
        yield f"  result of {runner.node.controller.name}: {_result(runner)}"
    yield from (f"  at the end: {_key(row)}" for row in _own(scenario, world))


def _own(scenario: Scenario, world: World) -> list[Json]:
    return [row for row in world.all_keys() if _concerns(scenario, row)]


def _concerns(scenario: Scenario, row: Json) -> bool:
    return str(row["key_alias"]).removesuffix(".replacement").removesuffix(".previous") in scenario.aliases


def _line(node: Node, move: Move) -> str:
    controller, action, step = node.controller.name, node.action, move.step
    if isinstance(action, Sleep):
        return f"{controller} wakes up"
    assert isinstance(action, Request)
    text = f"{controller}: {action.method} {action.path} {_params(json.loads(action.params))}: {step.kind}"
    if step.response and step.response.status == 200 and action.path == "/key/list":
        rows = json.loads(step.response.body)["keys"]
        return f"{text} with {', '.join(map(_key, rows)) or 'no key'}"
    if step.response and step.response.status and step.response.status >= 400 and step.kind == "responds":
        return f"{text} with {step.response.status}"
    return text


def _params(params: Json) -> str:
    shown: dict[str, Any] = {}
    for name, value in params.items():
        if name in ("key", "keys"):
            shown[name] = _id(hashed(value)) if isinstance(value, str) else [_id(hashed(one)) for one in value]
        elif name == "metadata":
            shown[name] = {entry: _id(text) if entry == REPLACES else text for entry, text in value.items()}
        elif name not in ("page", "size", "return_full_object"):
            shown[name] = value
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _key(row: Json | str) -> str:
    if isinstance(row, str):  # the listing has only ids
        return _id(row)
    details = [name for name in ("models", "max_budget", "expires") if not row[name]]
    missing = f", no {' and no '.join(details)}" if details else ""
    marked = f", replaces {_id(row['metadata'][REPLACES])}" if REPLACES in row["metadata"] else ""
    return f"{row['key_alias']} ({_id(row['token'])}{marked}{missing})"


def _id(token: str) -> str:
    return f"key {token[:6]}"


def _result(runner: Runner) -> str:
    action = runner.node.action
    if runner.killed:
        return "killed"
    if not isinstance(action, Finished):
        return "still running"
    if action.outcomes is None:
        return f"raised {action.exception!r}"
    texts = []
    for outcome in action.outcomes:
        secret = f"with the secret of {_id(outcome.secret.key_id)}" if outcome.secret else "without a secret"
        texts.append(f"{outcome.operation} {secret}, {outcome.error or 'no error'}")
    return "; ".join([*texts, *(f"warning: {warning}" for warning in action.warnings)])
