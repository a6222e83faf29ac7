# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key`: Ansible's words in, Ansible's words out. What to do is decided below."""

from __future__ import annotations

import contextlib
import difflib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible import context, release
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._arguments import (
    OPTIONS,
    SECRETS,
    all_wanted,
    base_alias,
    complete,
    with_saved,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import Wanted
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._observe import Observer
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import connect, typed
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._result import (
    difference,
    entry,
    failure,
    not_deleted,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import mask
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._user_data import (
    SavedKey,
    load,
    saved_keys,
    users_of,
)

_SECONDS_BETWEEN_PROGRESS = 5.0
# Before 2.19 ansible-core shows no message of a result that it does not show, but the results of a loop as a whole.
_BEFORE_2_19 = tuple(map(int, release.__version__.split(".")[:2])) < (2, 19)
# Facts of the play, beside those of an earlier run that were saved.
_FACTS = ("litellm_key_alias", "litellm_virtual_key", "litellm_key_aliases", "litellm_virtual_keys")


class ActionModule(ControllerAction):
    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        self._given = self.with_connection(task_vars)
        arguments = complete(self._given)
        options = typed(OPTIONS, arguments, "litellm_key")
        saved = self._saved(task_vars) if options["recall"] else []
        client = connect(options, self.warn)
        users: Sequence[str | None] = options["users"] or (None,)
        found = None
        if options["users_of"] and not options["users"]:
            base = base_alias(options)
            replaces = options["state"] == "absent" or options["regenerate"] != "never"
            found = Observer(client).of_environment(base, str(Wanted(base).old_alias), both=replaces)
            users = users_of(options["users_of"], base, saved, found)
        wanted = with_saved(all_wanted(options, arguments, users), saved)
        with _interruptible():
            outcomes = reconcile(
                client,
                wanted,
                found=found,
                check_mode=self._task.check_mode,
                on_unknown_models=options["on_unknown_models"],
                warn=self.warn,
                progress=_now_and_then(lambda text: self._display.display(f"litellm_key: {text}", stderr=True)),
            )
            for outcome in outcomes:
                outcome.error = outcome.error and mask(outcome.error, self.secrets())
        entries = [entry(outcome) for outcome in outcomes]
        result: Result = {
            "changed": any(outcome.changed for outcome in outcomes),
            "virtual_keys": entries,
            "api_endpoint": client.connection.url,
            "api_base_url": f"{client.connection.url}/v1",
            "api_calls": client.api_calls,
        }
        if len(entries) == 1:
            result["virtual_key"] = entries[0]
        if self._task.diff:
            result["diff"] = [diff for outcome in outcomes if (diff := difference(outcome))]
        if message := failure(outcomes):
            result.update(failed=True, msg=message, not_deleted=not_deleted(outcomes))
        self._keep_secrets_from_the_output(result, outcomes)
        return result

    def secrets(self) -> list[str]:
        given_options = getattr(self, "_given", self._task.args)
        many = given_options.get("virtual_keys")
        entries = [given_options, given_options.get("settings"), *(many if isinstance(many, list | tuple) else ())]
        return [
            str(one[name])
            for one in entries
            if isinstance(one, Mapping)
            for name in ("master_key", *SECRETS)
            if one.get(name)
        ]

    def _saved(self, task_vars: Mapping[str, Any]) -> list[SavedKey]:
        """The keys that were told before: as user data, or in this play."""
        folder = self.platform("output_dir", task_vars, task_vars.get("playbook_dir") or ".")
        facts = {name: task_vars.get(name) for name in _FACTS}
        # A template could hold a lookup of the very key.
        facts = {name: value for name, value in facts.items() if not self._templar.is_template(value)}
        return [*saved_keys(load(Path(str(folder)))), *saved_keys(facts)]

    def _keep_secrets_from_the_output(self, result: Result, outcomes: Sequence[Outcome]) -> None:
        """A registered result keeps its secrets and no output shows it; but ad hoc, the output is all there is."""
        if context.CLIARGS.get("module_name") or not any(outcome.secret for outcome in outcomes):
            return
        result["_ansible_no_log"] = True
        if _BEFORE_2_19:
            self._task.no_log = True
        # That hides the rest of the result, too.
        for diff in result.get("diff", ()):
            self._display.display(_unified(diff), stderr=True)
        if result.get("failed") and _BEFORE_2_19:
            self._display.error(result["msg"], wrap_text=False)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let the work be interrupted in an orderly way: the signals by which Ansible ends its workers end them at once."""

    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_unused: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)  # Ansible sends several, and once is enough
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _now_and_then(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell of progress, but only when there was nothing to read for a while."""
    last = time.monotonic()

    def told(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_PROGRESS:
            last = time.monotonic()
            tell(text)

    return told


def _unified(diff: Mapping[str, Any]) -> str:
    # PyYAML refuses the texts of ansible-core 2.16 to 2.18, which have types of their own; through JSON they are plain.
    plain = json.loads(json.dumps(diff))
    before, after = (yaml.safe_dump(plain[name]).splitlines() if plain[name] else [] for name in ("before", "after"))
    return "\n".join(difflib.unified_diff(before, after, diff["before_header"], diff["after_header"], lineterm=""))
