"""Results as data, beside the command, versions and hardware that made them."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import sys

RESULTS = pathlib.Path(__file__).parent / "results"
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "keras-hub")


def hardware() -> dict:
    """Processor and number of cores, as the operating system names them."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


def versions() -> dict:
    """Versions of Python and of the packages a result depends on, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_result(name: str, result: dict) -> pathlib.Path:
    """Writes `result` to `benchmarks/results/<name>.json` and says where."""
    module = pathlib.Path(sys.argv[0]).stem
    command = " ".join(
        [
            f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND', '')}".rstrip("="),
            f"python -m benchmarks.{module}",
            *sys.argv[1:],
        ]
    )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "hardware": hardware(),
        **result,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written to benchmarks/results/{path.name}")
    return path
