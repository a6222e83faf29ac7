# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The examples in the documentation of filters and tests have the results that the comments below them show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).parents[3] / "plugins"


def examples():
    for page in sorted([*PLUGINS.glob("filter/*.yml"), *PLUGINS.glob("test/*.yml")]):
        text = yaml.safe_load(page.read_text(encoding="utf-8"))["EXAMPLES"]
        if "# =>" not in text:  # a page with tasks, which tests/end_to_end runs
            continue
        results = re.findall(r"^# => (.+)$", text, re.MULTILINE)
        for (name, example), result in zip(yaml.safe_load(text).items(), results, strict=True):
            yield pytest.param(example, result, id=f"{page.parent.name}-{page.stem}-{name}")


@pytest.mark.parametrize(("example", "result"), list(examples()))
def test_example(template, example, result):
    # Compared as text, because ansible-core before 2.19 returns numbers as text.
    assert str(template(example)) == result
