"""One folder for everything that a run leaves behind."""

import csv
import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from recipes.common.checkpoint_folder import CheckpointFolder
from recipes.common.checkpoints import read_header
from recipes.common.files import atomic, discard_partials, write_json, writing
from recipes.common.options import build

# What a resumed run may be given anew; all else comes from its config.json.
_ANEW = {"keep", "checkpoint_every", "distribute", "model_shards"}
_NOT_THE_EXPERIMENT = {"resume", "stop_after", "runs", "name", *_ANEW}


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
    | `model.keras` | the final model |
    | `data.json` | which data, with a fingerprint that a resumed run has to meet |
    | `plot.png`, `summary.json` | the run at a glance |

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
            FileExistsError: If `name` is given and that folder has a run in it.
            StorageError: If the folder cannot be made.
        """
        if name is None:
            stem = f"{default_name}-{time.strftime('%Y%m%d-%H%M%S')}"
            name, count = stem, 1
            while (Path(runs) / name).exists():
                count += 1
                name = f"{stem}-{count}"
        folder = cls(Path(runs) / name)
        if folder.config_path.exists():
            raise FileExistsError(
                "There is a run in this folder; go on with it by `--resume`, or choose another "
                f"`--name`. Received: {folder.path}"
            )
        with writing(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        return folder

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
        """The configuration of the run to go on with.

        Args:
            cls: The recipe's dataclass.
            given: The options of this command line. One that contradicts the run is an error,
                because the run would no longer be the one that was begun.

        A run that was killed before its first checkpoint begins anew, which comes to the same.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If an option contradicts the run's; if no checkpoint is valid, or the
                newest was made with another configuration.
        """
        if not self.config_path.exists():
            raise FileNotFoundError(
                f"Nothing to resume: there is no config.json. Received: resume={self.path}"
            )
        try:
            stored = build(cls, json.loads(self.config_path.read_text("utf-8")))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"The run's configuration is damaged: {error}. Received: {self.config_path}"
            ) from error
        for name, value in given.items():
            if name not in _NOT_THE_EXPERIMENT and getattr(stored, name) != value:
                raise ValueError(
                    "A resumed run keeps its configuration; leave the option out, or start a new "
                    f"run. Received: {name}={value!r}, the run has {getattr(stored, name)!r}"
                )
        self._check_configuration(stored)
        anew = {name: given[name] for name in _ANEW if name in given}
        return dataclasses.replace(
            stored, resume=str(self.path), stop_after=given.get("stop_after"), **anew
        )

    def _check_configuration(self, stored: Any) -> None:
        """Makes sure that `config.json` is what the checkpoint's run was begun with."""
        checkpoint = self.latest_checkpoint()
        if checkpoint is None:
            return
        path, _ = checkpoint
        now = configuration(stored)
        for name, value in read_header(path)["run"].items():
            if name in now and now[name] != value:
                raise ValueError(
                    f"The configuration is not that of the checkpoint {path}, which had "
                    f"{name}={value!r}. Received: {name}={now[name]!r} in {self.config_path}"
                )

    def check_data(self, source: str, fingerprint: str) -> None:
        """Notes which data the run uses; on a resumed run, makes sure that it is the same.

        Raises:
            ValueError: If the data has changed since the run began.
        """
        path = self.path / "data.json"
        if not path.exists():
            write_json(path, {"source": source, "fingerprint": fingerprint})
            return
        known = json.loads(path.read_text("utf-8"))
        if known["fingerprint"] != fingerprint:
            raise ValueError(
                f"The data is not that of the run, which had: {known['source']}. Received: {source}"
            )

    def append(self, name: str, rows: list[dict]) -> None:
        """Adds rows to a CSV file, with a header if it is new."""
        if not rows:
            return
        path = self.path / name
        new = not path.exists()
        with writing(path), path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            if new:
                writer.writeheader()
            writer.writerows(rows)
            # On the disk before a checkpoint that counts them as done.
            file.flush()
            os.fsync(file.fileno())

    def read(self, name: str) -> list[dict[str, float]]:
        """The rows of a CSV file as numbers; empty where there is none."""
        path = self.path / name
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {k: float(v) if v else float("nan") for k, v in row.items()}
                for row in csv.DictReader(file)
            ]

    def truncate(self, step: int) -> None:
        """Drops the rows after `step`, those of work that a resumed run does again.

        What a killed process left half-written goes too: a last line without its end, a file that
        was to be renamed.
        """
        discard_partials(self.path)
        discard_partials(self.checkpoints.path)
        for name in ("metrics.csv", "evaluations.csv"):
            path = self.path / name
            if not path.exists():
                continue
            # A number that was cut short may look like a smaller one.
            header, *lines = path.read_text("utf-8").rpartition("\n")[0].split("\n")
            if not header:
                path.unlink()
                continue
            kept = [line for line in lines if int(line.partition(",")[0]) <= step]
            with atomic(path) as partial:
                partial.write_text("\n".join([header, *kept]) + "\n", "utf-8")


def configuration(config: Any) -> dict[str, Any]:
    """The part of a run's configuration that a resumed run has to share, as JSON has it."""
    fields = dataclasses.asdict(config)
    kept = {k: v for k, v in fields.items() if k not in _NOT_THE_EXPERIMENT}
    return json.loads(json.dumps(kept))
