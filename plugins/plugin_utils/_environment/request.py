# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the options of `litellm_environment` into what is requested for one lab environment, and into desired keys.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._errors import OptionError, naming
from .._keys.durations import Duration, parse_with_unit
from .._keys.model import DesiredKey
from .._keys.names import DEFAULT_ALIAS_PREFIX, checked_alias, checked_id
from .._keys.request import LIFETIME_OPTIONS, KeyOptions
from .._keys.rotation import Rotation, parse_rotation
from .._text import Wording
from .handover import check_file_name, check_handover
from .members import Member, named_members
from .users import added_and_removed_users, is_multi_user, named_users

# The operations, by the values of AgnosticD's ACTION.
OPERATIONS = {
    "provision": "provision",
    "create": "provision",
    "extend": "extend",
    "stop": "stop",
    "start": "start",
    "status": "status",
    "rotate": "rotate",
    "rotate_old": "rotate_old",
    "destroy": "destroy",
    "remove": "destroy",
}
# The operations after which keys may have other secrets, or another end.
WRITING_OPERATIONS = ("provision", "extend", "rotate", "rotate_old")
# Instead of a list of users, for an operation that needs one.
ALL_USERS = "all"
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What is requested for one environment.

    :ivar operation: one of the values of OPERATIONS.
    :ivar alias: the alias of the environment's key; those of its users start with it and a hyphen.
    :ivar users: the users that are named; empty for an environment with one key.
    :ivar added_users: users who are added to the environment by a provision.
    :ivar removed_users: users whose keys a provision deletes.
    :ivar is_selection: the users were listed, so other users are not meant.
    :ivar options: the coerced options of the action.
    :ivar settings: the coerced options in `settings`, which override the others.
    :ivar defaults: the options of a key with their defaults.
    """

    operation: str
    guid: str
    alias: str
    users: tuple[str, ...]
    is_selection: bool
    options: Options
    settings: Options
    defaults: KeyOptions
    added_users: tuple[str, ...] = ()
    removed_users: tuple[str, ...] = ()
    wording: Wording = field(default_factory=Wording)

    @property
    def is_multi_user(self) -> bool:
        return bool(self.users or self.changes_users)

    @property
    def changes_users(self) -> bool:
        """Whether users are added to the environment or removed from it."""
        return bool(self.added_users or self.removed_users)

    @property
    def named_members(self) -> list[Member]:
        """The keys of the named users, or else the one key of the environment."""
        if not self.changes_users:
            return named_members(self.alias, self.users)
        named = named_members(self.alias, self.users) if self.users else []
        added = [user for user in self.added_users if user not in self.users]
        return [
            *(member for member in named if member.user not in self.removed_users),
            *(Member(f"{self.alias}-{user}", user) for user in added),
            *(Member(f"{self.alias}-{user}", user, is_removed=True) for user in self.removed_users),
        ]

    @property
    def rotation(self) -> Rotation | None:
        """When keys are replaced because of their age."""
        return parse_rotation(self.settings.get("rotate") or self.options["rotate"])

    @property
    def by_key_id(self) -> bool:
        """Whether a destroy deletes one key by its id."""
        return self.operation == "destroy" and self.options["delete_method"] == "by_key_id"

    @property
    def successor_alias(self) -> str:
        """The alias of the environment's key while it is being replaced."""
        return str(DesiredKey(self.alias).successor_alias)


def parse_request(options: Options, settings: Options, defaults: KeyOptions, wording: Wording) -> Request | None:
    """Return what is requested; None if the operation is not one of OPERATIONS.

    :raises OptionError: if an option is missing or has an invalid value.
    """
    operation = OPERATIONS.get(options["operation"])
    if operation is None:
        return None
    guid = (options["guid"] or "").strip()
    if not guid:
        raise OptionError("guid is not set; it must name the lab environment that the virtual keys belong to")
    added, removed = added_and_removed_users(options, wording) if operation == "provision" else ((), ())
    users = named_users(options, wording)
    if operation in ("rotate", "rotate_old") and users == (ALL_USERS,):
        users = ()
    is_multi = bool(users or added or removed or is_multi_user(options))
    check_handover(options, is_multi, wording, is_new=operation == "provision")
    alias = checked_alias(options["key_alias"] or f"{DEFAULT_ALIAS_PREFIX}{guid}")
    for option, named in (("users", users), ("add_users", added), ("remove_users", removed)):
        for user in named:
            checked_alias(f"{alias}-{user}", option)
            check_file_name(options, user)
    request = Request(
        operation, guid, alias, users, bool(options["users"]), options, settings, defaults, added, removed, wording
    )
    if request.by_key_id:
        checked_id(options["key_id"] or "")
    if operation == "extend":
        _check_extension(options, settings, wording)
    if operation == "rotate_old" and not request.rotation:
        raise OptionError(
            f"{wording.option('rotate')} is not set; it must say how old a secret can become, and can say how long it "
            "works after it was replaced, such as {every: 30d, overlap: 24h}"
        )
    return request


def _check_extension(options: Options, settings: Options, wording: Wording) -> None:
    """Check that an extension has one new lifetime.

    :raises OptionError: otherwise.
    """
    by, runtime_name, end_name = (wording.option(name) for name in ("extend_by", "runtime", "expires_at"))
    given = [name for source in (options, settings) for name in LIFETIME_OPTIONS if is_given(source.get(name))]
    if is_given(options["extend_by"]):
        parse_extension(options, wording)
        if given:
            raise OptionError(f"{by} and {wording.option(given[0])} cannot both be given")
    elif not given and not is_given(options["platform_runtime"]):
        raise OptionError(
            f"The new lifetime is not set; set {by} (how much longer, such as 7d), {runtime_name} (in hours, from the "
            f"creation of the environment) or {end_name} (ISO 8601)"
        )


def parse_extension(options: Options, wording: Wording) -> Duration | None:
    """Return by how much the keys are extended; None if that is not given.

    :raises OptionError: if it is not a duration with a unit.
    """
    by = options["extend_by"]
    if not is_given(by):
        return None
    with naming(wording.option("extend_by")):
        return parse_with_unit(by)


def is_given(value: Any) -> bool:
    """Return whether an option has a value."""
    return value is not None and value != ""
