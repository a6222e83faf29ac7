# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action as Ansible loads and runs it: which keys it tells of, and that it tells no secret."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta

import pytest
import yaml

NAME = "rhpds.litellm_virtual_keys.litellm_key_info"
SECRET = "sk-the-secret-of-somebody"
DAY = timedelta(days=1)


@pytest.fixture
def act(run_action):
    def run(**arguments):
        result = run_action(NAME, arguments)
        assert result["changed"] is False
        assert "sk-t" not in json.dumps(result)
        return result

    return run


@pytest.fixture
def found(act):
    """The aliases that are told of, in their order."""

    def run(**arguments):
        return [key["key_alias"] for key in act(**arguments)["virtual_keys"]]

    return run


@pytest.fixture(autouse=True)
def ids(proxy):
    """Some keys, the oldest first; their ids by alias."""
    proxy.teams.add("red")
    ends = {days: (proxy.now() + days * DAY).isoformat() for days in (-2, 2, 20)}
    keys = {
        "virtkey-a": {"expires": ends[2], "user_id": "user1", "team_id": "red"},
        "virtkey-b": {"expires": ends[-2], "user_id": "user1"},
        "virtkey-c": {"blocked": True, "expires": ends[20], "user_id": "user11"},
        "lab-a": {"team_id": "red"},
        "not-virtkey-a": {},
    }
    ages = range(len(keys), 0, -1)
    return {alias: proxy.add(alias, age=age * DAY, **row) for age, (alias, row) in zip(ages, keys.items(), strict=True)}


@pytest.mark.parametrize(
    ("arguments", "aliases"),
    [
        # By name: in the order of asking, and no more than there are.
        ({"guid": "a"}, ["virtkey-a"]),
        ({"guid": ["b", "a", "b"]}, ["virtkey-b", "virtkey-a"]),
        ({"guid": "a", "alias_prefix": "lab-"}, ["lab-a"]),
        ({"guid": "virtkey-a", "alias_prefix": ""}, ["virtkey-a"]),
        ({"guid": ["missing", "a"]}, ["virtkey-a"]),
        ({"guid": []}, []),
        ({"key_alias": "lab-a"}, ["lab-a"]),
        ({"key_alias": ["lab-a", "not-virtkey-a"], "guid": "a"}, ["virtkey-a", "lab-a", "not-virtkey-a"]),
        ({"guid": [f"number{number}" for number in range(9)] + ["c"]}, ["virtkey-c"]),
        # By filter: the oldest first.
        ({}, ["virtkey-a", "virtkey-b", "virtkey-c", "lab-a", "not-virtkey-a"]),
        ({"alias_prefix": "virtkey-"}, ["virtkey-a", "virtkey-b", "virtkey-c"]),
        ({"alias_prefix": "nothing-"}, []),
        ({"user_id": "user1"}, ["virtkey-a", "virtkey-b"]),
        ({"team_id": "red"}, ["virtkey-a", "lab-a"]),
        ({"team_id": "red", "alias_prefix": "lab"}, ["lab-a"]),
        ({"status": "active"}, ["virtkey-a", "lab-a", "not-virtkey-a"]),
        ({"status": "expired"}, ["virtkey-b"]),
        ({"status": "blocked"}, ["virtkey-c"]),
        ({"expires_before": "2999-01-01"}, ["virtkey-a", "virtkey-b", "virtkey-c"]),
        ({"expires_before": "2000-01-01"}, []),
        # Empty means not given.
        (
            {"user_id": "", "team_id": "", "status": "", "expires_before": "", "alias_prefix": ""},
            ["virtkey-a", "virtkey-b", "virtkey-c", "lab-a", "not-virtkey-a"],
        ),
        ({"guid": "a", "user_id": "", "status": ""}, ["virtkey-a"]),
        # Both: of those that are named, those that pass.
        ({"guid": ["a", "b"], "status": "active"}, ["virtkey-a"]),
    ],
)
@pytest.mark.parametrize("release", [(1, 60, 0), (1, 85, 0), (1, 106, 2)], ids=str)
def test_which_keys_are_told_of(proxy, found, release, arguments, aliases):
    proxy.release = release
    assert found(**arguments) == aliases


def test_a_key_is_found_by_its_id(found, ids):
    assert found(key_id=ids["lab-a"]) == ["lab-a"]
    assert found(key_id=["0" * 64, ids["virtkey-b"], ids["virtkey-a"]]) == ["virtkey-b", "virtkey-a"]


def test_an_instant_between_two_ends(proxy, found):
    assert found(expires_before=(proxy.now() + 5 * DAY).isoformat()) == ["virtkey-a", "virtkey-b"]


def test_all_pages_are_read(proxy, found):
    for number in range(250):
        proxy.add(f"many-{number}")
    assert len(found()) == 255
    assert len(proxy.requests) == 3
    assert len(found(alias_prefix="virtkey-")) == 3
    assert len(proxy.requests) <= 2


def test_the_result_is_what_its_page_says(act, proxy, ids):
    page = importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.modules.litellm_key_info")
    documented = yaml.safe_load(page.RETURN)
    result = act(guid="a")
    assert set(result) - {"changed"} == set(documented)
    (key,) = result["virtual_keys"]
    assert set(key) == set(documented["virtual_keys"]["contains"])
    assert (key["guid"], key["status"], key["key_id"], key["user_id"]) == ("a", "active", ids["virtkey-a"], "user1")
    assert (result["api_endpoint"], result["api_calls"]) == (proxy.url, len(proxy.requests))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"guid": {"a": 1}}, "guid must be a name or a list of names, but has {'a': 1}"),
        ({"guid": ""}, "guid must be a name or a list of names, but has ''"),
        ({"guid": ["a", None]}, "guid must be a name or a list of names, but has None"),
        ({"key_alias": ["a", "b\tc"]}, "'b\\tc' contains a character that cannot be printed"),
        ({"key_id": SECRET}, "key_id must be 64 hexadecimal digits"),
        ({"status": "dead"}, "status must be one of active, expired, blocked, but is 'dead'"),
        ({"expires_before": "soon"}, "'soon' is not an instant"),
        ({"alias": "a"}, "no option 'alias'; did you mean 'key_alias'?"),
        ({"guid": "a", "master_key": "the-key"}, "master_key must start with 'sk-'"),
    ],
)
def test_what_cannot_be_is_refused_with_one_sentence_before_any_request(act, proxy, arguments, words):
    result = act(**arguments)
    assert (result["failed"], proxy.requests) == (True, [])
    assert words in result["msg"]
