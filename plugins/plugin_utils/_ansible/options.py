# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the plugins: their table, where their values come from, and one clear sentence for an invalid value.

ansible-core's ArgumentSpecValidator neither quotes the invalid value nor keeps a secret out of its messages. Hence this
small reader of the same kind of specification.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_float, check_type_int

from .._errors import OptionError
from .._litellm.client import Client
from .._litellm.connection import ENVIRONMENT, Connection
from .._litellm.parsing import parse_literal
from .._litellm.transport import URLLIB3_IMPORT_ERROR

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # ansible-core before 2.22

    def register_secrets(values: Iterable[str], /) -> None:
        """Do nothing: without this function, only this collection masks its secrets."""


@dataclass(frozen=True)
class Option:
    """One option of a plugin.

    :ivar secret: the value is never quoted in a message and is masked in all output.
    :ivar registered: a secret is also registered with ansible-core (2.22 and later), which then masks it everywhere. A
        virtual key is not, because it is meant to be given to its user.
    :ivar options: the options of each dictionary that the value is or contains, for nested options.
    :ivar variable: the Ansible variable that is read if the option is not given.
    :ivar environment: the environment variables that are read after that, in this order.
    """

    type: str = "str"
    default: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    registered: bool = True
    options: Mapping[str, Option] | None = None
    variable: str | None = None
    environment: tuple[str, ...] = ()


Options = Mapping[str, Option]

CONNECTION_OPTIONS = {
    "url": Option(),
    "master_key": Option(secret=True),
    "validate_certs": Option("bool", True),
    "ca_path": Option("path"),
    "timeout": Option("float", 30.0),
    "retries": Option("int", 3),
    "concurrency": Option("int", 8),
}
CONNECTION_OPTIONS = {
    name: replace(option, variable=f"litellm_{name}", environment=ENVIRONMENT[name])
    for name, option in CONNECTION_OPTIONS.items()
}


def with_sources(
    options: Options,
    given: Mapping[str, Any],
    variable: Callable[[str], Any],
    environment: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the given values, completed from Ansible variables and then from the environment. Empty means not given.

    :param variable: returns the value of an Ansible variable, or None.
    :param environment: environment variables; None for those of the process.
    :returns: the values, and the names of the variables that set them.
    """
    complete = dict(given)
    names: dict[str, str] = {}
    environment = os.environ if environment is None else environment
    for name, option in options.items():
        if not is_empty(complete.get(name)):
            continue
        sources = [(option.variable, variable(option.variable))] if option.variable else []
        sources += [(source, environment.get(source)) for source in option.environment]
        complete[name] = None
        for source, value in reversed([one for one in sources if not is_empty(one[1])]):
            names[name], complete[name] = source, value
    return complete, names


def warning_about_sources(given: Mapping[str, Any], names: Mapping[str, str]) -> str | None:
    """Return a warning if only one of the URL and the master key was set by the environment of the process.

    They may not belong together. The environment of a task is a part of the play.

    :param given: the values that `with_sources` returns.
    :param names: the names of the variables that set them.
    """
    both = ("url", "master_key")
    if any(is_empty(given.get(name)) for name in both):
        return None
    inherited = {
        name: names[name]
        for name in both
        if names.get(name) in CONNECTION_OPTIONS[name].environment and os.environ.get(names[name]) == given[name]
    }
    if len(inherited) != 1:
        return None
    url, master_key = (
        f"the environment variable {inherited[name]}"
        if name in inherited
        else f"the variable {names[name]}"
        if names.get(name) == CONNECTION_OPTIONS[name].variable
        else "the play"
        for name in both
    )
    return (
        f"The URL of the proxy comes from {url}, but the master key from {master_key}. Check that they belong "
        "together, and set both in one place"
    )


def coerce_options(options: Options, given: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return every option with its value in its type, or with its default.

    :param owner: the plugin or option that these options belong to, for messages.
    :raises OptionError: for an unknown option, a wrong type, or a value that is not among the choices.
    """
    for name in given:
        if name not in options:
            close = difflib.get_close_matches(str(name), options, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"its options are {', '.join(sorted(options))}"
            raise OptionError(f"{owner} has no option '{name}'; {hint}")
    return {name: _coerce(name, option, given.get(name)) for name, option in options.items()}


def secret_values(options: Options, given: Mapping[str, Any], *, only_registered: bool = False) -> Iterator[str]:
    """Return the values of all secret options, also of nested ones, whatever their type."""
    for name, option in options.items():
        value = given.get(name)
        if option.options is not None:
            with contextlib.suppress(TypeError, ValueError):  # it is refused later
                value = _READERS[option.type](value)
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, Mapping):
                    yield from secret_values(option.options, one, only_registered=only_registered)
        elif option.secret and (option.registered or not only_registered) and not is_empty(value):
            yield str(value)


def register(options: Options, given: Mapping[str, Any]) -> None:
    """Register the secrets among the given values with ansible-core, where it supports that."""
    register_secrets(list(secret_values(options, given, only_registered=True)))


def connect(
    options: Mapping[str, Any], warn: Callable[[str], None], names: Mapping[str, str] = MappingProxyType({})
) -> Client:
    """Return a client for the proxy of the connection options.

    :param warn: called if the master key is sent without encryption.
    :param names: what messages call the options, from `with_sources`.
    :raises OptionError: if an option has an invalid value, or urllib3 is missing.
    """
    if URLLIB3_IMPORT_ERROR:
        raise OptionError(
            f"The Python package urllib3 is missing on the controller ({URLLIB3_IMPORT_ERROR}); "
            "install it with pip or dnf"
        )
    connection = Connection(**{name: options[name] for name in CONNECTION_OPTIONS}, names=names)
    if connection.is_unencrypted:
        warn(f"The master key and all virtual keys are sent to {connection.url} unencrypted; use an https:// URL")
    return Client(connection)


def is_empty(value: Any) -> bool:
    """Return whether the value counts as not given: a template whose value is null may become empty text."""
    return value is None or value == ""


def is_vaulted(value: Any) -> bool:
    """Return whether this is inline vaulted text. Before ansible-core 2.19 it has a type of its own; str() decrypts."""
    return getattr(type(value), "yaml_tag", None) == "!vault"


def _coerce(name: str, option: Option, value: Any) -> Any:
    # A template whose value is null becomes empty text before ansible-core 2.19.
    if value is None or (value == "" and (option.choices or option.type not in ("str", "raw"))):
        return option.default
    try:
        value = _READERS[option.type](value)
    except (TypeError, ValueError):
        got = f"a value of type {_type_name(value)}" if option.secret else repr(value)
        raise OptionError(f"{name} must be {_MEANINGS[option.type]}, but is {got}") from None
    if option.choices and value not in option.choices:
        raise OptionError(f"{name} must be one of {', '.join(option.choices)}, but is {value!r}")
    return value


def _type_name(value: Any) -> str:
    """Return the name of the built-in type: ansible-core 2.19 and later has its own subclasses."""
    return next(one.__name__ for one in type(value).__mro__ if one.__module__ == "builtins")


def _text(value: Any) -> str:
    if is_vaulted(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def _list_of_text(value: Any) -> list[str]:
    if isinstance(value, str):
        # Text with brackets that is not JSON is most often a list that lost its type in a template.
        is_list = value.lstrip().startswith("[")
        value = json.loads(value) if is_list else [part.strip() for part in value.split(",")]
        # An empty member is a comma too many: on the command line, Ansible takes the text after a blank as another
        # variable.
        if not all(isinstance(member, str) and member for member in value):
            raise TypeError
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_text(member) for member in value]


def _list(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = parse_literal(value.strip())
    if not isinstance(value, list | tuple):
        raise TypeError
    return list(value)


def _path(value: Any) -> str:
    try:
        path = str(Path(os.path.expandvars(_text(value))).expanduser())
    except RuntimeError:  # the home directory of a user who does not exist
        raise ValueError from None
    if "\0" in path:
        raise ValueError
    return path


def _number(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if isinstance(value, bool):  # a subclass of int
            raise TypeError
        return read(value)

    return number


_READERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "path": _path,
    "bool": check_type_bool,
    "int": _number(check_type_int),
    "float": _number(check_type_float),
    "dict": check_type_dict,
    "list of str": _list_of_text,
    "list": _list,
    "raw": lambda value: value,
}

_MEANINGS = {
    "str": "text",
    "path": "a path",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a dictionary",
    "list of str": "a list of names, like [a, b], or names with commas",
    "list": "a list",
}
