# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file with what was sent: only for its owner, replaced atomically, and nothing that is in it stops the source."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError, UserError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.state import StateFile

URL = "https://proxy.example.com"
MARKS = {"1" * 64: frozenset({"blocked", "spent:80"}), "2" * 64: frozenset({"ended:2026-12-01T08:00:00Z"})}


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "state.json", URL)


def fail(text: str) -> None:
    pytest.fail(text)


def test_what_is_saved_is_loaded(state: StateFile) -> None:
    assert state.load(fail) is None
    state.save(MARKS)
    assert state.load(fail) == MARKS
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o600
    state.save({})
    assert state.load(fail) == {}
    assert [path.name for path in state.path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "null", "[]", "5", "\udcff", "[" * 100_000, '{"version": 1}'),
        *(json.dumps({"version": version, "url": URL, "keys": {}}) for version in (0, 2, "1", None)),
        *(json.dumps({"version": 1, "url": url, "keys": {}}) for url in (5, None)),
        *(f'{{"version": 1, "url": "{URL}", "keys": {keys}}}' for keys in ("null", "[]", '{"1": "x"}', '{"1": [5]}')),
    ],
    ids=lambda content: content[:40].encode("ascii", "replace").decode(),
)
def test_a_damaged_file_is_replaced_with_a_warning(state: StateFile, content: str) -> None:
    state.path.write_text(content, errors="surrogateescape")
    warnings: list[str] = []
    assert state.load(warnings.append) is None
    assert warnings == [f"state_file {state.path} is damaged, so events may be sent again"]
    state.save(MARKS)
    assert state.load(fail) == MARKS


def test_a_file_about_another_proxy_is_refused(state: StateFile) -> None:
    StateFile(state.path, "https://other.example.com").save(MARKS)
    with pytest.raises(OptionError) as caught:
        state.load(fail)
    assert str(caught.value) == (
        f"state_file {state.path} is about the keys of https://other.example.com; use another file for those of {URL}"
    )


def test_a_file_that_cannot_be_used_is_refused_at_the_start(state: StateFile) -> None:
    with pytest.raises(OptionError, match=r"but the directory .*/missing does not exist; create it first$"):
        StateFile(state.path.parent / "missing" / "state.json", URL).load(fail)
    with pytest.raises(OptionError, match=r"^state_file .* cannot be read: "):
        StateFile(state.path.parent, URL).load(fail)
    with pytest.raises(
        UserError, match=r"^state_file .* cannot be written, so events are sent again after a restart: "
    ):
        StateFile(state.path.parent / "missing" / "state.json", URL).save(MARKS)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to create files of another user")
@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_another_user_planted_is_refused(state: StateFile, kind: str) -> None:
    precious = state.path.with_name("precious")
    StateFile(precious, URL).save(MARKS)
    if kind == "file":
        state.path.write_text(precious.read_text())
    else:
        state.path.symlink_to(precious)
    os.chown(state.path, 12345, 12345, follow_symlinks=False)
    with pytest.raises(OptionError, match=r"^state_file .* cannot be read: "):
        state.load(fail)
