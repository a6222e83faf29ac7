# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found about keys, and which of them may go: never one that an environment may need."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import format_instant, parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._report import (
    FINDINGS,
    parse_guids,
    report,
    sweep,
    table,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.fromisoformat("2026-11-30T08:00:00+00:00")
PREFIX = "virtkey-"
DAY = parse("24h")


def key(alias: str | None = "virtkey-abc", ends: float | None = 100.0, **more: Any) -> dict[str, Any]:
    """A key as litellm_key_info tells it, which ends in so many hours."""
    expires = None if ends is None else NOW + timedelta(hours=ends)
    blocked = more.get("blocked", False)
    status = "blocked" if blocked else "expired" if expires and expires <= NOW else "active"
    return {
        "key_alias": alias,
        "key_id": hashlib.sha256(repr((alias, ends, more)).encode()).hexdigest(),
        "key_name": "sk-...abcd",
        "guid": alias.removeprefix(PREFIX) if alias and alias.startswith(PREFIX) else None,
        "status": status,
        "models": ["granite"],
        "expires": expires and format_instant(expires),
        "created_at": "2026-11-23T08:00:00Z",
        "blocked": blocked,
        "user_id": None,
        "team_id": None,
        "max_budget": None,
        "spend": 0.0,
        "metadata": {},
        **more,
    }


def found(*keys, guids=None, soon=DAY) -> list[list[str]]:
    return [one["findings"] for one in report(keys, NOW, guids=parse_guids(guids), soon=soon)["virtual_keys"]]


@pytest.mark.parametrize(
    ("one", "findings"),
    [
        (key(), []),
        (key(ends=24.1), []),
        (key(ends=24), ["ends_soon"]),
        (key(ends=0.001), ["ends_soon"]),
        (key(ends=0), ["expired"]),
        (key(ends=-1), ["expired"]),
        (key(ends=None), ["never_expires"]),
        (key(blocked=True), ["blocked"]),
        (key(blocked=True, ends=-1), ["expired", "blocked"]),
        (key(max_budget=10, spend=7.99), []),
        (key(max_budget=10, spend=8), ["near_budget"]),
        (key(max_budget=10, spend=10), ["over_budget"]),
        (key(max_budget=10, spend=None), []),
        (key(max_budget=0, spend=0), ["over_budget"]),
        (key(max_budget=None, spend=1e6), []),
    ],
)
def test_what_is_found_about_a_key(one, findings):
    assert found(one) == [findings]


def test_the_same_alias_twice_is_a_duplicate_and_no_alias_is_none():
    assert found(key(), key(ends=101), key("virtkey-b", 102), key(None, 103), key(None, 104)) == [
        ["duplicate"],
        ["duplicate"],
        [],
        [],
        [],
    ]


@pytest.mark.parametrize(
    ("one", "guids", "orphaned"),
    [
        (key("virtkey-abc"), ["abc"], False),
        (key("virtkey-abc"), ["abcd", "ab", "bc", "ABC"], True),
        # A user of the environment, with and without the environment's guid in the metadata.
        (key("virtkey-abc-user1"), ["abc"], False),
        (key("virtkey-abc-user1"), ["abc-user1"], False),
        (key("virtkey-abc-user1", metadata={"guid": "abc"}), ["abc"], False),
        (key("virtkey-gone-user1", metadata={"guid": "gone"}), ["abc"], True),
        # A key under another name, and one that is about to be replaced.
        (key("lab/of/abc", metadata={"guid": "abc"}), ["abc"], False),
        (key("lab_abc_1", metadata={"guid": "gone"}), ["abc"], False),
        (key("virtkey-abc.replaced"), ["abc"], False),
        (key("virtkeyabc", guid="abc"), ["abc"], False),
        # Guids of digits are numbers to YAML, and to JSON in metadata.
        (key("virtkey-12345"), [12345], False),
        (key("virtkey-x", metadata={"guid": 12345}), "12345", False),
        # Odd ends of a name.
        (key("virtkey-abc_"), ["abc_"], False),
        (key("virtkey--abc"), ["-abc"], False),
        (key("virtkey-a.c"), ["abc"], True),
        (key("virtkey-abc"), ["a.c"], True),
        # Without a guid there is nothing to tell.
        (key("alice"), ["abc"], False),
        (key(None), ["abc"], False),
        (key("alice", metadata=None), ["abc"], False),
        (key("alice", metadata={"guid": ["abc"]}), ["abc"], False),
        (key("alice", metadata={"guid": ""}), ["abc"], False),
    ],
)
def test_which_keys_are_orphaned(one, guids, orphaned):
    assert found(one, guids=guids) == [["orphaned"] if orphaned else []]
    assert found(one) == [[]]


@pytest.mark.parametrize(
    ("given_guids", "guids"),
    [
        (None, None),
        ([None, None], None),
        ("abc", {"abc"}),
        (["abc", 12345], {"abc", "12345"}),
        ("abc, def\nghi\r\n\n  jkl # mno\n# pqr\n", {"abc", "def", "ghi", "jkl"}),
        ([["abc"], None, "def\nghi"], {"abc", "def", "ghi"}),
        (["a-b_c.d"], {"a-b_c.d"}),
    ],
)
def test_guids_are_read(given_guids, guids):
    assert parse_guids(given_guids) == guids


@pytest.mark.parametrize("nothing", ["", " \n", "# all of them", [], [[]], [[], None], [""], ()])
def test_a_list_without_a_guid_is_refused(nothing):
    with pytest.raises(OptionError, match="The list of guids is empty"):
        parse_guids(nothing)


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ('["abc", "def"]', 'has the line \'["abc", "def"]\'; write one guid on each line'),
        ("guids:\n", "has the line 'guids:'"),
        ("x\n - abc\n", "has the line '- abc'"),
        ({"abc": 1}, "has {'abc': 1}, which is no guid"),
        ([True], "has True, which is no guid"),
        ([1.5], "has 1.5, which is no guid"),
    ],
)
def test_another_kind_of_list_is_refused(odd, words):
    with pytest.raises(OptionError) as error:
        parse_guids(odd)
    assert words in str(error.value)


def test_the_report_counts_and_puts_first_what_ends_first():
    keys = [
        key("virtkey-never", None, spend=0.1),
        key("virtkey-late", 500, spend=0.2, max_budget=0.2),
        key("virtkey-gone", -5),
        key("virtkey-soon", 5, metadata={"guid": "soon"}, blocked=True),
    ]
    told = report(keys, NOW, soon=DAY, guids=parse_guids("soon late never missing"), api_endpoint="http://proxy")
    assert [one["key_alias"] for one in told["virtual_keys"]] == [
        "virtkey-gone",
        "virtkey-soon",
        "virtkey-late",
        "virtkey-never",
    ]
    assert told["totals"] == {
        "keys": 4,
        "active": 2,
        "expired": 1,
        "ends_soon": 1,
        "blocked": 1,
        "over_budget": 1,
        "near_budget": 0,
        "duplicate": 0,
        "orphaned": 1,
        "never_expires": 1,
        "spend": pytest.approx(0.3),
    }
    assert told["guids_without_key"] == ["missing"]
    assert (told["now"], told["soon"], told["api_endpoint"]) == ("2026-11-30T08:00:00Z", "24h", "http://proxy")
    assert told["summary"] == (
        "4 virtual keys: 2 active, 1 expired, 1 ending within 1 day, 1 blocked, 1 with the budget spent, 1 orphaned, "
        "1 without an end; 0.30 spent"
    )


def test_a_report_of_nothing():
    told = report([], NOW, soon=DAY)
    assert (told["virtual_keys"], told["guids_without_key"]) == ([], None)
    assert told["summary"] == "There are no virtual keys"


def test_the_table_has_a_column_for_findings_only_if_there_are_some():
    plain = [key("virtkey-a", 3, user_id="ann", max_budget=5, spend=1.25), key("virtkey-b", None, models=[])]
    assert table(plain, NOW) == [
        "KEY        STATUS  ENDS        SPENT         USER  MODELS",
        "virtkey-a  active  in 3 hours  1.25 of 5.00  ann   granite",
        "virtkey-b  active  never       0.00          -     all",
    ]
    keys = [key("virtkey-b", -30), key("virtkey-a", 3)]
    assert table(report(keys, NOW, soon=DAY, guids=parse_guids("a"))["virtual_keys"], NOW) == [
        "KEY        STATUS   ENDS               SPENT  USER  MODELS   FINDINGS",
        "virtkey-b  expired  1 day 6 hours ago  0.00   -     granite  orphaned",
        "virtkey-a  active   in 3 hours         0.00   -     granite  ends soon",
    ]
    assert table([], NOW) == []


def test_the_table_has_many_models_in_short_and_no_character_that_a_terminal_obeys():
    (_headings, line) = table([key("virtkey-\x1b[2J\u202e", models=["a", "b", "c", "d", "e"], user_id="a\nb")], NOW)
    assert r"virtkey-\x1b[2J\u202e" in line
    assert r"a\nb" in line
    assert line.endswith("a, b, c and 2 more")


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
        # Only what was chosen goes.
        ("expired", {"guids": ["new"]}, ["virtkey-gone-x", "virtkey-old"]),
    ],
)
def test_what_is_chosen_is_swept_away(choice, arguments, aliases):
    keys = [
        key("virtkey-new"),
        key("virtkey-old", -2),
        key("virtkey-gone-x", -20),
        key("virtkey-gone-y", None),
        key("alice", 10),
    ]
    plan = sweep(keys, NOW, choice, **{**arguments, "guids": parse_guids(arguments.get("guids"))})
    assert plan["refusal"] is None
    swept = [one["key_alias"] for one in plan["virtual_keys"]]
    if aliases is not None:
        assert swept == aliases
    assert plan["removals"] == [{"key_id": one["key_id"]} for one in plan["virtual_keys"]]
    assert len(set(swept)) == len(swept)


@pytest.mark.parametrize(
    ("choice", "arguments", "words"),
    [
        ("", {}, "sweep=expired would remove 1, sweep=orphaned needs the guids"),
        (None, {"guids": ["new"]}, "sweep=expired would remove 1, sweep=orphaned would remove 1, and sweep=expired,"),
        ([], {}, "Nothing is chosen to be removed"),
        ("orphaned", {}, "To tell which keys are orphaned needs the guids"),
        ("orphaned,expired", {"guids": ["other", "another"]}, "None of the 2 guids that are given is that of a key"),
        ("expired", {"at_most": 0}, "1 keys would be removed, which is more than the 0 of sweep_at_most"),
        ("expired,orphaned", {"guids": ["old"], "at_most": 1}, "2 keys would be removed, which is more than the 1 of"),
    ],
)
def test_nothing_is_swept_away_unless_it_is_meant(choice, arguments, words):
    keys = [key("virtkey-new"), key("virtkey-old", -2)]
    plan = sweep(keys, NOW, choice, **{**arguments, "guids": parse_guids(arguments.get("guids"))})
    assert words in plan["refusal"]


def test_an_unknown_choice_is_refused():
    with pytest.raises(OptionError, match="can be expired or orphaned, but not 'blocked'"):
        sweep([key()], NOW, "expired,blocked")


def test_without_a_choice_it_is_told_what_each_would_remove():
    plan = sweep([key("virtkey-new"), key("virtkey-old", -2)], NOW, "", guids=parse_guids("old"))
    assert {name: [one["key_alias"] for one in keys] for name, keys in plan["candidates"].items()} == {
        "expired": ["virtkey-old"],
        "orphaned": ["virtkey-new"],
    }
    assert (plan["virtual_keys"], plan["removals"]) == ([], [])


def test_at_last_only_what_was_told_goes_and_only_if_nothing_has_changed():
    extended, other, gone = key("virtkey-a", -5), key("virtkey-b", -5), key("virtkey-c", -5)
    told = sweep([extended, other, gone], NOW, "expired")["virtual_keys"]
    now = [{**extended, "expires": "2026-12-24T00:00:00Z"}, other, key("virtkey-new", -1)]
    plan = sweep(now, NOW, "expired", among=told)
    assert [one["key_alias"] for one in plan["virtual_keys"]] == ["virtkey-b"]
    assert [one["key_alias"] for one in plan["kept"]] == ["virtkey-a", "virtkey-c"]
    assert plan["removals"] == [{"key_id": other["key_id"]}]


guid_texts = st.text("abc1-_.", min_size=1, max_size=6).filter(lambda text: text.strip() != "")
hours = st.none() | st.integers(-1000, 1000)


@given(
    guids=st.lists(guid_texts, min_size=1), user=st.none() | guid_texts, told=st.booleans(), others=st.lists(guid_texts)
)
def test_no_key_of_an_environment_that_there_is_is_ever_an_orphan(guids, user, told, others):
    alias = PREFIX + guids[0] + (f"-{user}" if user else "")
    keys = [key(alias, None, metadata={"guid": guids[0]} if told else {}), *(key(PREFIX + one, None) for one in others)]
    plan = sweep(keys, NOW, "orphaned", guids=parse_guids(guids))
    assert keys[0]["key_id"] not in {one["key_id"] for one in plan["removals"]}


@given(
    keys=st.lists(
        st.builds(key, guid_texts.map(PREFIX.__add__) | st.none(), hours), unique_by=lambda one: one["key_id"]
    ),
    guids=st.none() | st.lists(guid_texts, min_size=1),
    choice=st.lists(st.sampled_from(["expired", "orphaned"]), unique=True),
    grace=st.none() | st.integers(1, 100),
    at_most=st.integers(0, 5),
)
def test_a_sweep_and_a_report_say_the_same(keys, guids, choice, grace, at_most):
    known = parse_guids(guids)
    told = {one["key_id"]: one for one in report(keys, NOW, soon=DAY, guids=known)["virtual_keys"]}
    expired_for = None if grace is None else parse(grace)
    plan = sweep(keys, NOW, choice, guids=known, expired_for=expired_for, at_most=at_most)
    swept = [one["key_id"] for one in plan["removals"]]
    assert len(swept) == len(set(swept))
    for key_id in swept:
        assert set(choice) & set(told[key_id]["findings"])
    if "orphaned" in choice and plan["refusal"] is None:
        assert {key_id for key_id, one in told.items() if "orphaned" in one["findings"]} <= set(swept)
    if len(swept) > at_most or not choice:
        assert plan["refusal"]
    # What was planned is still so a moment later.
    again = sweep(keys, NOW, choice, guids=known, expired_for=expired_for, at_most=at_most, among=plan["virtual_keys"])
    assert (again["removals"], again["kept"]) == (plan["removals"], [])


@given(keys=st.lists(st.builds(key, guid_texts.map(PREFIX.__add__) | st.none(), hours)), soon=st.integers(1, 2000))
def test_no_key_is_lost_and_each_finding_counted(keys, soon):
    told = report(keys, NOW, soon=parse(soon))
    assert sorted(one["key_id"] for one in told["virtual_keys"]) == sorted(one["key_id"] for one in keys)
    for name in FINDINGS:
        assert told["totals"][name] == sum(name in one["findings"] for one in told["virtual_keys"])
    ends = [one["expires"] or "9" for one in told["virtual_keys"]]
    assert ends == sorted(ends)
