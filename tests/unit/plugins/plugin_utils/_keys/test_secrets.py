# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How secrets are made, named and hidden, and the laws that hold for all of them."""

from __future__ import annotations

import hashlib
import re
import string

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from hypothesis import example, given
from hypothesis import strategies as st

SEED = "a seed of exactly 32 characters."
SHORTEST = "sk-" + "x" * 13

# Without NUL, with which HMAC fills up a short seed.
SEEDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=32, max_size=80)
ALIASES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
VERSIONS = st.integers(1, 1000)
# What a header takes, and not the asterisk: in it a secret could look like its own mask.
GIVEN = st.text(string.ascii_letters + string.digits + "-_.:+/\"'\\{}", min_size=13, max_size=40).map("sk-{}".format)


def test_the_key_id_is_the_hash_of_the_whole_secret() -> None:
    # printf %s sk-1234567890123456 | sha256sum
    expected = "20ddf7e0039becc478d66565dfacbf93e014bf1008e99c46527ceb41c65d7a37"
    assert _secret.given("sk-1234567890123456").key_id == expected


@pytest.mark.parametrize(
    ("secret", "source"),
    [
        (_secret.given(SHORTEST), "given"),
        (_secret.derive(SEED, "virtkey-a"), "derived"),
        (_secret.generate(), "generated"),
    ],
    ids=["given", "derived", "generated"],
)
def test_a_repr_tells_the_source_and_not_the_secret(secret: _secret.Secret, source: str) -> None:
    assert secret.source == source
    assert repr(secret) == str(secret) == f"Secret(source='{source}')"


@pytest.mark.parametrize("value", [SHORTEST, "sk-" + "x" * 1000, 'sk-"{with}~odd,signs"'])
def test_a_given_secret_is_kept_as_it_is(value: str) -> None:
    assert _secret.given(value) == _secret.Secret(value, "given")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "must start with 'sk-'"),
        ("SK-" + "x" * 13, "must start with 'sk-'"),
        (f" {SHORTEST}", "must start with 'sk-'"),
        ("f" * 64, "must start with 'sk-'"),
        (SHORTEST[:-1], "is 15 characters long; LiteLLM takes 16 or more"),
        (f"{SHORTEST}\n", "printable ASCII without blanks"),
        (f"{SHORTEST} {SHORTEST}", "printable ASCII without blanks"),
        (f"{SHORTEST}\0", "printable ASCII without blanks"),
        (f"{SHORTEST}\x7f", "printable ASCII without blanks"),
        (f"{SHORTEST}é", "printable ASCII without blanks"),
    ],
)
def test_a_secret_that_could_not_be_used_is_refused_without_showing_it(value: str, why: str) -> None:
    with pytest.raises(OptionError, match=re.escape(why)) as refused:
        _secret.given(value)
    assert not value or value not in str(refused.value)


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_seed_that_could_be_guessed_is_refused_without_showing_it(length: int) -> None:
    with pytest.raises(OptionError, match=f"key_seed is {length} characters long; it must have 32 or more") as refused:
        _secret.derive("?" * length, "virtkey-a")
    assert "?" not in str(refused.value)


def test_the_master_key_is_refused_as_a_seed_without_showing_it() -> None:
    master_key = "sk-" + "m" * 40
    with pytest.raises(OptionError, match=r"^key_seed must not be the master key: ") as refused:
        _secret.derive(master_key, "virtkey-a", master_key=master_key)
    assert "mm" not in str(refused.value)
    assert _secret.derive(SEED, "virtkey-a", master_key=master_key) == _secret.derive(SEED, "virtkey-a")


@pytest.mark.parametrize("version", [0, -1])
def test_versions_begin_with_1(version: int) -> None:
    with pytest.raises(OptionError, match=f"^key_version is {version}; it must be 1 or more$"):
        _secret.derive(SEED, "virtkey-a", version)


@pytest.mark.parametrize(
    ("seed", "alias", "version", "expected"),
    [
        (SEED, "virtkey-a", 1, "sk-dGiVadO5rSkQZflDoVxXQU5eMwmPmqSY"),
        (SEED, "virtkey-a", 2, "sk-nMfY9pRiStatzyyyaLJ11dB2DlPXxeGs"),
        (SEED, "virtkey-b", 1, "sk-Y2vT0AKDXWlGjwqKvCqQNFIHs2fpJuye"),
        ("ü" * 40, "schlüssel", 1, "sk-xbVBgNlKrRRW5IGna9HyhieDlhvBMjhs"),
    ],
)
def test_what_was_derived_once_is_derived_for_ever(seed: str, alias: str, version: int, expected: str) -> None:
    # The first was made with openssl and a calculator. A release that gave another would lose every derived key.
    assert _secret.derive(seed, alias, version).value == expected


@given(SEEDS, ALIASES, VERSIONS)
def test_deriving_gives_the_same_each_time(seed: str, alias: str, version: int) -> None:
    assert _secret.derive(seed, alias, version) == _secret.derive(seed, alias, version)


@given(st.sets(st.tuples(SEEDS, ALIASES, VERSIONS), min_size=2, max_size=5))
@example({(SEED, "a", 11), (SEED, "a1", 1), (SEED, "a\0001", 1), (SEED + "a", "", 1), (SEED, "a", 1)})
def test_another_seed_alias_or_version_gives_another_secret(cases: set[tuple[str, str, int]]) -> None:
    assert len({_secret.derive(*case).value for case in cases}) == len(cases)


def test_a_version_is_1_unless_it_is_said() -> None:
    assert _secret.derive(SEED, "virtkey-a") == _secret.derive(SEED, "virtkey-a", 1)


def test_generated_secrets_differ() -> None:
    assert len({_secret.generate().value for _unused in range(100)}) == 100


@given(st.one_of(st.builds(_secret.derive, SEEDS, ALIASES, VERSIONS), st.builds(_secret.generate)))
def test_what_we_make_is_a_word_that_given_accepts(secret: _secret.Secret) -> None:
    assert re.fullmatch(r"sk-[A-Za-z0-9]{32}", secret.value)
    assert _secret.given(secret.value).key_id == secret.key_id
    assert secret.key_id == hashlib.sha256(secret.value.encode()).hexdigest()


def test_generated_secrets_use_every_letter() -> None:
    # 6400 letters, of 62: that one is missing by chance happens once in 10⁴³.
    letters = set("".join(_secret.generate().value.removeprefix("sk-") for _unused in range(200)))
    assert letters == set(string.ascii_letters + string.digits)


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
def test_masking(text: str, known: list[str], expected: str) -> None:
    assert _secret.mask(text, known) == expected


@given(st.data(), st.lists(GIVEN, min_size=1, max_size=4))
def test_a_mask_never_leaves_a_known_secret(data: st.DataObject, known: list[str]) -> None:
    pieces = data.draw(st.lists(st.one_of(st.sampled_from(known), st.text(max_size=5)), max_size=8))
    masked = _secret.mask("".join(pieces), known)
    assert not [secret for secret in known if secret in masked]


@given(st.one_of(st.builds(_secret.derive, SEEDS, ALIASES), st.builds(_secret.generate)), st.text(), st.text())
def test_a_mask_hides_a_secret_of_ours_that_it_does_not_know(secret: _secret.Secret, before: str, after: str) -> None:
    assert secret.value not in _secret.mask(f"{before} {secret.value} {after}", [])
