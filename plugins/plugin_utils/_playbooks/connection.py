# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Summarize the connection to a proxy for a person at a terminal. Pure functions.

Private to this collection: names and behaviour may change in any release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .._text import printable

_MAX_MODELS = 30


def summarize_connection(
    *,
    url: str,
    sources: Mapping[str, str],
    validates_certs: bool,
    version: str | None,
    models: Sequence[str],
    problem: str = "",
    versions: Mapping[str, str],
) -> list[str]:
    """Return the lines of the summary.

    :param sources: the variables or environment variables that set the connection options.
    :param version: the version of LiteLLM; None if it is not known.
    :param problem: why the models cannot be listed; empty if they are.
    :param versions: of the software on the controller, by its name.
    """
    encryption = "not encrypted"
    if url.startswith("https:"):
        encryption = "encrypted" if validates_certs else "encrypted, but the certificate is not validated"
    shown = [printable(model) for model in models[:_MAX_MODELS]]
    further = f" and {len(models) - _MAX_MODELS} more" if len(models) > _MAX_MODELS else ""
    listed = f"Models ({len(models)}): {', '.join(shown) or 'none'}{further}"
    return [
        f"Proxy: {url}{_from(sources, 'url')}, {encryption}",
        f"LiteLLM: {version or 'the proxy does not report its version'}",
        f"Key: accepted as an administrator's key{_from(sources, 'master_key')}; it sees all virtual keys",
        f"Models: not listed: {problem}" if problem else listed,
        f"Here: {', '.join(f'{name} {number}' for name, number in versions.items())}",
    ]


def _from(sources: Mapping[str, str], option: str) -> str:
    return f" (from {sources[option]})" if option in sources else ""
