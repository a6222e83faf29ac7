# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The packages of plugin_utils import each other in one direction only, and their modules stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
UTILS = PLUGINS / "plugin_utils"
ABSOLUTE = "ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils"
SHARED = {"_concurrency", "_errors", "_files", "_masking", "_text"}
# The packages that each package may import, in addition to itself.
MAY_IMPORT = {
    **dict.fromkeys((*SHARED, "_litellm"), SHARED),
    "_keys": {"_litellm", *SHARED},
    "_database": {"_keys", *SHARED},
    "_environment": {"_keys", "_litellm", *SHARED},
    "_reports": {"_keys", "_litellm", *SHARED},
    "_events": {"_reports", "_keys", "_litellm", *SHARED},
    "_playbooks": SHARED,
    "_ansible": {"_playbooks", "_database", "_environment", "_reports", "_keys", "_litellm", *SHARED},
}
MODULES = sorted(UTILS.rglob("*.py"))
MAX_LINES = 315


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(UTILS).with_suffix("").parts)


def imported(path: Path, nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Return the absolute names of the modules that some nodes import; those of plugin_utils start with a dot."""
    package = ["", *name_of(path).split(".")[:-1]] if path.is_relative_to(UTILS) else []
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])]).replace(ABSOLUTE, "")
            # `from . import name` may import a module.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def modules_of(names: Iterable[str]) -> set[str]:
    """Return the modules of plugin_utils among these names, which may have an object of the module at the end."""
    known = {name_of(path) for path in MODULES}
    parts = {name.removeprefix(".") for name in names if name.startswith(".")}
    return {name for part in parts for name in (part, part.rpartition(".")[0]) if name in known}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_lower_packages(path: Path) -> None:
    names = list(imported(path, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    package = name_of(path).partition(".")[0]
    assert {module.partition(".")[0] for module in modules_of(names)} <= {package, *MAY_IMPORT[package]}
    if package != "_ansible":
        assert not [name for name in names if name.split(".")[0] in ("ansible", "ansible_collections")]


@pytest.mark.parametrize(
    "path", [*MODULES, *sorted((PLUGINS / "module_utils").glob("*.py"))], ids=lambda path: path.stem
)
def test_a_module_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "action", sorted({path.stem for path in (PLUGINS / "action").glob("*.py")} - {"litellm_key_report"})
)
def test_an_action_does_not_import_the_reports(action: str) -> None:
    """Ansible compiles every module that a task imports, in every run."""
    waiting = [PLUGINS / "action" / f"{action}.py"]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        # Not inside of functions, which import what few tasks need.
        for module in modules_of(imported(path, ast.parse(path.read_text(encoding="utf-8")).body)) - seen:
            seen.add(module)
            waiting.append(UTILS / f"{module.replace('.', '/')}.py")
    assert len(seen) > 5 or action == "private_file"  # which imports nothing
    assert not [module for module in seen if module.startswith("_reports")]


def test_the_test_finds_imports() -> None:
    source = (
        "import json\nfrom .. import _text\nfrom .._keys.model import DesiredKey\nfrom . import plan\nfrom .x import y"
    )
    path = UTILS / "_keys" / "result.py"
    names = list(imported(path, ast.parse(source).body))
    assert names == ["json", "._text", "._keys.model.DesiredKey", "._keys.plan", "._keys.x.y"]
    assert modules_of(names) == {"_text", "_keys.model", "_keys.plan"}


def test_architecture_names_every_module() -> None:
    text = (PLUGINS.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(text.partition("plugin_utils/")[2].partition("roles/")[0].split())
    assert [path.stem for path in MODULES if path.stem not in named] == []
    named = set(text.partition("module_utils/")[2].partition("plugin_utils/")[0].split())
    assert [path.stem for path in (PLUGINS / "module_utils").glob("*.py") if path.stem not in named] == []
