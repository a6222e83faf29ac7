# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files with the keys of an environment: only for their owner, and only with the keys of this environment."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment import key_lists
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.key_lists import (
    KeyList,
    difference_of_list,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import LISTS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserDataError

URL = "https://proxy.example.com/v1"


def key(user: str | None, **more: Any) -> dict[str, Any]:
    return {"user": user, "key": f"sk-{user}", "models": ["a", "b"], "expires": "2026-12-24T18:00:00Z", **more}


def ids(*users: str) -> set[str]:
    return {hashlib.sha256(f"sk-{user}".encode()).hexdigest() for user in users}


@pytest.fixture(params=LISTS)
def listing(request: pytest.FixtureRequest, tmp_path: Path) -> KeyList:
    return KeyList(request.param, tmp_path / "keys")


def test_the_csv_file_has_a_row_for_each_key(tmp_path: Path) -> None:
    keys = [key("ann"), key("=bob", expires=None), key(None, models=None), key("lost", key=None)]
    assert KeyList("keys_file", tmp_path / "keys.csv").write(keys, URL)
    assert list(csv.reader((tmp_path / "keys.csv").open())) == [
        ["user", "key", "endpoint", "models", "expires"],
        ["ann", "sk-ann", URL, "a,b", "2026-12-24T18:00:00Z"],
        ["'=bob", "sk-=bob", URL, "a,b", "never"],
        ["", "sk-None", URL, "", "2026-12-24T18:00:00Z"],
    ]


def test_an_unchanged_file_is_not_written_again_and_only_its_owner_can_read_it(listing: KeyList) -> None:
    assert listing.write([key("ann")], URL, check_mode=True)
    assert not listing.path.exists()
    assert listing.write([key("ann")], URL)
    assert stat.S_IMODE(listing.path.stat().st_mode) == 0o600
    for check_mode in (True, False):
        assert not listing.write([key("ann")], URL, check_mode=check_mode)
    listing.path.chmod(0o644)
    assert listing.write([key("ann")], URL)
    assert stat.S_IMODE(listing.path.stat().st_mode) == 0o600
    assert listing.key_ids() == ids("ann")


@pytest.mark.parametrize(
    "content",
    [
        *("", "user,key\nann,sk-ann\n", "a note", "user,key,endpoint,models,expires\na,b\n", "a\0b,\n", "\udcff"),
        f'<meta name="rhpds.litellm_virtual_keys" content="">\n<!-- sha256 {"0" * 64} -->\n',
    ],
)
def test_a_file_with_something_else_is_neither_overwritten_nor_removed(listing: KeyList, content: str) -> None:
    listing.path.write_text(content, errors="surrogateescape")
    with pytest.raises(OptionError, match=r"^the_option is .*keys, which exists and contains something else"):
        listing.check(ids("ann"), "the_option")
    assert not listing.remove(ids("ann"))
    assert listing.path.read_text(errors="surrogateescape") == content


def test_a_page_that_somebody_has_edited_is_something_else(tmp_path: Path) -> None:
    listing = KeyList("handout_file", tmp_path / "handout.html")
    listing.write([key("ann")], URL)
    listing.path.write_text(listing.path.read_text().replace("<main>", "<main><p>The room has Wi-Fi.</p>"))
    with pytest.raises(OptionError, match="which exists and contains something else"):
        listing.check(ids("ann"), "handout_file")
    assert not listing.remove(ids("ann"))


def test_the_keys_of_another_environment_are_neither_overwritten_nor_removed(listing: KeyList) -> None:
    listing.write([key("ann"), key("eve")], URL)
    with pytest.raises(OptionError, match="something else than the keys of this environment"):
        listing.check(ids("ann"), listing.option)
    assert not listing.remove(ids("ann"))
    listing.check(ids("ann", "eve"), listing.option)
    listing.check(None, listing.option)
    assert listing.remove(ids("ann", "eve"))
    assert not listing.remove(())


def test_a_file_that_cannot_be_written_is_refused(listing: KeyList) -> None:
    listing.check((), listing.option)
    missing = KeyList(listing.option, listing.path.parent / "missing" / "keys")
    with pytest.raises(OptionError, match=r"^.*_file is .*/missing/keys, but the directory .*/missing does not exist$"):
        missing.check((), listing.option)
    with pytest.raises(OptionError, match="which is a directory; name a file"):
        KeyList(listing.option, listing.path.parent).check((), listing.option)
    with pytest.raises(UserDataError, match=r"^Cannot write .*missing"):
        missing.write([key("ann")], URL)


def test_the_difference_contains_the_ids_of_the_keys_only(tmp_path: Path) -> None:
    assert difference_of_list(tmp_path / "keys", ids("ann"), ids("bob")) == {
        "before_header": str(tmp_path / "keys"),
        "after_header": str(tmp_path / "keys"),
        "before": {"key_ids": [*ids("ann")]},
        "after": {"key_ids": [*ids("bob")]},
    }


def test_without_the_library_for_qr_codes_only_the_page_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_lists, "find_spec", lambda name: None)
    assert KeyList("keys_file", tmp_path / "keys.csv").write([key("ann")], URL)
    with pytest.raises(UserDataError, match=r"^Cannot write .*: it needs the Python package segno for its QR codes"):
        KeyList("handout_file", tmp_path / "handout.html").write([key("ann")], URL)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of another user")
@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_another_user_planted_is_neither_written_nor_removed(listing: KeyList, kind: str) -> None:
    path, precious = listing.path, listing.path.with_name("precious")
    KeyList(listing.option, precious).write([key("ann")], URL)
    before = precious.read_text()
    {
        "file": lambda: path.write_text(before),
        "link": lambda: path.symlink_to(precious),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    os.chown(path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(OptionError, match="which exists and contains something else"):
        listing.check(ids("ann"), listing.option)
    with pytest.raises(UserDataError, match=f"^Cannot write {path}: {path} (belongs to another user|is )"):
        listing.write([key("ann")], URL)
    assert not listing.remove(ids("ann"))
    assert precious.read_text() == before
    assert os.path.lexists(path)
