# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_row
short_description: Remove keys from the database of LiteLLM that it does not delete itself
version_added: 2.0.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Deletes the rows of these keys from the table C(LiteLLM_VerificationToken), by their id and by nothing else.
  - It is a last resort, for the keys that M(rhpds.litellm_virtual_keys.litellm_key) tells as C(not_deleted). LiteLLM
    may let such a key pass for another minute, because it remembers keys.
  - Needs PostgreSQL's client C(psql) where Ansible runs.
options:
  key_ids:
    description: The ids of the keys, each the SHA-256 of a secret.
    type: list
    elements: str
    required: true
  postgres_url:
    description:
      - The database, like V(postgresql://user:password@host:5432/litellm). Parameters of C(libpq) can follow a question
        mark.
      - The password is given to C(psql) in its environment, so that other users of the controller cannot see it.
    type: str
    required: true
  state:
    description: That the rows are to go.
    type: str
    choices: [absent]
    default: absent
  timeout:
    description: How many seconds the database may take.
    type: float
    default: 30
attributes:
  check_mode:
    description: Asks which of the rows there are, and leaves them.
    support: full
  diff_mode:
    description: The ids are returned.
    support: none
  idempotent:
    description: A row that is not there is nothing to do.
    support: full
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._attributes
"""

EXAMPLES = r"""
- name: Remove a key
  rhpds.litellm_virtual_keys.litellm_key:
    guid: user123
    state: absent
  register: removal
  failed_when: removal is failed and removal.not_deleted | default([]) | length == 0

- name: Remove its row where LiteLLM did not
  rhpds.litellm_virtual_keys.litellm_key_row:
    key_ids: "{{ removal.not_deleted }}"
    postgres_url: "{{ vaulted_postgres_url }}"
  when: removal.not_deleted | default([]) | length > 0
"""

RETURN = r"""
key_ids:
  description: The ids of the rows that were there.
  returned: success
  type: list
  elements: str
  sample: [87aa8ee6bb86da4b9ac4dcd6a2c8e7da0b5e5e8b7b9a42b0c3d1b9e3f1c44a3e]
"""
