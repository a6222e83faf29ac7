# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agnosticd_user_info
short_description: Report messages and data to the users of an AgnosticD environment
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Shows messages, and saves messages and data for the users of an environment. It is compatible with AgnosticD's own
    C(agnosticd_user_info), so that roles which use it also run where AgnosticD is not installed.
  - The files are F(<ACTION>-user-info.yaml), F(<ACTION>-user-body.yaml) and F(<ACTION>-user-data.yaml) in the directory
    C(output_dir). The variables C(ACTION) and C(output_dir) are read from the play or from localhost. They default to
    V(provision) and to the directory of the playbook.
  - If the collection C(agnosticd.core) is installed, its action saves the files and honors the C(module_defaults) of
    C(agnosticd.core.agnosticd_user_info). Otherwise this action saves them itself.
  - When this action saves the files, it merges new content into existing content, writes each file atomically under a
    lock, and makes it readable by its owner only.
options:
  msg:
    description: A message, or a list of messages.
    type: raw
  body:
    description: A longer text. It is mutually exclusive with O(msg).
    type: str
  data:
    description: A dictionary of user data. It is merged into the saved user data.
    type: dict
  data_prefix:
    description: A prefix to add to each name in O(data).
    type: str
    default: ""
  user:
    description:
      - The user to save the messages and data for. They are saved under this user's name.
      - AgnosticD treats an environment with such a user as a multi-user environment.
    type: str
  users:
    description:
      - User data for several users at once, as a dictionary of dictionaries by user name. It is saved under each user's
        name, in addition to O(data).
    type: dict
  action:
    description:
      - The C(ACTION) whose files are written. The default is the variable C(ACTION). Set it to V(provision) in a later
        lifecycle hook to update the user data from provisioning, which is what lab guides read.
    type: str
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_environment
  - name: Facts and user data
    description: The names of all facts and user data.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/facts_and_user_data.html
attributes:
  check_mode:
    description: Shows the messages but does not save anything.
    support: full
  diff_mode:
    description: Does not return a diff, because the data can contain secrets.
    support: none
  idempotent:
    description: Data is merged. Messages are appended in every run.
    support: partial
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
"""

EXAMPLES = r"""
- name: Show the endpoint of the models to the user
  rhpds.litellm_virtual_keys.agnosticd_user_info:
    msg: "Your models are at {{ litellm_api_base_url }}"

- name: Save user data for the lab guide
  rhpds.litellm_virtual_keys.agnosticd_user_info:
    data:
      litellm_api_base_url: "{{ litellm_api_base_url }}"
      litellm_virtual_key: "{{ litellm_virtual_key }}"
"""

RETURN = r"""
msg:
  description: The messages, with the prefix that AgnosticD looks for in the log.
  returned: when O(msg) or O(body) is specified
  type: raw
  sample: "user.info: Your models are at https://litellm.example.com/v1"
user:
  description: The value of O(user).
  returned: when O(user) is specified
  type: str
  sample: user1
error:
  description: The reason for the failure.
  returned: on failure
  type: str
  sample: "Cannot save user data in /output: No space left on device"
"""
