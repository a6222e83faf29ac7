# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model of the proxy in tests/simulation behaves like the real proxy.

The same requests, one after the other, have the same responses and the same effects. So have two requests that overlap:
a lock in the database holds one of them between its check and its write.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.role_support import Database
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import PATIENCE
from ansible_collections.rhpds.litellm_virtual_keys.tests.simulation.proxy import (
    Pending,
    Request,
    World,
    begin,
    commit,
    hashed,
)

Json = dict[str, Any]

SEQUENCES, LENGTH = 8, 40
# The fields of a key that both have. The times are compared with a tolerance.
FIELDS = (
    *("token", "key_alias", "key_name", "models", "max_budget", "metadata", "blocked", "spend", "aliases"),
    *("tpm_limit", "rpm_limit", "max_parallel_requests", "allowed_routes", "permissions", "model_max_budget"),
    *("user_id", "team_id", "project_id", "budget_id", "budget_duration", "status"),
)
MARKER = "replaces_in_litellm_virtual_keys"


class Model:
    """The model, used like a proxy."""

    def __init__(self) -> None:
        self.world = World()

    def send(self, method: str, path: str, params: Json) -> tuple[int | None, Any]:
        world, result = begin(self.world, Request(method, path, json.dumps(params)))
        while isinstance(result, Pending):
            world, result = commit(world, result, "the test")
        self.world = world
        return result.status, json.loads(result.body)


@pytest.mark.parametrize("number", range(SEQUENCES))
def test_random_requests_have_the_same_responses_and_effects(proxy, number):
    seed = int(os.environ.get("MODEL_SEED") or random.SystemRandom().randrange(10**9))
    dice, prefix, model = random.Random(seed), f"model-{secrets.token_hex(4)}", Model()
    # Nothing else on the proxy has these names, so the listings of the two can be compared.
    aliases = [f"{prefix}-A", f"{prefix}-A.replacement", f"{prefix}-a", f"{prefix}-B"]
    keys = [f"sk-{secrets.token_hex(12)}" for _unused in range(4)]
    sent = []
    try:
        for _unused in range(LENGTH):
            method, path, params = random_request(dice, prefix, aliases, keys)
            sent.append((method, path, params))
            context = f"MODEL_SEED={seed}\n" + "\n".join(map(str, sent))
            expected = comparable(path, *model.send(method, path, params))
            assert comparable(path, *send(proxy, method, path, params)) == expected, context
            everything = ("GET", "/key/list", listing(prefix))
            assert comparable("/key/list", *send(proxy, *everything)) == comparable(
                "/key/list", *model.send(*everything)
            ), context
    finally:
        proxy.request("POST", "/key/delete", {"keys": keys})


def random_request(dice: random.Random, prefix: str, aliases: list[str], keys: list[str]) -> tuple[str, str, Json]:
    """Return a request that the engine may send."""
    key, alias = dice.choice(keys), dice.choice(aliases)
    name = dice.choice(["generate", "generate", "update", "update", "rename", "delete", "list", "list", "info"])
    if name == "generate":
        return "POST", "/key/generate", {"key": key, "key_alias": alias, **random_settings(dice, new=True)}
    if name == "update":
        return "POST", "/key/update", {"key": hashed(key), **random_settings(dice, new=False)}
    if name == "rename":
        metadata = dice.choice([{}, {MARKER: aliases[0]}])
        return (
            "POST",
            "/key/update",
            {"key": hashed(key), "key_alias": alias, "metadata": metadata, **dice.choice([{}, {"duration": "600s"}])},
        )
    if name == "delete":
        return "POST", "/key/delete", {"keys": [hashed(one) for one in dice.sample(keys, dice.choice([1, 1, 2]))]}
    if name == "info":
        return "GET", "/key/info", {"key": hashed(key)}
    query = dice.choice(
        [
            {**listing(alias), "substring_matching": "false"},
            {name: value for name, value in listing(alias).items() if name != "substring_matching"},
            listing(alias),
            listing(alias.upper()),
            {**listing(prefix), "size": "2", "page": "1"},
            {**listing(prefix), "size": "2", "page": "2"},
            {**listing(prefix), "substring_matching": "neither"},
        ]
    )
    return "GET", "/key/list", query


def random_settings(dice: random.Random, *, new: bool) -> Json:
    settings: Json = {
        "models": dice.choice([[], ["a-model"], ["a-model", "another"]]),
        "max_budget": dice.choice([None, 1.0, 5.0]),
        "metadata": dice.choice([{}, {"guid": "abc"}, {"guid": "abc", MARKER: "an-alias"}]),
        "blocked": dice.choice([True, False]),
        "tpm_limit": dice.choice([None, 100]),
        "duration": dice.choice(["600s", "7200s"] if new else ["600s", "7200s", None]),
    }
    return {name: value for name, value in settings.items() if dice.random() < 0.5}


def listing(part: str) -> Json:
    return {
        "key_alias": part,
        "substring_matching": "true",
        "size": "100",
        "page": "1",
        "return_full_object": "true",
    }


def send(proxy: Any, method: str, path: str, params: Json) -> tuple[int, Any]:
    if method == "GET":
        status, body = proxy.request("GET", f"{path}?{urlencode(params)}")
    else:
        status, body = proxy.request(method, path, params)
    return status, body


def comparable(path: str, status: int | None, body: Any) -> Any:
    """Return what the two have in common."""
    if status != 200:
        return status, "already exists" in str(body)
    if path == "/key/list":
        counts = [body[name] for name in ("total_count", "total_pages", "current_page")]
        return status, counts, [row_of(row) for row in body["keys"]]
    if path == "/key/info":
        return status, body["info"]["status"], {} if body["info"]["status"] == "deleted" else row_of(body["info"])
    if path == "/key/delete":
        return status, body["deleted_keys"]
    return status, None


def row_of(row: Json) -> Json:
    shown = {name: row[name] for name in FIELDS if name in row}
    return {**shown, "expires": lifetime(row)}


def lifetime(row: Json) -> int | None:
    """Return about how long a key lives, in minutes: the clocks of the two differ."""
    if row["expires"] is None:
        return None
    created = datetime.fromisoformat(row["created_at"])
    return round((datetime.fromisoformat(row["expires"]) - created) / timedelta(minutes=5))


# What another request does while the first one waits: in SQL for the real proxy, and as a request for the model.
RENAME = (
    "UPDATE {table} SET key_alias = '{alias}.replacement', "
    """metadata = '{{"marker": "{alias}"}}' WHERE token = '{token}'"""
)
DELETE = "DELETE FROM {table} WHERE token = '{token}'"
# The number of sessions that wait for one session, which holds the lock.
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE {holder} = ANY(pg_blocking_pids(pid))"


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        # The update writes back the metadata that it has read, so the marker of the rename is lost.
        ("/key/update", RENAME),
        # An update of a key that was deleted meanwhile reports success.
        ("/key/update", DELETE),
        ("/key/delete", DELETE),
    ],
    ids=["update and rename", "update and deletion", "two deletions"],
)
def test_overlapping_requests_have_the_same_effects(proxy, path, statement):
    database, model, table = Database.from_environment(), Model(), '"LiteLLM_VerificationToken"'
    alias, secret = f"model-{secrets.token_hex(4)}", f"sk-{secrets.token_hex(12)}"
    token = hashed(secret)
    creation = {"key": secret, "key_alias": alias, "metadata": {"guid": "abc"}, "duration": "600s"}
    params = {"key": token, "max_budget": 3.0} if path == "/key/update" else {"keys": [token]}
    second = {"key": token, "key_alias": f"{alias}.replacement", "metadata": {"marker": alias}}

    model.send("POST", "/key/generate", creation)
    world, pending = begin(model.world, Request("POST", path, json.dumps(params)))
    assert isinstance(pending, Pending)
    model.world = world
    other = ("/key/update", second) if statement == RENAME else ("/key/delete", {"keys": [token]})
    assert model.send("POST", *other)[0] == 200
    model.world, expected = commit(model.world, pending, "the test")
    assert not isinstance(expected, Pending)

    assert send(proxy, "POST", "/key/generate", creation)[0] == 200
    command = [str(database.programs / "psql"), "-X", "-q", "-A", "-t", "-d", database.url]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as session,
        ThreadPoolExecutor() as executor,
    ):
        assert session.stdin
        assert session.stdout
        session.stdin.write(f"BEGIN; SELECT pg_backend_pid() FROM {table} WHERE token = '{token}' FOR UPDATE;\n")
        session.stdin.flush()
        waiting = WAITING.format(holder=int(session.stdout.readline()))
        response = executor.submit(send, proxy, "POST", path, params)
        deadline = time.monotonic() + PATIENCE
        while database.query(waiting) == "0" and time.monotonic() < deadline:
            time.sleep(0.1)
        session.stdin.write(statement.format(table=table, alias=alias, token=token) + "; COMMIT;\n")
        session.stdin.close()
        status, _body = response.result()
    assert status == expected.status
    everything = ("GET", "/key/list", listing(alias))
    assert comparable("/key/list", *send(proxy, *everything)) == comparable("/key/list", *model.send(*everything))
    if statement == RENAME:
        assert [row["metadata"] for row in proxy.rows(f"{alias}.replacement")] == [{"guid": "abc"}]
    proxy.request("POST", "/key/delete", {"keys": [token]})


def test_requests_about_teams_have_the_same_responses_and_effects(proxy):
    team, other = (f"model-{secrets.token_hex(4)}" for _unused in range(2))
    alias, model = f"{team}-key", Model()
    fields = {"team_id": team, "max_budget": 5.0, "metadata": {"guid": "model"}}
    requests: list[tuple[str, Json]] = [
        ("/team/update", fields),
        ("/team/delete", {"team_ids": [team]}),
        ("/team/new", fields),
        ("/team/new", fields),
        ("/team/update", {"team_id": team, "max_budget": 7.0, "budget_duration": "7d"}),
        ("/key/generate", {"key": f"sk-{secrets.token_hex(12)}", "key_alias": alias, "team_id": team}),
        ("/key/generate", {"key": f"sk-{secrets.token_hex(12)}", "key_alias": f"{alias}2", "team_id": other}),
        ("/team/delete", {"team_ids": [team]}),
    ]
    for path, body in requests:
        expected = model.send("POST", path, body)[0]
        assert send(proxy, "POST", path, body)[0] == expected, path
        for read, query in (
            ("/v2/team/list", {"team_id": team}),
            ("/key/list", {"team_id": team, "return_full_object": "true"}),
            ("/key/list", {"team_id": other, "return_full_object": "true"}),
        ):
            found = [send_to("GET", read, query)[1] for send_to in (model.send, lambda *one: send(proxy, *one))]
            shown = [
                [
                    [row.get(name) for name in ("team_id", "max_budget", "budget_duration", "metadata", "key_alias")]
                    for row in one.get("teams", one.get("keys"))
                ]
                for one in found
            ]
            assert shown[0] == shown[1], (path, read)
    proxy.delete(f"{alias}2")
