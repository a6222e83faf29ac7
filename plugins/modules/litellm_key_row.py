# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_row
short_description: Delete rows of virtual keys from the database of a LiteLLM proxy
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Deletes the rows of virtual keys from the table C(LiteLLM_VerificationToken). Rows are selected by key id only.
  - This is a last resort for keys that M(rhpds.litellm_virtual_keys.litellm_key) returns in C(not_deleted). The proxy
    caches keys, so it can accept such a key for up to one more minute.
  - Requires the PostgreSQL client C(psql) on the controller.
options:
  key_ids:
    description: The ids of the keys. A key id is the SHA-256 hash of the secret.
    type: list
    elements: str
    required: true
  postgres_url:
    description:
      - The URL of the database, such as V(postgresql://user:password@host:5432/litellm). C(libpq) parameters can follow
        a question mark.
      - In the user and the password, write V(/) as V(%2F), V(@) as V(%40), V(%) as V(%25), and a space as V(%20).
      - The password is passed to C(psql) in the environment, so that other users of the controller cannot see it.
    type: str
    required: true
  state:
    description: The desired state of the rows.
    type: str
    choices: [absent]
    default: absent
  timeout:
    description: The time limit for the database statement, in seconds.
    type: float
    default: 30
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key
  - module: rhpds.litellm_virtual_keys.litellm_environment
attributes:
  check_mode:
    description: Selects the existing rows without deleting them.
    support: full
  diff_mode:
    description: Does not return a diff. RV(key_ids) lists the deleted rows.
    support: none
  idempotent:
    description: Rows that do not exist are ignored.
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
"""

EXAMPLES = r"""
- name: Delete a key
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    state: absent
  register: removal
  failed_when: removal is failed and removal.not_deleted | default([]) | length == 0

- name: Delete the row if LiteLLM did not delete it
  rhpds.litellm_virtual_keys.litellm_key_row:
    key_ids: "{{ removal.not_deleted }}"
    postgres_url: "{{ vaulted_postgres_url }}"
  when: removal.not_deleted | default([]) | length > 0
"""

RETURN = r"""
key_ids:
  description: The ids of the deleted rows. In check mode, the ids of the rows that exist.
  returned: success
  type: list
  elements: str
  sample: [87aa8ee6bb86da4b9ac4dcd6a2c8e7da0b5e5e8b7b9a42b0c3d1b9e3f1c44a3e]
"""
