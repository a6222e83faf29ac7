# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a person reads after an operation: what was done, until when the keys live, where they are, how to try one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import Request
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.summary import Place, summarize
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording

NOW = datetime.fromisoformat("2026-11-24T08:00:05+00:00")
URL = "https://proxy.example.com/v1"
FILE = "virtual_keys/abc/provision-user-data.yaml"
END = "End: 2026-12-01T08:00:00Z, in 7 days"


def entry(user: str | None = None, operation: str = "created", **more: Any) -> dict[str, Any]:
    return {
        "key": f"sk-secret-of-{user}",
        "key_alias": f"virtkey-abc-{user}" if user else "virtkey-abc",
        "key_id": "0" * 64,
        "operation": operation,
        "models": ["granite"],
        "expires": "2026-12-01T08:00:00Z",
        "blocked": False,
        "max_budget": None,
        "spend": 0.0,
        **({"user": user} if user else {}),
        **more,
    }


def lines(
    operation: str,
    *entries: dict[str, Any],
    removed: tuple[dict[str, Any], ...] = (),
    check_mode: bool = False,
    file: str = FILE,
    lists: Mapping[str, str] = MappingProxyType({}),
    users: tuple[str, ...] = (),
    earlier_end: str | None = None,
    display_key: bool = True,
    **place: Any,
) -> list[str]:
    options = {"display_key": display_key}
    request = Request(operation, "abc", "virtkey-abc", users, False, options, {}, {}, wording=Wording(in_playbook=True))
    return summarize(request, entries, removed, Place(URL, file, lists, NOW, check_mode, **place), earlier_end)


def test_the_summary_of_a_new_key_has_a_command_that_tries_it() -> None:
    summary = lines("provision", entry())
    assert summary == [
        "Created virtual key virtkey-abc",
        "Models: granite, with no budget limit",
        END,
        f"Saved in: {FILE}",
        f"Try it: curl -H 'Authorization: Bearer sk-secret-of-None' {URL}/models",
    ]
    assert '"' not in "".join(summary)  # Ansible would escape it, and the command could not be copied


def test_the_summary_of_one_user_of_many() -> None:
    assert lines("rotate", entry("bob", operation="regenerated"))[-2:] == [
        f"Saved in: {FILE} (as litellm_bob_virtual_key)",
        f"Try it (instead of KEY): curl -H 'Authorization: Bearer KEY' {URL}/models",
    ]


def test_display_key_leaves_out_the_command() -> None:
    assert lines("provision", entry(), display_key=False)[-1] == f"Saved in: {FILE}"


def test_the_secrets_of_many_users_are_not_displayed() -> None:
    summary = lines("provision", entry("ann", max_budget=5.0), entry("bob"))
    assert summary == [
        "Created 2 virtual keys of environment abc: virtkey-abc-ann, virtkey-abc-bob",
        "Models: granite, with a budget of 5.00 USD each",
        END,
        f"Saved in: {FILE} (as litellm_ann_virtual_key and so on)",
        "For a list of all keys, run again with -e keys_file=keys.csv",
        f"Try one of them (instead of KEY): curl -H 'Authorization: Bearer KEY' {URL}/models",
    ]
    lists = {"keys_file": "keys.csv", "handout_file": "handout.html"}
    shown = lines("provision", entry("ann"), entry("bob"), lists=lists)
    assert {"List of all keys: keys.csv", "Page to print: handout.html"} < set(shown)


def test_only_what_was_created_is_called_created() -> None:
    summary = lines("provision", entry("ann", "unchanged"), entry("bob"), removed=(entry("eve", "deleted"),))
    assert summary[:3] == [
        "Left as it is (unchanged): virtual key virtkey-abc-ann",
        "Created virtual key virtkey-abc-bob",
        "Deleted virtual key virtkey-abc-eve",
    ]


def test_check_mode_promises_nothing() -> None:
    summary = lines("provision", entry(key=None), check_mode=True)
    assert summary == ["Would create virtual key virtkey-abc", "Models: granite, with no budget limit", END]


def test_an_expiry_that_is_not_shortened_is_explained() -> None:
    line = "Not shortened to 2026-11-25T08:00:00Z: to shorten, set -e shorten=true"
    summary = lines("provision", entry(operation="unchanged"), earlier_end="2026-11-25T08:00:00Z")
    assert summary[2:4] == [END, line]
    assert line not in lines("extend", entry(operation="unchanged"), earlier_end="2026-11-25T08:00:00Z")


def test_a_replacement_says_where_the_old_secret_remains() -> None:
    replaced = entry(operation="regenerated")
    unknown = "The old key was not saved here, so the files and Secrets that contain it are not known; update them"
    old = (
        "Not updated: Secret key in namespace lab, with the old secret. To write the new key there, run playbook "
        "provision_key with the same variables as before"
    )
    assert unknown not in lines("rotate", replaced)
    assert unknown in lines("rotate", replaced, is_complete=False)
    assert old in lines("rotate", replaced, is_complete=False, not_updated=["Secret key in namespace lab"])
    assert old in lines("extend", replaced, not_updated=["Secret key in namespace lab"])
    assert unknown not in lines("provision", entry(), is_complete=False)


def test_places_of_the_keys() -> None:
    assert "Written to: .env" in lines("provision", entry(), written=[".env"])
    assert "Written to: .env" in lines("extend", entry(operation="created"), written=[".env"])
    removed = (entry(operation="deleted"),)
    assert lines("destroy", removed=removed, written=[".env"], not_updated=[".env on bastion"]) == [
        "Deleted virtual key virtkey-abc",
        "Removed from: .env",
        "Not removed from: .env on bastion, where the key no longer works",
    ]
    assert lines("destroy", removed=removed, written=[".env"], check_mode=True) == [
        "Would delete virtual key virtkey-abc"
    ]
    assert any(
        line.startswith("Not saved, because user data is switched off") for line in lines("provision", entry(), file="")
    )


@pytest.mark.parametrize(
    ("expiries", "end"),
    [
        ([None], "No end: it never expires"),
        ([None, None], "No end: they never expire"),
        (["2026-12-01T08:00:00Z", None], "End: from 2026-12-01T08:00:00Z, in 7 days; some never expire"),
        (["2026-12-01T08:00:00Z", "2026-12-01T08:00:30Z"], END),
        (
            ["2026-12-01T08:00:00Z", "2026-11-25T08:00:00Z"],
            "End: from 2026-11-25T08:00:00Z, in 1 day, to 2026-12-01T08:00:00Z, in 7 days",
        ),
    ],
)
def test_the_end_of_the_keys(expiries: list[str | None], end: str) -> None:
    entries = [entry(f"u{number}", "updated", expires=one) for number, one in enumerate(expiries)]
    assert lines("extend", *entries)[1] == end


@pytest.mark.parametrize(
    ("operation", "entries", "removed", "expected"),
    [
        ("extend", [entry(operation="updated")], (), ["Extended virtual key virtkey-abc", END]),
        (
            "stop",
            [entry(operation="updated"), entry("ann", "unchanged", blocked=True)],
            (),
            [
                "Blocked virtual key virtkey-abc",
                "Left as it is (already blocked): virtual key virtkey-abc-ann",
                "To unblock, run playbook start_key",
            ],
        ),
        (
            "start",
            [entry(operation="updated", expires="2026-11-01T08:00:00Z")],
            (),
            [
                "Unblocked virtual key virtkey-abc",
                "Virtual key virtkey-abc does not work: it expired at 2026-11-01T08:00:00Z. Extend it "
                "(playbook extend_key)",
            ],
        ),
        ("stop", [], (), ["There is no virtual key of environment abc"]),
        (
            "destroy",
            [],
            (entry(operation="absent"), entry("ann", "deleted"), entry("bob", "deleted")),
            ["Deleted 2 virtual keys of environment abc: virtkey-abc-ann, virtkey-abc-bob"],
        ),
        ("destroy", [], (entry(operation="absent"),), ["There is no virtual key of environment abc"]),
        (
            "status",
            [entry("ann", "", status="active"), entry("bob", "", status="blocked", key=None)],
            (),
            [
                "Environment abc has 2 virtual keys: 1 active, 1 blocked",
                END,
                f"Saved in: {FILE} (as litellm_ann_virtual_key and so on)",
                f"Try one of them (instead of KEY): curl -H 'Authorization: Bearer KEY' {URL}/models",
            ],
        ),
        (
            "status",
            [entry(operation="", status="blocked", blocked=True)],
            (),
            [
                "Environment abc has 1 virtual key: 1 blocked",
                END,
                "Virtual key virtkey-abc does not work: it is blocked. Unblock it (playbook start_key)",
                f"Saved in: {FILE}",
            ],
        ),
        (
            "status",
            [entry(name, "", status="blocked", blocked=True) for name in ("ann", "bob")],
            (),
            [
                "Environment abc has 2 virtual keys: 2 blocked",
                END,
                "They do not work: all are blocked. Unblock them (playbook start_key)",
                f"Saved in: {FILE} (as litellm_ann_virtual_key and so on)",
            ],
        ),
        ("status", [], (), ["There is no virtual key of environment abc"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_summary_of_other_operations(operation: str, entries: Any, removed: Any, expected: list[str]) -> None:
    assert lines(operation, *entries, removed=removed) == expected


def test_a_user_without_a_key_is_named() -> None:
    assert lines("destroy", removed=(entry("eve", "absent"),), users=("eve",)) == [
        "Not found: virtual key virtkey-abc-eve"
    ]
