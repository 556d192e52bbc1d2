"""Extreme eigenvalues by the Lanczos iteration."""

import time
from collections.abc import Callable

import numpy as np

from keras_h0h1._types import ArrayLike, Tensor
from keras_h0h1._validation import check_choice, check_integer, check_number
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.results import Measurement


def tridiagonalise(
    operator: Operator,
    start: Tensor,
    steps: int,
    rng: np.random.Generator,
    stop: Callable[..., bool] | None = None,
) -> tuple:
    """Runs Lanczos with full reorthogonalisation.

    Args:
        operator: The symmetric operator.
        start: First vector; need not be normalised.
        steps: Largest number of products.
        rng: Generator for restarts, when the Krylov space is exhausted before `steps`.
        stop: Called with `(alphas, betas)` after each product; ends the iteration when true.

    Returns:
        `(alphas, betas, basis)`: the diagonal, the off-diagonal (its last entry couples to the
        space not explored) and the orthonormal basis as a list of vectors.
    """
    steps = min(steps, operator.size)
    basis = [start / operator.norm(start)]
    alphas: list[float] = []
    betas: list[float] = []
    eps = np.finfo(operator.dtype).eps
    while True:
        product = operator.matvec(basis[-1])
        alphas.append(operator.dot(product, basis[-1]))
        # The two terms of the recurrence first, which are large; then what round-off left along
        # the whole basis. Without the latter, converged eigenvalues come back as ghosts.
        product = operator.orthogonalise(product, basis[-2:], passes=1)
        product = operator.orthogonalise(product, basis, passes=1)
        beta = operator.norm(product)
        scale = max(np.abs(alphas).max(), max(betas, default=0.0))
        invariant = beta <= 10 * eps * max(scale, np.finfo(operator.dtype).tiny)
        betas.append(0.0 if invariant else beta)
        if len(alphas) == steps or (stop is not None and stop(alphas, betas)):
            return alphas, betas, basis
        if invariant:
            # The span is invariant and its eigenvalues exact; go on in its complement.
            product = operator.orthogonalise(operator.normal(rng), basis)
            beta = operator.norm(product)
        basis.append(product / beta)


def ritz(alphas: ArrayLike, betas: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors of the tridiagonal matrix, and each one's residual."""
    off = np.asarray(betas[:-1])
    values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(off, 1) + np.diag(off, -1))
    return values, vectors, np.abs(betas[-1] * vectors[-1])


def _order(values, which):
    if which == "largest":
        return np.argsort(-values)
    if which == "smallest":
        return np.argsort(values)
    return np.argsort(-np.abs(values))


def lanczos(
    operator: Operator,
    k: int = 1,
    *,
    which: str = "largest",
    tol: float = 1e-3,
    max_iterations: int | None = None,
    start: Tensor | None = None,
    vectors: bool = False,
    seed: int = 0,
) -> Measurement:
    r"""Extreme eigenvalues of a symmetric operator.

    Builds an orthonormal basis $Q$ of the Krylov space with full reorthogonalisation; the
    eigenvalues $\theta_i$ of the tridiagonal $T = Q^\top H Q$ approach the extreme ones of $H$.
    The residual is $\|H y_i - \theta_i y_i\| = \beta_m |s_{m i}|$ for the Ritz vector
    $y_i = Q s_i$; an eigenvalue of $H$ lies within it of $\theta_i$.

    An eigenvalue that occurs several times is found once, as in every single-vector Krylov method.

    Args:
        operator: What to take eigenvalues of: `Objective.hessian(batch)`, or
            `Operator.from_matrix(array)`.
        k: Number of eigenvalues.
        which: `"largest"`, `"smallest"`, or `"magnitude"` for the spectral norm.
        tol: Converged when every residual is at most `tol` times the largest $|\theta|$.
        max_iterations: Largest number of products. Default: `max(30, 10 * k)`. Memory is one
            vector for each.
        start: First vector; default: random. An eigenvector from a moment ago saves iterations.
        vectors: Whether to return the Ritz vectors too.
        seed: Seed of the random start; no Keras generator is touched.

    Returns:
        `Measurement` with `value` and `residual` of shape `(k,)`, best first.

    References:
        Cornelius Lanczos (1950); Christopher Paige, The computation of eigenvalues and eigenvectors
        of very large sparse matrices, thesis (1971).

    Example:

    >>> A = Operator.from_matrix(np.diag([1.0, 2.0, 7.0]))
    >>> lanczos(A, k=2).value.round(6)
    array([7., 2.])
    """
    begin = time.perf_counter()
    k = check_integer("k", k, low=1)
    check_choice("which", which, ("largest", "smallest", "magnitude"))
    tol = check_number("tol", tol, low=0.0)
    if max_iterations is None:
        max_iterations = max(30, 10 * k)
    max_iterations = check_integer("max_iterations", max_iterations, low=1)
    if k > operator.size:
        raise ValueError(f"`k` must be at most the operator's size. Received: k={k}")
    rng = np.random.default_rng(seed)

    def settled(residuals, values):
        return bool(np.all(residuals <= tol * np.abs(values).max()))

    def stop(alphas, betas):
        if not np.isfinite(alphas[-1]):
            return True
        # The check costs the cube of the number of iterations: not every time in the long run.
        if len(alphas) < k or (len(alphas) > 30 and len(alphas) % 10):
            return False
        values, _, residuals = ritz(alphas, betas)
        top = _order(values, which)[:k]
        return settled(residuals[top], values)

    start = operator.normal(rng) if start is None else start
    alphas, betas, basis = tridiagonalise(operator, start, max(max_iterations, k), rng, stop)
    if not np.all(np.isfinite(alphas + betas)):
        nan = np.full(k, np.nan)
        return Measurement(nan, nan, len(alphas), False, time.perf_counter() - begin)
    values, weights, residuals = ritz(alphas, betas)
    top = _order(values, which)[:k]
    found = None
    if vectors:
        found = []
        for index in top:
            vector = 0.0
            for weight, q in zip(weights[:, index], basis, strict=True):
                vector = vector + float(weight) * q
            found.append(vector)
    exhausted = len(alphas) == operator.size
    return Measurement(
        value=values[top],
        residual=residuals[top],
        iterations=len(alphas),
        converged=exhausted or settled(residuals[top], values),
        seconds=time.perf_counter() - begin,
        vectors=found,
    )
