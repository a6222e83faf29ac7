# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: play_variables
short_description: Return variables of the play that facts of a host cannot set
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Returns the values of O(variables). The roles of this collection use it before tasks that run on a managed host.
  - Any module on a managed host can return facts with any name, and Ansible sets them as variables, which replace those
    of the inventory and the defaults of roles. Like all actions of this collection, this one evaluates its options
    without facts.
  - Facts do not replace the registered result.
options:
  variables:
    description: The values to return, usually templates that contain variables.
    type: dict
    default: {}
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.info
"""

EXAMPLES = r"""
- name: Get the path of the file
  rhpds.litellm_virtual_keys.play_variables:
    variables:
      path: "{{ profile_path }}"
  register: profile
  vars:
    profile_path: "{{ playbook_dir }}/litellm.sh"

- name: Remove the file
  ansible.builtin.file:
    path: "{{ profile.variables.path }}"
    state: absent
"""

RETURN = r"""
variables:
  description: The values of O(variables).
  returned: on success
  type: dict
  sample: {"path": "/etc/profile.d/litemaas.sh"}
output_dir:
  description:
    - The absolute path of the directory of user data. It is the variable C(output_dir) of this host or of localhost, or
      else the directory of the playbook.
  returned: on success
  type: str
  sample: /home/user/output_dir
"""
