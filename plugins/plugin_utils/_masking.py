# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mask secrets in text, however they are escaped there.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ._text import SECRET_PREFIX

MASK = "********"

# Returns the characters that an escape stands for, each with the length of its part of the escape.
_Decoder = Callable[[str], Iterable[tuple[str, int]]]
# A message can quote text that was quoted before, such as a URL in JSON in JSON.
_MAX_ESCAPES = 3

# The characters that RFC 6750 allows in a bearer token. LiteLLM's `key_name`, `sk-...abcd`, is not a secret; a full
# stop at the end belongs to the sentence. The end of a terminal sequence is a letter, but not part of a word.
_LOOKS_LIKE_A_SECRET = re.compile(
    r"(?:(?<![^\W_])|(?<=\x1b)\[[0-9;?]*[A-Za-z])(sk-(?!\.\.\.)[A-Za-z0-9._~+/=-]{7,}[A-Za-z0-9_~+/=-])"
)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return the text without these secrets, and without anything that looks like a key of LiteLLM.

    They are found in every spelling that a message may contain: as they are, or escaped as in JSON, Python, a URL or
    HTML, in part or as a whole, and up to three times.

    :param secrets: three characters or fewer are ignored, because they would match ordinary words.
    """
    known = {one for secret in secrets if len(secret) > len(SECRET_PREFIX) for one in _without_escapes(secret)}
    spans: list[tuple[int, int, str]] = []
    for reading in _readings(text):
        found = [(start, start + len(secret), MASK) for secret in known for start in _occurrences(secret, reading.text)]
        unknown = _LOOKS_LIKE_A_SECRET.finditer(reading.text)
        found += [(*match.span(1), SECRET_PREFIX + MASK) for match in unknown]
        spans += [(reading.starts[start], reading.ends[end - 1], shown) for start, end, shown in found]
    return _replace(text, spans)


@dataclass(frozen=True)
class _Reading:
    """A text whose escapes were decoded, and where each of its characters starts and ends in the original text."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def _readings(text: str) -> Iterator[_Reading]:
    """Return the text as it is, and with each kind of escapes decoded, in every order."""
    level = [_Reading(text, range(len(text)), range(1, len(text) + 1))]
    seen = {text}
    for _unused in range(_MAX_ESCAPES + 1):
        yield from level
        decoded = [_decode(reading, pattern, decode) for reading in level for pattern, decode in _ESCAPES]
        level = []
        for reading in decoded:
            if reading.text not in seen:
                seen.add(reading.text)
                level.append(reading)


def _decode(reading: _Reading, pattern: re.Pattern[str], decode: _Decoder) -> _Reading:
    """Return the text with one kind of escapes decoded."""
    texts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for match in pattern.finditer(reading.text):
        texts.append(reading.text[position : match.start()])
        starts += reading.starts[position : match.start()]
        ends += reading.ends[position : match.start()]
        position = match.start()
        for character, length in decode(match[0]):
            texts.append(character)
            starts.append(reading.starts[position])
            ends.append(reading.ends[position + length - 1])
            position += length
    texts.append(reading.text[position:])
    return _Reading("".join(texts), [*starts, *reading.starts[position:]], [*ends, *reading.ends[position:]])


def _from_backslash(escape: str) -> Iterator[tuple[str, int]]:
    if escape[1] in "uUx":
        units = [int(one, 16) for one in re.findall(r"[0-9A-Fa-f]+", escape)]
        # JSON writes a character beyond U+FFFF as two surrogates.
        code = units[0] if len(units) == 1 else 0x10000 + ((units[0] & 0x3FF) << 10) + (units[1] & 0x3FF)
        yield chr(code) if code <= 0x10FFFF else escape[-1], len(escape)
    else:
        yield _BACKSLASH.get(escape[1], escape[1]), len(escape)


def _from_percent(escape: str) -> Iterator[tuple[str, int]]:
    for character in bytes.fromhex(escape.replace("%", "")).decode("utf-8", "surrogateescape"):
        yield character, 3 * len(character.encode("utf-8", "surrogateescape"))


def _from_html(escape: str) -> Iterator[tuple[str, int]]:
    character = html.unescape(escape)
    yield (character, len(escape)) if len(character) == 1 else ("&", len(escape))


_BACKSLASH = dict(zip("abfnrtv0", "\a\b\f\n\r\t\v\0", strict=True))
_ESCAPES: tuple[tuple[re.Pattern[str], _Decoder], ...] = (
    (
        re.compile(
            r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}"
            r"|x[0-9a-fA-F]{2}|[abfnrtv0]|[^A-Za-z0-9])",
            re.DOTALL,
        ),
        _from_backslash,
    ),
    (re.compile(r"(?:%[0-9a-fA-F]{2})+"), _from_percent),
    (re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"), _from_html),
)


def _without_escapes(secret: str) -> Iterator[str]:
    """Return the secret as it is, as forms write a space, and as replacements of half characters leave it."""
    plain = secret.encode("utf-8", "replace").decode()
    yield from (secret, secret.replace(" ", "+"), plain, plain.replace(" ", "+"))


def _occurrences(secret: str, text: str) -> Iterator[int]:
    start = text.find(secret)
    while start >= 0:
        yield start
        start = text.find(secret, start + 1)


def _replace(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """Replace spans of the text. Of those that overlap, a known secret determines what is shown."""
    merged: list[tuple[int, int, str]] = []
    for start, end, shown in sorted(set(spans)):
        if merged and start < merged[-1][1]:
            first, last, other = merged.pop()
            start, end, shown = first, max(end, last), min(other, shown)  # an asterisk sorts before a letter
        merged.append((start, end, shown))
    parts, position = [], 0
    for start, end, shown in merged:
        parts += [text[position:start], shown]
        position = end
    return "".join([*parts, text[position:]])
