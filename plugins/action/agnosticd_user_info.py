# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `agnosticd_user_info`: tells the users of an environment what they need to know."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserDataError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import Option, typed
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import save

OPTIONS = {
    "msg": Option("raw"),
    "body": Option(),
    "data": Option("dict"),
    "data_prefix": Option(default=""),
    "user": Option(),
}


# AgnosticD's own action, and the name by which the platform sets its defaults.
_THEIRS = "agnosticd.core.agnosticd_user_info"


class ActionModule(ControllerAction):
    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        if result.get("failed"):
            result["error"] = result["msg"]  # where AgnosticD's own action has its reason
        return result

    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        arguments = {**self._platforms_defaults(), **self._task.args}
        options = typed(OPTIONS, arguments, "agnosticd_user_info")
        messages = _lines("msg", options["msg"])
        bodies = _lines("body", options["body"])
        if messages and bodies:
            raise OptionError("msg and body cannot both be given")
        data = _plain({f"{options['data_prefix']}{name}": value for name, value in (options["data"] or {}).items()})
        user = _plain(options["user"])
        if not self._task.check_mode and not self._handed_over(arguments, task_vars):
            folder = Path(str(self._platform("output_dir", task_vars, task_vars.get("playbook_dir") or ".")))
            action = str(self._platform("ACTION", task_vars, "provision"))
            save(folder, action, messages=messages, bodies=bodies, data=data, user=user)
        # The platform reads these prefixes from the log, so that the messages are shown always. The data are not for
        # the log: they hold secrets.
        result: Result = {"changed": False, "_ansible_verbose_always": bool(messages or bodies)}
        prefix = "" if user else "user.info: " if messages else "user.body: "
        shown = [prefix + line for line in messages or bodies]
        if shown:
            result["msg"] = shown if isinstance(options["msg"], list) else shown[0]
        if data:
            result["data"] = _masked(data)
        if user:
            result["user"] = user
        return result

    def _platforms_defaults(self) -> dict[str, Any]:
        """What the platform has set for its own action: the prefix by which it tells clusters apart."""
        defaults: dict[str, Any] = {}
        for level in self._task.module_defaults or ():
            defaults.update(level.get(_THEIRS) or {})
        return dict(self._templar.template(defaults))

    def _handed_over(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> bool:
        """Let AgnosticD's own action save it, where that is installed.

        :raises UserDataError: when that fails.
        """
        if not _is_installed(_THEIRS.rpartition(".")[0]):
            return False  # ansible-core 2.19 would warn
        task = self._task.copy()
        task.args = dict(arguments)
        theirs = self._shared_loader_obj.action_loader.get(
            _THEIRS,
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        if theirs is None:
            return False
        result = theirs.run(task_vars=task_vars)
        if result.get("failed"):
            reason = result.get("error") or result.get("msg") or "it does not say why"
            raise UserDataError(f"User data cannot be saved by {_THEIRS}: {reason}")
        return True

    def _platform(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        """A variable of the platform: this host's, or else that of localhost, which runs its own plays."""
        localhost = task_vars.get("hostvars", {}).get("localhost", {}) if name not in task_vars else {}
        value = task_vars.get(name, localhost.get(name))
        return self._templar.template(value) or default


def _is_installed(collection: str) -> bool:
    try:
        return importlib.util.find_spec(f"ansible_collections.{collection}") is not None
    except ModuleNotFoundError:
        return False


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {mask(name, ()): _masked(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked(member) for member in value]
    return mask(value, ()) if isinstance(value, str) else value


def _lines(name: str, value: Any) -> list[str]:
    lines = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(line, str | int | float) for line in lines):
        raise OptionError(f"{name} must be text or a list of texts")
    return [_plain(str(line)) for line in lines]


def _plain(value: Any) -> Any:
    """The value as JSON knows it: plain types, where ansible-core before 2.19 has its own, even for str(value)."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        raise OptionError("data holds something that JSON cannot") from None
