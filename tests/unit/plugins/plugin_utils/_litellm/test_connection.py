# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a connection: how a URL is normalized, and which values are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._litellm.connection import Connection
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._litellm.servers import (
    MASTER_KEY,
    URL,
)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://litellm.example.com", "https://litellm.example.com"),
        ("https://litellm.example.com/", "https://litellm.example.com"),
        ("https://litellm.example.com/v1", "https://litellm.example.com"),
        ("https://litellm.example.com/v1/", "https://litellm.example.com"),
        ("https://litellm.example.com//v1//", "https://litellm.example.com"),
        ("HTTPS://litellm.example.com", "https://litellm.example.com"),
        (" https://litellm.example.com\n", "https://litellm.example.com"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000"),
        ("http://[::1]:4000/v1", "http://[::1]:4000"),
        ("https://example.com/litellm/v1", "https://example.com/litellm"),
        ("https://example.com/notv1", "https://example.com/notv1"),
        ("https://example.com/v1/litellm", "https://example.com/v1/litellm"),
    ],
)
def test_the_url_is_normalized(url: str, endpoint: str) -> None:
    assert Connection(url, MASTER_KEY).url == endpoint


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"url": ""}, "url is not set; set the option, the variable litellm_url or the environment"),
        ({"url": None}, "url is not set"),
        ({"url": "litellm.example.com"}, "url 'litellm.example.com' is invalid; it must look like https://"),
        ({"url": "litellm.example.com:4000"}, "url 'litellm.example.com:4000' is invalid"),
        ({"url": "ftp://litellm.example.com"}, "url 'ftp://litellm.example.com' is invalid"),
        ({"url": "https://"}, "url 'https://' is invalid"),
        ({"url": "https:///v1"}, "url 'https:///v1' is invalid"),
        ({"url": "https://example.com:99999"}, "is invalid: Port out of range"),
        ({"url": "https://[::1"}, "url 'https://[::1' is invalid"),
        ({"url": f"{URL}?a=b"}, "must end with the host or a path"),
        ({"url": f"{URL}/#/ui"}, "must end with the host or a path"),
        ({"master_key": ""}, "master_key is not set; set the option, the variable litellm_master_key or the env"),
        ({"master_key": None}, "master_key is not set"),
        ({"master_key": "hidden"}, "master_key must start with 'sk-': pass the key itself, not its hash"),
        ({"master_key": "sk-hidden key"}, "master_key must be printable ASCII without spaces"),
        ({"master_key": "sk-hidden\n"}, "master_key must be printable ASCII without spaces"),
        ({"master_key": "sk-hidden\u2026"}, "master_key must be printable ASCII without spaces"),
        ({"timeout": 0.0}, "timeout is 0; it must be more than 0 and at most"),
        ({"timeout": -1.5}, "timeout is -1.5; it must be more than 0"),
        ({"timeout": float("nan")}, "timeout is nan; it must be more than 0"),
        ({"timeout": float("inf")}, "timeout is inf; it must be more than 0 and at most"),
        ({"retries": -1}, "retries is -1; it must be 0 or more"),
        ({"concurrency": 0}, "concurrency is 0; it must be 1 to 64"),
        ({"concurrency": 65}, "concurrency is 65; it must be 1 to 64"),
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path is '/nowhere/ca.pem', which is not a file"),
        ({"ca_path": "/"}, "ca_path is '/', which is not a file"),
    ],
)
def test_an_invalid_option_is_named_with_the_reason(options: dict[str, Any], why: str) -> None:
    with pytest.raises(OptionError, match=re.escape(why)) as error:
        Connection(**{"url": URL, "master_key": MASTER_KEY, **options})
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://admin:hidden@litellm.example.com",
        "https://hidden@litellm.example.com",
        "https://admin:hid/hidden@litellm.example.com",
        "admin:hidden@litellm.example.com",
        "ftp://admin:hidden@litellm.example.com",
    ],
)
def test_credentials_in_the_url_are_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(OptionError, match=r"^url must not contain credentials; pass the master key as master_key$"):
        Connection(url, MASTER_KEY)


def test_a_repr_does_not_show_the_master_key() -> None:
    assert MASTER_KEY not in repr(Connection(URL, MASTER_KEY))
