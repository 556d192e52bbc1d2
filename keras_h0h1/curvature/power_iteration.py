"""The eigenvalue of largest magnitude, by power iteration."""

import time

import numpy as np

from keras_h0h1._types import Tensor
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.results import Measurement


def power_iteration(
    operator: Operator,
    *,
    tol: float = 1e-3,
    max_iterations: int = 100,
    start: Tensor | None = None,
    seed: int = 0,
) -> Measurement:
    r"""The eigenvalue of largest magnitude, with its sign.

    $v \leftarrow H v / \|H v\|$ and $\lambda = v^\top H v$. It needs two vectors of memory where
    Lanczos needs one for each iteration, and more iterations. Started from the vector of a moment
    ago (`start=previous.vectors[0]`) it follows a training run at one or two products a time.

    Args:
        operator: The symmetric operator.
        tol: Converged when $\|Hv - \lambda v\| \le$ `tol` $\cdot |\lambda|$.
        max_iterations: Largest number of products.
        start: First vector; default: random.
        seed: Seed of the random start.

    Returns:
        `Measurement` with floats and the vector in `vectors[0]`. Where $+\lambda$ and $-\lambda$
        are both eigenvalues it does not converge, and says so; `lanczos(which="magnitude")` does.

    Example:

    >>> result = power_iteration(Operator.from_matrix(np.diag([1.0, -4.0])), tol=1e-6)
    >>> round(result.value, 4), result.converged
    (-4.0, True)
    """
    begin = time.perf_counter()
    tol = check_number("tol", tol, low=0.0)
    max_iterations = check_integer("max_iterations", max_iterations, low=1)
    vector = operator.normal(np.random.default_rng(seed)) if start is None else start
    vector = vector / operator.norm(vector)
    for iteration in range(1, max_iterations + 1):
        product = operator.matvec(vector)
        value = operator.dot(vector, product)
        residual = operator.norm(product - value * vector)
        norm = operator.norm(product)
        converged = residual <= tol * abs(value)
        if converged or norm == 0.0 or not np.isfinite(norm):
            break
        following = product / norm
        if iteration < max_iterations:
            vector = following
    return Measurement(
        value=value,
        residual=residual,
        iterations=iteration,
        converged=converged,
        seconds=time.perf_counter() - begin,
        vectors=[vector],
    )
