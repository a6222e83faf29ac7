# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One cell of the matrix: an operation, a run with a fault, a clean run, and the checks of both.

The checks use only the proxy's responses to other clients and the results of the two runs, not the implementation.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import previous as engine
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import previous_alias
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    LIFETIME_START,
    PREVIOUS,
    REPLACES,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import (
    BUDGET_ID,
    MINIMUM_AGE,
    OVERLAP,
    REFERENCES,
    SETTINGS,
    TEAM_ID,
    Operation,
    desired_key,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import (
    ConnectionFault,
    Relay,
    Request,
    RequestFault,
)

MANY = 3
TOLERANCE = timedelta(seconds=90)  # more than the collection's own tolerance of 60 s
TIMEOUT = 4.0  # seconds for one request, in runs in which some requests get no response
LONG_TIMEOUT = 60.0  # seconds for one request, in runs in which all requests get a response

# LiteLLM requires POST for this read. The client does not retry a POST, so the run fails before its first write.
NEVER_RETRIED = ("POST /budget/info",)

SECRET_LOST = "secret was lost with the response, .* Run again with regenerate|new secrets? .* (is|are) lost"

# A violation that concurrent and interrupted runs may have
STILL_CHANGED = "the clean run changed something"

# The run with the fault has ended when the clean run starts, whose clock may be behind.
engine._ABANDONED_AFTER = timedelta(minutes=-1)

_CASE_NUMBERS = itertools.count()
_SESSION = secrets.token_hex(3)

FaultFactory = Callable[[Request, int, bool], RequestFault | ConnectionFault]


def key_id(secret: str) -> str:
    """Return LiteLLM's id of the key with this secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


@functools.cache
def create_references(proxy: Proxy) -> None:
    """Create a team and a budget, unless the proxy has them from an earlier run."""
    if proxy.request("GET", f"/team/info?team_id={TEAM_ID}")[0] == 404:
        status, response = proxy.request("POST", "/team/new", {"team_id": TEAM_ID})
        assert status == 200, response
    if not proxy.request("POST", "/budget/info", {"budgets": [BUDGET_ID]})[1]:
        status, response = proxy.request("POST", "/budget/new", {"budget_id": BUDGET_ID, "max_budget": 100.0})
        assert status == 200, response


@dataclass
class Case:
    """The keys of one cell, with aliases that no other cell uses.

    :ivar known_secrets: for each alias, the secrets that a user can know.
    :ivar violations: the failed checks.
    """

    proxy: Proxy
    operation: Operation
    size: int = 1
    aliases: list[str] = field(default_factory=list)
    known_secrets: dict[str, list[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.started = datetime.now(UTC)
        self.prefix = f"virtkey-{_SESSION}-{next(_CASE_NUMBERS):05}-"
        self.aliases = [f"{self.prefix}user{number}" for number in range(self.size)]
        self.known_secrets = {alias: [] for alias in self.aliases}
        if REFERENCES.keys() <= self.operation.settings.keys():
            create_references(self.proxy)
        self.unrelated_alias = f"{self.prefix}user0-of-another"
        self._create_key(self.unrelated_alias, "1d")
        if self.operation.existing_duration:
            for alias in self.aliases:
                self.known_secrets[alias].append(self._create_key(alias, self.operation.existing_duration))
        if self.operation.rotates:
            time.sleep(MINIMUM_AGE + 3)  # the proxy's clock is read from a header that is late by up to two seconds

    def _create_key(self, alias: str, duration: str) -> str:
        secret = f"sk-{secrets.token_urlsafe(16)}"
        body = {"key": secret, "key_alias": alias, "duration": duration, **SETTINGS}
        status, response = self.proxy.request("POST", "/key/generate", body)
        assert status == 200, response
        return secret

    def run(self, url: str, connection: Json | None = None, **further: Any) -> list[Outcome] | LiteLLMError:
        """Run the operation on all keys of the case, and return the outcomes or the error."""
        options = {"timeout": TIMEOUT, "retries": 1, **(connection or {})}
        client = Client(Connection(url, self.proxy.master_key, **options))
        try:
            outcomes = reconcile(client, [self._desired_key(alias, **further) for alias in self.aliases])
        except LiteLLMError as error:
            return error
        for outcome in outcomes:
            if outcome.secret:
                self.known_secrets[self._alias(outcome)].append(outcome.secret.value)
        return outcomes

    def _desired_key(self, alias: str, **further: Any) -> DesiredKey:
        key = desired_key(alias, self.operation.name, **further)
        if self.operation.by_id:
            return replace(key, alias=None, key_id=key_id(self.known_secrets[alias][0]))
        return key

    def _alias(self, outcome: Outcome) -> str:
        """Return the alias of an outcome, even if the key was specified by its id."""
        if outcome.desired.alias:
            return outcome.desired.alias
        return next(alias for alias in self.aliases if key_id(self.known_secrets[alias][0]) == outcome.desired.key_id)

    def rows(self) -> dict[str, list[Json]]:
        """Return the keys on the proxy, by alias."""
        path = f"/key/list?return_full_object=true&size=100&substring_matching=true&key_alias={quote(self.prefix)}"
        found: dict[str, list[Json]] = {alias: [] for alias in (self.unrelated_alias, *self.aliases)}
        for page in itertools.count(1):
            status, listing = self.proxy.request("GET", f"{path}&sort_by=created_at&page={page}")
            assert status == 200, listing
            for row in listing["keys"]:
                found.setdefault(row["key_alias"], []).append(row)
            if page >= listing["total_pages"]:
                break
        return found

    def works(self, secret: str) -> bool:
        """Check whether the proxy accepts the secret."""
        return self.proxy.request("GET", "/v1/models", key=secret)[0] == 200

    def add_violation(self, text: str) -> None:
        self.violations.append(text)

    def clean_up(self) -> None:
        tokens = [row["token"] for rows in self.rows().values() for row in rows]
        for start in range(0, len(tokens), 100):
            self.proxy.request("POST", "/key/delete", {"keys": tokens[start : start + 100]})

    # The checks

    def check_faulty_run(self, result: list[Outcome] | LiteLLMError, message: str) -> None:
        """Check that everything that the run with a fault reported is true.

        :param message: a pattern that error messages must match.
        """
        rows = self.rows()
        if isinstance(result, LiteLLMError):
            self._check_message(str(result), message)
            for alias in self.aliases:
                self._check_old_secret(alias, str(result))
            return
        for outcome in result:
            alias = self._alias(outcome)
            # A key that has replaced another one, and could not get its alias, works all the same.
            tokens = [row["token"] for row in rows[alias] or rows.get(f"{alias}.replacement", [])]
            if outcome.secret:
                if key_id(outcome.secret.value) not in tokens:
                    self.add_violation(f"{alias}: the run returned a secret of another key")
                elif not self.works(outcome.secret.value):
                    self.add_violation(f"{alias}: the run returned a secret that does not work")
            if outcome.error:
                self._check_message(outcome.error, message)
                self._check_old_secret(alias, outcome.error)
            else:
                self._check_key(alias, rows)
                is_new = not self.operation.existing_duration or self.operation.name in ("regenerate", "rotate")
                if is_new and not outcome.secret:
                    self.add_violation(f"{alias}: the run returned neither an error nor a secret")

    def check_clean_run(self, result: list[Outcome] | LiteLLMError, before: list[Outcome] | LiteLLMError) -> None:
        """Check that after the clean run each key exists once, in the desired state and with a known secret.

        :param before: the result of the run with a fault.
        """
        if isinstance(result, LiteLLMError):
            self.add_violation(f"the clean run failed: {result}")
            return
        rows = self.rows()
        for outcome in result:
            alias = self._alias(outcome)
            if outcome.error:
                self.add_violation(f"the clean run failed: {outcome.error}")
            self._check_key(alias, rows, when=", after the clean run")
        if len(rows[self.unrelated_alias]) != 1:
            self.add_violation("an unrelated key was deleted")
        previous = {previous_alias(alias) for alias in self.aliases if self.operation.rotates}
        leftovers = sorted(set(rows) - {self.unrelated_alias, *self.aliases, *previous})
        if leftovers:
            self.add_violation(f"leftover keys: {', '.join(leftovers)}")
        no_errors_before = not isinstance(before, LiteLLMError) and not any(outcome.error for outcome in before)
        if no_errors_before and self.operation.name != "regenerate" and any(outcome.changed for outcome in result):
            self.add_violation(STILL_CHANGED)

    def _check_key(self, alias: str, rows: dict[str, list[Json]], *, when: str = "") -> None:
        label = f"{alias}{when}"
        if len(rows[alias]) != int(self.operation.present):
            self.add_violation(f"{label}: {len(rows[alias])} keys")
            return
        if not self.operation.present:
            if any(map(self.works, self.known_secrets[alias])):
                self.add_violation(f"{label}: a secret of the deleted key still works")
            return
        (row,) = rows[alias]
        # A key that replaces another has more entries in its metadata.
        marks = (LIFETIME_START, PREVIOUS, REPLACES)
        metadata = {name: value for name, value in row["metadata"].items() if name not in marks}
        stored = {**row, "metadata": metadata}
        different = {name: stored[name] for name, value in self.operation.settings.items() if stored[name] != value}
        if different:
            self.add_violation(f"{label}: wrong settings: {different}")
        expiry = parse_instant(row["expires"]) if row["expires"] else None
        lifetime = timedelta(days=self.operation.days)
        if not expiry or not self.started - TOLERANCE <= expiry - lifetime <= datetime.now(UTC) + TOLERANCE:
            self.add_violation(f"{label}: expires at {expiry}")
        matching = [secret for secret in self.known_secrets[alias] if key_id(secret) == row["token"]]
        if not matching:
            self.add_violation(f"{label}: the secret is lost")
        elif not self.works(matching[0]):
            self.add_violation(f"{label}: the secret does not work")

        if self.operation.rotates:
            self._check_previous(label, rows.get(previous_alias(alias), []), self.known_secrets[alias][0])

    def _check_previous(self, label: str, rows: list[Json], secret: str) -> None:
        """Check that the old secret works, until the overlap ends."""
        if [row["token"] for row in rows] != [key_id(secret)]:
            self.add_violation(f"{label}: the previous keys are {rows}")
            return
        expiry = parse_instant(rows[0]["expires"])
        if not self.started - TOLERANCE <= expiry - OVERLAP <= datetime.now(UTC) + TOLERANCE:
            self.add_violation(f"{label}: the previous key expires at {expiry}")
        if not self.works(secret):
            self.add_violation(f"{label}: the previous secret does not work")

    def _check_old_secret(self, alias: str, message: str) -> None:
        """Check that a known secret of an existing key still works, unless the message reports that it is lost."""
        if not (self.operation.existing_duration and self.operation.present):
            return
        if any(map(self.works, self.known_secrets[alias])):
            return
        if not re.search(SECRET_LOST, message):
            self.add_violation(f"{alias}: no known secret works, and the message does not report it: {message}")

    def _check_message(self, message: str, expected: str) -> None:
        if not re.search(expected, message):
            self.add_violation(f"unexpected message: {message}")
        if self.proxy.master_key in message or "<html" in message or len(message) > 800:
            self.add_violation("the message contains a secret or HTML, or is too long")


def record_requests(proxy: Proxy, operation: Operation, many: bool) -> list[Request]:
    """Return the requests of a run without faults, with a concurrency of 1."""
    case = Case(proxy, operation, MANY if many else 1)
    with Relay(proxy.url) as relay:
        outcomes = case.run(relay.url, {"concurrency": 1, "timeout": LONG_TIMEOUT})
    assert isinstance(outcomes, list), outcomes
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    case.clean_up()
    return relay.log.requests


def is_write(endpoint: str) -> bool:
    """Check whether a request to this endpoint changes something."""
    return endpoint.startswith("POST") and endpoint not in NEVER_RETRIED


def fault_points(operation: Operation, requests: Sequence[Request]) -> list[tuple[Request, bool]]:
    """Return the requests at which a fault is injected, and whether it is persistent.

    A single fault affects the first or the last request of an endpoint. A persistent fault starts at the first write or
    at the last read; if the first read of a run never succeeds, the run does nothing.
    """
    found = []
    for endpoint in operation.endpoints or dict.fromkeys(request.endpoint for request in requests):
        matching = [request for request in requests if request.endpoint == endpoint]
        found += [(request, False) for request in dict.fromkeys((matching[0], matching[-1]))]
        start = matching[0] if is_write(endpoint) else matching[-1]
        if start != requests[0]:
            found.append((start, True))
    return found


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault in the matrix.

    :ivar create: creates the fault from the request to affect, the position of this request among all requests, and
        whether the fault is persistent.
    :ivar message: a pattern that error messages must match.
    :ivar recovers: when a run must recover from a single fault without an error: always, at or after the first write
        (`later`), only at a write (`write`), or never.
    :ivar tls: the relay uses TLS.
    """

    name: str
    create: FaultFactory
    message: str
    recovers: Literal["never", "write", "later", "always"] = "never"
    tls: bool = False


def run_cell(
    proxy: Proxy, operation: Operation, many: bool, kind: FaultKind, requests: Sequence[Request], point: Request, *,
    persistent: bool, certificates: Certificates, **connection: Any,
) -> list[str]:  # fmt: skip
    """Run one cell and return its violations.

    :param requests: the requests of a run without faults.
    :param point: the one of these requests at which the fault is injected.
    """
    number = requests.index(point)
    case = Case(proxy, operation, MANY if many else 1)
    fault = kind.create(point, number, persistent)
    connection_fault, request_fault = (fault, None) if isinstance(fault, ConnectionFault) else (None, fault)
    options: Json = {"concurrency": 1 if connection_fault else 4, **connection}
    if kind.tls:
        options["ca_path"] = str(certificates.ca_path)
    context = certificates.valid if kind.tls else None
    with Relay(
        proxy.url,
        request_fault=request_fault,
        connection_fault=connection_fault,
        context=context,
        timeout=TIMEOUT,
    ) as relay:
        first = case.run(relay.url, options)
    case.check_faulty_run(first, kind.message)
    case.violations += relay.log.violations
    if not relay.log.injected:
        case.add_violation("no fault was injected")
    write = is_write(point.endpoint)
    later = write or any(is_write(request.endpoint) for request in requests[:number])
    if (
        not persistent
        and point.endpoint not in NEVER_RETRIED
        and {"never": False, "write": write, "later": later, "always": True}[kind.recovers]
    ):
        errors = (
            [str(first)] if isinstance(first, LiteLLMError) else [outcome.error for outcome in first if outcome.error]
        )
        case.violations += [f"the run did not recover: {error}" for error in errors]
    case.check_clean_run(case.run(proxy.url, {"timeout": LONG_TIMEOUT}), first)
    case.clean_up()
    return case.violations
