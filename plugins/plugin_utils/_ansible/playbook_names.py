# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of each playbook of this collection.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from dataclasses import replace

from .._keys.settings import SETTINGS
from .._playbooks.variables import Names
from .environment_options import ROLE_PREFIX, ROLE_VARIABLES
from .options import CONNECTION_OPTIONS

_CONNECTION = {str(option.variable) for option in CONNECTION_OPTIONS.values()}
# The variables without the role's prefix that its defaults read.
_PLATFORM = {
    "agnosticd_user_info",
    "catalog_item",
    "catalog_item_name",
    "email",
    "env_type",
    "num_users",
    "ocp4_workload_multi_user",
    "ocp4_workload_user_base",
    "ocp4_workload_user_count",
    "requester",
    "requester_email",
}
_SHORT_NAMES = {name.removeprefix(ROLE_PREFIX): name for name in ROLE_VARIABLES}
# Options of litellm_key that have no variable of the role: they are members of `settings`.
_SETTINGS = {*SETTINGS, "key_version", "shorten", "unset"} - set(_SHORT_NAMES)

_ENVIRONMENT = Names(
    short={**_SHORT_NAMES, "by": f"{ROLE_PREFIX}extend_by"},
    settings=_SETTINGS,
    settings_variable=f"{ROLE_PREFIX}settings",
    other={"guid", "output_dir", *_CONNECTION, *_PLATFORM},
    prefix=ROLE_PREFIX,
)
_REPORT = Names(
    short={
        **{
            name: f"report_{name}"
            for name in ("file", "format", "guid", "guids", "guids_file", "soon", "ending_within", "sort")
        },
    },
    other={"alias_prefix", *_CONNECTION},
    prefix="report_",
)
_CLEANUP = Names(
    short={
        **{name: f"report_{name}" for name in ("guids", "guids_file")},
        **{name: f"sweep_{name}" for name in ("expired_for", "at_most")},
    },
    other={"sweep", "alias_prefix", *_CONNECTION},
)

ENVIRONMENT_PLAYBOOKS = (
    "provision_key",
    "extend_key",
    "stop_key",
    "start_key",
    "status_key",
    "rotate_key",
    "rotate_keys",
    "destroy_key",
)
PLAYBOOKS = {
    **dict.fromkeys(ENVIRONMENT_PLAYBOOKS, _ENVIRONMENT),
    "rotate_keys": replace(_ENVIRONMENT, members={f"{ROLE_PREFIX}rotate": ("every", "overlap")}),
    "report_keys": _REPORT,
    "sweep_keys": _CLEANUP,
    "replace_model": Names(short={}, other={"old_model", "new_model", "alias_prefix", *_CONNECTION}),
    "check_connection": Names(short={}, other=_CONNECTION),
}
ALL_NAMES = set().union(*(names.all for names in PLAYBOOKS.values()))
