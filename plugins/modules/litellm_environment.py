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
  - Manages all virtual keys of one lab environment. The environment has either a single key or one key for each user.
  - The secrets of new keys are saved as AgnosticD user data before the action returns, even if some keys failed or the
    task was interrupted. If a secret cannot be saved, its key is deleted again.
  - The result also contains facts, messages to the user, and the files to write on other hosts. The role
    P(rhpds.litellm_virtual_keys.ocp4_workload_litellm_virtual_keys#role) uses this action.
  - A key belongs to the environment if its alias is O(key_alias). The key of a user belongs to the environment if its
    alias starts with O(key_alias) plus a hyphen, and its metadata or saved user data contains the guid.
options:
  operation:
    description:
      - V(provision) or V(create) creates or updates the keys. A second run returns the same keys and changes nothing.
      - V(extend) extends existing keys. It also recreates keys that were deleted after they had expired, with their
        saved secrets and settings. It does not recreate keys that were deleted before they expired.
      - V(stop) blocks the keys and V(start) unblocks them, if O(block_on_stop=true).
      - V(status) returns information about the keys.
      - V(rotate) replaces the key of an environment with a single key, or the keys of the users in O(users), or of all
        users if that is V(all). Settings and expiry stay the same, and the old secrets stop working.
      - V(rotate_old) replaces only the keys whose secrets are older than C(every) in O(rotate). The old secrets work
        until the C(overlap) ends. A second run before that changes nothing.
      - V(destroy) or V(remove) deletes every key of the environment and removes the keys from the user data. If
        O(users) is specified, only the keys of these users are deleted.
      - For any other value, the action does nothing and returns an explanation in RV(report).
    type: str
    default: provision
  guid:
    description: The guid of the lab environment. This option is required.
    type: str
  key_alias:
    description: The unique alias of the key. Defaults to V(virtkey-) plus the guid.
    type: str
  users:
    description:
      - The names of the users. One key is created for each user, regardless of O(multi_user). The alias of each key is
        O(key_alias) plus a hyphen and the name of the user.
    type: list
    elements: str
  add_users:
    description:
      - The names of users to add to the environment. Each of them gets a key. The keys and the user data of all other
        users remain unchanged. This option has an effect only if O(operation=provision).
    type: list
    elements: str
  remove_users:
    description:
      - The names of users to remove from the environment. Their keys are deleted and their user data is removed. The
        keys and the user data of all other users remain unchanged. This option has an effect only if
        O(operation=provision).
    type: list
    elements: str
  multi_user:
    description:
      - Whether to create one key for each user. The name of each user is O(user_base) plus a number from 1 to
        O(user_count). This option is ignored if O(users) is specified.
      - Defaults to true if O(num_users) is greater than 1, and to false otherwise.
    type: bool
  num_users:
    description:
      - The number of users of the environment, as set by the platform. It determines the defaults of O(multi_user) and
        O(user_count).
    type: raw
  user_count:
    description: The number of users. Defaults to O(num_users).
    type: raw
  user_base:
    description: The prefix of the user names, before the number.
    type: str
    default: user
  user_email_domain:
    description:
      - The domain of the C(user_id) of each user's key. By default, the user ids are V(user1@lab.opentlc.com) and so
        on.
    type: str
    default: lab.opentlc.com
  user_id:
    description: The LiteLLM user that the key of an environment with a single key belongs to.
    type: str
  models:
    description: The names of the models that the keys can use.
    type: list
    elements: str
  include_docling:
    description: Whether the keys can also use O(docling_model). Its URL is then included in the messages and user data.
    type: bool
    default: false
  docling_model:
    description: The name of the Docling model.
    type: str
    default: Docling
  on_unknown_models:
    description:
      - What to do about models that the proxy does not serve. Unless this option is V(ignore), the task fails if the
        proxy does not serve any of the models.
    type: str
    choices: [fail, warn, ignore]
    default: warn
  max_budget:
    description: The maximum spend of each key, in US dollars.
    type: float
  shared_budget:
    description:
      - The maximum spend of all keys of the environment together, in US dollars. It is set by O(operation=provision)
        and O(operation=extend), and can be combined with O(max_budget), the limit of each key.
      - The keys are put into a LiteLLM team that has the alias of the environment as its id, and names the guid and
        this collection (C(managed_by)) in its metadata. The team is created, changed and deleted with the environment.
        A team with this id whose metadata do not name both is not changed, and the task fails. O(settings) cannot
        contain C(team_id).
      - Without this option, the budget is left as it is, and keys that are added to the environment are put into the
        team.
      - O(operation=destroy) deletes the team after the keys if this option is specified, if a key is in the team, or
        if the saved user data shows that one was. It fails if other keys are in the team. The team is also deleted when
        the last key leaves it, for example with C(unset=[team_id]) in O(settings).
    type: float
    version_added: 2.1.0
  shared_budget_duration:
    description:
      - The interval after which the spend of O(shared_budget) is reset to zero, such as V(7d). LiteLLM resets it at the
        start of a day, week or month. Without it, the budget is never reset, unless the proxy has a default.
    type: str
    version_added: 2.1.0
  metadata:
    description:
      - Additional metadata of the keys. The action adds the guid and, for multiple users, the name of the user. The
        placeholder V({user}) is replaced by the name of the user.
    type: dict
  settings:
    description:
      - More options of M(rhpds.litellm_virtual_keys.litellm_key), as a dictionary, such as C(rpm_limit). They take
        precedence over the options of this action, except that C(metadata) is merged.
    type: dict
  expires_at:
    description:
      - The time at which the keys expire, in ISO 8601 format.
      - O(expires_at) takes precedence over O(runtime), which takes precedence over O(platform_runtime), which takes
        precedence over O(duration).
      - The expiry of an existing key is never moved to an earlier time, unless O(settings) contains C(shorten=true).
    type: raw
  runtime:
    description:
      - The lifetime of the environment, and thus of its keys, counted from their creation. A number is interpreted as
        hours.
    type: raw
  platform_runtime:
    description: The lifetime of the environment that the platform sets. It is used if O(runtime) is empty.
    type: raw
  duration:
    description:
      - The lifetime of the keys, counted from their creation, such as V(7d). A number without a unit is refused.
    type: raw
  extend_by:
    description:
      - How much longer the keys live after O(operation=extend), such as V(7d). It is added to the expiry of each key,
        or to the current time if the key has expired. Unlike O(runtime), it extends the keys in every run.
    type: raw
  block_on_stop:
    description: Whether O(operation=stop) blocks the keys and O(operation=start) unblocks them.
    type: bool
    default: false
  key_seed:
    description:
      - The seed from which the secrets are derived, as in M(rhpds.litellm_virtual_keys.litellm_key). If
        O(save_user_data=false), repeated runs require a seed.
    type: str
  regenerate:
    description: Whether to replace existing keys, as in M(rhpds.litellm_virtual_keys.litellm_key).
    type: str
    choices: [never, if_unrecoverable, always]
    default: never
  rotate:
    description:
      - When O(operation=provision) and O(operation=rotate_old) replace keys by age, as a dictionary with C(every) and
        C(overlap), as in M(rhpds.litellm_virtual_keys.litellm_key). The other operations ignore it.
    type: dict
    version_added: 2.1.0
  save_user_data:
    description:
      - Whether to save the keys as user data. If this option is false, only the result contains the secrets. If one of
        several keys then fails, all new keys are deleted again, because their secrets would be lost.
    type: bool
    default: true
  return_messages:
    description: Whether to return RV(messages) to the user. If it is false, the list is empty.
    type: bool
    default: true
  user_messages:
    description: Additional messages to the user, as a string or a list of strings. They are returned after a provision.
    type: raw
  display_key:
    description: Whether the messages contain the secret if the environment has a single key.
    type: bool
    default: true
  keys_file:
    description:
      - A CSV file on the controller that lists the key of each user, with the columns C(user), C(key), C(endpoint),
        C(models) and C(expires). Only its owner can read it. It is updated when keys change, and deleted with the last
        key. The directory must exist.
      - Its path is saved in the user data. If another path is given later, the former file is deleted, unless it
        contains anything else than keys of this environment. Without saved user data, set the option in every task,
        also to destroy the keys, because the file is not found otherwise.
    type: str
  handout_file:
    description:
      - An HTML page on the controller to print and to cut into cards, one for each user, with the endpoint, the key,
        its models, when it ends, a QR code, and commands that try the key. It loads nothing from the network.
        Only its owner can read it. It is updated when keys change, and deleted with the last key. The directory must
        exist.
      - Its path is saved, and a former page deleted, as described for O(keys_file). Without saved user data, set the
        option in every task, also to destroy the keys, because the page is not found otherwise.
      - It needs the Python package C(segno) on the controller. Without it, a task that does not set the option
        deletes a page that is out of date, and warns.
    type: str
  handover_host:
    description: The host of O(env_file) and O(profile_file). It is returned in RV(handover).
    type: str
  env_file:
    description:
      - A file that the environment variables of the key are written to. The action does not write the file itself, but
        returns its content in RV(handover).
      - If the file is on the controller, a relative path starts at the current directory, and the path is saved in the
        user data. Without O(env_file), O(profile_file) and O(secret_name), a key that is replaced or deleted is then
        returned in RV(handover) for this file, if the file still exists. The same is true for O(profile_file).
      - The placeholder V({user}) is replaced by the name of the user, also in the other options for files and Secrets.
    type: str
  env_file_owner:
    description: The owner of O(env_file).
    type: str
  profile_file:
    description: A shell profile that exports the environment variables of the key. It is returned in RV(handover).
    type: str
  profile_group:
    description: The group that can read O(profile_file).
    type: str
  secret_name:
    description:
      - The name of a Kubernetes Secret that contains the environment variables of the key. It is returned in
        RV(handover).
    type: str
  secret_namespace:
    description: The namespace of the Secret.
    type: str
  delete_method:
    description:
      - How O(operation=destroy) selects the keys. V(by_alias) deletes the keys of the environment. V(by_key_id) deletes
        the single key with the id O(key_id).
    type: str
    choices: [by_alias, by_key_id]
    default: by_alias
  key_id:
    description: The id of the key to delete if O(delete_method=by_key_id).
    type: str
  force_db_delete:
    description:
      - Whether O(operation=destroy) succeeds even if LiteLLM did not delete some of the keys. In this case, delete the
        database rows of the keys in RV(not_deleted), for example with
        M(rhpds.litellm_virtual_keys.litellm_key_row).
    type: bool
    default: false
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.agnosticd_user_info
  - name: Extend and pause
    description: How to extend and block the keys of an environment.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/extend_and_pause.html
  - name: Facts and user data
    description: The names of all facts and user data.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/facts_and_user_data.html
attributes:
  check_mode:
    description: Predicts the changes without making them.
    support: full
  diff_mode:
    description: Returns each key before and after the change, without its secret.
    support: full
  idempotent:
    description:
      - A second run with the same options changes nothing, except with O(regenerate=always), O(extend_by) or
        O(operation=rotate).
    support: partial
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
notes:
  - If the result contains a secret, Ansible hides it from the output. Register the result.
  - User data is saved with C(agnosticd.core.agnosticd_user_info), including its C(module_defaults), if the
    collection is installed. Otherwise, this action writes the same files in the directory C(output_dir).
"""

EXAMPLES = r"""
- name: Create the key of an environment
  rhpds.litellm_virtual_keys.litellm_environment:
    guid: user123
    models: [openai/granite-3-2-8b-instruct]
    duration: 7d
  register: lab

- name: Create virtkey-user124-user1 to virtkey-user124-user20 for the users of a workshop
  rhpds.litellm_virtual_keys.litellm_environment:
    guid: user124
    multi_user: true
    user_count: 20
    models: [openai/granite-3-2-8b-instruct]
    duration: 1d
    max_budget: 5
    settings:
      rpm_limit: 60

- name: Extend the keys of the workshop to two days after their creation
  rhpds.litellm_virtual_keys.litellm_environment:
    operation: extend
    guid: user124
    runtime: 48

- name: Let all keys of the workshop spend 100 US dollars together
  rhpds.litellm_virtual_keys.litellm_environment:
    guid: user124
    multi_user: true
    user_count: 20
    shared_budget: 100

- name: Replace the keys of the workshop that are older than 30 days, and let their secrets work for another day
  rhpds.litellm_virtual_keys.litellm_environment:
    operation: rotate_old
    guid: user124
    rotate:
      every: 30d
      overlap: 24h

- name: Delete all keys of the workshop
  rhpds.litellm_virtual_keys.litellm_environment:
    operation: destroy
    guid: user124
"""

RETURN = r"""
virtual_keys:
  description:
    - The keys, with the fields that M(rhpds.litellm_virtual_keys.litellm_key) returns. The key of a user also has the
      field C(user). With O(operation=status), each key has the fields C(status), C(problem), C(unreadable) and
      C(is_previous), as in M(rhpds.litellm_virtual_keys.litellm_key_info), and does not contain the secret.
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: dict
  sample: [{"key_alias": "virtkey-user123", "key": "sk-DHrMfs4TgkFoV0IrpOcQW1Yj8lQdHZ2b", "operation": "created"}]
operation:
  description:
    - The operation that was run. It is V(provision) for V(create), and V(destroy) for V(remove). It is empty if the
      action did nothing.
  returned: always
  type: str
  sample: provision
facts:
  description:
    - Facts to set with M(ansible.builtin.set_fact). Facts that do not apply are empty. The action does not set them
      itself, because Ansible would store the secrets in the fact cache.
  returned: on success, or if some keys failed and it is not empty
  type: dict
  sample: {"litellm_key_alias": "virtkey-user123"}
user_data:
  description:
    - The AgnosticD user data of the keys, including the secrets, in the form in which a lab guide reads them. Below
      C(users), they contain the data of each user. They are empty after O(operation=destroy) and O(operation=status).
  returned: on success, or if some keys failed and it is not empty
  type: dict
  sample: {"litellm_key_alias": "virtkey-user123"}
messages:
  description: Messages to show to the user with M(rhpds.litellm_virtual_keys.agnosticd_user_info).
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: str
  sample: ["LiteLLM API Endpoint: https://litellm.example.com/v1"]
report:
  description: Information for the operator, as a string or as the lines of a table. It can be empty.
  returned: on success, or if some keys failed and it is not empty
  type: raw
  sample: "Nothing is extended: the virtual keys already live that long, until 2026-11-30T08:00:00Z"
summary:
  description:
    - What a person at a terminal wants to know, as lines of text. It contains the secret of the key if the environment
      has a single user and O(display_key=true).
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: str
  sample: ["Created virtual key virtkey-user123", "End: 2026-11-30T08:00:00Z, in 7 days"]
handover:
  description:
    - The files and Secrets to write for each key, and the environment variables that they contain. An entry with
      C(state) V(absent) is to be removed instead. It is empty unless O(env_file), O(profile_file) or
      O(secret_name) is specified, now or in the run that wrote the file.
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: dict
  sample: []
not_deleted:
  description: The ids of the keys that still exist after LiteLLM was asked to delete them.
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: str
  sample: []
shared_budget:
  description:
    - The budget that all keys share, if O(shared_budget) is specified or keys of the environment are in its team. It
      is empty otherwise, and after it was deleted.
  returned: on success, or if some keys failed and it is not empty
  type: dict
  contains:
    limit:
      description: The maximum spend of all keys together, in US dollars.
      type: float
    spent:
      description: What the keys have spent, in US dollars. LiteLLM updates it every few seconds to minutes.
      type: float
    left:
      description: What the keys can still spend, in US dollars.
      type: float
    duration:
      description: The interval after which the spend is reset. It is null if it is never reset.
      type: str
    resets_at:
      description: When the spend is reset next, in ISO 8601 format. It is null if it is never reset.
      type: str
    team_id:
      description: The LiteLLM team that holds the budget.
      type: str
  sample: {"limit": 100.0, "spent": 12.34, "left": 87.66, "duration": null, "resets_at": null, "team_id": "virtkey-a"}
delete_statement:
  description:
    - The SQL statement that deletes the rows of the keys in RV(not_deleted). It is empty if there are no such keys.
  returned: on success, or if some keys failed and it is not empty
  type: str
  sample: ""
follow_up:
  description: The names of the task files that the role must run next.
  returned: on success, or if some keys failed and it is not empty
  type: list
  elements: str
  sample: []
api_endpoint:
  description: The URL of the proxy.
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
  description: Each key before and after the change, without its secret.
  returned: in diff mode
  type: list
  elements: dict
  sample: []
"""
