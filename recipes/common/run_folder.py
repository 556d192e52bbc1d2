"""One folder for everything that a run leaves behind."""

import csv
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import keras

from recipes.common.checkpoints import save_checkpoint
from recipes.common.files import atomic, write_json
from recipes.common.options import build

# What a resumed run may be given anew; all else comes from its config.json.
_NOT_THE_EXPERIMENT = {"resume", "stop_after", "runs", "name"}


@dataclasses.dataclass
class RunFolder:
    """Paths and formats of a run.

    | file | content |
    |---|---|
    | `config.json` | the whole configuration, defaults filled in |
    | `metrics.csv` | one row per update: loss, effective rate, factor, base rate |
    | `evaluations.csv` | one row per evaluation: training and validation loss |
    | `tensorboard/` | the same for TensorBoard |
    | `checkpoints/step-N.keras` | model and optimizer after N updates; what `--resume` reads |
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
        folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    def latest_checkpoint(self) -> tuple[Path, int] | None:
        """The newest checkpoint and the number of updates it was made after."""
        found = {int(p.stem[5:]): p for p in (self.path / "checkpoints").glob("step-*.keras")}
        return (found[max(found)], max(found)) if found else None

    def save_checkpoint(self, model: keras.Model, step: int) -> None:
        """Saves the model and its optimizer, whole or not at all, then drops older ones.

        The number of updates is in the name: it is the position in the data, and a file and its
        position cannot come apart.
        """
        path = self.path / "checkpoints" / f"step-{step:07d}.keras"
        save_checkpoint(model, path)
        for other in path.parent.glob("step-*.keras"):
            if other != path:
                other.unlink()

    def write_config(self, config: Any) -> None:
        write_json(self.config_path, dataclasses.asdict(config))

    def read_config(self, cls: type, given: dict[str, Any]) -> Any:
        """The configuration of the run to go on with.

        Args:
            cls: The recipe's dataclass.
            given: The options of this command line. One that contradicts the run is an error,
                because the run would no longer be the one that was begun.

        Raises:
            FileNotFoundError: If the folder holds no run, or no checkpoint yet.
            ValueError: If an option contradicts the run's.
        """
        if not self.config_path.exists() or self.latest_checkpoint() is None:
            missing = "checkpoint" if self.config_path.exists() else "config.json"
            raise FileNotFoundError(
                f"Nothing to resume: there is no {missing}. Received: resume={self.path}"
            )
        stored = build(cls, json.loads(self.config_path.read_text("utf-8")))
        for name, value in given.items():
            if name not in _NOT_THE_EXPERIMENT and getattr(stored, name) != value:
                raise ValueError(
                    "A resumed run keeps its configuration; leave the option out, or start a new "
                    f"run. Received: {name}={value!r}, the run has {getattr(stored, name)!r}"
                )
        return dataclasses.replace(
            stored, resume=str(self.path), stop_after=given.get("stop_after")
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
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            if new:
                writer.writeheader()
            writer.writerows(rows)

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
        """Drops the rows after `step`, those of work that a resumed run does again."""
        for name in ("metrics.csv", "evaluations.csv"):
            path = self.path / name
            if not path.exists():
                continue
            header, *lines = path.read_text("utf-8").splitlines()
            kept = [line for line in lines if int(line.partition(",")[0]) <= step]
            with atomic(path) as partial:
                partial.write_text("\n".join([header, *kept]) + "\n", "utf-8")
