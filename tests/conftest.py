# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prepare a test session, before any test module is imported.

Ansible's loader imports the collection, because it finds the plugins of no other. No test depends on the speed of the
machine, or on how the session was started.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig
from hypothesis import HealthCheck, settings

if AnsibleCollectionConfig.collection_finder is None:  # ansible-test has done so already
    init_plugin_loader()

# `make test` always runs the same examples: a commit passes or fails whenever it is tested. `make test-matrix` runs new
# ones.
settings.register_profile(
    "any machine",
    deadline=None,
    derandomize="TEST_MATRIX" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

# A shell that starts the session in the background makes it ignore SIGINT, and so would ansible-playbook.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add a failed test to the list that nox prints at the end."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ  # the main process reports the same
    if report.failed and "FAILED_TESTS" in os.environ and not is_worker:
        crash = getattr(report.longrepr, "reprcrash", None)
        reason = str(crash.message if crash else report.longrepr).partition("\n")[0]
        with Path(os.environ["FAILED_TESTS"]).open("a", encoding="utf-8") as failed:
            failed.write(f"  {report.nodeid}: {reason[:200]}\n")
