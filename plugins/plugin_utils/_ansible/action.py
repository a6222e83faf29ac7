# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base class of the actions: they run on the controller, report failures as one sentence, and hide secrets.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar

from ansible import context, release
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from .._errors import UserError
from .._litellm.client import Client
from .._masking import mask
from .._text import Wording, printable
from .facts import localhost_variable, possible_facts
from .options import (
    CONNECTION_OPTIONS,
    Options,
    connect,
    is_empty,
    register,
    secret_values,
    warning_about_sources,
    with_sources,
)

Result = dict[str, Any]

COLLECTION = "rhpds.litellm_virtual_keys"
# The variable that each playbook of this collection sets.
_PLAYBOOK_NAME = "litellm_playbook_name"
# The variable by which a playbook passes what its user calls the options, from the result of litellm_playbook.
SHORT_NAMES = "_litellm_short_names"
_GROUP = f"group/{COLLECTION}.litellm"

_SECONDS_BETWEEN_REPORTS = 5.0
_BEFORE_2_19 = tuple(map(int, release.__version__.split(".")[:2])) < (2, 19)


class ControllerAction(ActionBase):
    """An action that runs on the controller.

    Subclasses set `OPTIONS` and implement `execute`. This class does the rest of what concerns output:

    - A UserError becomes a failed result with a masked message. It is returned instead of raised, because ansible-core
      2.19 and later prints an exception and its causes even with no_log.
    - The values of all options that are marked as secret are masked in messages and warnings, and are registered with
      ansible-core where it supports that.
    - After `hide_secrets`, the result is registered as usual and is not displayed. Since that hides the diff, too, and
      before ansible-core 2.19 the message of a failure, these are displayed separately, unless the task sets no_log.

    Facts of hosts do not count as variables, neither for `execute` nor in the templates of the arguments.
    """

    OPTIONS: ClassVar[Options] = {}
    # Whether module_defaults apply to an argument that is an empty list or dictionary. Elsewhere, it clears a setting.
    EMPTY_IS_NOT_GIVEN: ClassVar[bool] = False
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        self._arguments: Mapping[str, Any] = self._task.args
        self._hides_secrets = False
        self.wording = Wording()
        if not hasattr(self, "_is_no_log"):  # an action is run again for each retry of `until`
            self._is_no_log = bool(self._task.no_log)
        problem = None
        all_variables = self._templar.available_variables
        try:
            with _garbage_collection_paused():
                result.update(self.execute(self._without_facts(task_vars or {})))
        except UserError as error:
            problem = self.masked(str(error))
        finally:
            self._templar.available_variables = all_variables
        if problem:
            result.update(failed=True, changed=False, msg=problem)
        if result.get("failed"):
            # ansible-core prints it as it is, with names from the proxy.
            result["msg"] = printable(self.wording.reword(result["msg"]))
        if self._hides_secrets:
            self._hide(result)
        return result

    @abstractmethod
    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        """Do the work and return the result.

        :raises UserError: if it fails.
        """

    def arguments(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of the task, with connection options from variables and the environment.

        An argument that is empty or omitted counts as not given. Ansible itself ignores module_defaults for such
        arguments, which the role has for each of its variables that are not set.
        """

        def variable(name: str) -> Any:
            return self._templar.template(task_vars[name]) if name in task_vars else None

        own = self._task.args
        given = {
            **own,
            **{name: one for name, one in module_defaults(self).items() if not self._is_given(own.get(name))},
        }
        options = {name: option for name, option in CONNECTION_OPTIONS.items() if name in self.OPTIONS}
        variables = [name for option in options.values() for name in option.environment]
        complete, names = with_sources(options, given, variable, {**os.environ, **task_environment(self, variables)})
        self._arguments = complete
        if _PLAYBOOK_NAME in task_vars:  # its user sets no options
            names = {**{name: str(options[name].variable) for name in options if is_empty(complete[name])}, **names}
        self.wording = Wording(names)
        if warning := warning_about_sources(complete, names):
            self.warn(warning)
        register(self.OPTIONS, complete)
        return complete

    def _is_given(self, value: Any) -> bool:
        return not is_empty(value) and not (self.EMPTY_IS_NOT_GIVEN and value in ([], {}))

    def connect(self, options: Mapping[str, Any]) -> Client:
        """Return a client for the proxy of the connection options.

        :raises OptionError: if an option has an invalid value.
        """
        return connect(options, self.warn, self.wording.names)

    def masked(self, text: str) -> str:
        """Return the text without the secrets of the task."""
        return mask(text, self.secrets())

    def secrets(self) -> list[str]:
        """Return the values that must not be displayed."""
        return list(secret_values(self.OPTIONS, self._arguments))

    def warn(self, text: str) -> None:
        """Display a warning without the secrets of the task."""
        self._display.warning(printable(self.masked(text)))

    def hide_secrets(self) -> None:
        """Do not display the result, because it contains secrets, except in an ad-hoc command, whose purpose it is."""
        self._hides_secrets = not context.CLIARGS.get("module_name")

    def platform_variable(self, name: str, task_vars: Mapping[str, Any], default: Any) -> Any:
        """Return a variable of this host, or else of localhost, where AgnosticD runs its own plays."""
        value = task_vars.get(name)
        return self._templar.template(localhost_variable(name, task_vars) if value is None else value) or default

    def fact(self, name: str, task_vars: Mapping[str, Any]) -> Any:
        """Return a fact of the play, or None. A template is ignored: it could contain a lookup of the same key."""
        value = task_vars.get(name)
        return None if self._templar.is_template(value) else value

    def typed_names(self, task_vars: Mapping[str, Any]) -> Mapping[str, str]:
        """Return what the user of a playbook of this collection calls the options."""
        return dict(self._templar.template(task_vars.get(SHORT_NAMES, {}))) if _PLAYBOOK_NAME in task_vars else {}

    def progress_reporter(self) -> Callable[[str], None]:
        """Return a function that displays a progress message if nothing was displayed for a while."""
        last = time.monotonic()

        def report(text: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
                last = time.monotonic()
                # The keys are more important: the display fails if Ansible itself was killed.
                with contextlib.suppress(OSError, ValueError):
                    self._display.display(f"{self._task.action.rpartition('.')[2]}: {text}", stderr=True)

        return report

    def _without_facts(self, task_vars: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the variables of the task without facts, and use only these in templates."""
        if not any(possible_facts(task_vars)):
            return task_vars
        # Imported here, because few hosts return facts with the name of a variable.
        from .without_facts import arguments_without_facts, variables_without_facts, warning_about

        variables, ignored = variables_without_facts(self._task, task_vars)
        if ignored:
            self.warn(warning_about(ignored, str(task_vars.get("inventory_hostname"))))
            self._templar.available_variables = variables
            self._task.args = arguments_without_facts(self._task, self._templar, self._loader, ignored)
            self._arguments = self._task.args
        return variables

    def _hide(self, result: Result) -> None:
        result["_ansible_no_log"] = True
        if _BEFORE_2_19:
            self._task.no_log = True
        if self._is_no_log:
            result.pop("diff", None)
            return
        for diff in result.get("diff", ()):
            self._display.display(_unified_diff(diff), stderr=True)
        if result.get("failed") and _BEFORE_2_19:
            self._display.error(result["msg"], wrap_text=False)


def module_defaults(action: ActionBase) -> dict[str, Any]:
    """Return the module_defaults that apply to a task of this collection: those of the group, then those of the action.

    As in Ansible, the values of an inner level replace all values of an outer level for the same name.
    """
    levels: dict[str, Any] = {}
    for level in action._task.module_defaults or ():
        levels.update(level)
    found: dict[str, Any] = {}
    for name in (_GROUP, f"{COLLECTION}.{action._task.action.rpartition('.')[2]}"):
        found.update(levels.get(name) or {})
    return dict(action._templar.template(found))


def task_environment(action: ActionBase, names: Collection[str]) -> dict[str, Any]:
    """Return these variables of the `environment` of the task, its blocks, role and play.

    Ansible passes the environment only to modules. Other variables in it are not rendered: they often refer to facts.
    """
    found: dict[str, Any] = {}
    for level in action._task.environment or ():
        variables = level
        if isinstance(level, str):
            with contextlib.suppress(AnsibleError):  # Ansible reports it for the modules that need it
                variables = action._templar.template(level)
        if isinstance(variables, Mapping):
            found.update((name, variables[name]) for name in names if name in variables)
    return dict(action._templar.template(found))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn the signals by which Ansible ends its workers into a KeyboardInterrupt, so that work can be undone."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_unused: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # Ansible sends several
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause the search for reference cycles: with many keys, it doubles the time for reading their user data.

    Other objects are freed as always, and the process ends with the task.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _unified_diff(diff: Mapping[str, Any]) -> str:
    # Imported here, because only diff mode needs them.
    import difflib
    import json

    import yaml

    # PyYAML refuses the string types of ansible-core 2.16 to 2.18; a round trip through JSON makes them plain.
    plain = json.loads(json.dumps(diff))
    before, after = (yaml.safe_dump(plain[name]).splitlines() if plain[name] else [] for name in ("before", "after"))
    return "\n".join(difflib.unified_diff(before, after, diff["before_header"], diff["after_header"], lineterm=""))
