# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provision and destroy keys in twenty rounds, with random faults at random requests."""

from __future__ import annotations

import os
import random

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Exchange, Relay, Request, RequestFault

ROUNDS = 20
# Keys per round, a thousand in total. With FAULTS_KEYS=1000 the test takes half an hour.
KEYS = int(os.environ.get("FAULTS_KEYS", "50"))
SHARE = (
    0.1 if KEYS < 100 else 0.02
)  # share of the requests that fail; smaller for many keys, because some faults take long
FAULTS = [
    *(
        relay.drop_response,
        relay.truncate_response,
        relay.replace_response(b""),
        relay.error_response(503, "busy"),
        relay.error_response(429, "slow down"),
    )
    * 3,
    relay.error_response(500, "Internal Server Error."),
    relay.never_respond,
    relay.trickle_response,
    relay.flood_response,
]
FAULTY: Json = {"timeout": 3.0, "retries": 3, "concurrency": 8}
CLEAN: Json = {"timeout": 60.0}


class RandomFaults(RequestFault):
    """Inject a random fault into a random share of the requests."""

    def __init__(self, generator: random.Random) -> None:
        super().__init__(self._any_fault, Request("", 0))
        self._chance = generator

    def _any_fault(self, exchange: Exchange) -> None:
        self._chance.choice(FAULTS)(exchange)

    def applies_to(self, request: Request) -> bool:
        return self._chance.random() < SHARE


def run_with_faults(case: Case, generator: random.Random) -> tuple[list[Outcome] | LiteLLMError, int]:
    with Relay(case.proxy.url, request_fault=RandomFaults(generator), timeout=float(FAULTY["timeout"])) as relay:
        result = case.run(relay.url, FAULTY)
    assert relay.log.violations == []
    return result, relay.log.injected


def test_no_key_is_lost_or_left_over(proxy: Proxy, capsys):
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))
    generator, injected, recovered = random.Random(seed), 0, 0
    for number in range(ROUNDS):
        where = f"round {number} of FAULTS_SEED={seed}"
        case = Case(proxy, OPERATIONS["provision"], KEYS)
        result, count = run_with_faults(case, generator)
        injected += count
        errors = isinstance(result, LiteLLMError) or any(outcome.error for outcome in result)
        recovered += not errors
        case.check_faulty_run(result, "")
        case.check_clean_run(case.run(proxy.url, CLEAN), result)
        assert case.violations == [], where

        destroyed = Case(proxy, OPERATIONS["destroy"], 0)
        destroyed.prefix, destroyed.aliases, destroyed.unrelated_alias, destroyed.known_secrets = (
            case.prefix,
            case.aliases,
            case.unrelated_alias,
            case.known_secrets,
        )
        result, count = run_with_faults(destroyed, generator)
        injected += count
        destroyed.check_faulty_run(result, "")
        destroyed.check_clean_run(destroyed.run(proxy.url, CLEAN), result)
        assert destroyed.violations == [], where
        assert sum(map(len, destroyed.rows().values())) == 1, where  # the unrelated key
        destroyed.clean_up()
    with capsys.disabled():
        summary = f"{ROUNDS} rounds of {KEYS} keys, {injected} faults, {recovered} rounds needed no second run"
        print(f"\n{summary} (FAULTS_SEED={seed})")  # noqa: T201
    assert injected > ROUNDS
    assert recovered > 0
