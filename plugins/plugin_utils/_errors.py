# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which our work can fail.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

_LONGEST_NAME = 100


def printable(text: str) -> str:
    """The text with escapes for what a terminal would obey or hide: a proxy can put anything into what it says."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def short(text: str) -> str:
    """What the proxy calls something, no longer than a message bears."""
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 3]}..."


class UserError(Exception):
    """Its message is a sentence for the user, and holds no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class OptionError(UserError, ValueError):
    """Something was asked for that cannot be: found before any request."""


class UserDataError(UserError):
    """The platform's files cannot be read or written."""


class LiteLLMError(UserError):
    """A request that did not succeed.

    One that changes something may have been carried out all the same: only looking again can tell.

    :ivar status: the HTTP status, if there was an answer.
    :ivar passing: the cause may pass by itself (no answer, or a gateway's 429, 502, 503, 504). LiteLLM's own 500
        is not among them: it also stands for bad input and for a missing licence.
    """

    def __init__(self, message: str, *, passing: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.passing = passing
        self.status = status
