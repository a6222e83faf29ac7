# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys are listed with few requests, on proxies of several releases."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm import search as search_module
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.listing import KeyListing
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.listing_proxy import (
    Proxy,
    Row,
    client_of,
    each_release,
    key,
)
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Listing = Callable[[Proxy], KeyListing]


@pytest.fixture
def listing(httpserver: HTTPServer) -> Listing:
    return lambda proxy: KeyListing(client_of(httpserver, proxy))


def of_names(rows: Iterable[Row], names: Iterable[str]) -> list[str]:
    """Return the aliases of the rows that have one of these names."""
    return [row["key_alias"] for row in rows if row["key_alias"] in names]


# Requests


def test_the_progress_of_a_long_listing_is_shown(httpserver: HTTPServer) -> None:
    shown: list[str] = []
    proxy = Proxy((1, 106), [key(f"virtkey-user{number}") for number in range(250)])
    KeyListing(client_of(httpserver, proxy), shown.append).with_prefix("virtkey-")
    assert shown == ["200 of 250 virtual keys listed", "250 of 250 virtual keys listed"]


@pytest.mark.parametrize("release", [(1, 83), (1, 90), (1, 106)])
def test_many_aliases_with_a_common_prefix_need_one_listing(listing: Listing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key(f"virtkey-user{number}") for number in range(60)])
    listing(proxy).with_aliases(f"virtkey-user{number}" for number in range(60))
    assert len(proxy.requests) == 1


def test_the_filters_of_the_release_are_probed_once(listing: Listing) -> None:
    proxy = Proxy((1, 80), [])
    keys = listing(proxy)
    names = [f"virtkey-user{number}" for number in range(5)]
    for _unused in range(3):
        keys.with_aliases(names)
    assert len(proxy.requests) == 2 + 3 * 5  # the listing and the probe, then each name


@pytest.mark.parametrize("release", [(1, 90), (1, 106)])
def test_the_number_of_other_keys_does_not_matter(listing: Listing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key(f"virtkey-{number}") for number in range(1000)])
    names = [f"virtkey-{number}" for number in (1, 20, 300, 999)]
    assert sorted(of_names(listing(proxy).with_aliases(names), names)) == sorted(names)
    assert len(proxy.requests) <= 2 + len(names)


def test_a_common_prefix_of_too_many_keys_is_tried_once(listing: Listing) -> None:
    proxy = Proxy((1, 106), [key(f"virtkey-{number}") for number in range(1000)])
    keys = listing(proxy)
    names = [f"virtkey-{number}" for number in (1, 20, 300, 999)]
    for _unused in range(3):
        keys.with_aliases(names)
    assert len(proxy.requests) == 1 + 3 * len(names)


FIRST, SECOND = "virtkey-a", "virtkey-a.replacement"


@pytest.mark.parametrize(("release", "second_requests"), [((1, 80), 2), ((1, 83), 1), ((1, 106), 1)])
def test_a_second_alias_is_looked_up_if_there_is_no_key_with_the_first(
    listing: Listing, release: tuple[int, int], second_requests: int
) -> None:
    proxy = Proxy(release, [key(FIRST), key("virtkey-b.replacement"), key("virtkey-c.replacement")])
    names = {name: f"{name}.replacement" for name in (FIRST, "virtkey-b")}
    assert of_names(listing(proxy).with_aliases([FIRST], names), names.values()) == []
    assert len(proxy.requests) == 1
    assert of_names(listing(proxy).with_aliases(["virtkey-b"], names), names.values()) == ["virtkey-b.replacement"]
    assert len(proxy.requests) == 1 + second_requests


@pytest.mark.parametrize(("others", "requests"), [(0, 1), (98, 1), (1000, 1 + 4)])
def test_two_aliases_are_as_they_were_at_one_time(listing: Listing, others: int, requests: int) -> None:
    proxy = Proxy((1, 106), [key(FIRST), key(SECOND), *(key(f"virtkey-a{number}") for number in range(others))])
    found = listing(proxy).with_aliases([FIRST], {FIRST: SECOND}, {FIRST: [SECOND]})
    assert sorted(of_names(found, [FIRST, SECOND])) == [FIRST, SECOND]
    assert len(proxy.requests) == requests


def test_two_aliases_are_listed_again_if_a_key_changes_meanwhile(listing: Listing) -> None:
    proxy = Proxy((1, 80), [key(FIRST)])

    def change(_query: str) -> None:
        """Replace the key after the first listing, and give the alias to the new key before the next one."""
        if len(proxy.requests) == 4:
            proxy.rows[:] = [key(SECOND)]
        elif len(proxy.requests) == 5:
            proxy.rows[:] = [{**proxy.rows[0], "key_alias": FIRST}]

    proxy.before_request = change
    found = listing(proxy).with_aliases([FIRST], {FIRST: SECOND}, {FIRST: [SECOND]})
    assert of_names(found, [FIRST, SECOND])[-1] == FIRST


def test_a_key_that_is_used_while_it_is_listed_is_not_listed_again(listing: Listing) -> None:
    proxy = Proxy((1, 80), [key(FIRST), key(SECOND)])

    def spend(_query: str) -> None:
        for row in proxy.rows:
            row["spend"] = float(len(proxy.requests))

    proxy.before_request = spend
    found = listing(proxy).with_aliases([FIRST], {FIRST: SECOND}, {FIRST: [SECOND]})
    assert sorted(of_names(found, [FIRST, SECOND])) == [FIRST, SECOND]
    assert len(proxy.requests) == 2 + 2 * 2  # the common prefix and the probe, then both aliases twice


def test_aliases_that_change_during_each_listing_are_not_guessed(listing: Listing) -> None:
    proxy = Proxy((1, 80), [])

    def replace_all(_query: str) -> None:
        proxy.rows[:] = [key(alias, age=len(proxy.requests)) for alias in (FIRST, SECOND)]

    proxy.before_request = replace_all
    with pytest.raises(
        LiteLLMError, match=r"other clients created, renamed or deleted virtkey-a during each"
    ) as caught:
        listing(proxy).with_aliases([FIRST], {FIRST: SECOND}, {FIRST: [SECOND]})
    assert caught.value.transient


@pytest.mark.parametrize("release", [(1, 83), (1, 90), (1, 106)])
def test_a_listing_with_other_aliases_proves_that_the_filter_is_supported(
    listing: Listing, release: tuple[int, int]
) -> None:
    proxy = Proxy(release, [key(f"virtkey-{number}") for number in range(150)])
    assert len(listing(proxy).with_prefix("virtkey-")) == 150
    assert len(proxy.requests) == 2


# Pages


def test_a_key_that_appears_on_two_pages_is_returned_once(listing: Listing) -> None:
    proxy = Proxy((1, 83), [key(f"virtkey-{number:03}") for number in range(150)])
    # The newest key comes first and moves every other by one place.
    proxy.before_page_2 = lambda rows: rows.insert(0, key("virtkey-new"))
    found = listing(proxy).with_aliases(["virtkey-", "virtkey-099", "virtkey-100", "virtkey-149"])
    names = ["virtkey-099", "virtkey-100", "virtkey-149"]
    assert sorted(of_names(found, names)) == names


def test_a_key_that_moves_to_an_earlier_page_is_found(listing: Listing) -> None:
    proxy = Proxy((1, 90), [key(f"virtkey-{number:03}") for number in range(150)])
    proxy.before_page_2 = lambda rows: rows.pop(0)
    names = [f"virtkey-{number:03}" for number in (99, 100, 101, 149)]
    assert sorted(of_names(listing(proxy).with_aliases(names), names)) == sorted(names)


def test_keys_that_an_incomplete_listing_may_have_missed_are_listed_one_by_one(listing: Listing) -> None:
    proxy = Proxy((1, 106), [key(f"virtkey-{number:03}") for number in range(150)])
    names = [f"virtkey-{number:03}" for number in (50, 100, 101, 102)]

    def move_to_page_1(rows: list[Row]) -> None:
        # Other clients delete keys during each attempt, and the hundredth key moves to the page that was read before.
        del rows[0]

    proxy.before_page_2 = move_to_page_1
    assert sorted(of_names(listing(proxy).with_aliases(names), names)) == names


def busy_proxy(release: tuple[int, int], deletions: int) -> Proxy:
    """Return a proxy with 140 keys of `virtkey-abc` and so many newer ones, each of which is deleted before a page 2.

    With each deletion, another key moves to page 1.
    """
    others = [key(f"virtkey-abcd-{number}") for number in range(deletions)]
    proxy = Proxy(release, [*others, *(key(f"virtkey-abc-{number:03}") for number in range(140))])

    def delete_newest(rows: list[Row]) -> None:
        if rows[0]["key_alias"].startswith("virtkey-abcd"):
            del rows[0]

    proxy.before_page_2 = delete_newest
    return proxy


OURS = [f"virtkey-abc-{number:03}" for number in range(140)]


@each_release
@pytest.mark.parametrize("deletions", [0, 1, 20])
def test_a_listing_is_complete_although_other_keys_are_deleted_meanwhile(
    listing: Listing, release: tuple[int, int], deletions: int
) -> None:
    proxy = busy_proxy(release, deletions)
    assert sorted(row["key_alias"] for row in listing(proxy).with_prefix("virtkey-abc-")) == OURS


def test_the_keys_that_moved_to_another_page_are_read_one_by_one(listing: Listing) -> None:
    proxy = busy_proxy((1, 106), 20)
    listing(proxy).with_prefix("virtkey-abc")
    paths = [request.partition("?")[0] for request in proxy.requests]
    # Two listings; the key that the second one missed, and the one that was deleted during the first.
    assert (paths.count("/key/list"), paths.count("/key/info")) == (4, 2)


def test_a_key_that_was_renamed_does_not_make_a_listing_complete(listing: Listing) -> None:
    """It still exists, but the proxy does not announce it any more."""
    proxy = Proxy((1, 106), [key(f"virtkey-{number:03}") for number in range(150)])
    original = proxy._list
    proxy._list = lambda query: {**(page := original(query)), "total_count": page["total_count"] + 1}  # type: ignore[method-assign]
    proxy.before_page_2 = lambda rows: rows[len(proxy.requests) // 2].update(key_alias="renamed")
    with pytest.raises(LiteLLMError, match="Cannot list the keys of"):
        listing(proxy).with_prefix("virtkey-")


def test_a_listing_that_does_not_add_up_is_an_error(listing: Listing) -> None:
    proxy = Proxy((1, 106), [key(f"virtkey-{number:03}") for number in range(150)])
    original = proxy._list
    proxy._list = lambda query: {**original(query), "total_count": 151}  # type: ignore[method-assign]
    with pytest.raises(
        LiteLLMError,
        match=r"^Cannot list the keys of http://\S+, because other clients created or deleted keys during each of 5 "
        r"listings; run again$",
    ) as caught:
        listing(proxy).with_prefix("virtkey-")
    assert caught.value.transient
    assert len(proxy.requests) == 5 * 2


# Prefixes


@each_release
@pytest.mark.parametrize("prefix", ["a\\b", "100%", "a_", " "])
def test_a_prefix_with_special_characters(listing: Listing, release: tuple[int, int], prefix: str) -> None:
    proxy = Proxy(release, [key(f"{prefix}c"), key("a"), key("abc")])
    assert [row["key_alias"] for row in listing(proxy).with_prefix(prefix)] == [f"{prefix}c"]
    if "\\" in prefix:
        assert not any("%5C" in query for query in proxy.requests)


# Limits


LARGE: Row = {"metadata": {"text": "x" * 100_000}}


def large_listing(httpserver: HTTPServer, pages: int, row: Callable[[str], Row | str]) -> KeyListing:
    """Return the listing of a proxy that announces so many pages with one key each, and sends 100 kB about each key."""

    def page(request: Request) -> Response:
        if isinstance(row(""), str) and "return_full_object" in request.args:
            return Response(json.dumps({"error": {"message": "Unsupported parameter(s): return_full_object"}}), 400)
        return Response(json.dumps({"keys": [row(request.args["page"])], "total_count": pages, "total_pages": pages}))

    httpserver.expect_request("/key/list").respond_with_handler(page)
    httpserver.expect_request("/key/info").respond_with_json({"info": {"key_alias": "virtkey-1", **LARGE}})
    return KeyListing(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0, concurrency=4)))


@pytest.mark.parametrize("query", [{}, {"user_id": "a"}], ids=["all", "of a user"])
def test_the_bytes_of_a_listing_are_limited(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
) -> None:
    monkeypatch.setattr(search_module, "_MAX_BYTES", 2 << 20)
    with pytest.raises(LiteLLMError, match="returned more than 2 MB of keys, which is more than this") as error:
        large_listing(httpserver, 10_000, lambda page: key(f"virtkey-{page}", **LARGE)).with_prefix("virtkey-", query)
    assert not error.value.transient
    assert len(httpserver.log) <= 21 + 4  # 4 were sent at the same time


def test_the_bytes_of_keys_that_are_read_one_by_one_are_limited(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_MAX_BYTES", 2 << 20)
    keys = large_listing(httpserver, 30, "{:0>64}".format)
    with pytest.raises(LiteLLMError, match="returned more than 2 MB of keys"):
        keys.with_prefix("virtkey-")
    assert len([request for request, _response in httpserver.log if request.path == "/key/info"]) == 21


def test_the_time_of_a_listing_is_limited(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_MAX_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(LiteLLMError, match=r"did not list its keys within 0.005 minutes; check the proxy") as error:
        large_listing(httpserver, 10_000, lambda page: key(f"virtkey-{page}", **LARGE)).with_prefix("virtkey-")
    assert time.monotonic() - started < 60  # all pages would take minutes
    assert not error.value.transient


def test_what_is_not_searched_for_is_not_kept() -> None:
    """Each of a hundred pages has a megabyte of keys with other aliases."""
    row = key("another", metadata={"text": "x" * (1 << 20)})

    class FakeClient(Client):
        def _request(self, method: str, path: str, retry: Any, **request: Any) -> Any:
            keys = [{**row, "metadata": {"text": row["metadata"]["text"] + request["fields"]["page"]}}]
            return {"keys": keys, "total_count": 1, "total_pages": 100}

    keys = KeyListing(FakeClient(Connection("http://127.0.0.1:4000", "sk-1234", concurrency=4)))
    tracemalloc.start()
    try:
        assert keys.with_prefix("virtkey-") == []
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


# Errors


@pytest.mark.parametrize("response", [{}, [], "I'm alive!", {"keys": None}, {"data": []}], ids=str)
def test_a_response_without_a_list_of_keys_is_an_error(httpserver: HTTPServer, response: Any) -> None:
    httpserver.expect_request("/key/list").respond_with_json(response)
    keys = KeyListing(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(
        LiteLLMError, match=r"^http://\S+ returned no list of keys; check that url is a LiteLLM proxy, 1.60 or later$"
    ) as error:
        keys.with_aliases(["a"])
    assert not error.value.transient


@pytest.mark.parametrize("names", [["a"], ["va", "vb", "vc", "vd"]], ids=["few", "many"])
@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_an_error_response_is_not_an_empty_listing(httpserver: HTTPServer, status: int, names: list[str]) -> None:
    httpserver.expect_request("/key/list").respond_with_json({"error": {"message": "no"}}, status)
    keys = KeyListing(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(LiteLLMError) as error:
        keys.with_aliases(names)
    assert error.value.status == status


def test_an_error_response_is_not_a_missing_key(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/key/info").respond_with_json({"error": {"message": "no"}}, 500)
    keys = KeyListing(Client(Connection(httpserver.url_for(""), "sk-1234", retries=0)))
    with pytest.raises(LiteLLMError):
        keys.with_id("f" * 64)
