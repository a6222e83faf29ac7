# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: litellm_key_report
short_description: Report on the virtual keys of a LiteLLM proxy
version_added: 2.1.0
author:
  - rhpds.litellm_virtual_keys contributors (@rhpds)
description:
  - Lists the keys of a proxy with their users, expiry, spend and findings, and the sums of each environment and of each
    user. A report never contains a secret.
  - The playbook C(rhpds.litellm_virtual_keys.report_keys) uses this action.
options:
  alias_prefix:
    description: Only keys whose alias starts with this prefix are reported. An empty string reports all keys.
    type: str
    default: virtkey-
  guid:
    description: Only the keys of this environment are reported.
    type: str
  ending_within:
    description:
      - Only the keys that expire within this duration are reported, such as V(3d). Keys that have expired are left out.
    type: raw
  sort:
    description: The order of the keys, V(end) for the earliest expiry first, or V(spend) for the highest spend first.
    type: str
    choices: [end, spend]
    default: end
  guids:
    description:
      - The guids of the existing environments. Keys of other environments are reported as orphaned, or as possibly
        orphaned if only their alias contains a guid. If not specified, orphaned keys are not detected.
      - A list, or a string in which the guids are separated by line breaks or commas. In a string, C(#) starts a
        comment. An empty list is an error.
      - Numbers are refused, because YAML changes numbers such as V(01234) and V(1_000). Quote guids of digits.
    type: raw
  guids_file:
    description:
      - A file on the controller with the guids of the existing environments, one on each line, in UTF-8 or, with a byte
        order mark, in UTF-16. C(#) starts a comment. These guids are added to O(guids).
    type: path
  soon:
    description: Keys that expire within this duration, such as V(36h) or V(2d), are reported as ending soon.
    type: raw
    default: 24h
  file:
    description:
      - The file on the controller to save the report to, readable by its owner only. It belongs to the user who runs
        Ansible, regardless of C(become). By default, the report is returned.
    type: path
  format:
    description:
      - The format of the report. By default, it depends on the extension of O(file), and is V(table) for any other
        extension. V(csv) and V(html) require O(file).
    type: str
    choices: [table, csv, json, html]
seealso:
  - module: rhpds.litellm_virtual_keys.litellm_key_info
  - plugin: rhpds.litellm_virtual_keys.keys_report
    plugin_type: filter
  - name: Report on keys
    description: How to report on the keys of a proxy, and what the findings mean.
    link: https://rhpds.github.io/rhpds.litellm_virtual_keys/docsite/report_on_keys.html
extends_documentation_fragment:
  - rhpds.litellm_virtual_keys._connection
  - rhpds.litellm_virtual_keys._attributes
  - rhpds.litellm_virtual_keys._attributes.actiongroup_litellm
attributes:
  check_mode:
    description: In check mode, the file is not written.
    support: full
  diff_mode:
    description: The differences between two reports are not shown.
    support: none
  idempotent:
    description: The keys are not changed. The file changes if they do, and all formats but CSV contain times.
    support: partial
"""

EXAMPLES = r"""
- name: Get a report on all keys
  rhpds.litellm_virtual_keys.litellm_key_report:
  register: report

- name: Show the report
  ansible.builtin.debug:
    msg: "{{ report.report }}"

- name: Save a page with the keys that expire within three days
  rhpds.litellm_virtual_keys.litellm_key_report:
    ending_within: 3d
    file: report.html

- name: Look for keys of former environments
  rhpds.litellm_virtual_keys.litellm_key_report:
    guids: [user123, user124]
  register: report

- name: Show how many there are
  ansible.builtin.debug:
    msg: "{{ report.summary }}"
  when: report.totals.orphaned > 0
"""

RETURN = r"""
report:
  description:
    - The lines of the table. If O(format=json), the report itself, which the filter
      P(rhpds.litellm_virtual_keys.keys_report#filter) describes.
  returned: success, if O(file) is not specified
  type: raw
  sample:
    - KEY               STATUS  ENDS            SPENT          USER             MODELS
    - virtkey-user123   active  in 6 days       4.10 of 10.00  ann@example.com  granite
file:
  description: The file that the report is saved to.
  returned: success, if O(file) is specified
  type: str
  sample: report.html
totals:
  description: The number of reported keys, of active keys and of keys with each finding, and the spend of all of them.
  returned: success
  type: dict
  sample: {"keys": 1, "active": 1, "expired": 0, "ends_soon": 0, "orphaned": 0, "spend": 4.1}
summary:
  description: The totals in one sentence.
  returned: success
  type: str
  sample: "1 virtual key: 1 active; 4.10 spent"
api_calls:
  description: The number of requests that were sent to the proxy.
  returned: success
  type: int
  sample: 4
"""
