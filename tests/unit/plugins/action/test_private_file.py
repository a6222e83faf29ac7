# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `private_file` with a managed node whose interpreter was manipulated: it returns what it likes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

NAME = "rhpds.litellm_virtual_keys.private_file"
INTERPRETER = """#!/bin/sh
cat > /dev/null
cat '{response}'
"""


@pytest.fixture
def returned(run_action: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs the action on a host whose modules return this."""

    def run(**response: Any) -> Any:
        (tmp_path / "response.json").write_text(json.dumps(response))
        interpreter = tmp_path / "python"
        interpreter.write_text(INTERPRETER.format(response=tmp_path / "response.json"))
        interpreter.chmod(0o700)
        arguments = {"path": str(tmp_path / "file"), "content": "secret"}
        return run_action(NAME, arguments, variables={"ansible_python_interpreter": str(interpreter)})

    return run


def test_the_result_of_the_module_is_returned(returned: Callable[..., Any]) -> None:
    result = returned(changed=True, path="file")
    assert (result["changed"], result["path"]) == (True, "file")


def test_facts_and_statistics_of_the_host_are_dropped(returned: Callable[..., Any]) -> None:
    stats = {"data": {"litellm_url": "theirs"}, "per_host": False, "aggregate": True}
    result = returned(changed=False, ansible_facts={"litellm_url": "theirs", "x": 1}, ansible_stats=stats)
    assert not result.keys() & {"ansible_facts", "ansible_stats"}


def test_the_interpreter_that_was_discovered_is_kept(
    run_action: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # ansible-core adds it to the facts of the module, and would otherwise search for it again in each task.
    discovered = {"discovered_interpreter_python": "/usr/bin/python3"}
    result = {"changed": False, "ansible_facts": {**discovered, "x": 1}}
    monkeypatch.setattr(ActionBase, "_execute_module", lambda _self, **_options: dict(result))
    assert run_action(NAME, {"path": "/x"}, variables={})["ansible_facts"] == discovered
