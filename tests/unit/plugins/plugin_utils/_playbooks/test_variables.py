# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Short names on the command line of a playbook, and variables that look like one of them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.environment_options import (
    ROLE_PREFIX,
    ROLE_VARIABLES,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._ansible.playbook_names import (
    ALL_NAMES,
    PLAYBOOKS,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._environment.request import OPERATIONS
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._playbooks.variables import (
    check_operation,
    like_others,
    translate,
)

PROVISION, REPORT, CLEANUP = (PLAYBOOKS[name] for name in ("provision_key", "report_keys", "sweep_keys"))


def provision(**extra: Any) -> dict[str, Any]:
    """Return the variables of the role without its prefix."""
    variables = translate(extra, PROVISION, ALL_NAMES).variables
    return {name.removeprefix(ROLE_PREFIX): value for name, value in variables.items()}


def error_of(**extra: Any) -> str:
    with pytest.raises(OptionError) as error:
        translate(extra, PROVISION, ALL_NAMES)
    return str(error.value)


def test_every_variable_of_the_role_has_a_short_name() -> None:
    extra = {name.removeprefix(ROLE_PREFIX): name for name in ROLE_VARIABLES if not name.endswith("extend_by")}
    assert translate(extra, PROVISION).variables == {name: name for name in extra.values()}
    assert provision(by="7d") == {"extend_by": "7d"}


def test_long_names_and_variables_of_others_are_left_alone() -> None:
    extra = {
        f"{ROLE_PREFIX}models": "a",
        "litellm_url": "u",
        "guid": "x",
        "awx_job_id": 7,
        "region": "eu",
        "num_users": 3,
    }
    assert provision(**extra) == {}


def test_the_parts_of_a_rotation_have_short_names() -> None:
    names = PLAYBOOKS["rotate_keys"]
    variable = f"{ROLE_PREFIX}rotate"
    assert translate({"every": "30d", "overlap": "2h"}, names).variables == {
        variable: {"every": "30d", "overlap": "2h"}
    }
    assert translate({"every": "30d"}, names).variables == {variable: {"every": "30d"}}
    assert translate({"rotate": {"every": "30d"}}, names).variables == {variable: {"every": "30d"}}
    assert translate({"every": "30d"}, PROVISION, ALL_NAMES).variables == {}
    for given in ("rotate", variable):
        with pytest.raises(OptionError, match=f"^{given} and every are both set; set one of them$"):
            translate({given: {"every": "30d"}, "every": "30d"}, names)
    with pytest.raises(OptionError, match="no variable overlapp; did you mean overlap"):
        translate({"overlapp": "2h"}, names)


@pytest.mark.parametrize(
    ("requested", "advice"),
    [("rotate", ", or run rotate_key"), ("rotate_old", ""), ("destroy", ", or run destroy_key"), ("what", "")],
)
def test_the_playbook_for_a_rotation_runs_its_operation(requested: str, advice: str) -> None:
    assert check_operation({}, "rotate_keys", OPERATIONS) == "rotate_old"
    if requested == "rotate_old":
        assert check_operation({"ACTION": requested}, "rotate_keys", OPERATIONS) == "rotate_old"
        with pytest.raises(OptionError, match="or run rotate_keys"):
            check_operation({"ACTION": requested}, "rotate_key", OPERATIONS)
        return
    with pytest.raises(OptionError) as error:
        check_operation({"ACTION": requested}, "rotate_keys", OPERATIONS)
    assert str(error.value).endswith(f"Remove it from the extra variables{advice}")


def test_messages_call_a_variable_as_it_was_typed() -> None:
    typed = translate({f"{ROLE_PREFIX}duration": "7d"}, PROVISION).typed
    assert (typed["duration"], typed["models"], typed["by"]) == (f"{ROLE_PREFIX}duration", "models", "by")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("model", "models"),
        ("modles", "models"),
        ("Duration", "duration"),
        ("duraton", "duration"),
        ("user", "users"),
        ("expire_at", "expires_at"),
        ("expiry", "expires_at"),
        ("budget", "max_budget"),
        ("env-file", "env_file"),
        ("rpm_limits", "rpm_limit"),
        ("url", "litellm_url"),
        ("litelm_url", "litellm_url"),
        ("master_key", "litellm_master_key"),
        ("output_directory", None),
        (f"{ROLE_PREFIX}modles", f"{ROLE_PREFIX}models"),
        (f"{ROLE_PREFIX}something_else", None),
        ("ocp4_workload_something_models", None),
        ("cluster_name", None),
        ("platform_models", None),
    ],
)
def test_an_unknown_variable_that_looks_like_a_known_one_is_refused(name: str, meant: str | None) -> None:
    if meant:
        assert error_of(**{name: "x"}) == f"There is no variable {name}; did you mean {meant}?"
    else:
        assert provision(**{name: "x"}) == {}


@pytest.mark.parametrize("variable", ["ACTION", "agnosticd_action", "cloud_provider", "__meta__"])
def test_no_short_name_is_read_where_a_platform_passes_the_variables_of_all_workloads(variable: str) -> None:
    assert provision(**{variable: "x", "models": "of another workload", "duratoin": "x", "users": 5}) == {}


def test_a_variable_cannot_be_set_twice() -> None:
    assert error_of(**{"models": "a", f"{ROLE_PREFIX}models": "b"}) == (
        f"models and {ROLE_PREFIX}models are the same variable; set one of them"
    )


def test_options_of_litellm_key_become_settings() -> None:
    assert provision(rpm_limit=5, tags="a,b") == {"settings": {"rpm_limit": 5, "tags": "a,b"}}
    assert provision(rpm_limit=5, settings={"tpm_limit": 9}) == {"settings": {"rpm_limit": 5, "tpm_limit": 9}}
    long = {f"{ROLE_PREFIX}settings": {"tpm_limit": 9}}
    assert provision(rpm_limit=5, **long) == {"settings": {"rpm_limit": 5, "tpm_limit": 9}}
    assert error_of(rpm_limit=5, settings={"rpm_limit": 9}) == "rpm_limit is set, and is also in settings; set it once"
    assert error_of(rpm_limit=5, settings="x") == "settings must be a dictionary if rpm_limit is set, too"


def test_each_playbook_has_names_of_its_own_and_ignores_those_of_others() -> None:
    assert translate({"guids": "a", "soon": "2d", "sort": "spend"}, REPORT, ALL_NAMES).variables == {
        "report_guids": "a",
        "report_soon": "2d",
        "report_sort": "spend",
    }
    assert translate({"guids_file": "f", "at_most": 5, "models": "x"}, CLEANUP, ALL_NAMES).variables == {
        "report_guids_file": "f",
        "sweep_at_most": 5,
    }
    with pytest.raises(OptionError, match="There is no variable guids_files; did you mean guids_file"):
        translate({"guids_files": "f"}, CLEANUP, ALL_NAMES)


RECORD = {
    "expires": "2026-12-24T18:00:00Z",
    "settings": {
        "models": ["granite"],
        "max_budget": 5.0,
        "rpm_limit": 60,
        "user_id": "ann@example.com",
        "blocked": True,
        "metadata": {"user": "ann"},
        "tags": [],
    },
}


def added(record: dict[str, Any], **given: Any) -> dict[str, Any]:
    found = like_others({f"{ROLE_PREFIX}{name}": value for name, value in given.items()}, record, PROVISION)
    return {name.removeprefix(ROLE_PREFIX): value for name, value in found.items()}


def test_an_added_user_gets_the_settings_and_the_end_of_the_others() -> None:
    assert added(RECORD) == {
        "models": ["granite"],
        "max_budget": 5.0,
        "expires_at": "2026-12-24T18:00:00Z",
        "settings": {"rpm_limit": 60},
    }
    assert added({}) == {"models": [], "max_budget": None, "duration": ""}


@pytest.mark.parametrize(
    ("given", "team_id"),
    [({"shared_budget": 20}, None), ({"shared_budget": "0"}, None), ({"shared_budget": ""}, "t"), ({}, "t")],
)
def test_an_added_user_does_not_get_the_team_of_the_others_beside_a_shared_budget(given, team_id) -> None:
    settings = {"rpm_limit": 60, "team_id": "t"}
    assert added({**RECORD, "settings": settings}, **given)["settings"].get("team_id") == team_id


def test_variables_that_are_given_win_over_the_settings_of_the_others() -> None:
    assert added(RECORD, models="a", max_budget=1, duration="7d", settings={}) == {}
