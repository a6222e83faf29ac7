# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store samples by case, and compute their medians.

The first sample of each case belongs to the first round, and so on. Samples of two cases can therefore be compared by
round: they ran next to each other, and the same background load affected both.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from typing import Any

PROVISION, SECOND_PROVISION, EXTEND, DESTROY = "provision", "second provision", "extend", "destroy"
EMPTY, ROLE, URI_TASKS, URI_LOOPS, ORIGINAL, ENGINE, LOOKUP, REPORT = (
    "empty playbook",
    "role",
    "uri tasks",
    "uri loops",
    "original",
    "engine",
    "lookup",
    "report",
)
# The parts of a run that is profiled, each of which is a contestant in the results.
PARTS = ("compilation", "imports", "templates", "forks", "action", "requests")
PROFILED, PROFILED_EMPTY, PROFILED_BARE = "profiled role", "empty playbook beside it", "bare client beside it"
PROXY_CPU = "CPU time of the proxy"
# One environment with thousands of keys.
LARGE, LARGE_BARE = "large environment", "bare client with a large environment"
CONCURRENCIES = (8, 16, 32)  # of the bare client


def part_of_profile(part: str) -> str:
    return f"profiled role, {part}"


def bare_client(concurrency: int) -> str:
    return f"bare client, concurrency {concurrency}"


@dataclass(frozen=True)
class Sample:
    """The measurements of one run.

    :ivar seconds: wall time.
    :ivar bytes: peak memory of all processes; 0 if not measured.
    :ivar requests: number of requests that the proxy handled.
    """

    seconds: float
    bytes: int
    requests: int


@dataclass(frozen=True)
class Case:
    """A combination of parameters that is measured.

    :ivar unrelated_keys: number of keys of other environments on the proxy.
    :ivar indexed: its database has an index on aliases.
    """

    contestant: str
    operation: str
    users: int
    unrelated_keys: int = 0
    indexed: bool = False


class Results:
    def __init__(self, machine: dict[str, str] | None = None) -> None:
        self.machine = machine or {}
        self._samples: dict[Case, list[Sample]] = defaultdict(list)

    def add(self, case: Case, sample: Sample) -> None:
        self._samples[case].append(sample)

    def without(self, *contestants: str) -> Results:
        """Return the results of the other contestants."""
        results = Results(self.machine)
        results._samples.update(
            (case, found) for case, found in self._samples.items() if case.contestant not in contestants
        )
        return results

    def has(self, *case: Any) -> bool:
        return Case(*case) in self._samples

    def runs(self, *case: Any) -> int:
        return len(self._samples[Case(*case)]) if self.has(*case) else 0

    def seconds(self, *case: Any) -> float:
        """Return the median."""
        return statistics.median(sample.seconds for sample in self._samples[Case(*case)])

    def spread(self, *case: Any) -> tuple[float, float]:
        """Return the minimum and the maximum in seconds."""
        seconds = [sample.seconds for sample in self._samples[Case(*case)]]
        return min(seconds), max(seconds)

    def megabytes(self, *case: Any) -> float:
        """Return the median of the peak memory in MB."""
        return statistics.median(sample.bytes for sample in self._samples[Case(*case)]) / (1 << 20)

    def requests(self, *case: Any) -> int:
        return int(statistics.median(sample.requests for sample in self._samples[Case(*case)]))

    def ratio(self, case: Case, baseline: Case) -> float:
        """Return the median of the ratios of case to baseline in each round."""
        return statistics.median(self.ratios(case, baseline))

    def ratios(self, case: Case, baseline: Case) -> list[float]:
        """Return the ratio of case to baseline in each round."""
        return [one / other for one, other in self._in_rounds(case, baseline)]

    def differences(self, case: Case, *others: Case) -> list[float]:
        """Return how much longer case takes than all others together in each round, in seconds."""
        return [seconds[0] - sum(seconds[1:]) for seconds in self._in_rounds(case, *others)]

    def fastest(self, operation: str, users: int, unrelated_keys: int = 0, *, indexed: bool = False) -> Case:
        """Return the bare client with the fastest concurrency."""
        cases = [
            Case(bare_client(concurrency), operation, users, unrelated_keys, indexed) for concurrency in CONCURRENCIES
        ]
        return min(cases, key=lambda case: self.seconds(*astuple(case)))

    def _in_rounds(self, *cases: Case) -> Iterator[tuple[float, ...]]:
        """Return the seconds of the cases for each round in which all of them ran."""
        rounds = zip(*(self._samples[case] for case in cases), strict=False)
        return (tuple(sample.seconds for sample in samples) for samples in rounds)

    def users(self) -> list[int]:
        return sorted({case.users for case in self._samples if case.contestant == ROLE and not case.unrelated_keys})

    def unrelated_keys(self) -> list[int]:
        return sorted({case.unrelated_keys for case in self._samples if case.unrelated_keys})

    def users_among_unrelated_keys(self) -> int:
        return max(case.users for case in self._samples if case.unrelated_keys)

    def profiled_users(self) -> list[int]:
        return sorted({case.users for case in self._samples if case.contestant == PROFILED})

    def large_environments(self) -> list[int]:
        return sorted({case.users for case in self._samples if case.contestant == LARGE})

    def lookups(self) -> list[int]:
        return sorted(int(case.operation) for case in self._samples if case.contestant == LOOKUP)

    def to_json(self) -> dict[str, Any]:
        """Return the results as data that can be dumped to JSON."""
        samples = [[asdict(case), [asdict(one) for one in found]] for case, found in self._samples.items()]
        return {"machine": self.machine, "samples": samples}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Results:
        """Restore results from the output of `to_json`."""
        results = cls(data["machine"])
        for case, samples in data["samples"]:
            for sample in samples:
                results.add(Case(**case), Sample(**sample))
        return results
