# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys as litellm_key_info returns them, shared by the tests of reports, sweeps and tables."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.durations import format_instant, parse
from hypothesis import strategies as st

NOW = datetime.fromisoformat("2026-11-30T08:00:00+00:00")
PREFIX = "virtkey-"
DAY = parse("24h")


def key(alias: str | None = "virtkey-abc", hours: float | None = 100.0, **fields: Any) -> dict[str, Any]:
    """Return a key that expires after so many hours, or never."""
    expires = None if hours is None else NOW + timedelta(hours=hours)
    blocked = fields.get("blocked", False)
    status = "blocked" if blocked else "expired" if expires and expires <= NOW else "active"
    return {
        "key_alias": alias,
        "key_id": hashlib.sha256(repr((alias, hours, fields)).encode()).hexdigest(),
        "key_name": "sk-...abcd",
        "guid": alias.removeprefix(PREFIX) if alias and alias.startswith(PREFIX) else None,
        "status": status,
        "models": ["granite"],
        "expires": expires and format_instant(expires),
        "created_at": "2026-11-23T08:00:00Z",
        "blocked": blocked,
        "user_id": None,
        "team_id": None,
        "max_budget": None,
        "spend": 0.0,
        "metadata": {},
        **fields,
    }


GUIDS = st.text("abc1-_.", min_size=1, max_size=6).filter(lambda text: text.strip() != "")
KEYS = st.builds(key, GUIDS.map(PREFIX.__add__) | st.none(), st.none() | st.integers(-1000, 1000))
