"""One checkpoint: a `.npz` file with everything that moves in it, and a checksum.

The format is this project's own, because what exists did not fit:

* `orbax-checkpoint` (and `keras.callbacks.OrbaxCheckpoint` on it) needs JAX on every backend and
  turns scalars into Python numbers; `tf.train.Checkpoint` needs TensorFlow. A run begun on one
  backend could not be resumed on another.
* `model.save` loads everywhere, but leaves out the states of `SeedGenerator`, has no checksum,
  and reads the variables while it writes, so that training would have to wait for it. Into memory
  instead, for writing later, it stalled training for 1.0 s with 491 MB of state (JAX, two CPU
  cores) and held the state more than twice; copying the variables took 0.3 s and holds it once.

Making the model is Keras' own business (`keras.saving.serialize_keras_object`, compilation
included), and the arrays are NumPy's: `numpy.load` reads the file, `header.json` in it says what
each array is. The order of a model's variables is the same on every backend.
"""

import contextlib
import dataclasses
import json
import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_h0h1  # noqa: F401 (makes its classes known to Keras)
from recipes.common.checkpoints.reading import (
    DIGEST_LENGTH,
    FORMAT,
    HEADER,
    MARK,
    array_header,
    digest,
    find_problem,
    opened,
    read_array,
)
from recipes.common.checkpoints.rng import rng_states, set_rng_states
from recipes.common.command_line.errors import InputError, first_line
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import atomic


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A copy on the host of all that moves, which training may run away from.

    Args:
        header: What the arrays are, and the configurations of model and run; becomes JSON.
        arrays: The variables of model and optimizer in their order, then backend generators.
    """

    header: dict[str, Any]
    arrays: list[np.ndarray]


def _variables(model: keras.Model) -> list[keras.Variable]:
    # The optimizer's include its averages, EMA, the step, accumulated gradients and the rate's
    # state; the model's include the states of its seed generators.
    return [*model.variables, *model.optimizer.variables]


def take_snapshot(
    model: keras.Model,
    step: int = 0,
    run: dict[str, Any] | None = None,
    devices: Devices = ONE_DEVICE,
) -> Snapshot:
    """Copies the state of a compiled model to the host.

    Args:
        model: Compiled and built, outside `fit`.
        step: Updates made so far; with the seed, the position in the data.
        run: The run's configuration, JSON-able, so that a checkpoint cannot be resumed with
            another one.
        devices: What the model trains on; all hosts have to call it.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(keras.optimizers.SGD(), "mse")
    >>> [array.shape for array in take_snapshot(model).arrays][:2]
    [(2, 1), (1,)]
    """
    if not model.optimizer.built:
        # Before the first update, where Keras leaves it for later.
        model.optimizer.build(model.trainable_variables)
    variables, generators = _variables(model), rng_states()
    arrays = [devices.gather(v) for v in variables]
    arrays += generators.values()
    header = {
        "format": FORMAT,
        "step": step,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "model": keras.saving.serialize_keras_object(model),
        "run": run or {},
        "variables": [v.path for v in variables],
        "generators": list(generators),
        # NumPy's files have no name for bfloat16.
        "dtypes": [array.dtype.name for array in arrays],
    }
    return Snapshot(header, arrays)


def _write_array(member, array: np.ndarray) -> None:
    np.lib.format.write_array(member, array, allow_pickle=False)


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Writes a checkpoint, whole or not at all, and to the disk rather than to its cache.

    Raises:
        StorageError: If the disk is full or the folder cannot be written; a file that was at
            `path` is as before.
    """
    with atomic(path) as partial, partial.open("w+b") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = MARK + b"0" * DIGEST_LENGTH
            archive.writestr(HEADER, json.dumps(snapshot.header))
            for index, array in enumerate(snapshot.arrays):
                # Stored, not compressed: floating-point weights hardly shrink.
                with archive.open(f"{index:05}.npy", "w", force_zip64=True) as member:
                    _write_array(member, array)
        found = digest(file)
        file.seek(-DIGEST_LENGTH, os.SEEK_END)
        file.write(found)


def save_checkpoint(
    model: keras.Model, path: Path, step: int = 0, run: dict[str, Any] | None = None
) -> None:
    """`take_snapshot` and `write_snapshot` in one, for those who can wait."""
    write_snapshot(take_snapshot(model, step, run), path)


# What Keras may make beyond the weights in the file, layers that it makes and drops again and the
# metrics' variables: their values, and how many they are.
_SPARE = 2**20
_SPARE_VARIABLES = 2**12


@contextlib.contextmanager
def _weights_at_most(limit: int, most: int) -> Iterator[list[str]]:
    """Stops Keras at the first weight that brings their values to more than `limit`.

    A configuration of a few bytes may name a layer of any size, and Keras allocates it at once;
    or a backbone of any number of layers, however small, which takes as long as it likes.

    Args:
        limit: Values of all weights together.
        most: Number of weights.

    Yields:
        A list, empty until a weight was refused, then with what there was too much of.
    """
    refused, made, count = [], 0, 0
    owners = [(keras.Layer, "add_weight"), (keras.metrics.Metric, "add_variable")]
    originals = [getattr(owner, name) for owner, name in owners]

    def counting(original):
        def add(self, *args, **kwargs):
            nonlocal made, count
            shape = args[0] if args else kwargs.get("shape")
            sizes = shape if isinstance(shape, tuple | list) else [shape]
            # What is no integer Keras refuses itself.
            made += math.prod(int(size) for size in sizes if isinstance(size, int | np.integer))
            count += 1
            if made > limit:
                refused.append(f"{made:,} weights or more, and the file {limit - _SPARE:,} numbers")
            elif count > most:
                refused.append(f"{count:,} weights or more, many more than the file")
            if refused:
                raise ValueError("more weights than the file holds")
            return original(self, *args, **kwargs)

        return add

    try:
        for (owner, name), original in zip(owners, originals, strict=True):
            setattr(owner, name, counting(original))
        yield refused
    finally:
        for (owner, name), original in zip(owners, originals, strict=True):
            setattr(owner, name, original)


def _make_model(
    configuration: dict[str, Any], values: int, variables: int, path: Path
) -> keras.Model:
    """The compiled model of a configuration, if `values` numbers can be its weights."""
    with _weights_at_most(values + _SPARE, variables + _SPARE_VARIABLES) as refused:
        try:
            model = keras.saving.deserialize_keras_object(configuration)
            compiled = isinstance(model, keras.Model) and model.optimizer is not None
        # Keras raises whatever the configuration leads it into.
        except Exception as error:
            if refused:
                raise InputError(
                    f"The model in the checkpoint has {refused[0]}. Received: {path}"
                ) from None
            raise InputError(
                f"Keras cannot make the model in the checkpoint ({first_line(error)}). "
                f"Received: {path}"
            ) from error
    if not compiled:
        raise InputError(f"The checkpoint holds no compiled model. Received: {path}")
    return model


def load_checkpoint(path: Path) -> keras.Model:
    """The compiled model as `save_checkpoint` found it, on whatever backend is active.

    On PyTorch its global generators are set as well.

    Raises:
        InputError: If the file is damaged, or the variables are not those that this version of
            Keras makes for the model in it.
    """
    path = Path(path)
    problem = find_problem(path)
    if problem:
        raise InputError(f"The checkpoint is not valid: {problem}. Received: {path}")
    with opened(path) as (archive, header):
        count = len(header["dtypes"])
        headers = [array_header(archive, index, header, path) for index in range(count)]
        values = sum(math.prod(found.shape) for found in headers)
        model = _make_model(header["model"], values, len(header["variables"]), path)
        variables = _variables(model)
        expected = len(header["variables"])
        if len(variables) != expected:
            raise InputError(
                f"The model in the checkpoint has {expected} variables, and "
                f"{len(variables)} with Keras {keras.__version__} on {keras.backend.backend()}; "
                f"it was written by Keras {header['keras']} on {header['backend']}. "
                f"Received: {path}"
            )
        for index, variable in enumerate(variables):
            if headers[index].shape != tuple(variable.shape):
                raise InputError(
                    f"{header['variables'][index]:.200} has shape {headers[index].shape} in the "
                    f"checkpoint and {tuple(variable.shape)} in the model. Received: {path}"
                )
            variable.assign(read_array(archive, index, header, path))
        set_rng_states(
            {
                name: read_array(archive, expected + index, header, path)
                for index, name in enumerate(header["generators"])
            }
        )
    return model
