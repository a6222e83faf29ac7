# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the task of a real playbook in this process, with the variables and facts that ansible-core would give it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.play_context import PlayContext
from ansible.plugins import loader as plugin_loader
from ansible.plugins.loader import action_loader, connection_loader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

Json = dict[str, Any]


class OneTask:
    """A play with one task for the host `web`, in a folder."""

    def __init__(self, folder: Path, task: Json, inventory: Json | None = None, **play: Any) -> None:
        self.loader = DataLoader()
        self.loader.set_basedir(str(folder))
        (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"web": inventory or {}}}}))
        (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "web", "tasks": [task], **play}]))
        hosts = InventoryManager(self.loader, [str(folder / "hosts.yml")])
        self.manager = VariableManager(self.loader, hosts)
        HostVars(hosts, self.manager, self.loader)
        (self.play,) = Playbook.load(str(folder / "play.yml"), self.manager, self.loader).get_plays()
        self.host = hosts.get_host("web")
        (block,) = self.play.compile()[1:2]
        (self.task,) = block.block

    def return_facts(self, host: str = "web", **facts: Any) -> None:
        """Do as ansible-core does after a module has returned facts."""
        self.manager.set_host_facts(host, facts)

    def set_fact(self, *, cacheable: bool = False, **facts: Any) -> None:
        """Do as ansible-core does after `set_fact`."""
        if cacheable:
            self.manager.set_host_facts("web", dict(facts))
        self.manager.set_nonpersistent_facts("web", dict(facts))

    def variables(self) -> Json:
        return dict(self.manager.get_vars(play=self.play, host=self.host, task=self.task))

    def run(self, **of_loop: Any) -> Json:
        """Run the task, and return its result. What belongs to it has been templated with the facts."""
        variables: Mapping[str, Any] = {**self.variables(), **of_loop}
        templar = Templar(loader=self.loader, variables=variables)
        task = self.task.copy()
        for name in ("args", "environment", "module_defaults"):
            with contextlib.suppress(AnsibleError):
                setattr(task, name, templar.template(getattr(task, name)))
        action = action_loader.get(
            task.action,
            task=task,
            connection=connection_loader.get("ansible.builtin.local", PlayContext(), os.devnull),
            play_context=PlayContext(),
            loader=self.loader,
            templar=templar,
            shared_loader_obj=plugin_loader,
        )
        result: Json = action.run(task_vars=variables)
        assert templar.available_variables == variables
        return result
