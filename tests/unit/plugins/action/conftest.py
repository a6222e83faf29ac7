# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A LiteLLM in memory, and the actions that talk to it as Ansible runs them."""

from __future__ import annotations

import json
import os

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import action_loader, connection_loader
from ansible.template import Templar


@pytest.fixture
def proxy():
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import FakeLiteLLM

    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture
def run_action(proxy, monkeypatch):
    """Run an action. Unless told otherwise, its connection comes from variables, as it mostly does."""
    from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY

    for name in ("LITELLM_URL", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(name, arguments, *, check_mode=False, diff=False, variables=None):
        if variables is None:
            variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "litellm_retries": 0}
        task = Task()
        task.action, task.args, task.check_mode, task.diff = name, arguments, check_mode, diff
        action = action_loader.get(
            name,
            task=task,
            connection=connection_loader.get("ansible.builtin.local", PlayContext(), os.devnull),
            play_context=PlayContext(),
            loader=DataLoader(),
            templar=Templar(loader=DataLoader(), variables=variables),
            shared_loader_obj=None,
        )
        proxy.requests.clear()
        result = action.run(task_vars=variables)
        json.dumps(result)  # which Ansible does on its way to the user
        return result

    return run
