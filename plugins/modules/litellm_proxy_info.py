# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_proxy_info
short_description: Check the connection to a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Checks that the proxy responds and that the key is an administrator's, and returns the version of LiteLLM, the
    models that the proxy serves, and the versions of the software on the controller. It changes nothing.
  - The playbook C(rhpds.litellm_virtual_keys.check_connection) shows the result.
options: {}
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key_info
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.info
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
"""

EXAMPLES = r"""
- name: Check the connection
  rhpds.litellm_virtual_keys.litellm_proxy_info:
  register: proxy

- name: Show what the proxy serves
  ansible.builtin.debug:
    msg: "LiteLLM {{ proxy.litellm_version }} serves {{ proxy.models | join(', ') }}"
"""

RETURN = r"""
litellm_version:
  description: The version of LiteLLM. It is null if the proxy does not report it.
  returned: success
  type: str
  sample: 1.106.2
models:
  description: The names of the models that the proxy serves, and patterns such as V(openai/*). It is null if the key
    sees all virtual keys, but may not list models; RV(summary) then contains the reason.
  returned: success
  type: list
  elements: str
  sample: [openai/granite-3-2-8b-instruct, openai/mistral-7b-instruct]
versions:
  description: The versions of this collection, of ansible-core, of Python and of urllib3 on the controller.
  returned: success
  type: dict
  sample: {"ansible-core": "2.19.4"}
summary:
  description: All of this as lines of text.
  returned: success
  type: list
  elements: str
  sample: ["LiteLLM: 1.106.2"]
api_endpoint:
  description: The URL of the proxy.
  returned: success
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The base URL for OpenAI clients.
  returned: success
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: The number of requests that were sent to the proxy.
  returned: success
  type: int
  sample: 3
"""
