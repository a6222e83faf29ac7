# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents are parsed in a limited time, whatever they contain."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import documents
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.documents import (
    MAX_BYTES,
    DocumentError,
    format_document,
    format_list,
    parse,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.unit.plugins.plugin_utils._environment.outcomes import (
    DICTIONARIES,
)
from hypothesis import given

INVALID = "is not valid YAML; repair it or move it away"
LAUGHS = "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 20)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "\n".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 20)}]}}"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(documents, "_Loader", yaml.SafeLoader)
        monkeypatch.setattr(documents, "_Dumper", yaml.SafeDumper)


@given(DICTIONARIES)
def test_a_formatted_document_is_parsed_unchanged(data: dict[str, Any]) -> None:
    assert parse(format_document(data).encode()) == data
    assert parse(format_list([data]).encode()) == [data]


def test_shared_parts_are_allowed() -> None:
    """PyYAML writes an alias for each list that occurs twice, as the models of several users do."""
    models = ["a", "b"]
    data = {"users": {user: {"models": models} for user in ("ann", "bob", "eve")}}
    text = format_document(data)
    assert "*id001" in text
    assert parse(text.encode()) == data


def test_many_users_are_allowed() -> None:
    data = {"users": {f"user{number}": {f"name{one}": "value" for one in range(20)} for number in range(200)}}
    assert parse(format_document(data).encode()) == data


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &a [1, *a]", "contains an alias of a part that contains the alias; repair it or move it away"),
        ("a: &a {b: {c: *a}}", "contains an alias of a part that contains the alias; repair it or move it away"),
        ("&a [*a]", "contains an alias of a part that contains the alias; repair it or move it away"),
        (f"a: &a [1, 2]\n{LAUGHS}", "has more than 2000000 values; repair it or move it away"),
        (f"a: &a {{x: 1}}\n{MERGES}", "has more than 2000000 values; repair it or move it away"),
        ("[" * 60 + "]" * 60, "is nested more than 50 levels deep; repair it or move it away"),
        ("- " * 60 + "a", "is nested more than 50 levels deep; repair it or move it away"),
        ("a: " + "1" * 5000, "contains a number of more than 1000 digits; repair it or move it away"),
        ("a: " + "1:" * 5000 + "1", "contains a number of more than 1000 digits; repair it or move it away"),
        ("a: -0x" + "f" * 5000, "contains a number of more than 1000 digits; repair it or move it away"),
        ("*a", INVALID),
        ("a: 2026-99-99", INVALID),
        ("a: !!int x", INVALID),
        ("a: !!python/object:os.system x", INVALID),
        ("? [a]\n: 1", INVALID),
        ("a: [", INVALID),
        ("\0", INVALID),
        ("--- 1\n--- 2", INVALID),
        ("<<: 1", INVALID),
        ("!!set [1]", INVALID),
        ("!!timestamp x", INVALID),
    ],
    ids=lambda value: value[:20],
)
def test_what_cannot_be_used_is_refused_at_once(text: str, problem: str) -> None:
    before = time.process_time()  # the machine may be busy
    with pytest.raises(DocumentError) as failed:
        parse(text.encode())
    assert str(failed.value) == problem
    assert time.process_time() - before < 5


def test_text_of_digits_is_allowed() -> None:
    assert parse(b"a: '" + b"1" * 5000 + b"'") == {"a": "1" * 5000}


def test_text_in_another_encoding_is_refused() -> None:
    with pytest.raises(DocumentError, match=f"^{INVALID}$"):
        parse("ä".encode("latin-1"))


def test_a_deep_document_of_the_maximum_size_is_refused_at_once() -> None:
    before = time.process_time()  # the machine may be busy
    with pytest.raises(DocumentError):
        parse(b"[" * MAX_BYTES)
    assert time.process_time() - before < 5
