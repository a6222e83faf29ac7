# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps as requests.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import setting
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import Create, Never, Rename, Update
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret

Body = dict[str, Any]


def create(client: Client, step: Create, secret: Secret | None) -> Secret:
    """Make a key. What became of it is for the next look to tell: the proxy's answer is an echo.

    :param secret: what the key is to have; None where the proxy insists on making it.
    :returns: the key's secret.
    :raises LiteLLMError: when there was trouble; the key may be there all the same.
    """
    body: Body = {"key_alias": step.alias, **_fields(step.settings, new=True)}
    if secret:
        body["key"] = secret.value
    if not isinstance(step.end, Never):
        body["duration"] = _from_now(step.end, client.now())
    if step.spend:
        body["spend"] = step.spend
    answer = client.post("/key/generate", body)
    if secret:
        return secret
    if not isinstance(answer, dict) or not isinstance(answer.get("key"), str):
        raise LiteLLMError(f"{client.connection.url} made the key {step.alias} but did not tell it", passing=True)
    return Secret(answer["key"], "server")


def update(client: Client, step: Update | Rename, *, again: bool = False) -> None:
    """Change a key.

    :param again: the same was sent before and not understood.
    :raises LiteLLMError: when there was trouble; it may be done all the same.
    """
    body: Body = {"key": step.key_id}
    if isinstance(step, Rename):
        body.update(key_alias=step.alias, metadata=dict(step.metadata))
    else:
        body.update(_fields(step.settings, new=False))
        if isinstance(step.end, Never):
            body["duration"] = "-1" if again else None  # 1.80.12 to 1.82.1 ignore null
        elif step.end is not None:
            body["duration"] = _from_now(step.end, client.now())
    try:
        client.post("/key/update", body)
    except LiteLLMError as error:
        if body.get("duration") != "-1" or error.passing:
            raise
        raise LiteLLMError(
            f"This LiteLLM cannot make a key live for ever, as 1.80.12 can; set a late end with expires_at ({error})",
            passing=False,
            status=error.status,
        ) from None


def delete(client: Client, key_ids: Sequence[str]) -> None:
    """Delete these keys in one request. LiteLLM says they are gone even when they never were.

    :raises LiteLLMError: when there was trouble; some may be gone all the same.
    """
    client.post("/key/delete", {"keys": list(key_ids)})


def _fields(settings: Mapping[str, Any], *, new: bool) -> Body:
    fields: Body = {}
    for name, value in settings.items():
        fields.update(setting(name).sent(value, new=new))
    return fields


def _from_now(end: datetime | Duration, now: datetime) -> str:
    """The end as LiteLLM's duration, which every release counts from the moment it handles the request."""
    if isinstance(end, Duration):
        end = end.after(now)
    return f"{max(1, math.ceil((end - now).total_seconds()))}s"
