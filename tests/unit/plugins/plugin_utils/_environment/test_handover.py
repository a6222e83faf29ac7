# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test where keys are written: one place for each key, and nothing but the place after a destroy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.handover import (
    Remembered,
    absolute_files,
    check_handover,
    describe_places,
    environment_variables,
    handover,
    is_on_controller,
    not_updated,
    places_to_save,
    remembered_places,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.records import SavedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._text import Wording

BASE_URL = "https://proxy.example.com/v1"
NOWHERE = dict.fromkeys(
    (
        *("handover_host", "env_file", "env_file_owner", "profile_file", "profile_group"),
        *("secret_name", "secret_namespace"),
    )
)
WARNINGS: list[str] = []
ROLE = "ocp4_workload_litellm_virtual_keys_"


def wording(prefix: str) -> Wording:
    return Wording({name: f"{prefix}{name}" for name in (*NOWHERE, "users")})


def entry(user: str | None = None, secret: str | None = "sk-secret") -> dict[str, Any]:
    alias = f"virtkey-abc-{user}" if user else "virtkey-abc"
    entry = {"key": secret, "key_alias": alias, "models": ["a", "b"], "operation": "unchanged"}
    return {**entry, **({"user": user} if user else {})}


VARIABLES = {
    "LITELLM_API_URL": BASE_URL,
    "LITELLM_API_KEY": "sk-secret",
    "LITELLM_MODELS": "a,b",
    "OPENAI_BASE_URL": BASE_URL,
    "OPENAI_API_KEY": "sk-secret",
}


def test_the_variables_of_a_key() -> None:
    assert environment_variables(entry(), BASE_URL) == VARIABLES
    assert environment_variables({**entry(), "models": None}, BASE_URL)["LITELLM_MODELS"] == ""


def test_a_name_of_a_model_adds_no_line_to_a_file() -> None:
    # The names come from the proxy. A line that ends the block would keep the rest of it forever, as commands.
    models = ["a\n# END virtkey-abc\n$(id)\n#'", "b\x85\u2028c", "d'\U0001f600"]
    variables = environment_variables({**entry(), "models": models}, BASE_URL)
    assert variables["LITELLM_MODELS"] == r"a\n# END virtkey-abc\n$(id)\n#',b\x85\u2028c,d'" + "\U0001f600"
    assert not any(len(value.splitlines()) > 1 for value in variables.values())


@pytest.mark.parametrize("nowhere", [None, ""])
@pytest.mark.parametrize("remove", [False, True])
def test_nothing_is_written_or_removed_without_a_place(nowhere: str | None, remove: bool) -> None:
    # An owner, a group or a namespace alone are no place.
    options = {
        **dict.fromkeys(NOWHERE, nowhere),
        "env_file_owner": "lab",
        "profile_group": "g",
        "secret_namespace": "n",
    }
    assert handover(options, [entry()], BASE_URL, WARNINGS.append, remove=remove) == []


PLACES = {**NOWHERE, "env_file": "/srv/{user}.env", "profile_file": "/etc/profile.d/x.sh", "profile_group": "lab"}


def saved(user: str | None, options: dict[str, Any], *, is_controller: bool = True, guid: str = "abc") -> SavedKey:
    record = places_to_save(options, {}, user, is_controller=is_controller)
    return SavedKey(entry(user)["key_alias"], "sk-old", guid=guid, user=user, record=record)


def remembered(*keys: SavedKey, missing: str = "") -> Remembered:
    return remembered_places(keys, "abc", lambda path: path != missing)


@pytest.mark.parametrize(
    ("operation", "remove", "is_used"),
    [
        ("regenerated", False, True),
        ("created", False, True),
        ("updated", False, False),
        ("unchanged", False, False),
        ("deleted", True, True),
        ("absent", True, True),
        ("failed", True, False),
    ],
)
def test_a_replaced_or_deleted_key_is_written_where_it_was_or_removed(
    operation: str, remove: bool, is_used: bool
) -> None:
    one = {**entry("ann"), "operation": operation}
    places = remembered(saved("ann", PLACES))
    found = handover(NOWHERE, [one, entry("bob")], BASE_URL, WARNINGS.append, remove=remove, remembered=places)
    assert [
        (item["env_file"], item["profile_file"], item["profile_group"], item["handover_host"]) for item in found
    ] == [("/srv/ann.env", "/etc/profile.d/x.sh", "lab", "localhost")] * is_used
    assert all((item["state"], item["secret_name"]) == ("absent" if remove else "present", "") for item in found)


def test_an_option_replaces_what_is_remembered() -> None:
    one, options = {**entry("ann"), "operation": "regenerated"}, {**NOWHERE, "env_file": "/other.env"}
    places = remembered(saved("ann", PLACES))
    (item,) = handover(options, [one], BASE_URL, WARNINGS.append, remove=False, remembered=places)
    assert (item["env_file"], item["profile_file"], item["handover_host"]) == ("/other.env", "", "")
    assert not_updated([one], [item], places) == ["/srv/ann.env", "/etc/profile.d/x.sh"]
    assert not_updated([one], [{**item, "env_file": "/srv/ann.env"}], places) == ["/etc/profile.d/x.sh"]


def test_only_files_that_exist_on_the_controller_are_remembered() -> None:
    bastion = {**PLACES, "handover_host": "bastion", "secret_name": "key", "secret_namespace": "lab"}
    assert remembered(saved("ann", PLACES), missing="/srv/ann.env").files == {
        "virtkey-abc-ann": {
            "handover_host": "localhost",
            "profile_file": "/etc/profile.d/x.sh",
            "profile_group": "lab",
        }
    }
    here = remembered(saved("ann", bastion))
    assert here.others == {"virtkey-abc-ann": ["Secret key in namespace lab"]}
    assert "secret_name" not in here.files["virtkey-abc-ann"]
    elsewhere = remembered(saved("ann", bastion, is_controller=False))
    assert (elsewhere.files, elsewhere.others) == (
        {},
        {
            "virtkey-abc-ann": [
                *("/srv/ann.env on bastion", "/etc/profile.d/x.sh on bastion"),
                "Secret key in namespace lab",
            ]
        },
    )
    assert len(not_updated([{**entry("ann"), "operation": "regenerated"}], [], elsewhere)) == 3
    assert not_updated([entry("ann")], [], elsewhere) == []


@pytest.mark.parametrize(
    ("guid", "record"),
    [
        ("other", {"handover": {"env_file": "/srv/x.env", "handover_host": "localhost"}}),
        ("abc", {"handover": {"env_file": ["/srv/x.env"], "handover_host": "localhost"}}),
        ("abc", {"handover": "/srv/x.env"}),
        ("abc", {"handover": {"handover_host": "localhost"}}),
        ("abc", {}),
    ],
    ids=["other environment", "no text", "no dictionary", "nowhere", "nothing"],
)
def test_what_is_saved_of_others_or_damaged_is_not_used(guid: str, record: dict[str, Any]) -> None:
    known = remembered_places([SavedKey("virtkey-abc", "sk-old", guid=guid, record=record)], "abc", lambda path: True)
    assert known == Remembered(aliases=frozenset({"virtkey-abc"} if guid == "abc" else ()))


def test_files_on_the_controller_are_relative_to_the_current_directory(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    options = {**NOWHERE, "env_file": "{user}/.env", "profile_file": "~/profile"}
    assert absolute_files(options) == {"env_file": f"{tmp_path}/{{user}}/.env", "profile_file": "~/profile"}
    assert describe_places({"env_file": f"{tmp_path}/.env", "handover_host": "localhost"}) == [".env"]


@pytest.mark.parametrize(
    ("host", "transport", "expected"),
    [("localhost", "ssh", True), ("web", "local", True), ("web", "ssh", False), ("bastion", "local", False)],
)
def test_which_files_are_on_the_controller(host: str, transport: str, expected: bool) -> None:
    assert is_on_controller(host, "web", transport) is expected


def test_a_single_key_is_written_where_the_options_say() -> None:
    options = {**NOWHERE, "handover_host": "bastion", "env_file": "/home/lab/.env", "env_file_owner": "lab"}
    assert handover(options, [entry()], BASE_URL, WARNINGS.append, remove=False) == [
        {
            "key_alias": "virtkey-abc",
            "state": "present",
            "handover_host": "bastion",
            "env_file": "/home/lab/.env",
            "env_file_owner": "lab",
            "profile_file": "",
            "profile_group": "",
            "secret_name": "",
            "secret_namespace": "",
            "env_content": "".join(f"{name}={value}\n" for name, value in VARIABLES.items()),
            "profile_header": "# Virtual key virtkey-abc, written by rhpds.litellm_virtual_keys",
            "profile_content": "".join(f"export {name}={value}\n" for name, value in VARIABLES.items()),
            "variables": VARIABLES,
        }
    ]


def test_each_user_has_a_place() -> None:
    options = {
        **NOWHERE,
        "env_file": "/home/{user}/{user}.env",
        "env_file_owner": "{user}",
        "secret_name": "llm",
        "secret_namespace": "ns-{user}",
    }
    written = handover(options, [entry("ann"), entry("bob")], BASE_URL, WARNINGS.append, remove=False)
    assert [
        (one["env_file"], one["env_file_owner"], one["secret_name"], one["secret_namespace"]) for one in written
    ] == [
        ("/home/ann/ann.env", "ann", "llm", "ns-ann"),
        ("/home/bob/bob.env", "bob", "llm", "ns-bob"),
    ]


def test_a_key_without_a_known_secret_is_not_written_but_removed() -> None:
    options = {**NOWHERE, "profile_file": "/etc/profile.d/{user}.sh", "profile_group": "lab"}
    entries = [entry("ann", None), entry("bob")]
    assert [one["key_alias"] for one in handover(options, entries, BASE_URL, WARNINGS.append, remove=False)] == [
        "virtkey-abc-bob"
    ]
    removed = handover(options, entries, BASE_URL, WARNINGS.append, remove=True)
    assert [one["profile_file"] for one in removed] == ["/etc/profile.d/ann.sh", "/etc/profile.d/bob.sh"]


def test_a_removal_contains_no_secret() -> None:
    options = {**NOWHERE, "env_file": "/home/lab/.env"}
    (removed,) = handover(options, [entry()], BASE_URL, WARNINGS.append, remove=True)
    assert (removed["state"], removed["variables"]) == ("absent", {})
    assert "sk-secret" not in str(removed)


def test_the_content_of_a_file_is_quoted_for_a_shell() -> None:
    options = {**NOWHERE, "env_file": "/home/lab/.env"}
    (one,) = handover(
        options, [{**entry(), "models": ["a b", "$(id)", "it's"]}], BASE_URL, WARNINGS.append, remove=False
    )
    assert "LITELLM_MODELS='a b,$(id),it'\"'\"'s'\n" in one["env_content"]
    assert "export LITELLM_MODELS='a b,$(id),it'\"'\"'s'\n" in one["profile_content"]


@pytest.mark.parametrize("remove", [False, True])
def test_a_key_without_a_user_has_no_place_of_a_user(remove: bool) -> None:
    """Otherwise, the path would be a directory."""
    options = {
        **NOWHERE,
        "env_file": "/home/lab/.env",
        "profile_file": "/etc/profile.d/{user}",
        "profile_group": "lab",
        "secret_name": "llm",
        "secret_namespace": "{user}",
    }
    (one,) = handover(options, [entry()], BASE_URL, WARNINGS.append, remove=remove)
    assert (one["env_file"], one["profile_file"], one["secret_name"]) == ("/home/lab/.env", "", "")


@pytest.mark.parametrize("user", ["../esc", "a/b", "/etc", "..", ".", "$HOME", "~root"])
@pytest.mark.parametrize("remove", [False, True])
def test_a_user_whose_name_leads_to_another_directory_has_no_file(user: str, remove: bool) -> None:
    options = {**NOWHERE, "env_file": "/home/{user}/.env", "secret_name": "llm-{user}", "secret_namespace": "labs"}
    warnings: list[str] = []
    found = handover(options, [entry(user), entry("ann")], BASE_URL, warnings.append, remove=remove)
    assert [(one["env_file"], one["secret_name"]) for one in found] == [
        ("", f"llm-{user}"),
        ("/home/ann/.env", "llm-ann"),
    ]
    assert warnings == [
        f"The files of user {user!r} are left alone, because the name cannot be part of the path of a file"
    ]


# Checks


@pytest.mark.parametrize("name", ["env_file", "profile_file", "secret_name", "env_file_owner"])
def test_a_new_key_without_users_has_no_place_of_a_user(name: str) -> None:
    options = {**NOWHERE, "profile_group": "lab", "secret_namespace": "labs", name: "/x/{user}"}
    check_handover(options, is_multi_user=False, wording=Wording())  # the users of existing keys count, too
    with pytest.raises(OptionError) as error:
        check_handover(options, is_multi_user=False, wording=wording(ROLE), is_new=True)
    assert str(error.value) == (
        f"{ROLE}{name} contains {{user}}, but the environment has no users; set {ROLE}users, or remove {{user}}"
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"env_file": "/home/{user}/.env"},
        {"profile_file": "/etc/profile.d/{user}.sh", "profile_group": "lab"},
        {"secret_name": "llm-{user}", "secret_namespace": "labs"},
        {"secret_name": "llm", "secret_namespace": "ns-{user}"},
    ],
)
def test_places_that_are_different_for_each_user(options: dict[str, str]) -> None:
    check_handover({**NOWHERE, **options}, is_multi_user=True, wording=Wording())
    check_handover({**NOWHERE, **options}, is_multi_user=False, wording=Wording())


@pytest.mark.parametrize(
    "options",
    [
        {"env_file": "/home/lab/.env"},
        {"profile_file": "/etc/profile.d/llm.sh", "profile_group": "{user}"},
        {"secret_name": "llm", "secret_namespace": "labs"},
        {"env_file": "/home/{user}/.env", "secret_name": "llm", "secret_namespace": "labs"},
    ],
)
def test_several_users_need_a_place_each(options: dict[str, str]) -> None:
    check_handover({**NOWHERE, **options}, is_multi_user=False, wording=Wording())
    with pytest.raises(OptionError) as error:
        check_handover({**NOWHERE, **options}, is_multi_user=True, wording=wording(ROLE))
    assert str(error.value) == (
        f"With several users, {{user}} must be part of {ROLE}env_file, of {ROLE}profile_file, and of "
        f"{ROLE}secret_name or {ROLE}secret_namespace"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile_file": "/p"}, "{0}profile_file needs {0}profile_group, the group of users who can read the profile"),
        ({"secret_name": "llm"}, "{0}secret_name needs {0}secret_namespace"),
    ],
)
@pytest.mark.parametrize("prefix", ["", ROLE])
def test_a_place_needs_all_its_options(options: dict[str, str], message: str, prefix: str) -> None:
    for empty in (None, ""):
        with pytest.raises(OptionError) as error:
            check_handover({**dict.fromkeys(NOWHERE, empty), **options}, is_multi_user=False, wording=wording(prefix))
        assert str(error.value) == message.format(prefix)
