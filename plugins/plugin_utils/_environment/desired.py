# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The desired keys of a lab environment: what each operation requests for each of its members.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from .._errors import OptionError
from .._keys.durations import DurationError, parse
from .._keys.model import DesiredKey
from .._keys.request import KeyOptions, check_unique, desired_key, override_options
from .._keys.secrets import Secret
from .._keys.settings import stored
from .members import USER_PLACEHOLDER, Member
from .records import SavedKey
from .request import WRITING_OPERATIONS, Options, Request, is_given


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
        key = _desired_key(request, member, master_key)
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


def _desired_key(request: Request, member: Member, master_key: str | None) -> DesiredKey:
    """Return the desired key of one member.

    :raises OptionError: the message starts with the option that was given: one in `settings`, or of the action.
    """
    try:
        return desired_key(_key_options(request, member), master_key)
    except OptionError as error:
        problem = str(error)
    (name,) = re.findall(r"\A\w*", problem)
    if name in request.settings:
        problem = f"settings: {problem}"
    elif name == "runtime" and not is_given(request.options["runtime"]):
        problem = f"platform_{problem}"
    raise OptionError(problem)


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
        settings=stored(key.settings),
        creation_settings=record.settings,
        lifetime_start=record.lifetime_start,
        known_secrets=(secret, *(one for one in key.known_secrets if one != secret)),
    )


def _key_options(request: Request, member: Member) -> KeyOptions:
    """Return the options of `litellm_key` for one member."""
    operation = "destroy" if member.is_removed else request.operation
    if request.by_key_id:
        return {**request.defaults, "key_id": request.options["key_id"], "state": "absent"}
    arguments = {"key_alias": member.alias, **_OPERATION_OPTIONS[operation](request, member)}
    if operation in WRITING_OPERATIONS:
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
        "rotate": options["rotate"],
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


def _rotate(request: Request, member: Member) -> dict[str, Any]:
    return {"on_missing_key": "ignore", "key_seed": request.options["key_seed"] or None, "regenerate": "always"}


def _rotate_old(request: Request, member: Member) -> dict[str, Any]:
    options = request.options
    return {"on_missing_key": "ignore", "key_seed": options["key_seed"] or None, "rotate": options["rotate"]}


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
    "rotate": _rotate,
    "rotate_old": _rotate_old,
}


def all_models(options: Options) -> list[str]:
    """Return the models of a new key, Docling's included."""
    return [*(options["models"] or ()), *([options["docling_model"]] if options["include_docling"] else [])]


def runtime(options: Options) -> Any:
    """Return how long the environment lives, from its own option or from the platform."""
    return options["runtime"] if is_given(options["runtime"]) else options["platform_runtime"]


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
        if is_given(value):
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
