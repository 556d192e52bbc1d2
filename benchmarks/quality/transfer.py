"""Constants that were chosen at one size of a workload, used unchanged at others."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality import records
from benchmarks.quality.methods import LINEAR, NONE, PAPER, UNTUNED, Method
from benchmarks.quality.rounds import SEEDS_C, QueueStudy, Results, RoundStudy
from benchmarks.quality.trial import Trial
from benchmarks.quality.workload import load_workload
from recipes.common.command_line.errors import InputError

CHANGES = tuple(
    f"{what}={factor}" for what in ("batch", "length", "width", "depth") for factor in ("0.25", "4")
)


@dataclasses.dataclass(frozen=True)
class TransferStudy(QueueStudy):
    """Each method's best constants at the base size, at that size and at each change of it.

    Args:
        base: Name of the workload.
        origin: The study that found the constants.
        results: The folder of its records.
    """

    base: str
    origin: RoundStudy
    results: Path = records.RESULTS / "evidence"

    @property
    def workloads(self) -> tuple[str, ...]:
        """The base size and all changes."""
        return (self.base, *(f"{self.base}@{change}" for change in CHANGES))

    def constants(self) -> list[tuple[Method, float]]:
        """The methods with their constants, and the peak rate of each.

        Raises:
            InputError: If rounds A and B of the origin are not complete for them.
        """
        results = Results(self.results)
        found = []
        for group in ((NONE,), LINEAR, (UNTUNED,), PAPER, (Method("self-tuned"),)):
            method = self.origin.chosen(self.base, group, results)
            if method is None:
                raise InputError(
                    f"The constants come from rounds A and B on {self.base}: run "
                    f"`python -m benchmarks.quality run evidence --workloads {self.base}` first. "
                    f"Received: no result of {group[0].family} in {self.results}"
                )
            rate = self.origin.best(self.base, method, results)[1]
            found.append((self._unchanged(method), rate))
        return found

    def _unchanged(self, method: Method) -> Method:
        """The method in updates and in units of the loss, instead of shares of them."""
        if method in LINEAR:
            updates = load_workload(self.base).updates
            return Method("linear-steps", {"steps": method.constants["percent"] / 100 * updates})
        if method in PAPER:
            return Method("paper", {"C": method.constants["fraction"] * self._first_loss()})
        return method

    def _first_loss(self) -> float:
        """The loss before training at the base size, with seed 0."""
        for record in records.read(self.results):
            identity = record["identity"]
            if identity["workload"] == self.base and identity["seed"] == 0:
                return float(f"{record['initial_loss']:.4g}")
        raise InputError(f"There are no records of {self.base}. Received: {self.results}")

    def queues(
        self,
        folder: Path,
        names: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        updates: int | None = None,
    ) -> Iterator[tuple[str, list[Trial]]]:
        """One queue, named `transfer`."""
        yield (
            "transfer",
            [
                Trial(name, method, rate, seed, updates)
                for name in names or self.workloads
                for method, rate in self.constants()
                if method.wanted(methods)
                for seed in SEEDS_C
            ],
        )
