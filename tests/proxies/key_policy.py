# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A policy for keys that LiteLLM loads; see changes.yaml."""

from __future__ import annotations

from typing import Any


async def check(request: Any) -> dict[str, object]:
    """Refuse budgets of more than 1000 US dollars."""
    if (request.effective_key.max_budget or 0) <= 1000:
        return {"decision": True}
    return {"decision": False, "message": "Rule 7 of the example university: no key has more than 1000 dollars"}
