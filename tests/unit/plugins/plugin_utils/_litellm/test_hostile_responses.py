# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a proxy responds, the outcome is a result or an error message: no other exception, no endless loop."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import coerce_key_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.members import discover_members
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile as reconcile_module
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    Lifetime,
    Snapshot,
    lifetime_start,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.plan import plan
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import (
    served_models,
    team_exists,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    describe_key,
    difference,
    result_entry,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import LIFETIME_START
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.steps import Delete
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

Json = dict[str, Any]

MASTER_KEY = "sk-the-master-key-of-nobody"
ALIAS = "virtkey-a"
TOKEN = hashlib.sha256(b"sk-the-secret-of-a-key").hexdigest()
ROW: Json = {
    "token": TOKEN,
    "key_name": "sk-...-key",
    "key_alias": ALIAS,
    "spend": 0.5,
    "expires": "2030-11-30T08:00:00Z",
    "models": ["gpt-4o"],
    "aliases": {},
    "user_id": "someone@example.com",
    "team_id": None,
    "permissions": {},
    "max_parallel_requests": None,
    "metadata": {"guid": "a", "tags": ["lab"]},
    "blocked": None,
    "tpm_limit": 100,
    "max_budget": 5.0,
    "budget_duration": "30d",
    "allowed_routes": [],
    "model_max_budget": {},
    "org_id": None,
    "object_permission": None,
    "litellm_budget_table": {"soft_budget": 3.0},
    "created_at": "2026-11-23T08:00:00Z",
}
LISTING: Json = {"keys": [ROW], "total_count": 1, "current_page": 1, "total_pages": 1}
CORRECT: Json = {
    "/key/list": LISTING,
    "/key/info": {"key": TOKEN, "info": {name: value for name, value in ROW.items() if name != "token"}},
    "/v1/models": {"data": [{"id": "gpt-4o"}], "object": "list"},
    "/team/info": {"team_id": "a-team", "team_info": {}, "keys": []},
    "/budget/info": [{"budget_id": "a-budget"}],
    "/key/generate": {"key": "sk-the-secret-of-a-key", "token": TOKEN},
    "/key/update": {"key": TOKEN},
    "/key/delete": {"deleted_keys": [TOKEN]},
}


class FakeClient(Client):
    """A client whose responses come from a function."""

    def __init__(self, response: Callable[[str, Json], Any]) -> None:
        super().__init__(Connection("http://127.0.0.1:4000", MASTER_KEY, retries=0))
        self._respond = response

    def _request(self, method: str, path: str, retry: Any, *, secret: str = "", **request: Any) -> Any:
        self.api_calls += 1
        assert self.api_calls < 2000, "endless loop"
        # As it is parsed from a real response.
        return json.loads(json.dumps(self._respond(path, request.get("fields") or {})))


@pytest.fixture(autouse=True, scope="module")
def _no_pauses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reconcile_module, "_pause", lambda attempt: None)
        yield


WEEK = Lifetime(parse("7d"))
SETTINGS = {"models": ["gpt-4o"], "metadata": {"guid": "a"}, "tags": ["lab"], "max_budget": 1.0, "soft_budget": 1.0}
OPERATIONS: dict[str, DesiredKey] = {
    "provision": DesiredKey(ALIAS, settings={**SETTINGS, "object_permission": {}, "team_id": "a-team"}, lifetime=WEEK),
    "other settings": DesiredKey(
        ALIAS, settings={"budget_id": "a-budget", "allowed_routes": [], "some_field": {"a": ["b"]}}
    ),
    "month": DesiredKey(ALIAS, lifetime=Lifetime(parse("1mo"), shorten=False)),
    "replace": DesiredKey(ALIAS, regenerate="always"),
    "destroy": DesiredKey(ALIAS, present=False),
    "by id": DesiredKey(None, key_id=TOKEN, settings={"blocked": True}),
}


def run(client: Client, desired: DesiredKey, *, check_mode: bool = False) -> None:
    """Make a key as desired, and use the outcome as the action does."""
    try:
        outcomes = reconcile(client, [desired], check_mode=check_mode)
    except LiteLLMError as error:
        check_message(str(error))
        return
    for outcome in outcomes:
        json.dumps([result_entry(outcome), difference(outcome)])
        check_message(outcome.error or "no error")


def check_message(message: str) -> None:
    assert "bug in this collection" not in message
    assert len(message) < 1500
    assert message.isprintable(), message


# NaN and infinity are included: Python reads them from JSON.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.sampled_from([10**30, 10**400, 10**4200, 0, -1, 1e308, float("inf"), float("nan")]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            "\ud800",
            "\x1b]0;x\x07",
            "{{ 7 * 7 }}",
            "x" * 3000,
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-12:00",
            "9999-12-31",
            "sk-",
        ]
    ),
)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


def paths_in(value: Any) -> list[tuple[str | int, ...]]:
    """Return the paths to a value and to everything inside it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((name, *rest) for name, member in members for rest in paths_in(member))]


def replaced(value: Any, path_in_value: tuple[str | int, ...], new_value: Any) -> Any:
    """Return a copy of a value with another value at this path."""
    if not path_in_value:
        return new_value
    inner = copy.copy(value)
    inner[path_in_value[0]] = replaced(value[path_in_value[0]], path_in_value[1:], new_value)
    return inner


@st.composite
def almost_correct(draw: st.DrawFn) -> Json:
    """Draw responses of which some have unexpected values in some places."""
    responses = dict(CORRECT)
    for path in draw(st.lists(st.sampled_from(sorted(CORRECT)), min_size=1, max_size=3)):
        response = responses[path]
        for path_in_value in draw(st.lists(st.sampled_from(paths_in(response)), min_size=1, max_size=2)):
            if path_in_value in paths_in(response):
                response = replaced(response, path_in_value, draw(ANY))
        responses[path] = response
    return responses


@pytest.mark.parametrize("operation", OPERATIONS)
@given(responses=almost_correct(), check_mode=st.booleans())
@settings(max_examples=60)
def test_almost_correct_responses(operation: str, responses: Json, check_mode: bool) -> None:
    run(FakeClient(lambda path, query: responses[path]), OPERATIONS[operation], check_mode=check_mode)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(responses=st.lists(ANY, min_size=1, max_size=5))
@settings(max_examples=25)
def test_any_response(operation: str, responses: list[Any]) -> None:
    in_turn = itertools.cycle(responses)
    run(FakeClient(lambda path, query: next(in_turn)), OPERATIONS[operation])


@pytest.mark.parametrize("field", sorted(ROW))
@pytest.mark.parametrize(
    "value",
    [None, True, -1, 1e400, 10**400, 10**4200, "text", "\ud800", ["a", {}], {"a": []}, [[]], {"tags": 1}],
    ids=lambda value: repr(value)[:20],
)
def test_any_value_in_a_field_of_a_row(field: str, value: Any) -> None:
    row = {**ROW, field: value}
    responses = {**CORRECT, "/key/list": {**LISTING, "keys": [row]}, "/key/info": {"key": TOKEN, "info": row}}
    for operation in OPERATIONS.values():
        run(FakeClient(lambda path, query: responses[path]), operation)


@given(responses=almost_correct())
@settings(max_examples=100)
def test_functions_that_only_read(responses: Json) -> None:
    client = FakeClient(lambda path, query: responses[path])
    observer = Observer(client)
    functions: list[Callable[[], Any]] = [
        lambda: [describe_key(key) for key in observer.find_by_prefix("")],
        lambda: discover_members("a", "virtkey", [], observer.find_by_prefix("virtkey")),
        lambda: observer.find_by_alias(["virtkey-a", "virtkey-b", "virtkey-c"]),
        lambda: [describe_key(key) for key in observer.find_by_id(TOKEN)],
        lambda: served_models(client),
        lambda: team_exists(client, "a-team"),
    ]
    for function in functions:
        try:
            json.dumps(function(), default=str)
        except LiteLLMError as error:
            check_message(str(error))


# Single cases


def listing(**fields: Any) -> Callable[[str, Json], Any]:
    return lambda path, query: {**LISTING, **fields} if path == "/key/list" else CORRECT[path]


def nested(levels: int) -> Json:
    """Return dictionaries that are nested so deep."""
    value: Json = {}
    for _level in range(levels - 1):
        value = {"a": value}
    return value


TOO_MANY = "returned more than 10000 pages of keys, which is more than this collection reads"


@pytest.mark.parametrize(
    ("fields", "expected", "calls"),
    [
        ({"total_pages": 10**9, "total_count": 10**11}, "returned an invalid number of keys", 1),
        ({"total_pages": 999_999, "total_count": 10}, TOO_MANY, 1),
        ({"total_pages": -1}, "returned an invalid number of keys", 1),
        ({"total_pages": "many"}, "returned an invalid number of keys", 1),
        ({"total_pages": 500, "total_count": 500, "keys": []}, None, 1),
        ({"total_pages": 3, "total_count": 300, "keys": [ROW] * 100}, "Cannot list the keys of", 15),
        ({"keys": None}, "returned no list of keys", 1),
        ({"keys": [{**ROW, "token": 1}]}, "returned no list of keys", 1),
        ({"keys": [{**ROW, "key_alias": [ALIAS]}]}, "returned no list of keys", 1),
    ],
)
def test_an_invalid_listing(fields: Json, expected: str | None, calls: int) -> None:
    client = FakeClient(listing(**fields))
    problem = None
    try:
        Observer(client).find_by_prefix("")
    except LiteLLMError as error:
        problem = str(error)
    assert expected in problem if expected and problem else expected == problem
    assert client.api_calls == calls


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"expires": "soon"}, "unexpected data for key virtkey-a: expires: 'soon' is not"),
        ({"created_at": "9999-01-01"}, "created_at: the year 9999 is out of range"),
        ({"spend": "much"}, "unexpected data for key virtkey-a: spend is str"),
        ({"metadata": "text"}, "metadata is str"),
        ({"models": ["gpt-4o", None]}, "models is list"),
        ({"tpm_limit": 2**63 - 1}, "tpm_limit is 9223372036854775807"),
        ({"max_budget": 1e300}, "max_budget is 1e+300"),
        ({"spend": float("nan")}, "spend is nan"),
        ({"metadata": nested(41)}, "metadata has more than 40 levels"),
        ({"a_new_field": nested(90)}, "a_new_field has more than 40 levels"),
    ],
)
def test_an_invalid_row_is_read_as_far_as_possible(fields: Json, problem: str) -> None:
    """It cannot be changed, but it can be deleted, and it does not concern the keys of others."""
    client = FakeClient(listing(keys=[{**ROW, **fields}, {**ROW, "token": "b" * 64, "key_alias": "virtkey-b"}]))
    odd, other = sorted(Observer(client).find_by_prefix(""), key=lambda key: str(key.alias))
    assert problem in str(odd.problem)
    assert other.problem is None
    assert plan(DesiredKey(ALIAS), Snapshot((odd,), datetime.now(UTC))).problem == odd.problem
    assert plan(DesiredKey(ALIAS, present=False), Snapshot((odd,), datetime.now(UTC))).step == Delete((odd.key_id,))


def test_an_endless_listing_ends() -> None:
    """Each page is full of keys that no other page contains."""
    numbers = itertools.count()

    def page(path: str, query: Json) -> Json:
        rows = [{**ROW, "token": f"{next(numbers):064x}"} for _row in range(100)]
        return {"keys": rows, "total_count": 10**6, "total_pages": 20}

    client = FakeClient(page)
    with pytest.raises(LiteLLMError, match="Cannot list the keys of"):
        Observer(client).find_by_prefix("")
    assert client.api_calls <= 5 * 20


@pytest.mark.parametrize(
    "secret", [None, 1, "", "sk-", "sk-with a space in it", "no-prefix-but-long-enough", "sk-\u00e9" * 9]
)
def test_a_secret_that_the_proxy_generates_must_be_valid(secret: Any) -> None:
    """The key exists then, and nobody knows its secret."""
    created: list[Json] = []

    def response(path: str, query: Json) -> Any:
        if path == "/key/generate":
            created.append(ROW)
            return {"key": secret}
        return {**LISTING, "keys": created}

    class WithoutCustomSecrets(FakeClient):
        def post(self, path: str, body: Json) -> Any:
            if "key" in body and path == "/key/generate":
                raise LiteLLMError("Custom API key values are disabled", transient=False, status=403)
            return super().post(path, body)

    (outcome,) = reconcile(WithoutCustomSecrets(response), [DesiredKey(ALIAS)])
    assert outcome.secret is None
    assert "was created, but its secret was lost with the response, because the proxy generates secrets itself" in str(
        outcome.error
    )


def test_unexpected_values_in_metadata_are_ignored() -> None:
    """LiteLLM stores some settings there, and any client can write such entries."""
    row = {**ROW, "metadata": {"tags": "one", "guardrails": [{}], "model_tpm_limit": 5}}
    (key,) = Observer(FakeClient(listing(keys=[row]))).find_by_prefix("")
    assert [key.value(name) for name in ("tags", "guardrails", "model_tpm_limit")] == [None] * 3
    assert key.value("metadata") == row["metadata"]


@pytest.mark.parametrize(
    "value", ["9999-12-31", "0001-01-01T00:00:00+14:00", "2015-12-31", "soon", "", 5, None, [], {}], ids=repr
)
def test_an_invalid_start_of_the_lifetime_in_metadata_is_ignored(value: Any) -> None:
    row = {**ROW, "metadata": {LIFETIME_START: value}}
    for operation in OPERATIONS.values():
        run(FakeClient(listing(keys=[row])), operation)
    (key,) = Observer(FakeClient(listing(keys=[row]))).find_by_prefix("")
    assert lifetime_start(key) == key.created_at


def test_a_very_long_name_is_shortened() -> None:
    row = {**ROW, "key_name": "x" * 10**6, "token": "f" * 64}
    client = FakeClient(listing(keys=[row]))
    (outcome,) = reconcile(client, [DesiredKey(ALIAS, secret=Secret("sk-another-secret", "given"))])
    assert outcome.error
    assert len(outcome.error) < 500


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("back\x08\x08\x08\x08", r"back\x08\x08\x08\x08"),
        ("safe\u202eefasnu", r"safe\u202eefasnu"),
        ("no\u200bthing", r"no\u200bthing"),
        ("\ud800", r"\ud800"),
        ("on\r\nlines", "on lines"),
        ("{{ 7 * 7 }} {% raw %}", "{{ 7 * 7 }} {% raw %}"),
        ("%s %(x)s {0}", "%s %(x)s {0}"),
        ("naïve 日本語 \N{ROCKET}", "naïve 日本語 \N{ROCKET}"),
    ],
)
def test_control_characters_in_a_reason_are_escaped(httpserver: HTTPServer, message: str, shown: str) -> None:
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": message}}, 400)
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    with pytest.raises(LiteLLMError) as error:
        client.get("/key/list")
    assert str(error.value) == f"LiteLLM returned 400 for GET /key/list: {shown}"


def test_control_characters_in_names_are_escaped() -> None:
    row = {**ROW, "key_name": "sk-...\x1b[2J"}
    (outcome,) = reconcile(
        FakeClient(listing(keys=[row])), [DesiredKey(ALIAS, secret=Secret("sk-another-secret", "given"))]
    )
    assert r"(it is sk-...\x1b[2J)" in str(outcome.error)
    served = {"data": [{"id": "\x1b[2J"}]}
    client = FakeClient(lambda path, query: served if path == "/v1/models" else {**LISTING, "keys": []})
    (outcome,) = reconcile(client, [DesiredKey(ALIAS, settings={"models": ["gpt"]})])
    assert r"The proxy serves \x1b[2J" in str(outcome.error)


@pytest.mark.parametrize("text", [r"\ud800", r"a\uDC00b", r"{\udfff"])
def test_lone_surrogates_are_not_valid_json(httpserver: HTTPServer, text: str) -> None:
    """They can be written neither to a file nor to a terminal."""
    httpserver.expect_request("/key/list").respond_with_data(f'{{"keys": ["{text}"]}}')
    with pytest.raises(LiteLLMError, match="is not valid JSON"):
        Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0)).get("/key/list")


def test_surrogate_pairs_are_valid_json(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/list").respond_with_data(rb'{"keys": ["\ud83d\ude80 \\ud800"]}')
    response = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0)).get("/key/list")
    assert response == {"keys": ["\N{ROCKET} \\ud800"]}


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
def test_an_impossible_date_is_ignored(httpserver: HTTPServer, date: str) -> None:
    httpserver.expect_request("/key/list").respond_with_data("{}", headers={"Date": date})
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    client.get("/key/list")
    assert abs(client.now() - datetime.now(UTC)) < timedelta(days=1)


@pytest.mark.parametrize("secret", ["sk-letters-enough$and$signs", "sk-{{ x }}(of)'all'\"kinds\"<&>"])
@pytest.mark.parametrize("padding", [0, 470, 495])
def test_a_secret_in_the_request_is_masked_in_the_error(httpserver: HTTPServer, secret: str, padding: int) -> None:
    """So is the rest of a secret that looks like a shorter one, or that is cut off."""
    message = f"{'x' * padding} {secret} {MASTER_KEY} {secret!r} {json.dumps(secret)} {quote(secret)}"
    httpserver.expect_request("/key/generate").respond_with_json({"error": {"message": message}}, 400)
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    with pytest.raises(LiteLLMError) as error:
        client.post("/key/generate", {"key": secret, "key_alias": ALIAS})
    for part in ("signs", "kinds", "letters", "(of)", "of-nobody"):
        assert part not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"metadata": {"a": ["b\0"]}}, "a null character, which PostgreSQL cannot store"),
        ({"metadata": {"a\0": 1}}, "a null character"),
        (
            {"metadata": nested(41)},
            "metadata contains a value that cannot be stored: it is nested more than 40",
        ),
        (
            {"on_create": {"permissions": nested(41)}},
            "on_create: permissions contains a value that cannot be stored",
        ),
        (
            {"extra_params": {"a": nested(40)}},
            "extra_params contains a value that cannot be stored",
        ),
        ({"extra_params": {"some_field": {"a": {"b": "\ud800"}}}}, "surrogates not allowed"),
        ({"models": ["\0"]}, "a null character"),
    ],
)
def test_values_that_cannot_be_stored_are_not_sent(settings: Json, expected: str) -> None:
    with pytest.raises(OptionError, match=expected):
        coerce_key_options({"guid": "a", **settings})
