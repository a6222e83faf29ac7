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
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import save

OPTIONS = {
    "msg": Option("raw"),
    "body": Option(),
    "data": Option("dict"),
    "data_prefix": Option(default=""),
    "user": Option(),
    "users": Option("dict"),
    "action": Option(),
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
        data = _plain(_prefixed(options["data"], options["data_prefix"]))
        user, many = _plain(options["user"]), options["users"] or {}
        users = _plain({name: _of_user(name, one, options["data_prefix"]) for name, one in many.items()})
        if not self._task.check_mode and not self._handed_over(arguments, task_vars):
            folder = Path(str(self.platform("output_dir", task_vars, task_vars.get("playbook_dir") or ".")))
            action = options["action"] or str(self.platform("ACTION", task_vars, "provision"))
            for alias in save(folder, action, messages=messages, bodies=bodies, data=data, user=user, users=users):
                self.warn(
                    f"{folder} held the secret of the key {alias}, and now holds that of another in its place; "
                    "give each environment a folder of its own (output_dir), or derive secrets (key_seed)"
                )
        # The platform reads these prefixes from the log: the messages are shown always. The data are not: they hold
        # secrets, whatever those look like, and there can be hundreds.
        shown = [("" if user else "user.info: " if messages else "user.body: ") + line for line in messages or bodies]
        result: Result = {"changed": False, "_ansible_verbose_always": bool(shown)}
        if shown:
            result["msg"] = shown if isinstance(options["msg"], list) else shown[0]
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
        own = {name: value for name, value in arguments.items() if name not in ("users", "action")}
        many = arguments.get("users") or {}
        each = [
            {"user": user, "data": data, **{name: own[name] for name in own if name == "data_prefix"}}
            for user, data in many.items()
        ]
        asked = [own, *each] if own.keys() & {"msg", "body", "data", "user"} else each
        action = arguments.get("action")
        return all(self._theirs(one, {**task_vars, "ACTION": action} if action else task_vars) for one in asked)

    def _theirs(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> bool:
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


def _is_installed(collection: str) -> bool:
    try:
        return importlib.util.find_spec(f"ansible_collections.{collection}") is not None
    except ModuleNotFoundError:
        return False


def _prefixed(data: Mapping[str, Any] | None, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in (data or {}).items()}


def _of_user(user: Any, data: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise OptionError(f"users must hold a dictionary for each user, but has none for {user!r}")
    return _prefixed(data, prefix)


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
