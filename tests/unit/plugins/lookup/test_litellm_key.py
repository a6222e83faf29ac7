# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lookup in templates, as ansible-core renders them, against an HTTP server that lists keys."""

from __future__ import annotations

import hashlib
import importlib
import json
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


def call(*terms: object, function: str = "lookup", **options: object) -> str:
    """The text of a template that has the lookup in it."""
    arguments = [*map(repr, terms), *(f"{name}={value!r}" for name, value in options.items())]
    return f"{{{{ {function}('rhpds.litellm_virtual_keys.litellm_key', {', '.join(arguments)}) }}}}"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    # As in the process of another task.
    importlib.import_module("ansible_collections.rhpds.litellm_virtual_keys.plugins.lookup.litellm_key")._cache.clear()


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LITELLM_URL", "LITELLM_PROXY_URL", "LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def proxy(httpserver: HTTPServer) -> dict[str, Any]:
    """The variables that lead to a proxy with the keys a and b."""
    rows = [row("virtkey-a", SECRET), row("virtkey-b", ANOTHER), row("virtkey-ab", "sk-x")]

    def listing(request: Request) -> Response:
        assert request.headers["Authorization"] == f"Bearer {MASTER_KEY}"
        keys = [row for row in rows if row["key_alias"] == request.args["key_alias"]]
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


# Where the secret comes from.


@pytest.mark.parametrize(
    "saved",
    [
        DATA,
        {f"hub_{name}": value for name, value in DATA.items()},
        {"users": {"user1": DATA}},
    ],
    ids=["at the top", "with a prefix", "below a user"],
)
def test_the_secret_comes_from_the_platforms_file(
    template: Render, proxy: dict[str, Any], tmp_path: Path, saved: dict[str, Any]
) -> None:
    (tmp_path / "provision-user-data.yaml").write_text(yaml.safe_dump(saved))
    place = trust_as_template("{{ somewhere }}")
    assert template(call("a"), output_dir=place, somewhere=str(tmp_path), **proxy) == SECRET
    assert template(call("a"), playbook_dir=str(tmp_path), **proxy) == SECRET


def test_user_data_that_are_given_come_before_the_file(template: Render, proxy: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "provision-user-data.yaml").write_text("litellm_key_alias: virtkey-a\nlitellm_virtual_key: sk-old")
    assert template(call("a", user_data=DATA), output_dir=str(tmp_path), **proxy) == SECRET


@pytest.mark.parametrize("tie", [str, trust_as_template], ids=["facts", "templates"])
def test_the_secret_comes_from_the_play_when_its_alias_is_the_one(
    template: Render, proxy: dict[str, Any], tmp_path: Path, tie: Any
) -> None:
    facts = {name: tie(value) for name, value in DATA.items()}
    assert template(call("a"), output_dir=str(tmp_path), **facts, **proxy) == SECRET
    assert "The secret of the key virtkey-b is not known here" in failure(
        template, call("b"), output_dir=str(tmp_path), **facts, **proxy
    )


def test_saved_data_come_before_the_play(template: Render, proxy: dict[str, Any]) -> None:
    facts = {"litellm_key_alias": "virtkey-a", "litellm_virtual_key": ANOTHER}
    assert template(call("a", user_data=DATA), **facts, **proxy) == SECRET


def test_a_plays_secret_that_is_this_lookup_is_not_looked_up_for_ever(template: Render, tmp_path: Path) -> None:
    text = call("a", verify=False)
    message = failure(template, text, output_dir=str(tmp_path), litellm_virtual_key=trust_as_template(text))
    assert message.count("The secret of the key virtkey-a is not known here") == 1


# Which key.


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
def test_a_key_is_named_by_its_guid_or_its_alias(
    template: Render, proxy: dict[str, Any], terms: list[str], options: dict[str, Any]
) -> None:
    assert template(call(*terms, user_data=DATA, **options), **proxy) == SECRET


def test_many_keys_come_in_the_order_of_the_terms(template: Render, proxy: dict[str, Any]) -> None:
    data = {**DATA, "users": {"b": {"key_alias": "virtkey-b", "virtual_key": ANOTHER}}}
    assert template(call("b", "a", "b", function="query", user_data=data), **proxy) == [ANOTHER, SECRET, ANOTHER]
    assert template(call("b", "a", user_data=data), **proxy) == f"{ANOTHER},{SECRET}"


def test_a_guid_may_be_a_number(template: Render) -> None:
    data = {"key_alias": "virtkey-123", "virtual_key": SECRET}
    assert template(call(123, user_data=data, verify=False)) == SECRET


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ("", "guid is empty; it must name the key"),
        (" ", "guid is empty; it must name the key"),
        ("a ", "guid 'a ' begins or ends with a blank"),
        ("x" * 300, "255 are allowed"),
    ],
)
def test_what_names_no_key_is_refused(template: Render, term: str, why: str) -> None:
    assert why in failure(template, call(term, user_data=DATA, verify=False))


@pytest.mark.parametrize("term", [None, True, {"virtual_key": SECRET}], ids=["null", "true", "a dictionary"])
def test_what_is_no_name_is_refused(template: Render, term: object) -> None:
    message = failure(template, call(term, user_data=DATA, verify=False))
    assert "A term must be the guid of a key, as text or a number" in message


def test_a_list_of_terms_counts_as_its_members(template: Render, proxy: dict[str, Any]) -> None:
    for terms in (["a", "b"], [["a", "b"]], ["a", ["b"]]):
        assert template(call(*terms, function="query", field="alias"), **proxy) == ["virtkey-a", "virtkey-b"]


# Seeds, ids and other fields.


SEED = "a seed of exactly 32 characters."


@pytest.mark.parametrize("version", [1, 2])
def test_a_secret_is_derived_before_it_is_looked_for(template: Render, proxy: dict[str, Any], version: int) -> None:
    secret = derive(SEED, "virtkey-a", version).value
    options: dict[str, Any] = {"key_seed": SEED, "key_version": version, "user_data": DATA}
    assert template(call("a", verify=False, **options)) == secret
    message = failure(template, call("a", **options), **proxy)
    assert "The key virtkey-a has another secret than the one that was derived from key_seed" in message
    assert SEED not in message
    proxy["rows"][:] = [row("virtkey-a", secret)]
    assert template(call("a", **options), **proxy) == secret


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        ("too short", "key_seed is 9 characters long; it must have 32 or more"),
        ("sk-" + "m" * 40, "key_seed must not be the master key"),
    ],
)
def test_a_seed_that_is_no_good_is_refused_and_not_shown(template: Render, seed: str, why: str) -> None:
    message = failure(template, call("a", key_seed=seed, master_key="sk-" + "m" * 40, verify=False))
    assert why in message
    assert seed not in message


def test_a_key_may_be_named_by_its_id(template: Render, proxy: dict[str, Any], httpserver: HTTPServer) -> None:
    known, unknown = (str(row("virtkey-a", secret)["token"]) for secret in (SECRET, ANOTHER))
    httpserver.expect_request("/key/info", query_string={"key": known}).respond_with_json({"info": {}})
    httpserver.expect_request("/key/info").respond_with_json({"error": {"message": "Key not found"}}, 404)
    assert template(call(known, search="id", user_data=DATA), **proxy) == SECRET
    assert f"There is no key {unknown}" in failure(template, call(unknown, search="id", field="alias"), **proxy)
    assert f"There is no key {unknown}" in failure(template, call(unknown, search="id", user_data=DATA), **proxy)
    assert f"The secret of the key {known} is not known here" in failure(
        template, call(known, search="id", user_data={}), **proxy
    )


def test_the_plays_own_secret_is_found_by_its_id(template: Render) -> None:
    known, unknown = (str(row("virtkey-a", secret)["token"]) for secret in (SECRET, ANOTHER))
    options: dict[str, Any] = {"search": "id", "user_data": {}, "verify": False}
    assert template(call(known, **options), litellm_virtual_key=SECRET) == SECRET
    assert "is not known here" in failure(template, call(unknown, **options), litellm_virtual_key=SECRET)
    itself = trust_as_template(call(known, **options))
    assert failure(template, itself, litellm_virtual_key=itself).count("is not known here") == 1


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
def test_another_field_needs_no_secret(template: Render, proxy: dict[str, Any], field: str, expected: Any) -> None:
    proxy["rows"][:] = [row("virtkey-a", SECRET, created_at="2099-01-01T00:00:00Z", **FIELDS)]
    (value,) = template(call("a", function="query", field=field), **proxy)
    assert value == expected


@pytest.mark.parametrize(
    ("data", "secret"),
    [({}, None), (DATA, SECRET), ({**DATA, "litellm_virtual_key": ANOTHER}, None)],
    ids=["unknown", "known", "of another key"],
)
def test_all_fields_hold_the_secret_only_if_it_opens_the_key(
    template: Render, proxy: dict[str, Any], data: dict[str, Any], secret: str | None
) -> None:
    (found,) = template(call("a", function="query", field="all", user_data=data), **proxy)
    assert (found["key_alias"], found["key"]) == ("virtkey-a", secret)


def test_a_field_of_a_key_that_is_not_there_is_an_error(template: Render, proxy: dict[str, Any]) -> None:
    proxy["rows"].clear()
    assert "There is no key virtkey-a" in failure(template, call("a", field="expires"), **proxy)


def test_many_references_in_one_template_cost_one_request(
    template: Render, proxy: dict[str, Any], httpserver: HTTPServer
) -> None:
    text = " ".join([call("a", user_data=DATA), call("a", field="alias"), call("a", user_data=DATA)])
    assert template(text, **proxy) == f"{SECRET} virtkey-a {SECRET}"
    assert len(httpserver.log) == 1


# Where the proxy is.


def test_without_verifying_no_proxy_is_needed(template: Render) -> None:
    assert template(call("a", user_data=DATA, verify=False)) == SECRET


def test_the_connection_may_be_given_as_templates(template: Render, proxy: dict[str, Any]) -> None:
    # As in litellm_master_key: "{{ vault_litellm_master_key }}".
    hidden = {f"vault_{name}": value for name, value in proxy.items() if name.startswith("litellm_")}
    shown = {name: trust_as_template(f"{{{{ vault_{name} }}}}") for name in proxy if name.startswith("litellm_")}
    assert template(call("a", user_data=DATA), **hidden, **shown) == SECRET


def test_the_connection_may_come_from_the_environment(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_PROXY_URL", proxy["litellm_url"])
    monkeypatch.setenv("LITELLM_MASTER_KEY", MASTER_KEY)
    assert template(call("a", user_data=DATA)) == SECRET
    assert template(call("a", user_data=DATA), litellm_url="", litellm_master_key="") == SECRET  # empty: not given
    assert template(call("a", user_data=DATA, url="", master_key="")) == SECRET


@pytest.mark.parametrize("ours_is_empty", [False, True], ids=["both", "one of them empty"])
def test_the_environment_has_an_order(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, ours_is_empty: bool
) -> None:
    for ours, fallback, right in (
        ("LITELLM_URL", "LITELLM_PROXY_URL", proxy["litellm_url"]),
        ("LITELLM_MASTER_KEY", "LITELLM_PROXY_API_KEY", MASTER_KEY),
    ):
        monkeypatch.setenv(ours, "" if ours_is_empty else right)
        monkeypatch.setenv(fallback, right if ours_is_empty else "sk-not-this-one")
    monkeypatch.setenv("LITELLM_TIMEOUT", "")
    assert template(call("a", user_data=DATA)) == SECRET


def test_the_configuration_file_comes_last(
    template: Render, proxy: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ansible.cfg"
    file.write_text(f"[litellm_virtual_keys]\nurl = {proxy['litellm_url']}\ntimeout = 5")
    monkeypatch.setattr(constants.config, "_config_file", str(file))
    monkeypatch.setenv("LITELLM_URL", "")
    text = call("a", user_data=DATA, master_key=MASTER_KEY)
    assert template(text) == SECRET
    monkeypatch.setenv("LITELLM_URL", "http://127.0.0.1:9")
    assert "answers at http://127.0.0.1:9" in failure(template, text, litellm_retries=0)
    assert template(text, litellm_url=proxy["litellm_url"]) == SECRET


def test_an_option_comes_before_a_variable(template: Render, proxy: dict[str, Any]) -> None:
    undefined = trust_as_template("{{ nowhere }}")
    options = {"url": proxy["litellm_url"], "master_key": MASTER_KEY}
    assert template(call("a", user_data=DATA, **options), litellm_url=undefined, litellm_master_key=undefined) == SECRET


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "url is not set: give the option, the variable litellm_url or the environment variable LITELLM_URL"),
        ({"litellm_url": "http://127.0.0.1:9"}, "master_key is not set"),
        (
            {"litellm_url": "http://127.0.0.1:9", "litellm_master_key": MASTER_KEY, "litellm_retries": 0},
            "No LiteLLM proxy answers at http://127.0.0.1:9 (Connection refused)",
        ),
        ({"litellm_url": MASTER_KEY, "litellm_master_key": MASTER_KEY}, "url '********' is not usable"),
    ],
)
def test_without_a_proxy_that_answers_there_is_a_sentence(
    template: Render, variables: dict[str, Any], why: str
) -> None:
    assert why in failure(template, call("a", user_data=DATA), **variables)


def test_a_master_key_that_is_wrong_is_not_told(template: Render, httpserver: HTTPServer) -> None:
    said = {"error": {"message": f"Authentication Error, Invalid proxy server token passed: {MASTER_KEY}"}}
    httpserver.expect_request("/key/list").respond_with_json(said, 401)
    variables = {"litellm_url": httpserver.url_for(""), "litellm_master_key": MASTER_KEY}
    message = failure(template, call("a", user_data=DATA), **variables)
    assert "does not accept the master key (401); check master_key" in message


# What is not handed out.


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
def test_an_option_that_cannot_be_is_refused_without_a_secret(
    template: Render, options: dict[str, Any], why: str
) -> None:
    _line_of_the_template, found, said = failure(
        template, call("a", **{"user_data": DATA, "verify": False, **options})
    ).partition(why)
    assert found
    assert SEED not in said


def test_a_with_loop_gives_an_argument_of_its_own(template: Render) -> None:
    assert template(call("a", user_data=DATA, verify=False, wantlist=True)) == [SECRET]
    lookup = lookup_loader.get("rhpds.litellm_virtual_keys.litellm_key", loader=None, templar=Templar(DataLoader()))
    assert lookup.run(["a"], {}, user_data=DATA, verify=False, wantlist=True) == [SECRET]


def test_of_a_key_that_is_not_there_the_secret_is_not_missed(
    template: Render, proxy: dict[str, Any], tmp_path: Path
) -> None:
    message = failure(template, call("a", "x"), output_dir=str(tmp_path), **proxy)
    assert "There is no key virtkey-x: it was removed, or never created" in message
    assert "not known" not in message


@pytest.mark.parametrize("verify", [True, False])
def test_a_secret_that_is_not_known_is_an_error_with_a_way_out(
    template: Render, proxy: dict[str, Any], tmp_path: Path, httpserver: HTTPServer, *, verify: bool
) -> None:
    message = failure(template, call("a", verify=verify), output_dir=str(tmp_path), **proxy)
    assert len(httpserver.log) == verify
    assert "The secret of the key virtkey-a is not known here: LiteLLM does not tell it" in message
    assert "provision the key in this play, or give user_data or key_seed" in message


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "There is no key virtkey-a: it was removed, or never created; provision it again"),
        ([row("virtkey-ab", SECRET)], "There is no key virtkey-a"),
        (
            [row("virtkey-a", ANOTHER)],
            "The key virtkey-a has another secret than the one that was saved; provision it again",
        ),
        ([row("virtkey-a", SECRET, blocked=True)], "The key virtkey-a is blocked"),
        (
            [row("virtkey-a", SECRET, expires="2020-02-01T00:00:00.5Z")],
            "The key virtkey-a expired at 2020-02-01T00:00:00Z; extend it",
        ),
    ],
)
def test_a_secret_that_opens_nothing_is_not_handed_out(
    template: Render, proxy: dict[str, Any], rows: list[dict[str, Any]], why: str
) -> None:
    proxy["rows"][:] = rows
    assert why in failure(template, call("a", user_data=DATA), **proxy)


@pytest.mark.parametrize(
    "rows",
    [
        [row("virtkey-a", SECRET, expires="2099-02-01T00:00:00Z", blocked=False)],
        [row("virtkey-a", ANOTHER, created_at="2020-01-01T00:00:00Z"), row("virtkey-a", SECRET)],  # after a race
    ],
    ids=["later", "one of two"],
)
def test_a_secret_that_opens_a_key_is_handed_out(
    template: Render, proxy: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    proxy["rows"][:] = rows
    assert template(call("a", user_data=DATA), **proxy) == SECRET


@pytest.mark.parametrize("secret", ["sk-1234", "sk-********"])
def test_a_short_secret_is_compared_like_any_other(template: Render, proxy: dict[str, Any], secret: str) -> None:
    # LiteLLM before 1.94 takes them.
    data = {**DATA, "litellm_virtual_key": secret}
    assert "has another secret than the one that was saved" in failure(template, call("a", user_data=data), **proxy)
    proxy["rows"][:] = [row("virtkey-a", secret)]
    assert template(call("a", user_data=data), **proxy) == secret


def test_errors_may_be_ignored_as_with_any_lookup(template: Render, tmp_path: Path) -> None:
    text = call("a", verify=False, errors="ignore").replace(" }}", " | default('none', true) }}")
    assert template(text, output_dir=str(tmp_path)) == "none"


def test_nothing_hangs_on_an_error_that_could_tell_a_secret(
    proxy: dict[str, Any], httpserver: HTTPServer, tmp_path: Path
) -> None:
    # ansible-core 2.19 prints what an error was caused by, and what it happened in.
    httpserver.clear()
    httpserver.expect_request("/key/list").respond_with_data(f'{{"error": "no {ANOTHER}"}}', 400)
    lookup = lookup_loader.get("rhpds.litellm_virtual_keys.litellm_key", loader=None, templar=Templar(DataLoader()))
    variables = {name: value for name, value in proxy.items() if name != "rows"}
    with pytest.raises(AnsibleError) as failed:
        lookup.run(["a"], variables, key_seed=f"{ANOTHER} and a seed of 32 characters or more")
    assert "no sk-********" in str(failed.value)
    assert (failed.value.__cause__, failed.value.__context__) == (None, None)


def test_a_file_that_cannot_be_read_is_a_sentence_that_does_not_quote_it(template: Render, tmp_path: Path) -> None:
    (tmp_path / "provision-user-data.yaml").write_text(f"virtual_key: {SECRET}\n : [")
    message = failure(template, call("a", verify=False), output_dir=str(tmp_path))
    assert f"{tmp_path}/provision-user-data.yaml is not YAML; mend it or move it away" in message


def test_a_saved_secret_is_not_taken_for_a_template(template: Render, tmp_path: Path) -> None:
    saved = {**DATA, "litellm_virtual_key": "sk-{{ 6 * 7 }}"}
    (tmp_path / "provision-user-data.yaml").write_text(yaml.safe_dump(saved))
    assert template(call("a", verify=False), output_dir=str(tmp_path)) == "sk-{{ 6 * 7 }}"
