# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of guids as editors, spreadsheets and shells save them: read, or refused, but never misread."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.guids import fold, parse_guids
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reports.sweep import plan_sweep
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._reports.listed_keys import (
    GUIDS,
    NOW,
    key,
)
from hypothesis import given
from hypothesis import strategies as st


def slurped(data: bytes) -> dict[str, Any]:
    """Return the result of the module `slurp` for a file."""
    return {"changed": False, "content": base64.b64encode(data).decode(), "encoding": "base64", "source": "guids.txt"}


def listed(value: Any) -> set[str] | None:
    guids = parse_guids(value)
    return None if guids is None else set(guids.values())


@pytest.mark.parametrize(
    ("value", "guids"),
    [
        (None, None),
        ([None, None], None),
        ("abc", {"abc"}),
        (["abc", "01234", "1_000"], {"abc", "01234", "1_000"}),
        ("12345", {"12345"}),
        (("abc", "def"), {"abc", "def"}),
        ("abc, def\nghi\r\n\n  jkl # mno\n# pqr\n", {"abc", "def", "ghi", "jkl"}),
        ([["abc"], None, "def\nghi"], {"abc", "def", "ghi"}),
        (["a-b_c.d"], {"a-b_c.d"}),
        (["lab/of/abc", "a@b", "a+b~c"], {"lab/of/abc", "a@b", "a+b~c"}),
        ("müller", {"müller"}),
        (slurped(b"abc\ndef"), {"abc", "def"}),
        ([None, slurped(b"abc\ndef")], {"abc", "def"}),
        (["ghi", slurped(b"abc\ndef")], {"abc", "def", "ghi"}),
        ("ABC\nabc", {"abc"}),
    ],
)
def test_parse_guids(value, guids):
    assert listed(value) == guids


@pytest.mark.parametrize(
    "value",
    [
        "",
        " \n",
        "# all of them",
        [],
        [[]],
        [[], None],
        [""],
        (),
        slurped(b""),
        slurped(b"\xff\xfe"),
        "\ufeff# abc",
        "\u200b",
    ],
)
def test_list_without_a_guid_is_refused(value):
    with pytest.raises(OptionError, match="The list of guids is empty"):
        parse_guids(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('["abc", "def"]', 'contains the line \'["abc", "def"]\'; write one guid on each line'),
        ("guids:\n", "contains the line 'guids:'"),
        ("x\n - abc\n", "contains the line '- abc'"),
        ({"abc": 1}, "contains {'abc': 1}, which is not a guid"),
        ([True], "contains True, which is not a guid"),
        ([1.5], "contains 1.5, which is not a guid"),
        # YAML reads 01234 as 668, and 1_000 as 1000, so the keys of these environments would look orphaned.
        (["abc", 668], "contains the number 668; quote guids, because YAML changes numbers such as 01234 and 1_000"),
        (1000, "contains the number 1000"),
        ([["abc", None]], "contains None, which is not a guid"),
        # Other formats, and characters that editors put in place of those that were typed.
        ("abc;def", "contains the line 'abc;def'"),
        ("abc|def", "contains the line"),
        ("\ufeff- abc", "contains the line"),
        ("\N{EN DASH} abc", "contains the line"),
        ("\N{BULLET} abc", "contains the line"),
        ("\N{LEFT DOUBLE QUOTATION MARK}abc\N{RIGHT DOUBLE QUOTATION MARK}", "contains the line"),
        ("<guid>abc</guid>", "contains the line"),
        ("abc\\", "contains the line"),
        # Text that was decoded incorrectly, or binary data.
        ("abc\ufffd", "contains the line"),
        ("\udcff\udcfea\0b\0c\0", "contains the line"),
        ("ÿþa\0b\0c\0", "contains the line"),
        ("abc\x1a", "contains the line"),
        ("ï»¿abc", "contains the line"),
        ("mÃ¼ller", "contains the line"),
    ],
)
def test_list_of_guids_in_another_format_is_refused(value, message):
    with pytest.raises(OptionError) as error:
        parse_guids(value)
    assert message in str(error.value)


TEXT = "abc\ndef-1\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        b"\0\0\xfe\xff" + TEXT.encode("utf-32-be"),
        TEXT.upper().encode(),
        TEXT.replace("\n", "\r\n").encode("utf-8-sig"),
        TEXT.replace("\n", "\r\n").encode("utf-16"),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", " \t \n").encode(),
        TEXT.replace("\n", "\u00a0\n").encode(),
        TEXT.replace("\n", "\u3000\n").encode(),
        TEXT.replace("\n", "\u2028").encode(),
        TEXT.replace("\n", "\u200b\n").encode(),
        TEXT.replace("a", "\u200ea").encode(),
        TEXT.replace("b", "b\u200b").encode(),
        TEXT.replace("b", "\u2060b\u00ad").encode(),
        TEXT.replace("-", "\N{NON-BREAKING HYPHEN}").encode(),
        TEXT.replace("-", "\N{EN DASH}").encode(),
        TEXT.replace("-", "\N{MINUS SIGN}").encode(),
        TEXT.replace("abc", "\uff41\uff42\uff43").encode(),  # full width
        TEXT.replace("\n", "\uff0c").encode(),
        "abc".encode("utf-8-sig") + "def-1".encode("utf-8-sig"),  # two files in one
        TEXT.encode("utf-16") + TEXT.encode("utf-16"),
    ],
)
def test_the_keys_of_listed_environments_are_kept_however_the_list_is_saved(data):
    keys = [key(f"virtkey-{guid}", metadata={"guid": guid}) for guid in ("abc", "def-1", "gone")]
    plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids([None, slurped(data)]))
    assert (plan["refusal"], [entry["guid"] for entry in plan["virtual_keys"]]) == (None, ["gone"])


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("utf-16-le"),  # without a byte order mark
        TEXT.encode("utf-16-be"),
        b"\xff\xfe" + TEXT.encode("utf-16-le")[:-1],  # cut off
        b"\xef\xbb\xbf\xff" + TEXT.encode(),
        "abc\u00a0\ndef-1".encode("latin-1"),
        "müller\nabc".encode("cp1252"),
        "abc\nd\u00e9f".encode("mac-roman"),
        "abc\n環境".encode("shift-jis"),
        b"PK\x03\x04" + bytes(range(256)),  # a spreadsheet
        b"\x1f\x8b\x08\x00" + TEXT.encode(),
        b"\xff\xfe" + TEXT.encode("utf-16-be"),  # the wrong byte order
        TEXT.encode("utf-8-sig") + "ghi\n".encode("utf-16"),  # a line added in another encoding
        TEXT.encode() + b"\x1a",
    ],
)
def test_a_list_that_cannot_be_decoded_is_refused(data):
    with pytest.raises(OptionError, match=r"^(Cannot decode the list of guids|The list of guids contains the line)"):
        parse_guids(slurped(data))


def test_a_line_that_was_added_in_another_encoding_is_noticed():
    data = TEXT.encode("utf-16") + b"news"  # two bytes of UTF-16 each: two letters of another script
    keys = [key(f"virtkey-{guid}", metadata={"guid": guid}) for guid in ("abc", "def-1", "gone")]
    plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids(slurped(data)))
    assert plan["refusal"].startswith("The listed guid")


@pytest.mark.parametrize("content", ["abc", "ab\ncd", "ä", None, 5])
def test_content_that_is_not_base64_is_refused(content):
    with pytest.raises(OptionError, match="Cannot decode the list of guids"):
        parse_guids({"encoding": "base64", "content": content})


@pytest.mark.parametrize("guid", ["\u0430bc", "mŸller", "\u03b1bc"], ids=["Cyrillic", "mojibake", "Greek"])
def test_a_guid_that_looks_like_another_is_refused(guid):
    keys = [key("virtkey-abc", metadata={"guid": "abc"}), key("virtkey-def", metadata={"guid": "def"})]
    plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids(f"{guid}\ndef"))
    assert plan["refusal"].startswith(f"The listed guid {guid!a} matches no key and may be misspelled")
    assert plan_sweep(keys, NOW, "expired", guids=parse_guids(f"{guid}\ndef"))["refusal"] is None


def test_the_start_of_a_long_guid_is_quoted():
    plan = plan_sweep([key()], NOW, "orphaned", guids=parse_guids(["abc", "\u0430" * 61]))
    assert plan["refusal"].startswith("The listed guid '" + r"\u0430" * 60 + "' matches no key")


def test_a_guid_with_letters_outside_ascii_is_compared_in_any_composition_and_case():
    keys = [key("virtkey-müller", metadata={"guid": "müller"}), key("virtkey-gone", metadata={"guid": "gone"})]
    for guid in ("müller", "mu\u0308ller", "MÜLLER"):
        plan = plan_sweep(keys, NOW, "orphaned", guids=parse_guids(guid))
        assert (plan["refusal"], [entry["guid"] for entry in plan["virtual_keys"]]) == (None, ["gone"])


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)
    assert fold(text.upper()) == fold(text.upper().lower())


@given(
    guid=GUIDS,
    before=st.sampled_from(["", "\ufeff", "\u200b", " "]),
    upper=st.booleans(),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_every_saved_guid_is_found_again(guid, before, upper, codec):
    text = before + (guid.upper() if upper else guid)
    guids = parse_guids(slurped(text.encode(codec)))
    assert guids is not None
    assert fold(guid) in guids


def test_characters_that_are_not_base64_are_refused():
    with pytest.raises(OptionError, match="Cannot decode the list of guids"):
        parse_guids({"content": "YWJj!", "encoding": "base64"})


def test_a_line_is_quoted_up_to_sixty_characters():
    with pytest.raises(OptionError) as error:
        parse_guids(f"[{'a' * 80}")
    assert f"contains the line '[{'a' * 59}';" in str(error.value)
