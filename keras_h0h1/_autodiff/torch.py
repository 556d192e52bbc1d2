"""PyTorch: backward twice."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch
from keras.src.backend.torch.core import get_device  # Keras has no public name for it.

from keras_h0h1._autodiff.attention import twice_differentiable
from keras_h0h1._types import ArrayLike, Function, Tensor


@contextlib.contextmanager
def _differentiable():
    # The plain attention formula and the unfused RNN have second derivatives.
    with (
        twice_differentiable(),
        torch.enable_grad(),
        torch.backends.cudnn.flags(enabled=False),
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        yield


def _leaves(primals):
    return [primal.detach().requires_grad_() for primal in primals]


def _grad(outputs, inputs, weights=None, create_graph=False):
    gradients = torch.autograd.grad(
        outputs,
        inputs,
        weights,
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
    )
    return [
        torch.zeros_like(x) if gradient is None else gradient
        for gradient, x in zip(gradients, inputs, strict=True)
    ]


def _grad_of_connected(outputs, inputs, weights):
    # A gradient that does not depend on the weights (a linear loss) has no graph.
    pairs = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(x) for x in inputs]
    outputs, weights = zip(*pairs, strict=True)
    return _grad(outputs, inputs, weights)


def value_and_grad(fn: Function, primals: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    with torch.enable_grad():
        leaves = _leaves(primals)
        value = fn(leaves)
        return value.detach(), _grad(value, leaves)


def hvp(fn: Function, primals: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    with _differentiable():
        leaves = _leaves(primals)
        gradients = _grad(fn(leaves), leaves, create_graph=True)
        return _grad_of_connected(gradients, leaves, tangents)


def gnvp(
    inner: Function, outer: Function, primals: list[Tensor], tangents: list[Tensor]
) -> list[Tensor]:
    with _differentiable():
        leaves = _leaves(primals)
        outputs = inner(leaves)
        # An output that does not depend on the weights has no part in the product.
        linked = [i for i, output in enumerate(outputs) if output.requires_grad]
        live = [outputs[i] for i in linked]
        dummies = [torch.zeros_like(output).requires_grad_() for output in live]
        pulled = _grad(live, leaves, dummies, create_graph=True)
        pushed = _grad_of_connected(pulled, dummies, tangents)

        def outer_of_live(values):
            merged = dict(zip(linked, values, strict=True))
            return outer([merged.get(i, output) for i, output in enumerate(outputs)])

        return _grad(live, leaves, hvp(outer_of_live, live, pushed))


def compile(
    fn: Function,
    on_compile: Callable[[], None],
    jit_compile: bool | str = "auto",
    second_order: bool = False,
) -> Callable[..., Any]:
    # Eager: torch.compile does not differentiate twice.
    def call(*args):
        # Keras' dropout draws from PyTorch's own generator, not from Keras' seeds.
        with torch.random.fork_rng():
            return fn(*args)

    return call


def read(variable: keras.Variable) -> Tensor:
    return variable.value.detach()


def copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def device_array(array: ArrayLike) -> Tensor:
    return torch.as_tensor(array, device=get_device())


def without(vector: Tensor, direction: Tensor) -> Tensor:
    return vector - torch.dot(direction, vector) * direction


def dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a, b)


def wait(tensors: Sequence[Tensor]) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
