# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests of this package."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys import reconcile
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import FakeLiteLLM


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(reconcile, "_pause", lambda attempt: None)


@pytest.fixture
def proxy():
    with FakeLiteLLM().running() as fake:
        yield fake


@pytest.fixture
def predecessor(proxy):
    """Add a key to replace, and return its id."""
    return proxy.add(
        "virtkey-abc", models=["gpt-4o"], metadata={"a": 1, "tags": ["x"]}, max_budget=9.0, spend=2.5,
        expires=(proxy.now() + timedelta(days=3)).isoformat(), age=timedelta(days=1),
    )  # fmt: skip
