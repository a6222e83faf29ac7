# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make contract` knows everything that the code sends, and reads the schema of a release correctly."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.settings import SETTINGS
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.audit import (
    matrix_releases,
    problems,
    report,
    wrong_pages,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.compare import (
    changes,
    known_by,
    misdocumented,
    unknown,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.package import Package
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.schema import (
    Route,
    Schema,
    from_json,
    read_schema,
    to_json,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.contract.usage import (
    PLUGINS,
    Usage,
    names_in_source,
    usage,
)

GENERATE, UPDATE = "POST /key/generate", "POST /key/update"


@pytest.fixture(scope="module", name="ours")
def usage_of_this_collection() -> Usage:
    return usage()


def all_known(ours: Usage, version: str = "1.0.0") -> Schema:
    """Return the schema of a release that knows everything."""
    routes = {name: Route({field: {"type": "str"} for field in fields}) for name, fields in ours.sent.items()}
    row = {name: {"type": "str"} for name in ours.row}
    return Schema(version, routes, row, (), tuple(ours.routes), tuple(ours.in_metadata))


def without(schema: Schema, request: str, field: str) -> Schema:
    route = schema.routes[request]
    assert route
    fields = {name: value for name, value in route.fields.items() if name != field}
    return replace(schema, routes={**schema.routes, request: replace(route, fields=fields)})


# What this collection sends and reads


def test_every_setting_is_sent(ours: Usage) -> None:
    for name, one in SETTINGS.items():
        for new, request in ((True, GENERATE), (False, UPDATE)):
            value = "llm_api" if name == "key_type" else "text"
            assert set(one.to_request({} if name == "metadata" else value, new=new)) <= ours.sent[request], name
    assert {"key_alias", "key", "duration", "spend", "temp_budget_increase"} <= ours.sent[GENERATE] | ours.sent[UPDATE]
    assert {"token", "expires", "created_at", "budget_limits", "org_id"} <= ours.row


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
class Kind(str, Enum):
    ONE = "one"
    TWO = "two"
class LiteLLMRoutes(Enum):
    llm_api_routes = ["/v1"]
    info_routes = llm_api_routes + ["/key/info"]
class Base(BaseModel):
    max_budget: Optional[float] = None
    kind: Optional[Kind] = Kind.ONE
class NewKey(Base):
    tpm_limit: int | None = Field(default=None, ge=0, description="per minute")
    names: Optional[List[str]] = []
    mode: Literal["b", "a"] | None = None
    shared: ClassVar[int] = 1
class UserAPIKeyAuth(Base):
    token: str
LiteLLM_ManagementEndpoint_MetadataFields: Final = ["tags"]
LiteLLM_ManagementEndpoint_MetadataFields_Premium = ["guardrails"]
"""
ENDPOINTS = """
from litellm.proxy._types import *
from .helpers import check
@router.post("/key/generate", tags=["keys"])
async def generate(data: NewKey, http: fastapi.Request, user: UserAPIKeyAuth = Depends(auth), by: str = Header(None)):
    check(data)
@router.get("/key/list")
async def keys(page: int = Query(1, ge=1), kind: Annotated[str, 1] = "x", *, alias: "str" = Query(None)):
    raise ProxyException(message=f"No {page}. Retry", type="x", code=status.HTTP_404_NOT_FOUND)
"""
HELPERS = """
def check(data):
    raise HTTPException(status_code=400, detail={"error": f"Bad {data}"})
"""
PRISMA = """
model LiteLLM_VerificationToken {
  token String @id
  agent_id String?
  table LiteLLM_BudgetTable? @relation(fields: [budget_id])
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
        archive.writestr("litellm/proxy/management_endpoints/keys.py", ENDPOINTS)
        archive.writestr("litellm/proxy/management_endpoints/helpers.py", HELPERS)
        archive.writestr("litellm/proxy/schema.prisma", PRISMA)
        archive.writestr("litellm/other.py", "not Python")
    return read_schema(Package(wheel), "1.2.3", [GENERATE, "GET /key/list", UPDATE])


def test_the_schema_of_a_release(release: Schema) -> None:
    generate, listing = release.routes[GENERATE], release.routes["GET /key/list"]
    assert generate
    assert generate.fields == {
        "max_budget": {"type": "float | None", "default": "None"},
        "kind": {"type": "one of one, two | None", "default": "Kind.ONE"},
        "tpm_limit": {"type": "int | None", "default": "None", "limits": "ge=0", "description": "'per minute'"},
        "names": {"type": "list[str] | None", "default": "[]"},
        "mode": {"type": "one of a, b | None", "default": "None"},
    }
    assert (generate.refusals, generate.functions) == (("400 Bad",), ("check", "generate"))
    assert listing
    assert listing.refusals == ("404 No … . Retry",)
    assert {name: one["type"] for name, one in listing.fields.items()} == {
        "page": "int",
        "kind": "str",
        "alias": "'str'",
    }
    assert release.routes[UPDATE] is None
    assert set(release.row) == {"max_budget", "kind", "token", "agent_id"}
    assert (release.unarchived, release.route_groups) == (("agent_id",), ("info_routes", "llm_api_routes"))
    assert release.metadata == ("guardrails", "tags")
    assert from_json(to_json(release)) == release


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
    schema = all_known(ours)
    for what, broken in (
        (UPDATE, replace(schema, routes={**schema.routes, UPDATE: None})),
        ("row expires", replace(schema, row={name: {} for name in schema.row if name != "expires"})),
        ("metadata tags", replace(schema, metadata=tuple(set(schema.metadata) - {"tags"}))),
        ("route group info_routes", replace(schema, route_groups=("llm_api_routes", "management_routes"))),
    ):
        assert problems(ours, broken) == [f"it does not know {what}"]


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
    generate = Route(fields, ("403 No", "400 Same"), ("new_check",))
    old_list = Route(old.routes["GET /key/list"].fields, ("400 Same", "500 Old"))  # type: ignore[union-attr]
    old = replace(old, routes={**old.routes, "GET /key/list": old_list})
    new = replace(new, routes={**new.routes, GENERATE: generate}, row={**new.row, "tomorrow": {}})
    new = replace(new, metadata=(*new.metadata, "later"), route_groups=(*new.route_groups, "more"), unarchived=("row",))
    found = {title: lines for title, lines in changes(ours, old, new).items() if lines}
    assert found == {
        "known now": [f"{GENERATE} agent_id"],
        "changed": [f"{GENERATE} rpm_limit: type str → int", f"{GENERATE} rpm_limit: limits none → ge=0"],
        "new in requests that we send": [f"{GENERATE} agent_id: str", f"{GENERATE} tomorrow: str"],
        "new in the rows that we read": ["tomorrow"],
        "new in metadata": ["later"],
        "new route groups": ["more"],
        "columns that the archive of deleted keys lacks": ["row"],
        "new refusals": ["403 No (generate)"],
        "gone refusals": ["500 Old (list)"],
        "new functions that handle requests for keys (read them)": ["new_check"],
    }
    text = "\n".join(report(ours, [old, new]))
    assert f"{GENERATE} agent_id  -      yes" in text
    assert "What changed for this collection from 1.0.0 to 2.0.0" in text
    assert "POST /key/generate: tomorrow" in text


def test_a_type_in_another_notation_is_no_change(ours: Usage) -> None:
    old, new = all_known(ours), all_known(ours)
    old = replace(old, row={**old.row, "metadata": {"type": "dict[Any, Any] | None"}})
    new = replace(new, row={**new.row, "metadata": {"type": "dict | None"}})
    assert not any(changes(ours, old, new).values())


def test_the_matrix_releases_are_those_of_the_matrix() -> None:
    releases = matrix_releases()
    assert len(releases) > 3
    assert all(release.startswith("1.") for release in releases)
