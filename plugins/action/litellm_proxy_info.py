# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_proxy_info`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from ansible import release
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.action import ControllerAction, Result
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    coerce_options,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import LiteLLMError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.references import served_models
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.client import Client
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.permission import (
    require_administrator,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.release import litellm_version
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.connection import (
    summarize_connection,
)

_COLLECTION = Path(__file__).parents[2]


class ActionModule(ControllerAction):
    OPTIONS = CONNECTION_OPTIONS

    def execute(self, task_vars: Mapping[str, Any]) -> Result:
        options = coerce_options(self.OPTIONS, self.arguments(task_vars), "litellm_proxy_info")
        client = self.connect(options)
        require_administrator(client)
        models, problem = _models(client)
        version = litellm_version(client)
        versions = _versions()
        return {
            "changed": False,
            "litellm_version": version,
            "models": models,
            "versions": versions,
            "summary": summarize_connection(
                url=client.connection.url,
                sources=self.wording.names,
                validates_certs=client.connection.validate_certs,
                version=version,
                models=models or (),
                problem=problem,
                versions=versions,
            ),
            "api_endpoint": client.connection.url,
            "api_base_url": client.connection.base_url,
            "api_calls": client.api_calls,
        }


def _models(client: Client) -> tuple[list[str] | None, str]:
    """Return the models of the proxy; None and the reason if the key may not list them, but manage keys.

    :raises LiteLLMError: if they cannot be listed for another reason.
    """
    try:
        return sorted(served_models(client)), ""
    except LiteLLMError as error:
        if not error.refuses_route:
            raise
        return None, str(error)


def _versions() -> dict[str, str]:
    """Return the versions of the software on the controller."""
    return {
        "rhpds.litellm_virtual_keys": _collection_version(),
        "ansible-core": release.__version__,
        "Python": platform.python_version(),
        "urllib3": metadata.version("urllib3"),
    }


def _collection_version() -> str:
    """Return the version from the manifest of an installed collection, or from the source of one that is not."""
    try:
        if (manifest := _COLLECTION / "MANIFEST.json").exists():
            return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
        return str(yaml.safe_load((_COLLECTION / "galaxy.yml").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, yaml.YAMLError):
        return "of unknown version"
