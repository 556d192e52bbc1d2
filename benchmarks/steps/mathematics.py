"""The loss of each case, once, over the few functions that each backend brings.

`ops` is one of `by_jax.OPS`, `by_tensorflow.OPS`, `by_torch.OPS`: the backend's own functions. A
compiler sees what it would see without this layer. Dense products are written on two axes, the form
that is fastest with XLA on a CPU (`recipes.common.training.products` says why).
"""

import math

import numpy as np

from benchmarks.steps.cases import Case
from recipes.vision.model import ViT

# KerasHub's.
_GPT_EPSILON, _VIT_EPSILON, _RESNET_EPSILON = 1e-5, 1e-6, 1e-5
_MOMENTUM = 0.9


def loss(ops, case: Case, weights: dict, stats: dict, x, y):
    """The mean loss of a batch, and the moving statistics after it."""
    if case.is_text:
        return _gpt(ops, case, weights, x, y), stats
    if isinstance(case.shape, ViT):
        logits = _vit(ops, case, weights, x)
    else:
        logits, stats = _resnet(ops, case, weights, stats, x)
    return ops.mean(ops.logsumexp(logits) - ops.sum(logits * y)), stats


def _norm(ops, weights, x, epsilon):
    return ops.layer_norm(x, weights["scale"], weights["shift"], epsilon)


def _product(ops, x, kernel):
    """On two axes; the result has the input's leading axes."""
    rows = ops.reshape(x, (-1, kernel.shape[0]))
    return ops.reshape(rows @ kernel, (-1, *x.shape[1:-1], kernel.shape[1]))


def _dense(ops, weights, x):
    return _product(ops, x, weights["kernel"]) + weights["bias"]


def _blocks(ops, weights, x, heads, causal, gelu, epsilon):
    _, length, width = x.shape
    shape = (-1, length, 3, heads, width // heads)
    for block in weights["blocks"]:
        attention = block["attention"]
        parts = ops.reshape(_dense(ops, attention, _norm(ops, block["norm_1"], x, epsilon)), shape)
        q, k, v = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
        scores = ops.einsum("btnk,bsnk->bnts", q, k) * (width // heads) ** -0.5
        if causal:
            scores = ops.masked(scores, np.tri(length, dtype=bool))
        mixed = ops.einsum("bnts,bsnk->btnk", ops.softmax(scores), v)
        mixed = ops.reshape(mixed, (-1, length, width))
        x = x + _product(ops, mixed, attention["out_kernel"]) + attention["out_bias"]
        hidden = gelu(_dense(ops, block["up"], _norm(ops, block["norm_2"], x, epsilon)))
        x = x + _dense(ops, block["down"], hidden)
    return _norm(ops, weights["norm"], x, epsilon)


def _gpt(ops, case, weights, x, y):
    hidden = ops.take(weights["tokens"], x) + weights["positions"]
    heads = case.shape.heads
    hidden = _blocks(ops, weights, hidden, heads, True, ops.gelu_tanh, _GPT_EPSILON)
    rows = ops.reshape(hidden, (-1, case.shape.width))
    logits = ops.einsum("rd,vd->rv", rows, weights["tokens"])
    return ops.cross_entropy(logits, ops.reshape(y, (-1,)))


def _vit(ops, case, weights, x):
    size, (height, width, channels) = case.shape.patch, case.image
    grid = (-1, height // size, size, width // size, size, channels)
    patches = ops.transpose(ops.reshape(x, grid), (0, 1, 3, 2, 4, 5))
    count = (height // size) * (width // size)
    patches = ops.reshape(patches, (-1, count, size * size * channels))
    x = _dense(ops, weights["patches"], patches) + weights["positions"]
    x = _blocks(ops, weights, x, case.shape.heads, False, ops.gelu_erf, _VIT_EPSILON)
    return _dense(ops, weights["head"], ops.mean(x, (1,)))


def _resnet(ops, case, weights, stats, x):
    after = {}

    def unit(name, x, stride=1):
        own = weights[name]
        x = ops.conv(x, own["kernel"], stride)
        mean, variance = ops.mean(x, (0, 1, 2)), ops.variance(x, (0, 1, 2))
        after[name] = {
            key: _MOMENTUM * stats[name][key] + (1 - _MOMENTUM) * ops.constant(new)
            for key, new in (("mean", mean), ("variance", variance))
        }
        factor = own["scale"] / ops.sqrt(variance + _RESNET_EPSILON)
        return x * factor + (own["shift"] - mean * factor)

    x = ops.relu(unit("stem", x))
    for stack, blocks in enumerate(case.shape.blocks):
        for block in range(blocks):
            name = f"stack{stack}_block{block}"
            stride = 2 if stack and not block else 1
            shortcut = unit(f"{name}_0", x, stride) if f"{name}_0" in weights else x
            y = ops.relu(unit(f"{name}_1", x, stride))
            x = ops.relu(shortcut + unit(f"{name}_2", y))
    return _dense(ops, weights["head"], ops.mean(x, (1, 2))), after


def same(losses: list[float], others: list[float]) -> bool:
    """Whether two steps do the same work, by the losses that they report."""
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(losses, others, strict=True))
