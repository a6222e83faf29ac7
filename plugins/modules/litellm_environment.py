# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_environment
short_description: Manage the virtual keys of a lab environment
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Runs one operation on all virtual keys of a lab environment, which has one key or one key per user.
  - The secrets of new keys are saved as AgnosticD user data before the action returns, also if other keys failed or
    if the task was interrupted. If a secret cannot be saved, its key is deleted again.
  - The action returns facts, messages to the user, and what to write to files of users. The role
    P(rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys#role) is a mapping to this action.
  - A key belongs to the environment if its alias is O(key_alias), or if its alias starts with O(key_alias) and a
    hyphen and its metadata, or what was saved with it, contain the guid.
options:
  operation:
    description:
      - V(provision) or V(create) creates or updates the keys. A second run returns the same secrets and changes
        nothing.
      - V(extend) extends the existing keys. A key that was saved, and that expired and was deleted since, is created
        again with its secret and all its settings. A key that was deleted before it expired is not.
      - V(stop) and V(start) block and unblock the keys, if O(block_on_stop=true).
      - V(status) returns the keys.
      - V(destroy) or V(remove) deletes every key of the environment, and removes it from the user data. With O(users),
        only the keys of these users are deleted.
      - Any other value does nothing, and RV(report) says so.
    type: str
    default: provision
  guid:
    description: The guid of the lab environment. It is required.
    type: str
  key_alias:
    description: The alias of the environment's key. The default is V(virtkey-) and the guid.
    type: str
  users:
    description:
      - The users who get a key each. The alias of the key of a user is O(key_alias), a hyphen and the user.
    type: list
    elements: str
  multi_user:
    description:
      - Whether each user gets a key, if O(users) is empty. The users are O(user_base) and a number from 1 to
        O(user_count). The default is whether O(num_users) is more than 1.
    type: bool
  num_users:
    description: The number of users of the platform, from which the default of O(multi_user) is derived.
    type: raw
  user_count:
    description: The number of users. The default is O(num_users).
    type: raw
  user_base:
    description: The name of each user, before the number.
    type: str
    default: user
  user_email_domain:
    description: The C(user_id) of the key of a user is the user, V(@) and this domain.
    type: str
    default: lab.opentlc.com
  user_id:
    description: The C(user_id) of the environment's key.
    type: str
  models:
    description: The models that the keys can use.
    type: list
    elements: str
  include_docling:
    description: Whether O(docling_model) is added to O(models), and the address of Docling to the user data.
    type: bool
    default: false
  docling_model:
    description: The model name of Docling.
    type: str
    default: Docling
  on_unknown_models:
    description:
      - What to do about models that the proxy does not serve. Unless it is V(ignore), a key fails if the proxy serves
        none of its models.
    type: str
    choices: [fail, warn, ignore]
    default: warn
  max_budget:
    description: The maximum spend of each key, in US dollars.
    type: float
  metadata:
    description:
      - Metadata of the keys. The guid, and the user if there are several, are added. V({user}) in a value is replaced
        by the user.
    type: dict
  settings:
    description:
      - More options of M(rhpds.litellm_virtual_keys.litellm_key) for each key. They take precedence over the options of
        this action, except that C(metadata) is merged.
    type: dict
  expires_at:
    description:
      - When the keys expire, in ISO 8601 format. It takes precedence over O(runtime), O(platform_runtime) and
        O(duration), in this order. The expiry of an existing key is never moved to an earlier time, unless O(settings)
        contains C(shorten=true).
    type: raw
  runtime:
    description: How long the environment lives, from the creation of the keys. A number is interpreted as hours.
    type: raw
  platform_runtime:
    description: The runtime that the platform sets. It is used if O(runtime) is empty.
    type: raw
  duration:
    description: The lifetime of the keys, from their creation, such as V(7d).
    type: raw
  block_on_stop:
    description: Whether O(operation=stop) and O(operation=start) block and unblock the keys.
    type: bool
    default: false
  key_seed:
    description:
      - A seed from which the secrets are derived, as with M(rhpds.litellm_virtual_keys.litellm_key). It is needed for
        repeated runs if O(save_user_data=false).
    type: str
  regenerate:
    description: Whether existing keys are replaced, as with M(rhpds.litellm_virtual_keys.litellm_key).
    type: str
    choices: [never, if_unrecoverable, always]
    default: never
  save_user_data:
    description:
      - Whether user data are saved. If not, the secrets are only in the result. If then one of several keys fails, the
        new keys are deleted again, because the secrets of the others would be lost.
    type: bool
    default: true
  user_messages:
    description: More messages to the user after a provision, as text or a list of texts.
    type: raw
  display_key:
    description: Whether the message to the user contains the secret of a single key.
    type: bool
    default: true
  env_file:
    description:
      - A file to write the environment variables of the key to. It is part of RV(handover); this action does not write
        it. In this and the following options, V({user}) is replaced by the user.
    type: str
  env_file_owner:
    description: The owner of O(env_file).
    type: str
  profile_file:
    description: A shell profile to write the environment variables of the key to.
    type: str
  profile_group:
    description: The group that can read O(profile_file).
    type: str
  secret_name:
    description: The name of a Kubernetes Secret to write the environment variables of the key to.
    type: str
  secret_namespace:
    description: The namespace of O(secret_name).
    type: str
  delete_method:
    description: Whether O(operation=destroy) deletes the keys of the environment, or the one key O(key_id).
    type: str
    choices: [by_alias, by_key_id]
    default: by_alias
  key_id:
    description: The id of the key to delete with O(delete_method=by_key_id).
    type: str
  force_db_delete:
    description:
      - Whether O(operation=destroy) succeeds if LiteLLM did not delete some of the keys. The caller then has to delete
        the rows of RV(not_deleted), for example with M(rhpds.litellm_virtual_keys.litellm_key_row).
    type: bool
    default: false
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.agnosticd_user_info
attributes:
  check_mode:
    description: Predicts the changes without making them.
    support: full
  diff_mode:
    description: Returns each key before and after the change, without its secret.
    support: full
  idempotent:
    description: A second run with the same options changes nothing, except with O(regenerate=always).
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
notes:
  - If the result contains a secret, Ansible hides it from the output. Register the result.
  - User data are saved by P(agnosticd.core.agnosticd_user_info#module) if that is installed, with its
    C(module_defaults), and else in the same files in the directory C(output_dir).
"""

EXAMPLES = r"""
- name: Create the key of an environment, or return it
  rhpds.litellm_virtual_keys.litellm_environment:
    guid: user123
    models: [openai/granite-3-2-8b-instruct]
    duration: 7d
  register: lab

- name: Create a key for each user of a workshop (virtkey-user124-user1 to virtkey-user124-user20)
  rhpds.litellm_virtual_keys.litellm_environment:
    guid: user124
    multi_user: true
    user_count: 20
    models: [openai/granite-3-2-8b-instruct]
    duration: 1d
    max_budget: 5
    settings:
      rpm_limit: 60

- name: Extend all keys of the workshop to two days after their creation
  rhpds.litellm_virtual_keys.litellm_environment:
    operation: extend
    guid: user124
    runtime: 48

- name: Delete all keys of the workshop
  rhpds.litellm_virtual_keys.litellm_environment:
    operation: destroy
    guid: user124
"""

RETURN = r"""
virtual_keys:
  description:
    - The keys, with the fields that M(rhpds.litellm_virtual_keys.litellm_key) returns, and C(user) for the key of a
      user. With O(operation=status) they contain C(status) and no secret.
  returned: success, or if some keys failed
  type: list
  elements: dict
  sample: [{"key_alias": "virtkey-user123", "key": "sk-DHrMfs4TgkFoV0IrpOcQW1Yj8lQdHZ2b", "operation": "created"}]
operation:
  description: The operation, in the first form of each in O(operation). Empty if there was nothing to do.
  returned: always
  type: str
  sample: provision
facts:
  description:
    - Facts for C(ansible.builtin.set_fact), all of them each time. Those that do not apply are empty. They are not
      returned as facts of the host, because these are stored in the fact cache.
  returned: success, or if some keys failed
  type: dict
  sample: {"litellm_key_alias": "virtkey-user123"}
messages:
  description: Messages to the user, for M(rhpds.litellm_virtual_keys.agnosticd_user_info).
  returned: success, or if some keys failed
  type: list
  elements: str
  sample: ["LiteLLM API Endpoint: https://litellm.example.com/v1"]
report:
  description: What the operator should know, as text or as the lines of a table. Empty if there is nothing.
  returned: success, or if some keys failed
  type: raw
  sample: "Nothing is extended: the virtual keys already live that long, until 2026-11-30T08:00:00Z"
handover:
  description:
    - For each key where to write it, and which environment variables, or with C(state) V(absent) where to remove it
      from. Empty if no such place is set.
  returned: success, or if some keys failed
  type: list
  elements: dict
  sample: []
not_deleted:
  description: The ids of keys that still exist after LiteLLM was asked to delete them.
  returned: success, or if some keys failed
  type: list
  elements: str
  sample: []
delete_statement:
  description: The SQL statement that deletes the rows of RV(not_deleted). Empty if there are none.
  returned: success, or if some keys failed
  type: str
  sample: ""
follow_up:
  description: The task files of the role that are needed after this result.
  returned: success, or if some keys failed
  type: list
  elements: str
  sample: []
api_endpoint:
  description: The address of the proxy.
  returned: when the proxy responded
  type: str
  sample: https://litellm.example.com
api_base_url:
  description: The base URL for OpenAI clients.
  returned: when the proxy responded
  type: str
  sample: https://litellm.example.com/v1
api_calls:
  description: The number of requests that were sent to the proxy.
  returned: when the proxy responded
  type: int
  sample: 5
diff:
  description: The keys before and after the change, in diff mode.
  returned: in diff mode
  type: list
  elements: dict
  sample: []
"""
