# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cases of test_secrecy.py: tasks that handle secrets, and that succeed or fail in some way.

Templates refer to variables of the play: those of `SECRET_VARIABLES` are secrets, `prefix` is the start of all guids,
`folder` is the folder of the run, and `silent` is the URL of a server that never responds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import COLLECTION, NOWHERE, ROLE, Json

SEED = "a-seed-of-more-than-thirty-two-characters"
# The secrets that are passed or saved, by variable. `{of}` makes them unique for one run. Some contain characters that
# the mask for anything that looks like a key does not match.
SECRET_VARIABLES = {
    "wrong": "sk-wrong-master-key-of-some-length",
    "seed": SEED,
    "chosen": "sk-chosen-for-{of}-and-no-other",
    "unusual": "sk-unusual-one-$for$-{of}-(and)-no-other",
    "unlike": "sk-unlike-all-others-of-{of}",
    "own": "sk-of-an-environment-$-{of}",
    "hidden": "a-secret-in-metadata-of-{of}",
    "password": "pass%2Fword-of-{of}",
}


@dataclass(frozen=True)
class Case:
    """Some tasks.

    :ivar failure: a pattern of the message with which they fail; empty if they succeed.
    """

    tasks: list[Json]
    failure: str = ""
    variables: Json = field(default_factory=dict)


def role(
    guid: str = "role", failure: str = "", action: str = "provision", first: Json | None = None, **variables: Any
) -> Case:
    """Return a case that runs the role. By default, it does not display the key.

    :param first: a task to run before the role.
    :param variables: those that start with an underscore get the prefix of the role.
    """
    own = {"display_key": False, "retry_count": 0, "duration": "1h"}
    own.update((name.removeprefix("_"), value) for name, value in variables.items() if name.startswith("_"))
    return Case(
        [*([first] if first else []), {"ansible.builtin.include_role": {"name": ROLE}}],
        failure,
        {
            "ACTION": action,
            "guid": f"{{{{ prefix }}}}-{guid}",
            "output_dir": f"{{{{ folder }}}}/{guid}",
            **{f"ocp4_workload_litellm_virtual_keys_{name}": value for name, value in own.items()},
            **{name: value for name, value in variables.items() if not name.startswith("_")},
        },
    )


def environment(
    guid: str | None, failure: str = "", operation: str = "provision", keywords: Json | None = None, **options: Any
) -> Case:
    """Return a case that runs the action litellm_environment."""
    common = {"operation": operation, "retries": 0, **({"guid": f"{{{{ prefix }}}}-{guid}"} if guid else {})}
    duration = {"duration": "1h"} if operation == "provision" else {}
    task = {
        f"{COLLECTION}.litellm_environment": {**common, **duration, **options},
        "register": "lab",
        **(keywords or {}),
    }
    return Case([task], failure, {"output_dir": "{{ folder }}/environment"})


def key(*further: Json, failure: str = "", keywords: Json | None = None, **options: Any) -> Case:
    """Return a case that runs the action litellm_key and then further tasks."""
    guid = {} if {"virtual_keys", "key_id"} & set(options) else {"guid": "{{ prefix }}-action"}
    task = {
        f"{COLLECTION}.litellm_key": {"duration": "1h", **guid, **options},
        "register": "created",
        **(keywords or {}),
    }
    return Case([task, *further], failure)


def task(name: str, options: Any, failure: str = "", variables: Json | None = None, **keywords: Any) -> Case:
    return Case([{name: options, **keywords}], failure, variables or {})


def lookup(arguments: str, failure: str = "", **variables: Any) -> Case:
    template = f"{{{{ lookup('{COLLECTION}.litellm_key', {arguments}) }}}}"
    return task("ansible.builtin.debug", {"msg": template}, failure, variables)


GUID = "{{ prefix }}"
WRONG: Json = {"litellm_master_key": "{{ wrong }}"}
REFUSED = r"does not accept the master key \(401\)"
NO_CONNECTION = "No connection to a LiteLLM proxy"
MISMATCH = "exists with another secret than the given one"
TIMEOUT = "Timed out after|expected time frame"
NO_RESULT = "output has been hidden"
PSQL = {"postgres_url": "postgresql://litellm:{{ password }}@db.example:5432/litellm", "key_ids": ["0" * 64]}
# The secrets of each role environment are read from its user data, from which a destroy removes them.
COPY_USER_DATA = {
    "ansible.builtin.command": "cp -p {{ folder }}/role/provision-user-data.yaml {{ folder }}/copied",
    "changed_when": False,
}

ROLE_CASES = {
    "role, with a seed": role("seed", _key_seed="{{ seed }}"),
    "role, displaying the key": role(_display_key=True),
    "role, again": role(),
    "role, many users": role(
        "many", _users=["ann", "bob"], _display_key=True, _handout_file="{{ folder }}/handout.html"
    ),
    "role, another secret was saved": role("seed", "its secret is not known", output_dir="{{ folder }}/saved"),
    "role, extended": role(action="extend", _runtime="48"),
    "role, replaced": role(_regenerate="always"),
    "role, stopped": role(action="stop", _block_on_stop=True),
    "role, status": role(action="status"),
    "role, wrong master key": role("wrong", REFUSED, **WRONG),
    "role, proxy down": role("down", NO_CONNECTION, litellm_url=NOWHERE),
    "role, invalid settings": role(
        "odd", "_settings: max_budget must be a number", _settings={"max_budget": "x", "key": "{{ unusual }}"}
    ),
    "role, unknown variable in settings": role("odd", "settings contains 'kye'", _settings={"kye": "{{ chosen }}"}),
    "role, not destroyed": role("role", REFUSED, action="destroy", **WRONG),
    "role, destroyed": role(action="destroy", first=COPY_USER_DATA),
}

ENVIRONMENT_CASES = {
    "environment, seed": environment("env-seed", key_seed="{{ seed }}"),
    "environment, seed in settings": environment("env-seed2", settings={"key_seed": "{{ seed }}"}),
    "environment, secret in settings": environment("env", settings={"key": "{{ own }}"}, max_budget=1),
    "environment, in check mode": environment("env", max_budget=3, keywords={"check_mode": True}),
    "environment, changed": environment("env", max_budget=3, env_file="/nowhere"),
    "environment, no_log": environment("env-quiet", metadata={"note": "{{ hidden }}"}, keywords={"no_log": True}),
    "environment, no_log, changed": environment(
        "env-quiet", metadata={"note": "{{ hidden }} as before"}, keywords={"no_log": True}
    ),
    "environment, many users": environment("env-many", users=["ann", "bob"]),
    "environment, of user bob": environment("env-pair-bob", key_seed="{{ seed }}"),
    # The key of bob belongs to the environment above.
    "environment, many, one fails": environment(
        "env-pair", "1 of 2 keys failed", users=["ann", "bob"], settings={"key_seed": "{{ seed }}"}
    ),
    "environment, in a loop": environment("env-loop-{{ item }}", key_seed="{{ seed }}", keywords={"loop": ["a", "b"]}),
    "environment, until": environment(
        "env", NO_RESULT, keywords={"until": "lab.virtual_keys[0].key == ''", "retries": 1, "delay": 0}
    ),
    "environment, failed_when": environment(
        "env", NO_RESULT, keywords={"failed_when": "lab.virtual_keys[0].key != ''"}
    ),
    "environment, extended": environment("env", operation="extend", runtime=48),
    "environment, stopped": environment("env", operation="stop", block_on_stop=True),
    "environment, started": environment("env", operation="start", block_on_stop=True),
    "environment, status": environment("env", operation="status"),
    "environment, replaced": environment("env-many", users=["ann"], regenerate="always"),
    "environment, rotated": environment(
        "env-many", operation="rotate_old", users=["ann"], rotate={"every": "2s", "overlap": "1s"}
    ),
    "environment, mismatch": environment("env", MISMATCH, settings={"key": "{{ unlike }}"}),
    "environment, secret of another key": environment("env-other", "belongs to", settings={"key": "{{ own }}"}),
    "environment, refused": environment(
        "env-odd",
        "LiteLLM returned",
        settings={"key": "{{ unusual }}", "extra_params": {"send_invite_email": [1]}},
    ),
    "environment, not saved": Case(
        environment("env-unsaved").tasks,
        "could not be saved",
        {"output_dir": "{{ playbook_dir }}/playbook.yml"},
    ),
    "environment, not saved, chosen": Case(
        environment("env-unsaved", settings={"key": "{{ unusual }}"}).tasks,
        "could not be saved",
        {"output_dir": "{{ playbook_dir }}/playbook.yml"},
    ),
    "environment, timeout of the task": environment(
        "env", TIMEOUT, url="{{ silent }}", key_seed="{{ seed }}", keywords={"timeout": 1}
    ),
    "environment, wrong master key": environment(
        "env", REFUSED, master_key="{{ wrong }}", key_seed="{{ seed }}", settings={"key": "{{ own }}"}
    ),
    "environment, proxy down": environment("env", NO_CONNECTION, url=NOWHERE, settings={"key": "{{ own }}"}),
    "environment, no guid": environment(
        None, "guid is not set", key_seed="{{ seed }}", settings={"key": "{{ own }}", "key_seed": "{{ seed }}"}
    ),
    "environment, unknown operation": environment("env", operation="{{ own }}", settings={"key": "{{ own }}"}),
    "environment, unknown option": environment("env", "did you mean 'master_key'", master_kye="{{ wrong }}"),
    "environment, unknown setting": environment("env", "settings contains 'kye'", settings={"kye": "{{ unusual }}"}),
    "environment, seed in a list": environment("env", "key_seed must be text", key_seed=["{{ seed }}"]),
    "environment, master key in a list": environment("env", "master_key must be text", master_key=["{{ wrong }}"]),
    "environment, secret in a list": environment("env", "key must be text", settings={"key": ["{{ unusual }}"]}),
    "environment, seed of settings in a list": environment(
        "env", "key_seed must be text", settings={"key_seed": ["{{ seed }}"]}
    ),
    "environment, secret as settings": environment("env", "settings must be a dictionary", settings="{{ unusual }}"),
    "environment, secret as a number": environment("env", "max_budget must be a number", max_budget="{{ wrong }}"),
    "environment, secret as a url": environment("env", "is invalid", url="{{ wrong }}"),
    "environment, secret as an id": environment(
        "env", "key_id must be 64", operation="destroy", delete_method="by_key_id", key_id="{{ own }}"
    ),
    "environment, not destroyed": environment("env", REFUSED, operation="destroy", master_key="{{ wrong }}"),
    "environment, destroyed": environment("env", operation="destroy"),
}

OTHER_CASES = {
    "litellm_key": key(key="{{ chosen }}", metadata={"purpose": "secrecy"}),
    "litellm_key, in check mode": key(key="{{ chosen }}", max_budget=3, keywords={"check_mode": True}),
    "litellm_key, changed": key(key="{{ chosen }}", max_budget=3),
    "litellm_key, no_log": key(guid=f"{GUID}-quiet", metadata={"note": "{{ hidden }}"}, keywords={"no_log": True}),
    "litellm_key, no_log, changed": key(
        guid=f"{GUID}-quiet", metadata={"note": "{{ hidden }} as before"}, keywords={"no_log": True}
    ),
    "litellm_key, mismatch": key(key="{{ unlike }}", failure=MISMATCH),
    "litellm_key, secret of another key": key(guid=f"{GUID}-other", key="{{ chosen }}", failure="belongs to"),
    "litellm_key, unusual secret": key(guid=f"{GUID}-odd", key="{{ unusual }}"),
    "litellm_key, refused": key(
        guid=f"{GUID}-odd2", key="{{ unusual }}", extra_params={"send_invite_email": [1]}, failure="LiteLLM returned"
    ),
    "litellm_key, seed": key(guid=f"{GUID}-derived", key_seed="{{ seed }}"),
    "litellm_key, replaced": key(guid=f"{GUID}-derived", key_seed="{{ seed }}", key_version=2, regenerate="always"),
    "litellm_key, rotated": key(
        guid=f"{GUID}-derived", key_seed="{{ seed }}", key_version=2, rotate={"every": "1s", "overlap": 0}
    ),
    "litellm_key, random, and then into a file": key(
        {
            "ansible.builtin.copy": {
                "dest": "{{ folder }}/random",
                "content": "{{ created.virtual_key.key }}",
                "mode": "0600",
            },
            "no_log": True,
        },
        guid=f"{GUID}-random",
    ),
    "litellm_key, in a loop": key(
        guid=f"{GUID}-loop-{{{{ item }}}}",
        key_seed="{{ seed }}",
        keywords={"loop": ["a", "b"]},
    ),
    "litellm_key, many, one fails": key(
        virtual_keys=[
            {"guid": f"{GUID}-many-a", "key_seed": "{{ seed }}"},
            {"guid": f"{GUID}-action", "key": "{{ unlike }}"},
        ],
        failure="1 of 2 keys failed",
    ),
    "litellm_key, until": key(
        guid=f"{GUID}-until",
        key_seed="{{ seed }}",
        keywords={"until": "created.virtual_key.key == ''", "retries": 1, "delay": 0},
        failure=NO_RESULT,
    ),
    "litellm_key, failed_when": key(
        key="{{ chosen }}", keywords={"failed_when": "created.virtual_key.key != ''"}, failure=NO_RESULT
    ),
    "litellm_key, and an assertion": key(
        {"ansible.builtin.assert": {"that": "created.virtual_key.key == seed"}},
        key="{{ chosen }}",
        failure="Assertion failed",
    ),
    "litellm_key, and an invalid condition": key(
        {"ansible.builtin.debug": {}, "when": "created.virtual_key.key.nothing.at.all"},
        key="{{ chosen }}",
        failure="nothing",
    ),
    "litellm_key, timeout of the task": key(
        url="{{ silent }}", key="{{ chosen }}", keywords={"timeout": 1}, failure=TIMEOUT
    ),
    "litellm_key, seed in a list": key(key="{{ chosen }}", key_seed=["{{ seed }}"], failure="key_seed must be text"),
    "litellm_key, invalid number": key(key="{{ chosen }}", max_budget="lots", failure="max_budget must be a number"),
    "litellm_key, unknown option": key(
        key="{{ chosen }}", master_kye="{{ wrong }}", failure="did you mean 'master_key'"
    ),
    "litellm_key, secret as an id": key(key_id="{{ chosen }}", failure="key_id must be 64 hexadecimal digits"),
    "litellm_key, secret as a url": key(url="{{ wrong }}", key="{{ chosen }}", failure="is invalid"),
    "litellm_key, secret as a model": key(
        guid=f"{GUID}-model", models=["{{ wrong }}"], failure="refers to unknown models"
    ),
    "litellm_key, wrong master key": key(master_key="{{ wrong }}", key="{{ chosen }}", failure=REFUSED),
    "litellm_key, proxy down": key(url=NOWHERE, retries=0, key="{{ chosen }}", failure=NO_CONNECTION),
    "litellm_key_info": task(f"{COLLECTION}.litellm_key_info", {"guid": f"{GUID}-action"}),
    "litellm_key_info, wrong master key": task(
        f"{COLLECTION}.litellm_key_info", {"master_key": "{{ wrong }}"}, REFUSED
    ),
    "litellm_key_info, secret as an id": task(
        f"{COLLECTION}.litellm_key_info", {"key_id": "{{ chosen }}"}, "key_id must be 64"
    ),
    "lookup, in a template": task(
        "ansible.builtin.template",
        {"src": "env.j2", "dest": "{{ folder }}/env", "mode": "0600"},
        variables={"saved": {"litellm_key_alias": f"virtkey-{GUID}-action", "litellm_virtual_key": "{{ chosen }}"}},
        no_log=True,
    ),
    "lookup, wrong master key": lookup("prefix ~ '-action', key_seed=seed, master_key=wrong", REFUSED),
    "lookup, mismatch": lookup("prefix ~ '-action', key_seed=seed", "than the one that was derived"),
    "lookup, unknown secret": lookup("prefix ~ '-action'", "The secret of virtual key .* is not known"),
    "lookup, seed in a list": lookup("prefix, key_seed=[seed]", "key_seed must be text"),
    "lookup, secret as an id": lookup("chosen, search='id'", "key_id must be 64"),
    "lookup, proxy down": lookup("prefix, key_seed=seed, url=nowhere", NO_CONNECTION, nowhere=NOWHERE),
    "agnosticd_user_info": task(
        f"{COLLECTION}.agnosticd_user_info",
        {
            "data": {"litellm_virtual_key": "{{ chosen }}", "many": [{"key": "{{ chosen }}"}]},
            "users": {"ann": {"key": "{{ chosen }}"}},
        },
        variables={"output_dir": "{{ folder }}/user_info"},
    ),
    "agnosticd_user_info, folder is a file": task(
        f"{COLLECTION}.agnosticd_user_info",
        {"data": {"litellm_virtual_key": "{{ chosen }}"}},
        "Cannot save user data in",
        {"output_dir": "{{ playbook_dir }}/playbook.yml"},
    ),
    "agnosticd_user_info, invalid data": task(
        f"{COLLECTION}.agnosticd_user_info", {"data": "{{ chosen }}"}, "data must be a dictionary"
    ),
    "play_variables": task(f"{COLLECTION}.play_variables", {"variables": {"length": "{{ chosen | length }}"}}),
    "litellm_key_row": task(f"{COLLECTION}.litellm_key_row", PSQL),
    "litellm_key_row, refused": task(
        f"{COLLECTION}.litellm_key_row", {**PSQL, "key_ids": ["f" * 64]}, "authentication failed"
    ),
    "litellm_key_row, invalid url": task(
        f"{COLLECTION}.litellm_key_row", {**PSQL, "postgres_url": "litellm:{{ password }}"}, "postgres_url must look"
    ),
}

CASES = {**ROLE_CASES, **ENVIRONMENT_CASES, **OTHER_CASES}
