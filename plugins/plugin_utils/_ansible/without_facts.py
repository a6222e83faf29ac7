# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the variables and arguments of a task again without facts, if a fact has the name of a variable.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleError

from .._errors import OptionError
from .._text import printable, shorten
from .facts import is_input, manager_of, possible_facts

_MAX_NAMES = 5


def variables_without_facts(task: Any, variables: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the variables of a task without facts, and the names of the variables that facts had set.

    A fact neither replaces a variable nor counts as one that this collection reads. Templates of the user can still
    read other facts.

    :raises OptionError: if a fact replaces the name of the host, or facts cannot be distinguished from variables.
    """
    if "inventory_hostname" in variables["ansible_facts"]:
        raise OptionError("The facts of a host contain inventory_hostname; do not run modules that return such a fact")
    without, ignored = dict(variables), []
    from_play = _variables_from_play(task, variables)
    for name in set(possible_facts(variables)) - _loop_variables(task):
        if name in from_play:
            without[name] = from_play[name]
        elif is_input(name):
            del without[name]
        if name not in without or not _is_same(without[name], variables[name]):
            ignored.append(name)
    if "vars" in without:
        without["vars"] = {name: value for name, value in without.items() if name != "vars"}
    return without, sorted(ignored)


def arguments_without_facts(task: Any, templar: Any, loader: Any, ignored: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of a task, templated with the variables of the templar, and reset what else contains facts.

    :param ignored: the variables that are missing or different now, for the message.
    :raises OptionError: if the arguments cannot be read again, for example because such a variable is required.
    """
    problem: object = "the task is not part of a playbook"
    definition = task.get_ds()
    if definition:
        try:
            again = type(task)(block=task._parent, role=task._role)
            again.load_data(dict(definition), variable_manager=task._variable_manager, loader=loader)
            if again.action == task.action:
                task.module_defaults, task.environment = again.module_defaults, again.environment
                return _templated(again, templar)
            problem = f"the task runs {again.action}"
        except AnsibleError as error:
            problem = error
    raise OptionError(
        f"Cannot read the options without {_listed(ignored)}, which the facts of a host set and which do not count. "
        f"Set variables in the inventory, in the play or with set_fact: {problem}"
    )


def warning_about(ignored: Iterable[str], host: str) -> str:
    """Return a warning about facts that were ignored."""
    return (
        f"Ignored facts of host {printable(host)} with the names of variables: {_listed(ignored)}. A host can return "
        "any fact; set variables in the inventory, in the play or with set_fact"
    )


def _variables_from_play(task: Any, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    manager = manager_of(variables)
    if manager is None:
        raise OptionError(
            "This ansible-core does not distinguish facts from variables; "
            "set inject_facts_as_vars = false in ansible.cfg"
        )
    host = manager._inventory.get_host(variables["inventory_hostname"])
    found: Mapping[str, Any] = manager.get_vars(play=task.get_play(), host=host, task=task)
    return found


def _loop_variables(task: Any) -> set[str]:
    """Return the names of the variables of a loop, which ansible-core sets after all others."""
    control = task.loop_control
    return {control.loop_var, control.index_var} if task.loop is not None and control else set()


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _templated(task: Any, templar: Any) -> dict[str, Any]:
    try:
        from ansible.executor.module_common import get_action_args_with_defaults
        from ansible.executor.task_executor import remove_omit
    except ImportError:  # ansible-core 2.19 and later also adds module_defaults, and removes what is omitted
        return dict(task.post_validate_attribute("args", templar=templar._engine))
    arguments = get_action_args_with_defaults(
        task.resolved_action,
        task._post_validate_args("args", task.args, templar),
        task.module_defaults,
        templar,
        action_groups=task.get_play()._action_groups,
    )
    return dict(remove_omit(arguments, templar.available_variables.get("omit")))


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _MAX_NAMES} more" if len(known) > _MAX_NAMES else ""
    return ", ".join(shorten(printable(name)) for name in known[:_MAX_NAMES]) + more
