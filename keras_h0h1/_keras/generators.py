"""Global random generators, which a measurement must leave as they were."""

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Puts every global random generator back where it was when the block began.

    Keras' own is a `SeedGenerator` without a public name, made when it is first asked for; its
    seed comes from Python's generator. NumPy's global one may be drawn from by the user's data.
    On PyTorch dropout draws from PyTorch's. TensorFlow's ops in Keras are stateless.
    """
    from keras.src.backend.common import global_state

    name = "global_seed_generator"
    generator = global_state.get_global_attribute(name)
    seed = None if generator is None else ops.convert_to_numpy(generator.state).copy()
    python, numpy_state = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            import torch

            stack.enter_context(torch.random.fork_rng())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
            if generator is None:
                global_state.set_global_attribute(name, None)
            else:
                generator.state.assign(seed)
