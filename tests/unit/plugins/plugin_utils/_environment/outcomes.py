# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Outcomes of runs, and JSON values, shared by the tests of lab environments."""

from __future__ import annotations

from typing import Any

from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.model import DesiredKey, ObservedKey
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.outcome import Outcome
from ansible_collections.rhpds.litellm_virtual_keys.plugins.plugin_utils._keys.secrets import Secret
from hypothesis import strategies as st

GUID = "abc"

# JSON values: the actions pass nothing else.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=6,
)
# AgnosticD stores the data of single users in `users`.
DICTIONARIES = st.dictionaries(TEXTS.filter(lambda name: name != "users"), VALUES, max_size=5)
# LiteLLM accepts any user name, and several users can have names that start alike.
USERS = st.lists(
    st.sampled_from(["ann", "bob", "key", "user", "user1", "user1_key", "user10", "virtual", "available", "1"]),
    unique=True,
    min_size=1,
    max_size=5,
)


def alias_of(user: str | None, guid: str = GUID) -> str:
    return f"virtkey-{guid}-{user}" if user else f"virtkey-{guid}"


def secret_of(user: str | None, version: int = 1) -> str:
    return f"sk-secret-{version}-of-{user or 'environment'}"


def observed(user: str | None = None, secret: str | None = None, *, guid: str = GUID, **row: Any) -> ObservedKey:
    """Return the key of a user, or of the environment, as the proxy returns it."""
    metadata = {"guid": guid, **({"user": user} if user else {})}
    return ObservedKey.from_row(
        {
            "token": Secret(secret or secret_of(user), "given").key_id,
            "key_alias": alias_of(user, guid),
            "created_at": "2026-11-23T08:00:00Z",
            "expires": "2026-11-30T08:00:00Z",
            "models": ["granite"],
            "user_id": f"{user}@x.org" if user else None,
            "metadata": metadata,
            **row,
        }
    )


def outcome(user: str | None = None, *, guid: str = GUID, version: int = 1, **row: Any) -> Outcome:
    """Return the outcome for a key that was created, and whose secret is known."""
    secret = Secret(secret_of(user, version), "generated")
    desired = DesiredKey(alias_of(user, guid), guid=guid, user=user)
    return Outcome(desired, "created", None, observed(user, secret.value, guid=guid, **row), secret)


def without_secret(user: str | None = None, **more: Any) -> Outcome:
    """Return the outcome for an existing key whose secret is not known."""
    known = outcome(user, **more)
    return Outcome(known.desired, "unchanged", known.after, known.after, error="its secret is not known")


def unconfirmed(user: str | None = None, *, guid: str = GUID, version: int = 1) -> Outcome:
    """Return the outcome for a key that may have been created, and that could not be read back."""
    desired = DesiredKey(alias_of(user, guid), guid=guid, user=user)
    secret = Secret(secret_of(user, version), "generated")
    return Outcome(desired, "absent", None, None, error="The state is unknown", unconfirmed_secret=secret)


def missing(user: str | None = None, *, guid: str = GUID) -> Outcome:
    """Return the outcome for a key that does not exist."""
    return Outcome(DesiredKey(alias_of(user, guid), guid=guid, user=user), "absent", None, None)
