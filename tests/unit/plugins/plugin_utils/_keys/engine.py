# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the engine against an in-memory LiteLLM, for the tests of this package."""

from __future__ import annotations

from datetime import timedelta

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import given
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

ALIAS = "virtkey-abc"
MINE = given("sk-the-secret-that-i-chose")
OTHER = given("sk-the-secret-of-another")
SEED = "a seed of more than 32 characters, as required"
DAY = timedelta(days=1)
SECONDS = timedelta(seconds=60)  # the clocks differ a little, and the machine may be busy
GENERATE, UPDATE, DELETE = "POST /key/generate", "POST /key/update", "POST /key/delete"
LIST, MODELS = "GET /key/list", "GET /v1/models"


def run(proxy, *desired, retries=1, timeout=30.0, concurrency=8, **options):
    """Run the engine once, with a new client, as a new task does."""
    proxy.requests.clear()
    client = Client(Connection(proxy.url, MASTER_KEY, retries=retries, timeout=timeout, concurrency=concurrency))
    outcomes = reconcile(client, desired, **options)
    assert client.api_calls == len(proxy.requests)
    return outcomes


def run_one(proxy, alias=ALIAS, *, options=None, **desired) -> Outcome:
    outcome: Outcome
    (outcome,) = run(proxy, DesiredKey(alias, **desired), **(options or {}))
    return outcome


def bodies(proxy, request):
    """Return the bodies of all requests of a kind."""
    return [params for sent, params in proxy.requests if sent == request]


def lifetime_of(duration, **options):
    return Lifetime(parse(duration), **options)


def instant(row, name="expires"):
    return parse_instant(row[name])


def succeeded(outcome: Outcome, operation):
    """Return the outcome, after a check that it has no error."""
    assert (outcome.error, outcome.operation) == (None, operation)
    return outcome


def is_secret_of_its_key(proxy, outcome):
    """Return whether the secret of an outcome is that of the only key with its alias."""
    assert proxy.aliases().count(outcome.desired.alias) == 1
    return outcome.secret is not None and outcome.secret.key_id == proxy.row(outcome.desired.alias)["token"]


PROCESSED = [
    Fault("close", commit=True),
    Fault("stall", commit=True),
    Fault("half"),
    *(Fault(status=status, commit=True) for status in (500, 502, 503, 504)),
]
NOT_PROCESSED = [
    Fault("close"),
    Fault("stall"),
    Fault(status=429, headers={"Retry-After": "0"}),
    *(Fault(status=status) for status in (502, 503, 504)),
    Fault(status=503, headers={"Retry-After": "0"}),
]


def fault_name(fault):
    return f"{fault.how}-{fault.status}-{'processed' if fault.commit else 'ignored'}"


def impatient(fault):
    """Return options with a timeout that is short if a response to this fault does not arrive, and long otherwise."""
    return {"timeout": 0.25 if fault.how == "stall" else 30.0}


def replace_key(proxy, **desired):
    return run_one(proxy, **{"regenerate": "always", **desired})
