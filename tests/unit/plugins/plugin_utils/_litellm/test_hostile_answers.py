# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a proxy answers, there is a result or a sentence: never another exception, nor work without end."""

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
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import users_of
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, Lifetime
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import (
    served_models,
    team_exists,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.request import desired_keys
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.result import (
    describe_key,
    difference,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
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
RIGHT: Json = {
    "/key/list": LISTING,
    "/key/info": {"key": TOKEN, "info": {name: value for name, value in ROW.items() if name != "token"}},
    "/v1/models": {"data": [{"id": "gpt-4o"}], "object": "list"},
    "/team/info": {"team_id": "a-team", "team_info": {}, "keys": []},
    "/budget/info": [{"budget_id": "a-budget"}],
    "/key/generate": {"key": "sk-the-secret-of-a-key", "token": TOKEN},
    "/key/update": {"key": TOKEN},
    "/key/delete": {"deleted_keys": [TOKEN]},
}


class Saying(Client):
    """A client of a proxy that answers as it likes."""

    def __init__(self, answer: Callable[[str, Json], Any]) -> None:
        super().__init__(Connection("http://127.0.0.1:4000", MASTER_KEY, retries=0))
        self._answer = answer

    def _request(self, method: str, path: str, retry: Any, *, secret: str = "", **request: Any) -> Any:
        self.api_calls += 1
        assert self.api_calls < 2000, "it asks without end"
        # As they come over the wire.
        return json.loads(json.dumps(self._answer(path, request.get("fields") or {})))


@pytest.fixture(autouse=True, scope="module")
def _hurry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_reconcile, "_pause", lambda attempt: None)
        patched.setattr(_apply, "_COURTESY", 0)
        yield


WEEK = Lifetime(parse("7d"))
SETTINGS = {"models": ["gpt-4o"], "metadata": {"guid": "a"}, "tags": ["lab"], "max_budget": 1.0, "soft_budget": 1.0}
OPERATIONS: dict[str, DesiredKey] = {
    "provision": DesiredKey(ALIAS, settings={**SETTINGS, "object_permission": {}, "team_id": "a-team"}, lifetime=WEEK),
    "further": DesiredKey(ALIAS, settings={"budget_id": "a-budget", "allowed_routes": [], "some_field": {"a": ["b"]}}),
    "month": DesiredKey(ALIAS, lifetime=Lifetime(parse("1mo"), shorten=False)),
    "replace": DesiredKey(ALIAS, regenerate="always"),
    "destroy": DesiredKey(ALIAS, present=False),
    "by id": DesiredKey(None, key_id=TOKEN, settings={"blocked": True}),
}


def work(client: Client, desired: DesiredKey, *, check_mode: bool = False) -> None:
    """Do it, and tell of it as the action does."""
    try:
        outcomes = reconcile(client, [desired], check_mode=check_mode)
    except LiteLLMError as error:
        judge(str(error))
        return
    for outcome in outcomes:
        json.dumps([entry(outcome), difference(outcome)])
        judge(outcome.error or "a sentence")


def judge(sentence: str) -> None:
    assert "made an error" not in sentence
    assert len(sentence) < 1500
    assert sentence.isprintable(), sentence


# Floats that are no numbers are among it: Python reads them from JSON.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.sampled_from([10**30, 0, -1, 1e308, float("inf"), float("nan")]),
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


def places(value: Any) -> list[tuple[str | int, ...]]:
    """The ways to all that is inside of a value, and to itself."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((name, *rest) for name, member in members for rest in places(member))]


def spoilt(value: Any, place: tuple[str | int, ...], other: Any) -> Any:
    """The same with something else in that place."""
    if not place:
        return other
    inner = copy.copy(value)
    inner[place[0]] = spoilt(value[place[0]], place[1:], other)
    return inner


@st.composite
def nearly_right(draw: st.DrawFn) -> Json:
    """All answers, of which some are wrong in some places."""
    answers = dict(RIGHT)
    for path in draw(st.lists(st.sampled_from(sorted(RIGHT)), min_size=1, max_size=3)):
        answer = answers[path]
        for place in draw(st.lists(st.sampled_from(places(answer)), min_size=1, max_size=2)):
            if place in places(answer):
                answer = spoilt(answer, place, draw(ANY))
        answers[path] = answer
    return answers


@pytest.mark.parametrize("operation", OPERATIONS)
@given(answers=nearly_right(), check_mode=st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_answer_that_is_nearly_right(operation: str, answers: Json, check_mode: bool) -> None:
    work(Saying(lambda path, query: answers[path]), OPERATIONS[operation], check_mode=check_mode)


@pytest.mark.parametrize("operation", OPERATIONS)
@given(answers=st.lists(ANY, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_answer(operation: str, answers: list[Any]) -> None:
    one_after_the_other = itertools.cycle(answers)
    work(Saying(lambda path, query: next(one_after_the_other)), OPERATIONS[operation])


@pytest.mark.parametrize("field", sorted(ROW))
@pytest.mark.parametrize("value", [None, True, -1, 1e400, "text", "\ud800", ["a", {}], {"a": []}, [[]], {"tags": 1}],
                         ids=repr)  # fmt: skip
def test_any_field_of_a_row(field: str, value: Any) -> None:
    row = {**ROW, field: value}
    answers = {**RIGHT, "/key/list": {**LISTING, "keys": [row]}, "/key/info": {"key": TOKEN, "info": row}}
    for operation in OPERATIONS.values():
        work(Saying(lambda path, query: answers[path]), operation)


@given(answers=nearly_right())
@settings(max_examples=100, deadline=None)
def test_what_only_reads(answers: Json) -> None:
    client = Saying(lambda path, query: answers[path])
    observer = Observer(client)
    asking: list[Callable[[], Any]] = [
        lambda: [describe_key(key) for key in observer.beginning_with("", {})],
        lambda: users_of("a", "virtkey", [], observer.beginning_with("virtkey", {})),
        lambda: observer.with_aliases(["virtkey-a", "virtkey-b", "virtkey-c"]),
        lambda: [describe_key(key) for key in observer.with_id(TOKEN)],
        lambda: served_models(client),
        lambda: team_exists(client, "a-team"),
    ]
    for ask in asking:
        try:
            json.dumps(ask(), default=str)
        except LiteLLMError as error:
            judge(str(error))


# The same, one by one, as a person reads it.


def listing(**fields: Any) -> Callable[[str, Json], Any]:
    return lambda path, query: {**LISTING, **fields} if path == "/key/list" else RIGHT[path]


TOO_MANY = "lists more than 10000 pages of keys"


@pytest.mark.parametrize(
    ("fields", "says", "calls"),
    [
        ({"total_pages": 10**9, "total_count": 10**11}, "cannot say how many keys it has", 1),
        ({"total_pages": 999_999, "total_count": 10}, TOO_MANY, 1),
        ({"total_pages": -1}, "cannot say how many keys it has", 1),
        ({"total_pages": "many"}, "cannot say how many keys it has", 1),
        ({"total_pages": 500, "total_count": 500, "keys": []}, None, 1),
        ({"total_pages": 3, "total_count": 300, "keys": [ROW] * 100}, None, 9),
        ({"keys": None}, "listed no keys", 1),
        ({"keys": [{**ROW, "token": 1}]}, "listed no keys", 1),
        ({"keys": [{**ROW, "key_alias": [ALIAS]}]}, "listed no keys", 1),
        ({"keys": [{**ROW, "expires": "soon"}]}, "key virtkey-a what LiteLLM does not say: expires: 'soon' is not", 1),
        ({"keys": [{**ROW, "created_at": "9999-01-01"}]}, "created_at: 9999 is not a year of a key", 1),
        ({"keys": [{**ROW, "spend": "much"}]}, "key virtkey-a what LiteLLM does not say: spend is of type str", 1),
        ({"keys": [{**ROW, "metadata": "text"}]}, "metadata is of type str", 1),
        ({"keys": [{**ROW, "models": ["gpt-4o", None]}]}, "models is of type list", 1),
    ],
)
def test_a_listing_that_cannot_be_true(fields: Json, says: str | None, calls: int) -> None:
    client = Saying(listing(**fields))
    problem = None
    try:
        Observer(client).beginning_with("", {})
    except LiteLLMError as error:
        problem = str(error)
    assert says in problem if says and problem else says == problem
    assert client.api_calls == calls


def test_pages_that_never_end_do() -> None:
    """Each page is full of keys that were on none before."""
    numbers = itertools.count()

    def page(path: str, query: Json) -> Json:
        rows = [{**ROW, "token": f"{next(numbers):064x}"} for _row in range(100)]
        return {"keys": rows, "total_count": 10**6, "total_pages": 20}

    client = Saying(page)
    assert len(Observer(client).beginning_with("", {})) <= 3 * 20 * 100
    assert client.api_calls <= 3 * 20


@pytest.mark.parametrize(
    "secret", [None, 1, "", "sk-", "sk-with a blank in it", "no-prefix-but-long-enough", "sk-\u00e9" * 9]
)
def test_a_secret_that_the_proxy_makes_has_to_be_one(secret: Any) -> None:
    """Where it makes them all, and the key is there: nobody knows its secret."""
    made: list[Json] = []

    def answer(path: str, query: Json) -> Any:
        if path == "/key/generate":
            made.append(ROW)
            return {"key": secret}
        return {**LISTING, "keys": made}

    class MakesThemItself(Saying):
        def post(self, path: str, body: Json) -> Any:
            if "key" in body and path == "/key/generate":
                raise LiteLLMError("Custom API key values are disabled", transient=False, status=403)
            return super().post(path, body)

    (outcome,) = reconcile(MakesThemItself(answer), [DesiredKey(ALIAS)])
    assert outcome.secret is None
    assert "the proxy made its secret and the answer was lost" in str(outcome.error)


def test_what_somebody_wrote_into_the_metadata_is_no_trouble() -> None:
    """LiteLLM keeps some settings there, and lets anybody write the like."""
    row = {**ROW, "metadata": {"tags": "one", "guardrails": [{}], "model_tpm_limit": 5}}
    (key,) = Observer(Saying(listing(keys=[row]))).beginning_with("", {})
    assert [key.value(name) for name in ("tags", "guardrails", "model_tpm_limit")] == [None] * 3
    assert key.value("metadata") == row["metadata"]


def test_a_very_long_name_does_not_fill_the_screen() -> None:
    row = {**ROW, "key_name": "x" * 10**6, "token": "f" * 64}
    client = Saying(listing(keys=[row]))
    (outcome,) = reconcile(client, [DesiredKey(ALIAS, secret=Secret("sk-another-secret", "given"))])
    assert outcome.error
    assert len(outcome.error) < 500


@pytest.mark.parametrize(
    ("said", "shown"),
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
def test_a_reason_is_shown_and_not_obeyed(httpserver: HTTPServer, said: str, shown: str) -> None:
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": said}}, 400)
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    with pytest.raises(LiteLLMError) as failed:
        client.get("/key/list")
    assert str(failed.value) == f"LiteLLM answered GET /key/list with 400: {shown}"


def test_names_of_the_proxys_are_shown_and_not_obeyed() -> None:
    row = {**ROW, "key_name": "sk-...\x1b[2J"}
    (outcome,) = reconcile(
        Saying(listing(keys=[row])), [DesiredKey(ALIAS, secret=Secret("sk-another-secret", "given"))]
    )
    assert r"(it is sk-...\x1b[2J)" in str(outcome.error)
    served = {"data": [{"id": "\x1b[2J"}]}
    client = Saying(lambda path, query: served if path == "/v1/models" else {**LISTING, "keys": []})
    (outcome,) = reconcile(client, [DesiredKey(ALIAS, settings={"models": ["gpt"]})])
    assert r"it serves \x1b[2J" in str(outcome.error)


@pytest.mark.parametrize("text", [r"\ud800", r"a\uDC00b", r"{\udfff"])
def test_halves_of_characters_are_no_answer(httpserver: HTTPServer, text: str) -> None:
    """No file and no terminal takes them."""
    httpserver.expect_request("/key/list").respond_with_data(f'{{"keys": ["{text}"]}}')
    with pytest.raises(LiteLLMError, match="something that is not JSON"):
        Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0)).get("/key/list")


def test_whole_characters_in_two_halves_are(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/list").respond_with_data(rb'{"keys": ["\ud83d\ude80 \\ud800"]}')
    answer = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0)).get("/key/list")
    assert answer == {"keys": ["\N{ROCKET} \\ud800"]}


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
def test_a_clock_that_cannot_be_is_not_the_proxys(httpserver: HTTPServer, date: str) -> None:
    httpserver.expect_request("/key/list").respond_with_data("{}", headers={"Date": date})
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    client.get("/key/list")
    assert abs(client.now() - datetime.now(UTC)) < timedelta(days=1)


@pytest.mark.parametrize("secret", ["sk-letters-enough$and$signs", "sk-{{ x }}(of)'all'\"kinds\"<&>"])
@pytest.mark.parametrize("padding", [0, 470, 495])
def test_what_was_sent_is_not_told_when_it_comes_back(httpserver: HTTPServer, secret: str, padding: int) -> None:
    """Not even the rest of what looks like a secret in its first part, or is cut."""
    said = f"{'x' * padding} {secret} {MASTER_KEY} {secret!r} {json.dumps(secret)} {quote(secret)}"
    httpserver.expect_request("/key/generate").respond_with_json({"error": {"message": said}}, 400)
    client = Client(Connection(httpserver.url_for(""), MASTER_KEY, retries=0))
    with pytest.raises(LiteLLMError) as failed:
        client.post("/key/generate", {"key": secret, "key_alias": ALIAS})
    for part in ("signs", "kinds", "letters", "(of)", "of-nobody"):
        assert part not in str(failed.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metadata": {"a": ["b\0"]}}, "the character zero, which PostgreSQL does not store"),
        ({"metadata": {"a\0": 1}}, "the character zero"),
        ({"extra_params": {"some_field": {"a": {"b": "\ud800"}}}}, "surrogates not allowed"),
        ({"models": ["\0"]}, "the character zero"),
    ],
)
def test_what_nobody_can_store_is_not_sent(settings: Json, says: str) -> None:
    options = coerce_options(OPTIONS, {"guid": "a", **settings}, "it")
    with pytest.raises(OptionError, match=says):
        desired_keys(options, settings)
