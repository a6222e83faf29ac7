# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the models of keys with those that the proxy serves, and replace one by another. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from .._text import shorten
from .model import ObservedKey

# Names with a special meaning, which no listing contains.
_SPECIAL_MODELS = {"*", "all-team-models", "all-proxy-models", "no-default-models"}
_MAX_LISTED = 10

# The settings that are dictionaries by model.
_BY_MODEL = ("model_tpm_limit", "model_rpm_limit", "model_max_budget")


def unknown_models(models: Iterable[str], served: Collection[str]) -> dict[str, list[str]]:
    """Return the models that the proxy does not serve, each with the closest names that it serves."""
    return {
        name: _closest(name, served) for name in models if name not in _SPECIAL_MODELS and not _is_served(name, served)
    }


def describe_unknown(unknown: Mapping[str, list[str]], served: Collection[str]) -> str:
    """Return the unknown models and what the proxy serves as part of a sentence."""
    parts = [
        f"'{name}'" + (f" (did you mean {' or '.join(repr(shorten(one)) for one in closest)}?)" if closest else "")
        for name, closest in unknown.items()
    ]
    listed = ", ".join(map(shorten, sorted(served)[:_MAX_LISTED])) + (", ..." if len(served) > _MAX_LISTED else "")
    return f"{', '.join(parts)}. The proxy serves {listed or 'no models'}"


def with_model_replaced(key: ObservedKey, model: str, replacement: str) -> dict[str, Any]:
    """Return the settings of a key that name a model, with another model instead; none if no setting names it.

    A limit that the key has for both models stays the one of the replacement.
    """
    settings: dict[str, Any] = {}
    models = key.value("models") or []
    if model in models:
        settings["models"] = list(dict.fromkeys(replacement if one == model else one for one in models))
    for name in _BY_MODEL:
        by_model = key.value(name) or {}
        if model in by_model:
            settings[name] = {replacement: by_model[model], **by_model}
            del settings[name][model]
    aliases = key.value("model_aliases") or {}
    if model in aliases.values():
        settings["model_aliases"] = {name: replacement if one == model else one for name, one in aliases.items()}
    return settings


def _closest(name: str, served: Collection[str]) -> list[str]:
    """Return at most three names; first those that contain the name or the reverse, which difflib may rate too low."""
    by_lower_case = {model.lower(): model for model in sorted(served) if model}
    lower = name.lower()
    if not lower:
        return []
    overlapping = [model for model in by_lower_case if model in lower or lower in model]
    close = difflib.get_close_matches(lower, overlapping, n=3, cutoff=0)
    close += difflib.get_close_matches(lower, by_lower_case, n=3)
    return [by_lower_case[model] for model in dict.fromkeys(close)][:3]


def _is_served(name: str, served: Collection[str]) -> bool:
    if name in served or any("*" in name and fnmatchcase(model, name) for model in served):
        return True
    # A model behind a pattern may be named without its provider: gpt-4o for openai/gpt-4o and the pattern openai/*.
    names = [name, *(model for model in served if "/" not in name and model.endswith(f"/{name}"))]
    return any("*" in pattern and fnmatchcase(one, pattern) for pattern in served for one in names)
