"""One file for each trial, named by what the trial is."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.quality.trial import Trial
from recipes.common.command_line.errors import InputError
from recipes.common.files.writing import atomic

RESULTS = Path(__file__).parent / "results"


def path_of(trial: Trial, folder: Path) -> Path:
    """Where the trial's record stands, below the folder of its study."""
    identity = json.dumps(trial.identity(), sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return (
        folder / trial.workload / f"{trial.method.name}_{trial.rate:g}_{trial.seed}_{digest}.json"
    )


def _clean(value: Any) -> Any:
    """JSON has neither NaN nor infinity: null."""
    if isinstance(value, dict):
        return {key: _clean(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write(path: Path, record: dict[str, Any]) -> None:
    """Writes the record whole or not at all, each entry on a line of its own."""
    entries = [f" {json.dumps(k)}: {json.dumps(_clean(v))}" for k, v in record.items()]
    with atomic(path) as partial:
        partial.write_text("{\n" + ",\n".join(entries) + "\n}\n", encoding="utf-8")


def read(folder: Path) -> list[dict[str, Any]]:
    """All records of a study, in the order of their paths.

    Raises:
        InputError: If a file is none; the message names it.
    """
    records = []
    for path in sorted(folder.glob("*/*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["identity"]["workload"], record["name"], record["final_loss"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"The file is no record of a trial. Received: {path}") from error
        records.append(record)
    return records


def score(record: dict[str, Any]) -> float:
    """The loss that counts: the held-out one, and that of the trivial predictor if it is lower.

    A run that diverged counts as the trivial predictor, which anybody may use in its place; so
    none is dropped, and none counts for more than a run that ended badly without diverging.
    """
    final, trivial = record["final_loss"], record["trivial_loss"]
    if final is None or record["diverged"]:
        return trivial
    return min(final, trivial)
