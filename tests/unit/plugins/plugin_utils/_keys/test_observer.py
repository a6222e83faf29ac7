# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys are found on proxies of several releases, by alias, by id, by prefix and by environment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.observer import Observer
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.listing_proxy import (
    RELEASES,
    Proxy,
    client_of,
    each_release,
    key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

UTC = timezone(timedelta(0))  # datetime.UTC is not in Python 3.10
Observing = Callable[[Proxy], Observer]


@pytest.fixture
def observer(httpserver: HTTPServer) -> Observing:
    return lambda proxy: Observer(client_of(httpserver, proxy))


def tokens(found: dict[str, tuple[Any, ...]]) -> dict[str, list[str]]:
    return {alias: [key.key_id for key in keys] for alias, keys in found.items()}


@each_release
@pytest.mark.parametrize("others", [0, 150])
def test_a_key_is_found_by_its_exact_alias(observer: Observing, release: tuple[int, int], others: int) -> None:
    desired = key("virtkey-a")
    similar = [key("virtkey-a1"), key("xvirtkey-a"), key("VIRTKEY-A"), key(None), key("")]
    proxy = Proxy(release, [*(key(f"virtkey-a{number:04}") for number in range(others)), *similar, desired])
    found = observer(proxy).find_by_alias(["virtkey-a", "virtkey-b", "virtkey-a"])
    assert tokens(found) == {"virtkey-a": [desired["token"]], "virtkey-b": []}
    assert list(found) == ["virtkey-a", "virtkey-b"]


@each_release
def test_keys_with_the_same_alias_are_sorted_by_age(observer: Observing, release: tuple[int, int]) -> None:
    rows = [
        key("a", 1),
        key("a", 3),
        key("a", 2),
        {**key("a", 4), "created_at": None},
        {**key("a", 5), "created_at": None},
    ]
    found = observer(Proxy(release, rows)).find_by_alias(["a"])["a"]
    dated, undated = [rows[1], rows[2], rows[0]], sorted(rows[3:], key=lambda row: str(row["token"]))
    assert [key.key_id for key in found] == [row["token"] for row in dated + undated]


@each_release
@pytest.mark.parametrize("prefix", ["virtkey-user", "", "100%/"])
def test_many_keys_are_found_among_many(observer: Observing, release: tuple[int, int], prefix: str) -> None:
    desired = [key(f"{prefix}{number}") for number in range(1, 31)]
    others = [key(f"other-{prefix}{number}") for number in range(120)]
    aliases = [str(row["key_alias"]) for row in desired]
    found = observer(Proxy(release, [*others, *desired])).find_by_alias([*aliases, f"{prefix}missing"])
    assert tokens(found) == {**{str(row["key_alias"]): [row["token"]] for row in desired}, f"{prefix}missing": []}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(RELEASES),
    st.lists(st.sampled_from(["a", "A", "ab", "abc", "abd", "b-a", "é", None]), max_size=12),
    st.sets(st.sampled_from(["a", "ab", "abc", "abd", "b-a", "c", "é"]), max_size=7),
)
def test_every_release_gives_the_same_result(
    observer: Observing, release: tuple[int, int], present: list[str | None], requests: set[str]
) -> None:
    rows = [key(alias, age) for age, alias in enumerate(present)]
    expected = {alias: [row["token"] for row in reversed(rows) if row["key_alias"] == alias] for alias in requests}
    assert tokens(observer(Proxy(release, rows)).find_by_alias(requests)) == expected


def test_no_alias_needs_no_request(observer: Observing) -> None:
    proxy = Proxy((1, 106), [key("a")])
    assert observer(proxy).find_by_alias([]) == {}
    assert proxy.requests == []


@each_release
def test_keys_are_found_by_prefix_and_sorted_by_age(observer: Observing, release: tuple[int, int]) -> None:
    rows = [key("virtkey-b", 1), key("virtkey-a", 2), key("xvirtkey-c"), key("Virtkey-d"), key(None)]
    finder = observer(Proxy(release, rows))
    assert [found.alias for found in finder.find_by_prefix("virtkey-")] == ["virtkey-a", "virtkey-b"]
    assert len(finder.find_by_prefix("")) == 5


ENVIRONMENT = ("virtkey-abc", "virtkey-abc.replacement")


@each_release
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("existing", [{0}, {1}, {0, 1}, set()], ids=str)
@pytest.mark.parametrize("users", [0, 1, 3, 130])
def test_the_keys_of_an_environment(
    observer: Observing, release: tuple[int, int], users: int, existing: set[int], both: bool
) -> None:
    own = {f"virtkey-abc-user{number}" for number in range(users)} | {ENVIRONMENT[number] for number in existing}
    others = ["virtkey-abc1", "virtkey-abc1-user1", "virtkey-ab", "x-virtkey-abc-user1", "Virtkey-abc-user1", None]
    finder = observer(Proxy(release, [*map(key, others), *map(key, sorted(own))]))
    found = {one.alias for one in finder.find_environment_keys(*ENVIRONMENT, both=both)}
    not_looked_up = {ENVIRONMENT[1]} if existing == {0, 1} and not both else set()
    assert found | not_looked_up == own


@pytest.mark.parametrize(
    ("own", "requests"),
    [
        # The short listing turns out to be too long. Then the users are listed, and the environment.
        (["virtkey-abc"], 3),
        (["virtkey-abc-user1"], 4),  # without a key of the environment, its predecessor, too
        ([f"virtkey-abc-user{number}" for number in range(201)], 6),
    ],
    ids=["one", "one user", "201 users"],
)
def test_other_environments_with_the_same_prefix_cost_one_request(
    observer: Observing, own: list[str], requests: int
) -> None:
    others = [key(f"virtkey-abc1-user{number}") for number in range(500)]
    proxy = Proxy((1, 106), [*map(key, own), *others])
    assert len(observer(proxy).find_environment_keys(*ENVIRONMENT, both=False)) == len(own)
    assert len(proxy.requests) == requests


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("own", [["virtkey-abc"], ["virtkey-abc-user1"], ["virtkey-abc", "virtkey-abc-user1"]], ids=str)
def test_an_environment_without_a_similar_name_costs_one_request(
    observer: Observing, own: list[str], both: bool
) -> None:
    proxy = Proxy(
        (1, 106), [*map(key, own), *(key(f"virtkey-x{number}") for number in range(500)), key("virtkey-abcd")]
    )
    assert {found.alias for found in observer(proxy).find_environment_keys(*ENVIRONMENT, both=both)} == set(own)
    assert len(proxy.requests) == 1


@each_release
def test_a_key_with_unexpected_data_does_not_affect_others(observer: Observing, release: tuple[int, int]) -> None:
    proxy = Proxy(release, [key("virtkey-a"), key("virtkey-a-other", expires="soon"), key("xvirtkey-a", spend="much")])
    found = observer(proxy).find_by_alias(["virtkey-a"])
    assert [one.alias for one in found["virtkey-a"]] == ["virtkey-a"]


@each_release
def test_a_key_is_found_by_its_id(observer: Observing, release: tuple[int, int]) -> None:
    row = key("virtkey-a", expires="2026-12-01T00:00:00Z", blocked=True)
    finder = observer(Proxy(release, [row]))
    (found,) = finder.find_by_id(row["token"])
    assert (found.key_id, found.alias) == (row["token"], "virtkey-a")
    assert found.expires == datetime(2026, 12, 1, tzinfo=UTC)
    assert finder.find_by_id("f" * 64) == ()


def test_a_deleted_key_that_litellm_keeps_does_not_exist(observer: Observing) -> None:
    row = key("virtkey-a", status="deleted")
    assert observer(Proxy((1, 106), [row])).find_by_id(row["token"]) == ()
