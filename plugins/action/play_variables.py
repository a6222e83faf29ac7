# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `play_variables`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.agnosticd import output_folder
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import Option, coerce_options

OPTIONS = {"variables": Option("dict", {})}


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        variables = coerce_options(OPTIONS, self._task.args, "play_variables")["variables"]
        return {"changed": False, "variables": variables, "output_dir": str(output_folder(self, task_vars).absolute())}
