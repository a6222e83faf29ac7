# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test a proxy that generates all secrets itself, limits key settings, and serves wildcards and access groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Ansible, Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import HERE, operation, run_tasks, sandbox


@pytest.fixture(scope="module")
def proxy(release: str) -> Iterator[Proxy]:
    with sandbox("strict", "--litellm-version", release, "--config", str(HERE / "strict.yaml")) as started:
        yield started


def test_values_filled_in_by_the_proxy_are_not_drift(ansible: Ansible, proxy: Proxy):
    first, again, lowered, unchanged = run_tasks(
        ansible, {"guid": "filled"}, {"guid": "filled"}, {"guid": "filled", "max_budget": 50}, {"guid": "filled"}
    )
    assert [operation(one) for one in (first, again, lowered, unchanged)] == [
        "created",
        "unchanged",
        "updated",
        "unchanged",
    ]
    assert first["virtual_key"]["duration"] == "30d"
    assert first["virtual_key"]["max_budget"] == 100
    row = proxy.row("virtkey-filled")
    assert (row["max_budget"], row["tpm_limit"]) == (50, 1000)


@pytest.mark.parametrize("guid", ["new", "existing"])
def test_values_over_the_upper_bound_fail_with_the_reason(ansible, proxy, guid):
    if guid == "existing":
        run_tasks(ansible, {"guid": guid, "duration": "7d", "max_budget": 7})
    before = proxy.rows(f"virtkey-{guid}")
    longer, more = run_tasks(ansible, {"guid": guid, "duration": "60d"}, {"guid": guid, "max_budget": 500})
    assert "duration is over max limit" in longer["msg"]
    assert "max_budget is over max limit" in more["msg"]
    assert [operation(one) for one in (longer, more)] == ["failed", "failed"]
    assert proxy.rows(f"virtkey-{guid}") == before


def test_the_proxy_generates_the_secret_if_custom_keys_are_disabled(ansible, proxy):
    created, again, known = run_tasks(
        ansible, {"guid": "made"}, {"guid": "made"}, {"guid": "made", "key": "{{ step[0].virtual_key.key }}"}
    )
    key = created["virtual_key"]
    assert (key["operation"], key["key_source"]) == ("created", "server")
    assert key["key_id"] == hashlib.sha256(key["key"].encode()).hexdigest() == proxy.row("virtkey-made")["token"]
    assert proxy.chat(key["key"], "granite-3-2-8b-instruct") == 200
    assert (operation(again), again["virtual_key"]["key"]) == ("unchanged", None)
    assert (operation(known), known["virtual_key"]["key"]) == ("unchanged", key["key"])


def test_a_custom_secret_fails_with_the_reason(ansible, proxy):
    given, derived = run_tasks(
        ansible,
        {"guid": "own", "key": "sk-chosen-by-the-tests"},
        {"guid": "own", "key_seed": "a seed of exactly 32 characters."},
    )
    for result, option in ((given, "key"), (derived, "key_seed")):
        assert f"cannot be created with {option}, because the proxy accepts only secrets" in result["msg"]
        assert "disable_custom_api_keys" in result["msg"]
    assert proxy.rows("virtkey-own") == []


def test_regenerate_uses_a_secret_from_the_proxy(ansible, proxy):
    settings = {"guid": "anew", "max_budget": 7, "duration": "7d", "metadata": {"seat": 1}}
    created, unrecoverable, always, impossible = run_tasks(
        ansible,
        settings,
        {"guid": "anew", "regenerate": "if_unrecoverable"},
        {"guid": "anew", "regenerate": "always"},
        {"guid": "anew", "regenerate": "always", "key": "sk-chosen-by-the-tests"},
    )
    assert [operation(one) for one in (created, unrecoverable, always)] == ["created", "regenerated", "regenerated"]
    keys = [one["virtual_key"]["key"] for one in (created, unrecoverable, always)]
    assert [proxy.chat(key, "granite-3-2-8b-instruct") for key in keys] == [401, 401, 200]
    assert "disable_custom_api_keys" in impossible["msg"]
    row = proxy.row("virtkey-anew")
    assert (row["max_budget"], row["metadata"]["seat"]) == (7, 1)
    ends = [datetime.fromisoformat(one["virtual_key"]["expires"]) for one in (created, always)]
    assert abs(ends[1] - ends[0]) < timedelta(minutes=1)
    assert proxy.rows("virtkey-anew.replacement") == []


def test_many_keys_in_one_task(ansible, proxy):
    (many,) = run_tasks(ansible, {"virtual_keys": [{"guid": f"many-{number}"} for number in range(30)]})
    keys = many["virtual_keys"]
    assert {key["key_source"] for key in keys} == {"server"}
    assert all(proxy.row(key["key_alias"])["token"] == key["key_id"] for key in keys)
    assert all(hashlib.sha256(key["key"].encode()).hexdigest() == key["key_id"] for key in keys)


@pytest.mark.parametrize(
    ("name", "requested_model"),
    [
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("openai/tomorrows-model", "openai/tomorrows-model"),
        ("openai/*", "openai/gpt-4o"),
        ("gpt-4o", "gpt-4o"),
        ("workshop-models", "granite-3-2-8b-instruct"),
        ("all-proxy-models", "granite-3-2-8b-instruct"),
    ],
)
def test_an_accepted_model_name_is_usable(ansible, proxy, name, requested_model):
    guid = name.replace("*", "all").replace("/", "-")
    (created,) = run_tasks(ansible, {"guid": guid, "models": [name]})
    assert operation(created) == "created", created["msg"]
    assert proxy.chat(created["virtual_key"]["key"], requested_model) == 200


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("granite-3-2-8b", "granite-3-2-8b-instruct"),
        ("workshop-model", "workshop-models"),
        ("anthropic/claude", ""),
        ("tomorrows-model", ""),
    ],
)
def test_an_unusable_model_name_is_rejected(ansible, proxy, name, nearest):
    (refused,) = run_tasks(ansible, {"guid": "unknown", "models": ["openai/gpt-4o", name]})
    assert f"refers to unknown models: '{name}'" in refused["msg"]
    assert nearest in refused["msg"]
    assert proxy.rows("virtkey-unknown") == []
    (created,) = run_tasks(ansible, {"guid": "unknown", "models": [name], "on_unknown_models": "ignore"})
    assert proxy.chat(created["virtual_key"]["key"], name) != 200
    proxy.delete("virtkey-unknown")
