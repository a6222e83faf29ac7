# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Validate, generate and derive the secrets of virtual keys.

A secret is the `sk-…` value that a client sends. LiteLLM stores only its SHA-256 hash, which is the key id.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import math
import re
import secrets
import string
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import OptionError
from .._text import SECRET_PREFIX

# LiteLLM >= 1.94 refuses shorter secrets from callers (its MINIMUM_CUSTOM_KEY_LENGTH).
MIN_SECRET_LENGTH = 16
MIN_SEED_LENGTH = 32
# A random seed of 32 hexadecimal digits has about 110, by the estimate of `_estimate_bits`.
MIN_SEED_BITS = 64
_MAX_EXAMINED = 200
# A replacement must not bring back the secret of a version before that of the key, which is looked for among so many.
LATER_VERSIONS = 50
# No secret is replaced that often.
_LAST_VERSION = 1_000_000
_MIN_REPETITION = 3

# Letters and digits only, so that a double click selects the whole secret. 32 of them hold 190 bits.
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 32

_NOT_ALLOWED_IN_A_HEADER = re.compile(r"[^\x21-\x7e]")

Source = Literal["given", "derived", "generated", "server"]


@dataclass(frozen=True)
class Secret:
    """The secret of a virtual key, and where it came from. Its repr does not show the value."""

    value: str = field(repr=False)
    source: Source

    @property
    def key_id(self) -> str:
        """LiteLLM's id of the key: the SHA-256 of the whole secret, including `sk-`, as hexadecimal digits."""
        return hashlib.sha256(self.value.encode()).hexdigest()


def given(value: str) -> Secret:
    """Return a secret that the caller knows or chooses.

    :raises OptionError: if LiteLLM, or an HTTP header, would refuse it.
    """
    if not value.startswith(SECRET_PREFIX):
        raise OptionError(f"key must start with '{SECRET_PREFIX}', as every virtual key of LiteLLM does")
    if len(value) < MIN_SECRET_LENGTH:
        raise OptionError(f"key is {len(value)} characters long; LiteLLM requires at least {MIN_SECRET_LENGTH}")
    if _NOT_ALLOWED_IN_A_HEADER.search(value):
        raise OptionError("key must be printable ASCII without spaces: clients send it in an HTTP header")
    return Secret(value, "given")


def generate() -> Secret:
    """Return a new random secret."""
    return Secret(_encode(secrets.token_bytes(32)), "generated")


def derive(seed: str, alias: str, version: int = 1, *, master_key: str | None = None) -> Secret:
    """Return the secret for a seed, an alias and a version: the same on every controller, with nothing stored.

    :param master_key: must differ from the seed.
    :raises OptionError: if the seed is too short or too regular to resist guessing, or is the master key.
    """
    if len(seed) < MIN_SEED_LENGTH:
        raise OptionError(f"key_seed is {len(seed)} characters long; at least {MIN_SEED_LENGTH} are required")
    if any("\ud800" <= character <= "\udfff" for character in seed):
        raise OptionError("key_seed contains half a character (a surrogate), as invalid UTF-8 does; use another text")
    if seed == master_key:
        raise OptionError(
            "key_seed must not be the master key: anyone with a virtual key could brute-force the master key offline"
        )
    if _estimate_bits(seed[:_MAX_EXAMINED]) < MIN_SEED_BITS:
        raise OptionError(
            "key_seed could be guessed, because it consists of repetitions or sequences; use a random text, such as "
            "the output of openssl rand -hex 32"
        )
    if version < 1:
        raise OptionError(f"key_version is {version}; it must be 1 or more")
    return _derived(seed, alias, version)


@dataclass(frozen=True)
class SecretVersions:
    """The versions of a derived secret. Its repr does not show the seed.

    :ivar first: the version of a new key.
    :ivar looked_for: how many versions a secret of the seed is looked for among.
    """

    seed: str = field(repr=False)
    alias: str
    first: int = 1
    looked_for: int = 1

    def secret(self, version: int) -> Secret:
        return _derived(self.seed, self.alias, version)

    def version_of(self, key_id: str, hint: Any = None) -> int | None:
        """Return the version of the secret of a key, or None if it has none of these secrets.

        :param hint: the version that the metadata of the key name, to which any client can write anything.
        """
        is_version = isinstance(hint, int) and not isinstance(hint, bool) and self.first < hint <= _LAST_VERSION
        versions = (*((hint,) if is_version else ()), *range(self.first, self.first + self.looked_for))
        return next((version for version in versions if self.secret(version).key_id == key_id), None)


def later_key_ids(seed: str, alias: str, version: int) -> frozenset[str]:
    """Return the ids of the keys with the secrets of the next versions."""
    later = range(version + 1, version + 1 + LATER_VERSIONS)
    return frozenset(_derived(seed, alias, one).key_id for one in later)


def _derived(seed: str, alias: str, version: int) -> Secret:
    # The purpose comes first (domain separation): no other use of the same seed yields the same secret.
    message = "\0".join(("rhpds.litellm_virtual_keys", "virtual key", alias, str(version)))
    return Secret(_encode(hmac.digest(seed.encode(), message.encode(), "sha256")), "derived")


def _estimate_bits(text: str) -> float:
    """Return how many bits a text has at most: repetitions and sequences, such as `abcdef`, add none.

    The estimate grows with each character. It does not recognize words or sequences on a keyboard.
    """
    new, position = "", 0
    while position < len(text):
        length = 0
        while position + length < len(text) and text[position : position + length + 1] in text[: position + length]:
            length += 1
        new += "" if length >= _MIN_REPETITION else text[position : position + max(length, 1)]
        position += max(length, 1)
    steps = [ord(after) - ord(before) for before, after in itertools.pairwise(new)]
    return min(_entropy(new), _entropy(steps))


def _entropy(values: Sequence[Hashable]) -> float:
    """Return the entropy of all values, in bits, by their frequencies."""
    return sum(count * math.log2(len(values) / count) for count in Counter(values).values())


def _encode(entropy: bytes) -> str:
    """Return 256 bits as the text of a secret."""
    number, base = int.from_bytes(entropy, "big"), len(_ALPHABET)
    return SECRET_PREFIX + "".join(_ALPHABET[number // base**place % base] for place in range(_LENGTH))
