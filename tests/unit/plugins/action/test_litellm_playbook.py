# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `litellm_playbook`: the extra variables of a playbook's command line, with their values."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.utils import vars as ansible_vars
from ansible.utils.display import Display

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19 trusts every string
    trust_as_template = str


NAME = "rhpds.litellm_virtual_keys.litellm_playbook"
PREFIX = "ocp4_workload_litellm_virtual_keys_"


@pytest.fixture
def warnings(monkeypatch):
    texts = []
    monkeypatch.setattr(Display, "warning", lambda self, text, *args, **kwargs: texts.append(text))
    return texts


@pytest.fixture
def run(run_action, monkeypatch, tmp_path):
    def run_task(playbook: str = "provision_key", variables: dict[str, Any] | None = None, **extra: Any):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(ansible_vars.load_extra_vars, "extra_vars", extra, raising=False)
        variables = {**(variables or {}), **extra}
        return run_action(NAME, {"playbook": playbook}, variables=variables)

    return run_task


def test_only_extra_variables_are_translated(run):
    result = run(
        variables={"guid": "abc", "models": "of the inventory"}, duration=trust_as_template("{{ days }}d"), days=7
    )
    assert (result["changed"], result["variables"]) == (False, {f"{PREFIX}duration": "7d"})
    assert result["short_names"]["alias_format"] == "alias_format"
    assert result["short_names"]["extend_by"] == "by"


def test_a_variable_that_is_not_read_is_not_evaluated(run):
    assert run(guid="abc", somebody_elses=trust_as_template("{{ undefined_variable }}"))["variables"] == {}


def test_settings_on_the_command_line_are_a_dictionary(run):
    result = run(guid="abc", settings='{"tpm_limit": 9}', rpm_limit="5")
    assert result["variables"] == {f"{PREFIX}settings": {"tpm_limit": 9, "rpm_limit": "5"}}
    assert run(guid="abc", settings="fast")["msg"] == (
        "settings must be a dictionary, such as settings='{\"rpm_limit\": 60}'"
    )


@pytest.mark.parametrize("guid", [None, "", "  "])
def test_the_guid_is_asked_for(run, guid):
    assert run(guid=guid)["msg"] == "guid is not set; name the lab environment with -e guid=NAME"
    assert run("report_keys", guid=guid).get("msg") is None


def test_a_misspelled_variable_fails(run):
    assert run(guid="abc", model="a")["msg"] == "There is no variable model; did you mean models?"


def test_a_value_with_a_space_and_without_quotes_fails(run):
    # ansible-playbook -e guid=abc -e models='a, b'
    assert run(guid="abc", models="a,", _raw_params="b")["msg"] == (
        "A value of -e has a space and no quotes, so that only its first part was read; write lists without spaces "
        "(-e models=a,b), and other values in quotes of their own (-e \"duration='7 days'\")"
    )
    assert run(guid="abc", ACTION="provision", _raw_params="b")["variables"] == {}


@pytest.mark.parametrize(
    ("extra", "is_implied"),
    [
        ({"user_count": "3"}, True),
        ({"user_count": "3", "multi_user": "false"}, False),
        ({"user_count": "3", f"{PREFIX}multi_user": "false"}, False),
        ({"user_count": "3", "ocp4_workload_multi_user": "false"}, False),
        ({f"{PREFIX}user_count": "3"}, False),
        ({"users": "ann"}, False),
    ],
    ids=str,
)
def test_a_number_of_users_implies_that_each_gets_a_key(run, extra, is_implied):
    assert (run(guid="abc", **extra)["variables"].get(f"{PREFIX}multi_user") is True) == is_implied


def test_an_added_user_gets_what_the_others_have(run, tmp_path):
    record = {"guid": "abc", "key_id": "0" * 64, "user": "ann", "expires": "2099-01-01T00:00:00Z"}
    settings = {"models": ["granite"], "max_budget": 5.0, "rpm_limit": 60}
    data = {"litellm_keys": {"virtkey-abc-ann": {**record, "settings": settings}}}
    folder = tmp_path / "virtual_keys" / "abc"
    folder.mkdir(parents=True)
    (folder / "provision-user-data.yaml").write_text(yaml.safe_dump(data))
    assert run(guid="abc", add_users="bob", duration="7d")["variables"] == {
        f"{PREFIX}add_users": "bob",
        f"{PREFIX}duration": "7d",
        f"{PREFIX}models": ["granite"],
        f"{PREFIX}max_budget": 5.0,
        f"{PREFIX}settings": {"rpm_limit": 60},
    }
    assert run(guid="other", add_users="bob")["variables"] == {f"{PREFIX}add_users": "bob"}
    assert run("destroy_key", guid="abc", add_users="bob")["variables"] == {f"{PREFIX}add_users": "bob"}


def test_the_result_is_hidden_because_it_may_contain_a_seed(run):
    assert run(guid="abc", key_seed="a seed")["_ansible_no_log"] is True
    assert "_ansible_no_log" not in run(key_seed="a seed")


@pytest.mark.parametrize("name", ["ACTION", "agnosticd_action"])
def test_a_playbook_does_what_its_name_says(run, name):
    assert run("provision_key", guid="abc", **{name: "remove"})["msg"] == (
        f"{name} is 'remove', but the playbook provision_key runs provision. Remove it from the extra variables, or "
        "run destroy_key"
    )
    assert run("status_key", guid="abc", **{name: "update"})["msg"] == (
        f"{name} is 'update', but the playbook status_key runs status. Remove it from the extra variables"
    )
    assert run("provision_key", guid="abc", **{name: "create"})["operation"] == "provision"
    assert run("extend_key", variables={"guid": "abc", name: "destroy"})["operation"] == "extend"
    assert "msg" not in run("report_keys", **{name: "destroy"})


def test_short_names_that_are_not_read_are_named(run, warnings):
    run(guid="abc", ACTION="provision", models="a", rpm_limit=5, by="7d", ocp4_workload_litellm_virtual_keys_runtime=3)
    assert warnings == [
        "The short names by, models, rpm_limit are not read, because extra variables contain agnosticd_action or "
        "ACTION; set ocp4_workload_litellm_virtual_keys_extend_by, ocp4_workload_litellm_virtual_keys_models, "
        "ocp4_workload_litellm_virtual_keys_settings instead"
    ]
    run("sweep_keys", ACTION="provision", guids="a", at_most=5)
    assert warnings.pop() == (
        "The short names at_most, guids are not read, because extra variables contain agnosticd_action or ACTION; set "
        "report_guids, sweep_at_most instead"
    )
    run(guid="abc", ACTION="provision", cloud_provider="none", users="of another workload")
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("variables", "extra", "expected"),
    [
        ({"guid": "a.b/../c"}, {}, "virtual_keys/a_b____c"),
        ({"guid": "abc", "output_dir": "/of/the/inventory"}, {}, "virtual_keys/abc"),
        ({"guid": "abc"}, {"output_dir": "/of/the/command/line"}, "/of/the/command/line"),
    ],
    ids=["default", "inventory", "command line"],
)
def test_keys_are_saved_in_a_directory_of_the_environment(run, variables, extra, expected):
    assert run("destroy_key", variables=variables, **extra)["output_dir"] == expected
