# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the connection options that all plugins share. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    # For actions. They read the variables and the environment themselves, so both are only mentioned in the text.
    DOCUMENTATION = r"""
options:
  url:
    description:
      - The URL of the LiteLLM proxy, such as V(https://litellm.example.com). A trailing slash or V(/v1) is removed.
      - This option is required. If it is not specified, the variable C(litellm_url), the environment variable
        E(LITELLM_URL) and the environment variable E(LITELLM_PROXY_URL) are used, in this order.
      - With V(http://), all secrets are transmitted unencrypted. A warning is shown, unless the proxy runs on the
        controller.
    type: str
  master_key:
    description:
      - The master key of the proxy, or the key of a proxy administrator. It must start with V(sk-).
      - The key of an internal user, or a virtual key, is refused, because LiteLLM lists only the keys of its user.
        The key of a C(proxy_admin_viewer) can only read keys.
      - This option is required. If it is not specified, the variable C(litellm_master_key), the environment variable
        E(LITELLM_MASTER_KEY) and the environment variable E(LITELLM_PROXY_API_KEY) are used, in this order.
      - In ad-hoc commands, use an environment variable, because ansible-core prints the arguments of a failed command.
    type: str
  validate_certs:
    description:
      - Whether to validate the TLS certificate of the proxy.
      - The variable C(litellm_validate_certs) or the environment variable E(LITELLM_VALIDATE_CERTS) can be used
        instead.
    type: bool
    default: true
  ca_path:
    description:
      - The path to a PEM file with the CA certificates to trust, instead of the system's CA certificates.
      - The variable C(litellm_ca_path) or the environment variable E(LITELLM_CA_PATH) can be used instead.
    type: path
  timeout:
    description:
      - The timeout for each request, in seconds.
      - The variable C(litellm_timeout) or the environment variable E(LITELLM_TIMEOUT) can be used instead.
    type: float
    default: 30
  retries:
    description:
      - The number of retries, with increasing delays, if the proxy is unreachable or busy. Before the action retries a
        change that the proxy may already have made, it queries the current state.
      - The variable C(litellm_retries) or the environment variable E(LITELLM_RETRIES) can be used instead.
    type: int
    default: 3
  concurrency:
    description:
      - The maximum number of parallel requests, from V(1) to V(64).
      - The variable C(litellm_concurrency) or the environment variable E(LITELLM_CONCURRENCY) can be used instead.
    type: int
    default: 8
requirements:
  - urllib3 1.26 or later on the controller
notes:
  - The environment variables can also be set with the C(environment) keyword of a task, block, role or play. The lookup
    reads only the environment of C(ansible-playbook), because Ansible does not pass C(environment) to lookups.
"""

    # For plugins whose options ansible-core resolves, including those from ansible.cfg. The plugin itself reads the
    # environment variables, so they are only mentioned in the text. ansible-core would use the last variable of an
    # env list and treat an empty variable as a value, so an empty LITELLM_URL would hide LITELLM_PROXY_URL and
    # ansible.cfg.
    PLUGINS = r"""
options:
  url:
    description:
      - The URL of the LiteLLM proxy, such as V(https://litellm.example.com). A trailing slash or V(/v1) is removed.
      - The environment variables E(LITELLM_URL) and E(LITELLM_PROXY_URL) can be used instead, in this order.
    type: str
    vars:
      - name: litellm_url
    ini:
      - section: litellm_virtual_keys
        key: url
  master_key:
    description:
      - The master key of the proxy, or the key of a proxy administrator. It must start with V(sk-).
      - The key of an internal user, or a virtual key, is refused, because LiteLLM lists only the keys of its user.
        The key of a C(proxy_admin_viewer) can only read keys.
      - The environment variables E(LITELLM_MASTER_KEY) and E(LITELLM_PROXY_API_KEY) can be used instead, in this order.
    type: str
    vars:
      - name: litellm_master_key
  validate_certs:
    description:
      - Whether to validate the TLS certificate of the proxy.
      - The environment variable E(LITELLM_VALIDATE_CERTS) can be used instead.
    type: bool
    default: true
    vars:
      - name: litellm_validate_certs
    ini:
      - section: litellm_virtual_keys
        key: validate_certs
  ca_path:
    description:
      - The path to a PEM file with the CA certificates to trust, instead of the system's CA certificates.
      - The environment variable E(LITELLM_CA_PATH) can be used instead.
    type: path
    vars:
      - name: litellm_ca_path
    ini:
      - section: litellm_virtual_keys
        key: ca_path
  timeout:
    description:
      - The timeout for each request, in seconds.
      - The environment variable E(LITELLM_TIMEOUT) can be used instead.
    type: float
    default: 30
    vars:
      - name: litellm_timeout
    ini:
      - section: litellm_virtual_keys
        key: timeout
  retries:
    description:
      - The number of retries, with increasing delays, if the proxy is unreachable or busy.
      - The environment variable E(LITELLM_RETRIES) can be used instead.
    type: int
    default: 3
    vars:
      - name: litellm_retries
    ini:
      - section: litellm_virtual_keys
        key: retries
  concurrency:
    description:
      - The maximum number of parallel requests, from V(1) to V(64).
      - The environment variable E(LITELLM_CONCURRENCY) can be used instead.
    type: int
    default: 8
    vars:
      - name: litellm_concurrency
    ini:
      - section: litellm_virtual_keys
        key: concurrency
requirements:
  - urllib3 1.26 or later on the controller
"""
