"""Matrix products of a model's layers on two axes, as XLA's compiler for CPUs wants them.

A Transformer's layers multiply `(batch, time, width)` by a kernel, and the kernel's gradient sums
over batch and time. XLA:CPU (JAX 0.10) first brings both factors of such a sum into an order of its
own, each by a copy, and fuses into that copy whatever made the factor: the gradient of the residual
stream, a sum over all later blocks, is computed anew for each kernel that needs it. Written as
`(batch * time, width)` the sum is a plain matrix product, and the copies are gone.

TensorFlow's `einsum` leaves more transpositions in the program than a product on two axes does.
PyTorch runs its operations one by one, where the extra reshapes only cost.

What touches Keras' internals for this is `_layers_of` alone.
"""

import math

import keras
from keras import ops


def contracted_axes(equation: str) -> int:
    """How many axes a product sums over: the input's last ones with the kernel's first; else 0.

    Example:

    >>> contracted_axes("abc,cde->abde"), contracted_axes("bquh,uhm->bqm")
    (1, 2)

    Other products have no such form on two axes.

    >>> contracted_axes("abc,dce->abde")
    0
    """
    operands, result = equation.split("->")
    left, right = operands.split(",")
    for axes in range(1, len(right)):
        if left.endswith(right[:axes]) and result == left[:-axes] + right[axes:]:
            return axes
    return 0


class _OnTwoAxes:
    """A layer's `call` with its product on two axes."""

    def __init__(self, layer: keras.layers.Layer):
        self.layer, self.call = layer, layer.call

    def __call__(self, inputs, *args, **kwargs):
        layer = self.layer
        if isinstance(layer, keras.layers.ReversibleEmbedding) and not kwargs.get("reverse"):
            return self.call(inputs, *args, **kwargs)  # Ids to vectors: there is no product.
        if None in inputs.shape[1:]:
            return self.call(inputs, *args, **kwargs)  # Only the batch can be left open below.
        if isinstance(layer, keras.layers.EinsumDense):
            return self._einsum(inputs)
        rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
        result = self.call(rows, *args, **kwargs)
        return ops.reshape(result, (-1, *inputs.shape[1:-1], result.shape[-1]))

    def _einsum(self, inputs):
        layer, axes = self.layer, contracted_axes(self.layer.equation)
        kernel = ops.convert_to_tensor(layer.kernel)
        width = math.prod(kernel.shape[:axes])
        result = ops.reshape(inputs, (-1, width)) @ ops.reshape(kernel, (width, -1))
        result = ops.reshape(result, (-1, *inputs.shape[1:-axes], *kernel.shape[axes:]))
        if layer.bias is not None:
            result = result + layer.bias
        return result if layer.activation is None else layer.activation(result)


def _layers_of(model):
    # Public are the layers of a functional model, but not those inside a layer.
    return model._flatten_layers()


def _multiplies(layer) -> bool:
    if isinstance(layer, keras.layers.EinsumDense):
        return contracted_axes(layer.equation) > 0
    return isinstance(layer, keras.layers.Dense | keras.layers.ReversibleEmbedding)


def on_two_axes(model: keras.Model) -> None:
    """Makes dense layers, einsum layers and reversible embeddings multiply on two axes.

    Results differ by rounding alone. A second call changes nothing.

    Args:
        model: As built or as loaded, its weights in place; nothing of this is saved with it.
    """
    for layer in _layers_of(model):
        if _multiplies(layer) and not isinstance(layer.call, _OnTwoAxes):
            layer.call = _OnTwoAxes(layer)


def compiled_for_cpu() -> bool:
    """Whether JAX or TensorFlow compiles training steps for a CPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # Those of a target, while a step is traced for one.
        return jax.devices()[0].platform == "cpu"
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices()
        return not any(device.device_type in ("GPU", "TPU") for device in devices)
    return False


def suit_compiler(model: keras.Model) -> None:
    """Arranges a model's products as the compiler of its training step handles them best."""
    if compiled_for_cpu():
        on_two_axes(model)


def on_all_axes(model: keras.Model) -> None:
    """Gives the layers their own `call` again, before they are put into another model."""
    for layer in _layers_of(model):
        if isinstance(layer.call, _OnTwoAxes):
            layer.call = layer.call.call
