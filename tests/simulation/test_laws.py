# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each law can be broken: for each, an engine that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile as engine
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import REPLACES
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation import simulate
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.histories import Scenario, explore
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.laws import LAWS, judge
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.operations import (
    MODELS,
    previous_alias,
    successor_alias,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import hashed

ALIAS = "virtkey-abc"
NEW = Secret("sk-random-secret-A-1", "generated")  # what the simulation generates for the first controller
RESTRICTED: dict[str, Any] = {"models": MODELS, "max_budget": 1.0, "duration": "600s"}


class Engine:
    """An engine that reads the keys of an alias, and then does something wrong."""

    def __init__(self, wrong: Callable[[Engine], Outcome | None]) -> None:
        self._wrong = wrong

    def __call__(self, client: Any, desired: Any, **options: Any) -> list[Outcome]:
        self.client, self.desired = client, desired[0]
        self.keys = self.list(ALIAS)
        return [self._wrong(self) or self.outcome("unchanged")]

    def list(self, alias: str) -> list[ObservedKey]:
        listing = self.client.get("/key/list", {"key_alias": alias, "size": "100", "return_full_object": "true"})
        return [ObservedKey.from_row(row) for row in listing["keys"]]

    def outcome(self, operation: Any, **fields: Any) -> Outcome:
        before = self.keys[0] if self.keys else None
        return Outcome(self.desired, operation, before, before, **fields)

    def create(self, secret: Secret = NEW, alias: str = ALIAS, **settings: Any) -> None:
        self.client.post("/key/generate", {"key": secret.value, "key_alias": alias, **settings})

    def delete(self, *key_ids: str) -> None:
        self.client.post("/key/delete", {"keys": list(key_ids)})

    def rename(self) -> None:
        self.client.post("/key/update", {"key": self.keys[0].key_id, "key_alias": successor_alias(ALIAS)})


def delete_a_key_of_another_environment(run: Engine) -> None:
    run.delete(hashed("sk-secret-of-virtkey-abc2"))


def delete_the_key(run: Engine) -> None:
    run.delete(run.keys[0].key_id)


def replace_without_restrictions(run: Engine) -> None:
    run.rename()
    run.create()


def rotate_without_an_end(run: Engine) -> Outcome:
    run.create(**RESTRICTED, alias=successor_alias(ALIAS))
    run.client.post("/key/update", {"key": run.keys[0].key_id, "key_alias": previous_alias(ALIAS)})
    run.client.post("/key/update", {"key": NEW.key_id, "key_alias": ALIAS})
    return run.outcome("regenerated", secret=NEW)


def rotate_a_key_that_was_rotated(run: Engine) -> Outcome:
    run.client.post("/key/update", {"key": run.keys[0].key_id, "key_alias": previous_alias(ALIAS), "duration": "600s"})
    run.create(**RESTRICTED, metadata={REPLACES: "0" * 64})
    return run.outcome("regenerated", secret=NEW)


def return_a_secret_that_does_not_work(run: Engine) -> Outcome:
    return run.outcome("unchanged", secret=NEW)


def create_and_forget_the_secret(run: Engine) -> None:
    run.create(**RESTRICTED)


def create_nothing(run: Engine) -> Outcome:
    return run.outcome("created")


def keep_the_old_secret(run: Engine) -> Outcome:
    return run.outcome("regenerated", secret=NEW)


def change_nothing(run: Engine) -> None:
    pass


def undo_changes(run: Engine) -> None:
    for key in run.keys:
        run.client.post("/key/update", {"key": key.key_id, "max_budget": 1.0})


def fail_after_a_change(run: Engine) -> None:
    run.client.post("/key/update", {"key": run.keys[0].key_id, "max_budget": 1.0})
    raise LiteLLMError("no response", transient=True)


def send_requests_for_ever(run: Engine) -> None:
    while True:
        run.list(ALIAS)


def delete_all_keys_but_report_their_secrets(run: Engine) -> Outcome:
    if run.keys:
        run.delete(*(key.key_id for key in run.keys))
        return run.outcome("unchanged")
    run.create(**RESTRICTED)
    return run.outcome("created", secret=NEW)


@pytest.fixture(autouse=True)
def _no_controller_is_kept():
    simulate.forget()
    yield
    simulate.forget()


@pytest.mark.parametrize(
    ("law", "state", "operation", "wrong"),
    [
        ("foreign keys", "nothing", "provision", delete_a_key_of_another_environment),
        ("always a key", "a key", "regenerate", delete_the_key),
        ("restrictions", "a key", "regenerate", replace_without_restrictions),
        ("secrets work", "a key", "provision", return_a_secret_that_does_not_work),
        ("secrets kept", "nothing", "provision", create_and_forget_the_secret),
        ("overlap", "a key", "rotate", delete_the_key),
        ("overlap ends", "a key", "rotate", rotate_without_an_end),
        ("rotated once", "a key", "rotate", rotate_a_key_that_was_rotated),
        ("a key stays", "nothing", "provision", create_nothing),
        ("replaced", "a key", "regenerate", keep_the_old_secret),
        ("recovered", "a key", "recover", change_nothing),
        ("destroyed", "a key", "destroy", change_nothing),
        ("not lost", "a key", "budget", lambda run: run.outcome("updated")),
        ("ends", "a key", "budget", fail_after_a_change),
        ("ends", "a key", "budget", send_requests_for_ever),
        ("one key", "two keys", "provision", change_nothing),
        ("next run", "a key", "provision", lambda run: run.outcome("unchanged", error="Run again")),
        ("finished", "old key deleted", "provision", change_nothing),
        ("survives", "nothing", "provision", delete_all_keys_but_report_their_secrets),
    ],
)
def test_an_engine_that_breaks_a_law_is_found(monkeypatch, law, state, operation, wrong):
    monkeypatch.setattr(engine, "reconcile", Engine(wrong))
    assert law in explore(Scenario(state, (operation,)), judge).violations


def test_every_law_is_tested():
    parameters = test_an_engine_that_breaks_a_law_is_found.pytestmark[0].args[1]
    assert {law for law, *_rest in parameters} == set(LAWS)
