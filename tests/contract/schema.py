# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extract what a LiteLLM release accepts, returns, stores and refuses, as far as this collection uses it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Defined, Function, Package

TYPES = "litellm/proxy/_types.py"
KEY_TABLE, ARCHIVE_TABLE = "LiteLLM_VerificationToken", "LiteLLM_DeletedVerificationToken"
_NO_FIELDS = {"Request", "Response", "BackgroundTasks"}
_NOT_IN_REQUEST = {"Depends", "Header", "Security"}
_LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
_ERRORS = {"HTTPException", "ProxyException", "ValueError", "Exception"}
_MAX_DEPTH = 5

# The attributes of a field: type, default, limits and description, as text.
Field = Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """What a route accepts, and what it refuses.

    :ivar fields: the fields of its query or body.
    :ivar refusals: the statuses and texts of the errors that it can raise, as far as they are constants.
    :ivar functions: the names of LiteLLM's functions that handle a request.
    """

    fields: Mapping[str, Field]
    refusals: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The parts of a release that this collection depends on.

    :ivar routes: by method and path; None for a route that the release does not have.
    :ivar row: the fields of a key in `/key/list`, and the columns of its table.
    :ivar unarchived: columns of the key table that the archive of deleted keys does not have.
    :ivar route_groups: names that `allowed_routes` can contain.
    :ivar metadata: the fields of requests that LiteLLM stores in the metadata.
    """

    version: str
    routes: Mapping[str, Route | None]
    row: Mapping[str, Field] = field(default_factory=dict)
    unarchived: tuple[str, ...] = ()
    route_groups: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


def read_schema(package: Package, version: str, requests: Iterable[str]) -> Schema:
    """Return the schema of a release.

    :param requests: methods and paths, such as `POST /key/generate`.
    """
    table = _columns(package.text("litellm/proxy/schema.prisma"), KEY_TABLE)
    archive = _columns(package.text("litellm/proxy/schema.prisma"), ARCHIVE_TABLE)
    listed = package.find("UserAPIKeyAuth", TYPES)
    groups = package.find("LiteLLMRoutes", TYPES)
    lists = ("LiteLLM_ManagementEndpoint_MetadataFields", "LiteLLM_ManagementEndpoint_MetadataFields_Premium")
    return Schema(
        version,
        {request: _route(package, *request.split(" ", 1)) for request in requests},
        {**(_fields(package, listed) if listed else {}), **{name: {"type": kind} for name, kind in table.items()}},
        tuple(sorted(set(table) - set(archive))) if archive else (),
        tuple(sorted(_members(groups))) if groups else (),
        tuple(sorted({name for one in lists for name in package.constant(one, TYPES)})),
    )


def _route(package: Package, method: str, path: str) -> Route | None:
    handler = package.route(method, path)
    if not handler or not isinstance(handler.node, Function):
        return None
    fields: dict[str, Field] = {}
    arguments = handler.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in (
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ):
        if argument.annotation is None or _called(default) in _NOT_IN_REQUEST:
            continue
        names = {
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(argument.annotation)
            if isinstance(node, ast.Name | ast.Attribute)
        }
        if names & _NO_FIELDS:
            continue
        models = [found for name in sorted(names) if (found := package.find(name, handler.file))]
        bodies = [one for one in models if isinstance(one.node, ast.ClassDef) and not _is_enum(one.node)]
        if bodies:
            fields.update(_fields(package, bodies[0]))
        else:
            fields[argument.arg] = _field(package, handler.file, argument.annotation, default)
    functions = _called_functions(package, handler)
    refusals = {text for one in functions for text in _refusals(one)}
    return Route(fields, tuple(sorted(refusals)), tuple(sorted({one.node.name for one in functions})))


def _fields(package: Package, model: Defined) -> dict[str, Field]:
    """Return the fields of a model, those of its bases included."""
    assert isinstance(model.node, ast.ClassDef)
    fields: dict[str, Field] = {}
    for base in model.node.bases:
        found = package.find(base.id, model.file) if isinstance(base, ast.Name) else None
        if found and isinstance(found.node, ast.ClassDef) and found.node is not model.node:
            fields.update(_fields(package, found))
    for statement in model.node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" not in ast.unparse(statement.annotation):
            fields[statement.target.id] = _field(package, model.file, statement.annotation, statement.value)
    return fields


def _field(package: Package, file: str, annotation: ast.expr, default: ast.expr | None) -> Field:
    found = {"type": _type(package, file, annotation)}
    if isinstance(default, ast.Call) and _called(default) in ("Field", "Query"):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in default.keywords if keyword.arg}
        shown = given.get("default") or (ast.unparse(default.args[0]) if default.args else None)
        found["limits"] = ", ".join(f"{name}={given[name]}" for name in _LIMITS if name in given)
        found["description"] = given.get("description", "")
    else:
        shown = None if default is None else ast.unparse(default)
    return {name: value for name, value in {**found, "default": shown or ""}.items() if value}


def _type(package: Package, file: str, annotation: ast.expr) -> str:
    """Return a type in one notation, `Optional[List[X]]` as `list[X] | None`, and an enumeration as its values."""
    text = ast.unparse(annotation)
    members = _union(annotation)
    if len(members) > 1:
        return " | ".join(sorted({_type(package, file, one) for one in members}, key=lambda one: (one == "None", one)))
    found = package.find(annotation.id, file) if isinstance(annotation, ast.Name) else None
    if found and isinstance(found.node, ast.ClassDef) and _is_enum(found.node):
        return f"one of {', '.join(sorted(_members(found, values=True)))}"
    if isinstance(annotation, ast.Subscript):
        name = ast.unparse(annotation.value)
        if name == "Annotated" and isinstance(annotation.slice, ast.Tuple):
            return _type(package, file, annotation.slice.elts[0])
        if name == "Literal":
            return f"one of {', '.join(sorted(str(ast.literal_eval(one)) for one in _arguments(annotation)))}"
        text = f"{name}[{', '.join(_type(package, file, one) for one in _arguments(annotation))}]"
    text = {"List": "list", "Dict": "dict", "object": "Any"}.get(text, text)
    return re.sub(r"\b(Any|object)\b", "Any", re.sub(r"^(List|Dict|Sequence|Mapping)\b", _plain_name, text))


def _plain_name(match: re.Match[str]) -> str:
    return {"List": "list", "Dict": "dict", "Sequence": "list", "Mapping": "dict"}[match[1]]


def _union(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_union(annotation.left), *_union(annotation.right)]
    name = ast.unparse(annotation.value) if isinstance(annotation, ast.Subscript) else ""
    if isinstance(annotation, ast.Subscript) and name in ("Optional", "Union"):
        members = [member for one in _arguments(annotation) for member in _union(one)]
        return [*members, ast.Constant(None)] if name == "Optional" else members
    return [annotation]


def _arguments(annotation: ast.Subscript) -> list[ast.expr]:
    return annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]


def _is_enum(node: ast.ClassDef) -> bool:
    return any("Enum" in ast.unparse(base) for base in node.bases)


def _members(found: Defined, *, values: bool = False) -> list[str]:
    assert isinstance(found.node, ast.ClassDef)
    assigned = [node for node in found.node.body if isinstance(node, ast.Assign)]
    if values:
        return [str(node.value.value) for node in assigned if isinstance(node.value, ast.Constant)]
    return [target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)]


def _columns(prisma: str, table: str) -> dict[str, str]:
    """Return the columns of a table with their types."""
    body = re.search(rf"^model {table} {{(.*?)^}}", prisma, re.MULTILINE | re.DOTALL)
    lines = [line.split() for line in (body[1] if body else "").splitlines()]
    relation = re.compile(r"LiteLLM_")
    return {
        line[0]: line[1] for line in lines if len(line) > 1 and line[0].isidentifier() and not relation.match(line[1])
    }


def _called_functions(package: Package, handler: Defined) -> list[Defined]:
    """Return a function, and those for managing keys that it calls, up to some depth."""
    found, level, seen = [handler], [handler], {handler.node.name}
    for _depth in range(_MAX_DEPTH):
        called: list[Defined] = []
        for file, node in level:
            for one in ast.walk(node):
                if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id not in seen:
                    seen.add(one.func.id)
                    target = package.find(one.func.id, file)
                    if target and isinstance(target.node, Function) and target.file.startswith("litellm/proxy/manage"):
                        called.append(target)
        found += called
        level = called
    return found


def _refusals(function: Defined) -> Iterator[str]:
    """Return the errors that a function raises, with their status, as far as they are constants."""
    for node in ast.walk(function.node):
        error = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(error, ast.Call) and _called(error) in _ERRORS and (text := _refusal(error)):
            yield text


def _refusal(call: ast.Call) -> str:
    given: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    status = next(
        (re.sub(r"\D", "", ast.unparse(given[name])) for name in ("status_code", "code") if name in given), ""
    )
    message = next(
        (given[name] for name in ("detail", "message") if name in given), call.args[0] if call.args else None
    )
    texts = [] if message is None else [part for part in ast.walk(message) if isinstance(part, ast.Constant)]
    parts = [part.value.strip() for part in texts if isinstance(part.value, str) and part.value not in ("error", "")]
    return f"{status} {' … '.join(parts)}".strip() if parts else ""


def _called(node: ast.expr | None) -> str:
    """Return the name of the function that is called; empty if the node is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)


def to_json(schema: Schema) -> dict[str, Any]:
    """Return a schema as JSON values."""
    routes = {name: one and vars(one) for name, one in schema.routes.items()}
    return {**vars(schema), "routes": routes}


def from_json(value: Mapping[str, Any]) -> Schema:
    """Return the schema that `to_json` returned."""
    routes = {
        name: one and Route(one["fields"], tuple(one["refusals"]), tuple(one["functions"]))
        for name, one in value["routes"].items()
    }
    lists = {name: tuple(value[name]) for name in ("unarchived", "route_groups", "metadata")}
    return Schema(value["version"], routes, value["row"], **lists)
