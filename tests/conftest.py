# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prepare a test session, before any test module is imported.

Ansible's loader imports the collection, because it finds the plugins of no other. No test depends on the speed of the
machine, or on how the session was started.
"""

from __future__ import annotations

import signal

from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig
from hypothesis import HealthCheck, settings

if AnsibleCollectionConfig.collection_finder is None:  # ansible-test has done so already
    init_plugin_loader()

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell that starts the session in the background makes it ignore SIGINT, and so would ansible-playbook.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
