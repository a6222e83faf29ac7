# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_playbook`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_dict
from ansible.utils.vars import load_extra_vars
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import Option, coerce_options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.playbook_names import (
    ALL_NAMES,
    ENVIRONMENT_PLAYBOOKS,
    PLAYBOOKS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.merging import (
    environment_records,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import load
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.variables import (
    ACTION_VARIABLES,
    check_operation,
    default_output_dir,
    like_others,
    translate,
)

OPTIONS = {"playbook": Option(choices=tuple(PLAYBOOKS))}


class ActionModule(ControllerAction):
    OPTIONS = OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        playbook = coerce_options(OPTIONS, self._task.args, "litellm_playbook")["playbook"]
        if not playbook:
            raise OptionError(f"playbook is not set; it must be one of {', '.join(PLAYBOOKS)}")
        names = PLAYBOOKS[playbook]
        # Names that are not used are not evaluated: they may be templates with undefined variables.
        used = {*names.all, *ACTION_VARIABLES}
        extra = {
            name: self._templar.template(task_vars[name]) if name in used and name in task_vars else None
            for name in load_extra_vars(self._loader)
        }
        for name in ("settings", names.settings_variable):
            if isinstance(text := extra.get(name), str):
                extra[name] = _dictionary(name, text)
        translation = translate(extra, names, ALL_NAMES)
        if unread := translation.unread:
            long_names = sorted({names.short.get(name, names.settings_variable) for name in unread})
            self.warn(
                f"The short names {', '.join(unread)} are not read, because extra variables contain agnosticd_action "
                f"or ACTION; set {', '.join(long_names)} instead"
            )
        variables = translation.variables
        result: Result = {}
        if playbook in ENVIRONMENT_PLAYBOOKS:
            result["operation"] = check_operation(extra, playbook, OPERATIONS)
            guid = str(self.platform_variable("guid", task_vars, "")).strip()
            if not guid:
                raise OptionError("guid is not set; name the lab environment with -e guid=NAME")
            result["output_dir"] = self._output_dir(guid, extra, task_vars)
            if playbook == "provision_key" and variables.get(names.short["add_users"]):
                records = environment_records(load(Path(result["output_dir"])), "", guid).values()
                present = next((record for record in records if record.get("key_id")), None)
                if present:
                    variables.update(like_others({**extra, **variables}, present, names))
        self.hide_secrets()  # key_seed may be among the variables
        short_names = {long.removeprefix(names.prefix): translation.typed[short] for short, long in names.short.items()}
        return {"changed": False, "variables": variables, "short_names": short_names, **result}

    def _output_dir(self, guid: str, extra: Container[str], task_vars: Mapping[str, Any]) -> str:
        """Return the directory of the user data, which the command line or an `import_playbook` can set."""
        play = self._task.get_play() if self._task._parent else None
        if "output_dir" in extra or (play and "output_dir" in play.vars):
            return str(self._templar.template(task_vars["output_dir"]))
        return default_output_dir(guid)


def _dictionary(name: str, text: str) -> Any:
    """Return the value of `name={...}` on a command line.

    :raises OptionError: if it is not a dictionary.
    """
    try:
        return check_type_dict(text)
    except TypeError:
        problem = f"{name} must be a dictionary, such as {name}='{{\"rpm_limit\": 60}}'"
    raise OptionError(problem)
