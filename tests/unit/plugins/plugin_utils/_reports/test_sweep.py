# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys a sweep deletes: never one that an existing environment may need."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import build_report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.sweep import REASONS, plan_sweep
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    DAY,
    GUIDS,
    KEYS,
    NOW,
    PREFIX,
    key,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("choice", "arguments", "aliases"),
    [
        ("expired", {}, ["virtkey-gone-x", "virtkey-old"]),
        (["expired"], {"expired_for": parse("10h")}, ["virtkey-gone-x"]),
        ("expired", {"expired_for": parse("20h")}, ["virtkey-gone-x"]),
        ("expired", {"expired_for": parse("21h")}, []),
        ("orphaned", {"guids": ["old", "new"]}, ["virtkey-gone-x", "virtkey-gone-y"]),
        ("expired,orphaned", {"guids": ["old", "new"]}, ["virtkey-gone-x", "virtkey-old", "virtkey-gone-y"]),
        (["orphaned", "expired"], {"guids": ["old", "new"], "at_most": 3}, None),
        # Keys of which only the alias suggests an environment have a choice of their own.
        ("possibly_orphaned", {"guids": ["old", "new"]}, ["virtkey-monitoring"]),
        (
            "orphaned,possibly_orphaned",
            {"guids": ["old", "new"]},
            ["virtkey-gone-x", "virtkey-gone-y", "virtkey-monitoring"],
        ),
        # Orphaned keys that have not expired are not chosen.
        ("expired", {"guids": ["new"]}, ["virtkey-gone-x", "virtkey-old"]),
    ],
)
def test_sweep_selects_keys_by_choice(choice, arguments, aliases):
    keys = [
        key("virtkey-new"),
        key("virtkey-old", -2),
        key("virtkey-gone-x", -20, metadata={"guid": "gone"}),
        key("virtkey-gone-y", None, metadata={"guid": "gone"}),
        key("virtkey-monitoring", None),
        key("alice", 10),
    ]
    plan = plan_sweep(keys, NOW, choice, **{**arguments, "guids": parse_guids(arguments.get("guids"))})
    assert plan["refusal"] is None
    selected = [entry["key_alias"] for entry in plan["virtual_keys"]]
    if aliases is not None:
        assert selected == aliases
    assert plan["removals"] == [{"key_id": entry["key_id"]} for entry in plan["virtual_keys"]]
    assert len(set(selected)) == len(selected)


@pytest.mark.parametrize(
    ("choice", "arguments", "message"),
    [
        ("", {}, "sweep=expired would delete 1, sweep=orphaned also requires guids"),
        (
            None,
            {"guids": ["new"]},
            "sweep=expired would delete 1, sweep=orphaned would delete 1, sweep=possibly_orphaned would delete 1; to",
        ),
        ([], {}, "No keys are deleted because sweep is not set"),
        ("orphaned", {}, "Cannot detect orphaned keys without the guids of the existing environments"),
        ("orphaned,expired", {"guids": ["other", "another"]}, "None of the specified guids (2) matches a key"),
        ("expired", {"at_most": 0}, "1 keys would be deleted, which is more than at_most (0)"),
        ("possibly_orphaned", {}, "Cannot detect orphaned keys without the guids of the existing environments"),
        (
            "possibly_orphaned",
            {"guids": ["other"]},
            "None of the specified guids (1) matches a key, so all 3 keys with",
        ),
        (
            "expired,orphaned",
            {"guids": ["new"], "at_most": 0},
            "1 keys would be deleted, which is more than at_most (0)",
        ),
        ("expired,possibly_orphaned", {"guids": ["new"], "at_most": 1}, "2 keys would be deleted, which is more than"),
    ],
)
def test_unsafe_sweep_is_refused(choice, arguments, message):
    keys = [key("virtkey-new"), key("virtkey-old", -2, metadata={"guid": "old"}), key("virtkey-monitoring", None)]
    plan = plan_sweep(keys, NOW, choice, **{**arguments, "guids": parse_guids(arguments.get("guids"))})
    assert message in plan["refusal"]


def test_a_key_is_not_selected_by_values_that_could_not_be_read():
    problem = "The proxy returned unexpected data for key virtkey-odd: ..."
    odd = key("virtkey-odd", None, status="unknown", metadata=None, problem=problem, unreadable=["expires", "metadata"])
    chosen = "expired,orphaned,possibly_orphaned"
    plan = plan_sweep([odd, key("virtkey-gone"), key("virtkey-new")], NOW, chosen, guids=parse_guids("new"))
    assert [entry["key_alias"] for entry in plan["virtual_keys"]] == ["virtkey-gone"]
    # A list of guids that matches no other key is wrong.
    refusal = plan_sweep([odd, key("virtkey-new")], NOW, "orphaned", guids=parse_guids("other"))["refusal"]
    assert refusal.startswith("None of the specified guids (1) matches a key, so all 1 keys with a guid")
    # A value that was read counts.
    expired = key("virtkey-new", -5, metadata=None, problem=problem, unreadable=["metadata"])
    assert len(plan_sweep([expired], NOW, chosen, guids=parse_guids("new"))["virtual_keys"]) == 1


def test_a_sweep_deletes_at_most_a_hundred_keys_by_default():
    keys = [key(f"virtkey-{number}", -1) for number in range(101)]
    assert plan_sweep(keys[:100], NOW, "expired")["refusal"] is None
    refusal = plan_sweep(keys, NOW, "expired")["refusal"]
    assert refusal.startswith("101 keys would be deleted, which is more than at_most (100)")


def test_a_key_that_expires_now_has_expired():
    assert len(plan_sweep([key("a", 0), key("b", 0.001)], NOW, "expired")["removals"]) == 1


@pytest.mark.parametrize("keys", [[], [key("alice", None)]], ids=["no key", "no key with a guid"])
def test_guids_are_not_wrong_if_no_key_has_a_guid(keys):
    plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids("abc"))
    assert (plan["removals"], plan["refusal"]) == ([], None)


def test_unknown_choice_is_refused():
    with pytest.raises(
        OptionError, match="Cannot select 'blocked' keys for deletion; choose expired, orphaned or possibly_orphaned"
    ):
        plan_sweep([key()], NOW, "expired,blocked")


def test_sweep_without_a_choice_returns_the_candidates_of_each_choice():
    plan = plan_sweep([key("virtkey-new"), key("virtkey-old", -2)], NOW, "", guids=parse_guids("old"))
    assert {name: [entry["key_alias"] for entry in entries] for name, entries in plan["candidates"].items()} == {
        "expired": ["virtkey-old"],
        "orphaned": [],
        "possibly_orphaned": ["virtkey-new"],
    }
    assert (plan["virtual_keys"], plan["removals"]) == ([], [])


def test_second_plan_keeps_keys_that_have_changed_since_the_first():
    extended, unchanged, deleted = key("virtkey-a", -5), key("virtkey-b", -5), key("virtkey-c", -5)
    first = plan_sweep([extended, unchanged, deleted], NOW, "expired")["virtual_keys"]
    keys = [{**extended, "expires": "2026-12-24T00:00:00Z"}, unchanged, key("virtkey-new", -1)]
    plan = plan_sweep(keys, NOW, "expired", among=first)
    assert [entry["key_alias"] for entry in plan["virtual_keys"]] == ["virtkey-b"]
    assert [entry["key_alias"] for entry in plan["kept"]] == ["virtkey-a", "virtkey-c"]
    assert plan["removals"] == [{"key_id": unchanged["key_id"]}]


@given(guids=st.lists(GUIDS, min_size=1), user=st.none() | GUIDS, in_metadata=st.booleans(), others=st.lists(GUIDS))
def test_key_of_an_existing_environment_is_never_selected_as_orphaned(guids, user, in_metadata, others):
    alias = PREFIX + guids[0] + (f"-{user}" if user else "")
    needed = key(alias, None, metadata={"guid": guids[0]} if in_metadata else {})
    keys = [needed, *(key(PREFIX + guid, None) for guid in others)]
    plan = plan_sweep(keys, NOW, "orphaned,possibly_orphaned", guids=parse_guids(guids))
    assert needed["key_id"] not in {removal["key_id"] for removal in plan["removals"]}


@given(keys=st.lists(KEYS | KEYS.map(lambda listed: {**listed, "metadata": {"guid": "gone"}})))
def test_key_without_a_guid_in_its_metadata_is_never_selected_as_orphaned(keys):
    plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids("other"))
    assert all(entry["metadata"] for entry in plan["virtual_keys"])


@given(
    keys=st.lists(KEYS, unique_by=lambda listed: listed["key_id"]),
    guid_list=st.none() | st.lists(GUIDS, min_size=1),
    choice=st.lists(st.sampled_from(REASONS), unique=True),
    grace_hours=st.none() | st.integers(1, 100),
    at_most=st.integers(0, 5),
)
def test_sweep_and_report_agree(keys, guid_list, choice, grace_hours, at_most):
    guids = parse_guids(guid_list)
    reported = {entry["key_id"]: entry for entry in build_report(keys, NOW, soon=DAY, guids=guids)["virtual_keys"]}
    options = {
        "guids": guids,
        "expired_for": None if grace_hours is None else parse(grace_hours),
        "at_most": at_most,
    }
    plan = plan_sweep(keys, NOW, choice, **options)
    selected = [removal["key_id"] for removal in plan["removals"]]
    assert len(selected) == len(set(selected))
    for key_id in selected:
        assert set(choice) & set(reported[key_id]["findings"])
    for finding in {"orphaned", "possibly_orphaned"} & set(choice):
        assert {key_id for key_id, entry in reported.items() if finding in entry["findings"]} <= set(selected)
    if len(selected) > at_most or not choice:
        assert plan["refusal"]
    # The second plan is the same if nothing has changed.
    second = plan_sweep(keys, NOW, choice, among=plan["virtual_keys"], **options)
    assert (second["removals"], second["kept"]) == (plan["removals"], [])
