# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parse the list of existing environments, and fold guids for comparison. Pure functions.

A guid that is missing from the list, or spelled in another way, makes the keys of its environment look orphaned. So
what editors, spreadsheets and shells do to a text is undone, and what cannot be read for certain is refused.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from .._errors import OptionError

# From the folded form of each guid, which is compared, to the guid as it was listed.
Guids = Mapping[str, str]

# The longer one first: the byte order mark of UTF-32 starts with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Characters that a list in another format contains, such as JSON, YAML or CSV, or a text that was decoded wrongly, are
# not among these.
_GUID = re.compile(r"[\w.@/+~-]+")
_MAX_QUOTED_LENGTH = 60


def parse_guids(value: Any) -> Guids | None:
    """Parse the guids of the existing environments: a list, or a text with commas or line breaks between them.

    In a text, `#` starts a comment. A text can be a string, the bytes of a file, or a dictionary with them, as the
    module `slurp` returns it. Lists may contain lists and texts. None means not specified, also in the outermost list.

    :raises OptionError: for any other value; for a text that cannot be read for certain; and for a list without a
        guid, since every key would be orphaned.
    """
    parts = [part for part in (value if isinstance(value, list | tuple) else [value]) if part is not None]
    if not parts and value not in ([], ()):
        return None
    guids = {fold(guid): guid for part in _flatten(parts) for guid in _guids_in(part)}
    if not guids:
        raise OptionError(
            "The list of guids is empty, so every key would be orphaned; list the guids of the existing environments"
        )
    return guids


def fold(text: str) -> str:
    """Return the form of a guid or a name that is compared: without case, invisible characters and kinds of dashes."""
    if text.isascii():  # where only the case varies
        return text.lower()
    visible = "".join(_to_hyphen(one) for one in unicodedata.normalize("NFKC", text) if not _is_invisible(one))
    return unicodedata.normalize("NFKC", visible.casefold())


def _to_hyphen(character: str) -> str:
    return "-" if unicodedata.category(character) == "Pd" or character == "\N{MINUS SIGN}" else character


def _is_invisible(character: str) -> bool:
    """Return whether it is a byte order mark, a zero-width space or joiner, a soft hyphen, or a similar character."""
    return unicodedata.category(character) == "Cf"


def _flatten(parts: list[Any] | tuple[Any, ...]) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, list | tuple):
            yield from _flatten(part)
        else:
            yield part


def _guids_in(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping) and part.get("encoding") == "base64":
        part = _decode(part.get("content"))
    elif isinstance(part, bytes):
        part = _decode(part)
    if isinstance(part, int) and not isinstance(part, bool):
        shown = str(part)[:_MAX_QUOTED_LENGTH]
        raise OptionError(
            f"The list of guids contains the number {shown}; quote guids, because YAML changes numbers such as 01234 "
            "and 1_000"
        )
    if not isinstance(part, str):
        shown = repr(part)[:_MAX_QUOTED_LENGTH]
        raise OptionError(f"The list of guids contains {shown}, which is not a guid; use strings")
    for line in part.splitlines():
        normalized = unicodedata.normalize("NFKC", line).partition("#")[0]
        tokens = [token for token in re.split(r"[\s,]+", normalized) if token]
        readings = [reading for token in tokens for reading in _readings(token)]
        if not all(map(_GUID.fullmatch, readings)) or (len(readings) > 1 and readings[0] == "-"):
            raise OptionError(
                f"The list of guids contains the line {line.strip()[:_MAX_QUOTED_LENGTH]!r}; "
                "write one guid on each line, without quotes, brackets or list markers"
            )
        yield from readings


def _readings(token: str) -> Iterator[str]:
    """Yield the guids that a text without white space can stand for.

    An invisible character inside may have to be ignored, or may separate two guids: a byte order mark does if files
    were concatenated. All readings count, because each of them can only keep keys.
    """
    parts = ["".join(map(_to_hyphen, part)) for invisible, part in groupby(token, _is_invisible) if not invisible]
    if parts:
        yield "".join(parts)
    if len(parts) > 1:
        yield from parts


def _decode(content: Any) -> str:
    """Decode the bytes of a file, which may be in Base64.

    :raises OptionError: unless it is UTF-8, or UTF-16 or UTF-32 with a byte order mark.
    """
    try:
        data = content if isinstance(content, bytes) else base64.b64decode(content, validate=True)
        mark = next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), b"")
        return data.removeprefix(mark).decode(_BYTE_ORDER_MARKS.get(mark, "utf-8"))
    except (UnicodeDecodeError, binascii.Error, TypeError, ValueError):
        raise OptionError(
            "Cannot decode the list of guids: it is neither in UTF-8 nor in UTF-16 with a byte order mark; "
            "save it as UTF-8"
        ) from None
