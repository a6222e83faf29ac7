# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two runs of `litellm_environment` for an environment with a shared budget, in every order of their requests.

Each controller runs the whole operation: it finds the keys, creates the team, reconciles the keys, or deletes both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ENVIRONMENT_OPTIONS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import shared_budget
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_run import BudgetRun
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.budget_team import BudgetTeam
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.operation import run_operation
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import parse_request
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.results import (
    EnvironmentRun,
    OperationResult,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.controller import Controller, Finished
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import (
    Runner,
    Scenario,
    Simulation,
    State,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import GUID, SEED
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import Json, World

TEAM = f"virtkey-{GUID}"
KEY = f"{TEAM}-user1"
OPERATIONS: dict[str, Json] = {
    "provision": {"operation": "provision", "shared_budget": 100},
    "provision-less": {"operation": "provision", "shared_budget": 50},
    "destroy": {"operation": "destroy", "shared_budget": 100},
    "destroy-user": {"operation": "destroy", "shared_budget": 100, "users": ["user1"]},
}
METADATA = {"guid": GUID, "managed_by": shared_budget.MANAGED_BY}
LIMITS = {"provision": 100.0, "provision-less": 50.0}


class Budgets(Controller):
    """One run of `litellm_environment`, which derives its secrets and saves nothing."""

    def __init__(self, name: str, operation: str) -> None:
        self.operation = operation
        super().__init__(name, [None] * 2)  # type: ignore[list-item]  # for the limit of requests

    def execute(self, client: Any, warn: Callable[[str], None]) -> Sequence[Any]:
        given = {"guid": GUID, "key_seed": SEED, "users": ["user1"], **OPERATIONS[self.operation]}
        if self.operation == "destroy":
            del given["users"]
        options = coerce_options(ENVIRONMENT_OPTIONS, given, "litellm_environment")
        request = parse_request(options, {"on_unknown_models": "ignore"}, coerce_key_options({}), Wording())
        assert request
        errors: list[str | None] = []

        def finish(result: OperationResult) -> Json:
            errors.append(result.error)
            return {}

        try:
            run_operation(
                EnvironmentRun(
                    request,
                    client,
                    known=(),
                    save=lambda outcomes: None,
                    finish=finish,
                    check_writable=lambda: None,
                    saves_user_data=True,
                    check_mode=False,
                    warn=warn,
                    show_progress=lambda text: None,
                )
            )
        except UserError as error:
            errors.append(str(error))
        return errors


@dataclass(frozen=True)
class Environment:
    """What is on the proxy: the team and the key of the environment."""

    team: Json | None
    keys: tuple[Json, ...]

    @classmethod
    def of(cls, world: World) -> Environment:
        return cls(world.all_teams().get(TEAM), tuple(row for row in world.all_keys() if row["key_alias"] == KEY))

    @property
    def is_gone(self) -> bool:
        return self.team is None and not self.keys

    def has(self, limits: set[float]) -> bool:
        """Return whether there is one key in a team with one of these limits."""
        in_team = [key["team_id"] for key in self.keys] == [TEAM]
        return in_team and self.team is not None and self.team["max_budget"] in limits


def own_team(limit: float = 100.0) -> dict[str, Json]:
    team = {"team_id": TEAM, "max_budget": limit, "budget_duration": None, "metadata": METADATA, "spend": 0.0}
    return {TEAM: team}


def state(name: str) -> World:
    """Return what the controllers find."""
    world = World()
    if name in ("team", "team and key"):
        world = world.with_teams(own_team())
    if name in ("key", "key in no team", "team and key"):
        team_id = None if name == "key" else TEAM
        secret = derive(SEED, KEY).value
        world = world.with_key(KEY, secret, metadata={"guid": GUID, "user": "user1"}, team_id=team_id)
    if name == "foreign team":
        world = world.with_teams({TEAM: {**own_team(7.0)[TEAM], "metadata": {**METADATA, "guid": "other"}}})
    return world


class BudgetSimulation(Simulation):
    """The states of some runs of `litellm_environment`."""

    def __init__(self, start: str, operations: Sequence[str], faults: int) -> None:
        self.start, self.operations = start, operations
        self.scenario = Scenario("nothing", ("provision",), faults)
        self.controllers = [controller("ABC"[number], one) for number, one in enumerate(operations)]
        self.judged = {}
        self._steps = {}

    def first(self) -> State:
        world = state(self.start)
        runners = tuple(self._runner(one.root, world) for one in self.controllers)
        return State(world, runners, self.scenario.faults)


_CONTROLLERS: dict[tuple[str, str], Budgets] = {}


def controller(name: str, operation: str) -> Budgets:
    return _CONTROLLERS.setdefault((name, operation), Budgets(name, operation))


def endings(simulation: BudgetSimulation) -> Iterator[State]:
    """Yield each state in which a history ends."""
    layer = {simulation.first()}
    while layer:
        following = set()
        for one in layer:
            moves = simulation.moves(one)
            if not moves:
                yield one
            following |= {move.state for move in moves}
        layer = following


def error_of(runner: Runner) -> str | None:
    """Return the error of a run; a killed run has one."""
    if runner.killed:
        return "killed"
    assert isinstance(runner.node.action, Finished)
    assert runner.node.action.exception is None, runner.node.action.exception
    (error,) = runner.node.action.outcomes or ()
    return error  # type: ignore[return-value]


def run_alone(world: World, operation: str) -> State:
    """Run an operation without others and without faults."""
    simulation = BudgetSimulation("nothing", [operation], 0)
    one = State(world, (simulation._runner(controller("A", operation).root, world),), 0)
    while moves := simulation.moves(one):
        one = moves[0].state
    return one


def broken(simulation: BudgetSimulation, end: State) -> list[str]:
    """Return the laws that the end of a history breaks."""
    found = []
    errors = [error_of(runner) for runner in end.runners]
    named = list(zip(simulation.operations, errors, strict=True))
    environment = Environment.of(end.world)
    done = {operation for operation, error in named if not error}
    limits = {limit for operation, limit in LIMITS.items() if operation in simulation.operations}
    # A destroy that reports an error may have deleted the team of a provision that has ended.
    is_deleted = any(operation.startswith("destroy") and (error or environment.is_gone) for operation, error in named)
    if simulation.start == "foreign team" and environment.team != state("foreign team").all_teams()[TEAM]:
        found.append("a team of another environment was changed")
    if simulation.start == "foreign team":
        return found
    if done & LIMITS.keys() and not (environment.has(limits) or is_deleted):
        found.append("a provision without an error has left no key in the team of its budget")
    if not limits and done & {"destroy", "destroy-user"} and not environment.is_gone:
        found.append("a destroy without an error has left something")
    if all(error is None for error in errors) and not (environment.is_gone or environment.has(limits)):
        found.append("without an error, the environment is neither complete nor gone")
    if set(simulation.operations) == {"provision"} and not simulation.scenario.faults and any(errors):
        found.append("a provision fails because of another one")
    after = run_alone(end.world, "provision")
    if error_of(after.runners[0]) or not Environment.of(after.world).has({100.0}):
        found.append("the next provision does not reach its desired state")
    after = run_alone(end.world, "destroy")
    if error_of(after.runners[0]) or not Environment.of(after.world).is_gone:
        found.append("the next destroy leaves something")
    return found


def violations(start: str, operations: Sequence[str], faults: int) -> set[str]:
    simulation = BudgetSimulation(start, operations, faults)
    return {law for end in endings(simulation) for law in broken(simulation, end)}


STATES = ("nothing", "team", "key", "key in no team", "team and key", "foreign team")


@pytest.mark.parametrize("operations", [(one,) for one in OPERATIONS], ids=str)
@pytest.mark.parametrize("start", STATES)
def test_one_run_with_two_faults(start, operations):
    assert violations(start, operations, 2) == set()


@pytest.mark.parametrize(
    "operations",
    [
        ("provision", "provision"),
        ("provision", "provision-less"),
        ("provision", "destroy"),
        ("provision", "destroy-user"),
        ("destroy", "destroy"),
    ],
    ids=" + ".join,
)
@pytest.mark.parametrize("start", ["nothing", "key", "key in no team", "team and key"])
def test_two_runs_in_every_order(start, operations):
    assert violations(start, operations, 0) == set()


# An engine that breaks a law


def do_not_look_again_after_the_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BudgetRun, "confirm", lambda self, outcomes: None)


def do_not_look_for_keys_after_the_deletion(patch: pytest.MonkeyPatch) -> None:
    keys = BudgetTeam.keys
    patch.setattr(BudgetTeam, "keys", lambda self, leaving=(): keys(self, leaving) if self.budget else [])


def do_not_check_whose_team_it_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared_budget, "check_owner", lambda budget, guid: None)


def believe_the_response(patch: pytest.MonkeyPatch) -> None:
    def repeat(self: BudgetTeam, send: Callable[[], None], _is_done: Callable[[], bool]) -> None:
        send()
        self.read()

    patch.setattr(BudgetTeam, "_repeat", repeat)


@pytest.mark.parametrize(
    ("sabotage", "start", "operations", "law"),
    [
        (
            do_not_look_again_after_the_keys,
            "nothing",
            ("provision", "destroy"),
            "a provision without an error has left no key in the team of its budget",
        ),
        (
            do_not_look_for_keys_after_the_deletion,
            "nothing",
            ("provision", "destroy"),
            "without an error, the environment is neither complete nor gone",
        ),
        (
            do_not_check_whose_team_it_is,
            "foreign team",
            ("provision",),
            "a team of another environment was changed",
        ),
        (
            believe_the_response,
            "nothing",
            ("provision", "provision"),
            "a provision fails because of another one",
        ),
    ],
)
def test_a_law_is_broken_without_its_protection(monkeypatch, sabotage, start, operations, law):
    sabotage(monkeypatch)
    monkeypatch.setattr(f"{__name__}._CONTROLLERS", {})
    assert law in violations(start, operations, 0)
