# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options for the front ends: where they come from, and one clear sentence for each that cannot be used.

ansible-core's ArgumentSpecValidator neither quotes the wrong value nor keeps a secret out of its messages,
and turns a string into a list in silence. Hence this small reader of the same kind of specification.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.common.validation import check_type_bool, check_type_dict, check_type_float, check_type_int
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import (
    URLLIB3_IMPORT_ERROR,
    Client,
    Connection,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:  # ansible-core before 2.22

    def register_secrets(values: Iterable[str], /) -> None:
        """Nothing there keeps a secret out of all output, so that this collection has to see to it alone."""


@dataclass(frozen=True)
class Option:
    """One option of a plugin.

    :ivar variable: the Ansible variable, and
    :ivar environment: the environment variables that it comes from when it is not given, in this order.
    """

    type: str = "str"
    default: Any = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    variable: str | None = None
    environment: tuple[str, ...] = ()


CONNECTION = {
    "url": Option(variable="litellm_url", environment=("LITELLM_URL", "LITELLM_PROXY_URL")),
    "master_key": Option(
        secret=True, variable="litellm_master_key", environment=("LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY")
    ),
    "validate_certs": Option("bool", True, variable="litellm_validate_certs", environment=("LITELLM_VALIDATE_CERTS",)),
    "ca_path": Option("path", variable="litellm_ca_path", environment=("LITELLM_CA_PATH",)),
    "timeout": Option("float", 30.0, variable="litellm_timeout", environment=("LITELLM_TIMEOUT",)),
    "retries": Option("int", 3, variable="litellm_retries", environment=("LITELLM_RETRIES",)),
    "concurrency": Option("int", 8, variable="litellm_concurrency", environment=("LITELLM_CONCURRENCY",)),
}


def with_sources(
    options: Mapping[str, Option], given: Mapping[str, Any], variable: Callable[[str], Any]
) -> dict[str, Any]:
    """What was given, completed from variables and then from the environment. Empty means not given.

    :param variable: gives an Ansible variable's value, or None.
    """
    complete = dict(given)
    for name, option in options.items():
        sources = [variable(option.variable)] if option.variable and _empty(complete.get(name)) else []
        sources += map(os.environ.get, option.environment)
        if _empty(complete.get(name)):
            complete[name] = next((value for value in sources if not _empty(value)), None)
    return complete


def typed(options: Mapping[str, Option], given: Mapping[str, Any], of: str) -> dict[str, Any]:
    """Every option with its value in its type, or its default.

    :param of: whose options these are, for messages.
    :raises OptionError: for an unknown option, a wrong type or a value that is not among the choices.
    """
    for name in given:
        if name not in options:
            near = difflib.get_close_matches(str(name), options, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"it knows {', '.join(sorted(options))}"
            raise OptionError(f"{of} has no option '{name}'; {hint}")
    return {name: _typed(name, option, given.get(name)) for name, option in options.items()}


def connect(options: Mapping[str, Any], warn: Callable[[str], None]) -> Client:
    """A client for the proxy that the connection options name.

    The master key and a seed are never to be seen, which ansible-core is told. A virtual key is there to be given away.

    :param warn: is told when others on the way could read the master key.
    :raises OptionError: when one of them cannot be used, or urllib3 is not there.
    """
    if URLLIB3_IMPORT_ERROR:
        raise OptionError(
            f"The Python package urllib3 is missing where Ansible runs ({URLLIB3_IMPORT_ERROR}); "
            "install it with pip or dnf"
        )
    register_secrets([options[name] for name in ("master_key", "key_seed") if options.get(name)])
    connection = Connection(**{name: options[name] for name in CONNECTION})
    if connection.in_the_clear:
        warn(f"The master key and all virtual keys travel to {connection.url} unencrypted; let url begin with https")
    return Client(connection)


def _empty(value: Any) -> bool:
    return value is None or value == ""


def _typed(name: str, option: Option, value: Any) -> Any:
    # A template whose value is null comes as empty text from ansible-core before 2.19.
    if value is None or (value == "" and (option.choices or option.type not in ("str", "path", "raw"))):
        return option.default
    try:
        value = _READERS[option.type](value)
    except (TypeError, ValueError):
        got = f"a value of type {type(value).__name__}" if option.secret else repr(value)
        raise OptionError(f"{name} must be {_MEANINGS[option.type]}, but is {got}") from None
    if option.choices and value not in option.choices:
        raise OptionError(f"{name} must be one of {', '.join(option.choices)}, but is {value!r}")
    return value


def is_vaulted(value: Any) -> bool:
    """Whether this is text that is vaulted inline: before ansible-core 2.19 a type of its own, which str() decrypts."""
    return getattr(type(value), "yaml_tag", None) == "!vault"


def _text(value: Any) -> str:
    if is_vaulted(value):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def _list_of_text(value: Any) -> list[str]:
    if isinstance(value, str) and value.startswith("["):  # the only way to give a list as name=value
        value = json.loads(value)
        if not all(isinstance(member, str) for member in value):
            raise TypeError
    # Other text is most often a list that lost its type in a template; as one name it would be a wrong one.
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_text(member) for member in value]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return list(value)


def _path(value: Any) -> str:
    return str(Path(os.path.expandvars(_text(value))).expanduser())


def _number(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def number(value: Any) -> Any:
        if isinstance(value, bool):  # which Python takes for 0 or 1
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
    "list of str": "a list of names, like [a, b]",
    "list": "a list",
}
