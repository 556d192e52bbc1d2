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
