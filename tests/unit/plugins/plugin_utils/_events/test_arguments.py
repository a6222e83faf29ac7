# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The arguments of the event source, as a rulebook or a template gives them, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._events.arguments import (
    TYPES,
    Arguments,
    parse_arguments,
)

URL, KEY = "https://proxy.example.com", "sk-the-master-key"


def parsed(**given: Any) -> Arguments:
    return parse_arguments({"url": URL, "master_key": KEY, **given}, {})


def test_the_defaults() -> None:
    arguments = parsed(eda_feedback_queue=object())
    assert (arguments.connection.url, arguments.connection.master_key) == (URL, KEY)
    assert (arguments.connection.timeout, arguments.connection.retries, arguments.connection.concurrency) == (30, 3, 8)
    assert (set(arguments.watch.types), list(arguments.watch.percents)) == (set(TYPES), [80, 100])
    assert str(arguments.watch.ending_within) == "24h"
    assert (arguments.alias_prefix, arguments.delay, arguments.state_file) == ("virtkey-", 60, None)
    assert arguments.send_existing is True


def test_text_from_a_template_counts_as_what_it_stands_for() -> None:
    arguments = parsed(
        timeout="2.5",
        retries="0",
        validate_certs="no",
        events="ended, blocked",
        spent_percents="90,50",
        delay="5",
        send_existing="False",
        ending_within=48,
        state_file="~/state.json",
        ca_path=None,
        concurrency="",
    )
    connection = arguments.connection
    assert (connection.timeout, connection.retries, connection.validate_certs) == (2.5, 0, False)
    assert (set(arguments.watch.types), list(arguments.watch.percents)) == ({"ended", "blocked"}, [50, 90])
    assert (arguments.delay, arguments.send_existing) == (5, False)
    assert str(arguments.watch.ending_within) == "48h"
    assert arguments.state_file == Path.home() / "state.json"


def test_an_empty_prefix_stands_for_every_key() -> None:
    assert parsed(alias_prefix="").alias_prefix == ""
    assert parsed(alias_prefix=None).alias_prefix == "virtkey-"


def test_the_environment_completes_the_arguments() -> None:
    environment = {
        "LITELLM_URL": "",
        "LITELLM_PROXY_URL": "https://of.the.environment",
        "LITELLM_MASTER_KEY": "sk-of-the-environment",
        "LITELLM_TIMEOUT": "7",
    }
    arguments = parse_arguments({"master_key": KEY}, environment)
    assert (arguments.connection.url, arguments.connection.master_key) == ("https://of.the.environment", KEY)
    assert arguments.connection.timeout == 7
    with pytest.raises(OptionError, match=r"^LITELLM_RETRIES is 'many'; it must be a number$"):
        parse_arguments({}, {**environment, "LITELLM_RETRIES": "many"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": None}, "url is not set; set the argument url or the environment variable LITELLM_URL"),
        ({"master_key": ""}, "master_key is not set; set the argument master_key or the environment variable "),
        ({"master_key": "no key"}, "master_key must start with 'sk-': pass the key itself, not its hash"),
        ({"url": "ftp://x"}, "url 'ftp://x' is invalid"),
        ({"url": 5}, "url must be text, but is a value of type int"),
        ({"state_fil": "x"}, "litellm_keys has no argument 'state_fil'; did you mean state_file?"),
        ({5: "x"}, "litellm_keys has no argument '5'; choose from url, master_key, "),
        ({"delay": 0.5}, "delay is 0.5; it must be 1 to 86400 seconds"),
        ({"delay": "soon"}, "delay is 'soon'; it must be a number"),
        ({"delay": True}, "delay is True; it must be a number"),
        ({"delay": float("nan")}, "delay is nan; it must be a number"),
        ({"retries": 1.5}, "retries is 1.5; it must be a whole number"),
        ({"concurrency": 65}, "concurrency is 65; it must be 1 to 64"),
        ({"validate_certs": "perhaps"}, "validate_certs is 'perhaps'; it must be true or false"),
        ({"events": ["ended", "started"]}, "events contains 'started'; choose from ends_soon, ended, spent, blocked"),
        ({"events": [["ended"]]}, "events contains ['ended']; choose from "),
        (
            {"spent_percents": [80, 120]},
            "spent_percents contains 120; each must be more than 0 and at most 100 percent",
        ),
        ({"spent_percents": 0}, "spent_percents contains 0; each must be more than 0"),
        ({"ending_within": "later"}, "ending_within: 'later' is not a duration"),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(given: dict[Any, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_arguments({"url": URL, "master_key": KEY, **given}, {})
    assert str(caught.value).startswith(message)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", ["events", "spent_percents"])
@pytest.mark.parametrize("empty", ["", []])
def test_an_empty_list_is_refused(name, empty):
    connection = {"url": "https://proxy.example.com", "master_key": "sk-the-master-key"}
    with pytest.raises(OptionError, match=f"^{name} is empty; name at least one, or leave {name} out for the default$"):
        parse_arguments({**connection, name: empty}, {})
