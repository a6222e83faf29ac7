# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An in-memory LiteLLM, and a fixture that runs an action as Ansible does."""

from __future__ import annotations

import pytest


@pytest.fixture
def proxy():
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import FakeLiteLLM

    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture
def run_action(proxy, monkeypatch):
    """Run an action. Its connection comes from variables, as it usually does, unless `variables` are given."""
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.run_action import run_action

    for name in ("LITELLM_URL", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(name, arguments, *, variables=None, **options):
        if variables is None:
            variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "litellm_retries": 0}
        proxy.requests.clear()
        return run_action(name, arguments, variables, **options)

    return run
