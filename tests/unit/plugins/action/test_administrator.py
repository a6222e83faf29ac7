# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key that does not see every key is refused before an empty listing is believed; one that does may be limited."""

from __future__ import annotations

import hashlib

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.fake_litellm import MASTER_KEY, Fault

COLLECTION = "rhpds.litellm_virtual_keys"
SECRET = "sk-the-secret-of-somebody"
KEY_ID = hashlib.sha256(SECRET.encode()).hexdigest()

CALLS = {
    "provision": ("litellm_environment", {"guid": "abc"}),
    "provision users": ("litellm_environment", {"guid": "abc", "users": ["a", "b"]}),
    **{
        operation: ("litellm_environment", {"guid": "abc", "operation": operation, "block_on_stop": True})
        for operation in ("destroy", "stop", "start", "status")
    },
    "extend": ("litellm_environment", {"guid": "abc", "operation": "extend", "runtime": 24}),
    "destroy by id": (
        "litellm_environment",
        {"guid": "abc", "operation": "destroy", "delete_method": "by_key_id", "key_id": KEY_ID},
    ),
    "present": ("litellm_key", {"guid": "abc"}),
    "absent": ("litellm_key", {"guid": "abc", "state": "absent"}),
    "absent by id": ("litellm_key", {"key_id": KEY_ID, "state": "absent"}),
    "info of all": ("litellm_key_info", {}),
    "info of one": ("litellm_key_info", {"guid": "abc"}),
    "info by id": ("litellm_key_info", {"key_id": KEY_ID}),
}


@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check mode"])
@pytest.mark.parametrize(("name", "arguments"), CALLS.values(), ids=CALLS)
def test_the_key_of_a_user_is_refused(run_action, proxy, tmp_path, name, arguments, check_mode):
    proxy.add("virtkey-abc", SECRET, metadata={"guid": "abc"})
    proxy.caller = "me"
    variables = {
        "litellm_url": proxy.url,
        "litellm_master_key": "sk-the-master-key-of-the-fake",
        "output_dir": str(tmp_path),
    }
    result = run_action(f"{COLLECTION}.{name}", arguments, variables=variables, check_mode=check_mode)
    assert (result.get("failed"), result["changed"]) == (True, False)
    assert result["msg"] == (
        f"{proxy.url} does not accept litellm_master_key as an administrator's key (403): it does not see all keys; "
        "pass the master key of the proxy, or a key of a user with the role proxy_admin"
    )
    assert {request for request, _params in proxy.requests} == {"GET /key/list"}
    assert proxy.aliases() == ["virtkey-abc"]


def test_a_transient_error_is_retried(run_action, proxy):
    proxy.add("virtkey-abc", SECRET)
    proxy.fault("GET /key/list", Fault("status", 503))
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "litellm_retries": 1}
    result = run_action(f"{COLLECTION}.litellm_key_info", {"guid": "abc"}, variables=variables)
    assert [key["key_alias"] for key in result["virtual_keys"]] == ["virtkey-abc"]


@pytest.mark.parametrize("name", ["litellm_key", "litellm_environment", "litellm_key_info"])
def test_a_key_that_may_not_list_keys_is_refused(run_action, proxy, tmp_path, name):
    proxy.allowed_routes = ("/v1/models",)
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY, "output_dir": str(tmp_path)}
    result = run_action(f"{COLLECTION}.{name}", {"guid": "abc"}, variables=variables)
    assert result["msg"].startswith(f"{proxy.url} does not allow litellm_master_key to send GET /key/list (403)")
    assert {request for request, _params in proxy.requests} == {"GET /key/list"}


@pytest.mark.parametrize(
    ("on_unknown_models", "problem"), [("fail", "route, or set on_unknown_models: warn"), ("warn", ""), ("ignore", "")]
)
def test_a_key_that_may_not_list_models_suffices(run_action, proxy, on_unknown_models, problem):
    proxy.allowed_routes = ("/key/list", "/key/info", "/key/generate")
    variables = {"litellm_url": proxy.url, "litellm_master_key": MASTER_KEY}
    arguments = {"guid": "abc", "models": ["openai/granite-3-2-8b-instruct"], "on_unknown_models": on_unknown_models}
    result = run_action(f"{COLLECTION}.litellm_key", arguments, variables=variables)
    assert result.get("msg", "").endswith(problem)
    assert proxy.aliases() == ([] if problem else ["virtkey-abc"])
    result = run_action(f"{COLLECTION}.litellm_proxy_info", {}, variables=variables)
    assert (result["changed"], result["models"]) == (False, None)
    assert result["summary"][3].startswith(
        f"Models: not listed: {proxy.url} does not allow litellm_master_key to send GET /v1/models (403), because "
    )
