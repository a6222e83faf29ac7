# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter `litellm_user_data`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.filters import jinja_plugin
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.user_data import build_user_data
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError


@jinja_plugin
def litellm_user_data(result: Any, further: Mapping[str, Any] | None = None) -> Any:
    if not isinstance(result, Mapping) or not result.get("virtual_keys"):
        raise OptionError("litellm_user_data needs the result of litellm_key, with at least one key")
    data, users = build_user_data(result["virtual_keys"], result["api_endpoint"], result["api_base_url"], further or {})
    return {"data": data, "users": users}


class FilterModule:
    """The filters of this file, for ansible-core."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"litellm_user_data": litellm_user_data}
