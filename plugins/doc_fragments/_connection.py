# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options by which every plugin reaches the proxy. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    # For actions: the environment and the variables are named in the text.
    DOCUMENTATION = r"""
options:
  url:
    description:
      - The address of the LiteLLM proxy, like V(https://litellm.example.com). A trailing slash or V(/v1) is taken off.
      - Required. If it is not given, the variable C(litellm_url), and then the environment variables E(LITELLM_URL)
        and E(LITELLM_PROXY_URL) are used.
      - With V(http:) everybody on the way can read all secrets. There is a warning, unless the proxy is on the machine
        where Ansible runs.
    type: str
  master_key:
    description:
      - The master key of the proxy, or the key of one of its administrators. It starts with V(sk-).
      - Required. If it is not given, the variable C(litellm_master_key), and then the environment variables
        E(LITELLM_MASTER_KEY) and E(LITELLM_PROXY_API_KEY) are used.
      - With ad-hoc commands use the environment, because ansible-core itself prints the arguments of a failed command.
    type: str
  validate_certs:
    description:
      - Whether the certificate of the proxy is checked.
      - Also the variable C(litellm_validate_certs) and the environment variable E(LITELLM_VALIDATE_CERTS).
    type: bool
    default: true
  ca_path:
    description:
      - A file with the certificates of the authorities to trust, in PEM format, in place of the system's.
      - Also the variable C(litellm_ca_path) and the environment variable E(LITELLM_CA_PATH).
    type: path
  timeout:
    description:
      - How many seconds one request may take.
      - Also the variable C(litellm_timeout) and the environment variable E(LITELLM_TIMEOUT).
    type: float
    default: 30
  retries:
    description:
      - How often a request is repeated, after a pause that grows, when the proxy cannot be reached or is busy.
        What may have happened is not repeated blindly. The proxy is asked first.
      - Also the variable C(litellm_retries) and the environment variable E(LITELLM_RETRIES).
    type: int
    default: 3
  concurrency:
    description:
      - How many requests are under way at the same time, from V(1) to V(64).
      - Also the variable C(litellm_concurrency) and the environment variable E(LITELLM_CONCURRENCY).
    type: int
    default: 8
requirements:
  - urllib3 1.26 or later, where Ansible runs
"""

    # For plugins that ansible-core itself gives their options, from ansible.cfg too. The environment is named in the
    # text and read by the plugin: ansible-core takes the last variable of a list, and an empty one for a value, so
    # that a LITELLM_URL that is empty would hide LITELLM_PROXY_URL and ansible.cfg.
    PLUGINS = r"""
options:
  url:
    description:
      - The address of the LiteLLM proxy, like V(https://litellm.example.com). A trailing slash or V(/v1) is taken off.
      - Also the environment variables E(LITELLM_URL) and then E(LITELLM_PROXY_URL).
    type: str
    vars:
      - name: litellm_url
    ini:
      - section: litellm_virtual_keys
        key: url
  master_key:
    description:
      - The master key of the proxy, or the key of one of its administrators. It starts with V(sk-).
      - Also the environment variables E(LITELLM_MASTER_KEY) and then E(LITELLM_PROXY_API_KEY).
    type: str
    vars:
      - name: litellm_master_key
  validate_certs:
    description:
      - Whether the certificate of the proxy is checked.
      - Also the environment variable E(LITELLM_VALIDATE_CERTS).
    type: bool
    default: true
    vars:
      - name: litellm_validate_certs
    ini:
      - section: litellm_virtual_keys
        key: validate_certs
  ca_path:
    description:
      - A file with the certificates of the authorities to trust, in PEM format, in place of the system's.
      - Also the environment variable E(LITELLM_CA_PATH).
    type: path
    vars:
      - name: litellm_ca_path
    ini:
      - section: litellm_virtual_keys
        key: ca_path
  timeout:
    description:
      - How many seconds one request may take.
      - Also the environment variable E(LITELLM_TIMEOUT).
    type: float
    default: 30
    vars:
      - name: litellm_timeout
    ini:
      - section: litellm_virtual_keys
        key: timeout
  retries:
    description:
      - How often a request is repeated, after a pause that grows, when the proxy cannot be reached or is busy.
      - Also the environment variable E(LITELLM_RETRIES).
    type: int
    default: 3
    vars:
      - name: litellm_retries
    ini:
      - section: litellm_virtual_keys
        key: retries
  concurrency:
    description:
      - How many requests are under way at the same time, from V(1) to V(64).
      - Also the environment variable E(LITELLM_CONCURRENCY).
    type: int
    default: 8
    vars:
      - name: litellm_concurrency
    ini:
      - section: litellm_virtual_keys
        key: concurrency
requirements:
  - urllib3 1.26 or later, where Ansible runs
"""
