# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are validated, generated and derived, and properties that hold for all of them."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import string
from collections.abc import Callable
from secrets import randbits, token_hex, token_urlsafe

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import secrets
from hypothesis import example, given
from hypothesis import strategies as st

SEED = "a seed of exactly 32 characters."
SHORTEST = "sk-" + "x" * 13

# Without NUL, with which HMAC pads a short seed.
SEEDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80).map((SEED + "{}").format)
ALIASES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
VERSIONS = st.integers(1, 1000)


def test_the_key_id_is_the_hash_of_the_whole_secret() -> None:
    # printf %s sk-1234567890123456 | sha256sum
    expected = "20ddf7e0039becc478d66565dfacbf93e014bf1008e99c46527ceb41c65d7a37"
    assert secrets.given("sk-1234567890123456").key_id == expected


@pytest.mark.parametrize(
    ("secret", "source"),
    [
        (secrets.given(SHORTEST), "given"),
        (secrets.derive(SEED, "virtkey-a"), "derived"),
        (secrets.generate(), "generated"),
    ],
    ids=["given", "derived", "generated"],
)
def test_a_repr_shows_the_source_and_not_the_secret(secret: secrets.Secret, source: str) -> None:
    assert secret.source == source
    assert repr(secret) == str(secret) == f"Secret(source='{source}')"


@pytest.mark.parametrize("value", [SHORTEST, "sk-" + "x" * 1000, 'sk-"{with}~odd,signs"'])
def test_a_given_secret_is_not_modified(value: str) -> None:
    assert secrets.given(value) == secrets.Secret(value, "given")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "must start with 'sk-'"),
        ("SK-" + "x" * 13, "must start with 'sk-'"),
        (f" {SHORTEST}", "must start with 'sk-'"),
        ("f" * 64, "must start with 'sk-'"),
        (SHORTEST[:-1], "is 15 characters long; LiteLLM requires at least 16"),
        (f"{SHORTEST}\n", "printable ASCII without spaces"),
        (f"{SHORTEST} {SHORTEST}", "printable ASCII without spaces"),
        (f"{SHORTEST}\0", "printable ASCII without spaces"),
        (f"{SHORTEST}\x7f", "printable ASCII without spaces"),
        (f"{SHORTEST}é", "printable ASCII without spaces"),
    ],
)
def test_an_invalid_secret_is_refused_and_not_quoted(value: str, why: str) -> None:
    with pytest.raises(OptionError, match=re.escape(why)) as error:
        secrets.given(value)
    assert not value or value not in str(error.value)


@pytest.mark.parametrize("length", [0, 1, 31])
def test_a_short_seed_is_refused_and_not_quoted(length: int) -> None:
    with pytest.raises(OptionError, match=f"key_seed is {length} characters long; at least 32 are required") as error:
        secrets.derive("?" * length, "virtkey-a")
    assert "?" not in str(error.value)


@pytest.mark.parametrize(
    "seed",
    [
        *("a" * 32, "ab" * 16, "password" * 4, "changeme-" * 10, "0" * 1000, "0123456789abcdef" * 2, "aaaabbbb" * 9),
        *(string.ascii_lowercase + string.digits, string.digits[::-1] * 4, "".join(map(chr, range(100, 200)))),
        *("12345678901234567890123456789012", "x" * 31 + "y", "abcabcabd" * 4, " " * 40, "\0" * 64),
    ],
)
def test_a_seed_that_could_be_guessed_is_refused_and_not_quoted(seed: str) -> None:
    with pytest.raises(OptionError, match=r"^key_seed could be guessed, ") as error:
        secrets.derive(seed, "virtkey-a")
    assert seed not in str(error.value)


@pytest.mark.parametrize("make", [token_hex, token_urlsafe, lambda size: f"{randbits(size * 8):039d}"])
def test_a_random_seed_is_accepted(make: Callable[[int], str]) -> None:
    for _unused in range(2000):
        seed = make(16)
        secrets.derive(seed.ljust(32, seed[0]), "virtkey-a")


@given(SEEDS, st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_longer_seed_is_accepted_too(seed: str, more: str) -> None:
    secrets.derive(seed + more, "virtkey-a")


@pytest.mark.parametrize("code", [0xD800, 0xDCFF, 0xDFFF])
def test_a_seed_with_half_a_character_is_refused_and_not_quoted(code: int) -> None:
    with pytest.raises(OptionError, match=r"^key_seed contains half a character \(a surrogate\)") as error:
        secrets.derive(SEED + chr(code), "virtkey-a")
    assert SEED not in str(error.value)


def test_the_master_key_is_refused_as_a_seed_and_not_quoted() -> None:
    master_key = "sk-" + "m" * 40
    with pytest.raises(OptionError, match=r"^key_seed must not be the master key: ") as error:
        secrets.derive(master_key, "virtkey-a", master_key=master_key)
    assert "mm" not in str(error.value)
    assert secrets.derive(SEED, "virtkey-a", master_key=master_key) == secrets.derive(SEED, "virtkey-a")


@pytest.mark.parametrize("version", [0, -1])
def test_versions_start_with_1(version: int) -> None:
    with pytest.raises(OptionError, match=f"^key_version is {version}; it must be 1 or more$"):
        secrets.derive(SEED, "virtkey-a", version)


@pytest.mark.parametrize(
    ("seed", "alias", "version", "expected"),
    [
        (SEED, "virtkey-a", 1, "sk-dGiVadO5rSkQZflDoVxXQU5eMwmPmqSY"),
        (SEED, "virtkey-a", 2, "sk-nMfY9pRiStatzyyyaLJ11dB2DlPXxeGs"),
        (SEED, "virtkey-b", 1, "sk-Y2vT0AKDXWlGjwqKvCqQNFIHs2fpJuye"),
        ("überlänge, äußerst öffentlich: ÄÖÜß", "schlüssel", 1, "sk-YRYWc1vBda2oBH5R3jljYGUqD60HHcGe"),
    ],
)
def test_derived_secrets_never_change(seed: str, alias: str, version: int, expected: str) -> None:
    # The first was computed with openssl and a calculator. With any other, every derived key would be lost.
    assert secrets.derive(seed, alias, version).value == expected


@given(SEEDS, ALIASES, VERSIONS)
def test_deriving_is_deterministic(seed: str, alias: str, version: int) -> None:
    assert secrets.derive(seed, alias, version) == secrets.derive(seed, alias, version)


@given(st.sets(st.tuples(SEEDS, ALIASES, VERSIONS), min_size=2, max_size=5))
@example({(SEED, "a", 11), (SEED, "a1", 1), (SEED, "a\0001", 1), (SEED + "a", "", 1), (SEED, "a", 1)})
def test_another_seed_alias_or_version_gives_another_secret(cases: set[tuple[str, str, int]]) -> None:
    assert len({secrets.derive(*case).value for case in cases}) == len(cases)


def test_the_default_version_is_1() -> None:
    assert secrets.derive(SEED, "virtkey-a") == secrets.derive(SEED, "virtkey-a", 1)


def test_generated_secrets_differ() -> None:
    assert len({secrets.generate().value for _unused in range(100)}) == 100


def test_a_generated_secret_cannot_be_predicted() -> None:
    """It comes from the operating system, not from a generator that anybody can seed."""
    found = set()
    for _unused in range(2):
        random.seed(0)
        found.add(secrets.generate().value)
    assert len(found) == 2


def test_a_seed_gives_no_secret_of_another_purpose() -> None:
    """Whoever uses the seed elsewhere, or a key of this collection, learns no other key."""
    values = {
        secrets._encode(hmac.digest(SEED.encode(), message.encode(), "sha256"))
        for message in (
            "virtkey-a",
            "virtkey-a\0001",
            "virtual key\0virtkey-a\0001",
            "rhpds.litellm_virtual_keys\0virtkey-a",
        )
    }
    assert secrets.derive(SEED, "virtkey-a").value not in values
    expected = hmac.digest(SEED.encode(), b"rhpds.litellm_virtual_keys\0virtual key\0virtkey-a\x001", "sha256")
    assert secrets.derive(SEED, "virtkey-a").value == secrets._encode(expected)


@given(st.one_of(st.builds(secrets.derive, SEEDS, ALIASES, VERSIONS), st.builds(secrets.generate)))
def test_new_secrets_are_valid_given_secrets(secret: secrets.Secret) -> None:
    assert re.fullmatch(r"sk-[A-Za-z0-9]{32}", secret.value)
    assert secrets.given(secret.value).key_id == secret.key_id
    assert secret.key_id == hashlib.sha256(secret.value.encode()).hexdigest()


def test_generated_secrets_use_every_letter_and_digit() -> None:
    # 6400 characters out of 62: the probability that one is missing is 10⁻⁴³.
    letters = set("".join(secrets.generate().value.removeprefix("sk-") for _unused in range(200)))
    assert letters == set(string.ascii_letters + string.digits)
