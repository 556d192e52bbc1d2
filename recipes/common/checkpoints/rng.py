"""RNG states of PyTorch's global generators, which Keras' dropout draws from there.

TensorFlow and JAX draw from the model's own `SeedGenerator`s; for them nothing here has an effect.
"""

from typing import Any

import keras
import numpy as np


def rng_states() -> dict[str, np.ndarray]:
    """The states outside the model that decide what training draws, by name; uint8 arrays."""
    if keras.backend.backend() != "torch":
        return {}
    import torch

    states: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        for index, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"torch_cuda_{index}"] = state
    return {name: np.array(state.numpy()) for name, state in states.items()}


def set_rng_states(states: dict[str, np.ndarray]) -> None:
    """Puts back what `rng_states` returned; states of another backend are passed over."""
    if keras.backend.backend() != "torch":
        return
    import torch

    for name, state in states.items():
        if name == "torch":
            torch.set_rng_state(torch.from_numpy(state))
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(torch.from_numpy(state), int(name.rpartition("_")[2]))


class RNGStateKeeper(keras.callbacks.Callback):
    """Restores the RNG states of the last update before the next one.

    On PyTorch each iteration over data draws a seed, so that without this the number of
    evaluations, checkpoints and resumptions would change the dropout of all later updates.
    """

    def __init__(self):
        super().__init__()
        self.states = rng_states()

    def restore(self) -> None:
        """Sets the RNG states that the last update left; call it before a checkpoint."""
        set_rng_states(self.states)

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.restore()

    def on_train_end(self, logs=None):
        self.states = rng_states()
