# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Turn the options of `litellm_environment` into what is requested for one lab environment, and into desired keys.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .._errors import OptionError
from .._keys.durations import DurationError, parse
from .._keys.model import DEFAULT_ALIAS_PREFIX, DesiredKey, checked_alias, checked_id
from .._keys.request import LIFETIME_OPTIONS, KeyOptions, check_unique, desired_key, override_options
from .._keys.secrets import Secret
from .handover import check_file_name, check_handover
from .members import USER_PLACEHOLDER, Member
from .records import SavedKey
from .users import is_multi_user, named_users

# The operations, by the values of AgnosticD's ACTION.
OPERATIONS = {
    "provision": "provision",
    "create": "provision",
    "extend": "extend",
    "stop": "stop",
    "start": "start",
    "status": "status",
    "destroy": "destroy",
    "remove": "destroy",
}
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What is requested for one environment.

    :ivar operation: one of the values of OPERATIONS.
    :ivar alias: the alias of the environment's key; those of its users start with it and a hyphen.
    :ivar users: the users that are named; empty for an environment with one key.
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

    @property
    def is_multi_user(self) -> bool:
        return bool(self.users)

    @property
    def by_key_id(self) -> bool:
        """Whether a destroy deletes one key by its id."""
        return self.operation == "destroy" and self.options["delete_method"] == "by_key_id"

    @property
    def predecessor_alias(self) -> str:
        """The alias of the environment's key while it is being replaced."""
        return str(DesiredKey(self.alias).predecessor_alias)


def parse_request(options: Options, settings: Options, defaults: KeyOptions, prefix: str = "") -> Request | None:
    """Return what is requested; None if the operation is not one of OPERATIONS.

    :param prefix: what the names of the options start with in messages: the role's prefix, if the role is used.
    :raises OptionError: if an option is missing or has an invalid value.
    """
    operation = OPERATIONS.get(options["operation"])
    if operation is None:
        return None
    guid = (options["guid"] or "").strip()
    if not guid:
        raise OptionError("guid is not set; it must name the lab environment that the virtual keys belong to")
    is_multi = bool(options["users"] or is_multi_user(options))
    check_handover(options, is_multi, prefix, is_new=operation == "provision")
    alias = checked_alias(
        options["key_alias"] or f"{DEFAULT_ALIAS_PREFIX}{guid}", f"{prefix}alias_format" if prefix else "key_alias"
    )
    users = named_users(options, prefix)
    for user in users:
        checked_alias(f"{alias}-{user}", "users")
        check_file_name(options, user)
    request = Request(operation, guid, alias, users, bool(options["users"]), options, settings, defaults)
    if request.by_key_id:
        checked_id(options["key_id"] or "")
    if (
        operation == "extend"
        and not any(
            _is_given(source[name]) for source in (options, settings) for name in LIFETIME_OPTIONS if name in source
        )
        and not _is_given(options["platform_runtime"])
    ):
        raise OptionError(
            f"The new lifetime is not set; set {prefix}runtime (in hours, from the creation of the environment) "
            f"or {prefix}expires_at (ISO 8601)"
        )
    return request


def desired_keys(
    request: Request,
    members: Sequence[Member],
    saved: Mapping[str, Sequence[SavedKey]],
    master_key: str | None,
    now: datetime,
) -> list[DesiredKey]:
    """Return the desired keys of the members of an environment.

    :param saved: the keys whose secrets are known, by alias.
    :param now: the time by the proxy's clock.
    :raises OptionError: if options contradict each other or have invalid values.
    """
    keys = []
    for member in members:
        own = saved.get(member.alias, ())
        key = desired_key(_key_options(request, member), master_key)
        key = replace(
            key,
            guid=request.guid,
            owner=None if request.by_key_id else request.guid,
            # The alias of a user looks like that of another environment.
            proven_ids=_saved_ids(request, own) if member.user else None,
            user=member.user,
            known_secrets=tuple(Secret(one.secret, "given") for one in own),
        )
        if request.operation == "extend":
            # What another environment saved under this alias proves nothing.
            key = _recreated_if_expired(key, [one for one in own if one.guid == request.guid], now)
        keys.append(key)
    check_unique(keys, "users")
    return keys


def _saved_ids(request: Request, saved: Sequence[SavedKey]) -> frozenset[str]:
    """Return the ids of the keys that were saved as keys of the environment."""
    return frozenset(Secret(one.secret, "given").key_id for one in saved if one.guid == request.guid)


def _recreated_if_expired(key: DesiredKey, saved: Sequence[SavedKey], now: datetime) -> DesiredKey:
    """Return the key so that it is recreated, with all its settings, if it was saved and has expired since."""
    record = next((one for one in saved if one.settings is not None and one.expires and one.expires <= now), None)
    if not record or record.settings is None:
        return key
    secret = Secret(record.secret, "given")
    return replace(
        key,
        on_missing="recreate",
        creation_settings=record.settings,
        lifetime_start=record.lifetime_start,
        known_secrets=(secret, *(one for one in key.known_secrets if one != secret)),
    )


def _key_options(request: Request, member: Member) -> KeyOptions:
    """Return the options of `litellm_key` for one member."""
    if request.by_key_id:
        return {**request.defaults, "key_id": request.options["key_id"], "state": "absent"}
    arguments = {"key_alias": member.alias, **_OPERATION_OPTIONS[request.operation](request, member)}
    if request.operation in ("provision", "extend"):
        arguments = override_options(arguments, _with_metadata(request, arguments))
    arguments = {name: _for_user(name, value, member.user) for name, value in arguments.items()}
    return {**request.defaults, **arguments}


def _with_metadata(request: Request, arguments: Options) -> dict[str, Any]:
    """Return `settings` with all metadata. They cannot name another guid, which proves whose key it is."""
    merged = dict(request.settings)
    metadata = [one for one in (arguments.get("metadata"), merged.get("metadata")) if isinstance(one, Mapping)]
    if metadata:
        merged["metadata"] = {name: value for one in metadata for name, value in one.items()}
        if "guid" in merged["metadata"]:
            merged["metadata"]["guid"] = request.guid
    if merged.get("on_create"):
        own, of_caller = arguments.get("on_create") or {}, merged["on_create"]
        metadata_of_new = {**(own.get("metadata") or {}), **(of_caller.get("metadata") or {})}
        merged["on_create"] = {**own, **of_caller, "metadata": metadata_of_new}
    return merged


def _provision(request: Request, member: Member) -> dict[str, Any]:
    options = request.options
    models = all_models(options)
    user_id = f"{USER_PLACEHOLDER}@{options['user_email_domain']}" if member.user else options["user_id"]
    identity = {"guid": request.guid, **({"user": member.user} if member.user else {})}
    created = {"models": ",".join(models), "duration": _duration_text(options), "models_count": len(models)}
    if member.number is not None:
        created["user_number"] = member.number
    return {
        # A later provision returns the secrets that were saved, or fails: LiteLLM does not return them.
        "on_unknown_key": "fail",
        "key_seed": options["key_seed"] or None,
        "regenerate": options["regenerate"],
        "models": models or None,
        "max_budget": options["max_budget"],
        "user_id": user_id,
        "metadata": {**identity, **(options["metadata"] or {})},
        "on_create": {"metadata": created},
        **_lifetime(options),
    }


def _extend(request: Request, member: Member) -> dict[str, Any]:
    options = request.options
    return {
        "on_missing_key": "ignore",
        "key_seed": options["key_seed"] or None,
        "regenerate": options["regenerate"],
        **_lifetime(options),
    }


def _block(request: Request, member: Member) -> dict[str, Any]:
    return {"on_missing_key": "ignore", "blocked": request.operation == "stop"}


def _destroy(request: Request, member: Member) -> dict[str, Any]:
    return {"state": "absent"}


_OPERATION_OPTIONS = {
    "provision": _provision,
    "extend": _extend,
    "stop": _block,
    "start": _block,
    "destroy": _destroy,
}


def all_models(options: Options) -> list[str]:
    """Return the models of a new key, Docling's included."""
    return [*(options["models"] or ()), *([options["docling_model"]] if options["include_docling"] else [])]


def runtime(options: Options) -> Any:
    """Return how long the environment lives, from its own option or from the platform."""
    return options["runtime"] if _is_given(options["runtime"]) else options["platform_runtime"]


def _lifetime(options: Options) -> dict[str, Any]:
    return {
        "expires_at": options["expires_at"],
        "runtime": runtime(options),
        "duration": options["duration"],
        # An environment that was extended keeps its end.
        "shorten": False,
    }


def _duration_text(options: Options) -> str:
    """Return the requested lifetime as metadata show it: a duration of LiteLLM, or an instant."""
    for value in (options["expires_at"], runtime(options), options["duration"]):
        if _is_given(value):
            try:
                return str(parse(value))
            except DurationError:  # an instant; anything else is reported when the key is made
                return str(value)
    return ""


def _for_user(name: str, value: Any, user: str | None) -> Any:
    """Replace the placeholder in the settings of one of many users; leave out what names a user for a single key."""
    if name == "user_id" and isinstance(value, str) and user:
        return value.replace(USER_PLACEHOLDER, user)
    if name == "on_create" and isinstance(value, Mapping):
        return {one: _for_user(one, of_new, user) for one, of_new in value.items()}
    if name == "metadata" and isinstance(value, Mapping):
        return {
            key: one.replace(USER_PLACEHOLDER, user) if isinstance(one, str) and user else one
            for key, one in value.items()
            if user or not (isinstance(one, str) and USER_PLACEHOLDER in one)
        }
    return value


def _is_given(value: Any) -> bool:
    return value is not None and value != ""
