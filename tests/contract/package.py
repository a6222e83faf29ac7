# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read classes, functions and routes from the wheel of a LiteLLM release, without importing it.

LiteLLM can build the OpenAPI schema of its API only with all its dependencies, so its source is parsed instead. That
takes about a second for each release.
"""

from __future__ import annotations

import ast
import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


class Defined(NamedTuple):
    """A class or function, and the file in the package that defines it."""

    file: str
    node: Definition


class Package:
    """The source of a release.

    :ivar tree: returns the syntax tree of a file.
    :ivar find: returns the class or function that a name in a file refers to; None if the package does not define it.
    """

    def __init__(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            self._sources = {
                name: archive.read(name)
                for name in archive.namelist()
                if name.startswith(("litellm/proxy/", "litellm/types/", "litellm/models/", "litellm/constants"))
                and name.endswith((".py", "schema.prisma"))
            }
        self.tree = functools.cache(self._parse)
        self.find = functools.cache(self._find)
        self._definitions = functools.cache(self._find_definitions)
        self._imports = functools.cache(self._find_imports)

    def text(self, file: str) -> str:
        """Return the text of a file; empty if there is none."""
        return self._sources.get(file, b"").decode()

    def route(self, method: str, path: str) -> Defined | None:
        """Return the function that handles a method and path; None if the release has no such route."""
        for file, source in self._sources.items():
            if not file.startswith("litellm/proxy/") or f'"{path}"'.encode() not in source:
                continue
            for node in ast.walk(self.tree(file)):
                if isinstance(node, Function) and (method.lower(), path) in _routes_of(node):
                    return Defined(file, node)
        return None

    def _parse(self, file: str) -> ast.Module:
        return ast.parse(self.text(file))

    def _find(self, name: str, file: str, seen: frozenset[str] = frozenset()) -> Defined | None:
        source = self._sources.get(file, b"")
        if file in seen or (name.encode() not in source and b"import *" not in source):
            return None
        for node in self._definitions(file).get(name, ()):
            return Defined(file, node)
        for imported in self._imports(file):
            names = {alias.asname or alias.name: alias.name for alias in imported.names}
            if name not in names and "*" not in names:
                continue
            for other in _files_of(imported, file):
                if found := self.find(names.get(name, name), other, seen | {file}):
                    return found
        return None

    def constant(self, name: str, file: str) -> list[str]:
        """Return the text in a module-level list."""
        for node in self.tree(file).body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            targets = node.targets if isinstance(node, ast.Assign) else [target]
            if any(isinstance(one, ast.Name) and one.id == name for one in targets):
                return [part.value for part in ast.walk(node) if is_text(part)]  # type: ignore[attr-defined]
        return []

    def _find_definitions(self, file: str) -> dict[str, list[Definition]]:
        found: dict[str, list[Definition]] = {}
        for node in ast.walk(self.tree(file)):
            if isinstance(node, Definition):
                found.setdefault(node.name, []).append(node)
        return found

    def _find_imports(self, file: str) -> list[ast.ImportFrom]:
        return [node for node in ast.walk(self.tree(file)) if isinstance(node, ast.ImportFrom)]


def is_text(node: ast.AST) -> bool:
    """Return whether a node is a constant text."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _routes_of(node: Function) -> Iterator[tuple[str, str]]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.args:
            path = decorator.args[0]
            if isinstance(path, ast.Constant) and isinstance(path.value, str):
                yield decorator.func.attr, path.value


def _files_of(imported: ast.ImportFrom, file: str) -> list[str]:
    parts = (imported.module or "").split(".") if imported.module else []
    if imported.level:
        parts = [*file.split("/")[: -imported.level], *parts]
    path = "/".join(parts)
    return [f"{path}.py", f"{path}/__init__.py"]
