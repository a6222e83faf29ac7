# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare what this collection sends and reads with releases of LiteLLM, and these with each other. Pure functions."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.values import Kind
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.json_types import examples, is_accepted, is_within
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.schema import Field, Route, Schema
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.usage import INVALID_ON_PURPOSE, Usage, accepted_type

# Options that are dictionaries, and whose values LiteLLM converts.
_DICTIONARIES = ("object_permission", "router_settings")
_WRITES = ("POST /key/generate", "POST /key/update")
_MAX_LENGTH = 160
# How many words of what two texts have in common are shown around a difference.
_CONTEXT = 3


def unknown(usage: Usage, schema: Schema) -> list[str]:
    """Return what this collection sends or reads and the release does not know."""
    found = []
    for request, names in usage.sent.items():
        route = schema.routes.get(request)
        if route is None:
            found.append(request)
        else:
            found += [f"{request} {name}" for name in names - set(route.fields)]
            found += [f"{request} {name}" for name in _nested_values(usage, request, route).keys() - set(route.nested)]
            if route.response is not None:
                found += [f"{request} → {path}" for path in usage.responses[request] - set(route.response)]
    found += [f"row {name}" for name in usage.row - set(schema.row)]
    found += [f"metadata {name}" for name in usage.in_metadata - set(schema.metadata)]
    found += [f"route group {name}" for name in usage.routes - set(schema.route_groups)]
    return sorted(found)


def mistyped(usage: Usage, schema: Schema) -> list[str]:
    """Return which types of the release do not accept what this collection sends, or are not what it accepts."""
    found = []
    for request, fields in usage.values.items():
        route = schema.routes.get(request)
        if route is None:
            continue
        known, in_query = {**route.fields, **route.nested}, request.startswith("GET ")
        sent = {**fields, **_nested_values(usage, request, route)}
        for name in sent.keys() & known.keys():
            declared, limits = (known[name].get(attribute, "") for attribute in ("type", "limits"))
            for value in sent[name]:
                is_probe = (request, name, value) == INVALID_ON_PURPOSE
                is_allowed = is_within(limits, value, in_query=in_query)
                if (is_allowed and is_accepted(declared, value, in_query=in_query)) == is_probe:
                    verb = "accepts" if is_probe else "does not accept"
                    shown = declared if is_allowed else limits
                    found.append(f"{request} {name} is {shown}, which {verb} {_short(json.dumps(value))}")
                    break
        required = {name for name, one in route.fields.items() if "required" in one}
        found += [f"{request} requires {name}, which is not always sent" for name in required - usage.always[request]]
    for what, accepted, declared in _read_types(usage, schema):
        if not all(is_accepted(accepted, one) for one in examples(declared)):
            found.append(f"{what} is {declared}, but this collection accepts {accepted}")
    return sorted(found)


def _nested_values(usage: Usage, request: str, route: Route) -> dict[str, list[Any]]:
    """Return the values that this collection sends in the models in a body, by their names as in `Route.nested`."""
    found: dict[str, list[Any]] = {}
    for name in {nested.split(".")[0] for nested in route.nested} & usage.values[request].keys():
        by_name = route.fields.get(name, {}).get("type", "").startswith("dict")
        for value in usage.values[request][name]:
            members = value if isinstance(value, list) else value.values() if by_name and value else [value]
            for one in members:
                for inner, sent in one.items() if isinstance(one, dict) else ():
                    found.setdefault(f"{name}.{inner}", []).append(sent)
    return found


def undeclared_since(usage: Usage, old: Schema, new: Schema) -> list[str]:
    """Return the fields of responses that this collection reads, and whose types only the older release declares."""
    found = []
    for request, one, other in _routes(usage, old, new):
        before, after = (
            {path for path in usage.responses[request] if (route.response or {}).get(path, {}).get("type")}
            for route in (one, other)
        )
        known = before if other.response is None else set(other.response)
        if names := sorted((before & known) - after):
            found.append(f"{request} → {', '.join(names)}: {old.version} declares types that {new.version} does not")
    return found


def unconverted(schema: Schema, kinds: Mapping[str, Kind]) -> list[str]:
    """Return the numbers and booleans in dictionaries that the release converts from text, but not this collection.

    :param kinds: those that this collection converts, by their names after that of the option and a dot.
    """
    route = schema.routes.get(_WRITES[0])
    found = []
    for name, one in sorted(route.nested.items()) if route else ():
        kind = one.get("type", "").removesuffix(" | None")
        converted = kinds.get(name)
        if name.split(".")[0] in _DICTIONARIES and kind in ("int", "float", "bool") and converted != kind:
            found.append(f"{name} is {kind}, but is converted to {converted or 'nothing'}; see setting_types")
    return found


def _read_types(usage: Usage, schema: Schema) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each field that is read and declared, the accepted type, and the declared one."""
    for name in usage.row & set(schema.row):
        yield f"row {name}", accepted_type(f"keys.{name}"), schema.row[name].get("type", "")
    for request, paths in usage.responses.items():
        route = schema.routes.get(request)
        for path in paths:
            if route and route.response and path in route.response:
                yield f"{request} → {path}", accepted_type(path, request), route.response[path].get("type", "")


def undeclared(usage: Usage, schema: Schema) -> list[str]:
    """Return what this collection reads, and the release declares only by name, or not at all."""
    found = []
    for request, paths in usage.responses.items():
        if route := schema.routes.get(request):
            response = route.response or {}
            names = sorted(path for path in paths if not response.get(path, {}).get("type"))
            what = "was compared by name only" if route.response is not None else "was not compared"
            found += [f"{request} → {', '.join(names)} {what}"] if names else []
    return sorted(found)


def lost_metadata(schema: Schema, kept: Collection[str]) -> list[str]:
    """Return what the release stores in the metadata of a key, and `unset: [metadata]` would remove.

    :param kept: the names that it keeps.
    """
    return sorted(set(schema.metadata) - set(kept))


def without_option(usage: Usage, schema: Schema) -> dict[str, list[str]]:
    """Return the fields of requests for keys that this collection does not send, by request."""
    routes = ((request, schema.routes.get(request)) for request in _WRITES)
    return {request: sorted(set(route.fields) - usage.sent[request]) for request, route in routes if route}


def misdocumented(schema: Schema, first_releases: Mapping[str, str]) -> list[str]:
    """Return which options the documentation says that a release knows and it does not, or the reverse.

    :param first_releases: the first release that knows an option, according to its documentation.
    """
    route = schema.routes.get(_WRITES[0])
    found = []
    for name, first in first_releases.items():
        is_known = route is not None and name in route.fields
        if is_known != (_numbers(schema.version) >= _numbers(first)):
            verb = "knows" if is_known else "does not know"
            found.append(f"the documentation says that {name} requires {first}, but {schema.version} {verb} it")
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


def changes(usage: Usage, old: Schema, new: Schema) -> dict[str, list[str]]:
    """Return what changed between two releases as far as it concerns this collection, as lines by title."""
    known = set(unknown(usage, old))
    return {
        "no longer known": [one for one in unknown(usage, new) if one not in known],
        "known now": [one for one in unknown(usage, old) if one not in set(unknown(usage, new))],
        "changed": list(_changed_fields(usage, old, new)),
        "new in requests that we send": list(_new_fields(usage, old, new)),
        "new in the rows that we read": sorted(set(new.row) - set(old.row)),
        "gone from the rows that we read": sorted(set(old.row) - set(new.row)),
        "new in metadata": sorted(set(new.metadata) - set(old.metadata)),
        "new route groups": sorted(set(new.route_groups) - set(old.route_groups)),
        "gone route groups": sorted(set(old.route_groups) - set(new.route_groups)),
        "columns that the archive of deleted keys lacks": sorted(set(new.unarchived) - set(old.unarchived)),
        "lists of names in functions that handle requests": list(_changed_choices(usage, old, new)),
        "changed defaults of fields that we do not send": list(_changed_defaults(usage, old, new)),
        "new refusals": _refusals(usage, old, new),
        "gone refusals": _refusals(usage, new, old),
        "new functions that handle requests for keys (read them)": _functions(usage, old, new),
    }


def known_by(usage: Usage, schemas: Sequence[Schema]) -> list[list[str]]:
    """Return a table: what some of these releases do not know, and which."""
    missing = {schema.version: set(unknown(usage, schema)) for schema in schemas}
    names = sorted(set().union(*missing.values()))
    head = ["", *missing]
    return [head, *([name, *("-" if name in missing[version] else "yes" for version in missing)] for name in names)]


def _routes(usage: Usage, old: Schema, new: Schema) -> Iterator[tuple[str, Route, Route]]:
    for request in sorted(usage.sent):
        one, other = old.routes.get(request), new.routes.get(request)
        if one and other:
            yield request, one, other


def _changed_fields(usage: Usage, old: Schema, new: Schema) -> Iterator[str]:
    for request, one, other in _routes(usage, old, new):
        for name in sorted(usage.sent[request] & set(one.fields) & set(other.fields)):
            yield from _difference(f"{request} {name}", one.fields[name], other.fields[name])
        for path in sorted(set(one.response or ()) & set(other.response or ())):
            yield from _difference(f"{request} → {path}", (one.response or {})[path], (other.response or {})[path])
    for name in sorted(usage.row & set(old.row) & set(new.row)):
        yield from _difference(f"row {name}", old.row[name], new.row[name])


def _changed_choices(usage: Usage, old: Schema, new: Schema) -> Iterator[str]:
    seen = set()
    for request, one, other in _routes(usage, old, new):
        for name in sorted(set(one.choices) & set(other.choices)):
            before, after = set(one.choices[name]), set(other.choices[name])
            changed = [f"+{member}" for member in sorted(after - before)]
            changed += [f"-{member}" for member in sorted(before - after)]
            if changed and (name, *changed) not in seen:
                seen.add((name, *changed))
                yield f"{request} {name}: {_short(', '.join(changed))}"


def _changed_defaults(usage: Usage, old: Schema, new: Schema) -> Iterator[str]:
    for request, one, other in _routes(usage, old, new):
        for name in sorted(set(one.fields) & set(other.fields) - usage.sent[request]):
            before, after = (fields[name].get("default", "") for fields in (one.fields, other.fields))
            if before != after:
                yield f"{request} {name}: {_short(before)} → {_short(after)}"


def _difference(what: str, old: Field, new: Field) -> Iterator[str]:
    for name in ("type", "default", "limits", "description", "documentation"):
        one, other = (_plain(each.get(name, "")) for each in (old, new))
        if one != other:
            yield f"{what}: {name} {' → '.join(map(_short, _different(one, other)))}"


def _different(one: str, other: str) -> tuple[str, str]:
    """Return what differs between two texts, with some words of what they have in common."""
    words = [text.split() for text in (one, other)]
    same = _common_length(*words)
    same_end = _common_length(*(part[same:][::-1] for part in words))
    start, end = max(0, same - _CONTEXT), max(0, same_end - _CONTEXT)
    dots = ("… " if start else ""), (" …" if end else "")
    first, second = (f"{dots[0]}{' '.join(part[start : len(part) - end])}{dots[1]}" for part in words)
    return first, second


def _common_length(one: list[str], other: list[str]) -> int:
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


def _plain(text: str) -> str:
    """Return a type without what makes no difference: `dict[Any, Any]` is `dict`."""
    for brackets in ("[Any, Any]", "[Any]"):
        text = text.replace(f"dict{brackets}", "dict").replace(f"list{brackets}", "list")
    return text.removeprefix("Final[").strip()


def _new_fields(usage: Usage, old: Schema, new: Schema) -> Iterator[str]:
    for request, one, other in _routes(usage, old, new):
        for name in sorted(set(other.fields) - set(one.fields)):
            yield f"{request} {name}: {other.fields[name].get('type', '')}"


def _refusals(usage: Usage, one: Schema, other: Schema) -> list[str]:
    """Return the errors that requests can raise in the other release only, with these requests.

    Of a request that only the other release knows, these are the errors that no request raises in the first one.
    """
    every_before = {text for route in _existing(usage, one) for text in route.refusals}
    requests: dict[str, list[str]] = {}
    for request in sorted(usage.sent):
        if route := other.routes.get(request):
            known = one.routes.get(request)
            for text in set(route.refusals) - (set(known.refusals) if known else every_before):
                requests.setdefault(text, []).append(request.split("/")[-1])
    every = len(list(_existing(usage, other)))
    return sorted(
        f"{_short(text)} ({', '.join(names) if len(names) < every // 2 else f'{len(names)} of {every} requests'})"
        for text, names in requests.items()
    )


def _functions(usage: Usage, old: Schema, new: Schema) -> list[str]:
    before, after = ({name for route in _existing(usage, each) for name in route.functions} for each in (old, new))
    return sorted(after - before)


def _existing(usage: Usage, schema: Schema) -> Iterable[Route]:
    return [route for request in usage.sent if (route := schema.routes.get(request))]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return (text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…") or "none"


def as_lines(found: Mapping[str, Sequence[str]]) -> list[str]:
    """Return titles and lines as text; titles without lines are left out."""
    return [line for title, lines in found.items() if lines for line in (f"{title}:", *(f"  {one}" for one in lines))]
