# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTML page: it shows all keys, treats their values as text only, and labels the timeline correctly."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.page import render_page
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.report import build_report
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import printable
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime.fromisoformat("2026-11-30T08:00:00+00:00")
NO_USER = "\u2013"
VOID_ELEMENTS = {"meta", "input", "br", "link", "img"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "]]>",
    "&lt;b&gt;&amp;",
    "javascript:alert(1)",
    "\u202egnp.exe\x00\x1b[2J",
    "-->&quot;;alert(1)//",
)


class ParsedPage(HTMLParser):
    """The page as a browser parses it: its elements, in order, and the texts of each row of the table."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs)), attrs
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.text += data
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def error(self, message):
        raise AssertionError(message)


def key(alias="virtkey-abc", start=-48.0, end=100.0, **fields):
    """Return a key as litellm_key_info returns it; start and end are in hours from now."""

    def instant(hours):
        return None if hours is None else (NOW + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    return {
        "key_alias": alias,
        "key_id": "0" * 64,
        "key_name": "sk-...abcd",
        "guid": "abc",
        "status": "active" if end is None or end > 0 else "expired",
        "models": ["granite"],
        "expires": instant(end),
        "created_at": instant(start),
        "blocked": False,
        "user_id": None,
        "team_id": None,
        "max_budget": None,
        "spend": 0.0,
        "metadata": {},
        **fields,
    }


def html(*keys, guids=None, **options):
    return render_page(build_report(keys, NOW, soon=parse("24h"), guids=parse_guids(guids), **options))


def parsed(*keys, **options):
    return ParsedPage(html(*keys, **options))


def test_each_key_has_a_row():
    page = parsed(
        key("virtkey-a", end=3, user_id="ann@example.com", team_id="red", max_budget=5, spend=1.25, models=["x", "y"]),
        key("virtkey-b", end=None, models=[], guid=None),
        guids="abc",
        api_endpoint="https://litellm.example.com",
    )
    assert page.open == []
    _headings, first, second = page.rows
    assert first == [
        "virtkey-aguid abc",
        "ann@example.comteam red",
        "active ends soon",
        "in 3 hours2026-11-30 11:00",
        "created 2026-11-28 08:00",
        "1.25 of 5.00",
        "x, y",
    ]
    assert second == ["virtkey-b", NO_USER, "active", "never", "created 2026-11-28 08:00", "0.00", "all"]
    assert "https://litellm.example.com" in page.text
    assert {attributes["data-tags"] for tag, attributes in page.elements if "data-tags" in attributes} == {
        "active ends_soon",
        "active never_expires",
    }


def test_tiles_show_totals_and_orphaned_is_unknown_without_guids():
    def tiles(page):
        return {
            attributes["data-show"]: "disabled" not in attributes
            for tag, attributes in page.elements
            if tag == "button" and "data-show" in attributes
        }

    keys = key("virtkey-a", spend=0.5, metadata={"guid": "a"}), key("virtkey-b", end=-3, spend=0.25)
    text = parsed(*keys, guids="zzz").text
    for tile in (
        "2total",
        "1active",
        "1expired",
        "0blocked",
        "1orphaned",
        "1possibly orphaned",
        "0.75US dollars spent",
    ):
        assert tile in text
    assert tiles(parsed(*keys)) == {
        "": True,
        "active": True,
        "expired": True,
        "ends_soon": False,
        "blocked": False,
        "over_budget": False,
        "near_budget": False,
        "duplicate": False,
        "never_expires": False,
    }
    assert tiles(parsed(*keys, guids="zzz"))["orphaned"] is True
    assert tiles(parsed(*keys, guids="zzz"))["possibly_orphaned"] is True
    assert "environments without a key" not in parsed(*keys, guids="abc").text
    assert "1 environment without a key" in parsed(*keys, guids="zzz").text
    assert "2 environments without a key" in parsed(*keys, guids="yyy zzz").text


def test_unreadable_data_is_explained():
    page = parsed(
        key(
            end=None,
            status="unknown",
            problem="expires: the year <99999> is out of range",
            unreadable=["expires"],
        )
    )
    (_headings, row) = page.rows
    assert [" ".join(cell.split()) for cell in row[2:4]] == ["unknown unreadable data", "unknown"]
    titles = [attributes["title"] for _tag, attributes in page.elements if "title" in attributes]
    assert "expires: the year <99999> is out of range" in titles
    assert not any("never" in title for title in titles)


def test_page_without_keys():
    page = parsed()
    assert "There are no virtual keys." in page.text
    assert page.rows == []


def names(elements):
    """Return the names of elements with those of their attributes, without the values."""
    return [(tag, sorted(attributes)) for tag, attributes in elements]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_are_escaped(text):
    harmless = parsed(key("a", user_id="b", team_id="c", guid="d", models=["e"], metadata={"guid": "f"}), guids="g")
    page = parsed(key(text, user_id=text, team_id=text, guid=text, models=[text], metadata={"guid": text}), guids="g")
    assert names(page.elements) == names(harmless.elements)
    assert page.scripts == harmless.scripts
    shown = printable(text)
    assert page.rows[1][:2] == [f"{shown}guid {shown}", f"{shown}team {shown}"]
    assert page.rows[1][-1] == shown
    assert "\x1b" not in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_shared_budgets_are_listed(text):
    budget = {"guid": text, "limit": 100.0, "spent": 12.34, "left": 87.66, "resets_at": None}
    page = parsed(key(), shared_budgets=[budget])
    assert f"1 shared budget{printable(text)}: 12.34 of 100.00 spent, 87.66 left, reset never" in page.text.replace(
        "\n", ""
    )
    harmless = parsed(key(), shared_budgets=[{**budget, "guid": "a"}])
    assert names(page.elements) == names(harmless.elements)


@given(text=st.text(min_size=1) | st.text("<>\"'&/=! -;x", min_size=1))
def test_any_value_is_shown_as_text(text):
    page = parsed(key(text, user_id=text))
    assert names(page.elements) == names(parsed(key("a", user_id="b")).elements)
    assert page.rows[1][0] == f"{printable(text)}guid abc"


def test_policy_allows_only_the_script_of_the_page_and_no_external_resources():
    text = html(key())
    page = ParsedPage(text)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (
        attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert ("meta", {"name": "referrer", "content": "no-referrer"}) in page.elements
    for _tag, attributes in page.elements:
        assert not {"src", "href", "action", "srcset"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", text)


def bars(page):
    """Return the start and end of each bar of the timeline, in hours from now."""
    styles = [
        attributes["style"] for _tag, attributes in page.elements if attributes.get("class", "").split()[:1] == ["bar"]
    ]
    return [(float(start), float(end)) for style in styles for start, end in re.findall(r"^--a:(.+);--b:(.+)$", style)]


def scales(text):
    """Return the start and end of each scale of the timeline, in hours from now."""
    found = re.findall(r"\[data-scale=(\w+)\] \{ --s: (\S+); --h: (\S+);", text)
    return {name: (float(start), float(start) + float(hours)) for name, start, hours in found}


def ticks(text, scale):
    """Return the position in percent and the label of each tick of a scale."""
    (axis,) = re.findall(rf'<div class="{scale}">(.*?)</div>', text)
    return [(float(at), label) for at, label in re.findall(r'<span style="--t:(\S+)">([^<]+)</span>', axis)]


def test_bars_extend_from_creation_to_expiry():
    page = parsed(key(start=-48, end=100), key(start=-1, end=None), key(start=None, end=-2))
    assert bars(page) == [(-1e7, -2), (-48, 100), (-1, 1e7)]


@pytest.mark.parametrize(
    ("ends", "scale"),
    [
        ([3, 20], "day"),
        ([30, 60, 160], "week"),
        ([500], "month"),
        ([2000], "quarter"),
        ([8000], "year"),
        ([90000], "everything"),
        # A few keys with a much later expiry do not change the scale.
        ([30] * 20 + [90000], "week"),
        ([None, -40], "everything"),
    ],
)
def test_initial_scale_shows_most_expiries(ends, scale):
    text = html(*(key(end=end) for end in ends))
    assert f'<table id="keys" data-scale="{scale}">' in text
    assert f'value="{scale}" checked>' in text
    assert text.count(" checked>") == 1


@given(
    spans=st.lists(
        st.tuples(st.floats(-60000, 0), st.none() | st.floats(-60000, 61_000_000)).filter(
            lambda span: span[1] is None or span[0] <= span[1]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_everything_contains_every_bar_and_each_scale_has_ordered_ticks(spans):
    text = html(*(key(start=start, end=end) for start, end in spans))
    shown = scales(text)
    start, end = shown["everything"]
    for span_start, span_end in spans:
        assert start <= span_start
        assert span_end is None or span_end <= end
    for scale in shown:
        axis = ticks(text, scale)
        assert 1 <= len(axis) <= 6
        assert axis == sorted(axis)
        assert all(0 <= at <= 100 for at, _label in axis)
        assert all(label != next_label for (_at, label), (_next_at, next_label) in itertools.pairwise(axis))


@pytest.mark.parametrize(
    ("scale", "labels"),
    [
        ("day", ["06:00", "12:00", "18:00", "01 Dec"]),
        ("week", ["30 Nov", "02 Dec", "04 Dec", "06 Dec"]),
        ("month", ["30 Nov", "14 Dec"]),
        ("quarter", ["Dec 2026", "Jan 2027", "Feb 2027"]),
        ("year", ["Oct 2026", "Jan 2027", "Apr 2027", "Jul 2027", "Oct 2027"]),
    ],
)
def test_ticks_are_round_times(scale, labels):
    assert [label for _at, label in ticks(html(key()), scale)] == labels


def test_tick_is_at_the_position_of_its_time():
    text = html(key())
    start, end = scales(text)["week"]
    (at,) = (at for at, label in ticks(text, "week") if label == "02 Dec")
    assert start + (end - start) * at / 100 == pytest.approx(40, abs=0.02)  # 2 December 00:00 is in 40 hours
