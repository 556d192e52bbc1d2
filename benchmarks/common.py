"""Results as data, beside the command, date, versions and hardware that made them."""

import datetime
import pathlib
import sys
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
