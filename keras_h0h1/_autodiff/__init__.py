"""First and second derivatives, one module per backend with the same functions.

| function | result |
|---|---|
| `value_and_grad(fn, primals)` | the value of `fn` and its gradient |
| `hvp(fn, primals, tangents)` | Hessian-vector product |
| `gnvp(inner, outer, primals, tangents)` | Gauss-Newton product of `outer(inner(primals))` |
| `compile(fn, on_compile, jit_compile, second_order)` | `fn`, compiled where the backend can |
| `read(variable)` | the value of a Keras variable |
| `copy(tensor)` | a copy with its own buffer |
| `device_array(array)` | a NumPy array on the device |
| `without(vector, direction)` | `vector` less its projection on a unit vector |
| `dot(a, b)` | inner product of two flat vectors |
| `wait(tensors)` | returns when the tensors are computed |

`fn`, `inner` and `outer` are pure functions of a list of tensors; derivatives are lists of tensors.
A new backend: a module of its own here with these functions, and a branch below.
"""

import keras

BACKEND = keras.backend.backend()

# Branches, not `importlib`: each backend's module imports a package that may not be installed,
# and a type checker or an editor can follow these names.
if BACKEND == "jax":
    from keras_h0h1._autodiff.jax import (
        compile,
        copy,
        device_array,
        dot,
        gnvp,
        hvp,
        read,
        value_and_grad,
        wait,
        without,
    )
elif BACKEND == "tensorflow":
    from keras_h0h1._autodiff.tensorflow import (
        compile,
        copy,
        device_array,
        dot,
        gnvp,
        hvp,
        read,
        value_and_grad,
        wait,
        without,
    )
elif BACKEND == "torch":
    from keras_h0h1._autodiff.torch import (
        compile,
        copy,
        device_array,
        dot,
        gnvp,
        hvp,
        read,
        value_and_grad,
        wait,
        without,
    )
else:
    raise ImportError(
        "keras_h0h1.curvature needs second derivatives, which the backend does not have. "
        f"Received: KERAS_BACKEND={BACKEND!r}"
    )

__all__ = [
    "BACKEND",
    "compile",
    "copy",
    "device_array",
    "dot",
    "gnvp",
    "hvp",
    "read",
    "value_and_grad",
    "wait",
    "without",
]
