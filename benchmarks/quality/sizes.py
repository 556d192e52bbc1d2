"""The papers' own experiment at three sizes: warm-up against the rule for several C."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality.evidence import SELF_TUNED
from benchmarks.quality.language_models import RATES
from benchmarks.quality.methods import LINEAR, NONE, PAPER
from benchmarks.quality.rounds import QueueStudy, Results
from benchmarks.quality.studies import GRID, SCAN_SEED
from benchmarks.quality.trial import Trial

METHODS = (NONE, *LINEAR, *PAPER, SELF_TUNED)
SEEDS, SEEDS_ABOVE = (0, 1), (0,)
CHOSEN_BY = LINEAR[2]
"""The warm-up whose best rate is the peak rate of all methods."""


@dataclasses.dataclass(frozen=True)
class SizeStudy(QueueStudy):
    """For each size the peak rate, by linear warm-up with a seed of its own; then all methods.

    Args:
        workloads: Their names, from the smallest to the largest.
    """

    workloads: tuple[str, ...]

    def rate(self, name: str, results: Results) -> float | None:
        """The peak rate of the workload; `None` until the first queue is done for it."""
        if None in [results.mean(name, CHOSEN_BY.name, rate, (SCAN_SEED,)) for rate in RATES]:
            return None
        return results.best(name, CHOSEN_BY.name, RATES, (SCAN_SEED,))[1]

    def queues(
        self,
        folder: Path,
        names: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        updates: int | None = None,
    ) -> Iterator[tuple[str, list[Trial]]]:
        """The queues `rate` and `compare`."""
        names = names or self.workloads
        yield (
            "rate",
            [Trial(name, CHOSEN_BY, rate, SCAN_SEED, updates) for name in names for rate in RATES],
        )
        results = Results(folder, updates)
        chosen = {name: self.rate(name, results) for name in names}
        yield (
            "compare",
            [
                Trial(name, method, peak, seed, updates)
                for seeds, place in ((SEEDS, 0), (SEEDS_ABOVE, 1))
                for name in names
                if chosen[name] is not None
                for peak in GRID[GRID.index(chosen[name]) + place :][:1]
                for method in METHODS
                if method.wanted(methods)
                for seed in seeds
            ],
        )


SIZES = SizeStudy(("lm_1m", "lm_3m", "lm_10m"))
STUDIES = {"sizes": SIZES}
