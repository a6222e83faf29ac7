# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test concurrent controllers with the same keys and with different keys. For races of Ansible, see tests/proxies."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Json, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import STILL_CHANGED, Case
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.support import Controller

CONTROLLERS = pytest.mark.parametrize("controllers", [2, 8])
SIZES = pytest.mark.parametrize("size", [1, 10], ids=["one", "many"])


def run_concurrently(cases: list[Case], **further: object) -> list[Json]:
    """Start one controller per case at the same time, and return their results."""
    running = [Controller(case, case.proxy.url, {"timeout": 60.0}, **further) for case in cases]
    for controller in running:
        controller.start()
    results = []
    for controller in running:
        code, result = controller.wait()
        assert code == 0, result
        results.append(result)
    return results


def returned_secrets(results: list[Json], alias: str) -> list[str]:
    """Return the secrets that the controllers returned for a key without an error."""
    keys = [key for result in results for key in result["keys"] if key["alias"] == alias and not key["error"]]
    return [key["secret"] for key in keys if key["secret"]]


def check_with_clean_run(case: Case) -> None:
    """Run the operation once more and check that the keys are correct."""
    result = case.run(case.proxy.url, {"timeout": 60.0})
    case.check_clean_run(result, result)
    case.clean_up()
    assert case.violations == []


@CONTROLLERS
@SIZES
def test_the_same_new_keys(proxy: Proxy, controllers: int, size: int):
    """One key remains per alias; exactly one controller returns its secret, and no other secret is returned."""
    case = Case(proxy, OPERATIONS["provision"], size)
    results = run_concurrently([case] * controllers)
    rows = case.rows()
    for alias in case.aliases:
        (row,) = rows[alias]
        assert [hashlib.sha256(one.encode()).hexdigest() for one in returned_secrets(results, alias)] == [row["token"]]
    check_with_clean_run(case)


@CONTROLLERS
def test_the_same_new_keys_with_derived_secrets(proxy: Proxy, controllers: int):
    """With derived secrets, every controller returns the secret."""
    case = Case(proxy, OPERATIONS["provision"], 5)
    results = run_concurrently([case] * controllers, seeded=True)
    assert [key["error"] for result in results for key in result["keys"] if key["error"]] == []
    for alias in case.aliases:
        assert len(returned_secrets(results, alias)) == controllers
        assert len(set(returned_secrets(results, alias))) == 1
    check_with_clean_run(case)


@CONTROLLERS
def test_different_new_keys(proxy: Proxy, controllers: int):
    cases = [Case(proxy, OPERATIONS["provision"], 5) for _controller in range(controllers)]
    results = run_concurrently(cases)
    for case, result in zip(cases, results, strict=True):
        assert [key["operation"] for key in result["keys"]] == ["created"] * 5
        check_with_clean_run(case)


@CONTROLLERS
@pytest.mark.parametrize("name", ["extend", "destroy"])
def test_the_same_change(proxy: Proxy, controllers: int, name: str):
    case = Case(proxy, OPERATIONS[name], 5)
    results = run_concurrently([case] * controllers)
    assert [key["error"] for result in results for key in result["keys"] if key["error"]] == []
    check_with_clean_run(case)


@CONTROLLERS
@SIZES
def test_the_same_regeneration(proxy: Proxy, controllers: int, size: int):
    """Whatever the races, a controller returned the secret of each key, and one more run repairs the keys."""
    case = Case(proxy, OPERATIONS["regenerate"], size)
    results = run_concurrently([case] * controllers)
    rows = case.rows()
    for alias in case.aliases:
        assert len(rows[alias]) <= 1, rows.keys()
        tokens = [row["token"] for row in (*rows[alias], *rows.get(f"{alias}.replacement", ()))]
        assert tokens, results
        # A later controller may replace a key whose secret another controller returned.
        assert {hashlib.sha256(one.encode()).hexdigest() for one in case.known_secrets[alias]} & set(tokens), results
    check_with_clean_run(case)


@CONTROLLERS
def test_concurrent_provision_and_destroy(proxy: Proxy, controllers: int):
    """Whatever the order, no secret is returned without a key, unless the key was deleted afterwards."""
    creating = Case(proxy, OPERATIONS["provision"], 5)
    deleting = Case(proxy, OPERATIONS["destroy"], 5)
    deleting.aliases, deleting.known_secrets = creating.aliases, {alias: [] for alias in creating.aliases}
    run_concurrently([creating, deleting] * (controllers // 2))
    rows = creating.rows()
    assert all(len(rows[alias]) <= 1 for alias in creating.aliases)
    deleting.clean_up()
    result = creating.run(proxy.url, {"timeout": 60.0}, regenerate="if_unrecoverable")
    creating.check_clean_run(result, result)
    creating.clean_up()
    assert [violation for violation in creating.violations if violation != STILL_CHANGED] == []
