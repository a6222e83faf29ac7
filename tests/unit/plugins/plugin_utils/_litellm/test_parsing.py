# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a proxy sends is parsed, or refused, in little time and memory."""

from __future__ import annotations

import gc
import json
import time
import warnings
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.parsing import (
    has_more_levels,
    parse_json,
    parse_literal,
)
from hypothesis import given
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    if len(repr(value)) <= 2000:
        assert parse_literal(repr(value)) == value


@given(st.text() | st.text(alphabet="{}[]():,'\\\"1+-*.eEjaif\n "))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (lambda: parse_json(text.encode()), lambda: parse_literal(text)):
        try:
            parse()
        except ValueError:
            continue


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("levels", [99, 100, 101, 500, 900, 3000, 100_000])
def test_a_hundred_levels_are_read_and_those_below_are_null(start: str, end: str, levels: int) -> None:
    gc.collect()  # a finalizer that runs while Python is at its limit would fail
    value = parse_json((start * levels + "1" + end * levels).encode())
    assert json.dumps(value)
    read = 0
    while isinstance(value, list | dict):
        value = value[0] if isinstance(value, list) else value["a"]
        read += 1
    assert (read, value) == ((levels, 1) if levels <= 100 else (100, None))


DEEP = "[" * 100 + '"]}", {"a\\\\": []}, [[[[]]]]' + "]" * 100


def test_values_beside_deep_ones_are_read() -> None:
    values = ['"\\"[{\\\\"', "{}", DEEP, "[[1]]", f'{{"a": {DEEP}, "b": "]"}}', "2"]
    parsed = parse_json(f"[{', '.join(values)}]".encode())
    assert [parsed[0], parsed[1], parsed[3], parsed[4]["b"], parsed[5]] == ['"[{\\', {}, [[1]], "]", 2]


@given(VALUES)
def test_the_same_values_are_read_beside_a_deep_one(value: Any) -> None:
    assert parse_json(f"[{DEEP}, {json.dumps(value)}, {'[' * 3000 + ']' * 3000}]".encode())[1] == value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b"[" * 3000 + b"}" * 3000,
        b"[" * 3000 + b"]" * 2000,
        b"[" * 3000 + b'"' + b"]" * 3000,
        ("[" * 3000 + "]" * 3000).encode("utf-16"),
        ("[" * 500 + "]" * 500).encode("utf-32"),
        b"[" * 200 + b"]" * 200 + b"x",
    ],
    ids=["open", "other brackets", "some open", "open text", "UTF-16", "UTF-32", "text after it"],
)
def test_invalid_json_with_many_levels_is_refused(body: bytes) -> None:
    gc.collect()
    try:
        value = parse_json(body)
    except ValueError:
        return
    assert not has_more_levels(value, 100)


@pytest.mark.parametrize(
    ("value", "levels"), [(1, 0), ("[[", 0), ([], 1), ({}, 1), ([1, [2]], 2), ({"a": [{}], "b": 1}, 3)]
)
def test_levels_are_counted(value: Any, levels: int) -> None:
    assert not has_more_levels(value, levels)
    assert levels == 0 or has_more_levels(value, levels - 1)


@pytest.mark.parametrize("mark", [b'"', b"\\", b'\\"', b'"\\"\\\\'], ids=["quotes", "backslashes", "escapes", "mixed"])
def test_texts_beside_deep_levels_take_little_time(mark: bytes) -> None:
    started = time.monotonic()
    for size in (1_000_000, 8_000_000):
        # Python 3.13 reads so many levels, and finds that the JSON is invalid.
        with pytest.raises(ValueError, match=r"too many|Expecting|Unterminated"):
            parse_json(b"[" * 3000 + b'"' + mark * (size // len(mark)))
    assert time.monotonic() - started < 30  # in quadratic time: hours


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b'""'])
def test_only_a_million_values_are_read(value: bytes) -> None:
    parse_json(b"[" + b",".join([value] * 400_000) + b"]")
    with pytest.raises(ValueError, match="too many values"):
        parse_json(b"[" + b",".join([value] * 1_000_001) + b"]")


@pytest.mark.parametrize(
    "piece",
    [
        "1+",
        "1,",
        "-",
        "~",
        "(",
        "[",
        "{",
        "{1:",
        "a.",
        "f(",
        "not ",
        "1if 1else ",
        "lambda:",
        "1**",
        "f'{",
        "'a'",
        "\\",
        "*",
    ],
)
def test_a_long_literal_is_refused_and_a_short_one_is_harmless(piece: str) -> None:
    """Python 3.10 crashes on some of the long ones."""
    for text in (f"{{{piece * 1000}"[:1998], f"{{{piece * 1000}"[:1998] + "1}"):
        try:
            parse_literal(text)
        except ValueError:
            continue
    with pytest.raises(ValueError, match="too long"):
        parse_literal("{" + piece * 400_000 + "1}")


def test_a_literal_causes_no_warning() -> None:
    """Python would print it, with a control character in it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert parse_literal("{'error': '\\\x1b'}") == {"error": "\\\x1b"}
    assert caught == []
