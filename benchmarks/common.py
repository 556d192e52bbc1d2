"""Results as data, beside the command, versions and hardware that made them."""

import datetime
import json
import pathlib
import sys

import keras

from recipes.common.results.environment import describe_environment

RESULTS = pathlib.Path(__file__).parent / "results"


def write_result(name: str, result: dict) -> pathlib.Path:
    """Writes `result` to `benchmarks/results/<name>_<backend>.json` and says where."""
    backend = keras.backend.backend()
    module = pathlib.Path(sys.argv[0]).stem
    command = [f"KERAS_BACKEND={backend}", "python", "-m", f"benchmarks.{module}", *sys.argv[1:]]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}_{backend}.json"
    record = {
        "command": " ".join(command),
        "date": datetime.date.today().isoformat(),
        "environment": describe_environment(),
        **result,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{path.name}")
    return path
