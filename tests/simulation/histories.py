# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Explore the histories of some controllers on one proxy.

A history is a sequence of moves. A move lets one controller take one step (a request up to its check, or what it
writes) with or without a fault. Histories that lead to the same state (the same world, and controllers that got the
same responses) have the same future, so each state is explored once, and the number of histories is counted without
running each one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.controller import (
    WOKE_UP,
    Controller,
    Finished,
    Node,
    Sleep,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import (
    OPERATIONS,
    STATES,
    alias_of,
    start,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import (
    Pending,
    Request,
    Response,
    World,
    begin,
    commit,
)

NO_RESPONSE = Response(None)
INTERNAL_ERROR = Response(500, '{"error": {"message": "Internal Server Error.", "code": "500"}}')

# A controller that sleeps lets each other one take this many steps, if timing is fair.
_FAIR_STEPS = 6


@dataclass(frozen=True)
class Scenario:
    """Some controllers, what they find, and how much may go wrong.

    :ivar faults: how many faults may happen in one history.
    :ivar keys: how many keys each controller manages.
    :ivar exact: the release lists only whole aliases, so that a run needs several requests for a snapshot.
    :ivar skewed: the clocks of the proxies differ, so that `created_at` does not tell which key appeared first.
    :ivar fair: a controller that sleeps lets the others go on meanwhile; otherwise it may wake up at any time.
    :ivar preemptions: how often a controller may be interrupted that could go on; None for any number.
    """

    state: str
    operations: tuple[str, ...]
    faults: int = 0
    keys: int = 1
    fair: bool = False
    exact: bool = False
    skewed: bool = False
    preemptions: int | None = None

    def __str__(self) -> str:
        limits = [f"{self.faults} faults", f"{self.keys} keys"]
        limits += ["fair timing"] if self.fair else []
        limits += ["exact listings"] if self.exact else []
        limits += ["skewed clocks"] if self.skewed else []
        limits += [] if self.preemptions is None else [f"{self.preemptions} preemptions"]
        return f"{self.state}: {' + '.join(self.operations)} ({', '.join(limits)})"

    @classmethod
    def parse(cls, text: str) -> Scenario:
        """Return the scenario that `str` shows.

        :raises ValueError: if the text is not a scenario.
        """
        match = re.fullmatch(
            r"(.+): (\S+(?: \+ \S+)*) "
            r"\((\d+) faults, (\d+) keys(, fair timing)?(, exact listings)?(, skewed clocks)?"
            r"(?:, (\d+) preemptions)?\)",
            text,
        )
        if not match or match[1] not in STATES or not set(match[2].split(" + ")) <= set(OPERATIONS):
            raise ValueError(f"not a scenario: {text}")
        return cls(
            match[1],
            tuple(match[2].split(" + ")),
            faults=int(match[3]),
            keys=int(match[4]),
            fair=bool(match[5]),
            exact=bool(match[6]),
            skewed=bool(match[7]),
            preemptions=None if match[8] is None else int(match[8]),
        )

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(alias_of(number + 1, self.keys) for number in range(self.keys))


class Runner(NamedTuple):
    """One controller in a state.

    :ivar node: the number of its node.
    :ivar pending: the request that the proxy has checked and not written yet.
    :ivar asleep: how many steps of others it still sleeps.
    :ivar killed: it was killed.
    """

    node: Node
    pending: Pending | None = None
    asleep: int = 0
    killed: bool = False

    @property
    def ended(self) -> bool:
        return self.killed or isinstance(self.node.action, Finished)


class State(NamedTuple):
    """One state of a history."""

    world: World
    runners: tuple[Runner, ...]
    faults_left: int
    last: int = -1
    preemptions_left: int = -1


class Step(NamedTuple):
    """What one controller can do next.

    :ivar kind: what happens, in words; without a fault `checks` or `writes`.
    """

    kind: str
    faults: int
    world: World
    runner: Runner
    response: Response | None


class Move(NamedTuple):
    """One move of a history."""

    controller: int
    step: Step
    state: State


class Simulation:
    """The states of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.controllers = _controllers(scenario)
        self.judged: dict[Any, Any] = {}
        self._steps: dict[tuple[World, Runner], list[Step]] = {}

    def first(self) -> State:
        """Return the state at the start."""
        scenario = self.scenario
        world = start(scenario.state, scenario.aliases)
        runners = tuple(self._runner(controller.root, world) for controller in self.controllers)
        preemptions = -1 if scenario.preemptions is None else scenario.preemptions
        return State(world, runners, scenario.faults, -1, preemptions)

    def moves(self, state: State) -> list[Move]:
        """Return every move that is possible in a state, always in the same order; none at the end."""
        able = [number for number, runner in enumerate(state.runners) if not runner.ended and not runner.asleep]
        if not able:  # all that have not ended sleep
            able = [number for number, runner in enumerate(state.runners) if not runner.ended]
        preempts = state.preemptions_left >= 0 and state.last in able
        moves = []
        for number in able:
            left = state.preemptions_left
            if preempts and number != state.last:
                if not left:
                    continue
                left -= 1
            runner = state.runners[number]
            key = (state.world, runner)
            steps = self._steps.get(key)
            if steps is None:
                steps = self._steps[key] = list(self._possible_steps(state.world, runner))
            last = number if state.preemptions_left >= 0 else -1
            for step in steps:
                if step.faults <= state.faults_left:
                    runners = list(state.runners)
                    runners[number] = step.runner
                    if self.scenario.fair:
                        for other, one in enumerate(runners):
                            if other != number and one.asleep:
                                runners[other] = one._replace(asleep=one.asleep - 1)
                    next_state = State(step.world, tuple(runners), state.faults_left - step.faults, last, left)
                    moves.append(Move(number, step, next_state))
        return moves

    def _possible_steps(self, world: World, runner: Runner) -> Iterator[Step]:
        name, node = runner.node.controller.name, runner.node
        if runner.pending:
            after, response = commit(world, runner.pending, name)
            if isinstance(response, Pending):
                yield Step("writes, and goes on", 0, after, Runner(node, response), None)
                return
            yield Step("writes", 0, after, self._next(node, response, after), response)
            yield Step("writes, and the response is lost", 1, after, self._next(node, NO_RESPONSE, after), NO_RESPONSE)
            yield Step(
                "writes, and responds with 500", 1, after, self._next(node, INTERNAL_ERROR, after), INTERNAL_ERROR
            )
            yield Step("writes, and the controller is killed", 1, after, Runner(node, killed=True), None)
            return
        if isinstance(node.action, Sleep):
            yield Step("wakes up", 0, world, self._next(node, WOKE_UP, world), None)
            return
        assert isinstance(node.action, Request)
        after, result = begin(world, node.action, skewed=self.scenario.skewed, exact=self.scenario.exact)
        if isinstance(result, Pending):
            yield Step("checks", 0, after, Runner(node, result), None)
        else:
            yield Step("responds", 0, after, self._next(node, result, after), result)
        yield Step("the request is lost", 1, world, self._next(node, NO_RESPONSE, world), NO_RESPONSE)
        if node.action.changes:
            yield Step("the controller is killed before it", 1, world, Runner(node, killed=True), None)

    def _next(self, node: Node, response: Response, world: World) -> Runner:
        return self._runner(node.after(response, world), world)

    def _runner(self, node: Node, world: World) -> Runner:
        if isinstance(node.action, Sleep):
            if self.scenario.fair:
                return Runner(node, asleep=_FAIR_STEPS)
            return self._runner(node.after(WOKE_UP, world), world)
        return Runner(node)


_CONTROLLERS: dict[tuple[str, str, tuple[str, ...]], Controller] = {}


def controller(name: str, operation: str, aliases: tuple[str, ...]) -> Controller:
    """Return a controller. Its nodes are shared by all scenarios."""
    key = (name, operation, aliases)
    if key not in _CONTROLLERS:
        _CONTROLLERS[key] = Controller(name, OPERATIONS[operation].desired(aliases))
    return _CONTROLLERS[key]


def _controllers(scenario: Scenario) -> list[Controller]:
    return [
        controller("ABC"[number], operation, scenario.aliases) for number, operation in enumerate(scenario.operations)
    ]


@dataclass
class Violation:
    """A history that breaks a law.

    :ivar numbers: the index of each move among the possible ones.
    """

    scenario: Scenario
    law: str
    problem: str
    numbers: tuple[int, ...]


@dataclass
class Exploration:
    """What an exploration has found.

    :ivar histories: how many histories were covered.
    :ivar states: how many different states they have.
    :ivar violations: the shortest history for each law that was broken.
    :ivar endings: the worlds at the end.
    """

    histories: int = 0
    states: int = 0
    violations: dict[str, Violation] = field(default_factory=dict)


# Returns the law that is broken and the problem, for each.
Judge = Callable[[Simulation, State, bool], Sequence[tuple[str, str]]]


def explore(scenario: Scenario, judge: Judge, max_states: int | None = None) -> Exploration:
    """Explore every history of a scenario, the shortest first.

    :param judge: called with each state, and whether it is the end of a history.
    :raises ExplorationTooLarge: if there are more than so many states.
    """
    simulation, found = Simulation(scenario), Exploration()
    first = simulation.first()
    layer: dict[State, tuple[int, int]] = {first: (1, 0)}  # the number of histories that lead here, and an index
    origins: list[tuple[int, int]] = [(-1, -1)]  # of each state: the index of the one before, and the move
    while layer:
        following: dict[State, tuple[int, int]] = {}
        found.states += len(layer)
        if max_states and found.states > max_states:
            raise ExplorationTooLarge(f"{scenario} has more than {max_states} states")
        for state, (count, index) in layer.items():
            moves = simulation.moves(state)
            for law, problem in judge(simulation, state, not moves):
                if law not in found.violations:
                    found.violations[law] = Violation(scenario, law, problem, _numbers(origins, index))
            if not moves:
                found.histories += count
            for number, move in enumerate(moves):
                known = following.get(move.state)
                if known is None:
                    following[move.state] = (count, len(origins))
                    origins.append((index, number))
                else:
                    following[move.state] = (known[0] + count, known[1])
        layer = following
    return found


class ExplorationTooLarge(Exception):
    """A scenario has too many states."""


def _numbers(origins: Sequence[tuple[int, int]], index: int) -> tuple[int, ...]:
    numbers = []
    while index > 0:
        index, number = origins[index]
        numbers.append(number)
    return tuple(reversed(numbers))


def walk(scenario: Scenario, dice: random.Random, judge: Judge) -> tuple[tuple[int, ...], list[Violation]]:
    """Run one random history. A controller mostly goes on, and faults are rare."""
    simulation = Simulation(scenario)
    numbers: list[int] = []
    violations: list[Violation] = []
    state, last = simulation.first(), -1
    while True:
        moves = simulation.moves(state)
        for law, problem in judge(simulation, state, not moves):
            violations.append(Violation(scenario, law, problem, tuple(numbers)))
        if not moves:
            return tuple(numbers), violations
        weights = [(0.15 if move.step.faults else 1.0) * (2.0 if move.controller == last else 1.0) for move in moves]
        (number,) = dice.choices(range(len(moves)), weights)
        numbers.append(number)
        state, last = moves[number].state, moves[number].controller


def replay(scenario: Scenario, numbers: Sequence[int]) -> Iterator[tuple[State, Move | None]]:
    """Return the states of one history, each with the move that led to it.

    Numbers that are missing, or too large because the engine has changed since, mean the first possible move.
    """
    simulation, left = Simulation(scenario), list(numbers)
    state = simulation.first()
    yield state, None
    while moves := simulation.moves(state):
        number = left.pop(0) if left else 0
        move = moves[number if number < len(moves) else 0]
        state = move.state
        yield state, move
