# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions have in common: they run on the controller, and fail with a sentence.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserError, printable
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import CONNECTION, with_sources
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import mask

Result = dict[str, Any]


class ControllerAction(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        problem = None
        try:
            result.update(self.outcome(task_vars or {}))
        except UserError as error:
            problem = mask(str(error), self.secrets())
        if problem:
            # Returned and not raised: ansible-core 2.19 prints an exception and its causes whatever no_log says.
            result.update(failed=True, changed=False, msg=problem)
        return result

    @abstractmethod
    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        """Do the work.

        :raises UserError: when it cannot be done.
        """

    def warn(self, text: str) -> None:
        self._display.warning(printable(mask(text, self.secrets())))

    def secrets(self) -> list[str]:
        """What must not be in a message."""
        return []

    def with_connection(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The task's arguments, with the connection options from wherever they come."""

        def variable(name: str) -> Any:
            return self._templar.template(task_vars[name]) if name in task_vars else None

        return with_sources(CONNECTION, self._task.args, variable)

    def platform(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        """A variable of the platform: this host's, or else that of localhost, which runs its own plays."""
        localhost = task_vars.get("hostvars", {}).get("localhost", {}) if name not in task_vars else {}
        value = task_vars.get(name, localhost.get(name))
        return self._templar.template(value) or default
