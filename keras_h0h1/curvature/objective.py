"""A model's loss as a function of one flat vector of weights."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _autodiff, _keras
from keras_h0h1._types import Data, Tensor
from keras_h0h1.curvature.batches import Batches, examples
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.selection import select_variables


class Objective:
    r"""Loss, gradient, Hessian and Gauss-Newton products of a Keras model on given batches.

    $f(w) = \frac{1}{n} \sum_b n_b f_b(w)$, the mean over the examples of the batches $b$ of the
    total objective: the loss, the weights' regularisers and `add_loss`. Vectors are flat, in the
    order of `model.trainable_variables`, of dtype float32 (float64 where a variable is), on the
    device.

    It never changes the model: the forward pass runs in a `keras.StatelessScope`, with dropout
    off and BatchNorm on its moving averages; updates of statistics, metrics and seeds are thrown
    away. It may be used between two steps of `fit`, on every backend, and always speaks of the
    weights of that moment. Each product is compiled once per shape of batch; `compilations` counts.

    Hessian-vector products are $Hv = \frac{d}{dt} \nabla f(w + tv)$, at about the price of two
    gradients; the Gauss-Newton product is $J^\top (\nabla^2_z L) J v$ with $J$ the Jacobian
    of the model's outputs $z$ and $L$ the loss: positive semi-definite for a convex $L$. It leaves
    out the regularisers, and depends on what the model calls its output: have it end in logits.

    Args:
        model: A built Keras model.
        loss: What to differentiate. `None`: the compiled objective. A Keras loss or its name; or
            a function `loss(y, y_pred)`, whose mean is taken. To either, regularisers are added.
        layers: Which weights, as in `select_variables`; default: all that are trainable. The
            others are constants.
        training: The `training` argument of the forward pass. `True` puts dropout on, with the
            same mask at each evaluation until training moves the seed.
        jit_compile: Whether to compile with XLA. `"auto"`: yes; on TensorFlow only the gradient,
            and without it where an operation cannot be. `False` on JAX: eager. PyTorch is always
            eager.

    Example: the curvature of $\frac12 \|Xw - y\|^2 / n$ is the covariance $X^\top X / n$.

    >>> X = np.array([[1.0, 0.0], [0.0, 2.0]], "float32")
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    >>> objective = Objective(model, loss=lambda y, p: 0.5 * (p - y) ** 2)
    >>> hessian = objective.hessian((X, np.zeros((2, 1), "float32")))
    >>> [float(value) for value in hessian.matvec(hessian.vector([1.0, 1.0]))]
    [0.5, 2.0]
    """

    def __init__(
        self,
        model: keras.Model,
        loss: str | Callable | keras.losses.Loss | None = None,
        *,
        layers: Callable | Sequence | None = None,
        training: bool = False,
        jit_compile: bool | str = "auto",
    ) -> None:
        if not model.built:
            raise ValueError(f"`model` must be built. Received: model={model!r}")
        if loss is None and getattr(model, "_compile_loss", None) is None and not model.losses:
            # A subclass may compute its loss itself; only a plain model can be known to lack one.
            if type(model).compute_loss is keras.Model.compute_loss:
                raise ValueError(
                    "Without `loss` the model must be compiled with one. Received: loss=None"
                )
        self.model = model
        self.indices = select_variables(model, layers)
        self._loss = keras.losses.get(loss) if isinstance(loss, str) else loss
        self._training = bool(training)
        self._shapes = [tuple(model.trainable_variables[i].shape) for i in self.indices]
        self.sizes = [int(np.prod(shape)) for shape in self._shapes]
        self.size = sum(self.sizes)
        double = any(v.dtype == "float64" for v in model.trainable_variables)
        self.dtype = "float64" if double else "float32"
        self.compilations = 0
        self._compiled_gradient = self._compile(self._gradient, jit_compile)
        self._compiled_hessian = self._compile(self._hessian_product, jit_compile, True)
        self._compiled_gauss_newton = self._compile(self._gauss_newton_product, jit_compile, True)
        self._compiled_loss = self._compile(self._loss_value, jit_compile)

    def _compile(self, function, jit_compile, second_order=False):
        def on_compile():
            self.compilations += 1

        return _autodiff.compile(function, on_compile, jit_compile, second_order)

    # The pure functions that are compiled. `values` are the selected weights, `rest` the others.

    def _scope(self, values, rest, state):
        trainable = dict(zip(self.indices, values, strict=True))
        others = [i for i in range(len(values) + len(rest)) if i not in trainable]
        trainable.update(zip(others, rest, strict=True))
        variables = self.model.trainable_variables
        mapping = [(variables[i], trainable[i]) for i in sorted(trainable)]
        mapping += list(zip(self._state_variables, state, strict=True))
        return keras.StatelessScope(mapping, collect_losses=True)

    def _total(self, y, y_pred, x, weight):
        if self._loss is None:
            total = _keras.compiled_loss(self.model, x, y, y_pred, weight, self._training)
        else:
            if isinstance(self._loss, keras.losses.Loss):
                total = self._loss(y, y_pred, sample_weight=weight)
            else:
                total = self._loss(y, y_pred)
                total = ops.mean(total if weight is None else total * weight)
            for extra in self.model.losses:
                total = total + ops.sum(ops.cast(extra, total.dtype))
        return ops.cast(total, self.dtype)

    def _value(self, values, rest, state, batch):
        x, y, weight = batch
        with self._scope(values, rest, state):
            y_pred = _keras.call_model(self.model, x, self._training)
            return self._total(y, y_pred, x, weight)

    def _flat(self, tensors):
        return ops.concatenate([ops.reshape(ops.cast(t, self.dtype), (-1,)) for t in tensors])

    def _unflat(self, vector, values):
        parts, offset = [], 0
        for size, shape, value in zip(self.sizes, self._shapes, values, strict=True):
            part = ops.reshape(vector[offset : offset + size], shape)
            parts.append(ops.cast(part, value.dtype))
            offset += size
        return parts

    def _loss_value(self, values, rest, state, batch):
        return self._value(values, rest, state, batch)

    def _gradient(self, values, rest, state, batch):
        loss, gradients = _autodiff.value_and_grad(
            lambda w: self._value(w, rest, state, batch), values
        )
        # The weights too: outside a compiled function, bringing a hundred variables into one
        # vector takes TensorFlow as long as the gradient of a few examples.
        return loss, self._flat(gradients), _autodiff.copy(self._flat(values))

    def _hessian_product(self, values, rest, state, batch, vector):
        return self._flat(
            _autodiff.hvp(
                lambda w: self._value(w, rest, state, batch), values, self._unflat(vector, values)
            )
        )

    def _gauss_newton_product(self, values, rest, state, batch, vector):
        x, y, weight = batch
        structure: list[Any] = []

        def inner(weights):
            with self._scope(weights, rest, state):
                y_pred = _keras.call_model(self.model, x, self._training)
            structure[:] = [y_pred]
            return keras.tree.flatten(y_pred)

        def outer(outputs):
            with self._scope(values, rest, state):
                y_pred = keras.tree.pack_sequence_as(structure[0], outputs)
                return self._total(y, y_pred, x, weight)

        tangents = self._unflat(vector, values)
        return self._flat(_autodiff.gnvp(inner, outer, values, tangents))

    # What users call.

    def _arguments(self):
        # Listed again: the compiled loss of several outputs makes its metrics at the first call.
        self._state_variables = _keras.state_variables(self.model)
        trainable = _keras.trainable_values(self.model)
        chosen = set(self.indices)
        values = [trainable[i] for i in self.indices]
        rest = [value for i, value in enumerate(trainable) if i not in chosen]
        return values, rest, _keras.state_values(self.model)

    def _mean(self, function, batches, arguments, *extra):
        """Mean over the examples of all batches; one batch in memory at a time."""
        mean, count = None, 0
        for batch in Batches.of(batches):
            result = function(*arguments, batch, *extra)
            count += examples(batch)
            if mean is None:
                mean = result
                continue
            share = examples(batch) / count
            if isinstance(result, tuple):
                mean = tuple(
                    old + share * (new - old) for old, new in zip(mean, result, strict=True)
                )
            else:
                mean = mean + share * (result - mean)
        return mean

    def weights(self) -> Tensor:
        """The selected weights as one flat vector: a copy, which later steps leave alone."""
        return _autodiff.copy(self._flat(self._arguments()[0]))

    def wait(self) -> None:
        """Returns when the step that computes the current weights is done, to time what follows."""
        _autodiff.wait(self._arguments()[0])

    def loss(self, batches: Data) -> float:
        """The objective at the current weights, as a Python float."""
        return float(self._mean(self._compiled_loss, batches, self._arguments()))

    def gradient(self, batches: Data) -> tuple[Tensor, Tensor]:
        """`(loss, gradient)` at the current weights: a scalar tensor and a flat vector."""
        return self.snapshot(batches)[:2]

    def snapshot(self, batches: Data) -> tuple[Tensor, Tensor, Tensor]:
        """`(loss, gradient, weights)` of this moment; later steps leave all three alone."""
        return self._mean(self._compiled_gradient, batches, self._arguments())

    def hessian(self, batches: Data) -> Operator:
        """The Hessian. It follows the model: each product takes the weights of that moment."""
        return self._operator(self._compiled_hessian, batches)

    def gauss_newton(self, batches: Data) -> Operator:
        """The generalised Gauss-Newton matrix; it follows the model as `hessian` does."""
        return self._operator(self._compiled_gauss_newton, batches)

    def _operator(self, product, batches):
        batches = Batches.of(batches)

        def matvec(vector):
            # Read again each time: on JAX a training step frees the tensors of the one before.
            return self._mean(product, batches, self._arguments(), vector)

        return Operator(self.size, matvec, self.dtype)

    def mask(self, layers: Any) -> Tensor:
        """A 0/1 vector of the weights in `layers`: `hessian(...).scaled(mask)` is their block.

        All blocks share the compiled product of the whole.
        """
        chosen = set(select_variables(self.model, layers))
        parts = [
            np.full(size, float(index in chosen), self.dtype)
            for index, size in zip(self.indices, self.sizes, strict=True)
        ]
        if not any(part.any() for part in parts if part.size):
            raise ValueError(
                f"No selected weight lies in these layers. Received: layers={layers!r}"
            )
        return _autodiff.device_array(np.concatenate(parts))
