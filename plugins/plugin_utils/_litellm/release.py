# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find out which release of LiteLLM a proxy runs.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from .._errors import LiteLLMError
from .._text import printable, shorten
from .client import Client

# Releases from 1.84 on report the version to administrators only, under the first path.
_PATHS = ("/health/readiness/details", "/health/readiness")


def litellm_version(client: Client) -> str | None:
    """Return the version of LiteLLM; None if the proxy does not report it."""
    for path in _PATHS:
        try:
            response = client.get(path)
        except LiteLLMError:
            continue
        version = response.get("litellm_version") if isinstance(response, dict) else None
        if isinstance(version, str) and version:
            return printable(shorten(version))
    return None
