# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps as requests.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import Create, Update
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret

if TYPE_CHECKING:
    from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client


def change(client: Client, step: Create | Update, secret: Secret) -> None:
    """Create or update one key. What became of it is for the next look to tell: the proxy's answer is an echo.

    :param secret: what a new key is to have.
    :raises LiteLLMError: when there was trouble; the step may have been done all the same.
    """
    if isinstance(step, Create):
        path, body = "/key/generate", {"key_alias": step.alias, "key": secret.value, **step.settings}
    else:
        path, body = "/key/update", {"key": step.key_id, **step.settings}
    if step.end is not None:
        body["duration"] = _from_now(step.end, client.now())
    client.post(path, body)


def delete(client: Client, key_ids: Sequence[str]) -> None:
    """Delete these keys in one request. LiteLLM says they are gone even when they never were.

    :raises LiteLLMError: when there was trouble; some may be gone all the same.
    """
    client.post("/key/delete", {"keys": list(key_ids)})


def _from_now(end: datetime | Duration, now: datetime) -> str:
    """The end as LiteLLM's duration, which every release counts from the moment it handles the request."""
    if isinstance(end, Duration):
        end = end.after(now)
    return f"{max(1, math.ceil((end - now).total_seconds()))}s"
