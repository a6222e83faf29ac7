# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run some cells of the fault matrix on the real proxy: for each operation, the worst faults of its first POST request.

The whole matrix is in tests/faults, with slower and longer responses; `make faults` runs it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.rhpds.litellm_virtual_keys.tests.end_to_end.support import Proxy
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.cells import (
    LONG_TIMEOUT,
    record_requests,
    run_cell,
)
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.certificates import Certificates, make_certificates
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.kinds import KINDS
from ansible_collections.rhpds.litellm_virtual_keys.tests.faults.operations import OPERATIONS

WORST = [
    "response lost after commit",
    "200 with truncated JSON",
    "503 with Retry-After",
    "500",
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return make_certificates(folder)


@pytest.mark.parametrize("name", ["provision", "extend", "regenerate", "destroy"])
def test_the_next_run_succeeds_after_a_fault_of_the_first_post_request(
    proxy: Proxy, certificates: Certificates, name: str
) -> None:
    operation = OPERATIONS[name]
    requests = record_requests(proxy, operation, many=True)
    first = next(request for request in requests if request.endpoint.startswith("POST"))
    kinds = {kind.name: kind for kind in KINDS}

    def violations(fault: str) -> list[str]:
        return run_cell(
            proxy,
            operation,
            True,
            kinds[fault],
            requests,
            first,
            persistent=False,
            certificates=certificates,
            timeout=LONG_TIMEOUT,  # no fault of these needs a short one
        )

    with ThreadPoolExecutor(len(WORST)) as threads:
        assert dict(zip(WORST, threads.map(violations, WORST), strict=True)) == {fault: [] for fault in WORST}
