# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `litellm_environment`.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from .._errors import OptionError, naming
from .._text import Wording
from .key_options import KEY_OPTIONS, SETTING_OPTIONS, coerce_key_options
from .options import CONNECTION_OPTIONS, Option, coerce_options, is_empty

ROLE = "ocp4_workload_litellm_virtual_keys"
ROLE_PREFIX = f"{ROLE}_"

# The options that `settings` may contain: all that say what a key is, and none that say which key it is.
SETTINGS_OPTIONS = {
    **{
        name: option
        for name, option in KEY_OPTIONS.items()
        if name not in ("guid", "key_alias", "key_id", "alias_prefix", "state")
    },
    "on_unknown_models": Option(choices=("fail", "warn", "ignore")),
}
ENVIRONMENT_OPTIONS = {
    **CONNECTION_OPTIONS,
    "operation": Option(default="provision"),
    "guid": Option(),
    # Which keys.
    "key_alias": Option(),
    "users": Option("list of str"),
    "add_users": Option("list of str"),
    "remove_users": Option("list of str"),
    "multi_user": Option("bool"),
    "num_users": Option("raw"),
    "user_count": Option("raw"),
    "user_base": Option(default="user"),
    "user_email_domain": Option(default="lab.opentlc.com"),
    "user_id": Option(),
    # What they may do.
    **{name: SETTING_OPTIONS[name] for name in ("models", "max_budget", "metadata")},
    "shared_budget": SETTING_OPTIONS["max_budget"],
    "shared_budget_duration": SETTING_OPTIONS["budget_duration"],
    "include_docling": Option("bool", False),
    "docling_model": Option(default="Docling"),
    "on_unknown_models": Option(default="warn", choices=("fail", "warn", "ignore")),
    "settings": Option("dict", secret=True, options=SETTINGS_OPTIONS),
    # How long they live.
    "expires_at": Option("raw"),
    "runtime": Option("raw"),
    "platform_runtime": Option("raw"),
    "duration": Option("raw"),
    "extend_by": Option("raw"),
    "block_on_stop": Option("bool", False),
    # Their secrets.
    "key_seed": Option(secret=True),
    "regenerate": KEY_OPTIONS["regenerate"],
    "rotate": KEY_OPTIONS["rotate"],
    # Where they are reported and written.
    "save_user_data": Option("bool", True),
    "return_messages": Option("bool", True),
    "user_messages": Option("raw"),
    "display_key": Option("bool", True),
    "keys_file": Option(),
    "handout_file": Option(),
    "handover_host": Option(),
    "env_file": Option(),
    "env_file_owner": Option(),
    "profile_file": Option(),
    "profile_group": Option(),
    "secret_name": Option(),
    "secret_namespace": Option(),
    # How they are deleted.
    "delete_method": Option(default="by_alias", choices=("by_alias", "by_key_id")),
    "key_id": Option(),
    "force_db_delete": Option("bool", False),
}

# The variables of the role, without its prefix, which are not options of the action with the same name.
_OTHER_ROLE_VARIABLES = {
    "alias_format",
    "user_id_format",
    "enable_user_info_messages",
    "enable_user_info_data",
    "user_info_messages",
    "api_timeout",
    "verify_ssl",
    "retry_count",
    "retry_delay",
    "postgres_url",
    "postgres_pod",
    "postgres_db",
    "namespace",
}
_NOT_ROLE_VARIABLES = {
    *CONNECTION_OPTIONS,
    "operation",
    "guid",
    "key_alias",
    "num_users",
    "user_id",
    "platform_runtime",
    "save_user_data",
    "return_messages",
    "user_messages",
}
# The variables of the role, without its prefix, for options with another name.
_ROLE_VARIABLE_OF = {
    "key_alias": "alias_format",
    "user_id": "user_id_format",
    "user_messages": "user_info_messages",
    "save_user_data": "enable_user_info_data",
    "timeout": "api_timeout",
    "validate_certs": "verify_ssl",
    "retries": "retry_count",
}
ROLE_VARIABLES = {
    f"{ROLE_PREFIX}{name}" for name in {*ENVIRONMENT_OPTIONS, *_OTHER_ROLE_VARIABLES} - _NOT_ROLE_VARIABLES
}


def role_wording(sources: Mapping[str, str], short_names: Mapping[str, str] | None) -> Wording:
    """Return what messages of the role call options.

    :param sources: the variables and environment variables that set connection options.
    :param short_names: the names that a user of a playbook knows, by the role's variables without the prefix; None if
        the role is not used by a playbook of this collection.
    """
    names = {}
    for option in ENVIRONMENT_OPTIONS:
        variable = _ROLE_VARIABLE_OF.get(option, option)
        if f"{ROLE_PREFIX}{variable}" in ROLE_VARIABLES:
            names[option] = (short_names or {}).get(variable, f"{ROLE_PREFIX}{variable}")
        elif option in CONNECTION_OPTIONS:
            names[option] = str(CONNECTION_OPTIONS[option].variable)
    # AgnosticD's own variable, which the role reads if its own is not set.
    names["platform_runtime"] = "agnosticd_user_info.runtime"
    return Wording({**names, **sources}, in_playbook=short_names is not None)


def coerce_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options in `settings` that are given, coerced.

    :raises OptionError: if `settings` contains an unknown option or an invalid value.
    """
    given = {name: value for name, value in (settings or {}).items() if not is_empty(value)}
    for name in given:
        if name not in SETTINGS_OPTIONS:
            raise OptionError(f"settings contains '{name}'; it can contain {', '.join(sorted(SETTINGS_OPTIONS))}")
    of_key = {name: value for name, value in given.items() if name in KEY_OPTIONS}
    with naming("settings"):
        coerced = {**coerce_options(SETTINGS_OPTIONS, given, "it"), **coerce_key_options(of_key, "it")}
    return {name: coerced[name] for name in given}


def unknown_role_variables(names: Iterable[str]) -> list[str]:
    """Return a warning for each variable with the role's prefix that the role does not have."""
    warnings = []
    known = {name.removeprefix(ROLE_PREFIX) for name in ROLE_VARIABLES}
    for name in sorted(name for name in names if name.startswith(ROLE_PREFIX) and name not in ROLE_VARIABLES):
        # Compared without the prefix, which would make all names similar.
        close = [ROLE_PREFIX + one for one in difflib.get_close_matches(name.removeprefix(ROLE_PREFIX), known, n=1)]
        hint = f"did you mean {close[0]}?" if close else "the role has no variable with a similar name"
        warnings.append(f"The role ignores the variable {name}; {hint}")
    return warnings
