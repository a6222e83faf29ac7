# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Aliases and ids, and keys as they are desired and observed."""

from __future__ import annotations

from datetime import datetime

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import (
    DesiredKey,
    ObservedKey,
    lifetime_start,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.names import checked_alias, checked_id
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import (
    LIFETIME_START,
    REPLACES,
)


@pytest.mark.parametrize("alias", ["a", "virtkey-abc", "a b", "ünïcödé", "a/b@c.d", "a..b", "x" * 255])
def test_valid_aliases(alias):
    assert checked_alias(alias) == alias


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("", "key_alias is empty; it must name the key"),
        ("  ", "key_alias is empty; it must name the key"),
        (" a", "key_alias ' a' starts or ends with white space"),
        ("a\n", "key_alias 'a\\n' starts or ends with white space"),
        ("a\tb", "key_alias 'a\\tb' contains a character that is not printable"),
        ("a\0b", "key_alias 'a\\x00b' contains a character that is not printable"),
        ("..", "key_alias '..' contains '..' between slashes, which LiteLLM refuses"),
        ("a/../b", "key_alias 'a/../b' contains '..' between slashes, which LiteLLM refuses"),
        ("x" * 300, f"key_alias '{'x' * 57}...' makes an alias of 300 characters; at most 255 are allowed"),
    ],
)
def test_an_invalid_alias_is_refused(alias, reason):
    with pytest.raises(OptionError) as error:
        checked_alias(alias)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    "key_id", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "sk-a-secret-by-mistake", "0" * 64 + "\n"]
)
def test_an_invalid_id_is_refused_and_not_quoted(key_id):
    with pytest.raises(OptionError) as error:
        checked_id(key_id)
    assert str(error.value) == "key_id must be 64 hexadecimal digits: the SHA-256 of the secret, not the secret"
    assert checked_id("0123456789abcdef" * 4)


def test_a_row_becomes_a_key():
    row = {
        "token": "ab" * 32,
        "key_alias": "virtkey-abc",
        "key_name": "sk-...1234",
        "created_at": "2026-11-23T08:00:00.123456Z",
        "expires": "2026-11-30T08:00:00+00:00",
        "spend": 0.5,
        "models": ["a"],
        "tpd_limit": 7,
    }
    key = ObservedKey.from_row(row)
    assert (key.key_id, key.alias, key.key_name, key.spend) == ("ab" * 32, "virtkey-abc", "sk-...1234", 0.5)
    assert (key.created_at, key.expires) == (
        datetime.fromisoformat("2026-11-23T08:00:00.123456+00:00"),
        datetime.fromisoformat("2026-11-30T08:00:00+00:00"),
    )
    assert (key.value("models"), key.value("tpd_limit"), key.value("unknown")) == (["a"], 7, None)


def test_the_name_of_a_key_in_messages():
    assert DesiredKey("virtkey-abc").name == "virtkey-abc"
    assert DesiredKey(None, key_id="0123456789abcdef" * 4).name == "0123456789ab…"


def key_with_metadata(metadata, **row):
    return ObservedKey.from_row({"token": "ab" * 32, "key_alias": "virtkey-abc", "metadata": metadata, **row})


@pytest.mark.parametrize(
    ("metadata", "is_foreign"),
    [
        ({"guid": "abc"}, False),
        ({"guid": "abc-1"}, True),
        ({"guid": 4711}, True),
        ({"guid": ""}, True),
        ({"guid": None}, False),
        ({"owner": "somebody"}, False),
        ({}, False),
        (None, False),
    ],
    ids=str,
)
def test_a_key_of_another_environment_is_foreign(metadata, is_foreign):
    key = key_with_metadata(metadata)
    assert DesiredKey("virtkey-abc", owner="abc").is_foreign(key) is is_foreign
    assert not DesiredKey("virtkey-abc").is_foreign(key)


def test_a_guid_of_digits_in_metadata_is_compared_as_text():
    assert not DesiredKey("virtkey-4711", owner="4711").is_foreign(key_with_metadata({"guid": 4711}))


CREATED, FIRST = "2026-11-23T08:00:00Z", "2026-11-01T08:00:00Z"


@pytest.mark.parametrize(
    ("metadata", "created_at", "start"),
    [
        ({}, CREATED, CREATED),
        (None, CREATED, CREATED),
        ({LIFETIME_START: FIRST}, CREATED, FIRST),
        ({LIFETIME_START: FIRST}, None, FIRST),
        ({LIFETIME_START: "soon"}, CREATED, CREATED),
        ({LIFETIME_START: None}, CREATED, CREATED),
        ({}, None, None),
    ],
    ids=str,
)
def test_the_start_of_a_lifetime(metadata, created_at, start):
    key = key_with_metadata(metadata, created_at=created_at)
    assert lifetime_start(key) == (None if start is None else datetime.fromisoformat(start))


@pytest.mark.parametrize(
    ("metadata", "alias", "final_alias"),
    [
        ({REPLACES: "an id"}, "virtkey-abc.replacement", "virtkey-abc"),
        ({REPLACES: "an id"}, "virtkey-abc", "virtkey-abc"),
        ({REPLACES: "an id"}, None, None),
        # The alias alone proves nothing.
        ({}, "virtkey-abc.replacement", "virtkey-abc.replacement"),
        ({REPLACES: None}, "virtkey-abc.replacement", "virtkey-abc.replacement"),
        ({REPLACES: {}}, "virtkey-abc.replacement", "virtkey-abc.replacement"),
    ],
)
def test_a_key_that_replaces_another_gets_its_alias(metadata, alias, final_alias):
    assert key_with_metadata(metadata, key_alias=alias).final_alias == final_alias


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"models": "a secret"}, "models is str"),
        ({"aliases": ["a"]}, "aliases is list"),  # the field of model_aliases
        ({"org_id": 5}, "org_id is 5"),
        ({"max_budget": "5", "blocked": 1}, "max_budget is str; blocked is 1"),
        # What is not a setting there is not read, and any client can write anything into the metadata.
        ({"tags": "a", "metadata": {"tags": "a"}}, None),
    ],
)
def test_fields_that_a_row_should_not_contain_are_a_problem(row, problem):
    key = ObservedKey.from_row({"token": "0" * 64, "key_alias": "virtkey-abc", **row})
    assert key.problem == (problem and f"The proxy returned unexpected data for key virtkey-abc: {problem}")
    assert (key.value("models"), key.value("max_budget"), key.value("tags")) == (None, None, None)
