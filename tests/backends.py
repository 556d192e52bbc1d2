"""On which backends a test runs: on all of them, unless what it is about cannot differ there."""

import keras
import pytest


def only_on(*backends: str, reason: str) -> pytest.MarkDecorator:
    """Skips on the other backends. The reason says why these are enough.

    A test of files, options or processes runs once. What trains, saves or resumes runs on
    TensorFlow and JAX; on PyTorch, one test of a kind.
    """
    return pytest.mark.skipif(keras.backend.backend() not in backends, reason=reason)
