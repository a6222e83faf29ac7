# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text is made safe to print: control characters are escaped, long names shortened, secrets masked."""

from __future__ import annotations

import html
import json
import re
import string
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import secrets
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._masking import mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording, printable, shorten
from hypothesis import given
from hypothesis import strategies as st

SEED = "a seed of exactly 32 characters."

# Without NUL, with which HMAC pads a short seed.
SEEDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80).map((SEED + "{}").format)
ALIASES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)

# Characters that a header may contain, without the asterisk: such a secret could look like its own mask.
GIVEN = st.text(string.ascii_letters + string.digits + "-_.:+/\"'\\{}", min_size=13, max_size=40).map("sk-{}".format)


@pytest.mark.parametrize(
    ("text", "known", "expected"),
    [
        ("nothing to hide", [], "nothing to hide"),
        ("sk-1234 is short, and known", ["sk-1234"], "******** is short, and known"),
        ("the longer one first: sk-12.34", ["sk-12", "sk-12.34"], "the longer one first: ********"),
        ("unknown: sk-abcdefgh", [], "unknown: sk-********"),
        ("in a path: /key/sk-abc_def-gh?x", [], "in a path: /key/sk-********?x"),
        ("a line\nsk-abcdefgh", [], "a line\nsk-********"),
        ("sk-short", [], "sk-short"),
        ("ask-me-anything, disk-encryption", [], "ask-me-anything, disk-encryption"),
        ("a prefix alone hides nothing: sk-", ["sk-", ""], "a prefix alone hides nothing: sk-"),
        ("sk-********", [], "sk-********"),
        ("in a URL: ?key=sk-ab%24cd%2Fef&x=1", ["sk-ab$cd/ef"], "in a URL: ?key=********&x=1"),
        ("key_sk-abcdefgh, [sk-abcdefgh]", [], "key_sk-********, [sk-********]"),
        (r"a\nsk-abcdefgh \"sk-abcdefgh\"", [], r"a\nsk-******** \"sk-********\""),
        ("a%22sk-abcdefgh%22 b%2522sk-abcdefgh", [], "a%22sk-********%22 b%2522sk-********"),
        (r"a\u0022sk-abcdefgh\x22 &quot;sk-abcdefgh&#34;", [], r"a\u0022sk-********\x22 &quot;sk-********&#34;"),
        ("in colour: \x1b[31msk-abcdefgh\x1b[0m", [], "in colour: \x1b[31msk-********\x1b[0m"),
        (r"in colour: \x1b[1;31msk-abcdefgh", [], r"in colour: \x1b[1;31msk-********"),
        ("with its end escaped: sk-abcdefgh%2Bijk&#x2f;l", [], "with its end escaped: sk-********"),
        (r"D:\new\task-manager-2000 %2Disk-encryption", [], r"D:\new\task-manager-2000 %2Disk-encryption"),
        ("in HTML: a&amp;b&#60;c&#x22;d&#00039;", ["a&b<c\"d'"], "in HTML: ********"),
        ("in URLs: %e2%82%ac%2f+x %E2%82%AC/%20x", ["€/ x"], "in URLs: ******** ********"),
        (r"a secret with escapes, as it is: a%41\n&lt;", [r"a%41\n&lt;"], "a secret with escapes, as it is: ********"),
        ("with points: sk-ab.cd~ef+gh/ij==.", [], "with points: sk-********."),
        (
            "the proxy's own short form: sk-...Ab1_, sk-...Ab12.",
            [],
            "the proxy's own short form: sk-...Ab1_, sk-...Ab12.",
        ),
    ],
)
def test_secrets_are_masked(text: str, known: list[str], expected: str) -> None:
    assert mask(text, known) == expected


@given(st.data(), st.lists(GIVEN, min_size=1, max_size=4))
def test_no_known_secret_is_left_unmasked(data: st.DataObject, known: list[str]) -> None:
    pieces = data.draw(st.lists(st.one_of(st.sampled_from(known), st.text(max_size=5)), max_size=8))
    masked = mask("".join(pieces), known)
    assert not [secret for secret in known if secret in masked]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON, all": lambda text: "".join(f"\\u{ord(one):04x}" if ord(one) < 0x10000 else one for one in text),
    "JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "Python": lambda text: repr(text)[1:-1],
    "Python, ASCII": lambda text: ascii(text)[1:-1],
    "URL": lambda text: quote(text, safe="", errors="replace"),
    "URL, lower case": lambda text: re.sub("%..", lambda escape: escape[0].lower(), quote(text, safe="/:")),
    "URL, form": lambda text: quote_plus(text, errors="replace"),
    "URL, all": lambda text: "".join(f"%{one:02X}" for one in text.encode(errors="replace")),
    "HTML": html.escape,
    "HTML, decimal": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "HTML, hexadecimal": lambda text: "".join(f"&#X{ord(one):x};" for one in text),
}
NEXT_TO_A_SECRET = ("", " ", '"', "'", "=", "/", "key_", r"\n", r"\"", "%22", "%0a", r"\u0022", "&quot;", "&#39;")


@given(
    # HTML has no references to control characters, and to code points that will never be characters.
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), min_size=6, max_size=40),
    st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=3),
    st.sampled_from(NEXT_TO_A_SECRET),
    st.sampled_from(NEXT_TO_A_SECRET),
)
def test_a_known_secret_is_masked_in_every_spelling(secret: str, spellings: list[str], before: str, after: str) -> None:
    spelled = secret
    for name in spellings:
        spelled = SPELLINGS[name](spelled)
    left = mask(f"{before}{spelled}{after}", [secret]).split("*")
    # A backslash at the end of a secret and the start of the following escape can be one escape, too.
    assert all(piece in before or piece in after for piece in left)


@given(st.builds(secrets.generate), st.sampled_from(sorted(SPELLINGS)), st.sampled_from(NEXT_TO_A_SECRET))
def test_an_unknown_secret_is_masked_in_every_spelling(secret: secrets.Secret, name: str, before: str) -> None:
    assert mask(f"{before}{SPELLINGS[name](secret.value)} ", []) == f"{before}sk-******** "


@pytest.mark.parametrize("piece", [r"\%26%5c", "%255C%2526", r"&#92;u0026amp;", r"\\u005cu0025", "%25", "&amp;"])
def test_a_long_text_with_many_escapes_is_masked_in_time(piece: str) -> None:
    started = time.monotonic()
    mask(piece * (64_000 // len(piece)), ["sk-0123456789", SEED])
    assert time.monotonic() - started < 10


@given(st.one_of(st.builds(secrets.derive, SEEDS, ALIASES), st.builds(secrets.generate)), st.text(), st.text())
def test_unknown_secrets_of_this_collection_are_masked(secret: secrets.Secret, before: str, after: str) -> None:
    assert secret.value not in mask(f"{before} {secret.value} {after}", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain ünïcödé", "plain ünïcödé"), ("\x1b[2J", r"\x1b[2J"), ("a\nb\u202e", r"a\nb\u202e"), ("\ud800", r"\ud800")],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_long_names_are_shortened() -> None:
    assert shorten("x" * 100) == "x" * 100
    assert shorten("x" * 101) == "x" * 97 + "..."


@pytest.mark.parametrize(
    ("wording", "expected"),
    [
        (Wording(), "models is empty; set on_unknown_models: warn, or set other: x"),
        (
            Wording({"models": "role_models", "on_unknown_models": "role_on_unknown_models"}),
            "role_models is empty; set role_on_unknown_models: warn, or set other: x",
        ),
        (
            Wording({"models": "models", "on_unknown_models": "on_unknown_models"}, in_playbook=True),
            "models is empty; set -e on_unknown_models=warn, or set other: x",
        ),
    ],
    ids=["action", "role", "playbook"],
)
def test_a_message_calls_options_as_its_reader_sets_them(wording: Wording, expected: str) -> None:
    message = wording.reword("models is empty; set on_unknown_models: warn, or set other: x")
    assert message == expected
    assert wording.reword(message) == expected
