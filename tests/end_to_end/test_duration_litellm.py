# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that LiteLLM's parser reads every duration that the collection writes as the exact intended time."""

from __future__ import annotations

import json
import os
import random
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import parse

RELEASES = Path(__file__).parents[2] / ".cache" / "sandbox" / "releases"
INSTALLED = sorted(marker.parent for marker in RELEASES.glob("*/complete"))

READ_ALL = """
import json, sys
from litellm.litellm_core_utils.duration_parser import duration_in_seconds
json.dump([duration_in_seconds(text) for text in json.load(sys.stdin)], sys.stdout)
"""


def spellings():
    """Return many durations, each in many spellings, with the intended number of seconds."""
    generator = random.Random(0)
    for _unused in range(1000):
        intended = timedelta(
            days=generator.choice([0, generator.randrange(1000)]),
            hours=generator.choice([0, generator.randrange(24)]),
            minutes=generator.choice([0, generator.randrange(60)]),
            seconds=generator.choice([1, 1 + generator.randrange(59)]),
        )
        seconds = int(intended.total_seconds())
        days, (hours, rest) = intended.days, divmod(intended.seconds, 3600)
        minutes, rest = divmod(rest, 60)
        for value in (
            intended,
            str(intended),
            f"{seconds}s",
            f"{days}d{hours}h{minutes}m{rest}s",
            f"{days} days {hours} hours {minutes} minutes {rest} seconds",
            f"P{days}DT{hours}H{minutes}M{rest}S",
        ):
            yield value, seconds
    for count in range(1, 1000):
        yield count, count * 3600
        yield str(count), count * 3600
        yield count / 100, count * 36
        yield f"{count}d", count * 86400
        yield f"{count}w", count * 7 * 86400
        yield f"P{count}W", count * 7 * 86400


def months(version):
    """Return calendar months, counted from now.

    LiteLLM before 1.82.2 miscalculates more than one month if the end of the year is between.
    """
    for count in range(1, 100 if version >= (1, 82, 2) else 2):
        yield f"{count}mo", parse(f"{count}mo").seconds()


@pytest.mark.skipif(not INSTALLED, reason="tests/sandbox/sandbox.py has not installed LiteLLM here")
@pytest.mark.parametrize("release", INSTALLED, ids=lambda folder: folder.name)
def test_litellm_reads_the_intended_time(release):
    version = tuple(int(part) for part in release.name.split("-")[0].split("."))
    values, intended = zip(*spellings(), *months(version), strict=True)
    written = [str(parse(value)) for value in values]
    result = subprocess.run(
        [release / "venv" / "bin" / "python", "-c", READ_ALL],
        input=json.dumps(written),
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    wrong = [
        f"{value!r} became {text}, which LiteLLM reads as {read} seconds, not {expected}"
        for value, text, read, expected in zip(values, written, json.loads(result.stdout), intended, strict=True)
        if read != expected
    ]
    assert not wrong
