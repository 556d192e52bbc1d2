"""Spectral density by stochastic Lanczos quadrature."""

import time

import numpy as np

from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.curvature.lanczos import ritz, tridiagonalise
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.results import Spectrum


def spectral_density(
    operator: Operator,
    *,
    probes: int = 4,
    steps: int = 40,
    points: int = 400,
    width: float = 0.01,
    seed: int = 0,
) -> Spectrum:
    r"""The density of the eigenvalues, smoothed with a Gaussian.

    Each probe runs Lanczos from a random direction: Ritz values $\theta_j$ and the squared first
    components $\tau_j^2$ of their vectors are a Gauss quadrature of the spectral measure,
    $\frac1n \sum_i g(\lambda_i) \approx \frac1p \sum_{\text{probes}} \sum_j \tau_j^2 g(\theta_j)$,
    exact for polynomials up to degree $2m - 1$ in expectation.

    Args:
        operator: The symmetric operator.
        probes: Number of random directions.
        steps: Lanczos steps for each.
        points: Points of the grid.
        width: Standard deviation of the Gaussian, as a share of the spectrum's spread.
        seed: Seed of the directions.

    Returns:
        `Spectrum`: `value` is the density on `grid`, `residual` its standard error over the
        probes; `nodes` and `weights` the quadrature itself.

    References:
        Shashanka Ubaru, Jie Chen, Yousef Saad, Fast estimation of tr(f(A)) via stochastic Lanczos
        quadrature (2017); Behrooz Ghorbani, Shankar Krishnan, Ying Xiao, arXiv 1901.10159 (2019).

    Example:

    >>> spectrum = spectral_density(Operator.from_matrix(np.diag([1.0, 2.0, 3.0])), probes=50)
    >>> abs(spectrum.moment(1) - 2.0) < 0.2
    True
    """
    begin = time.perf_counter()
    probes = check_integer("probes", probes, low=1)
    steps = check_integer("steps", steps, low=1)
    points = check_integer("points", points, low=2)
    width = check_number("width", width, low=0.0, strict=True)
    rng = np.random.default_rng(seed)
    nodes, weights, iterations = [], [], 0
    for _ in range(probes):
        alphas, betas, _ = tridiagonalise(operator, operator.normal(rng), steps, rng)
        values, vectors, _ = ritz(alphas, betas)
        nodes.append(values)
        weights.append(vectors[0] ** 2)
        iterations += len(alphas)
    low, high = min(v.min() for v in nodes), max(v.max() for v in nodes)
    sigma = width * max(high - low, np.finfo("float64").eps * max(abs(low), abs(high), 1e-300))
    grid = np.linspace(low - 4 * sigma, high + 4 * sigma, points)

    def smooth(theta, tau):
        bumps = np.exp(-0.5 * ((grid[:, None] - theta) / sigma) ** 2)
        return bumps @ tau / (sigma * np.sqrt(2 * np.pi))

    curves = np.stack([smooth(t, w) for t, w in zip(nodes, weights, strict=True)])
    residual = np.full(points, np.nan)
    if probes > 1:
        residual = curves.std(axis=0, ddof=1) / np.sqrt(probes)
    return Spectrum(
        value=curves.mean(axis=0),
        residual=residual,
        iterations=iterations,
        converged=bool(np.all(np.isfinite(curves))),
        seconds=time.perf_counter() - begin,
        grid=grid,
        nodes=np.concatenate(nodes),
        weights=np.concatenate(weights) / probes,
    )
