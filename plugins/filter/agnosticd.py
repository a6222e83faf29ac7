# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter `agnosticd_user_data`. It only translates: what lab guides look up is said in plugin_utils/_user_data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import to_tell
from jinja2 import Undefined


def agnosticd_user_data(result: Any, further: Mapping[str, Any] | None = None) -> Any:
    if isinstance(result, Undefined):
        return result
    if not isinstance(result, Mapping) or not result.get("virtual_keys"):
        raise AnsibleFilterError("agnosticd_user_data takes the result of litellm_key, with at least one key in it")
    data, users = to_tell(result["virtual_keys"], result["api_endpoint"], result["api_base_url"], further or {})
    return {"data": data, "users": users}


class FilterModule:
    """What ansible-core asks for filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"agnosticd_user_data": agnosticd_user_data}
