# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `private_file`: it runs the module on the managed node, and distrusts what comes back."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

# ansible-core sets these for the host that they were discovered on, not for the one of the play.
_DISCOVERED = "discovered_interpreter_"


class ActionModule(ActionBase):
    TRANSFERS_FILES = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(self._execute_module(task_vars=task_vars))
        # The module returns neither, but a manipulated interpreter can: ansible-core makes variables of facts, and
        # Automation Platform makes extra variables of statistics, for the next job of a workflow.
        result.pop("ansible_stats", None)
        facts = result.pop("ansible_facts", None)
        if isinstance(facts, dict) and (kept := {name: facts[name] for name in facts if name.startswith(_DISCOVERED)}):
            result["ansible_facts"] = kept
        return result
