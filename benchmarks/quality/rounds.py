"""Rounds of trials whose later ones follow from the results of the earlier ones, by a fixed rule.

Round A: one seed over a grid of seven rates. Round B: two more seeds at each method's best rate and
its two neighbours. Round C: five seeds for the headline methods, at the best rate and the next one
above. `PROTOCOL.md` says the same in words.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.quality import records, studies
from benchmarks.quality.methods import Method
from benchmarks.quality.trial import Trial
from benchmarks.quality.workload import load_workload
from recipes.common.command_line.errors import InputError

HALF_WIDTH = 3
"""Rates of the grid on each side of the scan's best one."""

SEEDS_A, SEEDS_B, SEEDS_C = (0,), (1, 2), (0, 1, 2, 3, 4)


class Results:
    """The scores that a folder has, of the workloads' present versions.

    Args:
        folder: Of a study.
        updates: The updates of the trials that count; each workload's own unless stated.
    """

    def __init__(self, folder: Path, updates: int | None = None):
        self.scores: dict[tuple[str, str, float, int], float] = {}
        for record in records.read(folder) if folder.exists() else []:
            identity = record["identity"]
            workload = load_workload(identity["workload"])
            expected = workload.version, updates or workload.updates
            if (identity["version"], identity["updates"]) == expected:
                key = identity["workload"], record["name"], identity["rate"], identity["seed"]
                self.scores[key] = records.score(record)

    def mean(self, name: str, method: str, rate: float, seeds: Iterable[int]) -> float | None:
        """The mean score over the seeds, or `None` where one of them is missing."""
        values = [self.scores.get((name, method, rate, seed)) for seed in seeds]
        return None if None in values else statistics.fmean(values)

    def best(
        self, name: str, method: str, rates: Iterable[float], seeds: Sequence[int]
    ) -> tuple[float, float] | None:
        """The lowest mean score and its rate, of the rates with all of the seeds.

        Where two are equal, the lower rate.
        """
        means = [(self.mean(name, method, rate, seeds), rate) for rate in rates]
        return min((pair for pair in means if pair[0] is not None), default=None)


@functools.cache
def grid_of_scan(name: str, scan: Path) -> tuple[float, ...]:
    """Seven rates, the one where `linear-20` is best in the scan in the middle.

    Raises:
        InputError: If the scan of the workload is not complete.
    """
    study, linear = studies.STUDIES["scan"], studies.LINEAR[2]
    results, expected = Results(scan), len(study.rates(load_workload(name)))
    # The scan may have covered other rates than the workload's present ones, as many at least.
    scanned = [
        rate
        for rate in studies.GRID
        if all(results.mean(name, m.name, rate, study.seeds) is not None for m in study.methods)
    ]
    if len(scanned) < expected:
        raise InputError(
            "The grid of rates follows from the scan, which is not complete: run "
            f"`python -m benchmarks.quality run scan --workloads {name}` first. "
            f"Received: {len(scanned)} of {expected} rates"
        )
    _, best = results.best(name, linear.name, scanned, study.seeds)
    place = studies.GRID.index(best)
    return studies.GRID[place - HALF_WIDTH : place + HALF_WIDTH + 1]


Cell = tuple[str, Method, float, int]
"""Workload, method, peak rate and seed."""


class QueueStudy:
    """Trials in queues: a subclass has `queues`, of which each is made when the last is done."""

    def run(
        self,
        folder: Path,
        names: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        updates: int | None = None,
        minutes: float | None = None,
        backwards: bool = False,
        console: Console | None = None,
    ) -> int:
        """Runs the rounds in turn; the number of trials that are left of the one it stopped in."""
        console = console or Console()
        start = time.monotonic()
        for letter, queue in self.queues(folder, names, methods, updates):
            console.print(f"Round {letter}: {len(queue)} trials")
            rest = None if minutes is None else minutes - (time.monotonic() - start) / 60
            queue = queue[::-1] if backwards else queue
            left = studies.run(queue, folder, rest, console)
            if left:
                return left
        return 0


@dataclasses.dataclass(frozen=True)
class RoundStudy(QueueStudy):
    """Trials in rounds.

    Args:
        workloads: Their names.
        core: Methods whose trials come first in round A, on all workloads.
        others: Further methods.
        headline: Groups of methods for round C. Of a group the one with the least mean over the
            seeds of rounds A and B takes part: a group of several is a method that is tuned.
        extra: By a workload's name, methods for it alone.
        scanned_as: By a workload's name, the one whose scan gives the grid, where it has none.
        scan: Folder of the scan.
    """

    workloads: tuple[str, ...]
    core: tuple[Method, ...]
    others: tuple[Method, ...]
    headline: tuple[tuple[Method, ...], ...]
    extra: dict[str, tuple[Method, ...]] = dataclasses.field(default_factory=dict)
    scanned_as: dict[str, str] = dataclasses.field(default_factory=dict)
    scan: Path = records.RESULTS / "scan"

    def methods_of(self, name: str) -> list[Method]:
        """What is compared on that workload, the core first."""
        workload = load_workload(name)
        every = (*self.core, *self.extra.get(_base(name), ()), *self.others)
        return [method for method in every if method.suits(workload)]

    def grid(self, name: str, method: Method) -> tuple[float, ...]:
        """The rates of round A."""
        base = _base(name)
        return method.rates(grid_of_scan(self.scanned_as.get(base, base), self.scan))

    def round_a(self, names: Sequence[str]) -> list[Cell]:
        """The whole grid with one seed: the core methods on all workloads, then the others."""
        return [
            (name, method, rate, seed)
            for first in (True, False)
            for name in names
            for method in self._by_form(name)
            if (method in self.core) == first
            for rate in self.grid(name, method)
            for seed in SEEDS_A
        ]

    def rates_b(self, name: str, method: Method, results: Results) -> tuple[float, ...]:
        """The method's best rate of round A and its neighbours in the grid."""
        grid = self.grid(name, method)
        best = results.best(name, method.name, grid, SEEDS_A)
        if best is None:
            return ()
        place = grid.index(best[1])
        return grid[max(place - 1, 0) : place + 2]

    def round_b(self, names: Sequence[str], results: Results) -> list[Cell]:
        """Two more seeds at those rates."""
        return [
            (name, method, rate, seed)
            for name in names
            for method in self._by_form(name)
            for rate in self.rates_b(name, method, results)
            for seed in SEEDS_B
        ]

    def best(self, name: str, method: Method, results: Results) -> tuple[float, float] | None:
        """The method's lowest mean over the seeds of rounds A and B, and its rate."""
        rates = self.rates_b(name, method, results)
        return results.best(name, method.name, rates, (*SEEDS_A, *SEEDS_B))

    def chosen(self, name: str, group: tuple[Method, ...], results: Results) -> Method | None:
        """Of a group the method with the lowest mean; `None` until all of them have one."""
        there = self.methods_of(name)
        members = [method for method in group if method in there]
        bests = [self.best(name, method, results) for method in members]
        if not members or None in bests:
            return None
        return members[min(range(len(members)), key=lambda index: bests[index])]

    def rates_c(self, name: str, method: Method, results: Results) -> tuple[float, ...]:
        """The method's best rate by rounds A and B, and the next of the grid, if there is one."""
        grid = self.grid(name, method)
        _, rate = self.best(name, method, results)
        return grid[grid.index(rate) :][:2]

    def round_c(self, names: Sequence[str], results: Results) -> list[Cell]:
        """Five seeds for the headline methods at those rates."""
        cells = []
        for name in names:
            methods = [self.chosen(name, group, results) for group in self.headline]
            for method in {m.name: m for m in methods if m is not None}.values():
                for rate in self.rates_c(name, method, results):
                    cells += [(name, method, rate, seed) for seed in SEEDS_C]
        return cells

    def complete(self, name: str, results: Results) -> bool:
        """Whether all trials of the headline methods on a workload have a result."""
        groups = [[m for m in group if m in self.methods_of(name)] for group in self.headline]
        if any(group and self.chosen(name, tuple(group), results) is None for group in groups):
            return False
        return all(
            (workload, method.name, rate, seed) in results.scores
            for workload, method, rate, seed in self.round_c([name], results)
        )

    def _by_form(self, name: str) -> list[Method]:
        """Those that share a compiled program stand together."""
        there = self.methods_of(name)
        forms = list(dict.fromkeys(method.form for method in there))
        return sorted(there, key=lambda method: forms.index(method.form))

    def queues(
        self,
        folder: Path,
        names: Sequence[str] | None = None,
        methods: Sequence[str] | None = None,
        updates: int | None = None,
    ) -> Iterator[tuple[str, list[Trial]]]:
        """`(letter, trials)` of each round; each is made when it is asked for, from the files."""
        names = names or self.workloads
        for letter, make in (("A", self.round_a), ("B", self.round_b), ("C", self.round_c)):
            given = (names,) if letter == "A" else (names, Results(folder, updates))
            yield (
                letter,
                [
                    Trial(name, method, rate, seed, updates)
                    for name, method, rate, seed in make(*given)
                    if method.wanted(methods)
                ],
            )


def _base(name: str) -> str:
    """The workload that a variant is one of."""
    return name.partition("@")[0]
