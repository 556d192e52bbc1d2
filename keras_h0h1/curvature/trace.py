"""The trace from random probes: Hutchinson's estimator and Hutch++."""

import time

import numpy as np

from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.results import Measurement


def _mean_and_error(samples):
    samples = np.asarray(samples)
    return float(samples.mean()), float(samples.std(ddof=1) / np.sqrt(len(samples)))


def hutchinson(
    operator: Operator, *, samples: int = 30, tol: float = 0.0, seed: int = 0
) -> Measurement:
    r"""$\operatorname{tr} H \approx \frac1m \sum_i z_i^\top H z_i$ with random signs $z_i$.

    Unbiased; the variance of one sample is $2 (\|H\|_F^2 - \sum_i H_{ii}^2)$, 0 for a diagonal
    matrix.

    Args:
        operator: The symmetric operator.
        samples: Largest number of products, at least 2.
        tol: Stops early, and is converged, when the standard error is at most `tol` times the
            estimate (after ten samples). Converged by definition where `tol` is 0.
        seed: Seed of the probes.

    Returns:
        `Measurement` whose residual is the standard error.

    References:
        Michael Hutchinson, A stochastic estimator of the trace of the influence matrix (1990).

    Example:

    >>> hutchinson(Operator.from_matrix(np.diag([1.0, 2.0, 7.0])), samples=2).value
    10.0
    """
    begin = time.perf_counter()
    samples = check_integer("samples", samples, low=2)
    tol = check_number("tol", tol, low=0.0)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        z = operator.rademacher(rng)
        found.append(operator.dot(z, operator.matvec(z)))
        if tol and len(found) >= 10:
            value, residual = _mean_and_error(found)
            if residual <= tol * abs(value):
                break
    value, residual = _mean_and_error(found)
    converged = not tol or residual <= tol * abs(value)
    return Measurement(value, residual, len(found), converged, time.perf_counter() - begin)


def hutchpp(operator: Operator, *, products: int = 30, seed: int = 0) -> Measurement:
    r"""Hutch++: the trace of the dominant subspace exactly, Hutchinson for what is left.

    With an orthonormal basis $Q$ of $H S$ for a random $S$ of `products / 3` columns,
    $\operatorname{tr} H = \operatorname{tr} Q^\top H Q + \operatorname{tr} P H P$,
    $P = I - Q Q^\top$; the last is estimated. For a positive semi-definite $H$ a relative error
    $\varepsilon$ takes $O(1/\varepsilon)$ products, where Hutchinson takes $O(1/\varepsilon^2)$.

    Args:
        operator: The symmetric operator.
        products: Number of products with it, at least 6; a third for each of the three uses.
        seed: Seed of the probes.

    Returns:
        `Measurement` whose residual is the standard error of the second part.

    References:
        Raphael Meyer, Cameron Musco, Christopher Musco, David Woodruff, Hutch++: Optimal stochastic
        trace estimation, arXiv 2010.09649 (2021).

    Example: a matrix of rank one is found exactly.

    >>> ones = np.ones((4, 4))
    >>> round(hutchpp(Operator.from_matrix(ones), products=6).value, 6)
    4.0
    """
    begin = time.perf_counter()
    products = check_integer("products", products, low=6)
    third = products // 3
    rng = np.random.default_rng(seed)
    basis: list[Tensor] = []
    used = 0
    for _ in range(min(third, operator.size)):
        sketch = operator.matvec(operator.rademacher(rng))
        used += 1
        scale = operator.norm(sketch)
        vector = operator.orthogonalise(sketch, basis)
        norm = operator.norm(vector)
        # What is left of a vector inside the span is round-off: not a direction.
        if norm > 100 * np.finfo(operator.dtype).eps * scale:
            basis.append(vector / norm)
    exact = 0.0
    for q in basis:
        exact += operator.dot(q, operator.matvec(q))
        used += 1
    left = []
    for _ in range(max(2, products - used)):
        z = operator.orthogonalise(operator.rademacher(rng), basis)
        left.append(operator.dot(z, operator.matvec(z)))
        used += 1
    rest, residual = _mean_and_error(left)
    return Measurement(exact + rest, residual, used, True, time.perf_counter() - begin)
