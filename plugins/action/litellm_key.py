# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action `litellm_key`: Ansible's words in, Ansible's words out. What to do is decided below."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import yaml
from ansible import context, release
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import parse, parse_instant
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import (
    KEY_TYPES,
    SETTINGS,
    Lifetime,
    Wanted,
    checked_alias,
    checked_id,
    setting,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._options import (
    CONNECTION,
    Option,
    connect,
    is_vaulted,
    typed,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._reconcile import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._result import difference, entry, failure
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, derive, given, mask

_LIFETIME = ("expires_at", "runtime", "duration")
_SECRETS = ("key", "known_key", "key_seed")
_EITHER_OR = (("key", "key_seed"), ("key_type", "allowed_routes"), ("soft_budget", "budget_id"))
_NUMBERS = ("int", "float")
_SECONDS_BETWEEN_PROGRESS = 5.0
# Before 2.19 ansible-core shows no message of a result that it does not show.
_HIDES_FAILURES = tuple(map(int, release.__version__.split(".")[:2])) < (2, 19)

KEY = {
    "guid": Option(),
    "alias_prefix": Option(default="virtkey-"),
    "key_alias": Option(),
    "key_id": Option(),
    "state": Option(default="present", choices=("present", "absent")),
    "key": Option(secret=True),
    "known_key": Option(secret=True),
    "key_seed": Option(secret=True),
    "key_version": Option("int", 1),
    "regenerate": Option(default="never", choices=("never", "if_unrecoverable", "always")),
    "on_unknown_key": Option(default="ignore", choices=("ignore", "fail")),
    "expires_at": Option("raw"),
    "runtime": Option("raw"),
    "duration": Option("raw"),
    "duration_from": Option(default="creation", choices=("creation", "now")),
    "shorten": Option("bool", True),
    **{name: Option(known.kind) for name, known in SETTINGS.items()},
    "key_type": Option(choices=KEY_TYPES),
    "extra_params": Option("dict"),
    "unset": Option("list of str"),
}
ALL = {
    **CONNECTION,
    **KEY,
    "virtual_keys": Option("list", secret=True),
    "on_unknown_models": Option(default="fail", choices=("fail", "warn", "ignore")),
}


class ActionModule(ControllerAction):
    def outcome(self, task_vars: Mapping[str, Any]) -> Result:
        self._given = self.with_connection(task_vars)
        options = typed(ALL, self._given, "litellm_key")
        wanted = _all_wanted(options, self._given)
        client = connect(options)
        with _interruptible():
            outcomes = reconcile(
                client,
                wanted,
                check_mode=self._task.check_mode,
                on_unknown_models=options["on_unknown_models"],
                warn=self._display.warning,
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
            result.update(failed=True, msg=message)
        self._keep_secrets_from_the_output(result, outcomes)
        return result

    def secrets(self) -> list[str]:
        given_options = getattr(self, "_given", self._task.args)
        many = given_options.get("virtual_keys")
        entries = [one for one in many if isinstance(one, Mapping)] if isinstance(many, list | tuple) else []
        return [
            str(one[name]) for one in (given_options, *entries) for name in ("master_key", *_SECRETS) if one.get(name)
        ]

    def _keep_secrets_from_the_output(self, result: Result, outcomes: Sequence[Outcome]) -> None:
        """A registered result keeps its secrets and no output shows it; but ad hoc, the output is all there is."""
        if context.CLIARGS.get("module_name") or not any(outcome.secret for outcome in outcomes):
            return
        result["_ansible_no_log"] = True
        # That hides the rest of the result, too.
        for diff in result.get("diff", ()):
            self._display.display(_unified(diff), stderr=True)
        if result.get("failed") and _HIDES_FAILURES:
            self._display.error(result["msg"], wrap_text=False)


def _all_wanted(options: Mapping[str, Any], given_options: Mapping[str, Any]) -> list[Wanted]:
    if options["virtual_keys"] is None:
        return [_wanted(options, options["master_key"])]
    for name in ("guid", "key_alias", "key_id"):
        if options[name] is not None:
            raise OptionError(f"{name} names one key and virtual_keys names many; give one of them")
    common = {name: value for name, value in given_options.items() if name in KEY}
    wanted = []
    for index, one in enumerate(options["virtual_keys"]):
        where = f"virtual_keys[{index}]"
        if not isinstance(one, Mapping):
            raise OptionError(f"{where} must be a dictionary like {{guid: user1}}")
        try:
            wanted.append(_wanted(typed(KEY, _overridden(common, one), "it"), options["master_key"]))
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None
    names = [key.alias or key.key_id for key in wanted]
    if twice := sorted({str(name) for name in names if names.count(name) > 1}):
        raise OptionError(f"virtual_keys names {', '.join(twice)} more than once")
    return wanted


def _overridden(common: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one key: its own, and where it says nothing the common ones."""
    given = {name for name, value in one.items() if value not in (None, "")}
    own_unset = set(one.get("unset") or ())
    # Of several ways to say one thing, its own counts.
    silent = {name for names in (_LIFETIME, _SECRETS, *_EITHER_OR) if given & {*names} for name in names} | own_unset
    if "expires_at" in own_unset:
        silent.update(_LIFETIME)
    kept = {name: value for name, value in common.items() if name not in silent}
    if kept.get("unset"):
        said = given | (set(_LIFETIME) if given & {*_LIFETIME} else set())
        kept["unset"] = [name for name in kept["unset"] if name not in said]
    own = {name: value for name, value in one.items() if name not in common or name in given}
    return {**kept, **own}


def _wanted(options: Mapping[str, Any], master_key: str | None) -> Wanted:
    alias, key_id = _identity(options)
    for one, other in _EITHER_OR:
        if options[one] not in (None, "") and options[other] not in (None, ""):
            raise OptionError(f"{one} and {other} cannot both be given")
    if options["regenerate"] != "never" and alias is None:
        raise OptionError("regenerate needs guid or key_alias: it makes another key, with another key_id")
    return Wanted(
        alias=alias,
        key_id=key_id,
        guid=options["guid"],
        present=options["state"] == "present",
        settings=_settings(options),
        lifetime=_lifetime(options),
        secret=_secret(options, alias, master_key),
        known=Secret(options["known_key"], "given") if options["known_key"] else None,
        secret_required=options["on_unknown_key"] == "fail",
        regenerate=options["regenerate"],
    )


def _identity(options: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The alias or the id of the key."""
    names = [name for name in ("guid", "key_alias", "key_id") if options[name] is not None]
    if len(names) != 1:
        found = f"{' and '.join(names)} are given" if names else "none is given"
        raise OptionError(f"exactly one of guid, key_alias and key_id must name the key, but {found}")
    if names == ["key_id"]:
        return None, checked_id(options["key_id"])
    if names == ["guid"]:
        if not options["guid"]:
            raise OptionError("guid is empty; it must name the environment")
        return checked_alias(options["alias_prefix"] + options["guid"], "guid"), None
    return checked_alias(options["key_alias"]), None


def _secret(options: Mapping[str, Any], alias: str | None, master_key: str | None) -> Secret | None:
    if options["key"]:
        return given(options["key"])
    if not options["key_seed"]:
        return None
    if alias is None:
        raise OptionError("key_seed needs guid or key_alias: the secret is derived from the alias")
    return derive(options["key_seed"], alias, options["key_version"], master_key=master_key)


def _lifetime(options: Mapping[str, Any]) -> Lifetime | None:
    """`expires_at` before `runtime` before `duration`; empty means not given."""
    shorten = options["shorten"]
    if "expires_at" in (options["unset"] or ()):
        if given_too := [name for name in _LIFETIME if options[name] not in (None, "")]:
            raise OptionError(f"{given_too[0]} is given, but expires_at is in unset")
        return Lifetime(None)
    if options["expires_at"] not in (None, ""):
        return Lifetime(parse_instant(options["expires_at"]), shorten=shorten)
    for name in ("runtime", "duration"):
        if options[name] not in (None, ""):
            return Lifetime(parse(options[name]), from_now=options["duration_from"] == "now", shorten=shorten)
    return None


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = dict(options["extra_params"] or {})
    for name in settings:
        if name in ALL or any(name == known.field for known in SETTINGS.values()):
            raise OptionError(f"extra_params has '{name}', which is an option of its own")
        if name in ("duration", "expires", "token", "key_name"):
            raise OptionError(f"extra_params cannot have '{name}'")
    for name, known in SETTINGS.items():
        value = options[name]
        if value is None or value == "":
            continue
        if known.kind in _NUMBERS and not (math.isfinite(value) and value >= 0):
            raise OptionError(f"{name} is {value:g}; it must be 0 or more")
        settings[name] = str(parse(value)) if name == "budget_duration" else value
    for name in options["unset"] or ():
        if name not in SETTINGS and name != "expires_at":
            raise OptionError(f"unset has '{name}'; it can have expires_at, {', '.join(sorted(SETTINGS))}")
        if options[name] not in (None, ""):
            raise OptionError(f"{name} is both given and in unset")
        if name in SETTINGS:
            settings[name] = setting(name).nothing
    return _as_json(settings)


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As LiteLLM gives it back: YAML has dates, and names that are no text; ansible-core has types of its own."""

    def text(value: Any) -> str:
        if isinstance(value, date):
            return value.isoformat()
        if is_vaulted(value):
            return str(value)
        raise TypeError(f"a value of type {type(value).__name__}")

    try:
        read: dict[str, Any] = json.loads(json.dumps(settings, default=text))
    except (TypeError, ValueError) as error:
        problem = f"A setting holds what JSON cannot: {error}"
    else:
        return read
    raise OptionError(problem)


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
