# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding keys on proxies of several releases, each as far as /key/list and /key/info show it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
Row = dict[str, Any]


def key(alias: str | None, age: int = 0, **fields: Any) -> Row:
    """A row as LiteLLM has it; the age is in days."""
    token = hashlib.sha256(f"{alias} {age}".encode()).hexdigest()
    created_at = (datetime(2026, 11, 23, tzinfo=UTC) - timedelta(days=age)).isoformat()
    return {"token": token, "key_alias": alias, "created_at": created_at, **fields}


class Refused(Exception):
    """A status, and the message with it."""


class Proxy:
    """What a release of LiteLLM does with a listing."""

    def __init__(self, release: tuple[int, int], rows: Iterable[Row]) -> None:
        self.release = release
        self.rows = list(rows)
        self.asked: list[str] = []
        self.before_page_2: Callable[[list[Row]], object] = len

    def __call__(self, request: Request) -> Response:
        self.asked.append(f"{request.path}?{request.query_string.decode()}")
        try:
            answer = self._list(request.args) if request.path == "/key/list" else self._info(request.args["key"])
        except Refused as refused:
            status, message = refused.args
            return Response(json.dumps({"error": {"message": message}}), status)
        return Response(json.dumps(answer))

    def _list(self, query: Any) -> Row:
        matches = self._matches(query)
        size, page = int(query.get("size", 10)), int(query.get("page", 1))
        if size > 100:
            raise Refused(422, "size")
        if page == 2:
            self.before_page_2(self.rows)
        rows = [row for row in self.rows if matches(row["key_alias"] or "")]
        shown = rows[(page - 1) * size : page * size]
        pages = -(-len(rows) // size)
        full = "return_full_object" in query
        return {
            "keys": shown if full else [row["token"] for row in shown],
            "total_count": len(rows),
            "current_page": page,
            "total_pages": pages,
        }

    def _matches(self, query: Any) -> Callable[[str], bool]:
        alias = query.get("key_alias", "")
        if self.release < (1, 61) and set(query) - {"page", "size", "key_alias", "user_id", "team_id"}:
            raise Refused(400, "Unsupported parameter(s): return_full_object")
        if self.release >= (1, 90) and query.get("substring_matching", "true") not in ("true", "false"):
            raise Refused(422, "substring_matching")
        if not alias:
            return lambda _name: True
        if (1, 83) <= self.release < (1, 90):
            return lambda name: alias.lower() in name.lower()
        if self.release >= (1, 90) and query.get("substring_matching") == "true":
            return lambda name: alias.lower() in name.lower()
        return lambda name: name == alias

    def _info(self, key_id: str) -> Row:
        for row in self.rows:
            if row["token"] == key_id:
                return {"key": key_id, "info": {name: value for name, value in row.items() if name != "token"}}
        raise Refused(404, "Key not found in database")


RELEASES = [(1, 53), (1, 80), (1, 83), (1, 90), (1, 106)]
each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: "{}.{}".format(*release))


@pytest.fixture
def observer(httpserver: HTTPServer) -> Callable[[Proxy], Observer]:
    def make(proxy: Proxy) -> Observer:
        httpserver.clear()
        for path in ("/key/list", "/key/info"):
            httpserver.expect_request(path, method="GET").respond_with_handler(proxy)
        return Observer(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0, timeout=5)))

    return make


Observing = Callable[[Proxy], Observer]


def tokens(found: dict[str, tuple[Any, ...]]) -> dict[str, list[str]]:
    return {alias: [key.key_id for key in keys] for alias, keys in found.items()}


@each_release
@pytest.mark.parametrize("others", [0, 150])
def test_a_key_is_found_by_exactly_its_alias(observer: Observing, release: tuple[int, int], others: int) -> None:
    desired = key("virtkey-a")
    similar = [key("virtkey-a1"), key("xvirtkey-a"), key("VIRTKEY-A"), key(None), key("")]
    proxy = Proxy(release, [*(key(f"virtkey-a{number:04}") for number in range(others)), *similar, desired])
    found = observer(proxy).with_aliases(["virtkey-a", "virtkey-b", "virtkey-a"])
    assert tokens(found) == {"virtkey-a": [desired["token"]], "virtkey-b": []}
    assert list(found) == ["virtkey-a", "virtkey-b"]


@each_release
def test_keys_with_one_alias_come_the_oldest_first(observer: Observing, release: tuple[int, int]) -> None:
    rows = [
        key("a", 1),
        key("a", 3),
        key("a", 2),
        {**key("a", 4), "created_at": None},
        {**key("a", 5), "created_at": None},
    ]
    found = observer(Proxy(release, rows)).with_aliases(["a"])["a"]
    dated, undated = [rows[1], rows[2], rows[0]], sorted(rows[3:], key=lambda row: str(row["token"]))
    assert [key.key_id for key in found] == [row["token"] for row in dated + undated]


@each_release
@pytest.mark.parametrize("prefix", ["virtkey-user", "", "100%/"])
def test_many_keys_are_found_among_many(observer: Observing, release: tuple[int, int], prefix: str) -> None:
    desired = [key(f"{prefix}{number}") for number in range(1, 31)]
    others = [key(f"other-{prefix}{number}") for number in range(120)]
    aliases = [str(row["key_alias"]) for row in desired]
    found = observer(Proxy(release, [*others, *desired])).with_aliases([*aliases, f"{prefix}missing"])
    assert tokens(found) == {**{str(row["key_alias"]): [row["token"]] for row in desired}, f"{prefix}missing": []}


@pytest.mark.parametrize("release", [(1, 83), (1, 90), (1, 106)])
def test_many_keys_with_a_common_beginning_need_one_listing(observer: Observing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key(f"virtkey-user{number}") for number in range(60)])
    observer(proxy).with_aliases(f"virtkey-user{number}" for number in range(60))
    assert len(proxy.asked) == 1


def test_the_release_is_asked_once_what_it_can(observer: Observing) -> None:
    proxy = Proxy((1, 80), [])
    asking = observer(proxy)
    names = [f"virtkey-user{number}" for number in range(5)]
    for _unused in range(3):
        asking.with_aliases(names)
    assert len(proxy.asked) == 2 + 3 * 5  # the listing and the question; then each name


@pytest.mark.parametrize("release", [(1, 90), (1, 106)])
def test_how_many_keys_the_proxy_holds_does_not_matter(observer: Observing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key(f"virtkey-{number}") for number in range(1000)])
    names = [f"virtkey-{number}" for number in (1, 20, 300, 999)]
    assert all(len(keys) == 1 for keys in observer(proxy).with_aliases(names).values())
    assert len(proxy.asked) <= 2 + len(names)


def test_what_too_many_keys_have_in_common_is_asked_for_once(observer: Observing) -> None:
    proxy = Proxy((1, 106), [key(f"virtkey-{number}") for number in range(1000)])
    asking = observer(proxy)
    names = [f"virtkey-{number}" for number in (1, 20, 300, 999)]
    for _unused in range(3):
        asking.with_aliases(names)
    assert len(proxy.asked) == 1 + 3 * len(names)


def test_a_key_whose_alias_others_begin_with_is_asked_for_alone(observer: Observing) -> None:
    proxy = Proxy((1, 106), [key("virtkey-a"), *(key(f"virtkey-a{number}") for number in range(1000))])
    observer(proxy).with_aliases(["virtkey-a", "virtkey-a.replaced"])
    assert len(proxy.asked) == 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(RELEASES),
    st.lists(st.sampled_from(["a", "A", "ab", "abc", "abd", "b-a", "é", None]), max_size=12),
    st.sets(st.sampled_from(["a", "ab", "abc", "abd", "b-a", "c", "é"]), max_size=7),
)
def test_every_release_gives_the_same_answer(
    observer: Observing, release: tuple[int, int], present: list[str | None], asked: set[str]
) -> None:
    rows = [key(alias, age) for age, alias in enumerate(present)]
    expected = {alias: [row["token"] for row in reversed(rows) if row["key_alias"] == alias] for alias in asked}
    assert tokens(observer(Proxy(release, rows)).with_aliases(asked)) == expected


def test_no_alias_asks_nothing(observer: Observing) -> None:
    proxy = Proxy((1, 106), [key("a")])
    assert observer(proxy).with_aliases([]) == {}
    assert proxy.asked == []


def test_a_key_that_is_created_between_two_pages_is_no_second_key(observer: Observing) -> None:
    proxy = Proxy((1, 83), [key(f"virtkey-{number:03}") for number in range(150)])
    # The newest comes first, and moves every other one by one place.
    proxy.before_page_2 = lambda rows: rows.insert(0, key("virtkey-new"))
    found = observer(proxy).with_aliases(["virtkey-", "virtkey-099", "virtkey-100", "virtkey-149"])
    assert [len(found[alias]) for alias in ("virtkey-099", "virtkey-100", "virtkey-149")] == [1, 1, 1]


def test_a_key_that_moves_to_an_earlier_page_meanwhile_is_found(observer: Observing) -> None:
    proxy = Proxy((1, 90), [key(f"virtkey-{number:03}") for number in range(150)])
    proxy.before_page_2 = lambda rows: rows.pop(0)
    names = [f"virtkey-{number:03}" for number in (99, 100, 101, 149)]
    assert all(len(keys) == 1 for keys in observer(proxy).with_aliases(names).values())


@each_release
def test_all_keys_that_begin_alike_are_listed(observer: Observing, release: tuple[int, int]) -> None:
    rows = [key("virtkey-b", 1), key("virtkey-a", 2), key("xvirtkey-c"), key("Virtkey-d"), key(None)]
    asking = observer(Proxy(release, rows))
    assert [found.alias for found in asking.beginning_with("virtkey-", {})] == ["virtkey-a", "virtkey-b"]
    assert len(asking.beginning_with("", {})) == 5


@pytest.mark.parametrize("release", [(1, 83), (1, 90), (1, 106)])
def test_rows_prove_that_parts_are_found(observer: Observing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key(f"virtkey-{number}") for number in range(150)])
    assert len(observer(proxy).beginning_with("virtkey-", {})) == 150
    assert len(proxy.asked) == 2


@each_release
@pytest.mark.parametrize("beginning", ["a\\b", "100%", "a_", " "])
def test_a_beginning_with_a_meaning_of_its_own(observer: Observing, release: tuple[int, int], beginning: str) -> None:
    proxy = Proxy(release, [key(f"{beginning}c"), key("a"), key("abc")])
    assert [found.alias for found in observer(proxy).beginning_with(beginning, {})] == [f"{beginning}c"]
    if "\\" in beginning:
        assert not any("%5C" in query for query in proxy.asked)


ENVIRONMENT = ("virtkey-abc", "virtkey-abc.replaced")


@each_release
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("here", [{0}, {1}, {0, 1}, set()], ids=str)
@pytest.mark.parametrize("users", [0, 1, 3, 130])
def test_the_keys_of_an_environment(
    observer: Observing, release: tuple[int, int], users: int, here: set[int], both: bool
) -> None:
    own = {f"virtkey-abc-user{number}" for number in range(users)} | {ENVIRONMENT[number] for number in here}
    strangers = ["virtkey-abc1", "virtkey-abc1-user1", "virtkey-ab", "x-virtkey-abc-user1", "Virtkey-abc-user1", None]
    asking = observer(Proxy(release, [*map(key, strangers), *map(key, sorted(own))]))
    found = {one.alias for one in asking.of_environment(*ENVIRONMENT, both=both)}
    unasked = {ENVIRONMENT[1]} if here == {0, 1} and not both else set()
    assert found | unasked == own


@pytest.mark.parametrize(
    ("own", "asked"),
    [
        (["virtkey-abc"], 3),  # of the users, of the release, of the environment
        (["virtkey-abc-user1"], 3),  # of the users, of the environment, of its old key
        ([f"virtkey-abc-user{number}" for number in range(201)], 5),
    ],
    ids=["one", "one user", "201 users"],
)
def test_environments_that_begin_alike_cost_nothing(observer: Observing, own: list[str], asked: int) -> None:
    others = [key(f"virtkey-abc1-user{number}") for number in range(500)]
    proxy = Proxy((1, 106), [*map(key, own), *others])
    assert len(observer(proxy).of_environment(*ENVIRONMENT, both=False)) == len(own)
    assert len(proxy.asked) == asked


@each_release
def test_a_key_is_found_by_its_id(observer: Observing, release: tuple[int, int]) -> None:
    row = key("virtkey-a", expires="2026-12-01T00:00:00Z", blocked=True)
    asking = observer(Proxy(release, [row]))
    (found,) = asking.with_id(row["token"])
    assert (found.key_id, found.alias) == (row["token"], "virtkey-a")
    assert found.expires == datetime(2026, 12, 1, tzinfo=UTC)
    assert asking.with_id("f" * 64) == ()


def test_a_deleted_key_that_litellm_remembers_is_none(observer: Observing) -> None:
    row = key("virtkey-a", status="deleted")
    assert observer(Proxy((1, 106), [row])).with_id(row["token"]) == ()


@pytest.mark.parametrize("answer", [{}, [], "I'm alive!", {"keys": None}, {"data": []}], ids=str)
def test_a_server_that_lists_no_keys_is_not_litellm(httpserver: HTTPServer, answer: Any) -> None:
    httpserver.expect_request("/key/list").respond_with_json(answer)
    asking = Observer(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(
        LiteLLMError, match=r"^http://\S+ listed no keys; is it a LiteLLM proxy, 1.60 or later\?$"
    ) as failed:
        asking.with_aliases(["a"])
    assert not failed.value.transient


@pytest.mark.parametrize("names", [["a"], ["va", "vb", "vc", "vd"]], ids=["few", "many"])
@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_a_proxy_that_cannot_be_asked_is_not_one_without_keys(
    httpserver: HTTPServer, status: int, names: list[str]
) -> None:
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": "no"}}, status)
    asking = Observer(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(LiteLLMError) as failed:
        asking.with_aliases(names)
    assert failed.value.status == status


def test_a_key_id_that_cannot_be_asked_for_is_not_one_that_is_missing(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/info").respond_with_json({"error": {"message": "no"}}, 500)
    asking = Observer(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(LiteLLMError):
        asking.with_id("f" * 64)
