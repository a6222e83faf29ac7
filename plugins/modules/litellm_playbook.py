# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_playbook
short_description: Read the variables of a playbook of this collection
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Translates the short names of variables that were set on the command line of a playbook of this collection. It is
    used only by these playbooks.
  - Only extra variables are translated. If extra variables show that AgnosticD runs the playbook (C(ACTION),
    C(agnosticd_action), C(cloud_provider) or C(__meta__)), no short name is translated.
  - A playbook does what its name says. If C(ACTION) or C(agnosticd_action) is an extra variable that requests another
    operation, this action fails.
options:
  playbook:
    description: The name of the playbook. This option is required.
    type: str
    choices:
      - provision_key
      - extend_key
      - stop_key
      - start_key
      - status_key
      - rotate_key
      - rotate_keys
      - destroy_key
      - report_keys
      - sweep_keys
      - replace_model
      - check_connection
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.info
"""

EXAMPLES = r"""
- name: Read the variables
  rhpds.litellm_virtual_keys.litellm_playbook:
    playbook: provision_key
  register: translation
"""

RETURN = r"""
variables:
  description: The variables that were set by a short name, by their long names.
  returned: success
  type: dict
  sample: {"ocp4_workload_litellm_virtual_keys_duration": "7d"}
short_names:
  description: What messages call each variable, by its name without the prefix of the role.
  returned: success
  type: dict
  sample: {"duration": "duration"}
operation:
  description: The operation that the playbook runs.
  returned: success, for a playbook that manages one environment
  type: str
  sample: provision
output_dir:
  description: The directory of the saved keys.
  returned: success, for a playbook that manages one environment
  type: str
  sample: virtual_keys/user123
"""
