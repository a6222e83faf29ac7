# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test what users and operators read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.messages import (
    extension_messages,
    no_keys,
    not_blocked,
    nothing_extended,
    other_keys,
    provision_messages,
    unknown_operation,
    unusable,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import Request
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording

BASE_URL = "https://proxy.example.com/v1"
NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")
LATER = "2026-12-24T08:00:00Z"


def entry(user: str | None = None, **more: Any) -> dict[str, Any]:
    alias = f"virtkey-abc-{user}" if user else "virtkey-abc"
    return {
        "key": "sk-secret",
        "key_alias": alias,
        "key_id": "0" * 64,
        "operation": "created",
        "models": ["a", "b"],
        "duration": "7d",
        "expires": "2026-11-30T08:00:00Z",
        "blocked": False,
        "max_budget": None,
        "spend": 0.0,
        **({"user": user} if user else {}),
        **more,
    }


def requested(operation: str) -> Request:
    return Request(operation, "abc", "virtkey-abc", (), False, {}, {}, {})


def messages(*entries: dict[str, Any], docling: dict[str, str] | None = None, **options: Any) -> list[str]:
    users = tuple(one["user"] for one in entries if one.get("user"))
    all_options = {"display_key": True, "user_messages": None, **options}
    request = Request("provision", "abc", "virtkey-abc", users, False, all_options, {}, {})
    return provision_messages(request, entries, BASE_URL, docling or {}, NOW)


# Messages to the user


def test_the_messages_about_one_key() -> None:
    assert messages(entry()) == [
        f"LiteLLM API Endpoint: {BASE_URL}",
        "LiteLLM Virtual Key: sk-secret",
        "Available Models: a, b",
        "Key Duration: 7d",
        "Key Expires: 2026-11-30T08:00:00Z",
    ]


def test_the_messages_about_many_users_contain_no_secret() -> None:
    shown = messages(entry("ann"), entry("bob"))
    assert shown[1] == "Created 2 virtual keys"
    assert messages(entry("ann"))[1] == "Created 1 virtual key"
    assert "sk-secret" not in "".join(shown)


def test_existing_keys_of_users_are_not_reported_as_created() -> None:
    assert messages(entry("ann"), entry("bob", operation="unchanged"))[1] == "Virtual Keys: 2"
    assert messages(entry("ann"), entry("bob", operation="regenerated"))[1] == "Created 2 virtual keys"


def test_the_key_can_be_left_out() -> None:
    shown = messages(entry(), display_key=False)
    assert shown[1] == "LiteLLM Virtual Key: in the lab guide"
    assert "sk-secret" not in "".join(shown)


def test_check_mode_has_no_key() -> None:
    assert messages(entry(key=None, key_id=None))[1] == "LiteLLM Virtual Key: (not created in check mode)"


def test_a_key_without_limits() -> None:
    assert messages(entry(models=[], duration=None, expires=None))[2:] == [
        "Available Models: all",
        "Key Duration: unlimited",
        "Key Expires: never",
    ]
    assert messages(entry(models=None))[2] == "Available Models: all"


def test_docling_and_further_messages_come_last() -> None:
    docling = {"litellm_docling_endpoint": "https://proxy.example.com/docling", "litellm_docling_model": "Docling"}
    shown = messages(entry(blocked=True), docling=docling, user_messages=["Have fun", "and profit"])
    assert shown[5] == "Docling Endpoint: https://proxy.example.com/docling"
    assert shown[6] == "Docling Model: Docling"
    assert shown[7].startswith("Virtual key virtkey-abc does not work: ")
    assert shown[8:] == ["Have fun", "and profit"]


@pytest.mark.parametrize(
    ("duration", "expires", "message"),
    [
        ("7d", "2026-11-30T08:00:00Z", "LiteLLM Virtual Key extended to 7 days, until 2026-11-30T08:00:00Z"),
        ("36h", LATER, f"LiteLLM Virtual Key extended to 1 day 12 hours, until {LATER}"),
        ("0m", LATER, f"LiteLLM Virtual Key extended to 0m, until {LATER}"),
        (None, None, "LiteLLM Virtual Key extended to unlimited, until it is deleted"),
    ],
)
def test_the_message_after_an_extension(duration: str | None, expires: str | None, message: str) -> None:
    assert extension_messages([entry(duration=duration, expires=expires)], NOW, Wording()) == [message]


def test_the_messages_after_an_extension_name_keys_that_do_not_work() -> None:
    shown = extension_messages([entry("ann", expires=None), entry("bob", blocked=True)], NOW, Wording())
    assert shown[1:] == [*unusable([entry("bob", blocked=True)], NOW, Wording())]
    assert len(shown) == 2


# Keys that do not work


def increase(seconds: int) -> dict[str, Any]:
    """Return the metadata of a key whose budget is increased by 1 for some time from now on."""
    return {"temp_budget_increase": 1.0, "temp_budget_expiry": f"2026-11-24T08:00:0{seconds}"}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, None),
        ({"expires": None}, None),
        ({"expires": "2026-11-24T08:00:01Z"}, None),
        ({"expires": "2026-11-24T08:00:00Z"}, "it expired at 2026-11-24T08:00:00Z. Extend it"),
        ({"blocked": True}, "it is blocked. Unblock it (ACTION: start with block_on_stop, or blocked: false)"),
        ({"max_budget": 2.5, "spend": 2.49}, None),
        ({"max_budget": 2.5, "spend": 2.5}, "its budget of 2.5 is spent. Raise max_budget"),
        ({"max_budget": 0.0, "spend": None}, "its budget of 0 is spent. Raise max_budget"),
        ({"max_budget": 2.5, "spend": 3.4, "metadata": increase(1)}, None),
        ({"max_budget": 2.5, "spend": 3.5, "metadata": increase(1)}, "its budget of 3.5 is spent. Raise max_budget"),
        ({"max_budget": 2.5, "spend": 3.4, "metadata": increase(0)}, "its budget of 2.5 is spent. Raise max_budget"),
        (
            {"max_budget": 2.5, "spend": 3.4, "metadata": {"temp_budget_increase": 1}},
            "its budget of 2.5 is spent. Raise max_budget",
        ),
        ({"max_budget": 2.5, "spend": 3.4, "metadata": None}, "its budget of 2.5 is spent. Raise max_budget"),
        ({"max_budget": None, "spend": 3.4, "metadata": increase(1)}, None),
        # A key that does not exist.
        ({"blocked": True, "key_id": None}, None),
    ],
)
def test_why_a_key_does_not_work(state: dict[str, Any], reason: str | None) -> None:
    expected = [f"Virtual key virtkey-abc-ann does not work: {reason}"] if reason else []
    assert unusable([entry("ann", **state), entry("bob")], NOW, Wording()) == expected


def test_the_alias_of_an_unusable_key_is_printable() -> None:
    (shown,) = unusable([entry("\x1b[2J", blocked=True)], NOW, Wording())
    assert shown.startswith(r"Virtual key virtkey-abc-\x1b[2J does not work: it is blocked")


# Reports to the operator


def test_nothing_was_extended() -> None:
    report = "Nothing is extended: the virtual keys already live that long, until "
    assert nothing_extended([entry()]) == f"{report}2026-11-30T08:00:00Z"
    assert nothing_extended([entry(expires=None)]) == f"{report}they are deleted"


def test_an_unknown_operation_is_quoted_safely() -> None:
    assert unknown_operation("up\x1b[31mdate") == (
        "Nothing to do for ACTION 'up\\x1b[31mdate'; supported are provision, create, extend, stop, start, status, "
        "rotate, rotate_old, destroy, remove"
    )


def test_what_stop_and_start_leave_alone() -> None:
    assert not_blocked(Wording({"block_on_stop": "role_block_on_stop"})) == (
        "The virtual keys are left as they are; with role_block_on_stop: true, stop blocks and start unblocks them"
    )


def test_an_environment_without_keys() -> None:
    assert no_keys("abc") == "There is no virtual key of environment abc"


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, "a0"), (10, ", ".join(f"a{number}" for number in range(10)))],
)
def test_other_keys_of_the_environment_are_named(count: int, shown: str) -> None:
    assert other_keys(requested("provision"), [f"a{number}" for number in range(count)]) == (
        f"Environment abc has other virtual keys that this provision does not include: {shown}. They stay active; "
        "delete them with ACTION: destroy, for the whole environment or with their users"
    )


def test_at_most_ten_other_keys_are_named() -> None:
    warning = other_keys(requested("destroy"), [f"a{number}" for number in range(12)])
    assert ": a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 and 2 more. They" in warning
