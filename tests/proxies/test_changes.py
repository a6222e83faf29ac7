# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test what changed in LiteLLM since 1.106: routes, projects, conflicts, errors, budgets of models, policies."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.proxies.support import (
    HERE,
    OwnProxy,
    operation,
    run_tasks,
    sandbox,
)

RELEASES = "1.108.7,1.109.3,1.110.2"
GRANITE = "granite-3-2-8b-instruct"
NO_REASSIGNMENT = "Project reassignment is not supported. Use null to detach the key"  # 1.108, of any project
RULE = "Rule 7 of the example university: no key has more than 1000 dollars"
MODEL_BUDGETS = {
    "claude-opus*": {"budget_limit": 1, "time_period": "1d"},
    "workshop-models": {"budget_limit": 2, "time_period": "30d"},
}
TRIGGER = """
CREATE FUNCTION "on {alias}"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.key_alias = '{alias}' AND {condition} THEN {action}; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER "on {alias}" BEFORE {event} ON "LiteLLM_VerificationToken"
  FOR EACH ROW EXECUTE FUNCTION "on {alias}"();
"""


@pytest.fixture(scope="module")
def proxy(release: str) -> Iterator[OwnProxy]:
    with sandbox("changes", "--litellm-version", release, "--config", str(HERE / "changes.yaml")) as started:
        for team in ("physics", "history"):
            status, answer = started.request("POST", "/team/new", {"team_id": team, "team_alias": team})
            assert status == 200, answer
            # To create a project by the API takes a licence.
            started.database.query(
                'INSERT INTO "LiteLLM_ProjectTable" (project_id, team_id, models, created_by, updated_by) '
                f"VALUES ('{team}-1', '{team}', '{{}}', 'tests', 'tests')"
            )
        yield started


def since(release: str, *first: int) -> bool:
    return tuple(map(int, release.split("."))) >= first


def intercept(proxy: OwnProxy, event: str, alias: str, condition: str, action: str) -> None:
    """Let the database run an action when a key is inserted or updated and meets a condition."""
    proxy.database.query(TRIGGER.format(event=event, alias=alias, condition=condition, action=action))


def test_a_replaced_key_keeps_all_routes(ansible, proxy, release):
    narrow, narrow_again, full, replaced = run_tasks(
        ansible,
        {"guid": "narrow"},
        {"guid": "narrow"},
        {"guid": "full", "key_type": "default", "models": [GRANITE]},
        {"guid": "full", "regenerate": "always"},
    )
    assert [operation(one) for one in (narrow, narrow_again, full, replaced)] == [
        *("created", "unchanged", "created", "regenerated"),
    ]
    assert proxy.row("virtkey-narrow")["allowed_routes"] == (["info_routes"] if since(release, 1, 109) else [])
    assert proxy.row("virtkey-full")["allowed_routes"] == []
    assert proxy.chat(replaced["virtual_key"]["key"], GRANITE) == 200


def test_a_project_is_set_and_removed_by_update(ansible, proxy, release):
    key, project = {"guid": "project", "team_id": "physics"}, {"project_id": "physics-1"}
    results = run_tasks(
        ansible,
        {**key, **project},
        {**key, "unset": ["project_id"]},
        {**key, "unset": ["project_id"]},
        {**key, **project},
        {**key, **project},
    )
    operations = [operation(one) for one in results]
    assert operations[:3] == ["created", "updated", "unchanged"]
    if since(release, 1, 109):
        assert operations[3:] == ["updated", "unchanged"]
    else:
        assert operations[3:] == ["failed", "failed"]
        assert NO_REASSIGNMENT in results[3]["msg"]


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("project", "reason"),
    [
        ("nobody-1", "Project not found, project_id=nobody-1"),
        ("history-1", "Project history-1 belongs to team history"),
    ],
)
def test_a_project_of_another_team_fails_with_the_reason(ansible, proxy, release, project, reason, is_new):
    key = {"guid": f"{project}-{is_new}", "team_id": "physics"}
    *_created, refused = run_tasks(ansible, *([] if is_new else [key]), {**key, "project_id": project})
    assert operation(refused) == "failed"
    assert (reason if is_new or since(release, 1, 109) else NO_REASSIGNMENT) in refused["msg"]
    assert refused["msg"].endswith("Correct the options that it refuses")
    assert len(proxy.rows(f"virtkey-{project}-{is_new}")) == (0 if is_new else 1)


def test_an_update_that_conflicts_with_another_one_is_repeated(ansible, proxy, release):
    if not since(release, 1, 109):
        pytest.skip("LiteLLM before 1.109 reports no conflict")
    key = {"guid": "conflict", "team_id": "physics"}
    proxy.database.query("CREATE SEQUENCE attempts")
    intercept(
        proxy, "UPDATE", "virtkey-conflict", "NEW.project_id IS NOT NULL AND nextval('attempts') = 1", "RETURN NULL"
    )
    created, assigned = run_tasks(ansible, key, {**key, "project_id": "physics-1"})
    assert [operation(one) for one in (created, assigned)] == ["created", "updated"]
    assert proxy.row("virtkey-conflict")["project_id"] == "physics-1"
    assert proxy.database.query("SELECT last_value FROM attempts") == "2"


def test_an_internal_error_with_a_general_text_refers_to_the_log(ansible, proxy):
    intercept(proxy, "INSERT", "virtkey-broken", "TRUE", "RAISE EXCEPTION 'a detail of the database'")
    failed, works = run_tasks(ansible, {"guid": "broken"}, {"guid": "works"})
    assert failed["msg"] == (
        "Cannot create virtual key virtkey-broken: LiteLLM returned 500 for POST /key/generate: Internal Server Error. "
        "Run again, and if it fails again, check the log of the proxy"
    )
    assert operation(works) == "created"
    assert proxy.rows("virtkey-broken") == []


def test_budgets_of_models_can_name_patterns_and_access_groups(ansible, proxy):
    """LiteLLM refuses them without a licence, so the database gets them directly."""
    created, refused = run_tasks(
        ansible,
        {"guid": "budgets", "key_type": "default", "models": [GRANITE]},
        {"guid": "budgets", "model_max_budget": MODEL_BUDGETS},
    )
    assert operation(refused) == "failed"
    assert "You must have an enterprise license to set model_max_budget" in refused["msg"]
    assert "unknown models" not in refused["msg"]
    proxy.database.query(
        f"UPDATE \"LiteLLM_VerificationToken\" SET model_max_budget = '{json.dumps(MODEL_BUDGETS)}' "
        "WHERE key_alias = 'virtkey-budgets'"
    )
    same, other = run_tasks(
        ansible,
        {"guid": "budgets", "model_max_budget": MODEL_BUDGETS},
        {"guid": "budgets", "models": ["workshop-models"]},
    )
    assert [operation(one) for one in (same, other)] == ["unchanged", "updated"]
    assert proxy.row("virtkey-budgets")["model_max_budget"] == MODEL_BUDGETS
    assert proxy.chat(created["virtual_key"]["key"], GRANITE) == 200


def test_a_policy_refuses_in_its_own_words(ansible, proxy):
    new, existing, changed = run_tasks(
        ansible,
        {"guid": "rich", "max_budget": 1001},
        {"guid": "poor", "max_budget": 1000},
        {"guid": "poor", "max_budget": 1001},
    )
    assert [operation(one) for one in (new, existing, changed)] == ["failed", "created", "failed"]
    for result, request in ((new, "POST /key/generate"), (changed, "POST /key/update")):
        assert f"LiteLLM returned 403 for {request}: {RULE}. Correct the options" in result["msg"]
    assert proxy.rows("virtkey-rich") == []
    assert proxy.row("virtkey-poor")["max_budget"] == 1000
