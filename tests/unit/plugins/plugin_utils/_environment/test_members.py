# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test which keys belong to a lab environment: only a guid proves it, in the metadata or beside a saved secret."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.members import (
    Member,
    discover_members,
    named_members,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import SavedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import ObservedKey
from hypothesis import given
from hypothesis import strategies as st

SECRET = "sk-0123456789abcdef"


def key_of(alias: str, **metadata: Any) -> ObservedKey:
    return ObservedKey.from_row({"token": "0" * 64, "key_alias": alias, "metadata": metadata})


def users_of(guid: str, alias: str, saved: list[SavedKey], observed: list[ObservedKey]) -> list[str | None]:
    members = discover_members(guid, alias, saved, observed)
    assert [member.alias for member in members] == [
        f"{alias}-{member.user}" if member.user else alias for member in members
    ]
    return [member.user for member in members]


# Named members


def test_the_environment_itself_is_the_only_member_without_users() -> None:
    assert named_members("virtkey-a", ()) == [Member("virtkey-a")]


def test_each_named_user_has_a_key_and_a_number() -> None:
    assert named_members("virtkey-a", ("ann", "bob")) == [
        Member("virtkey-a-ann", "ann", 1),
        Member("virtkey-a-bob", "bob", 2),
    ]


# Members by the metadata of their keys


@pytest.mark.parametrize(
    ("keys", "users"),
    [
        ([], []),
        ([key_of("virtkey-a", guid="a")], [None]),
        # The alias of the environment itself is reserved for it.
        ([key_of("virtkey-a")], [None]),
        ([key_of("virtkey-a-user1", guid="a", user="user1")], ["user1"]),
        # Keys that somebody else created, or of other environments, whose alias starts with ours.
        ([key_of("virtkey-a-user1")], []),
        ([key_of("virtkey-a-user1", guid="b", user="user1")], []),
        ([key_of("virtkey-a-1", guid="a-1")], []),
        ([key_of("virtkey-a-1-user1", guid="a-1", user="user1")], []),
        ([key_of("virtkey-ab", guid="a", user="b")], []),
        ([key_of("other", guid="a", user="b")], []),
        # The guid is proof, also without a user.
        ([key_of("virtkey-a-b", guid="a")], ["b"]),
        ([key_of("virtkey-a-b-user1", guid="a", user="user1")], ["b-user1"]),
        ([key_of("virtkey-a", guid="a"), key_of("virtkey-a-ann", guid="a", user="ann")], [None, "ann"]),
        ([key_of("virtkey-a-ann", guid="a", user="ann"), key_of("virtkey-a", guid="a")], [None, "ann"]),
        # YAML reads a guid of digits, and such a user, as numbers.
        ([key_of("virtkey-a-7", guid="a", user=7)], ["7"]),
        ([key_of(f"virtkey-a-u{number}", guid="a", user=f"u{number}") for number in (10, 2, 1)], ["u1", "u2", "u10"]),
        # Named users keep their order.
        (
            [key_of(f"virtkey-a-{user}", guid="a", user_number=number) for user, number in (("ann", 2), ("zoe", 1))]
            + [key_of("virtkey-a-x", guid="a"), key_of("virtkey-a-y", guid="a", user_number="1")],
            ["zoe", "ann", "x", "y"],
        ),
        # A key that another run was replacing when it ended.
        (
            [
                key_of(
                    "virtkey-a-ann.replacement",
                    guid="a",
                    user="ann",
                    replaces_in_litellm_virtual_keys="0" * 64,
                )
            ],
            ["ann"],
        ),
        ([key_of("virtkey-a.replacement", guid="a", replaces_in_litellm_virtual_keys="0" * 64)], [None]),
        ([key_of("virtkey-a-ann.replacement", guid="b", replaces_in_litellm_virtual_keys="0" * 64)], []),
        # Two keys with the same alias are one member.
        ([key_of("virtkey-a-ann", guid="a"), key_of("virtkey-a-ann", guid="a")], ["ann"]),
    ],
)
def test_the_members_are_those_whose_metadata_name_the_guid(keys: list[ObservedKey], users: list[str | None]) -> None:
    assert users_of("a", "virtkey-a", [], keys) == users


def test_a_guid_of_digits_can_be_a_number_in_metadata() -> None:
    assert users_of("7", "virtkey-7", [], [key_of("virtkey-7-ann", guid=7)]) == ["ann"]


# Members by what was saved


def test_saved_keys_with_the_guid_are_members() -> None:
    saved = [
        SavedKey("virtkey-a-ann", SECRET, guid="a"),
        SavedKey("virtkey-ab", SECRET, guid="a"),
        SavedKey("virtkey-a", SECRET, guid="a"),
    ]
    assert users_of("a", "virtkey-a", saved, [key_of("virtkey-a-bob", guid="a", user="bob")]) == [None, "ann", "bob"]


def test_saved_users_keep_the_order_in_which_they_were_named() -> None:
    saved = [
        SavedKey(f"virtkey-a-{user}", SECRET, guid="a", settings={"metadata": {"user_number": number}})
        for user, number in (("ann", 2), ("bob", 3), ("zoe", 1))
    ]
    assert users_of("a", "virtkey-a", saved, []) == ["zoe", "ann", "bob"]


@pytest.mark.parametrize("guid", [None, "", "b", "a-1", "A"])
def test_a_saved_alias_without_the_guid_proves_nothing(guid: str | None) -> None:
    saved = [SavedKey("virtkey-a-1", SECRET, guid=guid), SavedKey("virtkey-a", SECRET, guid=guid)]
    assert users_of("a", "virtkey-a", saved, []) == []


def test_environments_whose_guids_start_alike_have_no_common_member() -> None:
    saved = [
        SavedKey("virtkey-abc", SECRET, guid="abc"),
        SavedKey("virtkey-abc-1", SECRET, guid="abc-1"),
        SavedKey("virtkey-abc-ann", SECRET, guid="abc"),
        SavedKey("virtkey-abc-1-ann", SECRET, guid="abc-1"),
    ]
    keys = [key_of(one.alias, guid=one.guid) for one in saved]
    for known, observed in ((saved, []), ([], keys), (saved, keys)):
        assert users_of("abc", "virtkey-abc", known, observed) == [None, "ann"]
        assert users_of("abc-1", "virtkey-abc-1", known, observed) == [None, "ann"]


GUIDS = st.sampled_from(["a", "a-1", "a-1-b", "b", "1"])
USERS = st.sampled_from([None, "1", "1-b", "b", "ann"])


@given(st.lists(st.tuples(GUIDS, USERS, st.booleans(), st.booleans())), GUIDS)
def test_a_member_always_has_the_guid(keys: list[tuple[str, str | None, bool, bool]], guid: str) -> None:
    """Whatever aliases other environments and their users have, unless they have the alias of the environment."""

    def alias_of(one: str, user: str | None) -> str:
        return f"virtkey-{one}-{user}" if user else f"virtkey-{one}"

    saved = [SavedKey(alias_of(one, user), SECRET, guid=one) for one, user, is_saved, _exists in keys if is_saved]
    observed = [key_of(alias_of(one, user), guid=one) for one, user, _is_saved, exists in keys if exists]
    found = {member.alias for member in discover_members(guid, f"virtkey-{guid}", saved, observed)}
    own = {alias_of(one, user) for one, user, is_saved, exists in keys if one == guid and (is_saved or exists)}
    assert own <= found <= own | {f"virtkey-{guid}"}
