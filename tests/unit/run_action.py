# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run an action in this process, as a worker of Ansible runs it: without a playbook, in a few milliseconds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins import loader
from ansible.plugins.loader import action_loader, connection_loader
from ansible.template import Templar


def run_action(
    name: str,
    arguments: Mapping[str, Any],
    variables: Mapping[str, Any],
    *,
    check_mode: bool = False,
    diff: bool = False,
    no_log: bool = False,
    **keywords: Any,
) -> dict[str, Any]:
    """Run an action with the arguments of a task and the variables of a host, and return its result.

    :param keywords: further keywords of the task, such as `environment`.
    """
    task = Task()
    task.action, task.args = name, dict(arguments)
    task.check_mode, task.diff, task.no_log = check_mode, diff, no_log
    for keyword, value in keywords.items():
        setattr(task, keyword, value)
    action = action_loader.get(
        name,
        task=task,
        connection=connection_loader.get("ansible.builtin.local", PlayContext(), os.devnull),
        play_context=PlayContext(),
        loader=DataLoader(),
        templar=Templar(loader=DataLoader(), variables=variables),
        shared_loader_obj=loader,
    )
    result: dict[str, Any] = action.run(task_vars=variables)
    json.dumps(result)  # Ansible does so when it passes the result on
    return result
