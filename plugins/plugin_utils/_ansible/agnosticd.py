# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save user data through AgnosticD's own action if `agnosticd.core` is installed, and else in the same files.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._environment.records import SavedKey, lost_aliases
from .._environment.secret_sources import known_keys
from .._environment.store import data_file, load, merge, message_files, protect, save
from .._errors import OptionError, UserDataError
from .action import ControllerAction, Result
from .options import Option, coerce_options
from .plain import to_plain

USER_INFO_OPTIONS = {
    "msg": Option("raw"),
    "body": Option(),
    "data": Option("dict"),
    "data_prefix": Option(default=""),
    "user": Option(),
    "users": Option("dict"),
    "action": Option(),
}

_THEIR_ACTION = "agnosticd.core.agnosticd_user_info"


def user_info_defaults(action: ControllerAction) -> dict[str, Any]:
    """Return AgnosticD's module_defaults for its own action, such as the prefix that distinguishes clusters."""
    defaults: dict[str, Any] = {}
    for level in action._task.module_defaults or ():
        defaults.update(level.get(_THEIR_ACTION) or {})
    return dict(action._templar.template(defaults))


def output_folder(action: ControllerAction, task_vars: Mapping[str, Any]) -> Path:
    """Return the folder of the user data files."""
    return Path(str(action.platform_variable("output_dir", task_vars, task_vars.get("playbook_dir") or ".")))


def known_keys_of(action: ControllerAction, task_vars: Mapping[str, Any]) -> list[SavedKey]:
    """Return the keys whose secrets are known from the user data files and the facts of the play.

    :raises UserDataError: if a file cannot be read.
    """
    return list(known_keys(load(output_folder(action, task_vars)), lambda name: action.fact(name, task_vars)))


def save_user_info(action: ControllerAction, own: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Result:
    """Save messages and data, and return the result of `agnosticd_user_info`.

    :param own: the options of `agnosticd_user_info`.
    :raises OptionError: if an option has an invalid value.
    :raises UserDataError: if a file cannot be written.
    """
    arguments = {**user_info_defaults(action), **own}
    options = coerce_options(USER_INFO_OPTIONS, arguments, "agnosticd_user_info")
    messages, bodies = _lines("msg", options["msg"]), _lines("body", options["body"])
    if messages and bodies:
        raise OptionError("msg and body cannot both be given")
    data = to_plain(_prefixed(options["data"], options["data_prefix"]), "data")
    user = to_plain(options["user"], "user")
    users = to_plain(
        {name: _of_user(name, one, options["data_prefix"]) for name, one in (options["users"] or {}).items()}, "users"
    )
    if not action._task.check_mode and not _delegate(action, arguments, task_vars):
        folder = output_folder(action, task_vars)
        name = options["action"] or str(action.platform_variable("ACTION", task_vars, "provision"))
        before, after = save(folder, name, messages=messages, bodies=bodies, data=data, user=user, users=users)
        _warn_about_lost_secrets(action, folder, before, after)
    # AgnosticD reads these prefixes from the log, so messages are always displayed. Data are not: they contain secrets,
    # in any form, and there can be hundreds.
    prefix = "" if user else "user.info: " if messages else "user.body: "
    shown = [prefix + line for line in messages or bodies]
    result: Result = {"changed": False, "_ansible_verbose_always": bool(shown)}
    if shown:
        result["msg"] = shown if isinstance(options["msg"], list) else shown[0]
    if user:
        result["user"] = user
    return result


def merge_user_data_files(
    action: ControllerAction,
    task_vars: Mapping[str, Any],
    build: Callable[[Mapping[str, Any], str], tuple[dict[str, Any], dict[str, dict[str, Any]]]],
) -> None:
    """Save data that depend on those that are saved already, in the files of the provision, which lab guides read.

    :param build: returns the data for the environment and for each user, from the present data and the prefix of their
        names; the returned names have no prefix.
    :raises UserDataError: if a file cannot be read or written.
    """
    prefix, folder = str(user_info_defaults(action).get("data_prefix") or ""), output_folder(action, task_vars)
    if is_installed(_THEIR_ACTION.rpartition(".")[0]):
        data, users = build(load(folder), prefix)
        if (data or users) and _delegate(
            action, {"action": "provision", "data": data, "users": users, "data_prefix": prefix}, task_vars
        ):
            return

    def merged(present: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        data, users = to_plain(build(present, prefix), "data")
        return _prefixed(data, prefix), {name: _prefixed(one, prefix) for name, one in users.items()}

    _warn_about_lost_secrets(action, folder, *merge(folder, "provision", merged))


def _warn_about_lost_secrets(
    action: ControllerAction, folder: Path, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    for alias in lost_aliases(before, after):
        action.warn(
            f"The secret of virtual key {alias} was overwritten in {folder} by that of another key. "
            "Give each environment a folder of its own (output_dir), or derive secrets (key_seed)"
        )


def _delegate(action: ControllerAction, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> bool:
    """Call AgnosticD's own action, and return whether it is installed and no other user can lead it astray.

    :raises UserDataError: if it fails.
    """
    if not is_installed(_THEIR_ACTION.rpartition(".")[0]):
        return False  # ansible-core 2.19 would warn about a missing collection
    own = {name: value for name, value in arguments.items() if name not in ("users", "action")}
    prefix = {name: own[name] for name in own if name == "data_prefix"}
    each = [{"user": user, "data": data, **prefix} for user, data in (arguments.get("users") or {}).items()]
    calls = [own, *each] if own.keys() & {"msg", "body", "data", "user"} else each
    # It would also read them from `hostvars`, where facts replace variables.
    variables = {
        **task_vars,
        "ACTION": arguments.get("action") or str(action.platform_variable("ACTION", task_vars, "provision")),
        "output_dir": str(output_folder(action, task_vars)),
    }
    return all(_call(action, one, variables) for one in calls)


def _call(action: ControllerAction, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> bool:
    task = action._task.copy()
    task.args = dict(arguments)
    theirs = action._shared_loader_obj.action_loader.get(
        _THEIR_ACTION,
        task=task,
        connection=action._connection,
        play_context=action._play_context,
        loader=action._loader,
        templar=action._templar,
        shared_loader_obj=action._shared_loader_obj,
    )
    if theirs is None:
        return False
    # It would follow links, new files would get the mode of the umask, and in a directory that others can change, they
    # could replace a file before it is opened.
    if not protect(Path(task_vars["output_dir"]), _files_of(arguments, task_vars["ACTION"])):
        return False
    result = theirs.run(task_vars=task_vars)
    if result.get("failed"):
        reason = result.get("error") or result.get("msg") or "it gives no reason"
        raise UserDataError(f"Cannot save user data with {_THEIR_ACTION}: {reason}")
    return True


def _files_of(arguments: Mapping[str, Any], action: str) -> list[str]:
    """Return the names of the files that AgnosticD's own action writes to."""
    if arguments.get("user") or arguments.get("data"):
        return [data_file(action)]
    info, body = message_files(action)
    return [name for name, option in ((info, "msg"), (body, "body")) if arguments.get(option)]


def is_installed(collection: str) -> bool:
    """Return whether a collection is installed on the controller."""
    try:
        return importlib.util.find_spec(f"ansible_collections.{collection}") is not None
    except ModuleNotFoundError:
        return False


def _prefixed(data: Mapping[str, Any] | None, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in (data or {}).items()}


def _of_user(user: Any, data: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise OptionError(f"users must contain a dictionary for each user, but has none for {user!r}")
    return _prefixed(data, prefix)


def _lines(name: str, value: Any) -> list[str]:
    lines = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(line, str | int | float) for line in lines):
        raise OptionError(f"{name} must be text or a list of texts")
    return [to_plain(str(line), name) for line in lines]
