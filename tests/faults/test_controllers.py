# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several controllers at once, with the same keys and with different ones. Twenty races of Ansible: tests/proxies."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import Controller

AT_ONCE = pytest.mark.parametrize("controllers", [2, 8])
SIZES = pytest.mark.parametrize("size", [1, 10], ids=["one", "many"])


def together(cases: list[Case], **further: object) -> list[Json]:
    """What controllers have told that began at the same time."""
    running = [Controller(case, case.proxy.url, {"timeout": 60.0}, **further) for case in cases]
    for one in running:
        one.go()
    told = []
    for one in running:
        code, answer = one.end()
        assert code == 0, answer
        told.append(answer)
    return told


def told_secrets(told: list[Json], alias: str) -> list[str]:
    """The secrets that were told for a key without an error."""
    keys = [key for one in told for key in one["keys"] if key["alias"] == alias and not key["error"]]
    return [key["secret"] for key in keys if key["secret"]]


def holds(case: Case) -> None:
    """One more run finds all as it should be."""
    told = case.run(case.proxy.url, {"timeout": 60.0})
    case.judge_clean(told, told)
    case.clean_up()
    assert case.complaints == []


@AT_ONCE
@SIZES
def test_the_same_new_keys(proxy: Proxy, controllers: int, size: int):
    """One key each stays; who tells a secret tells the one that works, and somebody does."""
    case = Case(proxy, OPERATIONS["provision"], size)
    told = together([case] * controllers)
    rows = case.rows()
    for alias in case.aliases:
        (row,) = rows[alias]
        assert [hashlib.sha256(one.encode()).hexdigest() for one in told_secrets(told, alias)] == [row["token"]]
    holds(case)


@AT_ONCE
def test_the_same_new_keys_with_derived_secrets(proxy: Proxy, controllers: int):
    """Here all of them know the secret, and say so."""
    case = Case(proxy, OPERATIONS["provision"], 5)
    told = together([case] * controllers, seeded=True)
    assert [key["error"] for one in told for key in one["keys"] if key["error"]] == []
    for alias in case.aliases:
        assert len(told_secrets(told, alias)) == controllers
        assert len(set(told_secrets(told, alias))) == 1
    holds(case)


@AT_ONCE
def test_different_new_keys(proxy: Proxy, controllers: int):
    cases = [Case(proxy, OPERATIONS["provision"], 5) for _controller in range(controllers)]
    told = together(cases)
    for case, answer in zip(cases, told, strict=True):
        assert [key["operation"] for key in answer["keys"]] == ["created"] * 5
        holds(case)


@AT_ONCE
@pytest.mark.parametrize("name", ["extend", "destroy"])
def test_the_same_change(proxy: Proxy, controllers: int, name: str):
    case = Case(proxy, OPERATIONS[name], 5)
    told = together([case] * controllers)
    assert [key["error"] for one in told for key in one["keys"] if key["error"]] == []
    holds(case)


@AT_ONCE
@SIZES
def test_the_same_replacement(proxy: Proxy, controllers: int, size: int):
    """However they get into each other's way, somebody knows each secret, and one more run puts all right."""
    case = Case(proxy, OPERATIONS["regenerate"], size)
    told = together([case] * controllers)
    rows = case.rows()
    for alias in case.aliases:
        assert len(rows[alias]) <= 1, rows.keys()
        tokens = [row["token"] for row in (*rows[alias], *rows.get(f"{alias}.replaced", ()))]
        assert tokens, told
        # Who comes a moment later replaces again what another has told.
        assert {hashlib.sha256(one.encode()).hexdigest() for one in case.known[alias]} & set(tokens), told
    holds(case)


@AT_ONCE
def test_some_provision_while_others_destroy(proxy: Proxy, controllers: int):
    """Whoever comes last, no secret is told that does not belong to a key, unless the key was removed afterwards."""
    makers = Case(proxy, OPERATIONS["provision"], 5)
    breakers = Case(proxy, OPERATIONS["destroy"], 5)
    breakers.aliases, breakers.known = makers.aliases, {alias: [] for alias in makers.aliases}
    together([makers, breakers] * (controllers // 2))
    rows = makers.rows()
    assert all(len(rows[alias]) <= 1 for alias in makers.aliases)
    breakers.clean_up()
    told = makers.run(proxy.url, {"timeout": 60.0}, regenerate="if_unrecoverable")
    makers.judge_clean(told, told)
    makers.clean_up()
    assert [one for one in makers.complaints if "had something to do" not in one] == []
