"""Weights that a workload begins with: those of another workload after its training."""

import numpy as np

from benchmarks.quality.workload import Workload
from recipes.common.files.writing import atomic
from recipes.text.tokenizer import cache_folder


def trained(workload: Workload, rate: float, seed: int, label: str = "") -> list[np.ndarray]:
    """The weights after `workload` with this seed; trained once, then read from the cache.

    Args:
        workload: What is trained.
        rate: The peak rate, which `linear-20` warms up.
        seed: Of weights and batches.
        label: The first part of the file's name; the workload's unless stated.
    """
    from benchmarks.quality.methods import LINEAR
    from benchmarks.quality.trial import Program, data_digest

    digest = data_digest(workload)
    name = f"{label or workload.name}-{workload.version}-{seed}-{digest}.npz"
    path = cache_folder() / "quality" / name
    if path.exists():
        with np.load(path) as saved:
            return [saved[f"{index:03}"] for index in range(len(saved.files))]
    program = Program(workload, LINEAR[2])
    weights = program.run(LINEAR[2], rate, seed, workload.updates)["weights"]
    with atomic(path) as partial:
        np.savez(partial, **{f"{index:03}": value for index, value in enumerate(weights)})
    return weights
