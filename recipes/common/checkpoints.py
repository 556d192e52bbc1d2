"""A checkpoint is a `.keras` file with everything that moves in it, dropout's generators too."""

import io
import zipfile
from pathlib import Path

import keras
import numpy as np

from recipes.common.files import atomic

_SEEDS = "seeds.npz"


def _seed_states(model: keras.Model) -> list[keras.Variable]:
    # Keras numbers its generators anew in each process, so only their order can be relied on.
    return [v for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]


def save_checkpoint(model: keras.Model, path: Path) -> None:
    """Saves weights, optimizer and random states, whole or not at all.

    `model.save` leaves the states of `SeedGenerator` out, so a model with dropout that is loaded
    and trained on would differ from one that never stopped. They go into the same file, as a
    member that `keras.saving.load_model` passes over.
    """
    with atomic(path) as partial:
        model.save(partial)
        buffer = io.BytesIO()
        np.savez(buffer, *(keras.ops.convert_to_numpy(v) for v in _seed_states(model)))
        with zipfile.ZipFile(partial, "a") as archive:
            archive.writestr(_SEEDS, buffer.getvalue())


def load_checkpoint(path: Path) -> keras.Model:
    """The compiled model as `save_checkpoint` found it."""
    model = keras.saving.load_model(path)
    with zipfile.ZipFile(path) as archive:
        states = np.load(io.BytesIO(archive.read(_SEEDS)), allow_pickle=False)
    for index, variable in enumerate(_seed_states(model)):
        variable.assign(states[f"arr_{index}"])
    return model
