# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `agnosticd_user_info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.agnosticd import (
    USER_INFO_OPTIONS,
    save_user_info,
)


class ActionModule(ControllerAction):
    OPTIONS = USER_INFO_OPTIONS

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if result.get("failed"):
            result["error"] = result["msg"]  # AgnosticD's own action returns the reason as `error`
        return result

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        return save_user_info(self, self._task.args, task_vars)
