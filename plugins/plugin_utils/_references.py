# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a key refers to, and whether the proxy has it. LiteLLM itself takes any model and any team.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError

# Names with a meaning of their own, which no listing has.
_SPECIAL = {"*", "all-team-models", "all-proxy-models", "no-default-models"}


def served_models(client: Client) -> frozenset[str]:
    """Every name by which the proxy serves models: models, patterns like `openai/*`, and access groups (>= 1.72).

    :raises LiteLLMError: when the proxy cannot be asked.
    """
    listing = client.get("/v1/models", {"return_wildcard_routes": "true", "include_model_access_groups": "true"})
    return frozenset(str(model["id"]) for model in listing.get("data", ()))


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
    by_small_letters = {model.lower(): model for model in sorted(served)}
    return [by_small_letters[near] for near in difflib.get_close_matches(name.lower(), by_small_letters, n=3)]


def complaint(unknown: dict[str, list[str]], served: frozenset[str]) -> str:
    """The same as a sentence."""
    parts = [
        f"'{name}'" + (f" (did you mean {' or '.join(repr(near) for near in nearest)}?)" if nearest else "")
        for name, nearest in unknown.items()
    ]
    some = sorted(served)[:10]
    listed = ", ".join(some) + (", ..." if len(served) > len(some) else "")
    return f"the proxy does not serve {', '.join(parts)}; it serves {listed or 'no models'}"


def _is_served(name: str, served: frozenset[str]) -> bool:
    if name in served or any("*" in name and fnmatchcase(model, name) for model in served):
        return True
    # What a pattern serves may be named without its provider, as in gpt-4o for openai/gpt-4o by openai/*.
    names = [name, *(model for model in served if "/" not in name and model.endswith(f"/{name}"))]
    return any("*" in pattern and fnmatchcase(one, pattern) for pattern in served for one in names)
