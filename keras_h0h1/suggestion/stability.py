"""The largest rate at which an optimizer is stable on a quadratic."""

import math

import keras

from keras_h0h1 import _keras
from keras_h0h1._validation import check_number


def largest_stable_rate(
    sharpness: float, momentum: float = 0.0, *, nesterov: bool = False, averaged: bool = False
) -> float:
    r"""The rate above which a step diverges along the direction of largest curvature.

    On $\frac{\lambda}{2} w^2$ the iteration's characteristic polynomial has its root $-1$ at

    $$\eta = \frac{2 (1 + \beta)}{\lambda}, \qquad
    \eta_\text{Nesterov} = \frac{2 (1 + \beta)}{(1 + 2 \beta) \lambda}$$

    for momentum as a sum of gradients, $m^+ = \beta m + g$. Where $m$ is the average
    $\beta m + (1 - \beta) g$, as in Adam, both are divided by $1 - \beta$: $38 / \lambda$ for
    $\beta = 0.9$, with $\lambda$ the preconditioned sharpness.

    Args:
        sharpness: Largest eigenvalue $\lambda$ of the Hessian, or of $P^{-1} H$.
        momentum: $\beta$ in [0, 1).
        nesterov: Whether the momentum is Nesterov's.
        averaged: Whether it is an average rather than a sum.

    Returns:
        The rate; infinite where `sharpness` is not positive.

    Raises:
        TypeError, ValueError: If an argument is not a number in its range.

    References:
        Jeremy Cohen and others, "Gradient descent on neural networks typically occurs at the edge
            of stability", arXiv 2103.00065 (2021): the thresholds with momentum.
        Jeremy Cohen and others, "Adaptive gradient methods at the edge of stability",
            arXiv 2207.14484 (2022): Adam's.

    Example:

    >>> largest_stable_rate(4.0), round(largest_stable_rate(1.0, 0.9, averaged=True), 6)
    (0.5, 38.0)
    """
    sharpness = check_number("sharpness", sharpness)
    beta = check_number("momentum", momentum, low=0.0, high=math.nextafter(1.0, 0.0))
    if sharpness <= 0.0:
        return math.inf
    rate = 2.0 * (1.0 + beta) / sharpness
    if nesterov:
        rate /= 1.0 + 2.0 * beta
    return rate / (1.0 - beta) if averaged else rate


def momentum_of(optimizer: keras.optimizers.Optimizer) -> dict | None:
    """The arguments `momentum`, `nesterov`, `averaged` of `largest_stable_rate`.

    `None` for an optimizer whose steps are no preconditioned gradient steps (Lion, Muon, Lamb) or
    whose preconditioner `curvature.preconditioned_sharpness` does not know (Adagrad, Adafactor,
    AMSGrad). Subclasses, which may do anything, count as unknown.
    """
    kinds = keras.optimizers
    kind = _keras.public_class(optimizer)
    if kind is kinds.SGD:
        nesterov = optimizer.nesterov and optimizer.momentum > 0
        return {"momentum": optimizer.momentum, "nesterov": nesterov, "averaged": False}
    if kind in (kinds.Adam, kinds.AdamW) and not optimizer.amsgrad:
        return {"momentum": optimizer.beta_1, "nesterov": False, "averaged": True}
    if kind is kinds.Nadam:
        return {"momentum": optimizer.beta_1, "nesterov": True, "averaged": True}
    return None
