r"""Gradient descent $w^+ = w - \eta \nabla f(w)$ on a `Problem`, counted in steps.

A step rule is a function `(loss, gradient_norm, step) -> step size`. `rule` makes those of the
theory from constants; any other function will do, for instance `lambda loss, norm, step: 0.1`.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from keras import ops

from keras_h0h1 import step_sizes
from keras_h0h1._compiled import compiled
from keras_h0h1._rules import current_rule
from keras_h0h1._types import ArrayLike
from keras_h0h1._validation import check_choice, check_integer, check_number
from keras_h0h1.theory import _arrays
from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.smoothness import Smoothness

StepRule = Callable[..., object]
RULES = ("alimisis", "sharp", "power", "envelope", "aiming")


def rule(smoothness: Smoothness, name: str = "sharp", theta: float = 1.0) -> StepRule:
    r"""The step rule `name` for these constants; the formulas are those of `step_sizes`.

    Args:
        smoothness: The constants.
        name: `"alimisis"`, `"sharp"`, `"power"` (with c = 1/2), `"envelope"`, or
            `"aiming"`, which is $\theta / (2 H_0 + H_1 \Delta)$.
        theta: The Aiming constant, for `"aiming"` alone.

    Returns:
        A function of `(loss, gradient_norm, step)`.

    Raises:
        ValueError: If the name is unknown, or the rule is proved for $\rho = 1$ only and `rho`
            is another.

    Example:

    >>> float(rule(Smoothness(1.0, 2.0), "sharp")(2.0, 0.0, 0))
    0.2
    """
    name = check_choice("name", current_rule("name", name), RULES)
    if smoothness.rho != 1.0 and name in ("alimisis", "envelope", "aiming"):
        raise ValueError(f"Rule {name!r} needs rho = 1. Received: rho={smoothness.rho!r}")
    H0, H1, f_star, rho = dataclasses.astuple(smoothness)
    if name == "alimisis":
        return lambda loss, norm, step: step_sizes.alimisis(loss, H0, H1, f_star)
    if name == "power":
        return lambda loss, norm, step: step_sizes.power(loss, H0, H1, f_star, rho)
    if name == "envelope":
        return lambda loss, norm, step: step_sizes.envelope(loss, norm, H0, H1, f_star)
    if name == "aiming":
        check_number("theta", theta, low=0, strict=True)
        return lambda loss, norm, step: theta * step_sizes.sharp(loss, 2.0 * H0, H1, f_star)
    return lambda loss, norm, step: step_sizes.sharp(loss, H0, H1, f_star, rho)


@dataclasses.dataclass(frozen=True)
class Descent:
    """What a run of `descend` gave; arrays have the batch shape of its start.

    Attributes:
        steps: Number of steps after which the gap was first at most `epsilon`; -1 if never.
        diverged: Whether a loss or a gradient became infinite or NaN.
        gap: The last gap.
        w: The last point.
        max_steps: The limit that the run had.
    """

    steps: np.ndarray
    diverged: np.ndarray
    gap: np.ndarray
    w: np.ndarray
    max_steps: int

    @property
    def reached(self) -> np.ndarray:
        """Whether the gap came down to `epsilon`."""
        return self.steps >= 0


def descend(
    problem: Problem,
    step_rule: StepRule,
    start: ArrayLike,
    epsilon: float,
    max_steps: int = 1_000_000,
) -> Descent:
    """Runs gradient descent until the gap is at most `epsilon`, and counts the steps.

    Args:
        problem: What to minimise. Its gap is above `minimum`, or above `f_star` if that is unknown.
        step_rule: A function of `(loss, gradient_norm, step)`, from `rule` or your own. `step`
            counts from 0 and has the dtype of the start.
        start: A point `(n,)` or a batch `(..., n)`. A NumPy array runs in NumPy float64; a tensor
            runs in one compiled loop on its backend, in its own dtype.
        epsilon: The gap to reach; at least 0.
        max_steps: Where to give up.

    Returns:
        A `Descent` of NumPy arrays.

    Example: the adaptive step arrives where a fixed step that is a little too long diverges.

    >>> from keras_h0h1.theory.problems import Separation
    >>> problem = Separation()
    >>> int(descend(problem, rule(problem.smoothness), problem.start(1000.0), 1e-6).steps)
    59
    >>> fixed = descend(problem, lambda loss, norm, step: 0.016, problem.start(1000.0), 1e-6)
    >>> int(fixed.steps), bool(fixed.diverged)
    (-1, True)
    """
    epsilon = check_number("epsilon", epsilon, low=0)
    max_steps = check_integer("max_steps", max_steps, low=0)
    xp = _arrays.namespace(start)
    floor = problem.f_star if problem.minimum is None else problem.minimum

    def observe(k, w, steps, done):
        """Notes who has arrived or diverged at step k; returns the loss and gradient too."""
        loss, gradient = problem.value(w), problem.gradient(w)
        gap = loss - floor
        arrived = xp.logical_and(xp.logical_not(done), gap <= epsilon)
        steps = xp.where(arrived, k, steps)
        finite = xp.logical_and(xp.isfinite(loss), xp.all(xp.isfinite(gradient), axis=-1))
        return loss, gradient, steps, xp.logical_or(done, ~(finite & ~arrived))

    def advance(k, w, steps, done):
        loss, gradient, steps, done = observe(k, w, steps, done)
        size = step_rule(loss, _arrays.norm(gradient), _arrays.like(k, w))
        moved = w - (size * xp.ones_like(loss))[..., None] * gradient
        return k + 1, xp.where(done[..., None], w, moved), steps, done

    if xp is np:
        state = _loop_numpy(problem, advance, start, max_steps)
    else:
        state = _loop_compiled(advance, start, max_steps)
    w, steps, done = state
    with np.errstate(all="ignore"):
        gap = _arrays.to_numpy(problem.value(w)) - floor
    steps, done = np.asarray(ops.convert_to_numpy(steps)), np.asarray(ops.convert_to_numpy(done))
    return Descent(steps, done & (steps < 0), gap, _arrays.to_numpy(w), max_steps)


def _loop_numpy(problem, advance, start, max_steps):
    w = np.array(start, dtype="float64")
    steps, done = np.full(w.shape[:-1], -1), np.zeros(w.shape[:-1], dtype=bool)
    with np.errstate(all="ignore"):  # divergence is a result here, not an accident
        for k in range(max_steps + 1):
            if np.all(done):
                break
            _, w, steps, done = advance(k, w, steps, done)
    return w, steps, done


def _loop_compiled(advance, start, max_steps):
    shape = tuple(start.shape[:-1])

    def run(w):
        state = (
            ops.convert_to_tensor(0, "int32"),
            w,
            ops.full(shape, -1, dtype="int32"),
            ops.zeros(shape, dtype="bool"),
        )
        unfinished = lambda k, w, steps, done: ops.logical_and(  # noqa: E731
            k <= max_steps, ops.logical_not(ops.all(done))
        )
        return ops.while_loop(unfinished, advance, state)[1:]

    return compiled(run)(start)
