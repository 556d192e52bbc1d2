"""Files of a run folder that a resumed run reads. No backend computes: the harness forks."""

import dataclasses
from pathlib import Path
from typing import Any

from recipes.common.results.run_folder import RunFolder
from tests.attack.harness import Target
from tests.recipes.tiny import TinyConfig

STEPS, EVERY = 20, 4


def _write_config(folder: Path) -> list[Path]:
    run = RunFolder(folder)
    run.write_config(TinyConfig())
    return [run.config_path]


def _read_config(folder: Path) -> Any:
    return dataclasses.asdict(RunFolder(folder).read_config(TinyConfig, {})) | {"resume": None}


def _write_tables(folder: Path) -> None:
    run = RunFolder(folder)
    # The columns of a run without metrics of its own.
    run.append(
        "metrics.csv",
        [
            {
                "step": step,
                "seconds": 0.25 * step,
                "loss": 4.0 / step,
                "learning_rate": 0.001,
                "factor": 1.0,
                "base_learning_rate": 0.001,
            }
            for step in range(1, STEPS + 1)
        ],
    )
    run.append(
        "evaluations.csv",
        [
            {"step": step, "seconds": 0.25 * step, "loss": 2.0, "validation_loss": 2.5}
            for step in range(0, STEPS + 1, EVERY)
        ],
    )


def _table(name: str) -> Target:
    def write(folder):
        _write_tables(folder)
        return [folder / f"{name}.csv"]

    return Target(f"run_{name}", write, _read_tables, _same_steps)


def _read_tables(folder: Path) -> Any:
    run = RunFolder(folder)
    run.truncate(STEPS, EVERY)
    tables = [run.read("metrics.csv"), run.read("evaluations.csv")]
    # As training goes on with them: see `run_training`.
    names = [("step", "seconds", "loss"), ("step", "seconds", "validation_loss")]
    return [
        [[row[name] for name in wanted] for row in rows]
        for wanted, rows in zip(names, tables, strict=True)
    ]


def _same_steps(sound: Any, other: Any) -> bool:
    """A CSV file has no checksum: another loss cannot be noticed, another row can."""
    steps = [[[row[0] for row in table] for table in tables] for tables in (sound, other)]
    # The evaluation at the last step is made up for.
    return steps[0][0] == steps[1][0] and steps[1][1] in (steps[0][1], steps[0][1][:-1])


def _write_data(folder: Path) -> list[Path]:
    RunFolder(folder).check_data("text", "0123456789abcdef" * 4)
    return [folder / "data.json"]


def _read_data(folder: Path) -> Any:
    RunFolder(folder).check_data("text", "0123456789abcdef" * 4)
    return "same data"


TARGETS = [
    # Without a checkpoint, whose header has the configuration too, another number is one.
    Target("run_config", _write_config, _read_config, lambda a, b: a.keys() == b.keys()),
    _table("metrics"),
    _table("evaluations"),
    Target("run_data", _write_data, _read_data),
]
