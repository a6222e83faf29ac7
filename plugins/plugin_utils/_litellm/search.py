# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one search for keys looks for, and what it may still cost.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from .._errors import LiteLLMError

# What one search for keys may cost, no matter how many pages a proxy announces: bytes and seconds. A key has about
# 3 kB, and a proxy sends a page in about a second.
_MAX_BYTES = 512 << 20
_MAX_SECONDS = 600.0

Row = dict[str, Any]
Keep = Callable[[str], bool]


class Search:
    """The aliases that are searched for, and what the search may still cost. Safe to share between threads."""

    def __init__(self, url: str, keep: Keep) -> None:
        self._url = url
        self._keep = keep
        self._bytes_left = _MAX_BYTES
        self._deadline = time.monotonic() + _MAX_SECONDS
        self._lock = threading.Lock()

    def keeps(self, row: Row) -> bool:
        return self._keep(row.get("key_alias") or "")

    def check(self, size: int = 0) -> None:
        """Call before each request, and with the size of each response.

        :raises LiteLLMError: if the search has cost too much.
        """
        with self._lock:
            self._bytes_left -= size
        if self._bytes_left < 0:
            raise LiteLLMError(
                f"{self._url} returned more than {_MAX_BYTES >> 20} MB of keys, which is more than this collection "
                "reads",
                transient=False,
            )
        if time.monotonic() > self._deadline:
            raise LiteLLMError(
                f"{self._url} did not list its keys within {_MAX_SECONDS / 60:g} minutes; check the proxy and its "
                "database",
                transient=False,
            )
