"""One folder for everything that a run leaves behind."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.checkpoints.reading import read_header
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import with_present_names
from recipes.common.files.reading import read_json
from recipes.common.files.writing import discard_partials, write_json, writing
from recipes.common.results import damage
from recipes.common.results.configuration import (
    check_made_with,
    check_unchanged,
    configuration,
    read_configuration,
    resumed,
)
from recipes.common.results.csv_files import append_rows, keep_rows, read_columns, rows_of

_LOCK = "run.lock"

# What a reader of a run's tables needs; the recipe's metrics are there too.
_COLUMNS = {
    "metrics.csv": ("step", "seconds", "loss", "learning_rate", "factor", "base_learning_rate"),
    "evaluations.csv": ("step", "seconds", "loss", "validation_loss"),
}


@dataclasses.dataclass
class RunFolder:
    """Paths and formats of a run.

    | file | content |
    |---|---|
    | `config.json` | the whole configuration, defaults filled in |
    | `metrics.csv` | one row per update: loss, effective rate, factor, base rate |
    | `evaluations.csv` | one row per evaluation: training and validation loss |
    | `tensorboard/` | the same for TensorBoard |
    | `checkpoints/step-N.npz` | all that moves, after N updates; what `--resume` reads |
    | `model.keras` | the final model, as a task of KerasHub |
    | `preset/` | the same for `from_preset`, where KerasHub has such a model |
    | `data.json` | which data, with a fingerprint that a resumed run has to meet |
    | `plot.png`, `summary.json` | the run at a glance |
    | `run.lock` | held by the process that works in the folder |

    Args:
        path: The folder; made if it does not exist.
    """

    path: Path

    def __post_init__(self):
        self.path = Path(self.path)

    @classmethod
    def create(cls, runs: str, name: str | None, default_name: str) -> "RunFolder":
        """A new folder under `runs`.

        Raises:
            InputError: If `name` is given and that folder has something in it.
            StorageError: If the folder cannot be made.
        """
        if name is None:
            stem = f"{default_name}-{time.strftime('%Y%m%d-%H%M%S')}"
            name, count = stem, 1
            with writing(Path(runs)):
                Path(runs).mkdir(parents=True, exist_ok=True)
            while True:
                folder = cls(Path(runs) / name)
                with writing(folder.path):
                    try:
                        folder.path.mkdir()
                        return folder
                    except FileExistsError:
                        count += 1
                        name = f"{stem}-{count}"
        folder = cls(Path(runs) / name)
        with writing(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        folder._check_empty()
        return folder

    def _check_empty(self) -> None:
        if any(entry.name != _LOCK for entry in self.path.iterdir()):
            raise InputError(
                "There is a run in this folder; resume it with `--resume`, or choose another "
                f"`--name`. Received: {self.path}"
            )

    @contextlib.contextmanager
    def lock(self, new: bool = False) -> Iterator[None]:
        """Holds the folder for this process; the system lets go of it however the process ends.

        Args:
            new: Whether the folder has to be empty: of two runs that were begun with one name at
                once, the second finds the first one's lock, or its files.

        Raises:
            InputError: If another process works in the folder.
            StorageError: If nothing can be written there.
        """
        lock = filelock.FileLock(self.path / _LOCK, timeout=0)
        try:
            with writing(self.path):
                lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"Another process works in this run folder. Received: {self.path}"
            ) from None
        try:
            if new:
                self._check_empty()
            yield
        finally:
            lock.release()

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.path / "checkpoints")

    def latest_checkpoint(self) -> tuple[Path, int] | None:
        """The newest valid checkpoint and the number of updates it was made after.

        Raises:
            ValueError: If there are checkpoints and none is valid.
        """
        step, _ = self.checkpoints.newest_valid()
        return None if step is None else (self.checkpoints.path_of(step), step)

    def write_config(self, config: Any) -> None:
        write_json(self.config_path, dataclasses.asdict(config))

    def read_config(self, cls: type, given: dict[str, Any]) -> Any:
        """The configuration of the run to resume.

        Args:
            cls: The recipe's dataclass.
            given: The options of this command line. One that contradicts the run is an error,
                because the run would no longer be the one that was begun.

        A run that was killed before its first checkpoint starts again, which comes to the same.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If an option contradicts the run's; if no checkpoint is valid, or the
                newest was made with another configuration.
        """
        stored = read_configuration(self.config_path, cls)
        check_unchanged(stored, given)
        checkpoint = self.latest_checkpoint()
        if checkpoint is not None:
            made_with = with_present_names(cls, read_header(checkpoint[0])["run"])
            check_made_with(configuration(stored), made_with, checkpoint[0], self.config_path)
        else:
            made = len(self.read("metrics.csv"))
            damage.check_no_checkpoint_lost(self.path, self.checkpoints, stored, made)
        damage.check_places(self.path)
        return resumed(stored, given, self.path)

    def other_checkpoints(self) -> list[str]:
        """What looks like a checkpoint and is none of those that a run is resumed from."""
        return damage.other_checkpoints(self.path, self.checkpoints)

    def check_data(self, source: str, fingerprint: str) -> None:
        """Notes which data the run uses; on a resumed run, makes sure that it is the same.

        Raises:
            ValueError: If the data has changed since the run began.
        """
        path = self.path / "data.json"
        if not path.exists():
            if self.checkpoints.steps():
                raise InputError(
                    "The file that names the run's data is missing, so it cannot be told whether "
                    f"the data is the same. Received: {path}"
                )
            write_json(path, {"source": source, "fingerprint": fingerprint})
            return
        known = read_json(path)
        if not all(isinstance(known.get(name), str) for name in ("source", "fingerprint")):
            raise InputError(f"The file that names the run's data is damaged. Received: {path}")
        if known["fingerprint"] != fingerprint:
            raise ValueError(
                f"The data is not that of the run, which had: {known['source']}. Received: {source}"
            )

    def append(self, name: str, rows: list[dict]) -> None:
        """Adds rows to a CSV file, with a header if it is new."""
        if rows:
            damage.check_columns(self.path / name, list(rows[0]))
            append_rows(self.path / name, rows)

    def read(self, name: str) -> list[dict[str, float]]:
        """The rows of a CSV file as numbers; empty where there is none."""
        path = self.path / name
        columns = read_columns(path, _COLUMNS.get(name, ("step",))) if path.exists() else {}
        if columns and next(iter(columns)) != "step":
            raise InputError(
                f"The first column should be `step`. Received: {','.join(columns)} in {path}"
            )
        return rows_of(columns)

    def truncate(
        self,
        step: int,
        eval_every: int | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Drops the rows after `step`, those of work that a resumed run does again.

        With `eval_every` the table of evaluations has to be complete, and the tables need the
        `columns` of the rows that are to come, by name. What a killed process left half-written
        goes too: a last line without its end, a file that was to be renamed.
        """
        # Everything first, because a folder that is refused should be left as it is.
        for name, wanted in (columns or {}).items():
            damage.check_columns(self.path / name, wanted)
        damage.check_updates(self.path / "metrics.csv", step)
        if eval_every is not None:
            damage.check_evaluations(self.path / "evaluations.csv", step, eval_every)
        discard_partials(self.path)
        discard_partials(self.checkpoints.path)
        for name in ("metrics.csv", "evaluations.csv"):
            if (self.path / name).exists():
                keep_rows(self.path / name, step)
