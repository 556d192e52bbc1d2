"""One formula for Python numbers, NumPy arrays and tensors of the active backend."""

from typing import Any

import numpy as np
from keras import ops


def namespace(*arguments: Any) -> Any:
    """`keras.ops` if an argument is a tensor, else NumPy: the same formula serves both."""
    return ops if any(ops.is_tensor(argument) for argument in arguments) else np
