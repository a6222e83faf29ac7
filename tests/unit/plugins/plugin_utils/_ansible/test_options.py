# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sources of options, their types and defaults, and the error message for each invalid value."""

from __future__ import annotations

import importlib
import re
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.rhpds.litellm_virtual_keys.plugins.action import litellm_key_row
from ansible_collections.rhpds.litellm_virtual_keys.plugins.doc_fragments._connection import ModuleDocFragment
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible import options
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.key_options import LITELLM_KEY_OPTIONS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.options import (
    CONNECTION_OPTIONS,
    Option,
    coerce_options,
    connect,
    warning_about_sources,
    with_sources,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

UTILS = "ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils"


@pytest.fixture(autouse=True)
def _no_options_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in CONNECTION_OPTIONS.values():
        for name in option.environment:
            monkeypatch.delenv(name, raising=False)


def with_all_sources(given: dict[str, Any], **variables: Any) -> dict[str, Any]:
    return with_sources(CONNECTION_OPTIONS, given, variables.get)[0]


@pytest.mark.parametrize(
    ("given", "variable", "first", "second"),
    list(product(("given", "", None), ("variable", "", None), *[("e", "")] * 2)),
)
def test_an_argument_precedes_a_variable_which_precedes_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: str | None, variable: str | None, first: str, second: str
) -> None:
    monkeypatch.setenv("LITELLM_URL", first and "first")
    monkeypatch.setenv("LITELLM_PROXY_URL", second and "second")
    expected = given or variable or (first and "first") or (second and "second") or None
    assert with_all_sources({"url": given}, litellm_url=variable)["url"] == expected


def test_the_environment_of_a_task_causes_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_URL", "of the process")
    variables: dict[str, Any] = {"litellm_master_key": "value"}
    environment = {"LITELLM_URL": "of the task"}
    assert warning_about_sources(*with_sources(CONNECTION_OPTIONS, {}, variables.get, environment)) is None


@pytest.mark.parametrize("value", [False, 0, 0.0])
def test_false_and_zero_are_given(monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    monkeypatch.setenv("LITELLM_VALIDATE_CERTS", "true")
    assert with_all_sources({"validate_certs": value})["validate_certs"] is value
    assert with_all_sources({}, litellm_validate_certs=value)["validate_certs"] is value


def test_a_variable_that_is_not_needed_is_not_read() -> None:
    # It may be a template with an undefined variable.
    def variable(name: str) -> None:
        assert name != "litellm_url"

    assert with_sources(CONNECTION_OPTIONS, {"url": "given"}, variable)[0]["url"] == "given"


@pytest.mark.parametrize(
    ("url", "master_key", "expected"),
    [
        ("option", "option", None),
        ("option", "variable", None),
        ("environment", "environment", None),
        (
            "option",
            "environment",
            "The URL of the proxy comes from the play, but the master key from the environment variable LITELLM_PROX",
        ),
        (
            "environment",
            "variable",
            "The URL of the proxy comes from the environment variable LITELLM_PROXY_URL, but the master key from the "
            "variable litellm_master_key. ",
        ),
        (None, "environment", None),
        ("environment", None, None),
    ],
)
def test_a_url_and_a_master_key_from_different_sources_cause_a_warning(
    monkeypatch: pytest.MonkeyPatch, url: str | None, master_key: str | None, expected: str | None
) -> None:
    """Such as a vaulted key, and a URL that was left in the environment."""
    sources = {"url": url, "master_key": master_key}
    for name, source in sources.items():
        if source == "environment":
            monkeypatch.setenv(CONNECTION_OPTIONS[name].environment[-1], "value")
    given = {name: "value" for name, source in sources.items() if source == "option"}
    variables = {f"litellm_{name}": "value" for name, source in sources.items() if source == "variable"}
    warning = warning_about_sources(*with_sources(CONNECTION_OPTIONS, given, variables.get))
    assert warning is None if expected is None else str(warning).startswith(expected)


def test_other_arguments_are_kept_and_the_given_ones_are_not_modified() -> None:
    given = {"guid": "a", "url": ""}
    assert with_all_sources(given, litellm_url="x") == {**dict.fromkeys(CONNECTION_OPTIONS), "guid": "a", "url": "x"}
    assert given == {"guid": "a", "url": ""}


@pytest.mark.parametrize(
    "page", [ModuleDocFragment.DOCUMENTATION, ModuleDocFragment.PLUGINS], ids=["actions", "plugins"]
)
def test_the_documentation_fragments_have_the_same_options(page: str) -> None:
    documented = yaml.safe_load(page)["options"]
    assert list(documented) == list(CONNECTION_OPTIONS)
    for name, option in CONNECTION_OPTIONS.items():
        assert documented[name]["type"] == option.type
        assert documented[name].get("default") == option.default
        description = str(documented[name])
        assert option.variable
        assert option.variable in description
        assert [description.index(variable) for variable in option.environment] == sorted(
            description.index(variable) for variable in option.environment
        )


def test_the_defaults_of_the_connection_options() -> None:
    assert coerce_options(CONNECTION_OPTIONS, with_all_sources({}), "me") == {
        "url": None,
        "master_key": None,
        "validate_certs": True,
        "ca_path": None,
        "timeout": 30.0,
        "retries": 3,
        "concurrency": 8,
    }


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("str", "text", "text"),
        ("str", "", ""),
        ("str", 42, "42"),
        ("str", 1.5, "1.5"),
        ("bool", "no", False),
        ("bool", "True", True),
        ("bool", 1, True),
        ("int", "3", 3),
        ("float", "0.5", 0.5),
        ("float", 2, 2.0),
        ("dict", {"a": 1}, {"a": 1}),
        ("dict", '{"a": 1}', {"a": 1}),
        ("dict", "a=b c=d", {"a": "b", "c": "d"}),
        ("list of str", ["a", 1], ["a", "1"]),
        ("list of str", ("a",), ["a"]),
        ("list of str", [], []),
        ("list of str", '["a", "b"]', ["a", "b"]),
        ("list of str", "[]", []),
        ("list of str", "a", ["a"]),
        ("list of str", "a,b , c d", ["a", "b", "c d"]),
        ("list of str", '"a"', ['"a"']),
        ("list of str", ' ["a"]', ["a"]),
        ("list", [{"a": 1}], [{"a": 1}]),
        ("list", ' [{"a": 1}]', [{"a": 1}]),
        ("list", "[{'a': None}]", [{"a": None}]),
        ("raw", 7, 7),
        ("path", "/etc//ssl/", "/etc/ssl"),
    ],
)
def test_a_value_is_converted_to_its_type(kind: str, value: Any, expected: Any) -> None:
    result = coerce_options({"option": Option(kind)}, {"option": value}, "me")["option"]
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ("str", True, "option must be text, but is True"),
        ("str", ["a"], "option must be text, but is ['a']"),
        ("path", {}, "option must be a path, but is {}"),
        ("bool", "perhaps", "option must be true or false, but is 'perhaps'"),
        ("bool", 2, "option must be true or false, but is 2"),
        ("int", "three", "option must be a whole number, but is 'three'"),
        ("int", 3.5, "option must be a whole number, but is 3.5"),
        ("int", "3.5", "option must be a whole number, but is '3.5'"),
        ("int", True, "option must be a whole number, but is True"),
        ("float", "1,5", "option must be a number, but is '1,5'"),
        ("float", True, "option must be a number, but is True"),
        ("float", [], "option must be a number, but is []"),
        ("dict", "text", "option must be a dictionary, but is 'text'"),
        ("dict", ["a"], "option must be a dictionary, but is ['a']"),
        (
            "list of str",
            '["a", 1]',
            "option must be a list of names, like [a, b], or names with commas, but is '[\"a\", 1]'",
        ),
        ("list of str", "a,", "option must be a list of names, like [a, b], or names with commas, but is 'a,'"),
        (
            "list of str",
            '["a", ""]',
            'option must be a list of names, like [a, b], or names with commas, but is \'["a", ""]\'',
        ),
        ("list of str", "[a, b]", "option must be a list of names, like [a, b], or names with commas, but is '[a, b]'"),
        (
            "list of str",
            ["a", {}],
            "option must be a list of names, like [a, b], or names with commas, but is ['a', {}]",
        ),
        ("list", "a", "option must be a list, but is 'a'"),
        ("list", {"a": 1}, "option must be a list, but is {'a': 1}"),
        ("list", '{"a": 1}', "option must be a list, but is '{\"a\": 1}'"),
        ("list", "[a]", "option must be a list, but is '[a]'"),
        ("list", "(1, 2)", "option must be a list, but is '(1, 2)'"),
        ("list", 5, "option must be a list, but is 5"),
    ],
)
def test_a_value_of_a_wrong_type_is_quoted(kind: str, value: Any, why: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(why)}$") as error:
        coerce_options({"option": Option(kind)}, {"option": value}, "me")
    assert error.value.__cause__ is None


def test_a_secret_of_a_wrong_type_is_not_quoted() -> None:
    with pytest.raises(OptionError, match=r"^master_key must be text, but is a value of type dict$"):
        coerce_options(CONNECTION_OPTIONS, {"master_key": {"sk-hidden": "sk-hidden"}}, "me")


def test_the_type_of_a_secret_is_reported_as_its_built_in_type() -> None:
    """ansible-core 2.19 and later has subclasses of the built-in types, such as _AnsibleTaggedDict."""

    class Tagged(dict[str, str]):
        pass

    with pytest.raises(OptionError, match=r"^master_key must be text, but is a value of type dict$"):
        coerce_options(CONNECTION_OPTIONS, {"master_key": Tagged()}, "litellm_key")


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "present"), ({"state": None}, "present"), ({"state": ""}, "present"), ({"state": "absent"}, "absent")],
)
def test_a_choice_or_its_default(options: dict[str, Any], expected: str) -> None:
    state = Option(default="present", choices=("present", "absent"))
    assert coerce_options({"state": state}, options, "me") == {"state": expected}


@pytest.mark.parametrize("value", ["gone", " ", "Present"])
def test_a_value_that_is_not_a_choice_is_quoted_with_the_choices(value: str) -> None:
    state = Option(default="present", choices=("present", "absent"))
    with pytest.raises(OptionError, match=f"^state must be one of present, absent, but is '{value}'$"):
        coerce_options({"state": state}, {"state": value}, "me")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("timeot", "me has no option 'timeot'; did you mean 'timeout'?"),
        ("xyz", "me has no option 'xyz'; its options are ca_path, concurrency, master_key, retries, timeout, url, val"),
        (7, "me has no option '7'; its options are ca_path"),
    ],
)
def test_an_unknown_option_is_named_with_a_similar_one(name: Any, why: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(why)}"):
        coerce_options(CONNECTION_OPTIONS, {name: 1}, "me")


def test_a_home_directory_and_variables_in_a_path_are_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "certificates")
    result = coerce_options(CONNECTION_OPTIONS, {"ca_path": "~/$PLACE/ca.pem"}, "me")["ca_path"]
    assert result == f"{tmp_path}/certificates/ca.pem"


def test_connect_uses_only_the_connection_options() -> None:
    options = coerce_options(
        CONNECTION_OPTIONS, {"url": "https://a.example/v1", "master_key": "sk-1234", "retries": 0}, "me"
    )
    connection = connect({**options, "guid": "a"}, pytest.fail).connection
    assert (connection.url, connection.master_key, connection.retries) == ("https://a.example", "sk-1234", 0)


def test_without_urllib3_options_can_be_read_and_connecting_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith((f"{UTILS}._litellm", f"{UTILS}._ansible"))]:
        monkeypatch.delitem(sys.modules, name)
    for package in ("_litellm", "_ansible"):
        # The modules that are imported below replace these; monkeypatch restores them.
        monkeypatch.setattr(sys.modules[UTILS], package, None, raising=False)
    monkeypatch.setitem(sys.modules, "urllib3", None)
    monkeypatch.setitem(sys.modules, "urllib3.exceptions", None)
    options = importlib.import_module(f"{UTILS}._ansible.options")
    values = options.coerce_options(
        options.CONNECTION_OPTIONS, {"url": "https://a.example", "master_key": "sk-1234"}, "me"
    )
    with pytest.raises(OptionError, match=r"^The Python package urllib3 is missing on the controller \(.+\); install"):
        options.connect(values, pytest.fail)


def test_master_key_and_seed_are_registered_as_secrets_with_ansible_core(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []
    monkeypatch.setattr(options, "register_secrets", registered.extend)
    given = {"url": "http://localhost", "master_key": "sk-master", "key_seed": "a seed", "key": "sk-given-away"}
    nested = {"virtual_keys": [{"key_seed": "another seed", "key": "sk-given-away"}]}
    options.register(LITELLM_KEY_OPTIONS, {**given, **nested})
    assert registered == ["sk-master", "a seed", "another seed"]


def test_secrets_in_the_text_of_a_list_are_known() -> None:
    for text in ('[{"key": "sk-one"}, "x"]', "[{'key': 'sk-one'}]"):
        assert list(options.secret_values(LITELLM_KEY_OPTIONS, {"virtual_keys": text})) == ["sk-one"]
    assert list(options.secret_values(LITELLM_KEY_OPTIONS, {"virtual_keys": "[sk-one"})) == []


def test_the_password_of_the_database_is_not_registered_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a common word, such as the name of the database, which ansible-core would then mask in all output."""
    registered: list[str] = []
    monkeypatch.setattr(options, "register_secrets", registered.extend)
    options.register(litellm_key_row.OPTIONS, {"postgres_url": "postgresql://litellm:litellm@database/litellm"})
    assert registered == ["postgresql://litellm:litellm@database/litellm"]


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("https://litellm.example", False),
        ("http://litellm.example", True),
        ("http://10.0.0.1:4000", True),
        ("http://[2001:db8::1]:4000/litellm", True),
        ("http://localhost.example", True),
        ("http://127.0.0.1.example", True),
        ("http://localhost:4000", False),
        ("http://LOCALHOST:4000", False),
        ("http://127.0.0.1:4000", False),
        ("http://127.1.2.3", False),
        ("http://[::1]:4000", False),
    ],
)
def test_an_unencrypted_connection_to_another_machine_is_warned_about(url: str, is_warned: bool) -> None:
    warnings: list[str] = []
    connect(coerce_options(CONNECTION_OPTIONS, {"url": url, "master_key": "sk-1234"}, "me"), warnings.append)
    warning = f"The master key and all virtual keys are sent to {url} unencrypted; use an https:// URL"
    assert warnings == [warning] * is_warned


@pytest.mark.parametrize(
    ("http_proxy", "no_proxy", "is_warned"),
    [
        ("http://proxy.example:3128", "", True),
        ("proxy.example:3128", "", True),
        ("http://proxy.example:3128", "127.0.0.1", False),
        ("http://127.0.0.1:3128", "", False),
    ],
)
def test_an_unencrypted_connection_through_another_machine_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, http_proxy: str, no_proxy: str, is_warned: bool
) -> None:
    monkeypatch.setenv("http_proxy", http_proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    warnings: list[str] = []
    connect(
        coerce_options(CONNECTION_OPTIONS, {"url": "http://127.0.0.1:4000", "master_key": "sk-1234"}, "me"),
        warnings.append,
    )
    assert bool(warnings) is is_warned
