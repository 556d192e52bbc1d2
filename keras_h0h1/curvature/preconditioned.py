"""The curvature that Adam sees."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_h0h1 import _keras
from keras_h0h1._types import Data, Tensor
from keras_h0h1._validation import check_number
from keras_h0h1.curvature.lanczos import lanczos
from keras_h0h1.curvature.objective import Objective
from keras_h0h1.curvature.results import Measurement


def second_moment_scale(
    objective: Objective,
    optimizer: keras.optimizers.Optimizer | None = None,
    epsilon: float | None = None,
) -> Tensor:
    r"""$P^{-1/2}$ as a flat vector, $P = \operatorname{diag}(\sqrt{\hat v} + \epsilon)$.

    $\hat v = v / (1 - \beta_2^t)$ is the second moment with its bias removed, as the next step
    will use it: Adam moves by $-\eta P^{-1} \hat m$.

    Args:
        objective: The model's objective; `layers` select here too.
        optimizer: A built Keras Adam, AdamW, Nadam, Lamb or RMSprop, or a wrapper around one.
            Default: the one that the model was compiled with.
        epsilon: Default: the optimizer's own.

    Raises:
        ValueError: If the optimizer has no second moment yet, or has not taken a step.
    """
    model = objective.model
    variables = [model.trainable_variables[i] for i in objective.indices]
    inner, values, steps = _keras.second_moment(model, optimizer, variables)
    if steps < 1:
        raise ValueError(f"The second moment is 0 before the first step. Received: steps={steps}")
    flat = ops.concatenate([ops.reshape(ops.cast(v, objective.dtype), (-1,)) for v in values])
    # RMSprop removes no bias; it has `rho` where the Adam family has `beta_2`.
    beta = getattr(inner, "beta_2", None)
    correction = 1.0 if beta is None else 1.0 - beta**steps
    epsilon = check_number("epsilon", inner.epsilon if epsilon is None else epsilon, low=0.0)
    return ((flat / correction) ** 0.5 + epsilon) ** -0.5


def preconditioned_sharpness(
    objective: Objective,
    batches: Data,
    *,
    optimizer: keras.optimizers.Optimizer | None = None,
    epsilon: float | None = None,
    **options: Any,
) -> Measurement:
    r"""The largest eigenvalue of $P^{-1/2} H P^{-1/2}$, that of $P^{-1} H$ too.

    It bounds an AdamW step as the sharpness bounds a gradient step. With momentum $\beta_1$
    full-batch Adam hovers where it reaches $\frac{2 + 2 \beta_1}{(1 - \beta_1) \eta}$, which is
    $38 / \eta$ for $\beta_1 = 0.9$; see `adam_stability_threshold`.

    Args:
        objective: The model's objective.
        batches: One batch or several.
        optimizer: As in `second_moment_scale`.
        epsilon: As in `second_moment_scale`.
        **options: Of `lanczos`: `k`, `tol`, `which`, `max_iterations`, ...

    References:
        Jeremy Cohen and others, Adaptive gradient methods at the edge of stability,
        arXiv 2207.14484 (2022).
    """
    scale = second_moment_scale(objective, optimizer, epsilon)
    return lanczos(objective.hessian(batches).scaled(scale), **options)


def adam_stability_threshold(learning_rate: float, beta_1: float = 0.9) -> float:
    r"""$\frac{2 + 2 \beta_1}{(1 - \beta_1) \eta}$: preconditioned sharpness above this diverges.

    Example:

    >>> round(adam_stability_threshold(0.1), 6)
    380.0
    """
    learning_rate = check_number("learning_rate", learning_rate, low=0.0, strict=True)
    beta_1 = check_number("beta_1", beta_1, low=0.0, high=float(np.nextafter(1.0, 0.0)))
    return (2 + 2 * beta_1) / ((1 - beta_1) * learning_rate)
