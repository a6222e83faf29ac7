# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the functions that handle a request show in their source: errors, lists of names, responses, documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Defined, Function, Package, is_text

MANAGEMENT = "litellm/proxy/management"
_PROXY = "litellm/proxy/"
_ERRORS = {"HTTPException", "ProxyException", "ValueError", "Exception"}
_MAX_DEPTH = 5


def reached(package: Package, handler: Defined, within: str = _PROXY) -> list[Defined]:
    """Return a function, and those in a part of the package that it calls or depends on, up to some depth."""
    found, level, seen = [handler], [handler], {handler.node.name}
    for _depth in range(_MAX_DEPTH):
        called: list[Defined] = []
        for file, node in level:
            for name, owner in _calls(node):
                if f"{owner}.{name}" in seen:
                    continue
                seen.add(f"{owner}.{name}")
                target = _method(package, owner, name, file) if owner else package.find(name, file)
                if target and isinstance(target.node, Function) and target.file.startswith(within):
                    called.append(target)
        found += [one for one in called if one not in found]
        level = called
    return found


def _calls(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield the names of called functions, and for a method the name of its class; else an empty text."""
    for one in ast.walk(node):
        if not isinstance(one, ast.Call):
            continue
        if isinstance(one.func, ast.Name):
            yield one.func.id, ""
            if one.func.id == "Depends" and one.args and isinstance(one.args[0], ast.Name):
                yield one.args[0].id, ""
        elif isinstance(one.func, ast.Attribute) and isinstance(one.func.value, ast.Name):
            yield one.func.attr, one.func.value.id


def _method(package: Package, owner: str, name: str, file: str) -> Defined | None:
    found = package.find(owner, file) if owner[:1].isupper() else None
    body = found.node.body if found and isinstance(found.node, ast.ClassDef) else []
    return next(
        (Defined(found.file, one) for one in body if found and isinstance(one, Function) and one.name == name), None
    )


def refusals(functions: Iterable[Defined]) -> tuple[str, ...]:
    """Return the errors that functions create, with their status, as far as they are constants."""
    found = {
        text
        for function in functions
        for node in ast.walk(function.node)
        if isinstance(node, ast.Call) and called(node) in _ERRORS and (text := _refusal(node))
    }
    return tuple(sorted(found))


def _refusal(call: ast.Call) -> str:
    given: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    status = next((_status(given[name]) for name in ("status_code", "code") if name in given), "")
    message = next(
        (given[name] for name in ("detail", "message") if name in given), call.args[0] if call.args else None
    )
    texts = [] if message is None else [part for part in ast.walk(message) if isinstance(part, ast.Constant)]
    parts = [part.value.strip() for part in texts if isinstance(part.value, str) and part.value not in ("error", "")]
    return f"{status} {' … '.join(parts)}".strip()


def _status(node: ast.expr) -> str:
    """Return a status code that is a number, or a name such as `status.HTTP_404_NOT_FOUND`; empty for another one."""
    found = re.findall(r"\b(?:HTTP_)?([1-5][0-9]{2})(?![0-9])", ast.unparse(node))
    return str(found[0]) if found else ""


def choices(package: Package, functions: Iterable[Defined]) -> dict[str, list[str]]:
    """Return the constant lists and sets of names in functions, and those of their modules that they use, by name."""
    found: dict[str, list[str]] = {}
    for file, node in functions:
        names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
        module = [one for one in package.tree(file).body if _target(one) in names]
        for statement in (*module, *ast.walk(node)):
            members = _members(getattr(statement, "value", None)) if _target(statement) else []
            if len(members) > 1:
                found[_target(statement)] = sorted({*members, *found.get(_target(statement), ())})
    return found


def _target(node: ast.AST) -> str:
    """Return the name that a statement assigns to; empty if it is none."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else ""


def _members(value: ast.AST | None) -> list[str]:
    """Return the texts in a list, tuple or set of constants, possibly in `frozenset()`; empty for any other value."""
    if isinstance(value, ast.Call) and called(value) in ("frozenset", "set", "tuple") and len(value.args) == 1:
        value = value.args[0]
    members = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else []
    return [one.value for one in members if is_text(one)] if all(map(is_text, members)) else []  # type: ignore[attr-defined]


def returned_names(functions: Iterable[Defined]) -> frozenset[str]:
    """Return the names in all JSON objects that functions build: `{"name": …}`, `dict(name=…)` and `x["name"] = …`."""
    found: set[object] = set()
    for function in functions:
        for node in ast.walk(function.node):
            if isinstance(node, ast.Dict):
                found.update(key.value for key in node.keys if isinstance(key, ast.Constant))
            elif isinstance(node, ast.Call):
                found.update(keyword.arg for keyword in node.keywords)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                found.update([node.slice.value] if isinstance(node.slice, ast.Constant) else [])
    return frozenset(name for name in found if isinstance(name, str))


def documented(handler: Defined) -> dict[str, str]:
    """Return what the docstring of a function says about each field of its request: `- name: type - text`."""
    assert isinstance(handler.node, Function)
    text = ast.get_docstring(handler.node) or ""
    entries = re.findall(r"^\s*-\s+([a-z_]+):\s*(.*(?:\n(?!\s*(?:-|$)).+)*)", text, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def called(node: ast.expr | None) -> str:
    """Return the name of the function that is called; empty if the node is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
