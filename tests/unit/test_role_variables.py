# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role's variables are the same in defaults/main.yml, in meta/argument_specs.yml and in the README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLE = Path(__file__).parents[2] / "roles" / "ocp4_workload_litellm_virtual_keys"
PREFIX = f"{ROLE.name}_"

DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
SPECIFIED = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"][
    "main"
]["options"]
# The rows of the README's tables: `name` | default | meaning.
ROWS = {
    name: (default, meaning)
    for name, default, meaning in re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.+) \|$", (ROLE / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
}
OF_THE_PLATFORM = {"ACTION", "guid", "litellm_url", "litellm_master_key", "output_dir"}


def is_computed(value: Any) -> bool:
    return "{{" in json.dumps(value)


def shown(value: Any) -> str:
    """A default as the README writes it."""
    if value is None or value == "":
        return "none"
    if isinstance(value, list) and value:
        return ", ".join(f"`{member}`" for member in value)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def test_every_variable_stands_in_all_three_places() -> None:
    names = set(DEFAULTS)
    assert {name for name in SPECIFIED if name.startswith(PREFIX)} == names
    assert set(SPECIFIED) - names == OF_THE_PLATFORM
    assert {f"{PREFIX}{name}" for name in set(ROWS) - OF_THE_PLATFORM} == names
    assert set(ROWS) >= OF_THE_PLATFORM


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_the_defaults_are_the_same(name: str) -> None:
    default, in_readme = DEFAULTS[name], ROWS[name.removeprefix(PREFIX)][0]
    if is_computed(default):
        assert "default" not in SPECIFIED[name]
        assert not re.fullmatch("none|`[^`]*`", in_readme), "a default that is computed is told in words"
    else:
        assert SPECIFIED[name].get("default") == default
        assert in_readme == shown(default)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_the_choices_are_told(name: str) -> None:
    meaning = ROWS[name.removeprefix(PREFIX)][1]
    for choice in SPECIFIED[name].get("choices", ()):
        assert f"`{choice}`" in meaning


def test_every_variable_is_used() -> None:
    texts = "".join(
        path.read_text(encoding="utf-8") for folder in ("tasks", "vars") for path in (ROLE / folder).iterdir()
    )
    texts += (ROLE / "defaults" / "main.yml").read_text(encoding="utf-8").replace("\nocp4_", "\n")
    without_effect = {f"{PREFIX}retry_delay"}
    unused = {name for name in DEFAULTS if not re.search(rf"\b{name}\b", texts)}
    assert unused == without_effect
