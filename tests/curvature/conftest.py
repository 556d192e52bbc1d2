"""Double precision all the way, which Keras alone gives on TensorFlow only."""

import pytest
from keras.src.backend.common import dtypes


@pytest.fixture
def double(float64, monkeypatch):
    """As `float64`, and Keras' operations keep it.

    On JAX and PyTorch Keras' type promotion turns float64 into float32 inside `ops.cosh`,
    `ops.mean` and most others, whatever `floatx` is: a test of second derivatives to 1e-12 has to
    take that entry out of its table.
    """
    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
