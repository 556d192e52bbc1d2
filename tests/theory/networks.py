"""Random networks, and their losses written a second time for automatic differentiation."""

import numpy as np
from keras import ops

from keras_h0h1.theory import problems


def sizes(random):
    """Hidden widths, and data of any scale with at least as many samples as inputs."""
    inputs, outputs = random.integers(1, 4, size=2)
    samples = int(inputs + random.integers(0, 4))
    X = random.normal(size=(inputs, samples)) * np.exp(random.normal())
    Y = random.normal(size=(outputs, samples)) * np.exp(random.normal())
    return X, Y, [int(width) for width in random.integers(1, 5, size=random.integers(1, 4))]


def deep_linear(random):
    return problems.DeepLinearNet(*sizes(random))


def leaky_relu(random):
    return problems.LeakyReLUNet(*sizes(random), slope=random.uniform(0.05, 1.0))


def points(random, problem, count=6):
    """Points of several scales."""
    scale = 10.0 ** random.uniform(-1, 0.7, size=(count, 1))
    return random.normal(size=(count, problem.dimension)) * scale


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


def covariance(random, size):
    matrix = random.normal(size=(size, size))
    matrix = matrix @ matrix.T / size + 0.05 * np.eye(size)
    return np.exp(random.normal()) * (matrix + matrix.T) / 2


def linear_attention(random):
    ridges = 10.0 ** random.uniform(-2, 1, size=2)
    sigma = covariance(random, int(random.integers(1, 4)))
    return problems.InContextAttention(sigma, int(random.integers(1, 20)), *ridges)


def softmax_attention(random):
    d, n, tasks = (int(count) for count in random.integers((1, 1, 1), (4, 7, 6)))
    x = random.normal(size=(tasks, n, d)) * np.exp(random.normal())
    query, beta = random.normal(size=(2, tasks, d)) * np.exp(random.normal())
    y, target = np.einsum("tnd,td->tn", x, beta), np.sum(query * beta, axis=1)
    ridges = 10.0 ** random.uniform(-2, 1, size=2)
    return problems.InContextSoftmaxAttention(x, y, query, target, *ridges)


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
