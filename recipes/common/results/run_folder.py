"""One folder for everything that a run leaves behind."""

import contextlib
import csv
import dataclasses
import json
import math
import os
import re
import time
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import filelock

from recipes.common.checkpoints.folder import CheckpointFolder
from recipes.common.checkpoints.reading import read_header
from recipes.common.command_line.errors import InputError, MissingInputError
from recipes.common.command_line.options import build, with_present_names
from recipes.common.files.reading import read_bytes, read_json, regular_file
from recipes.common.files.writing import atomic, discard_partials, write_json, writing

_LOCK = "run.lock"

# Options that a resumed run may change; all else comes from its config.json.
_CHANGEABLE = {"max_to_keep", "checkpoint_every", "distribute", "model_shards"}
NOT_THE_EXPERIMENT = {"resume", "stop_after", "suggest", "runs", "name", *_CHANGEABLE}

# Files that are written at the end.
_RESULTS = ("model.keras", "summary.json", "plot.png", "sample.txt")

# What a reader of a run's tables needs; the recipe's metrics are there too.
_COLUMNS = {
    "metrics.csv": ("step", "seconds", "loss", "learning_rate", "factor", "base_learning_rate"),
    "evaluations.csv": ("step", "seconds", "loss", "validation_loss"),
}

# What people and programs call their checkpoints; `model.keras` is none.
_CHECKPOINT = re.compile(
    r"(step|checkpoint|ckpt|epoch|latest|last)s?[-_.]?[0-9]*\.(npz|keras|h5|weights\.h5|index)",
    re.IGNORECASE,
)


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
                "There is a run in this folder; go on with it by `--resume`, or choose another "
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
            raise MissingInputError(
                f"Nothing to resume: there is no config.json. Received: resume={self.path}"
            )
        try:
            values = read_json(self.config_path)
        except InputError as error:
            raise InputError(f"The run's configuration is damaged. {error}") from None
        values = with_present_names(cls, values)
        hints = typing.get_type_hints(cls)
        names = {field.name for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in names or not _fits(value, hints[name]):
                what = "is no option of this recipe" if name not in names else "has no such value"
                raise InputError(
                    f"The run's configuration is damaged: {name} {what}. "
                    f"Received: {name}={value!r:.100} in {self.config_path}"
                )
        try:
            stored = build(cls, values)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(
                f"The run's configuration is damaged ({error}). Received: {self.config_path}"
            ) from None
        for name, value in given.items():
            if name not in NOT_THE_EXPERIMENT and getattr(stored, name) != value:
                raise ValueError(
                    "A resumed run keeps its configuration; leave the option out, or start a new "
                    f"run. Received: {name}={value!r}, the run has {getattr(stored, name)!r}"
                )
        self._check_configuration(stored)
        self._check_anew(stored)
        self._check_places()
        changed = {name: given[name] for name in _CHANGEABLE if name in given}
        return dataclasses.replace(
            stored,
            resume=str(self.path),
            stop_after=given.get("stop_after"),
            suggest=given.get("suggest", False),
            **changed,
        )

    def _check_configuration(self, stored: Any) -> None:
        """Makes sure that `config.json` is what the checkpoint's run was begun with."""
        checkpoint = self.latest_checkpoint()
        if checkpoint is None:
            return
        path, _ = checkpoint
        now = configuration(stored)
        for name, value in with_present_names(type(stored), read_header(path)["run"]).items():
            if name in now and now[name] != value:
                raise ValueError(
                    f"The configuration is not that of the checkpoint {path}, which had "
                    f"{name}={value!r}. Received: {name}={now[name]!r} in {self.config_path}"
                )

    def other_checkpoints(self) -> list[str]:
        """What looks like a checkpoint and is none of those that a run is resumed from.

        Such as those of an older layout, wherever in the folder. Runs inside the folder have
        their own.

        Returns:
            Paths below the folder, sorted.
        """
        found = []
        for root, folders, files in os.walk(self.path):
            # In place, so that these are not entered.
            folders[:] = [
                name
                for name in folders
                if name != "tensorboard" and not Path(root, name, "config.json").exists()
            ]
            for name in (*folders, *files):
                path = Path(root, name)
                ours = path.parent == self.checkpoints.path and self.checkpoints.owns(name)
                if _CHECKPOINT.fullmatch(name) and not ours:
                    found.append(path.relative_to(self.path).as_posix())
        return sorted(found)

    def _check_places(self) -> None:
        """Makes sure that what is written at the end can be, before the work is done."""
        for name in _RESULTS:
            if (self.path / name).is_dir():
                raise InputError(
                    "There is a folder where a file is needed; move it away. "
                    f"Received: {self.path / name}"
                )
        for name in ("tensorboard", "preset"):
            folder = self.path / name
            if os.path.lexists(folder) and not folder.is_dir():
                raise InputError(
                    f"There is a file where a folder is needed; move it away. Received: {folder}"
                )

    def _check_anew(self, stored: Any) -> None:
        """Makes sure that a run without checkpoints has lost none, since it begins anew."""
        if self.checkpoints.steps():
            return
        others = self.other_checkpoints()
        if others:
            raise InputError(
                f"The run has no checkpoint in {self.checkpoints.path}, but others "
                f"({_some(others)}), perhaps of an older layout, which cannot be resumed. Put "
                "those of this version in their place, or start a new run. "
                f"Received: {self.path}"
            )
        made = len(self.read("metrics.csv"))
        # The rows are written first, and each checkpoint waits for the one before it.
        every = stored.checkpoint_every or stored.eval_every
        if every and made > 2 * every:
            raise InputError(
                f"The run has made {made} updates with a checkpoint every {every}, and there is "
                "none. Put the checkpoints back in their place, or start a new run. "
                f"Received: {self.checkpoints.path}"
            )

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

    def check_columns(self, name: str, columns: Sequence[str]) -> None:
        """Makes sure that a CSV file has these columns and no other, if it has a whole line.

        Raises:
            InputError: If it has others.
        """
        path = self.path / name
        if not path.exists():
            return
        with regular_file(path).open("rb") as file:
            line = file.readline(2**16)
        if len(line) < 2**16 and not line.endswith(b"\n"):
            return
        header = line.decode("utf-8", "replace").rstrip("\r\n")
        if header != ",".join(columns):
            raise InputError(
                f"The table should have the columns {','.join(columns)}. Put an intact copy in "
                f"its place, or start a new run. Received: {header:.300} in {path}"
            )

    def append(self, name: str, rows: list[dict]) -> None:
        """Adds rows to a CSV file, with a header if it is new."""
        if not rows:
            return
        path = self.path / name
        new = not path.exists()
        self.check_columns(name, list(rows[0]))
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
        try:
            text = read_bytes(path, 2**30).decode("utf-8")
            # As `truncate` counts rows: by line feeds alone, and none that was cut short.
            lines = text.rpartition("\n")[0].replace("\r\n", "\n").split("\n")
            rows = list(csv.DictReader(lines, quoting=csv.QUOTE_NONE, restkey="more"))
            if any(None in row.values() or "more" in row for row in rows):
                raise ValueError("a row has more or fewer values than there are columns")
            names = next(csv.reader(lines[:1]), [])
            if names and (names[0] != "step" or len(set(names)) < len(names)):
                raise ValueError(f"its columns are {','.join(names)}")
            missing = [c for c in _COLUMNS.get(name, ()) if rows and c not in rows[0]]
            if missing:
                raise InputError(
                    f"The table should have a column `{missing[0]}`. Put an intact copy in its "
                    f"place, or start a new run. Received: {path}"
                )
            return [{k: float(v) if v else float("nan") for k, v in row.items()} for row in rows]
        except (UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"The table is damaged ({error}). Received: {path}") from None

    def _check_updates(self, step: int) -> None:
        """Makes sure that `metrics.csv` has each update up to `step` once."""
        path = self.path / "metrics.csv"
        content = read_bytes(path, 2**30) if path.exists() else b""
        steps = [line.partition(b",")[0] for line in content.split(b"\n")[1:-1]]
        expected = [str(number).encode() for number in range(1, step + 1)]
        if steps[:step] != expected or not set(expected).isdisjoint(steps[step:]):
            raise InputError(
                f"The table should have one row for each of {step} updates, and rows are missing "
                f"or doubled. Put an intact copy in its place, or start a new run. Received: {path}"
            )

    def _check_evaluations(self, step: int, every: int) -> None:
        """Makes sure that `evaluations.csv` has each evaluation before `step` once, in order."""
        path = self.path / "evaluations.csv"
        steps = [row["step"] for row in self.read(path.name) if row["step"] <= step]
        # That at `step` itself is made up for where a signal came in between.
        missing = set(range(0, step, every)).difference(steps)
        if missing or steps != sorted(set(steps)):
            raise InputError(
                f"The table should have the evaluations of every {every} updates before update "
                f"{step}, each once and in order. Put an intact copy in its place, or start a new "
                f"run. Received: {path}"
            )

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
            self.check_columns(name, wanted)
        self._check_updates(step)
        if eval_every is not None:
            self._check_evaluations(step, eval_every)
        discard_partials(self.path)
        discard_partials(self.checkpoints.path)
        for name in ("metrics.csv", "evaluations.csv"):
            path = self.path / name
            if not path.exists():
                continue
            # A number that was cut short may look like a smaller one.
            try:
                text = read_bytes(path, 2**30).decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"The table is damaged ({error}). Received: {path}") from None
            header, *lines = text.rpartition("\n")[0].split("\n")
            if not header:
                path.unlink()
                continue
            try:
                kept = [line for line in lines if int(line.partition(",")[0]) <= step]
            except ValueError as error:
                raise InputError(f"The table is damaged ({error}). Received: {path}") from None
            with atomic(path) as partial:
                partial.write_text("\n".join([header, *kept]) + "\n", "utf-8")


def _some(names: list[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is one of an option's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is type(None):
        return value is None
    if hint is float:
        # An integer may be larger than any float.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and -1.8e308 < value < 1.8e308 and not math.isnan(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def configuration(config: Any) -> dict[str, Any]:
    """The part of a run's configuration that a resumed run has to share, as JSON has it."""
    fields = dataclasses.asdict(config)
    kept = {k: v for k, v in fields.items() if k not in NOT_THE_EXPERIMENT}
    return json.loads(json.dumps(kept))
