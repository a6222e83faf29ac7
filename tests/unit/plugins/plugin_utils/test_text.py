# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text is made safe to print: control characters are escaped, long names shortened, secrets masked."""

from __future__ import annotations

import string

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import secrets
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import mask, printable, shorten
from hypothesis import given
from hypothesis import strategies as st

SEED = "a seed of exactly 32 characters."

# Without NUL, with which HMAC pads a short seed.
SEEDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=32, max_size=80)
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
