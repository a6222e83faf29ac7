# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps as requests, side by side.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._duration import Duration
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._key import setting
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._parallel import side_by_side
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import (
    Create,
    Delete,
    Never,
    Rename,
    Update,
    Wait,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Run
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._secret import Secret, given

# LiteLLM gives up on a thousand (seen with 1.106 on a busy machine).
_KEYS_IN_ONE_DELETION = 100
# So many say that the next will have it, too.
_TROUBLES_IN_A_ROW = 4
_COURTESY = 1.0  # seconds; some ten times what another run takes to see and to delete

Body = dict[str, Any]


def work(client: Client, runs: Sequence[Run], progress: Callable[[str], None]) -> None:
    """Do the step of every run, side by side, and note in it what was tried and what trouble there was.

    What has begun is brought to its end, come what may: who gives up waiting does not know what the proxy still does.

    :param progress: is told how far it is, now and then.
    """
    deletions = [run for run in runs if isinstance(run.plan.step, Delete)]
    starts = range(0, len(deletions), _KEYS_IN_ONE_DELETION)
    side_by_side(
        lambda start: _delete(client, deletions[start : start + _KEYS_IN_ONE_DELETION]), starts, 1, to_its_end=True
    )
    waits = [run for run in runs if isinstance(run.plan.step, Wait)]
    if waits:
        _wait(waits)
    changes = [run for run in runs if not isinstance(run.plan.step, Delete | Wait)]
    enough = max(_TROUBLES_IN_A_ROW, client.connection.concurrency)
    troubles = 0

    def change(run: Run) -> None:
        nonlocal troubles
        if troubles >= enough:
            # Each would take its time to fail: better look what there is, and come back.
            run.trouble = LiteLLMError(
                f"The key {run.wanted.name} was not tried: {troubles} others in a row had trouble", passing=True
            )
            return
        _change(client, run)
        troubles = troubles + 1 if run.trouble and run.trouble.passing else 0

    side_by_side(
        change,
        changes,
        client.connection.concurrency,
        lambda done: progress(f"{done} of {len(changes)} virtual keys written"),
        to_its_end=True,
    )


def _change(client: Client, run: Run) -> None:
    step = run.plan.step
    try:
        if isinstance(step, Create):
            run.created = run.secret.key_id if run.secret else None
            run.done.append(step)
            run.secret = _create(client, step, run.secret)
            run.created = run.secret.key_id
        elif isinstance(step, Update | Rename):
            again = step in run.done
            run.done.append(step)
            rewrite(client, step, again=again)
        run.trouble = None
    except LiteLLMError as error:
        run.trouble = error
        if error.status == 403 and "Custom API key" in str(error):  # general_settings.disable_custom_api_keys
            if run.wanted.secret_of_new:
                given = run.wanted.secret
                source = "its saved secret" if not given else "key" if given.source == "given" else "key_seed"
                run.trouble = LiteLLMError(
                    f"The proxy makes all secrets itself (disable_custom_api_keys), so that {source} cannot be used "
                    f"for the key {run.wanted.name}",
                    passing=False,
                )
            else:
                run.secret, run.created, run.trouble = None, None, None
                run.done.pop()


def _delete(client: Client, runs: Sequence[Run]) -> None:
    key_ids: list[str] = []
    for run in runs:
        if isinstance(run.plan.step, Delete):
            run.done.append(run.plan.step)
            key_ids.extend(run.plan.step.key_ids)
    trouble = None
    try:
        remove(client, key_ids)
    except LiteLLMError as error:
        # 404 is the answer when all of them are gone; whether they are, the next look tells.
        if error.status != 404:
            # LiteLLM answers 500 when many take it too long. To delete a key by its id once more does no harm.
            trouble = LiteLLMError(str(error), passing=error.passing or (error.status or 0) >= 500, status=error.status)
    for run in runs:
        run.trouble = trouble


def _wait(runs: Sequence[Run]) -> None:
    time.sleep(_COURTESY)
    for run in runs:
        run.done.append(Wait())


def _create(client: Client, step: Create, secret: Secret | None) -> Secret:
    """Make a key. What became of it is for the next look to tell: the proxy's answer is an echo.

    :param secret: what the key is to have; None where the proxy insists on making it.
    :returns: the key's secret.
    :raises LiteLLMError: when there was trouble; the key may be there all the same.
    """
    body: Body = {"key_alias": step.alias, **_fields(step.settings, new=True)}
    if secret:
        body["key"] = secret.value
    if not isinstance(step.end, Never):
        body["duration"] = _from_now(step.end, client.now())
    if step.spend:
        body["spend"] = step.spend
    answer = client.post("/key/generate", body)
    if secret:
        return secret
    told = answer.get("key") if isinstance(answer, dict) else None
    try:
        return replace(given(told if isinstance(told, str) else ""), source="server")
    except OptionError:
        problem = f"{client.connection.url} made the key {step.alias} but did not tell it"
    raise LiteLLMError(problem, passing=True)


def rewrite(client: Client, step: Update | Rename, *, again: bool = False) -> None:
    """Change a key, or its name.

    :param again: the same was sent before and not understood.
    :raises LiteLLMError: when there was trouble; it may be done all the same.
    """
    body: Body = {"key": step.key_id}
    if isinstance(step, Rename):
        body.update(key_alias=step.alias, metadata=dict(step.metadata))
    else:
        body.update(_fields(step.settings, new=False))
        if isinstance(step.end, Never):
            body["duration"] = "-1" if again else None  # 1.80.12 to 1.82.1 ignore null
        elif step.end is not None:
            body["duration"] = _from_now(step.end, client.now())
    try:
        client.post("/key/update", body)
    except LiteLLMError as error:
        if body.get("duration") != "-1" or error.passing:
            raise
        raise LiteLLMError(
            f"This LiteLLM cannot make a key live for ever, as 1.80.12 can; set a late end with expires_at ({error})",
            passing=False,
            status=error.status,
        ) from None


def remove(client: Client, key_ids: Sequence[str]) -> None:
    """Delete these keys. LiteLLM says they are gone even when they never were.

    :raises LiteLLMError: when there was trouble; some may be gone all the same.
    """
    for start in range(0, len(key_ids), _KEYS_IN_ONE_DELETION):
        client.post("/key/delete", {"keys": list(key_ids[start : start + _KEYS_IN_ONE_DELETION])})


def _fields(settings: Mapping[str, Any], *, new: bool) -> Body:
    fields: Body = {}
    for name, value in settings.items():
        fields.update(setting(name).sent(value, new=new))
    return fields


def _from_now(end: datetime | Duration, now: datetime) -> str:
    """The end as LiteLLM's duration, which every release counts from the moment it handles the request."""
    if isinstance(end, Duration):
        end = end.after(now)
    return f"{max(1, math.ceil((end - now).total_seconds()))}s"
