"""Results as data, beside the command, date, versions and hardware that made them."""

import datetime
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import keras

from recipes.common.files.writing import write_json
from recipes.common.results.environment import describe_environment

RESULTS = pathlib.Path(__file__).parent / "results"


def made_by() -> dict[str, Any]:
    """The command of this process with its backend, the date, and what the result depends on."""
    module = pathlib.Path(sys.argv[0]).stem
    backend = keras.backend.backend()
    command = [f"KERAS_BACKEND={backend}", "python", "-m", f"benchmarks.{module}", *sys.argv[1:]]
    return {
        "command": " ".join(command),
        "date": datetime.date.today().isoformat(),
        "environment": describe_environment(),
    }


def write_result(name: str, result: dict, of_backend: bool = True) -> pathlib.Path:
    """Writes `result` to a file of `benchmarks/results/` and says where.

    Args:
        name: The file is `<name>_<backend>.json`.
        result: What was measured; NaN and infinity become null.
        of_backend: Whether the backend had a part in it; else the file is `<name>.json`.
    """
    path = RESULTS / f"{name}{f'_{keras.backend.backend()}' if of_backend else ''}.json"
    write_json(path, made_by() | result)
    print(f"written to benchmarks/results/{path.name}")
    return path


def write_row(name: str, row: dict, key: Sequence[str]) -> pathlib.Path:
    """Writes `row` to the `rows` of a result, in place of an earlier one with the same `key`.

    Args:
        name: As in `write_result`.
        row: What was measured; the command of this process is added, where it has none of its own.
        key: The entries that say what a row is about.
    """
    path = RESULTS / f"{name}_{keras.backend.backend()}.json"
    known = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    others = [other for other in known if any(other[entry] != row[entry] for entry in key)]
    return write_result(name, {"rows": [*others, {"command": made_by()["command"], **row}]})
