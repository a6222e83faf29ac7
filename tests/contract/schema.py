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

from ansible_collections.rhpds.litellm_virtual_keys.tests.contract import functions
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.json_types import is_accepted
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Defined, Function, Package

TYPES = "litellm/proxy/_types.py"
KEY_TABLE, ARCHIVE_TABLE = "LiteLLM_VerificationToken", "LiteLLM_DeletedVerificationToken"
_NO_FIELDS = {"Request", "Response", "BackgroundTasks"}
_NOT_IN_REQUEST = {"Depends", "Header", "Security"}
_LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern")
# Responses that contain rows of the key table, under these names.
_ROWS = {"GET /key/info": "info", "GET /key/list": "keys"}

# The attributes of a field: type, default, limits, description, and documentation in the docstring, as text. A field of
# a request that has no default is `required`.
Field = Mapping[str, str]


@dataclass(frozen=True)
class Route:
    """What a route accepts, returns and refuses.

    :ivar fields: the fields of its query or body.
    :ivar refusals: the statuses and texts of the errors that it can raise, as far as they are constants.
    :ivar functions: the names of LiteLLM's functions that handle a request.
    :ivar choices: constant lists of names in these functions, such as those of the columns to sort by.
    :ivar nested: the fields of models in its body, after the name of the model's field and a dot.
    :ivar response: of the fields that this collection reads, those that the source declares, by path; None if it
        declares no response.
    """

    fields: Mapping[str, Field]
    refusals: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    choices: Mapping[str, list[str]] = field(default_factory=dict)
    response: Mapping[str, Field] | None = None
    nested: Mapping[str, Field] = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """The parts of a release that this collection depends on.

    :ivar routes: by method and path; None for a route that the release does not have.
    :ivar row: the fields of a key in `/key/list`, and the columns of its table and, after a dot, of related tables.
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


def read_schema(package: Package, version: str, reads: Mapping[str, Iterable[str]]) -> Schema:
    """Return the schema of a release.

    :param reads: the paths of the fields that are read from responses, by method and path of all requests.
    """
    table, archive = _columns(package, KEY_TABLE), _columns(package, ARCHIVE_TABLE)
    listed = package.find("UserAPIKeyAuth", TYPES)
    groups = package.find("LiteLLMRoutes", TYPES)
    lists = ("LiteLLM_ManagementEndpoint_MetadataFields", "LiteLLM_ManagementEndpoint_MetadataFields_Premium")
    return Schema(
        version,
        {request: _route(package, request, paths) for request, paths in reads.items()},
        {**(_fields(package, listed) if listed else {}), **_related(package), **table},
        tuple(sorted(set(table) - set(archive))) if archive else (),
        tuple(sorted(_members(groups))) if groups else (),
        tuple(sorted({name for one in lists for name in package.constant(one, TYPES)})),
    )


def _route(package: Package, request: str, reads: Iterable[str]) -> Route | None:
    handler = package.route(*request.split(" ", 1))
    if not handler or not isinstance(handler.node, Function):
        return None
    fields: dict[str, Field] = {}
    nested: dict[str, Field] = {}
    arguments = handler.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in (
        *zip(positional, defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ):
        if argument.annotation is None or functions.called(default) in _NOT_IN_REQUEST:
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
            nested.update({name: one for name, one in _nested(package, bodies[0]).items() if "." in name})
        else:
            fields[argument.arg] = _field(package, handler.file, argument.annotation, default)
    fields = {name: one if "default" in one else {**one, "required": "yes"} for name, one in fields.items()}
    for name, meaning in functions.documented(handler).items():
        if name in fields:
            fields[name] = {**fields[name], "documentation": meaning}
    every, managing = functions.reached(package, handler), functions.reached(package, handler, functions.MANAGEMENT)
    return Route(
        fields,
        functions.refusals(every),
        tuple(sorted({one.node.name for one in managing})),
        functions.choices(package, managing),
        _response(package, request, handler, every, reads),
        nested,
    )


def _response(
    package: Package, request: str, handler: Defined, every: Iterable[Defined], reads: Iterable[str]
) -> dict[str, Field] | None:
    """Return the declared fields among those that are read.

    They are declared by a model, by the key table, or only by name in the JSON objects that the functions build.
    """
    assert isinstance(handler.node, Function)
    given = [one.value for call in handler.node.decorator_list if isinstance(call, ast.Call) for one in call.keywords]
    annotations = [one for one in (handler.node.returns, *given) if one is not None]
    names = {node.id for one in annotations for node in ast.walk(one) if isinstance(node, ast.Name)}
    models = [found for name in sorted(names) if (found := package.find(name, handler.file))]
    declared = {name: one for model in filter(_is_model, models) for name, one in _nested(package, model).items()}
    built = functions.returned_names(every)
    if not declared and not built:
        return None
    rows = {**_columns(package, KEY_TABLE), **_related(package)} if request in _ROWS else {}
    declared |= {f"{_ROWS[request]}.{name}": one for name, one in rows.items()}
    return {path: declared.get(path, {}) for path in reads if path in declared or built.issuperset(path.split("."))}


def _nested(package: Package, model: Defined) -> dict[str, Field]:
    """Return the fields of a model, and after their names and a dot, those of the models in their types."""
    found: dict[str, Field] = {}
    for ancestor in _lineage(package, model):
        for name, one in _own_fields(package, ancestor).items():
            found[name] = one
            for word in reversed(re.findall(r"\w+", one["type"])):
                inner = package.find(word, ancestor.file)
                members = _fields(package, inner) if inner and _is_model(inner) else {}
                found |= {f"{name}.{member}": kind for member, kind in members.items()}
    return found


def _is_model(found: Defined) -> bool:
    return isinstance(found.node, ast.ClassDef) and not _is_enum(found.node)


def _fields(package: Package, model: Defined) -> dict[str, Field]:
    """Return the fields of a model, those of its bases included."""
    return {name: one for each in _lineage(package, model) for name, one in _own_fields(package, each).items()}


def _lineage(package: Package, model: Defined) -> Iterator[Defined]:
    """Yield the bases of a model, and then the model."""
    assert isinstance(model.node, ast.ClassDef)
    for base in model.node.bases:
        found = package.find(base.id, model.file) if isinstance(base, ast.Name) else None
        if found and isinstance(found.node, ast.ClassDef) and found.node is not model.node:
            yield from _lineage(package, found)
    yield model


def _own_fields(package: Package, model: Defined) -> dict[str, Field]:
    assert isinstance(model.node, ast.ClassDef)
    return {
        one.target.id: _field(package, model.file, one.annotation, one.value)
        for one in model.node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        if "ClassVar" not in ast.unparse(one.annotation)
    }


def _field(package: Package, file: str, annotation: ast.expr, default: ast.expr | None) -> Field:
    """Return the attributes of a field: those in `Field()` and `Query()`, and in such calls in `Annotated[]`."""
    given: dict[str | None, str] = {}
    shown = None if default is None else ast.unparse(default)
    for call in (*ast.walk(annotation), default):
        if isinstance(call, ast.Call) and functions.called(call) in ("Field", "Query"):
            given |= {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if call is default:
                first = ast.unparse(call.args[0]) if call.args else None
                shown = given.get("default") or given.get("default_factory") or first
    return {
        name: value
        for name, value in {
            "type": _type(package, file, annotation),
            "default": "" if shown in (None, "...") else shown,
            "limits": ", ".join(f"{name}={given[name]}" for name in _LIMITS if name in given),
            "description": given.get("description"),
        }.items()
        if value
    }


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


def _columns(package: Package, table: str, *, relations: bool = False) -> dict[str, Field]:
    """Return the columns of a table with their types, or the names of its relations with the related tables."""
    prisma = package.text("litellm/proxy/schema.prisma")
    body = re.search(rf"^model {table} {{(.*?)^}}", prisma, re.MULTILINE | re.DOTALL)
    lines = [line.split() for line in (body[1] if body else "").splitlines()]
    return {
        line[0]: {"type": line[1]}
        for line in lines
        if len(line) > 1 and line[0].isidentifier() and line[1].startswith("LiteLLM_") == relations
    }


def _related(package: Package) -> dict[str, Field]:
    """Return the relations of the key table, and the columns of each related table after its name and a dot."""
    found: dict[str, Field] = {}
    for name, relation in _columns(package, KEY_TABLE, relations=True).items():
        columns = _columns(package, relation["type"].rstrip("?[]"))
        found |= {name: {"type": "dict | None"}, **{f"{name}.{column}": kind for column, kind in columns.items()}}
    return found


def to_json(schema: Schema) -> dict[str, Any]:
    """Return a schema as JSON values."""
    routes = {name: one and vars(one) for name, one in schema.routes.items()}
    return {**vars(schema), "routes": routes}


def from_json(value: Mapping[str, Any]) -> Schema:
    """Return the schema that `to_json` returned.

    :raises LookupError: if a part is missing.
    :raises TypeError: if a part has another type.
    """
    parts = _check(value, _SCHEMA_TYPES)
    routes = {
        name: None if one is None else Route(**_check(one, _ROUTE_TYPES)) for name, one in parts["routes"].items()
    }
    return Schema(**{**parts, "routes": routes})


# The types of the parts of a saved schema, in the notation of `json_types`.
_FIELDS = "dict[str, dict[str, str]]"
_SCHEMA_TYPES = {
    "version": "str",
    "routes": "dict[str, dict | None]",
    "row": _FIELDS,
    **dict.fromkeys(("unarchived", "route_groups", "metadata"), "list[str]"),
}
_ROUTE_TYPES = {
    "fields": _FIELDS,
    "nested": _FIELDS,
    "response": f"{_FIELDS} | None",
    "choices": "dict[str, list[str]]",
    **dict.fromkeys(("refusals", "functions"), "list[str]"),
}


def _check(value: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of a value that have these types. Lists become tuples."""
    if wrong := [name for name, declared in types.items() if not is_accepted(declared, value[name])]:
        raise TypeError(f"wrong type: {', '.join(wrong)}")
    return {name: tuple(value[name]) if kind == "list[str]" else value[name] for name, kind in types.items()}
