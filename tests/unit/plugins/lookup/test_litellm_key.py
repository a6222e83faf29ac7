# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup in templates, as ansible-core renders them, against an HTTP server that lists keys."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible.utils.display import Display
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import derive
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str

MASTER_KEY = "sk-the.master/key"
SECRET = "sk-0123456789abcdef"
ANOTHER = "sk-fedcba9876543210"
DATA = {"litellm_key_alias": "virtkey-a", "litellm_virtual_key": SECRET}

Render = Callable[..., Any]


def row(alias: str, secret: str, **fields: Any) -> dict[str, Any]:
    return {"token": hashlib.sha256(secret.encode()).hexdigest(), "key_alias": alias, **fields}


def lookup_template(*terms: object, function: str = "lookup", **options: object) -> str:
    """Return a template with the lookup."""
    arguments = [*map(repr, terms), *(f"{name}={value!r}" for name, value in options.items())]
    return f"{{{{ {function}('rhpds.litellm_virtual_keys.litellm_key', {', '.join(arguments)}) }}}}"


@pytest.fixture(autouse=True)
def _no_connection_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LITELLM_URL", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(httpserver: HTTPServer) -> dict[str, Any]:
    """Return variables with the connection to a proxy that has the keys a and b."""
    rows = [row("virtkey-a", SECRET), row("virtkey-b", ANOTHER), row("virtkey-ab", "sk-x")]

    def listing(request: Request) -> Response:
        assert request.headers["Authorization"] == f"Bearer {MASTER_KEY}"
        keys = [row for row in rows if row["key_alias"] == request.args.get("key_alias")]
        return Response(json.dumps({"keys": keys, "total_pages": 1}))

    httpserver.expect_request("/key/list", method="GET").respond_with_handler(listing)
    return {
        "litellm_url": httpserver.url_for("/v1"),
        "litellm_master_key": MASTER_KEY,
        "litellm_retries": 0,
        "rows": rows,
    }


def failure(render: Render, text: str, **variables: Any) -> str:
    with pytest.raises(AnsibleError) as failed:
        render(text, **variables)
    message = str(failed.value)
    for secret in (MASTER_KEY, SECRET, ANOTHER):
        assert secret not in message
    return message


# Sources of the secret


@pytest.mark.parametrize(
    "saved",
    [
        DATA,
        {f"hub_{name}": value for name, value in DATA.items()},
        {"users": {"user1": DATA}},
    ],
    ids=["at the top", "with a prefix", "below a user"],
)
def test_the_secret_is_read_from_the_user_data_file(
    template: Render, proxy: dict[str, Any], tmp_path: Path, saved: dict[str, Any]
) -> None:
    (tmp_path / "provision-user-data.yaml").write_text(yaml.safe_dump(saved))
    place = trust_as_template("{{ somewhere }}")
    assert template(lookup_template("a"), output_dir=place, somewhere=str(tmp_path), **proxy) == SECRET
    assert template(lookup_template("a"), playbook_dir=str(tmp_path), **proxy) == SECRET


def test_given_user_data_precede_the_file(template: Render, proxy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "provision-user-data.yaml").write_text("litellm_key_alias: virtkey-a\nlitellm_virtual_key: sk-old")
    assert template(lookup_template("a", user_data=DATA), output_dir=str(tmp_path), **proxy) == SECRET


@pytest.mark.parametrize("convert", [str, trust_as_template], ids=["facts", "templates"])
def test_the_secret_is_read_from_a_fact_with_the_same_alias(
    template: Render, proxy: dict[str, Any], tmp_path: Path, convert: Any
) -> None:
    facts = {name: convert(value) for name, value in DATA.items()}
    assert template(lookup_template("a"), output_dir=str(tmp_path), **facts, **proxy) == SECRET
    assert "The secret of virtual key virtkey-b is not known" in failure(
        template, lookup_template("b"), output_dir=str(tmp_path), **facts, **proxy
    )


def test_user_data_precede_facts(template: Render, proxy: dict[str, Any]) -> None:
    facts = {"litellm_key_alias": "virtkey-a", "litellm_virtual_key": ANOTHER}
    assert template(lookup_template("a", user_data=DATA), **facts, **proxy) == SECRET


def test_a_fact_that_contains_the_same_lookup_does_not_recurse(template: Render, tmp_path: Path) -> None:
    text = lookup_template("a", verify=False)
    message = failure(template, text, output_dir=str(tmp_path), litellm_virtual_key=trust_as_template(text))
    assert message.count("The secret of virtual key virtkey-a is not known") == 1


# Names of keys


@pytest.mark.parametrize(
    ("terms", "options"),
    [
        (["a"], {}),
        (["virtkey-a"], {"search": "alias"}),
        (["virtkey-a"], {"alias_prefix": ""}),
        (["key-a"], {"alias_prefix": "virt"}),
        (["virtkey-a"], {"search": "alias", "alias_prefix": "ignored-"}),
    ],
)
def test_a_key_is_named_by_guid_or_alias(
    template: Render, proxy: dict[str, Any], terms: list[str], options: dict[str, Any]
) -> None:
    assert template(lookup_template(*terms, user_data=DATA, **options), **proxy) == SECRET


def test_several_keys_are_returned_in_the_order_of_the_terms(template: Render, proxy: dict[str, Any]) -> None:
    data = {**DATA, "users": {"b": {"key_alias": "virtkey-b", "virtual_key": ANOTHER}}}
    assert template(lookup_template("b", "a", "b", function="query", user_data=data), **proxy) == [
        ANOTHER,
        SECRET,
        ANOTHER,
    ]
    assert template(lookup_template("b", "a", user_data=data), **proxy) == f"{ANOTHER},{SECRET}"


def test_a_guid_may_be_a_number(template: Render) -> None:
    data = {"key_alias": "virtkey-123", "virtual_key": SECRET}
    assert template(lookup_template(123, user_data=data, verify=False)) == SECRET


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ("", "guid is empty; it must name the key"),
        (" ", "guid is empty; it must name the key"),
        ("a ", "guid 'a ' starts or ends with white space"),
        ("x" * 300, "at most 255 are allowed"),
    ],
)
def test_an_invalid_name_is_refused(template: Render, term: str, why: str) -> None:
    assert why in failure(template, lookup_template(term, user_data=DATA, verify=False))


@pytest.mark.parametrize("term", [None, True, {"virtual_key": SECRET}], ids=["null", "true", "a dictionary"])
def test_a_term_that_is_not_a_name_is_refused(template: Render, term: object) -> None:
    message = failure(template, lookup_template(term, user_data=DATA, verify=False))
    assert "A term must be the guid of a key, as text or a number" in message


def test_nested_lists_of_terms_are_flattened(template: Render, proxy: dict[str, Any]) -> None:
    for terms in (["a", "b"], [["a", "b"]], ["a", ["b"]]):
        assert template(lookup_template(*terms, function="query", field="alias"), **proxy) == ["virtkey-a", "virtkey-b"]


# Seeds, ids and other fields


SEED = "a seed of exactly 32 characters."


@pytest.mark.parametrize("version", [1, 2])
def test_a_derived_secret_precedes_user_data(template: Render, proxy: dict[str, Any], version: int) -> None:
    secret = derive(SEED, "virtkey-a", version).value
    options: dict[str, Any] = {"key_seed": SEED, "key_version": version, "user_data": DATA}
    assert template(lookup_template("a", verify=False, **options)) == secret
    message = failure(template, lookup_template("a", **options), **proxy)
    assert "Virtual key virtkey-a has another secret than the one that was derived from key_seed" in message
    assert SEED not in message
    proxy["rows"][:] = [row("virtkey-a", secret)]
    assert template(lookup_template("a", **options), **proxy) == secret


def test_the_version_that_a_rotated_key_has_is_found(template: Render, proxy: dict[str, Any]) -> None:
    third = derive(SEED, "virtkey-c", 3).value
    metadata = {"secret_version_in_litellm_virtual_keys": 3}
    proxy["rows"][:] = [row(f"virtkey-{name}", third, metadata=metadata) for name in "cd"]
    assert template(lookup_template("c", key_seed=SEED), **proxy) == third
    assert template(lookup_template("c", key_seed=SEED, field="all"), **proxy)["key"] == third
    assert template(lookup_template("c", key_seed=SEED, verify=False), **proxy) == derive(SEED, "virtkey-c").value
    message = failure(template, lookup_template("d", key_seed=SEED), **proxy)
    assert "Virtual key virtkey-d has another secret than the one that was derived from key_seed" in message


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        ("too short", "key_seed is 9 characters long; at least 32 are required"),
        ("sk-" + "m" * 40, "key_seed must not be the master key"),
    ],
)
def test_an_invalid_seed_is_refused_and_not_quoted(template: Render, seed: str, why: str) -> None:
    message = failure(template, lookup_template("a", key_seed=seed, master_key="sk-" + "m" * 40, verify=False))
    assert why in message
    assert seed not in message


def test_a_key_may_be_named_by_its_id(template: Render, proxy: dict[str, Any], httpserver: HTTPServer) -> None:
    known, unknown = (str(row("virtkey-a", secret)["token"]) for secret in (SECRET, ANOTHER))
    httpserver.expect_request("/key/info", query_string={"key": known}).respond_with_json({"info": {}})
    httpserver.expect_request("/key/info").respond_with_json({"error": {"message": "Key not found"}}, 404)
    assert template(lookup_template(known, search="id", user_data=DATA), **proxy) == SECRET
    assert f"Virtual key {unknown} does not exist" in failure(
        template, lookup_template(unknown, search="id", field="alias"), **proxy
    )
    assert f"Virtual key {unknown} does not exist" in failure(
        template, lookup_template(unknown, search="id", user_data=DATA), **proxy
    )
    assert f"The secret of virtual key {known} is not known" in failure(
        template, lookup_template(known, search="id", user_data={}), **proxy
    )


def test_a_fact_is_found_by_the_id_of_the_key(template: Render) -> None:
    known, unknown = (str(row("virtkey-a", secret)["token"]) for secret in (SECRET, ANOTHER))
    options: dict[str, Any] = {"search": "id", "user_data": {}, "verify": False}
    assert template(lookup_template(known, **options), litellm_virtual_key=SECRET) == SECRET
    assert "is not known" in failure(template, lookup_template(unknown, **options), litellm_virtual_key=SECRET)
    itself = trust_as_template(lookup_template(known, **options))
    assert failure(template, itself, litellm_virtual_key=itself).count("is not known") == 1


FIELDS = {
    "key_name": "sk-...cdef",
    "expires": "2099-02-01T00:00:00Z",
    "models": ["granite"],
    "spend": 1.5,
    "max_budget": 10.0,
    "user_id": "user1",
    "metadata": {"owner": "me"},
    "blocked": True,
}


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("alias", "virtkey-a"),
        ("id", hashlib.sha256(SECRET.encode()).hexdigest()),
        ("name", FIELDS["key_name"]),
        *((name, value) for name, value in FIELDS.items() if name != "key_name"),
        ("duration", "31d"),
    ],
)
def test_other_fields_need_no_secret(template: Render, proxy: dict[str, Any], field: str, expected: Any) -> None:
    proxy["rows"][:] = [row("virtkey-a", SECRET, created_at="2099-01-01T00:00:00Z", **FIELDS)]
    (value,) = template(lookup_template("a", function="query", field=field), **proxy)
    assert value == expected


@pytest.mark.parametrize(
    ("data", "secret"),
    [({}, None), (DATA, SECRET), ({**DATA, "litellm_virtual_key": ANOTHER}, None)],
    ids=["unknown", "known", "of another key"],
)
def test_all_fields_include_the_secret_only_if_it_is_that_of_the_key(
    template: Render, proxy: dict[str, Any], data: dict[str, Any], secret: str | None
) -> None:
    (found,) = template(lookup_template("a", function="query", field="all", user_data=data), **proxy)
    assert (found["key_alias"], found["key"]) == ("virtkey-a", secret)


def test_a_field_of_a_missing_key_is_an_error(template: Render, proxy: dict[str, Any]) -> None:
    proxy["rows"].clear()
    assert "Virtual key virtkey-a does not exist" in failure(template, lookup_template("a", field="expires"), **proxy)


def test_many_references_in_one_template_cost_two_requests(
    template: Render, proxy: dict[str, Any], httpserver: HTTPServer
) -> None:
    text = " ".join(
        [
            lookup_template("a", user_data=DATA),
            lookup_template("a", field="alias"),
            lookup_template("a", user_data=DATA),
        ]
    )
    assert template(text, **proxy) == f"{SECRET} virtkey-a {SECRET}"
    assert len(httpserver.log) == 2  # the permission of the master key, and the key


class Evaluation:
    """Templates that ansible-core evaluates with one dictionary of variables: of a task, or of an item of its loop."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = {**variables, "user_data": DATA}
        self._templar = Templar(loader=DataLoader(), variables=self.variables)

    def secret(self) -> str:
        text = "{{ lookup('rhpds.litellm_virtual_keys.litellm_key', 'a', user_data=user_data) }}"
        return str(self._templar.template(trust_as_template(text)))

    def refuses(self) -> bool:
        with pytest.raises(AnsibleError, match="Virtual key virtkey-a does not exist"):
            self.secret()
        return True


def test_the_next_task_does_not_get_the_secret_of_a_deleted_key(proxy: dict[str, Any]) -> None:
    """Ansible evaluates the names of all tasks in one process."""
    assert Evaluation(proxy).secret() == SECRET
    proxy["rows"].clear()
    assert Evaluation(proxy).refuses()


@pytest.mark.parametrize("name", ["item", "registered"])
def test_the_next_item_of_a_loop_does_not_get_the_secret_of_a_deleted_key(proxy: dict[str, Any], name: str) -> None:
    """Ansible evaluates the items of a loop in one process, with one dictionary, which it changes."""
    one = Evaluation(proxy)
    one.variables["item"] = 1
    assert one.secret() == SECRET
    proxy["rows"].clear()
    one.variables[name] = 2
    assert one.refuses()


def test_an_item_that_ends_does_not_leave_its_secret_behind(proxy: dict[str, Any]) -> None:
    one = Evaluation({**proxy, "item": 1})
    assert one.secret() == SECRET
    proxy["rows"].clear()
    del one.variables["item"]
    assert one.refuses()


def test_another_process_asks_again(proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of Ansible inherits the memory and the variables of the process that evaluated the name of its task."""
    one = Evaluation(proxy)
    assert one.secret() == SECRET
    proxy["rows"].clear()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert one.refuses()


def test_an_evaluation_asks_again_after_a_second(
    proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, httpserver: HTTPServer
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    one = Evaluation(proxy)
    assert one.secret() == SECRET
    now[0] += 0.9
    assert one.secret() == SECRET
    assert len(httpserver.log) == 2
    proxy["rows"].clear()
    now[0] += 0.1
    assert one.refuses()
    assert len(httpserver.log) == 4  # whether the master key is still an administrator's, too


def test_a_spent_budget_is_a_warning(template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: warnings.append(text))
    proxy["rows"][:] = [row("virtkey-a", SECRET, max_budget=2.0, spend=2.0)]
    assert template(lookup_template("a", user_data=DATA), **proxy) == SECRET
    assert warnings == ["Virtual key virtkey-a does not work: its budget of 2 is spent. Raise max_budget"]


# The connection


def test_without_verification_no_proxy_is_needed(template: Render) -> None:
    assert template(lookup_template("a", user_data=DATA, verify=False)) == SECRET


def test_the_connection_can_be_given_as_templates(template: Render, proxy: dict[str, Any]) -> None:
    # As in litellm_master_key: "{{ vault_litellm_master_key }}".
    vaulted = {f"vault_{name}": value for name, value in proxy.items() if name.startswith("litellm_")}
    templates = {name: trust_as_template(f"{{{{ vault_{name} }}}}") for name in proxy if name.startswith("litellm_")}
    assert template(lookup_template("a", user_data=DATA), **vaulted, **templates) == SECRET


def test_the_connection_can_come_from_the_environment(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_PROXY_URL", proxy["litellm_url"])
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    assert template(lookup_template("a", user_data=DATA)) == SECRET
    assert (
        template(lookup_template("a", user_data=DATA), litellm_url="", litellm_master_key="") == SECRET
    )  # empty: not given
    assert template(lookup_template("a", user_data=DATA, url="", master_key="")) == SECRET


@pytest.mark.parametrize("is_first_empty", [False, True], ids=["both", "one of them empty"])
def test_the_order_of_the_environment_variables(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, is_first_empty: bool
) -> None:
    for first, second, correct in (
        ("LITELLM_URL", "LITELLM_PROXY_URL", proxy["litellm_url"]),
        ("LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY", MASTER_KEY),
    ):
        monkeypatch.setenv(first, "" if is_first_empty else correct)
        monkeypatch.setenv(second, correct if is_first_empty else "sk-not-this-one")
    monkeypatch.setenv("LITELLM_TIMEOUT", "")
    assert template(lookup_template("a", user_data=DATA)) == SECRET


def test_the_configuration_file_is_the_last_source(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ansible.cfg"
    file.write_text(f"[litellm_virtual_keys]\nurl = {proxy['litellm_url']}\ntimeout = 5")
    monkeypatch.setattr(constants.config, "_config_file", str(file))
    monkeypatch.setenv("LITELLM_URL", "")
    text = lookup_template("a", user_data=DATA, master_key=MASTER_KEY)
    assert template(text) == SECRET
    monkeypatch.setenv("LITELLM_URL", "http://127.0.0.1:9")
    assert "proxy at http://127.0.0.1:9" in failure(template, text, litellm_retries=0)
    assert template(text, litellm_url=proxy["litellm_url"]) == SECRET


def test_an_option_precedes_a_variable(template: Render, proxy: dict[str, Any]) -> None:
    undefined = trust_as_template("{{ nowhere }}")
    options = {"url": proxy["litellm_url"], "master_key": MASTER_KEY}
    assert (
        template(lookup_template("a", user_data=DATA, **options), litellm_url=undefined, litellm_master_key=undefined)
        == SECRET
    )


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "url is not set; set the option, the variable litellm_url or the environment variable LITELLM_URL"),
        ({"litellm_url": "http://127.0.0.1:9"}, "master_key is not set"),
        (
            {"litellm_url": "http://127.0.0.1:9", "litellm_master_key": MASTER_KEY, "litellm_retries": 0},
            "No connection to a LiteLLM proxy at http://127.0.0.1:9 (Connection refused)",
        ),
        ({"litellm_url": MASTER_KEY, "litellm_master_key": MASTER_KEY}, "url '********' is invalid"),
    ],
)
def test_without_a_usable_connection_there_is_an_error_message(
    template: Render, variables: dict[str, Any], why: str
) -> None:
    assert why in failure(template, lookup_template("a", user_data=DATA), **variables)


def test_a_wrong_master_key_is_not_quoted(template: Render, httpserver: HTTPServer) -> None:
    body = {"error": {"message": f"Authentication Error, Invalid proxy server token passed: {MASTER_KEY}"}}
    httpserver.expect_request("/key/list").respond_with_json(body, 401)
    variables = {"litellm_url": httpserver.url_for(""), "litellm_master_key": MASTER_KEY}
    message = failure(template, lookup_template("a", user_data=DATA), **variables)
    assert "does not accept the master key (401); check litellm_master_key" in message


@pytest.mark.parametrize(("name", "field"), [("a", "key"), ("a", "alias"), ("missing", "alias")])
def test_the_key_of_an_internal_user_is_refused(
    template: Render, proxy: dict[str, Any], httpserver: HTTPServer, name: str, field: str
) -> None:
    def listing(request: Request) -> Response:
        """List the only key that this user has, as LiteLLM does."""
        if request.args.get("user_id", "me") != "me":
            body = {"error": {"message": "You are not authorized to check another user's keys"}}
            return Response(json.dumps(body), 403)
        keys = [one for one in proxy["rows"] if one["key_alias"] == request.args["key_alias"] == "virtkey-a"]
        return Response(json.dumps({"keys": keys, "total_pages": 1}))

    httpserver.clear()
    httpserver.expect_request("/key/list", method="GET").respond_with_handler(listing)
    message = failure(template, lookup_template(name, field=field, user_data=DATA), **proxy)
    assert "does not accept litellm_master_key as an administrator's key (403): it does not see all keys" in message


# Errors


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"feild": "id"}, "has no option 'feild'; did you mean 'field'?"),
        ({"verfy": False}, "has no option 'verfy'; did you mean 'verify'?"),
        ({"user_data": yaml.safe_dump(DATA)}, "user_data must be a dictionary"),
        ({"user_data": [DATA]}, "user_data must be a dictionary"),
        ({"key_seed": [SECRET]}, "key_seed must be text"),
        ({"master_key": [SECRET]}, "master_key must be text"),
        ({"timeout": "soon"}, "timeout must be a number, but is 'soon'"),
        ({"verify": "ture"}, "verify must be true or false, but is 'ture'"),
        ({"field": "secret"}, "field must be one of key, alias, id, name, expires, duration, models, spend, "),
        ({"search": "name"}, "search must be one of guid, alias, id, but is 'name'"),
        ({"key_version": "two"}, "key_version must be a whole number, but is 'two'"),
        *(
            ({"key_seed": SEED, name: [SEED] if name == "alias_prefix" else SEED}, f"{name} must be ")
            for name in ("key_version", "field", "search", "alias_prefix", "verify")
        ),
    ],
)
def test_an_invalid_option_is_refused_without_quoting_a_secret(
    template: Render, options: dict[str, Any], why: str
) -> None:
    _line_of_the_template, found, rest = failure(
        template, lookup_template("a", **{"user_data": DATA, "verify": False, **options})
    ).partition(why)
    assert found
    assert SEED not in rest


def test_the_additional_argument_of_a_with_loop_is_accepted(template: Render) -> None:
    assert template(lookup_template("a", user_data=DATA, verify=False, wantlist=True)) == [SECRET]
    lookup = lookup_loader.get("rhpds.litellm_virtual_keys.litellm_key", loader=None, templar=Templar(DataLoader()))
    assert lookup.run(["a"], {}, user_data=DATA, verify=False, wantlist=True) == [SECRET]


def test_a_missing_key_is_reported_before_an_unknown_secret(
    template: Render, proxy: dict[str, Any], tmp_path: Path
) -> None:
    message = failure(template, lookup_template("a", "x"), output_dir=str(tmp_path), **proxy)
    assert "Virtual key virtkey-x does not exist: it was deleted, or never created" in message
    assert "not known" not in message


@pytest.mark.parametrize("verify", [True, False])
def test_an_unknown_secret_is_an_error_with_advice(
    template: Render, proxy: dict[str, Any], tmp_path: Path, httpserver: HTTPServer, *, verify: bool
) -> None:
    message = failure(template, lookup_template("a", verify=verify), output_dir=str(tmp_path), **proxy)
    assert len(httpserver.log) == 2 * verify
    assert "The secret of virtual key virtkey-a is not known: LiteLLM does not return it" in message
    assert "Provision the key in this play, or set user_data or key_seed" in message


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "Virtual key virtkey-a does not exist: it was deleted, or never created. Provision it again"),
        ([row("virtkey-ab", SECRET)], "Virtual key virtkey-a does not exist"),
        (
            [row("virtkey-a", ANOTHER)],
            "Virtual key virtkey-a has another secret than the one that was saved. Provision it again",
        ),
        ([row("virtkey-a", SECRET, blocked=True)], "Virtual key virtkey-a is blocked"),
        (
            [row("virtkey-a", SECRET, expires="2020-02-01T00:00:00.5Z")],
            "Virtual key virtkey-a expired at 2020-02-01T00:00:00Z. Extend it",
        ),
    ],
)
def test_a_secret_that_the_proxy_does_not_accept_is_not_returned(
    template: Render, proxy: dict[str, Any], rows: list[dict[str, Any]], why: str
) -> None:
    proxy["rows"][:] = rows
    assert why in failure(template, lookup_template("a", user_data=DATA), **proxy)


@pytest.mark.parametrize(
    "rows",
    [
        [row("virtkey-a", SECRET, expires="2099-02-01T00:00:00Z", blocked=False)],
        [row("virtkey-a", ANOTHER, created_at="2020-01-01T00:00:00Z"), row("virtkey-a", SECRET)],  # after a race
    ],
    ids=["later", "one of two"],
)
def test_a_secret_that_the_proxy_accepts_is_returned(
    template: Render, proxy: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    proxy["rows"][:] = rows
    assert template(lookup_template("a", user_data=DATA), **proxy) == SECRET


@pytest.mark.parametrize("secret", ["sk-1234", "sk-********"])
def test_a_short_secret_is_verified_like_any_other(template: Render, proxy: dict[str, Any], secret: str) -> None:
    # LiteLLM before 1.94 accepts such secrets.
    data = {**DATA, "litellm_virtual_key": secret}
    assert "has another secret than the one that was saved" in failure(
        template, lookup_template("a", user_data=data), **proxy
    )
    proxy["rows"][:] = [row("virtkey-a", secret)]
    assert template(lookup_template("a", user_data=data), **proxy) == secret


def test_errors_can_be_ignored_as_with_any_lookup(template: Render, tmp_path: Path) -> None:
    text = lookup_template("a", verify=False, errors="ignore").replace(" }}", " | default('none', true) }}")
    assert template(text, output_dir=str(tmp_path)) == "none"


def test_an_error_has_no_cause_that_could_contain_a_secret(
    proxy: dict[str, Any], httpserver: HTTPServer, tmp_path: Path
) -> None:
    # ansible-core 2.19 prints the cause and the context of an error.
    httpserver.clear()
    httpserver.expect_request("/key/list").respond_with_data(f'{{"error": "no {ANOTHER}"}}', 400)
    lookup = lookup_loader.get("rhpds.litellm_virtual_keys.litellm_key", loader=None, templar=Templar(DataLoader()))
    variables = {name: value for name, value in proxy.items() if name != "rows"}
    with pytest.raises(AnsibleError) as failed:
        lookup.run(["a"], variables, key_seed=f"{ANOTHER} and a seed of 32 characters or more")
    assert "no sk-********" in str(failed.value)
    assert (failed.value.__cause__, failed.value.__context__) == (None, None)


def test_an_invalid_file_is_an_error_that_does_not_quote_it(template: Render, tmp_path: Path) -> None:
    (tmp_path / "provision-user-data.yaml").write_text(f"virtual_key: {SECRET}\n : [")
    message = failure(template, lookup_template("a", verify=False), output_dir=str(tmp_path))
    assert f"{tmp_path}/provision-user-data.yaml is not valid YAML; repair it or move it away" in message


def test_a_saved_secret_is_not_rendered_as_a_template(template: Render, tmp_path: Path) -> None:
    saved = {**DATA, "litellm_virtual_key": "sk-{{ 6 * 7 }}"}
    (tmp_path / "provision-user-data.yaml").write_text(yaml.safe_dump(saved))
    assert template(lookup_template("a", verify=False), output_dir=str(tmp_path)) == "sk-{{ 6 * 7 }}"
