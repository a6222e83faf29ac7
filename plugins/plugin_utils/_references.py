# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a key refers to, and whether the proxy has it. LiteLLM itself takes any model and any team.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError, short
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._plan import Create, Rename, Update
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._run import Run

# Names with a meaning of their own, which no listing has.
_SPECIAL = {"*", "all-team-models", "all-proxy-models", "no-default-models"}

OnUnknownModels = Literal["fail", "warn", "ignore"]


def check_references(
    client: Client, runs: Sequence[Run], on_unknown: OnUnknownModels, warn: Callable[[str], None]
) -> None:
    """Let the runs fail that would give a key a model, a team or a budget that the proxy does not have.

    :param warn: is told of models that are let pass.
    :raises LiteLLMError: when the models must be known and the proxy cannot be asked.
    """
    asking = [(run, _to_be_set(run)) for run in runs if run.pending]
    for name, exists in (("team_id", team_exists), ("budget_id", budget_exists)):
        answers: dict[str, bool | LiteLLMError] = {}  # each is asked for once, also where that fails
        for run, settings in asking:
            if not (value := settings.get(name)):
                continue
            if value not in answers:
                answers[value] = _answer(client, exists, value)
            if isinstance(answer := answers[value], LiteLLMError):
                run.error = f"Whether the proxy has the {name} {value} is not known: {answer}"
            elif not answer:
                run.error = f"The key {run.wanted.name} is to have the {name} {value}, which the proxy does not have"
    models = [(run, settings["models"]) for run, settings in asking if settings.get("models")]
    if not models or on_unknown == "ignore":
        return
    try:
        served = served_models(client)
    except LiteLLMError as error:
        if on_unknown == "fail":
            raise
        warn(f"Which models the proxy serves is not known: {error}")
        return
    for run, names in models:
        if unknown := unknown_models(names, served):
            sentence = f"The key {run.wanted.name} is to have models, but {complaint(unknown, served)}"
            if on_unknown == "warn":
                warn(sentence)
            else:
                run.error = f"{sentence} (on_unknown_models: warn lets it pass)"


def _answer(client: Client, exists: Callable[[Client, str], bool], value: str) -> bool | LiteLLMError:
    try:
        return exists(client, value)
    except LiteLLMError as error:
        return error


def _to_be_set(run: Run) -> Mapping[str, Any]:
    """The settings that are asked for and not there yet."""
    step = run.plan.step
    if isinstance(step, Create | Update):
        return step.settings
    return run.goal.settings if isinstance(step, Rename) else {}


def served_models(client: Client) -> frozenset[str]:
    """Every name by which the proxy serves models: models, patterns like `openai/*`, and access groups (>= 1.72).

    :raises LiteLLMError: when the proxy cannot be asked.
    """
    listing = client.get("/v1/models", {"return_wildcard_routes": "true", "include_model_access_groups": "true"})
    models = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(models, list) or not all(isinstance(model, dict) and "id" in model for model in models):
        problem = f"{client.connection.url} listed no models; is it a LiteLLM proxy?"
        raise LiteLLMError(problem, passing=False)
    return frozenset(str(model["id"]) for model in models)


def team_exists(client: Client, team_id: str) -> bool:
    """Whether there is such a team: LiteLLM gives a key to one that is not, and can then not change the key any more.

    :raises LiteLLMError: when the proxy cannot be asked.
    """
    try:
        client.get("/team/info", {"team_id": team_id})
    except LiteLLMError as error:
        if error.status != 404:
            raise
        return False
    return True


def budget_exists(client: Client, budget_id: str) -> bool:
    """Whether there is such a budget: without it LiteLLM answers with an internal error.

    :raises LiteLLMError: when the proxy cannot be asked.
    """
    return bool(client.post("/budget/info", {"budgets": [budget_id]}))


def unknown_models(wanted: Iterable[str], served: frozenset[str]) -> dict[str, list[str]]:
    """The names that the proxy does not serve, each with the nearest ones that it does."""
    return {name: _nearest(name, served) for name in wanted if name not in _SPECIAL and not _is_served(name, served)}


def _nearest(name: str, served: frozenset[str]) -> list[str]:
    """At most three: first those of which one name is part of the other, which difflib may find too different."""
    by_small_letters = {model.lower(): model for model in sorted(served) if model}
    wanted = name.lower()
    if not wanted:
        return []
    akin = [model for model in by_small_letters if model in wanted or wanted in model]
    near = difflib.get_close_matches(wanted, akin, n=3, cutoff=0)
    near += difflib.get_close_matches(wanted, by_small_letters, n=3)
    return [by_small_letters[model] for model in dict.fromkeys(near)][:3]


def complaint(unknown: dict[str, list[str]], served: frozenset[str]) -> str:
    """The same as a sentence."""
    parts = [
        f"'{name}'" + (f" (did you mean {' or '.join(repr(short(near)) for near in nearest)}?)" if nearest else "")
        for name, nearest in unknown.items()
    ]
    some = list(map(short, sorted(served)[:10]))
    listed = ", ".join(some) + (", ..." if len(served) > len(some) else "")
    return f"the proxy does not serve {', '.join(parts)}; it serves {listed or 'no models'}"


def _is_served(name: str, served: frozenset[str]) -> bool:
    if name in served or any("*" in name and fnmatchcase(model, name) for model in served):
        return True
    # What a pattern serves may be named without its provider, as in gpt-4o for openai/gpt-4o by openai/*.
    names = [name, *(model for model in served if "/" not in name and model.endswith(f"/{name}"))]
    return any("*" in pattern and fnmatchcase(one, pattern) for pattern in served for one in names)
