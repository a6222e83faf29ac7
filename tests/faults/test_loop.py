# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys are provisioned and destroyed twenty times, while anything may go wrong with any request."""

from __future__ import annotations

import os
import random

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults import relay
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.relay import Asked, Exchange, Relay, Trouble

ROUNDS = 20
# A thousand in all; FAULTS_KEYS=1000 makes it a thousand in each round, which takes half an hour.
KEYS = int(os.environ.get("FAULTS_KEYS", "50"))
SHARE = 0.1 if KEYS < 100 else 0.02  # of the requests; those that take long are fewer
FAULTS = [
    *(relay.lost, relay.half, relay.answered(b""), relay.refusal(503, "busy"), relay.refusal(429, "slow down")) * 3,
    relay.refusal(500, "Internal Server Error."),
    relay.silent,
    relay.drip,
    relay.flood,
]
TROUBLED: Json = {"timeout": 3.0, "retries": 3, "concurrency": 8}
CALM: Json = {"timeout": 60.0}


class Sometimes(Trouble):
    """Anything may befall any request."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(self._any_fault, Asked("", 0))
        self._chance = chance

    def _any_fault(self, exchange: Exchange) -> None:
        self._chance.choice(FAULTS)(exchange)

    def befalls(self, asked: Asked) -> bool:
        return self._chance.random() < SHARE


def troubled(case: Case, chance: random.Random) -> tuple[list[Outcome] | LiteLLMError, int]:
    with Relay(case.proxy.url, trouble=Sometimes(chance), timeout=float(TROUBLED["timeout"])) as spoilt:
        told = case.run(spoilt.url, TROUBLED)
    assert spoilt.seen.excess == []
    return told, spoilt.seen.struck


def test_nothing_is_lost_and_nothing_is_left(proxy: Proxy, capsys):
    seed = int(os.environ.get("FAULTS_SEED", random.randrange(10**6)))
    chance, struck, healed = random.Random(seed), 0, 0
    for number in range(ROUNDS):
        where = f"round {number} of FAULTS_SEED={seed}"
        case = Case(proxy, OPERATIONS["provision"], KEYS)
        told, some = troubled(case, chance)
        struck += some
        errors = isinstance(told, LiteLLMError) or any(outcome.error for outcome in told)
        healed += not errors
        case.judge_troubled(told, "")
        case.judge_clean(case.run(proxy.url, CALM), told)
        assert case.complaints == [], where

        gone = Case(proxy, OPERATIONS["destroy"], 0)
        gone.prefix, gone.aliases, gone.bystander, gone.known = case.prefix, case.aliases, case.bystander, case.known
        told, some = troubled(gone, chance)
        struck += some
        gone.judge_troubled(told, "")
        gone.judge_clean(gone.run(proxy.url, CALM), told)
        assert gone.complaints == [], where
        assert sum(map(len, gone.rows().values())) == 1, where  # the bystander
        gone.clean_up()
    with capsys.disabled():
        line = f"{ROUNDS} rounds of {KEYS} keys, {struck} faults, FAULTS_SEED={seed}: {healed} rounds needed no re-run"
        print(f"\n{line}")  # noqa: T201
    assert struck > ROUNDS
    assert healed > 0
