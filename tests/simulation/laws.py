# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The laws that hold in every history. `docs/docsite/rst/guarantees.rst` states them for users.

Laws about a moment are checked in each state, laws about the end when all controllers have ended, and laws about the
next run after each operation has run once more, without a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.lifetimes import TOLERANCE
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.controller import WOKE_UP, Finished, Node, Sleep
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import (
    Runner,
    Scenario,
    Simulation,
    State,
    controller,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import (
    LAST_OVERLAP_END,
    NEW_BUDGET,
    OPERATIONS,
    Operation,
    previous_alias,
    start,
    successor_alias,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import (
    START,
    Json,
    Pending,
    Request,
    World,
    begin,
    commit,
    hashed,
)

# As in `docs/docsite/rst/guarantees.rst`.
LAWS = {
    "foreign keys": "A key of another environment is never changed.",
    "always a key": "An environment that has a key has one at every moment, unless a run deletes it.",
    "restrictions": "A key that replaces another one is never less restricted, not even for a moment.",
    "secrets work": "A secret that is returned without an error works, unless a later run removes it on purpose.",
    "secrets kept": "A run that is not killed returns the secret of every key that it creates and leaves behind.",
    "overlap": "The secret of a key that was rotated works until its overlap ends, unless a run removes it on purpose.",
    "overlap ends": "It works no longer than until its overlap ends, or until it would have expired anyway.",
    "rotated once": "Of several runs that rotate a key at the same time, one does.",
    "a key stays": "A run that was to create a key and reports no error leaves one, unless another run deletes it.",
    "replaced": "A run with ``regenerate: always`` that reports no error has revoked the secret, unless another run "
    "was given it.",
    "recovered": "A run that needs the secret returns it, reports an error, or warns that a concurrent run has it.",
    "destroyed": "After a destroy that reports no error, every key that existed when it started is gone.",
    "not lost": "A change that was reported without an error is not undone by a run that replaces the key.",
    "ends": "Every run ends after a limited number of requests.",
    "one key": "After one more run of any kind, an alias has at most one key, and one that it has replaced, whichever "
    "runs were killed.",
    "next run": "The next run reaches its desired state without an error.",
    "finished": "The next run gives the alias to the new key if a replacement was killed after it deleted the old one.",
    "survives": "The next run does not revoke a secret that was returned, unless it was asked to.",
}

Broken = tuple[str, str]
_NEXT = "Z"


@dataclass(frozen=True)
class Ending:
    """The end of a history, as far as one alias is concerned.

    :ivar number: which of the aliases.
    :ivar faults_happened: something failed.
    """

    scenario: Scenario
    world: World
    runners: tuple[Runner, ...]
    number: int
    faults_happened: bool

    @property
    def alias(self) -> str:
        return self.scenario.aliases[self.number]

    @cached_property
    def keys(self) -> list[Json]:
        """The keys with the alias."""
        return [row for row in self.world.all_keys() if row["key_alias"] == self.alias]

    @cached_property
    def successors(self) -> list[Json]:
        return [row for row in self.world.all_keys() if row["key_alias"] == successor_alias(self.alias)]

    @cached_property
    def previous(self) -> list[Json]:
        """The keys that were replaced because of their age."""
        return [row for row in self.world.all_keys() if row["key_alias"] == previous_alias(self.alias)]

    @cached_property
    def first_keys(self) -> list[Json]:
        """The keys that the environment has at the start; none if it is not certain which one it has."""
        rows = [row for row in self.rows_at_first if row["expires"] > START.isoformat()]
        own = [row["token"] for row in rows if row["key_alias"] == self.alias]
        successors = [row for row in rows if row["key_alias"] == successor_alias(self.alias)]
        if len(own) > 1 or (own and any(row["metadata"].get(REPLACES) not in own for row in successors)):
            return []
        return [row for row in rows if row not in successors]

    @cached_property
    def rows_at_first(self) -> list[Json]:
        rows = start(self.scenario.state, self.scenario.aliases).all_keys()
        return [row for row in rows if row["key_alias"] in _names(self.alias)]

    @cached_property
    def ids(self) -> set[str]:
        return {row["token"] for row in self.world.all_keys()}

    @cached_property
    def is_left_from_start(self) -> bool:
        """Whether a key of the alias is left that existed at the start. A recreated key has the same id."""
        names = (self.alias, successor_alias(self.alias), previous_alias(self.alias))
        first = start(self.scenario.state, self.scenario.aliases)
        before = {(row["token"], row["created_at"]) for row in first.all_keys() if row["key_alias"] in names}
        return any((row["token"], row["created_at"]) in before for row in self.world.all_keys())

    def operation(self, name: str) -> Operation:
        return OPERATIONS[self.scenario.operations["ABC".index(name)]]

    def ids_others_may_recreate(self, name: str) -> set[str]:
        """Return the ids of the secrets that other runs may use for a new key, because they were given these."""
        others = [self.scenario.operations[number] for number in range(len(self.runners)) if "ABC"[number] != name]
        is_destroyed = any(OPERATIONS[one].deletes for one in others)
        ids = set()
        for desired in (OPERATIONS[one].desired(self.scenario.aliases)[self.number] for one in others):
            saved = desired.known_secrets if desired.on_missing == "recreate" and is_destroyed else ()
            ids |= {secret.key_id for secret in (desired.secret, *saved) if secret}
        return ids

    def results(self) -> Iterator[tuple[str, Operation, Outcome, Finished]]:
        """Return the runs that have ended normally."""
        for runner in self.runners:
            action = runner.node.action
            if not runner.killed and isinstance(action, Finished) and action.outcomes is not None:
                name = runner.node.controller.name
                yield name, self.operation(name), action.outcomes[self.number], action


def judge(simulation: Simulation, state: State, ended: bool) -> list[Broken]:
    """Return the laws that a state of a history breaks, each with the problem."""
    scenario, cache = simulation.scenario, simulation.judged
    broken: list[Broken] | None = cache.get(state.world)
    if broken is None:
        broken = cache[state.world] = list(_at_a_moment(scenario, state.world))
    if not ended:
        return broken
    faults_happened = state.faults_left < scenario.faults
    key = (state.world, state.runners, faults_happened)
    found: list[Broken] | None = cache.get(key)
    if found is None:
        endings = [
            Ending(scenario, state.world, state.runners, number, faults_happened) for number in range(scenario.keys)
        ]
        found = cache[key] = [
            *_every_run_ends(state.runners),
            *(one for ending in endings for one in _at_the_end(ending)),
            *_after_the_next_run(endings),
        ]
    return broken + found


def _at_a_moment(scenario: Scenario, world: World) -> Iterator[Broken]:
    first = start(scenario.state, scenario.aliases)
    names = {name for alias in scenario.aliases for name in _names(alias)}
    before = {row["token"]: row for row in first.all_keys() if row["key_alias"] not in names}
    after = {row["token"]: row for row in world.all_keys() if row["token"] in before}
    if before != after:
        yield "foreign keys", "a key of another environment was changed"
    if any(OPERATIONS[name].deletes for name in scenario.operations) or is_without_key(scenario.state):
        return
    for alias in scenario.aliases:
        rows = [row for row in world.all_keys() if row["key_alias"] in _names(alias)]
        if not rows:
            yield "always a key", f"{alias} has no key"
        for row in rows:
            missing = [name for name in ("models", "max_budget", "expires") if not row[name]]
            if missing:
                yield "restrictions", f"a key of {alias} has no {', '.join(missing)}"


def is_without_key(state: str) -> bool:
    """Return whether the environment has no key of its own, so that a new one has the requested settings only."""
    return state in ("nothing", "only a previous key")


def _names(alias: str) -> tuple[str, ...]:
    return (alias, successor_alias(alias), previous_alias(alias))


def _every_run_ends(runners: Sequence[Runner]) -> Iterator[Broken]:
    for runner in runners:
        action, name = runner.node.action, runner.node.controller.name
        if runner.killed or not isinstance(action, Finished) or action.exception is None:
            continue
        changed = any(isinstance(node.action, Request) and node.action.changes for node in runner.node.path())
        if not isinstance(action.exception, LiteLLMError) or changed:
            yield "ends", f"{name} raised {type(action.exception).__name__}: {action.exception}"


def _at_the_end(ending: Ending) -> Iterator[Broken]:
    yield from _secrets_work(ending)
    yield from _secrets_kept(ending)
    yield from _overlap(ending)
    yield from _rotated_once(ending)
    yield from _a_key_stays(ending)
    yield from _replaced(ending)
    yield from _destroyed(ending)
    yield from _not_lost(ending)


def _secrets_work(ending: Ending) -> Iterator[Broken]:
    for name, _operation, outcome, _result in ending.results():
        if outcome.error or not outcome.secret or outcome.secret.key_id in ending.ids:
            continue
        removers = [who for token, who in ending.world.removed if token == outcome.secret.key_id]
        if not any(who != name and _may_remove(ending.operation(who)) for who in removers):
            who = " and ".join(removers) or "nobody"
            yield "secrets work", f"{name} returned a secret that does not work (deleted by {who})"


def _may_remove(operation: Operation) -> bool:
    return operation.deletes or operation.replaces


def _secrets_kept(ending: Ending) -> Iterator[Broken]:
    for name, _operation, outcome, _result in ending.results():
        returned = {secret.key_id for secret in (outcome.secret, outcome.unconfirmed_secret) if secret}
        made = {hashed(f"sk-random-secret-{name}-{number}") for number in range(1, ending.scenario.keys + 1)}
        for row in (*ending.keys, *ending.successors):
            if row["token"] in made - returned:
                what = f"reports {outcome.error}" if outcome.error else "reports no error"
                yield "secrets kept", f"{name} has left a key {row['key_alias']} whose secret nobody knows, and {what}"


def _overlap(ending: Ending) -> Iterator[Broken]:
    removers: dict[str, list[str]] = {}
    for token, who in ending.world.removed:
        removers.setdefault(token, []).append(who)
    for row in ending.first_keys:
        by = removers.get(row["token"], [])
        if row["token"] not in ending.ids and not any(_may_remove(ending.operation(one)) for one in by):
            yield "overlap", f"{' and '.join(by) or 'nobody'} deleted {row['key_alias']}, whose secret was to work"
    everybody_ended = not any(runner.killed for runner in ending.runners) and not any(
        outcome.error for _name, _operation, outcome, _result in ending.results()
    )
    for name, operation, outcome, _result in ending.results():
        if not operation.rotates or outcome.error or outcome.operation != "regenerated" or not outcome.before:
            continue
        for row in ending.world.all_keys():
            if row["token"] != outcome.before.key_id:
                continue
            if everybody_ended and row["key_alias"] != previous_alias(ending.alias):
                yield "overlap ends", f"{name} reports regenerated, and the old key is {row['key_alias']}"
            elif everybody_ended and _ends_too_late(row):
                yield "overlap ends", f"{name} reports regenerated, and the old key expires at {row['expires']}"


def _ends_too_late(row: Json) -> bool:
    return row["expires"] is None or parse_instant(row["expires"]) > LAST_OVERLAP_END + TOLERANCE


def _rotated_once(ending: Ending) -> Iterator[Broken]:
    if any(_may_remove(OPERATIONS[name]) for name in ending.scenario.operations):
        return
    if is_without_key(ending.scenario.state):
        return
    first = {row["token"] for row in ending.rows_at_first}
    for row in (*ending.keys, *ending.previous):
        if row["token"] not in first and row["metadata"].get(REPLACES) not in first:
            yield "rotated once", f"{row['key_alias']} is a key that has replaced one that has replaced another"


def _a_key_stays(ending: Ending) -> Iterator[Broken]:
    # A run that was killed while it replaced the key may leave the new one under another alias.
    if (
        ending.keys
        or ending.successors
        or ending.previous
        or any(OPERATIONS[name].deletes for name in ending.scenario.operations)
    ):
        return
    results = list(ending.results())
    for name, operation, outcome, _result in results:
        if operation.options.get("on_missing", "create") == "create" and not outcome.error:
            yield "a key stays", f"{name} reports {outcome.operation} and no error, and no key is left"
    if not ending.faults_happened and any(outcome.error for _name, _operation, outcome, _result in results):
        yield (
            "a key stays",
            "nothing failed, and no key is left: "
            + "; ".join(
                f"{name} reports {outcome.error or outcome.operation}" for name, _operation, outcome, _result in results
            ),
        )


def _replaced(ending: Ending) -> Iterator[Broken]:
    for name, operation, outcome, result in ending.results():
        if outcome.error:
            continue
        must_replace = operation.options.get("regenerate") == "always"
        reports = outcome.operation == "regenerated" and not operation.rotates
        revoked = {outcome.before.key_id} - ending.ids_others_may_recreate(name) if outcome.before else set()
        if not must_replace:  # another run has replaced it meanwhile, with an overlap
            revoked -= {row["token"] for row in ending.previous}
        if (must_replace or reports) and revoked & ending.ids:
            yield "replaced", f"{name} reports {outcome.operation}, and the secret that it found still works"
        must_know = operation.options.get("regenerate") or operation.options.get("secret_required")
        lost_race = any("concurrent run" in warning for warning in result.warnings)
        if must_know and not outcome.secret and not lost_race:
            yield "recovered", f"{name} reports {outcome.operation} without a secret"


def _destroyed(ending: Ending) -> Iterator[Broken]:
    for name, operation, outcome, _result in ending.results():
        if operation.deletes and not outcome.error and ending.is_left_from_start:
            yield "destroyed", f"{name} reports {outcome.operation}, and a key that it could find is left"
    if all(OPERATIONS[one].deletes for one in ending.scenario.operations):
        errors = [outcome for _name, _operation, outcome, _result in ending.results() if outcome.error]
        left = ending.keys or ending.successors or ending.previous
        if not errors and len(list(ending.results())) and left:
            yield "destroyed", "every run destroys, none reports an error, and a key is left"


def _not_lost(ending: Ending) -> Iterator[Broken]:
    """A budget that a run has set is the budget of the key, unless another run has set its own."""
    others = [
        name for name in ending.scenario.operations if "max_budget" in OPERATIONS[name].options.get("settings", {})
    ]
    if set(others) != {"budget"} or any(OPERATIONS[name].deletes for name in ending.scenario.operations):
        return
    for name, operation, outcome, _result in ending.results():
        is_budget = operation is OPERATIONS["budget"]
        has_old_budget = ending.keys and all(row["max_budget"] != NEW_BUDGET for row in ending.keys)
        if is_budget and not outcome.error and outcome.after and has_old_budget:
            yield "not lost", f"{name} reports {outcome.operation}, and the key has the old budget"


# The next run


def run_alone(operation: str, aliases: tuple[str, ...], world: World) -> tuple[World, Node]:
    """Run an operation without a fault and without another run, and return the world afterwards and the last node."""
    node = controller(_NEXT, operation, aliases).root
    while not isinstance(node.action, Finished):
        if isinstance(node.action, Sleep):
            node = node.after(WOKE_UP, world)
            continue
        next_world, result = begin(world, node.action)
        while isinstance(result, Pending):
            next_world, result = commit(next_world, result, _NEXT)
        node, world = node.after(result, next_world), next_world
    return world, node


_AFTERWARDS: dict[tuple[tuple[str, ...], tuple[str, ...], frozenset[str]], list[Broken]] = {}


def _after_the_next_run(endings: Sequence[Ending]) -> list[Broken]:
    first = endings[0]
    returned = frozenset(
        outcome.secret.key_id
        for ending in endings
        for _name, _operation, outcome, _result in ending.results()
        if outcome.secret and not outcome.error and outcome.secret.key_id in ending.ids
    )
    key = (first.scenario.aliases, first.world.rows, returned)
    if key not in _AFTERWARDS:
        _AFTERWARDS[key] = [
            broken
            for name in OPERATIONS
            for broken in _next_run(
                name, first.scenario.aliases, first.world._replace(removed=(), created=1000), returned
            )
        ]
    return _AFTERWARDS[key]


def _next_run(name: str, aliases: tuple[str, ...], before: World, returned: frozenset[str]) -> Iterator[Broken]:
    operation = OPERATIONS[name]
    world, node = run_alone(name, aliases, before)
    result = node.action
    if not isinstance(result, Finished) or result.outcomes is None:
        exception = result.exception if isinstance(result, Finished) else None
        yield "ends", f"the next run, {name}, raised {exception!r}"
        return
    ids = {row["token"] for row in world.all_keys()}
    for alias, outcome in zip(aliases, result.outcomes, strict=True):
        had = {row["token"] for row in before.all_keys() if row["key_alias"] in _names(alias)}
        rows = [row for row in world.all_keys() if row["key_alias"] == alias]
        left = [row for row in world.all_keys() if row["key_alias"] == successor_alias(alias)]
        previous = [row for row in world.all_keys() if row["key_alias"] == previous_alias(alias)]
        if len(rows) > 1:
            says = outcome.error or outcome.operation
            yield "one key", f"the next run, {name}, leaves {len(rows)} keys with the alias {alias} ({says})"
        if len(previous) > 1:
            yield "one key", f"the next run, {name}, leaves {len(previous)} keys with the alias {previous_alias(alias)}"
        if rows and any(_ends_too_late(row) for row in previous) and not outcome.error:
            yield "overlap ends", f"after the next run, {name}, {previous_alias(alias)} works too long"
        if left and not rows:
            yield "finished", f"the next run, {name}, leaves {successor_alias(alias)} only"
        if not _may_remove(operation) and had & returned - ids:
            yield "survives", f"the next run, {name}, has deleted a key whose secret was returned"
        if outcome.secret and not outcome.error and outcome.secret.key_id not in ids:
            yield "secrets work", f"the next run, {name}, returned a secret that does not work"
        if operation.deletes and (outcome.error or rows or left or previous):
            number = len(rows) + len(left) + len(previous)
            yield "next run", f"the next run, {name}, leaves {number} keys: {outcome.error}"
        elif operation.replaces and not operation.deletes:
            if (outcome.error or not outcome.secret) and not _is_taken(name, alias, previous):
                yield "next run", f"the next run, {name}, returns no secret: {outcome.error}"
        elif outcome.error and not _is_taken(name, alias, previous) and not _may_fail(name, had, alias):
            yield "next run", f"the next run, {name}, reports: {outcome.error}"


def _is_taken(name: str, alias: str, previous: Sequence[Json]) -> bool:
    """Return whether the secret for a new key is that of a key that was replaced and still works."""
    (key,) = OPERATIONS[name].desired([alias])
    return key.new_secret is not None and key.new_secret.key_id in {row["token"] for row in previous}


def _may_fail(name: str, had: set[str], alias: str) -> bool:
    """Return whether an operation that does not replace keys may fail: its secret is not that of the key."""
    operation = OPERATIONS[name]
    if not operation.options.get("secret_required"):
        return False
    (key,) = operation.desired([alias])
    known = [secret.key_id for secret in (key.secret, *key.known_secrets) if secret]
    return bool(had - set(known))
