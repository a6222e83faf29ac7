# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test a proxy with default settings for new keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Ansible, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import HERE, operation, run_tasks, sandbox

GRANITE = "granite-3-2-8b-instruct"


@pytest.fixture(scope="module")
def proxy(release: str) -> Iterator[Proxy]:
    with sandbox("generous", "--litellm-version", release, "--config", str(HERE / "generous.yaml")) as started:
        yield started


def test_proxy_defaults_are_not_drift(ansible: Ansible, proxy: Proxy):
    first, again, merged, unchanged = run_tasks(
        ansible, {"guid": "one"}, {"guid": "one"}, {"guid": "one", "metadata": {"seat": 1}}, {"guid": "one"}
    )
    assert [operation(one) for one in (first, again, merged, unchanged)] == [
        "created",
        "unchanged",
        "updated",
        "unchanged",
    ]
    assert first["virtual_key"]["duration"] == "14d"
    row = proxy.row("virtkey-one")
    assert (row["models"], row["max_budget"], row["budget_duration"], row["tpm_limit"]) == ([GRANITE], 10, "30d", 500)
    assert row["metadata"] == {"from": "the proxy", "seat": 1}


def test_requested_settings_override_proxy_defaults(ansible, proxy):
    options = {"guid": "two", "max_budget": 5, "tpm_limit": 100, "duration": "30d", "metadata": {"seat": 1}}
    first, again = run_tasks(ansible, options, options)
    assert [operation(one) for one in (first, again)] == ["created", "unchanged"]
    row = proxy.row("virtkey-two")
    assert (row["max_budget"], row["tpm_limit"], row["budget_duration"]) == (5, 100, "30d")
    assert row["metadata"]["seat"] == 1
    assert first["virtual_key"]["duration"] == "30d"


def test_proxy_defaults_can_be_unset(ansible, proxy):
    """LiteLLM treats an empty value of a new key as missing, so the key is updated after its creation."""
    options = {"guid": "three", "models": [], "unset": ["max_budget", "budget_duration", "tpm_limit", "expires_at"]}
    first, again = run_tasks(ansible, options, options)
    assert [operation(one) for one in (first, again)] == ["created", "unchanged"]
    row = proxy.row("virtkey-three")
    assert [row[name] for name in ("models", "max_budget", "budget_duration", "tpm_limit", "expires")] == [
        [],
        None,
        None,
        None,
        None,
    ]
    assert proxy.chat(first["virtual_key"]["key"], GRANITE) == 200
