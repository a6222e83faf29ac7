# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a virtual key's secret is: how it is made, named and hidden.

A secret is the `sk-…` value that a client sends. LiteLLM stores only its SHA-256, which is the key id.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

PREFIX = "sk-"
# LiteLLM >= 1.94 refuses shorter secrets that a caller chose (its MINIMUM_CUSTOM_KEY_LENGTH).
MINIMUM_LENGTH = 16
MINIMUM_SEED_LENGTH = 32

# Letters and digits only, so that a double click selects the whole. 32 of them hold 190 bits.
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 32

# Of what RFC 6750 allows. LiteLLM's `key_name`, `sk-...abcd`, is none; the point at a sentence's end belongs to none.
_LIKE_A_SECRET = re.compile(r"\bsk-(?!\.\.\.)[A-Za-z0-9._~+/=-]{7,}[A-Za-z0-9_~+/=-]")
_NOT_IN_A_HEADER = re.compile(r"[^\x21-\x7e]")

Source = Literal["given", "derived", "generated", "server"]


@dataclass(frozen=True)
class Secret:
    """A virtual key's secret, and where it came from. Its repr does not show it."""

    value: str = field(repr=False)
    source: Source

    @property
    def key_id(self) -> str:
        """LiteLLM's name for the key: the SHA-256 of the whole secret, `sk-` included, in hex."""
        return hashlib.sha256(self.value.encode()).hexdigest()


def given(value: str) -> Secret:
    """A secret that the caller knows or chooses.

    :raises OptionError: when LiteLLM, or an HTTP header, would not take it.
    """
    if not value.startswith(PREFIX):
        raise OptionError(f"key must start with '{PREFIX}': this is what LiteLLM takes for a virtual key")
    if len(value) < MINIMUM_LENGTH:
        raise OptionError(f"key is {len(value)} characters long; LiteLLM takes {MINIMUM_LENGTH} or more")
    if _NOT_IN_A_HEADER.search(value):
        raise OptionError("key must be printable ASCII without blanks: it travels in an HTTP header")
    return Secret(value, "given")


def generate() -> Secret:
    """A new random secret."""
    return Secret(_spelled(secrets.token_bytes(32)), "generated")


def derive(seed: str, alias: str, version: int = 1, *, master_key: str | None = None) -> Secret:
    """The secret that belongs to this seed, alias and version, on any controller, with nothing stored.

    :param master_key: which the seed must not be.
    :raises OptionError: when the seed is too short to resist guessing.
    """
    if len(seed) < MINIMUM_SEED_LENGTH:
        raise OptionError(f"key_seed is {len(seed)} characters long; it must have {MINIMUM_SEED_LENGTH} or more")
    if seed == master_key:
        raise OptionError("key_seed must not be the master key: any virtual key would let its user guess at it offline")
    if version < 1:
        raise OptionError(f"key_version is {version}; it must be 1 or more")
    # The purpose comes first, so that no other use of the same seed can ever yield one of our secrets.
    message = "\0".join(("rhpds.litellm_virtual_keys", "virtual key", alias, str(version)))
    return Secret(_spelled(hmac.digest(seed.encode(), message.encode(), "sha256")), "derived")


def mask(text: str, known: Iterable[str]) -> str:
    """The text without these secrets, and without anything that looks like one."""
    secrets_to_hide = {spelling for secret in known if len(secret) > len(PREFIX) for spelling in _spellings(secret)}
    for secret in sorted(secrets_to_hide, key=len, reverse=True):
        text = text.replace(secret, "********")
    return _LIKE_A_SECRET.sub("sk-********", text)


def _spellings(secret: str) -> tuple[str, ...]:
    """The secret, and what becomes of it in Python's and in JSON's quotes and in a URL."""
    return secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="", errors="replace")


def _spelled(entropy: bytes) -> str:
    """256 bits as the text of a secret."""
    number = int.from_bytes(entropy, "big")
    return PREFIX + "".join(_ALPHABET[number // len(_ALPHABET) ** place % len(_ALPHABET)] for place in range(_LENGTH))
