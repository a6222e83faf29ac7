# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SQL statements for keys that LiteLLM does not delete."""

from __future__ import annotations

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._database.statements import (
    delete_statement,
    select_statement,
)
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._errors import OptionError

ONE, TWO = "a" * 64, "0123456789abcdef" * 4


def test_statements_name_the_keys_by_id() -> None:
    where = f"FROM \"LiteLLM_VerificationToken\" WHERE token IN ('{ONE}', '{TWO}')"
    assert select_statement([ONE, TWO]) == f"SELECT token {where}"
    assert delete_statement([ONE, TWO]) == f"DELETE {where}"


@pytest.mark.parametrize("statement", [select_statement, delete_statement])
@pytest.mark.parametrize("key_id", ["", "sk-a-secret-by-mistake", f"{ONE}') OR ('1'='1", f"{ONE}\n", "A" * 64])
def test_an_invalid_id_is_refused(statement, key_id) -> None:
    with pytest.raises(OptionError, match="key_id must be 64 hexadecimal digits"):
        statement([ONE, key_id])
