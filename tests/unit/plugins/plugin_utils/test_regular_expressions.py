# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every regular expression of the collection takes linear time, whatever a proxy, a file or a user writes."""

from __future__ import annotations

import importlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import durations

PACKAGE = "ansible_collections.rhpds.litellm_virtual_keys.plugins"
PLUGINS = Path(__file__).parents[4] / "plugins"
# Characters. An exponential time is found with a short text, and a quadratic one with the longest.
SHORT, LONGEST = 22, 4000
SECONDS = 0.05
# Longer durations are refused before this expression is used.
LONGEST_OF = {"plugin_utils._keys.durations._TERM, at any place": durations._MAX_TEXT}

STARTS = ("", "sk-", "1", "P1", "1:", "postgresql://", "2026-11-30T08:00:00", "password", "<script>")
PIECES = (
    *("a", "1", " ", "\n", ".", "-", "_", ":", ",", "/", "@", "%", "[", "?", "&", "="),
    *("1.", "1h", "1h ", "1, ", "0:", "sk-", "sk-...", "a.", "password ", "a,", ":1,", "[]", "%4", "é", "<script>"),
)
ENDS = ("", "!")


Match = Callable[[Any], object]


def matches() -> Iterator[tuple[str, Match]]:
    """Yield what the modules of the collection do with the regular expressions that they compile."""
    for path in sorted([*PLUGINS.glob("plugin_utils/_*/*.py"), *PLUGINS.glob("plugin_utils/_*.py")]):
        name = ".".join(path.relative_to(PLUGINS).with_suffix("").parts)
        text = path.read_text(encoding="utf-8")
        for constant, value in vars(importlib.import_module(f"{PACKAGE}.{name}")).items():
            if isinstance(value, re.Pattern):
                yield f"{name}.{constant}", of_text(value, value.fullmatch)
                if re.search(rf"\b{constant}\.(search|sub|findall|finditer|split)\b", text):
                    yield f"{name}.{constant}, at any place", of_text(value, value.search)


def of_text(pattern: re.Pattern[Any], match: Match) -> Match:
    """Return a match that takes text, also if the expression is one of bytes."""
    return match if isinstance(pattern.pattern, str) else lambda text: match(text.encode())


MATCHES = dict(matches())


def seconds(match: Match, text: str) -> float:
    started = time.thread_time()
    match(text)
    return time.thread_time() - started


def slow_text(match: Match, longest: int = LONGEST) -> str | None:
    """Return the start of the first text for which a match needs too much time; None if there is none."""
    for length in (SHORT, longest):
        for start, piece, end in itertools.product(STARTS, PIECES, ENDS):
            text = start + piece * (length // len(piece)) + end
            # The shortest of three times: a garbage collection may run during one of them.
            if all(seconds(match, text) > SECONDS for _attempt in range(3)):
                return text[:30]
    return None


@pytest.mark.parametrize("name", MATCHES)
def test_a_hostile_text_takes_no_time(name: str) -> None:
    assert slow_text(MATCHES[name], LONGEST_OF.get(name, LONGEST)) is None


@pytest.mark.parametrize("match", [re.compile("(?:1a?)+b").search, re.compile("(?:1|1)*b").fullmatch], ids=["n²", "2ⁿ"])
def test_a_slow_expression_is_found(match: Match) -> None:
    assert slow_text(match) is not None


def test_a_long_duration_is_refused() -> None:
    started = time.thread_time()
    with pytest.raises(durations.DurationError, match=f"it is longer than {durations._MAX_TEXT} characters"):
        durations.parse("1" * 1_000_000)
    assert time.thread_time() - started < 1


def test_the_expressions_are_found() -> None:
    assert {
        "plugin_utils._masking._LOOKS_LIKE_A_SECRET, at any place",
        "plugin_utils._database.url._PASSWORD, at any place",
        "plugin_utils._keys.durations._TERM",
    } <= set(MATCHES)
