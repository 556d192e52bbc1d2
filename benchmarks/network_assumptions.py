"""Constants claimed where one of their assumptions does not hold, for `theory.certify` to break."""

import numpy as np

from benchmarks import network_instances as instances
from benchmarks.network_instances import Instance
from keras_h0h1.theory import problems

NOTHING = 1e-9  # a ridge that is as good as none, where 0 is refused


def _claim(problem, smoothness, restrict=None) -> Instance:
    return Instance(problem, smoothness, np.empty((0, problem.dimension)), restrict)


def _data(random):
    """Two inputs, one output, three samples."""
    return random.normal(size=(2, 3)), random.normal(size=(1, 3))


def rank(random) -> Instance:
    """Data of rank 1 in two dimensions, the constants of the one direction that they have.

    All points are balanced.
    """
    X, Y = np.outer(random.normal(size=2), random.normal(size=3)), random.normal(size=(1, 3))
    flat = problems.DeepLinearNet(X, Y, [2])
    direction = np.linalg.svd(X)[0][:, :1]
    claimed = problems.DeepLinearNet(direction.T @ X, Y, [2]).certificate(level=1.0)
    return _claim(flat, claimed, flat.restrict())


def linear_balance(random) -> Instance:
    """The constants of balanced linear layers, everywhere."""
    problem = problems.DeepLinearNet(*_data(random), [2])
    return _claim(problem, problem.certificate())


def leaky_balance(random) -> Instance:
    """The constants of balanced and aligned leaky layers, wherever the network is so aligned."""
    problem = problems.LeakyReLUNet(*_data(random), [3], 0.2)
    alignment = instances.half_the_median_alignment(random, problem)

    def aligned(points):
        return np.where((problem.alignment(points) >= alignment)[:, None], points, np.nan)

    return _claim(problem, problem.certificate(alignment), aligned)


def alignment(random) -> Instance:
    """The constants for half of the median alignment, wherever the layers are balanced."""
    problem = problems.LeakyReLUNet(*_data(random), [3], 0.2)
    claimed = problem.certificate(instances.half_the_median_alignment(random, problem))
    return _claim(problem, claimed, problem.balance)


def _attention(random, ridge_v, ridge_Q, ridge=0.2):
    problem = problems.InContextAttention(
        instances.covariance(random, 2), 8, ridge_v=ridge_v, ridge_Q=ridge_Q
    )
    return _claim(problem, problem.certificate(ridge=ridge))


def linear_ridge_v(random) -> Instance:
    """Linear attention without a ridge on v, the constants of a ridge of 0.2."""
    return _attention(random, 0.0, 0.2)


def linear_ridge_Q(random) -> Instance:
    """Linear attention without a ridge on Q, the constants of a ridge of 0.2."""
    return _attention(random, 0.2, 0.0)


def softmax_ridge_v(random) -> Instance:
    """Softmax attention without a ridge on v, targets of mean 0 in each task."""
    sample = problems.InContextSoftmaxAttention.sample(2, 4, 2, int(random.integers(1000)))
    y = sample.y - np.mean(sample.y, axis=1, keepdims=True)
    problem = problems.InContextSoftmaxAttention(
        sample.x, y, sample.query, sample.target, ridge_v=0.0, ridge_Q=0.0
    )
    return _claim(problem, problem.certificate(ridge=0.1))


def _two_layer(random, samples, scale, ridge_v, ridge_W):
    x = scale * random.normal(size=(samples, 2))
    y = random.choice([-1.0, 1.0], size=samples)
    claimed = problems.TwoLayerNet(x, y, 2).smoothness  # ridges of 1
    return _claim(problems.TwoLayerNet(x, y, 2, ridge_v, ridge_W), claimed)


def two_layer_ridge_v(random) -> Instance:
    """Two layers with next to no ridge on v, the constants of a ridge of 1."""
    return _two_layer(random, 4, 1.0, NOTHING, 1.0)


def two_layer_ridge_W(random) -> Instance:
    """Two layers with next to no ridge on W, the constants of a ridge of 1, on small data.

    Other constants do hold without this ridge, because tanh is bounded; these do not.
    """
    return _two_layer(random, 40, 0.01, 1.0, NOTHING)


DROPPED = {
    "DeepLinearNet: full row rank": rank,
    "DeepLinearNet: balance": linear_balance,
    "LeakyReLUNet: balance": leaky_balance,
    "LeakyReLUNet: alignment": alignment,
    "InContextAttention: ridge of v": linear_ridge_v,
    "InContextAttention: ridge of Q": linear_ridge_Q,
    "InContextSoftmaxAttention: ridge of v": softmax_ridge_v,
    "TwoLayerNet: ridge of v": two_layer_ridge_v,
    "TwoLayerNet: ridge of W": two_layer_ridge_W,
}
RADIUS = 1e3  # without a ridge violations are far away
