# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_model
short_description: Replace a model in LiteLLM virtual keys
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Replaces the name of a model by another one in all virtual keys that name it. When a model is renamed or removed on
    the proxy, requests with such keys fail, although the keys are valid.
  - The name is replaced in the C(models), C(model_aliases), C(model_max_budget), C(model_tpm_limit) and
    C(model_rpm_limit) of the key. The secret, the expiry, the spend and all other settings of the key do not change.
  - To find keys whose models are gone, use the O(rhpds.litellm_virtual_keys.keys_report#filter:models) option of the
    P(rhpds.litellm_virtual_keys.keys_report#filter) filter. The playbook C(rhpds.litellm_virtual_keys.report_keys) does
    so.
  - The playbook C(rhpds.litellm_virtual_keys.replace_model) shows the keys that were changed.
options:
  old_model:
    description: The model that is replaced, exactly as the keys name it.
    type: str
    required: true
  new_model:
    description:
      - The model that the keys get instead. The proxy must serve it.
      - A key that has both gets it once. A limit that a key has for both stays the one of this model.
    type: str
    required: true
  alias_prefix:
    description:
      - Only keys whose alias starts with this prefix are changed. To change all keys of one environment, use its alias.
      - It must not be empty.
    type: str
    default: virtkey-
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.litellm_proxy_info
  - plugin: rhpds.litellm_virtual_keys.keys_report
    plugin_type: filter
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
"""

EXAMPLES = r"""
- name: Show which keys would be changed
  rhpds.litellm_virtual_keys.litellm_key_model:
    old_model: granite-3
    new_model: granite-3-2-8b-instruct
  check_mode: true
  diff: true

- name: Replace a model that was renamed on the proxy
  rhpds.litellm_virtual_keys.litellm_key_model:
    old_model: granite-3
    new_model: granite-3-2-8b-instruct
"""

RETURN = r"""
virtual_keys:
  description:
    - The keys that named the model, as in RV(rhpds.litellm_virtual_keys.litellm_key#module:virtual_keys). They contain
      no secret.
  returned: when the keys were listed
  type: list
  elements: dict
  contains:
    key_alias:
      description: The alias of the key.
      type: str
    key_id:
      description: The id of the key, which is the SHA-256 hash of its secret.
      type: str
    models:
      description: The models that the key can use.
      type: list
      elements: str
    operation:
      description: What was done with the key, or would be done in check mode.
      type: str
      sample: updated
    error:
      description: Why the key could not be changed.
      returned: on failure
      type: str
summary:
  description: What was done, as lines of text.
  returned: success
  type: list
  elements: str
  sample: [Replaced granite-3 by granite-3-2-8b-instruct in 1 virtual key, "  virtkey-abc"]
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
  sample: 12
"""
