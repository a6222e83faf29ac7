# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the master key may see every key of the proxy: only then, an empty listing means that there is no key.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import secrets

from .._errors import LiteLLMError
from .client import Client
from .error_text import not_administrator


def require_administrator(client: Client) -> None:
    """Check that the client lists every key, with one request.

    To the personal key of an internal user, LiteLLM lists the keys of this user with status 200, as if there were no
    others. It returns 403 if such a key asks for another user. No user has the random name that is asked for here. The
    route is the one of the listing itself, so keys of an administrator that are limited to some routes pass if they may
    list keys. To the key of a team's administrator, LiteLLM never lists every key, so it is refused as well.

    LiteLLM before 1.61.8 lists every key to every caller. Since about 1.100, the key of a proxy_admin_viewer passes: it
    sees every key, and LiteLLM refuses its changes.

    :raises LiteLLMError: if the key is not an administrator's, or the proxy cannot be asked.
    """
    try:
        client.get("/key/list", {"user_id": f"nobody-{secrets.token_hex(8)}", "size": "1"})
    except LiteLLMError as error:
        if error.status != 403 or error.refuses_route:
            raise
        problem = not_administrator(client.connection, 403)
        raise LiteLLMError(problem, transient=False, status=403) from None
