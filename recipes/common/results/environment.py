"""What a result depends on besides the configuration: versions and hardware."""

import importlib.metadata
import os
import platform
from pathlib import Path

import keras

_PACKAGES = (
    "keras-h0h1", "keras", "keras-hub", "tensorflow", "jax", "torch", "numpy", "tokenizers",
)  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_environment() -> dict:
    """Versions, processor, number of cores and the devices that Keras sees, for `summary.json`."""
    try:
        devices = [str(device) for device in keras.distribution.list_devices()]
    except (NotImplementedError, ImportError, AttributeError, ValueError):
        devices = ["cpu"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "backend": keras.backend.backend(),
        "devices": devices,
        "processor": _processor(),
        "cores": cores,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {p: v for p in _PACKAGES if (v := _version(p)) is not None},
    }
