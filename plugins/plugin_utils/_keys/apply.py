# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send the steps of many keys as requests, concurrently.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from .._concurrency import run_concurrently
from .._errors import LiteLLMError, OptionError
from .._litellm.client import Client, Json
from .durations import Duration
from .progress import KeyProgress
from .secrets import Secret, given
from .settings import setting
from .steps import Create, Delete, Never, Rename, Retire, Update

# LiteLLM times out on a thousand (seen with 1.106 on a busy machine).
DELETE_BATCH_SIZE = 100
# After this many consecutive transient errors, stop trying.
_MAX_CONSECUTIVE_ERRORS = 4


def apply_steps(client: Client, pending: Sequence[KeyProgress], show_progress: Callable[[str], None]) -> None:
    """Attempt the planned step of every key, and record the result of each attempt.

    Requests that have started finish even after an interruption: otherwise their effect would be unknown.

    :param show_progress: called with a progress message.
    """
    deletions = [one for one in pending if isinstance(one.plan.step, Delete)]
    batches = _batches(deletions)
    # LiteLLM takes longer for concurrent deletions.
    run_concurrently(
        lambda batch: _delete_batch(client, batch),
        batches,
        1,
        lambda done: show_progress(f"{sum(map(len, batches[:done]))} of {len(deletions)} virtual keys deleted"),
        finish_started=True,
    )
    writes = [one for one in pending if not isinstance(one.plan.step, Delete)]
    max_errors = max(_MAX_CONSECUTIVE_ERRORS, client.connection.concurrency)
    consecutive_errors = 0

    def write(one: KeyProgress) -> None:
        nonlocal consecutive_errors
        if consecutive_errors >= max_errors:
            # Each request would wait for its timeout. Observe first, then retry in the next round.
            one.skip_attempt(
                LiteLLMError(
                    f"Virtual key {one.desired.name} was not attempted after {consecutive_errors} consecutive errors",
                    transient=True,
                )
            )
            return
        _write(client, one)
        consecutive_errors = consecutive_errors + 1 if one.last_error and one.last_error.transient else 0

    run_concurrently(
        write,
        writes,
        client.connection.concurrency,
        lambda done: show_progress(f"{done} of {len(writes)} virtual keys written"),
        finish_started=True,
    )


def _batches(deletions: Sequence[KeyProgress]) -> list[list[KeyProgress]]:
    """Return the deletions in batches, smaller after each failure: one bad key makes its whole batch fail."""
    batches: list[list[KeyProgress]] = []
    for failed_rounds in sorted({one.failed_rounds for one in deletions}):
        alike = [one for one in deletions if one.failed_rounds == failed_rounds]
        size = max(1, DELETE_BATCH_SIZE // 5**failed_rounds)
        batches += [alike[start : start + size] for start in range(0, len(alike), size)]
    return batches


def _write(client: Client, one: KeyProgress) -> None:
    step, secret, error = one.plan.step, None, None
    is_repeated = step in one.attempted
    try:
        if isinstance(step, Create):
            one.start_attempt(step)
            secret = _create_key(client, step, one.secret)
        elif isinstance(step, Update | Rename | Retire):
            one.start_attempt(step)
            _update(client, one, step, is_repeated=is_repeated)
    except LiteLLMError as failure:
        # A replacement that has started should finish, and to repeat the request does no harm.
        error = _as_transient(failure) if isinstance(step, Rename | Retire) else failure
    one.finish_attempt(error, secret)


def _update(client: Client, one: KeyProgress, step: Update | Rename | Retire, *, is_repeated: bool) -> None:
    """Send an update. LiteLLM moves a key to a team only if its user is a member, or if it has no user."""
    try:
        update_key(client, step, is_repeated=is_repeated)
    except LiteLLMError as error:
        user_id = one.desired.settings.get("user_id")
        is_about_user = error.status == 403 and "is not a member of the team" in str(error)
        if not isinstance(step, Update) or not user_id or not is_about_user:
            raise
        # To make the user a member would leave a user behind on the proxy. If the second request fails, the next round
        # sends it again.
        update_key(client, Update(step.key_id, {"user_id": None}, None))
        update_key(client, replace(step, settings={**step.settings, "user_id": user_id}), is_repeated=is_repeated)


def _delete_batch(client: Client, batch: Sequence[KeyProgress]) -> None:
    key_ids: list[str] = []
    for one in batch:
        if isinstance(one.plan.step, Delete):
            one.start_attempt(one.plan.step)
            key_ids.extend(one.plan.step.key_ids)
    is_last_round = any(one.failed_rounds >= client.connection.retries for one in batch)
    errors = _delete_all(client, key_ids, is_last_round=is_last_round)
    for one in batch:
        own = one.plan.step.key_ids if isinstance(one.plan.step, Delete) else ()
        one.finish_attempt(next((errors[key_id] for key_id in own if key_id in errors), None))


def _delete_all(client: Client, key_ids: Sequence[str], *, is_last_round: bool) -> dict[str, LiteLLMError]:
    """Delete keys, and return the error of each key that cannot be deleted.

    :param is_last_round: the request is not repeated after a transient error.
    """
    try:
        delete_keys(client, key_ids)
    except LiteLLMError as failure:
        if failure.status == 404:
            return {}  # all of them are deleted already, which the next snapshot confirms
        # LiteLLM returns 500 when many keys take it too long. Repeating a deletion by id does no harm.
        error = _as_transient(failure)
        is_final = is_last_round or not error.transient
        if len(key_ids) == 1 or not is_final or not _is_about_keys(failure):
            return dict.fromkeys(key_ids, error)
    else:
        return {}
    # One bad key makes the request fail for all.
    size = math.ceil(len(key_ids) / 5)
    parts = (key_ids[start : start + size] for start in range(0, len(key_ids), size))
    found = [_delete_all(client, part, is_last_round=is_last_round) for part in parts]
    return {key_id: error for part in found for key_id, error in part.items()}


def _is_about_keys(error: LiteLLMError) -> bool:
    """Return whether LiteLLM itself has refused the request: a gateway would refuse the next one, too."""
    return error.status is not None and (error.status == 500 or (400 <= error.status < 500 and error.status != 429))


def _as_transient(error: LiteLLMError) -> LiteLLMError:
    """Return the error of a request that is to be repeated after any status of 500 and above."""
    transient = error.transient or (error.status or 0) >= 500
    return LiteLLMError(str(error), transient=transient, status=error.status)


def _create_key(client: Client, step: Create, secret: Secret | None) -> Secret:
    """Create a key and return its secret. The response only echoes the request: the next snapshot shows the key.

    :param secret: the secret for the key; ignored if the proxy is to generate it.
    :raises LiteLLMError: if the request failed; the key may exist all the same.
    """
    body: Json = {"key_alias": step.alias, **_request_fields(step.settings, new=True)}
    if secret and not step.server_secret:
        body["key"] = secret.value
    if not isinstance(step.end, Never):
        body["duration"] = _duration_from_now(step.end, client.now())
    if step.spend:
        body["spend"] = step.spend
    response = client.post("/key/generate", body)
    if "key" in body and secret:
        return secret
    value = response.get("key") if isinstance(response, dict) else None
    try:
        return replace(given(value if isinstance(value, str) else ""), source="server")
    except OptionError:
        problem = f"{client.connection.url} created virtual key {step.alias} but did not return its secret"
    raise LiteLLMError(problem, transient=True)


def update_key(client: Client, step: Update | Rename | Retire, *, is_repeated: bool = False) -> None:
    """Change the settings, the expiry or the alias of a key.

    :param is_repeated: the same step was sent before and had no effect.
    :raises LiteLLMError: if the request failed; it may have been processed all the same.
    """
    body: Json = {"key": step.key_id}
    if isinstance(step, Rename):
        body["key_alias"] = step.alias
    elif isinstance(step, Retire):
        now = client.now()
        body.update(key_alias=step.alias, duration=_duration_from_now(step.end(now), now), metadata=step.metadata)
    else:
        body.update(_request_fields(step.settings, new=False))
        if isinstance(step.end, Never):
            body["duration"] = "-1" if is_repeated else None  # 1.80.12 to 1.82.1 ignore null
        elif step.end is not None:
            body["duration"] = _duration_from_now(step.end, client.now())
    try:
        client.post("/key/update", body)
    except LiteLLMError as error:
        if body.get("duration") != "-1" or error.transient:
            raise
        raise LiteLLMError(
            "This release of LiteLLM cannot remove the expiry of a key, which needs 1.80.12 or later. "
            f"Set a late expiry with expires_at ({error})",
            transient=False,
            status=error.status,
        ) from None


def delete_keys(client: Client, key_ids: Sequence[str]) -> None:
    """Delete keys by id. LiteLLM reports success for ids that do not exist, too.

    :raises LiteLLMError: if a request failed; some keys may be deleted all the same.
    """
    for start in range(0, len(key_ids), DELETE_BATCH_SIZE):
        client.post("/key/delete", {"keys": list(key_ids[start : start + DELETE_BATCH_SIZE])})


def _request_fields(settings: Mapping[str, Any], *, new: bool) -> Json:
    fields: Json = {}
    for name, value in settings.items():
        for field, sent in setting(name).to_request(value, new=new).items():
            fields[field] = {**fields.get(field, {}), **sent} if field == "metadata" else sent
    return fields


def _duration_from_now(end: datetime | Duration, now: datetime) -> str:
    """Return the end as a duration of LiteLLM, which every release counts from the time it handles the request."""
    if isinstance(end, Duration):
        end = end.after(now)
    return f"{max(1, math.ceil((end - now).total_seconds()))}s"
