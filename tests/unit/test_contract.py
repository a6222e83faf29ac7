# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make contract` knows everything that the code sends, and reads the schema of a release correctly."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.setting_types import ROUTER_KINDS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import SETTINGS
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract import audit, registry
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.audit import (
    matrix_releases,
    problems,
    report,
    schemas_of,
    wrong_pages,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.compare import (
    changes,
    known_by,
    misdocumented,
    undeclared,
    unknown,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.json_types import examples, is_accepted
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Package
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.registry import resolve
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.schema import (
    Field,
    Route,
    Schema,
    from_json,
    read_schema,
    to_json,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.usage import (
    PLUGINS,
    Usage,
    accepted_type,
    names_in_source,
    usage,
)

GENERATE, UPDATE, INFO = "POST /key/generate", "POST /key/update", "GET /key/info"
LISTING = "GET /key/list"


@pytest.fixture(scope="module", name="ours")
def usage_of_this_collection() -> Usage:
    return usage()


def all_known(ours: Usage, version: str = "1.0.0") -> Schema:
    """Return the schema of a release that knows everything."""
    routes = {
        name: Route(
            {field: {"type": "bool" if field == "substring_matching" else "Any"} for field in fields},
            response={path: {"type": accepted_type(path, name)} for path in ours.responses[name]},
        )
        for name, fields in ours.sent.items()
    }
    row = {name: {"type": accepted_type(f"keys.{name}")} for name in ours.row}
    return Schema(version, routes, row, (), tuple(ours.routes), tuple(ours.in_metadata))


def with_fields(schema: Schema, request: str, fields: Mapping[str, Field | None], part: str = "fields") -> Schema:
    """Return the schema with other fields of a request or of its response; None removes one."""
    route = schema.routes[request]
    assert route
    changed = {**getattr(route, part), **fields}
    kept = {name: value for name, value in changed.items() if value is not None}
    return replace(schema, routes={**schema.routes, request: replace(route, **{part: kept})})  # type: ignore[arg-type]


def without(schema: Schema, request: str, field: str) -> Schema:
    return with_fields(schema, request, {field: None})


# What this collection sends and reads


def test_every_setting_is_sent(ours: Usage) -> None:
    for name, one in SETTINGS.items():
        for new, request in ((True, GENERATE), (False, UPDATE)):
            value = "llm_api" if name == "key_type" else "text"
            assert set(one.to_request({} if name == "metadata" else value, new=new)) <= ours.sent[request], name
    assert {"key_alias", "key", "duration", "spend", "temp_budget_increase"} <= ours.sent[GENERATE] | ours.sent[UPDATE]
    assert {"token", "expires", "created_at", "budget_limits", "org_id", "litellm_budget_table.soft_budget"} <= ours.row
    assert {"info", "info.status", "info.expires", "info.metadata"} <= ours.responses["GET /key/info"]
    assert {(request, path) for request, paths in ours.responses.items() for path in paths if "." not in path} == {
        *(("GET /key/list", name) for name in ("keys", "total_count", "total_pages")),
        *((f"GET /health/readiness{path}", "litellm_version") for path in ("", "/details")),
        *(("GET /key/info", "info"), ("GET /v1/models", "data"), ("POST /key/generate", "key")),
        *(("GET /v2/team/list", name) for name in ("teams", "total_pages")),
    }


def test_the_values_that_are_sent_include_those_that_clear_a_setting(ours: Usage) -> None:
    values = ours.values[UPDATE]
    assert (values["max_budget"], values["models"], values["tpm_limit"]) == ([1.5, None], [["text"], []], [1, None])
    numbers = ("allowed_fails", "max_retries", "num_retries", "cooldown_time", "retry_after", "timeout")
    assert values["router_settings"] == [dict(zip(numbers, (1, 1, 1, 1.5, 1.5, 1.5), strict=True)), {}]


def test_the_fields_that_every_request_has(ours: Usage) -> None:
    assert ours.always[UPDATE] == {"key"}
    assert ours.always["POST /team/delete"] == {"team_ids"}
    assert "models" not in ours.always[GENERATE]


def test_each_field_that_is_read_has_an_accepted_type(ours: Usage) -> None:
    """Other fields of a key are passed on unchanged."""
    rows = {f"keys.{name}" for name in ours.row}
    every = rows.union(*ours.responses.values())
    untyped = {"keys.allowed_cache_controls", "keys.budget_fallbacks", "keys.config", "keys.tpd_limit", "data.id"}
    assert {path for path in every if accepted_type(path) == "Any"} == untyped


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: path.stem)
def test_no_source_file_sends_what_the_audit_does_not_know(ours: Usage, path: Path) -> None:
    names = names_in_source(path.read_text(encoding="utf-8"))
    assert (sorted(names.requests - set(ours.sent)), sorted(names.fields - ours.names), names.unknown) == ([], [], ())


def test_every_request_is_visible_in_the_source(ours: Usage) -> None:
    found = [names_in_source(path.read_text(encoding="utf-8")).requests for path in PLUGINS.rglob("*.py")]
    assert frozenset().union(*found) == set(ours.sent)


@pytest.mark.parametrize(
    ("source", "requests", "fields", "unknown_calls"),
    [
        ("client.post('/key/new', {'a': 1, **rest})", {"POST /key/new"}, {"a"}, ()),
        ("def f(self):\n b = {}\n b['late'] = 1\n self._client.get('/x', b)", {"GET /x"}, {"late"}, ()),
        ("_P = ('/a', '/b')\nfor p in _P:\n client.get(p)", {"GET /a", "GET /b"}, set(), ()),
        ("run.client.post(path, body)", set(), set(), ("run.client.post(path, body)",)),
        ("{'a': 1}.get('/x')", set(), set(), ()),
    ],
)
def test_requests_in_a_source_file(source: str, requests: set[str], fields: set[str], unknown_calls: object) -> None:
    names = names_in_source(source)
    assert (set(names.requests), set(names.fields), names.unknown) == (requests, fields, unknown_calls)


# A release


TYPES = """
from enum import Enum
from .base import Base
class Router(BaseModel):
    num_retries: Optional[int] = None
class LiteLLMRoutes(Enum):
    llm_api_routes = ["/v1"]
    info_routes = llm_api_routes + ["/key/info"]
class NewKey(Base):
    needed: str
    also_needed: int = Field(..., le=9)
    made: list = Field(default_factory=list)
    tpm_limit: int | None = Field(default=None, ge=0, description="per minute")
    names: Optional[List[str]] = []
    mode: Literal["b", "a"] | None = None
    router: Optional[Router] = None
    shared: ClassVar[int] = 1
class UserAPIKeyAuth(Base):
    token: str
class Listing(TypedDict, total=False):
    keys: List[Union[str, UserAPIKeyAuth]]
    total_count: Optional[int]
LiteLLM_ManagementEndpoint_MetadataFields: Final = ["tags"]
LiteLLM_ManagementEndpoint_MetadataFields_Premium = ["guardrails"]
"""
BASE = """
class Kind(str, Enum):
    ONE = "one"
    TWO = "two"
class Window(BaseModel):
    max_budget: float
class Base(BaseModel):
    max_budget: Optional[float] = None
    kind: Optional[Kind] = Kind.ONE
    windows: Optional[List[Window]] = None
"""
ENDPOINTS = """
from litellm.proxy._types import *
from .helpers import Errors, check
_SIZES: Final = frozenset({"small", "large"})
@router.post("/key/generate", tags=["keys"], dependencies=[Depends(check)])
async def generate(data: NewKey, http: fastapi.Request, user: UserAPIKeyAuth = Depends(auth), by: str = Header(None)):
    '''Generate a key.

    Parameters:
    - max_budget: Optional[float] - Maximum,
      in dollars
    - unknown: str - Nothing

    Returns:
    - key: str
    '''
    valid = ["b", "a"]
    return data in _SIZES
@router.get("/key/list")
async def keys(
    page: int = Query(1, ge=1), kind: Annotated[str, Query(max_length=3)] = "x", *, alias: "str" = Query(None)
) -> Listing:
    raise Errors.of(page)
@router.get("/key/info")
async def info(key: str):
    found = {"status": "active"}
    return dict(info=found)
@router.get("/v1/models")
async def models():
    return something()
"""
HELPERS = """
class Errors:
    @staticmethod
    def of(page):
        if page:
            return ProxyException(message=page, code=status.HTTP_503_SERVICE_UNAVAILABLE)
        raise ProxyException(message=f"No {page}. Retry", type="x", code=status.HTTP_404_NOT_FOUND)
def check(data):
    raise HTTPException(status_code=400, detail={"error": f"Bad {data}"})
"""
PRISMA = """
model LiteLLM_VerificationToken {
  token String @id
  agent_id String?
  table LiteLLM_BudgetTable? @relation(fields: [budget_id])
}
model LiteLLM_BudgetTable {
  soft_budget Float?
}
model LiteLLM_DeletedVerificationToken {
  token String
}
"""


@pytest.fixture(name="release")
def schema_of_a_small_release(tmp_path: Path) -> Schema:
    wheel = tmp_path / "litellm-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("litellm/proxy/_types.py", TYPES)
        archive.writestr("litellm/proxy/base.py", BASE)
        archive.writestr("litellm/proxy/management_endpoints/keys.py", ENDPOINTS)
        archive.writestr("litellm/proxy/management_endpoints/helpers.py", HELPERS)
        archive.writestr("litellm/proxy/schema.prisma", PRISMA)
        archive.writestr("litellm/other.py", "not Python")
    reads = {
        **dict.fromkeys((GENERATE, UPDATE), ()),
        "GET /key/list": ("keys", "total_count", "total_pages", "keys.token", "keys.other"),
        INFO: ("info", "info.status", "info.agent_id", "info.table", "info.table.soft_budget", "info.other"),
        "GET /v1/models": ("data",),
    }
    return read_schema(Package(wheel), "1.2.3", reads)


def test_the_schema_of_a_release(release: Schema) -> None:
    generate, listing = release.routes[GENERATE], release.routes["GET /key/list"]
    assert generate
    assert generate.fields == {
        "max_budget": {
            "type": "float | None",
            "default": "None",
            "documentation": "Optional[float] - Maximum, in dollars",
        },
        "kind": {"type": "one of one, two | None", "default": "Kind.ONE"},
        "windows": {"type": "list[Window] | None", "default": "None"},
        "needed": {"type": "str", "required": "yes"},
        "also_needed": {"type": "int", "limits": "le=9", "required": "yes"},
        "made": {"type": "list", "default": "list"},
        "tpm_limit": {"type": "int | None", "default": "None", "limits": "ge=0", "description": "'per minute'"},
        "names": {"type": "list[str] | None", "default": "[]"},
        "mode": {"type": "one of a, b | None", "default": "None"},
        "router": {"type": "Router | None", "default": "None"},
    }
    assert (generate.refusals, generate.functions) == (("400 Bad",), ("check", "generate"))
    assert listing
    assert generate.nested == {
        "router.num_retries": {"type": "int | None", "default": "None"},
        "windows.max_budget": {"type": "float"},
    }
    assert generate.choices == {"_SIZES": ["large", "small"], "valid": ["a", "b"]}
    assert listing.refusals == ("404 No … . Retry", "503")
    assert listing.response == {
        "keys": {"type": "list[UserAPIKeyAuth | str]"},
        "total_count": {"type": "int | None"},
        "keys.token": {"type": "String"},
    }
    information, models = release.routes[INFO], release.routes["GET /v1/models"]
    assert information
    assert information.response == {
        "info": {},
        "info.status": {},
        "info.agent_id": {"type": "String?"},
        "info.table": {"type": "dict | None"},
        "info.table.soft_budget": {"type": "Float?"},
    }
    assert models
    assert models.response is None
    assert listing.fields == {
        "page": {"type": "int", "default": "1", "limits": "ge=1"},
        "kind": {"type": "str", "default": "'x'", "limits": "max_length=3"},
        "alias": {"type": "'str'", "default": "None"},
    }
    assert release.routes[UPDATE] is None
    assert set(release.row) == {"max_budget", "kind", "windows", "token", "agent_id", "table", "table.soft_budget"}
    assert (release.unarchived, release.route_groups) == (("agent_id",), ("info_routes", "llm_api_routes"))
    assert release.metadata == ("guardrails", "tags")
    assert from_json(json.loads(json.dumps(to_json(release)))) == release


# The comparison


def test_a_release_that_knows_everything_has_no_problem(ours: Usage) -> None:
    schema = all_known(ours)
    assert (unknown(ours, schema), problems(ours, schema)) == ([], [])
    assert known_by(ours, [schema]) == [["", "1.0.0"]]


def test_a_field_that_is_removed_from_the_schema_is_a_problem(ours: Usage) -> None:
    for request, fields in ours.sent.items():
        for field in fields:
            schema = without(all_known(ours), request, field)
            assert problems(ours, schema) == [f"it does not know {request} {field}"]
    for request, paths in ours.responses.items():
        for path in paths:
            schema = with_fields(all_known(ours), request, {path: None}, "response")
            assert problems(ours, schema) == [f"it does not know {request} → {path}"]
    for name in ours.row:
        schema = all_known(ours)
        schema = replace(schema, row={other: value for other, value in schema.row.items() if other != name})
        assert problems(ours, schema) == [f"it does not know row {name}"]
    schema = all_known(ours)
    for what, broken in (
        *((request, replace(schema, routes={**schema.routes, request: None})) for request in ours.sent),
        ("metadata tags", replace(schema, metadata=tuple(set(schema.metadata) - {"tags"}))),
        ("route group info_routes", replace(schema, route_groups=("llm_api_routes", "management_routes"))),
    ):
        assert problems(ours, broken) == [f"it does not know {what}"]


@pytest.mark.parametrize(
    ("request_name", "field", "declared", "problem"),
    [
        (UPDATE, "max_budget", "list[str]", "is list[str], which does not accept 1.5"),
        (UPDATE, "max_budget", "float", "is float, which does not accept null"),
        (UPDATE, "max_budget", "int | None", "is int | None, which does not accept 1.5"),
        (UPDATE, "models", "str | None", 'is str | None, which does not accept ["text"]'),
        (GENERATE, "key_type", "one of default, other | None", 'does not accept "llm_api"'),
        (GENERATE, "budget_limits", "dict | None", "is dict | None, which does not accept [{"),
        ("GET /key/list", "size", "bool", 'is bool, which does not accept "1"'),
        ("GET /key/list", "substring_matching", "str", 'is str, which accepts "neither"'),
        ("POST /key/delete", "keys", "list[int]", "is list[int], which does not accept ["),
    ],
)
def test_a_type_that_does_not_accept_what_is_sent_is_a_problem(
    ours: Usage, request_name: str, field: str, declared: str, problem: str
) -> None:
    schema = with_fields(all_known(ours), request_name, {field: {"type": declared}})
    (found,) = problems(ours, schema)
    assert found.startswith(f"{request_name} {field} ")
    assert problem in found


@pytest.mark.parametrize(
    ("request_name", "field", "limits", "problem"),
    [
        ("GET /key/list", "size", "ge=1, le=10", 'is ge=1, le=10, which does not accept "100"'),
        ("GET /key/list", "size", "ge=1, le=100", None),
        ("GET /key/list", "key_alias", "min_length=50", "is min_length=50, which does not accept"),
        (GENERATE, "max_budget", "ge=5", "is ge=5, which does not accept 1.5"),
        (GENERATE, "max_budget", "gt=1, lt=2", None),
        (GENERATE, "max_budget", "gt=MINIMUM", None),
        (GENERATE, "key_alias", "max_length=3", "is max_length=3, which does not accept"),
        (GENERATE, "key_alias", "pattern='^virtkey-[a, b]'", None),
        (UPDATE, "tpm_limit", "lt=1", "is lt=1, which does not accept 1"),
    ],
)
def test_limits_that_refuse_what_is_sent_are_a_problem(
    ours: Usage, request_name: str, field: str, limits: str, problem: str | None
) -> None:
    found = problems(ours, with_fields(all_known(ours), request_name, {field: {"type": "Any", "limits": limits}}))
    assert len(found) == (problem is not None)
    assert all(line.startswith(f"{request_name} {field} {problem}") for line in found)


@pytest.mark.parametrize(
    ("request_name", "field", "is_problem"),
    [(GENERATE, "tomorrow", True), (GENERATE, "max_budget", True), (UPDATE, "key", False)],
)
def test_a_required_field_that_is_not_always_sent_is_a_problem(
    ours: Usage, request_name: str, field: str, is_problem: bool
) -> None:
    schema = with_fields(all_known(ours), request_name, {field: {"type": "Any", "required": "yes"}})
    expected = [f"{request_name} requires {field}, which is not always sent"] if is_problem else []
    assert problems(ours, schema) == expected


NESTED = {
    "router_settings": dict.fromkeys(ROUTER_KINDS, "float | None"),
    "budget_limits": {"budget_duration": "str", "max_budget": "float", "reset_at": "datetime | None"},
    "model_max_budget": {"budget_limit": "float", "time_period": "str"},
}


@pytest.mark.parametrize(
    ("name", "declared", "problem"),
    [
        ("router_settings.num_retries", None, "it does not know {}"),
        ("budget_limits.max_budget", None, "it does not know {}"),
        ("model_max_budget.time_period", None, "it does not know {}"),
        ("budget_limits.reset_at", None, None),
        ("router_settings.num_retries", "list[str]", "{} is list[str], which does not accept 1"),
        ("budget_limits.max_budget", "int", None),
        ("budget_limits.max_budget", "str", "{} is str, which does not accept 1"),
        ("model_max_budget.budget_limit", "int", "{} is int, which does not accept 1.5"),
    ],
)
def test_names_in_structured_settings_are_compared(
    ours: Usage, name: str, declared: str | None, problem: str | None
) -> None:
    nested: dict[str, Field | None] = {
        f"{option}.{inner}": {"type": kind} for option, each in NESTED.items() for inner, kind in each.items()
    }
    nested |= {f"router_settings.{inner}": {"type": kind} for inner, kind in ROUTER_KINDS.items()}
    schema = with_fields(all_known(ours), GENERATE, nested, "nested")
    schema = with_fields(schema, GENERATE, {"model_max_budget": {"type": "dict[str, BudgetConfig] | None"}})
    assert problems(ours, schema) == []
    changed = with_fields(schema, GENERATE, {name: {"type": declared} if declared else None}, "nested")
    assert problems(ours, changed) == ([problem.format(f"{GENERATE} {name}")] if problem else [])


@pytest.mark.parametrize(
    ("request_name", "path", "declared"),
    [
        ("GET /key/list", "total_pages", "str"),
        ("GET /key/list", "keys", "dict"),
        ("GET /key/list", "keys", "list[int]"),
        (INFO, "info", "list[dict]"),
        (INFO, "info.max_budget", "String?"),
        (INFO, "info.models", "String"),
        ("GET /v1/models", "data", "dict | None"),
        ("GET /v2/team/list", "total_pages", "int | None"),
        ("GET /v2/team/list", "teams.spend", "str"),
        ("GET /health/readiness", "litellm_version", "list[str]"),
        (GENERATE, "key", "str | None"),
        ("row", "max_budget", "list[str]"),
        ("row", "token", "String?"),
        ("row", "expires", "Int?"),
    ],
)
def test_a_type_that_is_not_accepted_when_read_is_a_problem(
    ours: Usage, request_name: str, path: str, declared: str
) -> None:
    schema, name = all_known(ours), f"{request_name} → {path}"
    if request_name == "row":
        schema, name = replace(schema, row={**schema.row, path: {"type": declared}}), f"row {path}"
    else:
        schema = with_fields(schema, request_name, {path: {"type": declared}}, "response")
    (found,) = problems(ours, schema)
    assert found.startswith(f"{name} is {declared}, but this collection accepts ")


@pytest.mark.parametrize(
    ("name", "declared", "problem"),
    [
        ("router_settings.num_retries", "int | None", None),
        ("router_settings.routing_strategy", "str | None", None),
        ("unsent.tomorrow", "int", None),
        ("object_permission.mcp_tool_search_enabled", "bool | None", None),
        ("router_settings.tomorrow", "float | None", "is float, but is converted to nothing"),
        ("router_settings.num_retries", "float | None", "is float, but is converted to int"),
        ("object_permission.tomorrow", "bool", "is bool, but is converted to nothing"),
    ],
)
def test_a_number_in_a_dictionary_that_is_not_converted_is_a_problem(
    ours: Usage, name: str, declared: str, problem: str | None
) -> None:
    sent = {f"router_settings.{inner}": kind for inner, kind in ROUTER_KINDS.items()}
    types = {**sent, "object_permission.mcp_servers": "list[str]", name: declared}
    schema = with_fields(all_known(ours), GENERATE, {inner: {"type": kind} for inner, kind in types.items()}, "nested")
    expected = [f"{name} {problem}; see setting_types"] if problem else []
    assert problems(ours, schema) == expected


def test_a_response_that_is_not_declared_any_more_is_a_problem(ours: Usage) -> None:
    old = all_known(ours)
    route = old.routes[LISTING]
    assert route
    undeclared_route = replace(old, version="2.0.0", routes={**old.routes, LISTING: replace(route, response=None)})
    by_name = with_fields(replace(old, version="2.0.0"), LISTING, {"total_pages": {}}, "response")
    removed = with_fields(old, LISTING, {"total_pages": None}, "response")
    suffix = "1.0.0 declares types that 2.0.0 does not"
    assert problems(ours, old, undeclared_route) == [f"{LISTING} → keys, total_count, total_pages: {suffix}"]
    assert problems(ours, old, by_name) == [f"{LISTING} → total_pages: {suffix}"]
    assert problems(ours, old, removed) == [f"it does not know {LISTING} → total_pages"]
    assert problems(ours, undeclared_route, old) == problems(ours, undeclared_route, undeclared_route) == []
    assert f"{LISTING} → total_pages: {suffix}" in report(ours, [old, by_name])


def test_what_a_release_does_not_declare_is_named(ours: Usage) -> None:
    schema = with_fields(all_known(ours), "GET /v1/models", {"data": {}, "data.id": {}}, "response")
    route = schema.routes[INFO]
    assert route
    schema = replace(schema, routes={**schema.routes, INFO: replace(route, response=None)})
    first, second = undeclared(ours, schema)
    assert first.startswith("GET /key/info → info, info.access_group_ids, ")
    assert first.endswith(" was not compared")
    assert second == "GET /v1/models → data, data.id was compared by name only"
    assert problems(ours, schema) == []
    assert second in report(ours, [schema])


def test_metadata_that_clearing_would_remove_are_a_problem(ours: Usage) -> None:
    schema = all_known(ours)
    (problem,) = problems(ours, replace(schema, metadata=(*schema.metadata, "tomorrow")))
    assert problem == "unset: [metadata] would remove tomorrow; add it to KEPT_METADATA"


def test_the_documentation_names_the_first_release_of_an_option(ours: Usage) -> None:
    schemas = [replace(all_known(ours), version=version) for version in ("1.77.5", "1.110.2")]
    before = without(replace(all_known(ours), version="1.77.4"), GENERATE, "auto_rotate")
    assert (
        misdocumented(before, {"auto_rotate": "1.77.5"}) == misdocumented(schemas[0], {"auto_rotate": "1.77.5"}) == []
    )
    prefix = "the documentation says that auto_rotate requires"
    assert misdocumented(schemas[0], {"auto_rotate": "1.77.6"}) == [f"{prefix} 1.77.6, but 1.77.5 knows it"]
    assert misdocumented(before, {"auto_rotate": "1.77"}) == [f"{prefix} 1.77, but 1.77.4 does not know it"]
    assert [line.split()[4] for line in wrong_pages(schemas)] == [
        *("budget_limits", "agent_id", "access_group_ids", "router_settings")
    ]


def test_what_changed_between_two_releases(ours: Usage) -> None:
    old, new = all_known(ours), all_known(ours, "2.0.0")
    assert not any(changes(ours, old, new).values())
    old = without(old, GENERATE, "agent_id")
    route = new.routes[GENERATE]
    assert route
    fields = {**route.fields, "rpm_limit": {"type": "int", "limits": "ge=0"}, "tomorrow": {"type": "str"}}
    generate = replace(route, fields=fields, refusals=("403 No", "400 Same"), functions=("new_check",))
    old_list = replace(old.routes["GET /key/list"], refusals=("400 Same", "500 Old"))  # type: ignore[type-var]
    old = replace(old, routes={**old.routes, "GET /key/list": old_list})
    new = replace(new, routes={**new.routes, GENERATE: generate}, row={**new.row, "tomorrow": {}})
    new = replace(new, metadata=(*new.metadata, "later"), route_groups=(*new.route_groups, "more"), unarchived=("row",))
    found = {title: lines for title, lines in changes(ours, old, new).items() if lines}
    assert found == {
        "known now": [f"{GENERATE} agent_id"],
        "changed": [f"{GENERATE} rpm_limit: type Any → int", f"{GENERATE} rpm_limit: limits none → ge=0"],
        "new in requests that we send": [f"{GENERATE} agent_id: Any", f"{GENERATE} tomorrow: str"],
        "new in the rows that we read": ["tomorrow"],
        "new in metadata": ["later"],
        "new route groups": ["more"],
        "columns that the archive of deleted keys lacks": ["row"],
        "new refusals": ["400 Same (generate)", "403 No (generate)"],
        "gone refusals": ["400 Same (list)", "500 Old (list)"],
        "new functions that handle requests for keys (read them)": ["new_check"],
    }
    text = "\n".join(report(ours, [old, new]))
    assert f"{GENERATE} agent_id  -      yes" in text
    assert "What changed for this collection from 1.0.0 to 2.0.0" in text
    assert "POST /key/generate: tomorrow" in text


def test_other_changes_between_two_releases(ours: Usage) -> None:
    old, new = all_known(ours), all_known(ours, "2.0.0")
    listing = new.routes["GET /key/list"]
    assert listing
    words = "Optional[str] - The name of the key, which"
    old = with_fields(old, UPDATE, {"key_alias": {"documentation": f"{words} can be empty, as text"}})
    new = with_fields(new, UPDATE, {"key_alias": {"documentation": f"{words} is a pattern, as text"}})
    old = with_fields(old, UPDATE, {"unused": {"default": "None"}})
    new = with_fields(new, UPDATE, {"unused": {"default": "True"}})
    new = with_fields(new, "GET /key/list", {"total_count": {"type": "int"}}, "response")
    for version, columns in ((old, ["a", "b"]), (new, ["b", "c"])):
        for request in ("GET /key/list", INFO):
            route = version.routes[request]
            assert route
            version.routes[request] = replace(route, choices={"columns": columns})  # type: ignore[index]
    assert {title: lines for title, lines in changes(ours, old, new).items() if lines} == {
        "changed": [
            "GET /key/list → total_count: type int | None → int",
            "POST /key/update key_alias: documentation … the key, which can be empty, as text → "
            "… the key, which is a pattern, as text",
        ],
        "lists of names in functions that handle requests": ["GET /key/info columns: +c, -a"],
        "changed defaults of fields that we do not send": ["POST /key/update unused: None → True"],
    }
    for request, route in new.routes.items():
        assert route
        new.routes[request] = replace(route, refusals=("401 No",))  # type: ignore[index]
    assert changes(ours, old, new)["new refusals"] == [f"401 No ({len(ours.sent)} of {len(ours.sent)} requests)"]


def test_a_refusal_that_another_request_had_before_is_new(ours: Usage) -> None:
    def with_refusals(version: str, refusals: Mapping[str, tuple[str, ...]]) -> Schema:
        schema = all_known(ours, version)
        routes = {
            name: replace(route, refusals=refusals.get(name, ())) for name, route in schema.routes.items() if route
        }
        return replace(schema, routes=routes)

    old = with_refusals("1.0.0", {INFO: ("503",)})
    new = with_refusals("2.0.0", {INFO: ("503",), GENERATE: ("503",), UPDATE: ("503",)})
    assert changes(ours, old, new)["new refusals"] == ["503 (generate, update)"]
    assert changes(ours, new, old)["gone refusals"] == ["503 (generate, update)"]
    old = replace(old, routes={**old.routes, UPDATE: None})
    assert changes(ours, old, new)["new refusals"] == ["503 (generate)"]


def test_an_empty_table_is_not_printed(ours: Usage) -> None:
    lines = report(ours, [all_known(ours)])
    assert lines[0] == "Compared: 1.0.0"
    assert not any("not all of these releases know" in line for line in lines)


def test_a_type_in_another_notation_is_no_change(ours: Usage) -> None:
    old, new = all_known(ours), all_known(ours)
    old = replace(old, row={**old.row, "metadata": {"type": "dict[Any, Any] | None"}})
    new = replace(new, row={**new.row, "metadata": {"type": "dict | None"}})
    assert not any(changes(ours, old, new).values())


def test_all_releases_exclude_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["audit", "--all", "1.106.2"])
    with pytest.raises(SystemExit) as error:
        audit.main()
    assert error.value.code == 2
    assert "--all stands for all releases; remove either it or 1.106.2" in capsys.readouterr().err


def test_the_matrix_releases_are_those_of_the_matrix() -> None:
    releases = matrix_releases()
    assert len(releases) > 3
    assert all(release.startswith("1.") for release in releases)


# Types


@pytest.mark.parametrize(
    ("declared", "accepted", "refused"),
    [
        ("float | None", [1, 1.5, None], ["1", True, [1]]),
        ("int", [1, 1.0], [1.5, None, "1"]),
        ("'str'", ["a"], [1, None]),
        ("bool", [True], [1, "true"]),
        ("datetime | None", ["2030-01-01T00:00:00", None], ["soon", 5]),
        ("list[str] | None", [[], ["a"], None], [["a", 1], "a", {}]),
        ("list", [[], [1, "a"]], [{}]),
        ("dict[str, list[str] | None]", [{}, {"a": ["b"]}, {"a": None}], [{"a": "b"}, []]),
        ("one of a, b | None", ["a", "b", None], ["c", 1]),
        ("list[one of a, b]", [["a", "b"], []], [["c"]]),
        ("UpdateRouterConfig | None", [{}, {"a": 1}, None], ["a", []]),
        ("Any", [None, 1, []], []),
        ("", [None, 1, []], []),
        ("String[]", [["a"]], ["a", None]),
        ("Json?", [None, {}, []], []),
    ],
)
def test_the_values_that_a_type_accepts(declared: str, accepted: list[Any], refused: list[Any]) -> None:
    assert [value for value in [*accepted, *refused] if is_accepted(declared, value)] == accepted
    assert all(is_accepted(declared, value) for value in examples(declared))


def test_the_text_of_a_query_is_converted() -> None:
    accepted = [("int", "5"), ("bool | None", "true"), ("str", "5"), ("list[str]", "a"), ("datetime", "2030-01-01")]
    refused = [("int", "a"), ("bool", "neither"), ("list[int]", "a")]
    assert [one for one in [*accepted, *refused] if is_accepted(*one, in_query=True)] == accepted


def test_the_examples_of_a_type() -> None:
    assert examples("list[UserAPIKeyAuth | str] | None") == [[{}], ["text"], None]
    assert examples("dict[str, float]") == [{"text": 1.5}]
    assert examples("one of a, b | None") == ["a", None]
    assert examples("Json") == examples("") == examples("Any") == []


# Releases on the registry


VERSIONS = ["1.62.0", "1.61.3", "1.61.10", "1.61.0rc1", "1.62.0rc1", "1.60.0.post1", "1.60.0", "1.63.0rc1", "1.64.1"]


@pytest.mark.parametrize(
    ("names", "versions", "skipped"),
    [
        (["newest"], ["1.64.1"], []),
        (["1.61"], ["1.61.10"], []),
        (["1.61.3", "1.61.0rc1"], ["1.61.3", "1.61.0rc1"], []),
        (["1.64.1", "newest"], ["1.64.1"], []),
        (["1.63"], [], ["1.63"]),
        (["all"], ["1.60.0.post1", "1.61.10", "1.62.0", "1.64.1"], ["1.63"]),
    ],
)
def test_names_of_releases_stand_for_versions(names: list[str], versions: list[str], skipped: list[str]) -> None:
    lines: list[str] = []
    assert resolve(names, VERSIONS, lines.append) == versions
    assert lines == [f"LiteLLM {name} is skipped, because it has no final release." for name in skipped]


@pytest.mark.parametrize("name", ["1.999.0", "1.999", "1.61.99", "latest"])
def test_an_unknown_release_is_one_sentence(name: str) -> None:
    with pytest.raises(SystemExit) as error:
        resolve([name], VERSIONS, pytest.fail)
    assert error.value.code == (f"LiteLLM {name} is not on the package registry. The newest final release is 1.64.1.")


@pytest.mark.parametrize("versions", ["1.1, 1.2rc1, 1.2", "none"])
def test_the_registry_lists_its_versions(monkeypatch: pytest.MonkeyPatch, versions: str) -> None:
    errors = f"WARNING: x\nERROR: Could not find a version that satisfies litellm<0 (from versions: {versions})\n"
    monkeypatch.setattr("subprocess.run", lambda *args, **options: CompletedProcess(args, 1, "", errors))
    if versions != "none":
        assert registry.published() == ["1.1", "1.2rc1", "1.2"]
        return
    with pytest.raises(SystemExit, match="Cannot list the releases of LiteLLM on the package registry"):
        registry.published()


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = "WARNING: x\nERROR: Could not find a version (from versions: 1, 2)\nERROR: No matching distribution\n"
    monkeypatch.setattr("subprocess.run", lambda *args, **options: CompletedProcess(args, 1, "", errors))
    with pytest.raises(SystemExit) as error, registry.wheel("1.2.3"):
        pass
    assert error.value.code == "Cannot download LiteLLM 1.2.3. No matching distribution"


@pytest.fixture(name="read_versions")
def schemas_are_read_from_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ours: Usage) -> list[str]:
    """Return the versions whose wheels were read."""
    read: list[str] = []

    @contextmanager
    def wheel(version: str) -> Iterator[Path]:
        read.append(version)
        yield tmp_path / version

    monkeypatch.setattr(audit, "CACHE", tmp_path / "contract")
    monkeypatch.setattr(audit, "wheel", wheel)
    monkeypatch.setattr(audit, "Package", str)
    monkeypatch.setattr(audit, "read_schema", lambda _package, version, _reads: all_known(ours, version))
    monkeypatch.setattr(audit, "published", lambda: VERSIONS)
    return read


def test_a_minor_is_read_again_when_it_has_a_new_release(
    monkeypatch: pytest.MonkeyPatch, ours: Usage, read_versions: list[str]
) -> None:
    for versions, read in ((VERSIONS, ["1.61.10"]), (VERSIONS, []), ([*VERSIONS, "1.61.11"], ["1.61.11"])):
        monkeypatch.setattr(audit, "published", lambda versions=versions: versions)
        read_versions.clear()
        (schema,) = schemas_of(["1.61"], ours)
        assert (read_versions, schema.version) == (read, "1.61.11" if len(versions) > len(VERSIONS) else "1.61.10")


def test_a_saved_version_needs_no_registry(
    monkeypatch: pytest.MonkeyPatch, ours: Usage, read_versions: list[str]
) -> None:
    schemas_of(["1.61.3"], ours)
    monkeypatch.setattr(audit, "published", pytest.fail)
    assert schemas_of(["1.61.3"], ours) == [all_known(ours, "1.61.3")]
    assert read_versions == ["1.61.3"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"version": "1.61.3"}', '{"version": 1, "routes": []}', "null"),
        *({"version": "1.61.4"}, {"routes": {}}, {"routes": []}, {"row": []}, {"metadata": {}}, {"route_groups": "a"}),
        *({"fields": []}, {"fields": {"a": "int"}}, {"response": []}, {"refusals": "503"}, {"choices": {"a": 1}}),
    ],
)
def test_a_damaged_file_is_read_again(ours: Usage, read_versions: list[str], content: str | dict[str, Any]) -> None:
    schemas_of(["1.61.3"], ours)
    (file,) = audit.CACHE.iterdir()
    if isinstance(content, dict):
        saved = json.loads(file.read_text())
        (part,) = content
        owner = saved if part in saved else saved["routes"][GENERATE]
        assert part in owner
        owner.update(content)
        content = json.dumps(saved)
    file.write_text(content)
    assert schemas_of(["1.61.3"], ours) == [all_known(ours, "1.61.3")]
    assert read_versions == ["1.61.3", "1.61.3"]
    assert [path.name for path in audit.CACHE.iterdir()] == [file.name]


def test_a_run_that_is_interrupted_leaves_no_damaged_file(
    monkeypatch: pytest.MonkeyPatch, ours: Usage, read_versions: list[str]
) -> None:
    def interrupted(path: Path, _text: str, **_options: str) -> None:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        schemas_of(["1.61.3"], ours)
    assert not list(audit.CACHE.iterdir())
