"""The numbers of the protocol for the study `evidence`, from its records alone."""

import copy
import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from benchmarks.quality import records
from benchmarks.quality.methods import LINEAR, Method
from benchmarks.quality.rounds import SEEDS_A, SEEDS_B, SEEDS_C, Results, RoundStudy

CUT = 20.0
"""Percent: no workload counts for more in a mean over workloads, or for less than its negative."""

DRAWS = 10_000

Group = tuple[Method, ...]
"""A method, or the several constants of a tuned one."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean and its 95% interval; `count` values made it."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self):
        if not np.isfinite(self.low):
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval of the mean; without ends for a single value."""
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, np.nan, np.nan, count)
    half = scipy.stats.t.ppf(0.975, count - 1) * statistics.stdev(values) / count**0.5
    return Interval(mean, mean - half, mean + half, count)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentiles of the means of `DRAWS` samples with replacement; without ends below three."""
    values = np.asarray(values, np.float64)
    if len(values) < 3:
        return Interval(float(values.mean()), np.nan, np.nan, len(values))
    chosen = np.random.default_rng(seed).integers(0, len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), (2.5, 97.5))
    return Interval(float(values.mean()), float(low), float(high), len(values))


def over_workloads(means: Iterable[float]) -> Interval | None:
    """The mean over workloads of percentages that are cut off at `CUT`; `None` without any."""
    cut = [max(-CUT, min(CUT, mean)) for mean in means]
    return bootstrap_interval(cut) if cut else None


class Measures:
    """What the records of a study in rounds say.

    Until round B is complete for a method, its best rate and constant are those of round A.

    Args:
        study: The study.
        folder: Of its records.
    """

    def __init__(self, study: RoundStudy, folder: Path):
        self.study = study
        self.folder = folder
        found = records.read(folder) if folder.exists() else []
        self.records = [r for r in found if r["identity"]["workload"] in study.workloads]
        self.results = Results(folder)
        self.by_key: dict[tuple, dict[str, Any]] = {}
        for record in self.records:
            identity = record["identity"]
            key = identity["workload"], record["name"], identity["rate"], identity["seed"]
            self.by_key[key] = record

    @property
    def workloads(self) -> list[str]:
        """Those that have records, in the study's order."""
        there = {workload for workload, *_ in self.results.scores}
        return [name for name in self.study.workloads if name in there]

    def finished(self) -> "Measures":
        """The same of the workloads whose rounds are complete for the headline methods, alone."""
        names = tuple(n for n in self.workloads if self.study.complete(n, self.results))
        found = copy.copy(self)
        found.study = dataclasses.replace(self.study, workloads=names)
        found.records = [r for r in self.records if r["identity"]["workload"] in names]
        return found

    def first(self, name: str) -> dict[str, Any]:
        """Some record of the workload: what all of them share."""
        return next(r for key, r in self.by_key.items() if key[0] == name)

    def pick(self, name: str, group: Group) -> tuple[Method, float] | None:
        """The best constant of a group and its best rate, or `None` without any result."""
        method = self.study.chosen(name, group, self.results)
        if method is not None:
            return method, self.study.best(name, method, self.results)[1]
        there = [method for method in self.study.methods_of(name) if method in group]
        bests = [(self._best_of_a(name, method), method) for method in there]
        bests = [(best, method) for best, method in bests if best is not None]
        if not bests:
            return None
        (_, rate), method = min(bests, key=lambda pair: pair[0])
        return method, rate

    def _best_of_a(self, name: str, method: Method) -> tuple[float, float] | None:
        return self.results.best(name, method.name, self.study.grid(name, method), SEEDS_A)

    def scores(self, name: str, method: Method, rate: float) -> dict[int, float]:
        """By seed, those that there are."""
        keys = {seed: (name, method.name, rate, seed) for seed in SEEDS_C}
        found = {seed: self.results.scores.get(key) for seed, key in keys.items()}
        return {seed: score for seed, score in found.items() if score is not None}

    def compare(self, name: str, group: Group, reference: Group) -> Interval | None:
        """The paired difference of two methods, each at its best, in percent of the reference."""
        picks = self.pick(name, group), self.pick(name, reference)
        return None if None in picks else self.difference(name, *picks)

    def difference(
        self, name: str, first: tuple[Method, float], second: tuple[Method, float]
    ) -> Interval | None:
        """The same for given methods and rates, over the seeds that both have."""
        one, other = self.scores(name, *first), self.scores(name, *second)
        seeds = sorted(set(one) & set(other))
        if not seeds:
            return None
        unit = statistics.fmean(other[seed] for seed in seeds) / 100
        return t_interval([(one[seed] - other[seed]) / unit for seed in seeds])

    def above(self, name: str, group: Group, reference: Group) -> Interval | None:
        """The same at the rate of the grid above the reference's best one, the best constants."""
        picks = self.pick(name, group), self.pick(name, reference)
        if None in picks:
            return None
        grid = self.study.grid(name, reference[0])
        rates = grid[grid.index(picks[1][1]) + 1 :][:1]
        if not rates:
            return None
        return self.difference(name, (picks[0][0], rates[0]), (picks[1][0], rates[0]))

    def mean(self, name: str, group: Group) -> float | None:
        """The mean score over seeds 0 to 2 at the best rate, or over those that there are."""
        pick = self.pick(name, group)
        if pick is None:
            return None
        values = self.scores(name, *pick)
        return statistics.fmean(v for seed, v in values.items() if seed in (*SEEDS_A, *SEEDS_B))

    def curve(self, name: str, group: Group) -> list[tuple[float, float]]:
        """`(rate, score)` of round A, a tuned method at its best constant."""
        pick = self.pick(name, group)
        if pick is None:
            return []
        values = [
            (rate, self.results.mean(name, pick[0].name, rate, SEEDS_A))
            for rate in self.study.grid(name, pick[0])
        ]
        return [(rate, value) for rate, value in values if value is not None]

    def room(self, name: str) -> float:
        """The trivial predictor's loss less the lowest score of any method in round A."""
        lowest = min(v for key, v in self.results.scores.items() if key[0] == name and key[3] == 0)
        return self.first(name)["trivial_loss"] - lowest

    def shares(self, name: str, group: Group) -> dict[int, float]:
        """What of the room is lost at each rate of round A, a tuned method at its best constant.

        Returns:
            By the number of places above tuned linear warm-up's best rate: 0 where the loss is the
            lowest of any method at any rate, 1 where it is the trivial predictor's.
        """
        best, trivial = self.best_rate_of_a(name, LINEAR), self.first(name)["trivial_loss"]
        if best is None:
            return {}
        grid, room = self.study.grid(name, LINEAR[0]), self.room(name)
        return {
            grid.index(rate) - grid.index(best): 1 - (trivial - value) / room
            for rate, value in self.curve(name, group)
            if rate in grid
        }

    def mean_shares(self, group: Group) -> dict[int, float]:
        """The mean over the workloads of `shares`, at places that at least half of them have."""
        every = [self.shares(name, group) for name in self.workloads]
        every = [shares for shares in every if shares]
        places = sorted(set().union(*every)) if every else []
        values = {p: [shares[p] for shares in every if p in shares] for p in places}
        return {p: statistics.fmean(v) for p, v in values.items() if 2 * len(v) >= len(every)}

    def sensitivity(self, name: str, group: Group) -> float | None:
        """The area between the curve and its minimum, over the grid's width and the room."""
        curve = self.curve(name, group)
        if len(curve) < 2:
            return None
        rates, values = np.log10([r for r, _ in curve]), np.array([v for _, v in curve])
        heights = values - values.min()
        area = ((heights[1:] + heights[:-1]) / 2 * np.diff(rates)).sum()
        return float(area / (rates[-1] - rates[0]) / self.room(name))

    def largest_stable_rate(self, name: str, group: Group) -> float | None:
        """The highest rate with no failure from the best one up to it, in round A."""
        curve = self.curve(name, group)
        if len(curve) < 2:
            return None
        lowest, best = min((value, rate) for rate, value in curve)
        limit = (lowest + self.first(name)["trivial_loss"]) / 2
        largest = best
        for rate, value in curve:
            if rate <= best:
                continue
            method = self.pick(name, group)[0]
            if value > limit or self.by_key[name, method.name, rate, 0]["diverged"]:
                break
            largest = rate
        return largest

    def target(self, name: str, linear: Group = LINEAR) -> float | None:
        """The training loss that steps are counted to, from the best tuned baseline."""
        pick = self.pick(name, linear)
        courses = [] if pick is None else self._courses(name, *pick)
        if not courses:
            return None
        course = np.mean(courses, axis=0)
        start, end = course[: len(course) // 20].mean(), course[-(len(course) // 10) :].mean()
        return float(end + 0.05 * (start - end))

    def _courses(self, name: str, method: Method, rate: float) -> list[list[float]]:
        """The recorded training losses of seeds 0 to 2, infinite where they are not finite."""
        found = [self.by_key.get((name, method.name, rate, s)) for s in (*SEEDS_A, *SEEDS_B)]
        return [
            [np.inf if value is None else value for value in record["losses_mean"]]
            for record in found
            if record is not None
        ]

    def steps_to_target(self, name: str, group: Group) -> tuple[float, int] | None:
        """Steps in percent of the run, a mean over seeds, and how many runs did not get there."""
        pick, target = self.pick(name, group), self.target(name)
        if pick is None or target is None:
            return None
        steps, missed = [], 0
        for course in self._courses(name, *pick):
            width = max(len(course) // 20, 1)
            windows = np.lib.stride_tricks.sliding_window_view(np.array(course), width)
            there = np.flatnonzero(windows.mean(axis=-1) <= target)
            missed += not len(there)
            steps.append(100 * (there[0] + width) / len(course) if len(there) else 100.0)
        return statistics.fmean(steps), missed

    def seconds_to_target(self, name: str, group: Group) -> float | None:
        """The same share of the median trial's processor seconds."""
        steps = self.steps_to_target(name, group)
        if steps is None:
            return None
        method = self.pick(name, group)[0]
        seconds = [
            record["processor_seconds"]
            for key, record in self.by_key.items()
            if key[:2] == (name, method.name)
        ]
        return steps[0] / 100 * statistics.median(seconds)

    def divergences(self, group: Group) -> tuple[int, int]:
        """How many trials of round A diverged, and of how many, all constants and workloads."""
        names = {method.name for method in group}
        found = [r for key, r in self.by_key.items() if key[1] in names and key[3] in SEEDS_A]
        found = [r for r in found if r["identity"]["workload"] in self.workloads]
        return sum(record["diverged"] for record in found), len(found)

    def best_rate_of_a(self, name: str, group: Group) -> float | None:
        """The rate of the group's lowest score in round A, whichever constant it is of."""
        best = [self._best_of_a(name, m) for m in self.study.methods_of(name) if m in group]
        best = [pair for pair in best if pair is not None]
        return min(best)[1] if best else None

    def too_high(self, name: str, group: Group, reference: Group, places: int) -> float | None:
        """Percent above the reference, both so many places above tuned linear warm-up's best rate.

        Round A alone; of a tuned method the best constant at that rate.
        """
        best = self.best_rate_of_a(name, LINEAR)
        if best is None:
            return None
        grid = self.study.grid(name, LINEAR[0])
        place = grid.index(best) + places
        if place >= len(grid):
            return None
        lowest = []
        for methods in (group, reference):
            values = [self.results.mean(name, m.name, grid[place], SEEDS_A) for m in methods]
            values = [value for value in values if value is not None]
            if not values:
                return None
            lowest.append(min(values))
        return 100 * (lowest[0] / lowest[1] - 1)

    def profile(self, groups: dict[str, Group], factors: np.ndarray) -> dict[str, np.ndarray]:
        """By label, the share of workloads within each factor of the best method there.

        A workload where a method cannot be used is not among its workloads.
        """
        means = {
            label: {name: self.mean(name, group) for name in self.workloads}
            for label, group in groups.items()
        }
        best = {
            name: min(m[name] for m in means.values() if m[name] is not None)
            for name in self.workloads
        }
        shares = {}
        for label, by_name in means.items():
            ratios = np.array([v / best[n] for n, v in by_name.items() if v is not None])
            if len(ratios):
                shares[label] = (ratios[:, None] <= factors).mean(axis=0)
        return shares
