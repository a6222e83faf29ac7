# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter `keys_table`. It only translates: how it looks is said in plugin_utils/_report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import InstantError, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._report import table
from jinja2 import Undefined


def keys_table(keys: Any, now: object = None) -> Any:
    if isinstance(keys, Undefined):
        return keys
    if not isinstance(keys, list | tuple) or not all(isinstance(key, Mapping) and "status" in key for key in keys):
        raise AnsibleFilterError("keys_table takes the virtual_keys of a result of litellm_key_info")
    try:
        return table(keys, datetime.now(timezone.utc) if now is None else parse_instant(now))
    except InstantError as exc:
        # ansible-core 2.19 and later print the cause behind the message, and it says the same.
        raise AnsibleFilterError(str(exc)) from None


class FilterModule:
    """What ansible-core asks for filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"keys_table": keys_table}
