"""What the loss-driven rate costs per step: `python -m benchmarks.overhead`.

Loss-aware AdamW with the self-tuned rule against plain AdamW with `CosineDecay`, in turn in one
process on the active backend, so that whatever else the machine does falls on both alike. Printed
and written to `benchmarks/results/overhead_<backend>.json`:

* the ratio of the times of blocks of steps, a pair of blocks at a time: median and quartiles;
* the number of compilations: how often Keras' train step was traced;
* the number of device-to-host transfers per step: how often an array was read on the host.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import keras
import numpy as np
from rich.progress import track

from benchmarks.common import write_result
from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build as build_options
from recipes.common.command_line.options import check_options, option, parse

PROGRAM = "python -m benchmarks.overhead"
DECAY_STEPS = 1_000_000
MOST_NUMBERS = 2**30  # 4 GiB


def build(optimizer, width: int, depth: int):
    """A multilayer perceptron that counts how often its train step is traced."""

    class Counted(keras.Sequential):
        traces = 0

        def train_step(self, *args, **kwargs):
            self.traces += 1
            return super().train_step(*args, **kwargs)

    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(width, activation="relu") for _ in range(depth)]
    model = Counted([keras.Input((width,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss)
    return model


def count_host_reads():
    """Patches the ways by which each backend's arrays reach the host.

    Returns:
        A list of one number, which grows with each read.
    """
    reads = [0]
    backend = keras.backend.backend()
    if backend == "jax":
        from jax._src.array import ArrayImpl as array

        name = "_value"
        original = array._value.fget

        def counted(self):
            reads[0] += 1
            return original(self)

        setattr(array, name, property(counted))
        # On a CPU np.asarray takes JAX's memory as it is, past any Python method; Keras' trainers
        # and callbacks all go through this function to get there.
        import keras.src.backend as module

        module.convert_to_numpy = _counting(module.convert_to_numpy, reads)
        return reads
    if backend == "tensorflow":
        from tensorflow.python.framework.ops import _EagerTensorBase as array

        names = ["_numpy", "numpy", "__array__", "__float__", "__int__", "__bool__", "__index__"]
    else:
        from torch import Tensor as array

        names = ["item", "cpu", "numpy", "tolist", "__array__", "__float__", "__int__", "__bool__"]
    for name in names:
        if hasattr(array, name):
            setattr(array, name, _counting(getattr(array, name), reads))
    return reads


def _counting(function, reads):
    def counted(*args, **kwargs):
        reads[0] += 1
        return function(*args, **kwargs)

    return counted


@dataclasses.dataclass
class Overhead:
    """Overhead: the model and how long."""

    width: int = option(512, "units of each hidden layer", low=1, high=2**16)
    depth: int = option(5, "hidden layers", low=0, high=100)
    batch_size: int = option(128, "examples in a batch", low=1, high=2**20)
    steps: int = option(100, "steps in a block", low=1, high=10**6)
    blocks: int = option(30, "pairs of blocks; quartiles need 2", low=2, high=10**6)

    def __post_init__(self):
        check_options(self)
        data = self.steps * self.batch_size * self.width
        weights = self.width**2 * (self.depth + 1)
        if max(data, 4 * weights) > MOST_NUMBERS:
            raise InputError(
                f"The data of a block, and the weights with AdamW's averages, have at most "
                f"{MOST_NUMBERS:,} numbers. Received: steps={self.steps}, "
                f"batch_size={self.batch_size}, width={self.width}, depth={self.depth}"
            )


def run(arguments: Overhead) -> dict:
    """Runs the benchmark, prints and returns its result."""
    cosine = keras.optimizers.schedules.CosineDecay(1e-3, DECAY_STEPS)
    models = {
        "plain": build(keras.optimizers.AdamW(cosine), arguments.width, arguments.depth),
        "loss-aware": build(
            LossAware(keras.optimizers.AdamW(LossAdaptiveLearningRate(1e-3))),
            arguments.width,
            arguments.depth,
        ),
    }
    rng = np.random.default_rng(0)
    examples = arguments.steps * arguments.batch_size
    x = rng.normal(size=(examples, arguments.width)).astype("float32")
    y = rng.integers(0, 10, size=examples)

    def block(model):
        start = time.perf_counter()
        model.fit(x, y, batch_size=arguments.batch_size, shuffle=False, verbose=0)
        return time.perf_counter() - start

    first = {name: block(model) for name, model in models.items()}  # with compilation
    reads = count_host_reads()
    transfers = {}
    for name, model in models.items():
        reads[0] = 0
        block(model)
        transfers[name] = reads[0] / arguments.steps
    ratios, seconds = [], {name: [] for name in models}
    for i in track(range(arguments.blocks), description="pairs of blocks"):
        # The order alternates: whichever comes second may find warmer caches.
        order = list(models) if i % 2 else list(models)[::-1]
        taken = {name: block(models[name]) for name in order}
        ratios.append(taken["loss-aware"] / taken["plain"])
        for name in models:
            seconds[name].append(taken[name] / arguments.steps)
    low, median, high = statistics.quantiles(ratios, n=4)
    result = {
        "backend": keras.backend.backend(),
        "parameters": models["plain"].count_params(),
        "settings": dataclasses.asdict(arguments),
        "ratio": {"median": median, "lower_quartile": low, "upper_quartile": high},
        "milliseconds_per_step": {n: 1e3 * statistics.median(s) for n, s in seconds.items()},
        "first_block_seconds": first,
        "compilations": {name: model.traces for name, model in models.items()},
        "host_reads_per_step": transfers,
    }
    if result["backend"] == "torch":
        result["compilations"] = None  # eager: the train step is Python every time
    print(
        f"{result['backend']}: {result['parameters']:,} parameters, loss-aware / plain = "
        f"{median:.4f} (quartiles {low:.4f} to {high:.4f}); "
        f"compilations {result['compilations']}; host reads per step {transfers}"
    )
    write_result("overhead", result)
    return result


def main(argv: Sequence[str] | None = None) -> dict:
    """The command line."""
    given = parse([Overhead], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build_options(Overhead, given))


if __name__ == "__main__":
    main()
