# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One cell of the matrix: an operation, a run in which something goes wrong, a clean run, and the verdict on both.

The verdict is on what the proxy says to others, and on what our two runs told. It does not know how we work.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client, Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import (
    BUDGET_ID,
    REFERENCES,
    SETTINGS,
    TEAM_ID,
    Operation,
    wanted,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, BadLine, Relay, Trouble

MANY = 3
SECONDS = timedelta(seconds=90)  # the engine's own tolerance, and some more
TIMEOUT = 4.0  # seconds for one request, where some are never answered

PATIENCE = 60.0  # ... and where all are

# A question for which LiteLLM wants POST. The client repeats no POST, so that the task fails, and has begun nothing.
ASKED_ONCE = ("POST /budget/info",)

LOST = "answer was lost; run again with regenerate|new secrets? .* (is|are) lost"

_NUMBERS = itertools.count()
_SESSION = secrets.token_hex(3)

Spoil = Callable[[Asked, int, bool], Trouble | BadLine]


def key_id(secret: str) -> str:
    """What LiteLLM calls the key with this secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


@functools.cache
def make_references(proxy: Proxy) -> None:
    """A team and a budget on the proxy, which may have them since an earlier run."""
    if proxy.ask("GET", f"/team/info?team_id={TEAM_ID}")[0] == 404:
        status, answer = proxy.ask("POST", "/team/new", {"team_id": TEAM_ID})
        assert status == 200, answer
    if not proxy.ask("POST", "/budget/info", {"budgets": [BUDGET_ID]})[1]:
        status, answer = proxy.ask("POST", "/budget/new", {"budget_id": BUDGET_ID, "max_budget": 100.0})
        assert status == 200, answer


@dataclass
class Case:
    """The keys of one cell. No other cell has keys that are called like them.

    :ivar known: for each alias, the secrets that a user could know by now.
    :ivar complaints: what is not as it should be.
    """

    proxy: Proxy
    operation: Operation
    size: int = 1
    aliases: list[str] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = datetime.now(UTC)
        self.prefix = f"virtkey-{_SESSION}-{next(_NUMBERS):05}-"
        self.aliases = [f"{self.prefix}user{number}" for number in range(self.size)]
        self.known = {alias: [] for alias in self.aliases}
        if REFERENCES.keys() <= self.operation.settings.keys():
            make_references(self.proxy)
        self.bystander = f"{self.prefix}user0-of-another"
        self._make(self.bystander, "1d")
        if self.operation.prepared:
            for alias in self.aliases:
                self.known[alias].append(self._make(alias, self.operation.prepared))

    def _make(self, alias: str, duration: str) -> str:
        secret = f"sk-{secrets.token_urlsafe(16)}"
        body = {"key": secret, "key_alias": alias, "duration": duration, **SETTINGS}
        status, answer = self.proxy.ask("POST", "/key/generate", body)
        assert status == 200, answer
        return secret

    def run(self, url: str, connection: Json | None = None, **further: Any) -> list[Outcome] | LiteLLMError:
        """One run of ours."""
        options = {"timeout": TIMEOUT, "retries": 1, **(connection or {})}
        client = Client(Connection(url, self.proxy.master_key, **options))
        try:
            outcomes = reconcile(client, [self._wanted(alias, **further) for alias in self.aliases])
        except LiteLLMError as error:
            return error
        for outcome in outcomes:
            if outcome.secret:
                self.known[self._alias(outcome)].append(outcome.secret.value)
        return outcomes

    def _wanted(self, alias: str, **further: Any) -> Wanted:
        asked = wanted(alias, self.operation.name, **further)
        return replace(asked, alias=None, key_id=key_id(self.known[alias][0])) if self.operation.by_id else asked

    def _alias(self, outcome: Outcome) -> str:
        """Whose outcome it is, also where the key was named by its id."""
        if outcome.wanted.alias:
            return outcome.wanted.alias
        return next(alias for alias in self.aliases if key_id(self.known[alias][0]) == outcome.wanted.key_id)

    def rows(self) -> dict[str, list[Json]]:
        """What the proxy has, by alias."""
        question = f"/key/list?return_full_object=true&size=100&substring_matching=true&key_alias={quote(self.prefix)}"
        found: dict[str, list[Json]] = {alias: [] for alias in (self.bystander, *self.aliases)}
        for page in itertools.count(1):
            status, listing = self.proxy.ask("GET", f"{question}&sort_by=created_at&page={page}")
            assert status == 200, listing
            for row in listing["keys"]:
                found.setdefault(row["key_alias"], []).append(row)
            if page >= listing["total_pages"]:
                break
        return found

    def works(self, secret: str) -> bool:
        return self.proxy.ask("GET", "/v1/models", key=secret)[0] == 200

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def clean_up(self) -> None:
        tokens = [row["token"] for rows in self.rows().values() for row in rows]
        for start in range(0, len(tokens), 100):
            self.proxy.ask("POST", "/key/delete", {"keys": tokens[start : start + 100]})

    # The verdict

    def judge_troubled(self, told: list[Outcome] | LiteLLMError, says: str) -> None:
        """After the run in which something went wrong: whatever it says has to be true."""
        rows = self.rows()
        if isinstance(told, LiteLLMError):
            self._judge_message(str(told), says)
            for alias in self.aliases:
                self._judge_what_was(alias, str(told))
            return
        for outcome in told:
            alias = self._alias(outcome)
            tokens = [row["token"] for row in rows[alias]]
            if outcome.secret:
                if key_id(outcome.secret.value) not in tokens:
                    self.complain(f"{alias}: a secret was told that is not the key's")
                elif not self.works(outcome.secret.value):
                    self.complain(f"{alias}: a secret was told that does not work")
            if outcome.error:
                self._judge_message(outcome.error, says)
                self._judge_what_was(alias, outcome.error)
            else:
                self._judge_key(alias, rows, told=True)
                if (not self.operation.prepared or self.operation.name == "regenerate") and not outcome.secret:
                    self.complain(f"{alias}: no error, and no secret")

    def judge_clean(self, told: list[Outcome] | LiteLLMError, before: list[Outcome] | LiteLLMError) -> None:
        """After the clean run: all is as wanted, once, and for each key there is a secret that somebody knows."""
        if isinstance(told, LiteLLMError):
            self.complain(f"the clean run failed: {told}")
            return
        rows = self.rows()
        for outcome in told:
            alias = self._alias(outcome)
            if outcome.error:
                self.complain(f"the clean run failed: {outcome.error}")
            self._judge_key(alias, rows, told=False)
        if len(rows[self.bystander]) != 1:
            self.complain("a key of others is gone")
        left = sorted(set(rows) - {self.bystander, *self.aliases})
        if left:
            self.complain(f"left over: {', '.join(left)}")
        all_went_well = not isinstance(before, LiteLLMError) and not any(outcome.error for outcome in before)
        if all_went_well and self.operation.name != "regenerate" and any(outcome.changed for outcome in told):
            self.complain("the clean run still had something to do")

    def _judge_key(self, alias: str, rows: dict[str, list[Json]], *, told: bool) -> None:
        whose = f"{alias}{'' if told else ', after the clean run'}"
        if len(rows[alias]) != int(self.operation.present):
            self.complain(f"{whose}: {len(rows[alias])} keys")
            return
        if not self.operation.present:
            if any(map(self.works, self.known[alias])):
                self.complain(f"{whose}: the secret still works")
            return
        (row,) = rows[alias]
        wrong = {name: row[name] for name, value in self.operation.settings.items() if row[name] != value}
        if wrong:
            self.complain(f"{whose}: {wrong}")
        end = parse_instant(row["expires"]) if row["expires"] else None
        length = timedelta(days=self.operation.days)
        if not end or not self.begun - SECONDS <= end - length <= datetime.now(UTC) + SECONDS:
            self.complain(f"{whose}: expires at {end}")
        opening = [one for one in self.known[alias] if key_id(one) == row["token"]]
        if not opening:
            self.complain(f"{whose}: the secret is lost")
        elif not self.works(opening[0]):
            self.complain(f"{whose}: the secret does not work")

    def _judge_what_was(self, alias: str, message: str) -> None:
        """Whoever had a key before it was to be changed, or replaced, has one, or is told that it is lost."""
        if not (self.operation.prepared and self.operation.present) or any(map(self.works, self.known[alias])):
            return
        if not re.search(LOST, message):
            self.complain(f"{alias}: no secret that anybody knows works, and nobody is told: {message}")

    def _judge_message(self, message: str, says: str) -> None:
        if not re.search(says, message):
            self.complain(f"it says: {message}")
        if self.proxy.master_key in message or "<html" in message or len(message) > 800:
            self.complain("the message shows what it should not")


def recorded(proxy: Proxy, operation: Operation, many: bool) -> list[Asked]:
    """What is asked when all goes well, one after the other."""
    case = Case(proxy, operation, MANY if many else 1)
    with Relay(proxy.url) as relay:
        told = case.run(relay.url, {"concurrency": 1, "timeout": PATIENCE})
    assert isinstance(told, list), told
    assert [outcome.error for outcome in told] == [None] * len(told)
    case.clean_up()
    return relay.seen.asked


def is_command(request: str) -> bool:
    """Whether it is to change something."""
    return request.startswith("POST") and request not in ASKED_ONCE


def points(operation: Operation, asked: Sequence[Asked]) -> list[tuple[Asked, bool]]:
    """Where a fault is to strike: at the first and the last request of each kind, once or from then on.

    What lasts begins with the first command, or with the last question: where the very first question has no answer,
    nothing is begun.
    """
    found = []
    for kind in operation.struck or dict.fromkeys(one.request for one in asked):
        those = [one for one in asked if one.request == kind]
        found += [(one, False) for one in dict.fromkeys((those[0], those[-1]))]
        start = those[0] if is_command(kind) else those[-1]
        if start != asked[0]:
            found.append((start, True))
    return found


@dataclass(frozen=True)
class Kind:
    """A fault of the matrix.

    :ivar spoil: makes it, for a request that is the n-th of all, once or from then on.
    :ivar says: what a message has to say where the operation could not go on.
    :ivar heals: when it is no reason for a message, if it strikes once: always, at a command or after one, or only at a
        command.
    :ivar tls: it is about TLS.
    """

    name: str
    spoil: Spoil
    says: str
    heals: Literal["never", "command", "later", "always"] = "never"
    tls: bool = False


def run_cell(
    proxy: Proxy, operation: Operation, many: bool, kind: Kind, asked: Sequence[Asked], point: Asked, *,
    lasting: bool, certificates: Certificates, **connection: Any,
) -> list[str]:  # fmt: skip
    """The complaints about one cell.

    :param asked: what is asked when all goes well; the fault strikes at one of these.
    """
    number = asked.index(point)
    case = Case(proxy, operation, MANY if many else 1)
    spoilt = kind.spoil(point, number, lasting)
    line, trouble = (spoilt, None) if isinstance(spoilt, BadLine) else (None, spoilt)
    options: Json = {"concurrency": 1 if line else 4, **connection}
    if kind.tls:
        options["ca_path"] = str(certificates.ca_path)
    context = certificates.right if kind.tls else None
    with Relay(proxy.url, trouble=trouble, bad_line=line, context=context, timeout=TIMEOUT) as relay:
        first = case.run(relay.url, options)
    case.judge_troubled(first, kind.says)
    case.complaints += relay.seen.excess
    if not relay.seen.struck:
        case.complain("nothing went wrong")
    command = is_command(point.request)
    later = command or any(is_command(one.request) for one in asked[:number])
    if (
        not lasting
        and point.request not in ASKED_ONCE
        and {"never": False, "command": command, "later": later, "always": True}[kind.heals]
    ):
        errors = [str(first)] if isinstance(first, LiteLLMError) else [one.error for one in first if one.error]
        case.complaints += [f"it could have gone on: {error}" for error in errors]
    case.judge_clean(case.run(proxy.url, {"timeout": PATIENCE}), first)
    case.clean_up()
    return case.complaints
