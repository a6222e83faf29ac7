# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures for the LiteLLM proxy, for Ansible, and for a relay between the two."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import PATIENCE, Ansible, Proxy, Relay


@pytest.fixture(scope="session")
def proxy() -> Proxy:
    return Proxy(os.environ["LITELLM_URL"].rstrip("/"), os.environ["LITELLM_MASTER_KEY"])


@pytest.fixture(scope="session")
def guid() -> str:
    """Return a prefix unique to this test session, because the proxy may hold keys of other sessions."""
    return f"e2e{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy) -> Ansible:
    """Return an Ansible controller whose environment variables set the proxy's URL and master key."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "LITELLM_", "PYTHON")) and name != "DATABASE_URL"
    }
    return Ansible(
        tmp_path_factory.mktemp("controller"),
        {
            **inherited,
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            "ANSIBLE_HOME": str(tmp_path_factory.mktemp("home")),
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "LITELLM_URL": proxy.url,
            "LITELLM_MASTER_KEY": proxy.master_key,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        },
    )


@pytest.fixture(scope="module")
def relay(proxy: Proxy) -> Iterator[Relay]:
    address = urlsplit(proxy.url)

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            recorder.requests.append(
                (self.headers.get("User-Agent", ""), f"{self.command} {self.path}", json.loads(body or "{}"))
            )
            recorder.before(f"{self.command} {self.path}")
            upstream = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE)
            with contextlib.closing(upstream):
                upstream.request(self.command, self.path, body or None, dict(self.headers))
                response = upstream.getresponse()
                content = response.read()
            self.send_response_only(response.status)
            for name in ("Content-Type", "Date"):
                self.send_header(name, response.headers.get(name, ""))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _forward

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder = Relay(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield recorder
    server.shutdown()
    server.server_close()
