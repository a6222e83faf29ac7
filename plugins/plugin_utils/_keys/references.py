# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the models, teams and budgets that a key refers to exist. LiteLLM itself accepts any name.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from .._errors import LiteLLMError
from .._litellm.client import Client
from .model_names import describe_unknown, unknown_models

OnUnknownModels = Literal["fail", "warn", "ignore"]


def reference_problems(
    client: Client,
    settings_by_key: Mapping[str, Mapping[str, Any]],
    on_unknown_models: OnUnknownModels,
    warn: Callable[[str], None],
    teams: Collection[str] = (),
) -> dict[str, str]:
    """Return an error message for each key that refers to a model, a team or a budget that the proxy does not have.

    :param settings_by_key: the settings to write, by the name of the key.
    :param warn: called with unknown models that are accepted.
    :param teams: teams that need no check.
    :raises LiteLLMError: if unknown models are an error and the models cannot be listed.
    """
    problems: dict[str, str] = {}
    for option, exists in (("team_id", team_exists), ("budget_id", budget_exists)):
        results: dict[str, bool | LiteLLMError] = {}  # one request for each value, also if it fails
        for name, settings in settings_by_key.items():
            if not (value := settings.get(option)) or (option == "team_id" and value in teams):
                continue
            if value not in results:
                results[value] = _try(client, exists, value)
            if isinstance(result := results[value], LiteLLMError):
                problems[name] = f"Cannot check whether {option} {value} exists: {result}"
            elif not result:
                problems[name] = (
                    f"Virtual key {name} cannot have {option} {value}, which does not exist. "
                    f"Create it first, or remove {option}"
                )
    models = {name: settings["models"] for name, settings in settings_by_key.items() if settings.get("models")}
    if models and on_unknown_models != "ignore":
        problems.update(_model_problems(client, models, on_unknown_models, warn))
    return problems


def _model_problems(
    client: Client,
    models_by_key: Mapping[str, Sequence[str]],
    on_unknown_models: OnUnknownModels,
    warn: Callable[[str], None],
) -> dict[str, str]:
    try:
        served = served_models(client)
    except LiteLLMError as error:
        if on_unknown_models == "fail":
            if error.refuses_route:
                problem = f"{error}, or set on_unknown_models: warn"
                raise LiteLLMError(problem, transient=False, status=error.status) from None
            raise
        warn(f"The models of the proxy cannot be listed, so they are not checked: {error}")
        return {}
    problems = {}
    for name, models in models_by_key.items():
        if unknown := unknown_models(models, served):
            message = f"Virtual key {name} refers to unknown models: {describe_unknown(unknown, served)}"
            if on_unknown_models == "fail":
                problems[name] = f"{message}. To accept them, set on_unknown_models: warn"
            elif len(unknown) == len(set(models)):  # such a key is useless
                problems[name] = f"{message}. The key could use no model; to create it, set on_unknown_models: ignore"
            else:
                warn(message)
    return problems


def _try(client: Client, exists: Callable[[Client, str], bool], value: str) -> bool | LiteLLMError:
    try:
        return exists(client, value)
    except LiteLLMError as error:
        return error


def served_models(client: Client) -> frozenset[str]:
    """Return every name that the proxy serves: models, patterns like `openai/*`, and access groups (>= 1.72).

    :raises LiteLLMError: if the models cannot be listed.
    """
    listing = client.get("/v1/models", {"return_wildcard_routes": "true", "include_model_access_groups": "true"})
    models = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(models, list) or not all(isinstance(model, dict) and "id" in model for model in models):
        connection = client.connection
        problem = f"{connection.url} returned no list of models; check that {connection.name('url')} is a LiteLLM proxy"
        raise LiteLLMError(problem, transient=False)
    return frozenset(str(model["id"]) for model in models)


def team_exists(client: Client, team_id: str) -> bool:
    """Return whether the team exists. LiteLLM accepts any team for a new key, and can then not change the key any more.

    :raises LiteLLMError: if the team cannot be read.
    """
    try:
        client.get("/team/info", {"team_id": team_id})
    except LiteLLMError as error:
        if error.status != 404:
            raise
        return False
    return True


def budget_exists(client: Client, budget_id: str) -> bool:
    """Return whether the budget exists. LiteLLM reports an internal error for a key with an unknown budget.

    :raises LiteLLMError: if the budget cannot be read.
    """
    return bool(client.post("/budget/info", {"budgets": [budget_id]}))
