"""The studies: which trials, in which order, and what is still to do."""

import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from benchmarks.quality import candidates, records
from benchmarks.quality.methods import LINEAR, NONE, Method
from benchmarks.quality.trial import Program, Trial, record
from benchmarks.quality.workload import Workload, load_workload, workload_names
from recipes.common.command_line.errors import InputError

GRID = tuple(float(f"{digit}e{power}") for power in range(-6, 3) for digit in (1, 3))
"""The rates that a workload's grid is a stretch of."""

SCAN_SEED = 99
"""The seed of the scan that found the grids; no study uses it."""


@dataclasses.dataclass(frozen=True)
class Study:
    """Trials that are reported together.

    Args:
        kinds: Kinds of workloads that take part.
        methods: What is compared.
        seeds: Seeds of weights and batches.
        wider: Whether the grid of rates gets one more rate at each end.
        places: Of the grid, above tuned linear warm-up's best rate: where the rule of choice
            compares the methods. 0 is each method's own best rate.
    """

    kinds: tuple[str, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0, 1)
    wider: bool = False
    places: tuple[int, ...] = (0, 1)

    def rates(self, workload: Workload) -> tuple[float, ...]:
        """The grid, with one more rate at each end for a scan."""
        if not self.wider:
            return workload.rates
        places = [GRID.index(rate) for rate in workload.rates]
        return GRID[places[0] - 1 : places[-1] + 2]


STUDIES: dict[str, Study] = {
    "scan": Study(
        ("development", "further development", "test", "situation", "evidence"),
        (NONE, LINEAR[2]),
        seeds=(SCAN_SEED,),
        wider=True,
    ),
    "develop": Study(
        ("development",), (NONE, *LINEAR, *candidates.ROUND_1, *candidates.ROUND_2), seeds=(0,)
    ),
    "choose": Study(("development",), (NONE, *LINEAR, *candidates.ROUND_3), seeds=(1, 2)),
    "develop-again": Study(
        ("development", "further development"),
        (NONE, *LINEAR, *candidates.ROUND_4, *candidates.ROUND_5),
        seeds=(0,),
        places=(0, 1, 2),
    ),
    "choose-again": Study(
        ("development", "further development"),
        (*LINEAR, *candidates.CONFIRMED),
        seeds=(1, 2),
        places=(0, 1, 2),
    ),
    "spikes": Study(("corrupted",), candidates.SPIKES, seeds=(0, 1, 2)),
    "test": Study(
        ("test", "situation"),
        (NONE, *LINEAR, *([candidates.SELF_TUNED] if candidates.SELF_TUNED else [])),
    ),
}


def trials(
    study: Study,
    names: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    updates: int | None = None,
) -> Iterator[Trial]:
    """The trials of a study: those that share a compiled program stand together.

    Args:
        study: One of `STUDIES`.
        names: The workloads; all of the study's kinds unless stated.
        methods: Names of methods, or of families; all unless stated.
        updates: Of each trial; each workload's own number unless stated.
    """
    chosen = [m for m in study.methods if m.wanted(methods)]
    if not chosen:
        raise InputError(
            f"The study has no such method; it has {', '.join(m.name for m in study.methods)}. "
            f"Received: methods={methods}"
        )
    for name in names or workload_names():
        workload = load_workload(name)
        if not names and workload.kind not in study.kinds:
            continue
        for form in dict.fromkeys(method.form for method in chosen):
            for method in chosen:
                if method.form != form or not method.suits(workload):
                    continue
                for seed in study.seeds:
                    for rate in study.rates(workload):
                        yield Trial(name, method, rate, seed, updates)


def run(
    queue: Sequence[Trial],
    folder: Path,
    minutes: float | None = None,
    console: Console | None = None,
) -> int:
    """Runs what has no file yet, in order; the number of trials that are left.

    Each record is written as soon as its trial ends, so a kill costs one trial. A second process
    may work on the same queue from its other end.
    """
    start = time.monotonic()
    seconds = {}
    for old in records.read(folder) if folder.exists() else []:
        seconds.setdefault(old["identity"]["workload"], []).append(old["seconds"])
    program, key, stopped = None, None, False
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TextColumn("{task.fields[left]}")]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(queue), left="")
        for position, trial in enumerate(queue):
            left = estimate(queue[position:], folder, seconds)
            progress.update(task, description=describe(trial), left=left)
            stopped = minutes is not None and time.monotonic() - start > 60 * minutes
            if stopped:
                break
            if not records.exists(trial, folder):
                if key != (trial.workload, trial.method.form):
                    key = (trial.workload, trial.method.form)
                    program = Program(load_workload(trial.workload), trial.method)
                result = record(trial, program)
                records.write(records.path_of(trial, folder), result)
                seconds.setdefault(trial.workload, []).append(result["seconds"])
            progress.advance(task)
    return sum(not records.exists(trial, folder) for trial in queue)


def describe(trial: Trial) -> str:
    """The trial in a few words."""
    return f"{trial.workload} {trial.method.name} {trial.rate:g} seed {trial.seed}"


def estimate(queue: Sequence[Trial], folder: Path, seconds: dict[str, list[float]]) -> str:
    """How long the rest of the queue takes, from the median of each workload's trials so far."""
    if not seconds:
        return ""
    known = {name: statistics.median(values) for name, values in seconds.items()}
    other = statistics.mean(known.values())
    left = sum(
        known.get(trial.workload, other) for trial in queue if not records.exists(trial, folder)
    )
    return f"about {left / 60:.0f} min left"
