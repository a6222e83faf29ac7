# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: agnosticd_user_data
short_description: Look up AgnosticD user data
version_added: 2.1.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Returns user data that M(rhpds.litellm_virtual_keys.agnosticd_user_info) or AgnosticD saved in C(output_dir), like
    the lookup of the same name in C(agnosticd.core).
  - It reads only files that belong to root or to the user that runs Ansible, and that nobody else can change.
options:
  _terms:
    description: The names of the data to return. V(*) returns all data as a dictionary.
    type: list
    elements: str
    required: true
  action:
    description: The action whose user data is read.
    type: str
    default: provision
  output_dir:
    description:
      - The directory of the files. Defaults to the variable C(output_dir) of this host or of localhost, or else to the
        directory of the playbook.
    type: path
  user:
    description: The user whose data is returned. By default, the data of the environment is returned.
    type: str
seealso:
  - module: rhpds.litellm_virtual_keys.agnosticd_user_info
"""

EXAMPLES = r"""
- name: Show the URL of the proxy
  ansible.builtin.debug:
    msg: "{{ lookup('rhpds.litellm_virtual_keys.agnosticd_user_data', 'litellm_api_base_url') }}"

- name: Show the models of one user
  ansible.builtin.debug:
    msg: "{{ lookup('rhpds.litellm_virtual_keys.agnosticd_user_data', 'litellm_available_models', user='user1') }}"
"""

RETURN = r"""
_raw:
  description: The data, in the order of the terms; null for names that do not exist.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.facts import (
    localhost_variable,
    play_variable,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.store import load
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import UserError


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        problem = None
        try:
            data: Any = load(self._folder(variables), self.get_option("action"))
        except UserError as error:
            problem = str(error)
        if problem:
            raise AnsibleLookupError(
                problem
            )  # outside of the except block: ansible-core 2.19 would print the cause, too
        if user := self.get_option("user"):
            users = data.get("users")
            data = users.get(user) if isinstance(users, Mapping) else None
        found = data if isinstance(data, Mapping) else {}
        return [dict(found) if str(term) == "*" else found.get(str(term)) for term in self._flatten(terms)]

    def _folder(self, variables: Mapping[str, Any]) -> Path:
        for value in (
            self.get_option("output_dir"),
            play_variable("output_dir", variables),
            localhost_variable("output_dir", variables),
        ):
            if folder := self._templar.template(value):
                return Path(str(folder))
        return Path(str(variables.get("playbook_dir") or "."))
