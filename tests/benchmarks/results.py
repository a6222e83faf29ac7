# Copyright: rhpds.litellm_virtual_keys contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was measured: samples by case, and their medians.

A case's first sample is of the first round, and so on. So samples of two cases can be compared round by round: they ran
beside each other, and what disturbed one disturbed the other, too.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass
from typing import Any

PROVISION, AGAIN, DESTROY = "provision", "again", "destroy"
EMPTY, ROLE, HAND, ENGINE, LOOKUP = "empty playbook", "role", "by hand", "engine", "lookup"
CONCURRENCIES = (8, 16, 32)  # of the bare client


def bare(concurrency: int) -> str:
    return f"bare client, {concurrency} at a time"


@dataclass(frozen=True)
class Sample:
    """What one run took.

    :ivar seconds: wall time.
    :ivar bytes: the memory of all its processes, at its highest; 0 where that is not measured.
    :ivar requests: how many the proxy answered.
    """

    seconds: float
    bytes: int
    requests: int


@dataclass(frozen=True)
class Case:
    """Who did what for how many users, while the proxy held so many keys of others."""

    contestant: str
    work: str
    users: int
    others: int = 0


class Results:
    def __init__(self, machine: dict[str, str] | None = None) -> None:
        self.machine = machine or {}
        self._samples: dict[Case, list[Sample]] = defaultdict(list)

    def add(self, case: Case, sample: Sample) -> None:
        self._samples[case].append(sample)

    def has(self, *case: Any) -> bool:
        return Case(*case) in self._samples

    def runs(self, *case: Any) -> int:
        return len(self._samples[Case(*case)]) if self.has(*case) else 0

    def seconds(self, *case: Any) -> float:
        """The median."""
        return statistics.median(sample.seconds for sample in self._samples[Case(*case)])

    def spread(self, *case: Any) -> tuple[float, float]:
        """The fastest and the slowest."""
        seconds = [sample.seconds for sample in self._samples[Case(*case)]]
        return min(seconds), max(seconds)

    def megabytes(self, *case: Any) -> float:
        """The median of what each run needed at its highest."""
        return statistics.median(sample.bytes for sample in self._samples[Case(*case)]) / (1 << 20)

    def requests(self, *case: Any) -> int:
        return int(statistics.median(sample.requests for sample in self._samples[Case(*case)]))

    def ratio(self, one: Case, other: Case) -> float:
        """How much longer the one took than the other: the median of the ratios of their rounds."""
        return statistics.median(mine / theirs for mine, theirs in self._paired(one, other))

    def difference(self, one: Case, other: Case) -> float:
        """How many seconds longer: the median of the differences of their rounds."""
        return statistics.median(mine - theirs for mine, theirs in self._paired(one, other))

    def fastest(self, work: str, users: int, others: int = 0) -> Case:
        """The bare client, with the concurrency that suits it best."""
        cases = [Case(bare(concurrency), work, users, others) for concurrency in CONCURRENCIES]
        return min(cases, key=lambda case: self.seconds(*astuple(case)))

    def _paired(self, one: Case, other: Case) -> Iterator[tuple[float, float]]:
        """By rounds, as far as both took part."""
        pairs = zip(self._samples[one], self._samples[other], strict=False)
        return ((mine.seconds, theirs.seconds) for mine, theirs in pairs)

    def users(self) -> list[int]:
        return sorted({case.users for case in self._samples if case.contestant == ROLE and not case.others})

    def others(self) -> list[int]:
        return sorted({case.others for case in self._samples if case.others})

    def users_among_others(self) -> int:
        return max(case.users for case in self._samples if case.others)

    def lookups(self) -> list[int]:
        return sorted(int(case.work) for case in self._samples if case.contestant == LOOKUP)

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        samples = [[asdict(case), [asdict(one) for one in found]] for case, found in self._samples.items()]
        return {"machine": self.machine, "samples": samples}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Results:
        results = cls(plain["machine"])
        for case, samples in plain["samples"]:
            for sample in samples:
                results.add(Case(**case), Sample(**sample))
        return results
