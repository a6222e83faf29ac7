# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What check_connection shows about a connection."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.connection import (
    summarize_connection,
)


def lines(
    url: str = "https://a.example", *, validates_certs: bool = True, models: tuple[str, ...] = ("m",)
) -> list[str]:
    return summarize_connection(
        url=url,
        sources={},
        validates_certs=validates_certs,
        version="1.106.2",
        models=models,
        versions={"Python": "3.12", "urllib3": "2.0"},
    )


@pytest.mark.parametrize(
    ("url", "validates_certs", "expected"),
    [
        ("https://a.example", True, "Proxy: https://a.example, encrypted"),
        ("https://a.example", False, "Proxy: https://a.example, encrypted, but the certificate is not validated"),
        ("http://a.example", True, "Proxy: http://a.example, not encrypted"),
    ],
)
def test_whether_the_connection_is_safe(url: str, validates_certs: bool, expected: str) -> None:
    assert lines(url, validates_certs=validates_certs)[0] == expected


def test_the_other_lines() -> None:
    assert lines()[1:] == [
        "LiteLLM: 1.106.2",
        "Key: accepted as an administrator's key; it sees all virtual keys",
        "Models (1): m",
        "Here: Python 3.12, urllib3 2.0",
    ]


def test_at_most_thirty_models_are_listed_and_names_are_printable() -> None:
    assert lines(models=tuple(map(str, range(32))))[3].endswith(", 29 and 2 more")
    assert lines(models=("a\x1b[31m",))[3] == "Models (1): a\\x1b[31m"
    assert lines(models=())[3] == "Models (0): none"
