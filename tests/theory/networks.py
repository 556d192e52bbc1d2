"""The networks' losses written a second time, for automatic differentiation."""

from keras import ops


def tensor(array, w):
    return ops.convert_to_tensor(array, dtype=w.dtype)


def network_loss(problem, w):
    """The loss of a deep linear or leaky-ReLU network by `keras.ops.matmul`."""
    slope, start, a = getattr(problem, "slope", 1.0), 0, tensor(problem.X, w)
    shapes = problem.layers.shapes
    for index, shape in enumerate(shapes):
        size = shape[0] * shape[1]
        a = ops.matmul(ops.reshape(w[start : start + size], shape), a)
        start += size
        if index < len(shapes) - 1:
            a = ops.maximum(a, slope * a)
    return ops.sum(ops.square(a - tensor(problem.Y, w))) / 2


def linear_attention_loss(problem, w):
    """The mean over the tasks as the squared norm of v S^(1/2) Q - ..., by `keras.ops.matmul`."""
    S, Gamma = tensor(problem.covariance, w), tensor(problem.second_moment, w)
    Q = w[0] * ops.reshape(w[1:], S.shape)
    error = ops.trace(ops.matmul(ops.matmul(Gamma, Q), ops.matmul(S, ops.transpose(Q))))
    error = error - 2 * ops.trace(ops.matmul(S, ops.matmul(Q, S))) + ops.trace(S)
    ridge = problem.ridge_v * w[0] ** 2 + problem.ridge_Q * ops.sum(ops.square(w[1:]))
    return (error + ridge) / 2


def softmax_attention_loss(problem, w):
    """The mean over the tasks, one at a time, by `keras.ops.softmax`."""
    d, total = problem.x.shape[-1], 0.0
    Q = ops.reshape(w[1:], (d, d))
    for x, y, query, target in zip(
        problem.x, problem.y, problem.query, problem.target, strict=True
    ):
        z = ops.matmul(tensor(x, w), ops.matmul(Q, tensor(query, w)))
        total = total + (w[0] * ops.sum(ops.softmax(z) * tensor(y, w)) - target) ** 2
    ridge = problem.ridge_v * w[0] ** 2 + problem.ridge_Q * ops.sum(ops.square(w[1:]))
    return (total / len(problem.target) + ridge) / 2


def two_layer_loss(problem, w):
    """The logistic loss by log1p, tanh by one exponential."""
    k = problem.hidden
    W = ops.reshape(w[k:], (k, -1))
    active = 1 - 2 / (1 + ops.exp(2 * ops.matmul(tensor(problem.x, w), ops.transpose(W))))
    margins = tensor(problem.y, w) * ops.matmul(active, w[:k])
    ridge = problem.ridge_v * ops.sum(ops.square(w[:k]))
    ridge = ridge + problem.ridge_W * ops.sum(ops.square(w[k:]))
    return ops.sum(ops.log1p(ops.exp(-margins))) + ridge / 2


def chain_loss(problem, w):
    """The squared error of a product of scalars."""
    return (problem.y - problem.x * ops.prod(w)) ** 2
