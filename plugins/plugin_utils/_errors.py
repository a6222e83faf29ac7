# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exceptions of this collection. The message of each is one sentence for the user.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._text import printable


class UserError(Exception):
    """An error whose message is written for the user and contains no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class OptionError(UserError, ValueError):
    """An option has an invalid value. Raised before any request."""


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Prefix the message of an OptionError with the name of the option."""
    try:
        yield
    except OptionError as error:
        problem = f"{option}: {error}"
    else:
        return
    raise OptionError(problem) from None


class UserDataError(UserError):
    """A user data file cannot be read or written."""


class LiteLLMError(UserError):
    """A request failed.

    A request that changes something may have been processed all the same: only reading back shows whether it was.

    :ivar status: the HTTP status, or None without a response.
    :ivar transient: the cause may go away by itself (no response, a gateway's 429, 502, 503 or 504, a 500 for a GET, or
        a concurrent update). LiteLLM's 500 for a POST is not transient: it also stands for invalid input and a missing
        licence.
    """

    def __init__(self, message: str, *, transient: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.transient = transient
        self.status = status

    @property
    def refuses_route(self) -> bool:
        """Whether the key is valid, and the route of the request is not one of those that it may call."""
        return self.status == 403 and "limited to other routes" in str(self)

    @property
    def refuses_custom_secrets(self) -> bool:
        """Whether the proxy only accepts secrets that it generates (`general_settings.disable_custom_api_keys`)."""
        return self.status == 403 and "Custom API key" in str(self)
