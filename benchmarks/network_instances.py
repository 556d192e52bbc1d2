"""Random instances of every network whose constants are proved, each inside its guards.

A kind is a function from a random generator to an `Instance`. The tests draw from the same makers.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from keras_h0h1.theory import Smoothness, problems
from keras_h0h1.theory.problems import Problem
from recipes.theory.barrier import Barrier


@dataclasses.dataclass(frozen=True)
class Instance:
    """Constants for a problem, and where they are claimed.

    Args:
        problem: The network.
        smoothness: The constants.
        points: Points inside the guards, `(m, n)`.
        restrict: A map into the set for which the constants are claimed; `None`: the whole space.
    """

    problem: Problem
    smoothness: Smoothness
    points: np.ndarray
    restrict: Callable | None = None


def sizes(random):
    """Hidden widths, and data of any scale with at least as many samples as inputs."""
    inputs, outputs = random.integers(1, 4, size=2)
    samples = int(inputs + random.integers(0, 4))
    X = random.normal(size=(inputs, samples)) * np.exp(random.normal())
    Y = random.normal(size=(outputs, samples)) * np.exp(random.normal())
    return X, Y, [int(width) for width in random.integers(1, 5, size=random.integers(1, 4))]


def deep_linear(random):
    """A linear network of depth 2 to 4."""
    return problems.DeepLinearNet(*sizes(random))


def leaky_relu(random):
    """A leaky-ReLU network of depth 2 to 4, of any slope."""
    return problems.LeakyReLUNet(*sizes(random), slope=random.uniform(0.05, 1.0))


def covariance(random, size):
    """A positive definite matrix of any scale."""
    matrix = random.normal(size=(size, size))
    matrix = matrix @ matrix.T / size + 0.05 * np.eye(size)
    return np.exp(random.normal()) * (matrix + matrix.T) / 2


def linear_attention(random):
    """Linear attention in one to three dimensions."""
    ridges = 10.0 ** random.uniform(-2, 1, size=2)
    sigma = covariance(random, int(random.integers(1, 4)))
    return problems.InContextAttention(sigma, int(random.integers(1, 20)), *ridges)


def softmax_attention(random):
    """Softmax attention on one to five tasks."""
    d, n, tasks = (int(count) for count in random.integers((1, 1, 1), (4, 7, 6)))
    x = random.normal(size=(tasks, n, d)) * np.exp(random.normal())
    query, beta = random.normal(size=(2, tasks, d)) * np.exp(random.normal())
    y, target = np.einsum("tnd,td->tn", x, beta), np.sum(query * beta, axis=1)
    ridges = 10.0 ** random.uniform(-2, 1, size=2)
    return problems.InContextSoftmaxAttention(x, y, query, target, *ridges)


def two_layer(random):
    """A two-layer network on data of any scale, with ridges from 0.01 to 100."""
    m, d, hidden = (int(count) for count in random.integers((1, 1, 1), (8, 4, 4)))
    x = random.normal(size=(m, d)) * 10.0 ** random.uniform(-1.5, 1.5)
    y = random.choice([-1.0, 1.0], size=m)
    return problems.TwoLayerNet(x, y, hidden, *10.0 ** random.uniform(-2, 2, size=2))


def barrier(random):
    """A barrier with an exponent above 1."""
    k, scale = np.exp(random.uniform(-0.6, 1.8)), np.exp(random.uniform(-2, 2))
    return Barrier(k, scale, 2 * k * scale * np.exp(random.uniform(-2.5, 0)))


def points(random, problem, count=6):
    """Points of several scales."""
    scale = 10.0 ** random.uniform(-1, 0.7, size=(count, 1))
    return random.normal(size=(count, problem.dimension)) * scale


def _level(random, problem):
    return (problem.fit_size**2 or 1.0) * np.exp(random.normal())


def balanced(random) -> Instance:
    """`DeepLinearNet` on the balanced set."""
    problem = deep_linear(random)
    smoothness = problem.certificate(level=_level(random, problem))
    inside = problem.balance(points(random, problem, 4))
    return Instance(problem, smoothness, inside, problem.restrict())


def balanced_power(random) -> Instance:
    """`DeepLinearNet` on the balanced set, with an exponent above 1."""
    problem = deep_linear(random)
    rho = float(random.uniform(1.05, 3.0))
    smoothness = problem.certificate(level=_level(random, problem), rho=rho)
    inside = problem.balance(points(random, problem, 4))
    return Instance(problem, smoothness, inside, problem.restrict())


def unbalanced(random) -> Instance:
    """`DeepLinearNet` where the imbalance is at most a number."""
    problem = deep_linear(random)
    inside = points(random, problem, 4)
    imbalance = float(np.max(problem.imbalance(inside)))
    smoothness = problem.certificate(imbalance, _level(random, problem))
    return Instance(problem, smoothness, inside, problem.restrict(imbalance))


def aligned(random) -> Instance:
    """`LeakyReLUNet`, balanced, with at least half of the median alignment of random points."""
    problem = leaky_relu(random)
    alignment = half_the_median_alignment(random, problem)
    inside = np.empty((0, problem.dimension))
    while len(inside) < 4:
        found = problem.balance(points(random, problem, 8))
        inside = np.concatenate([inside, found[problem.alignment(found) >= alignment]])
    smoothness = problem.certificate(alignment)
    return Instance(problem, smoothness, inside[:4], problem.restrict(alignment))


def half_the_median_alignment(random, problem) -> float:
    """Half of the median alignment of 64 random points."""
    alignment = float(np.median(problem.alignment(points(random, problem, 64)))) / 2
    assert alignment > 0, "a leaky network of random weights has outputs"
    return alignment


def _everywhere(make):
    def draw(random) -> Instance:
        problem = make(random)
        return Instance(problem, problem.smoothness, points(random, problem, 4))

    draw.__doc__ = make.__doc__
    return draw


def bounded(random) -> Instance:
    """A barrier, at points inside it."""
    problem = barrier(random)
    u = 1 - 10.0 ** random.uniform(-3, 0, size=4)
    inside = np.stack([u, points(random, problem, 4)[:, 1]], axis=-1)
    return Instance(problem, problem.smoothness, inside)


KINDS = {
    "DeepLinearNet, balanced": balanced,
    "LeakyReLUNet, balanced and aligned": aligned,
    "InContextAttention": _everywhere(linear_attention),
    "InContextSoftmaxAttention": _everywhere(softmax_attention),
    "TwoLayerNet": _everywhere(two_layer),
    "barrier, rho > 1": bounded,
    "DeepLinearNet, balanced, rho > 1": balanced_power,
    "DeepLinearNet, of bounded imbalance": unbalanced,
}


def _at(problem, smoothness, point) -> Instance:
    return Instance(problem, smoothness, np.atleast_2d(point))


def equal_linear(random) -> Instance:
    """Scalar linear layers beyond the target, the tangent at the point's own gap."""
    y, depth = np.exp(random.normal()), int(random.integers(2, 6))
    problem = problems.DeepLinearNet([[1.0]], [[y]], [1] * (depth - 1))
    w = np.full(depth, (y * (1 + np.exp(random.normal()))) ** (1 / depth))
    return _at(problem, problem.certificate(level=float(problem.gap(w))), w)


def equal_leaky(random) -> Instance:
    """Scalar leaky layers on their linear piece."""
    y, depth = np.exp(random.normal()), int(random.integers(2, 6))
    slope = random.uniform(0.05, 1.0)
    problem = problems.LeakyReLUNet([[1.0]], [[y]], [1] * (depth - 1), slope)
    w = np.full(depth, (y * (1 + np.exp(random.normal()))) ** (1 / depth))
    return _at(problem, problem.certificate(1.0, level=float(problem.value(w))), w)


def equal_attention(random) -> Instance:
    """Linear attention in one dimension, v = Q, a residual of ridge / (2 tau)."""
    sigma, n, ridge = np.exp(random.normal()), int(random.integers(1, 20)), np.exp(random.normal())
    problem = problems.InContextAttention([[sigma]], n, ridge, ridge)
    tau = np.sqrt((1 + 2 / n) * sigma**3)
    v = np.sqrt((ridge / (2 * tau) + sigma**2 / tau) / tau)
    return _at(problem, problem.smoothness, [v, v])


EQUAL = {
    "DeepLinearNet, scalar layers": equal_linear,
    "LeakyReLUNet, scalar layers": equal_leaky,
    "InContextAttention, one dimension": equal_attention,
}
