# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_proxy_info`: what it finds out about a proxy, on releases that report their version or do not."""

from __future__ import annotations

import pytest
from ansible import release
from pytest_httpserver import HTTPServer

NAME = "rhpds.litellm_virtual_keys.litellm_proxy_info"
MASTER_KEY = "sk-the-master-key-of-a-proxy"


@pytest.fixture
def run(run_action, httpserver: HTTPServer):
    def run_task(**responses):
        httpserver.expect_request("/key/list").respond_with_json({"keys": [], "total_count": 0, "total_pages": 0})
        httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": "b"}, {"id": "a/*"}]})
        for path, body in responses.items():
            httpserver.expect_request(f"/health/{path.replace('_', '/')}").respond_with_json(body)
        variables = {"litellm_url": httpserver.url_for("/"), "litellm_master_key": MASTER_KEY, "litellm_retries": 0}
        return run_action(NAME, {}, variables=variables)

    return run_task


@pytest.mark.parametrize(
    ("responses", "version"),
    [
        ({"readiness_details": {"litellm_version": "1.106.2"}, "readiness": {"status": "healthy"}}, "1.106.2"),
        ({"readiness": {"litellm_version": "1.67.0"}}, "1.67.0"),
        ({"readiness": {"litellm_version": "main-v1.81.0-stable-custom"}}, "main-v1.81.0-stable-custom"),
        ({"readiness": {"status": "healthy"}}, None),
        ({"readiness_details": ["unexpected"], "readiness": {"litellm_version": 5}}, None),
        ({}, None),
    ],
)
def test_a_proxy_is_described(run, httpserver, responses, version):
    result = run(**responses)
    assert (result["changed"], result["litellm_version"], result["models"]) == (False, version, ["a/*", "b"])
    assert result["versions"]["ansible-core"] == release.__version__
    assert result["versions"]["rhpds.litellm_virtual_keys"].startswith("2.")
    url = httpserver.url_for("").rstrip("/")
    assert result["summary"][:4] == [
        f"Proxy: {url} (from litellm_url), not encrypted",
        f"LiteLLM: {version or 'the proxy does not report its version'}",
        "Key: accepted as an administrator's key (from litellm_master_key); it sees all virtual keys",
        "Models (2): a/*, b",
    ]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "url is not set; set the option, the variable litellm_url or the environment variable LITELLM_URL"),
        (
            {"litellm_playbook_name": "check_connection"},
            "litellm_url is not set; set the variable litellm_url or the environment variable LITELLM_URL",
        ),
        (
            {"litellm_playbook_name": "check_connection", "litellm_url": "https://proxy.example.com"},
            "litellm_master_key is not set; set the variable litellm_master_key or the environment variable "
            "LITELLM_MASTER_KEY",
        ),
    ],
    ids=str,
)
def test_a_playbook_names_the_variables_that_are_not_set(run_action, monkeypatch, variables, message):
    for name in ("LITELLM_URL", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert run_action(NAME, {}, variables=variables)["msg"] == message


def test_a_key_that_is_not_accepted_is_an_error(run_action, httpserver):
    httpserver.expect_request("/key/list").respond_with_json({"detail": "no"}, 401)
    variables = {"litellm_url": httpserver.url_for(""), "litellm_master_key": MASTER_KEY, "litellm_retries": 0}
    result = run_action(NAME, {}, variables=variables)
    assert result["msg"].endswith("does not accept the master key (401); check litellm_master_key")
