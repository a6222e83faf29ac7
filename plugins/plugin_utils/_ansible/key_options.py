# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `litellm_key`: from the arguments of a task to complete, typed options for each key.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._errors import OptionError
from .._keys.names import DEFAULT_ALIAS_PREFIX
from .._keys.request import IDENTITY_OPTIONS, KeyOptions, override_options
from .._keys.setting_types import KEY_TYPES
from .._keys.settings import SETTINGS
from .options import CONNECTION_OPTIONS, Option, coerce_options
from .plain import to_plain

SETTING_OPTIONS = {
    **{name: Option(one.kind) for name, one in SETTINGS.items()},
    "key_type": Option(choices=KEY_TYPES),
}
KEY_OPTIONS = {
    "guid": Option(),
    "alias_prefix": Option(default=DEFAULT_ALIAS_PREFIX),
    "key_alias": Option(),
    "key_id": Option(),
    "state": Option(default="present", choices=("present", "absent")),
    "key": Option(secret=True, registered=False),
    "key_seed": Option(secret=True),
    "key_version": Option("int", 1),
    "regenerate": Option(default="never", choices=("never", "if_unrecoverable", "always")),
    "rotate": Option("dict"),
    "on_unknown_key": Option(default="ignore", choices=("ignore", "fail")),
    "on_missing_key": Option(default="create", choices=("create", "recreate", "ignore")),
    "expires_at": Option("raw"),
    "runtime": Option("raw"),
    "duration": Option("raw"),
    "duration_from": Option(default="creation", choices=("creation", "now")),
    "shorten": Option("bool", True),
    **SETTING_OPTIONS,
    "on_create": Option("dict"),
    "extra_params": Option("dict"),
    "unset": Option("list of str"),
}
LITELLM_KEY_OPTIONS = {
    **CONNECTION_OPTIONS,
    **KEY_OPTIONS,
    "virtual_keys": Option("list", secret=True, options=KEY_OPTIONS),
    "recall": Option("bool", False),
    "on_unknown_models": Option(default="fail", choices=("fail", "warn", "ignore")),
}


def coerce_key_options(arguments: Mapping[str, Any], owner: str = "litellm_key") -> KeyOptions:
    """Return the complete options of one key.

    :raises OptionError: if an option has an invalid value.
    """
    options = coerce_options(KEY_OPTIONS, arguments, owner)
    try:
        on_create = coerce_options(SETTING_OPTIONS, options["on_create"] or {}, "on_create")
    except OptionError as error:
        problem = str(error) if str(error).startswith("on_create") else f"on_create: {error}"
        raise OptionError(problem) from None
    return {
        **options,
        **_plain({name: options[name] for name in (*SETTINGS, "extra_params")}),
        "on_create": _plain(on_create, "on_create: "),
    }


def each_key_options(options: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[KeyOptions]:
    """Return the complete options of each key that a task of `litellm_key` manages.

    :param options: the coerced options of the task.
    :param arguments: the arguments as they were given.
    :raises OptionError: if an option has an invalid value.
    """
    common = {name: value for name, value in arguments.items() if name in KEY_OPTIONS}
    if options["virtual_keys"] is None:
        return [coerce_key_options(common)]
    for name in IDENTITY_OPTIONS:
        if options[name]:
            raise OptionError(f"{name} and virtual_keys both name keys; use one of them")
    complete = []
    for index, one in enumerate(options["virtual_keys"]):
        where = f"virtual_keys[{index}]"
        if not isinstance(one, Mapping):
            raise OptionError(f"{where} must be a dictionary like {{guid: user1}}")
        try:
            complete.append(coerce_key_options(override_options(common, one), "it"))
        except OptionError as error:
            raise OptionError(f"{where}: {error}") from None
    return complete


def _plain(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    return {
        # The limits of a number are checked later.
        name: float(value) if isinstance(value, float) else to_plain(value, f"{where}{name}", for_database=True)
        for name, value in settings.items()
    }
