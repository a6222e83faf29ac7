# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CSV file with the keys of an environment: only for its owner, and only with the keys of this environment."""

from __future__ import annotations

import csv
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.keys_file import (
    check_keys_file,
    remove_keys_file,
    write_keys_file,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserDataError

URL = "https://proxy.example.com/v1"


def key(user: str | None, **more: Any) -> dict[str, Any]:
    return {"user": user, "key": f"sk-{user}", "models": ["a", "b"], "expires": "2026-12-24T18:00:00Z", **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.csv"


def test_the_file_lists_each_key_and_only_its_owner_can_read_it(path: Path) -> None:
    keys = [key("ann"), key("=bob", expires=None), key(None, models=None), key("lost", key=None)]
    assert write_keys_file(path, keys, URL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(csv.reader(path.open())) == [
        ["user", "key", "endpoint", "models", "expires"],
        ["ann", "sk-ann", URL, "a,b", "2026-12-24T18:00:00Z"],
        ["'=bob", "sk-=bob", URL, "a,b", "never"],
        ["", "sk-None", URL, "", "2026-12-24T18:00:00Z"],
    ]


def test_an_unchanged_file_is_not_written_again(path: Path) -> None:
    write_keys_file(path, [key("ann")], URL)
    assert not write_keys_file(path, [key("ann")], URL)
    path.chmod(0o644)
    assert write_keys_file(path, [key("ann")], URL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["user,key\nann,sk-ann\n", "a note", "user,key,endpoint,models,expires\na,b\n"])
def test_a_file_with_something_else_is_neither_overwritten_nor_removed(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(OptionError, match=r"^keys_file is .*keys.csv, which exists and contains something else"):
        check_keys_file(path, ["sk-ann"], "keys_file")
    assert not remove_keys_file(path, ["sk-ann"])
    assert path.read_text() == content


def test_the_keys_of_another_environment_are_neither_overwritten_nor_removed(path: Path) -> None:
    write_keys_file(path, [key("ann"), key("eve")], URL)
    with pytest.raises(OptionError, match="something else than the keys of this environment"):
        check_keys_file(path, ["sk-ann"], "keys_file")
    assert not remove_keys_file(path, ["sk-ann"])
    check_keys_file(path, ["sk-ann", "sk-eve"], "keys_file")
    check_keys_file(path, None, "keys_file")
    assert remove_keys_file(path, ["sk-ann", "sk-eve"])
    assert not remove_keys_file(path, [])


def test_a_file_that_cannot_be_written_is_refused(path: Path) -> None:
    check_keys_file(path, [], "keys_file")
    with pytest.raises(OptionError, match=r"^keys_file is .*/missing/keys.csv, but the directory .*/missing does not"):
        check_keys_file(path.parent / "missing" / "keys.csv", [], "keys_file")
    with pytest.raises(OptionError, match="which is a directory; name a file"):
        check_keys_file(path.parent, [], "keys_file")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of another user")
@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_another_user_planted_is_neither_written_nor_removed(path: Path, kind: str) -> None:
    precious = path.with_name("precious")
    write_keys_file(precious, [key("ann")], URL)
    before = precious.read_text()
    {
        "file": lambda: path.write_text(before),
        "link": lambda: path.symlink_to(precious),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(OptionError, match="which exists and contains something else"):
        check_keys_file(path, ["sk-ann"], "keys_file")
    with pytest.raises(UserDataError, match=f"^Cannot write {path}: {path} (belongs to another user|is )"):
        write_keys_file(path, [key("ann")], URL)
    assert not remove_keys_file(path, ["sk-ann"])
    assert precious.read_text() == before
    assert os.path.lexists(path)
