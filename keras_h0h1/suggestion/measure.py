"""`suggest`: what a user should set, from measurements on the user's own model and data."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_h0h1 import _keras
from keras_h0h1._validation import check_integer, check_number
from keras_h0h1.suggestion._batches import training_batches
from keras_h0h1.suggestion._cost import PRODUCT, Cost
from keras_h0h1.suggestion._optimizer import leaf_of, present_rate
from keras_h0h1.suggestion._trial import Trial, put_back, trial_of
from keras_h0h1.suggestion.range_test import RangeTest, range_test
from keras_h0h1.suggestion.record import Suggestion
from keras_h0h1.suggestion.rule import C_SHARE, recommend
from keras_h0h1.suggestion.sharpness import Sharpness, SharpnessOf
from keras_h0h1.suggestion.stability import momentum_of

# Updates at the lowest rate: they show the initial loss and warm the moments. As many different
# batches are used.
_WINDOWS = 16
# Hessian products in a measurement of sharpness: the largest eigenvalue to a few percent. Each
# costs two gradients, and there are two measurements.
_ITERATIONS = 6
_SHARPNESS_COST = 2 * PRODUCT * _ITERATIONS
# Fewer would leave a decade of rates two points.
_FEWEST_RATES = 20


def suggest(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    class_weight: dict | None = None,
    batch_size: int | None = None,
    f_star: float = 0.0,
    steps: int = 100,
    rates: tuple[float, float] = (1e-6, 10.0),
    relative: bool = False,
    sharpness: bool | str = "auto",
    stop_factor: float = 4.0,
    seed: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> Suggestion:
    r"""Finds a learning rate for a compiled model, and the constants of its loss-driven warm-up.

    Known as a learning-rate finder. It makes a range test (the rate grows exponentially, update by
    update, until the loss blows up), and measures the sharpness that the optimizer sees, which
    bounds the stable rate: $2 / \lambda$ for SGD, $38 / \lambda$ for Adam with $\lambda$ the
    preconditioned sharpness. `suggestion.recommend` has the rule that combines them.

    The model's own `train_step`, loss, optimizer, options and moments are used. **Nothing is
    changed**: weights, statistics, seed generators, metrics, the optimizer and the global random
    generators are afterwards what they were, also if the call ends in an exception or with Ctrl-C.
    A loss-driven factor in the optimizer is left out of the test. A model or metric that was not
    built is built, as `fit` would. From the data 16 batches are taken (times
    `gradient_accumulation_steps`) and used several times, since only losses of the same batch can
    be compared: a `tf.data` pipeline that shuffles again each time will have done so once more.

    Args:
        model: Compiled with an optimizer and a loss.
        x: As in `fit`: arrays, a `tf.data.Dataset`, a `PyDataset`; or a tuple `(x, y)` or
            `(x, y, sample_weight)` of arrays, a list of batches, a function that returns an
            iterator of batches. No generator: what is taken from it would be missing in training.
        y: Targets, where `x` is arrays.
        sample_weight: As in `fit`.
        class_weight: As in `fit`.
        batch_size: Where `x` is arrays. Default: 32, as in `fit`. The batch that will be
            trained with: a larger one bears a higher rate.
        f_star: A lower bound on the loss; `C` is half of the initial loss above it.
        steps: What the call may cost, in training steps: updates and curvature, a Hessian
            product counted as two; what they took is in `Suggestion.training_steps`. The compiler
            comes on top. At least 61, or 37 without sharpness; the smaller, the coarser the rates.
        rates: The smallest and the largest rate to test.
        relative: Whether `rates` are multiples of the optimizer's present rate.
        sharpness: `"auto"`: measured for SGD, Adam, AdamW and Nadam, unless the model has a
            `train_step` of its own, whose loss may not be the compiled one; where it cannot be, the
            reasons say why. `True`: measured, or an error. `False`: not measured; a range test
            alone, with more rates.
        stop_factor: The test stops where the smoothed loss exceeds its smallest value by this
            factor; 4 as in fastai.
        seed: Of the order of arrays, and of the random start of the eigenvalue iteration.
        progress: Called after each update and each Hessian product with the training steps so far
            and `steps`, for a progress bar. The test may end before.

    Returns:
        A `Suggestion`.

    Raises:
        TypeError: If an argument is of the wrong type, or `x` a generator.
        ValueError: If the model is not compiled, its optimizer has no rate of its own or several
            (`AdaptiveGD`, `MultiOptimizer`), the loss is not finite at the start, or it neither
            fell nor rose in the whole range.

    Example: $\frac12 (2 w)^2$ has curvature 4, so SGD is stable below 0.5.

    >>> import keras, numpy as np
    >>> from keras_h0h1.suggestion import suggest
    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> model.compile(keras.optimizers.SGD(0.01), loss=lambda y, p: 0.5 * (p - y) ** 2)
    >>> suggestion = suggest(model, np.full((8, 1), 2.0), np.zeros((8, 1)))
    >>> round(suggestion.initial_loss, 2), round(suggestion.C, 2)
    (2.0, 1.0)
    >>> round(suggestion.sharpness_at_start.value, 3), 0.05 < suggestion.base < 0.5
    (4.0, True)

    References:
        Leslie Smith, "Cyclical learning rates for training neural networks",
            arXiv 1506.01186 (2015): the range test.
        Jeremy Cohen and others, "Adaptive gradient methods at the edge of stability",
            arXiv 2207.14484 (2022): Adam's threshold.
    """
    begin = time.perf_counter()
    steps = check_integer("steps", steps, low=1)
    f_star = check_number("f_star", f_star)
    stop_factor = check_number("stop_factor", stop_factor, low=1.0, strict=True)
    seed = check_integer("seed", seed, low=0)
    low, high = _check_rates(rates)
    if sharpness not in ("auto", True, False):
        raise ValueError(
            f"`sharpness` must be 'auto', True or False. Received: sharpness={sharpness!r}"
        )
    batches = training_batches(x, y, sample_weight, class_weight, batch_size, seed)
    with trial_of(model, batches, _WINDOWS) as trial:
        now = present_rate(trial.original)
        if relative:
            low, high = low * now, high * now
        why_not = None if sharpness is True else _why_not(model, sharpness)
        cost = _WINDOWS + 1 + (0 if why_not else _SHARPNESS_COST)
        if steps < cost + _FEWEST_RATES:
            raise ValueError(
                f"`steps` must be >= {cost + _FEWEST_RATES}, of which {cost} are spent before and "
                f"beside the test. Received: steps={steps}"
            )
        tested = np.geomspace(low, high, steps - cost)
        spent = Cost(steps, progress)
        curve, found, error = _measure(
            trial, tested, stop_factor, None if why_not else seed, sharpness == "auto", spent
        )
    return _conclude(
        curve,
        found,
        why_not if error is None else f"the sharpness could not be measured: {error}",
        f_star=f_star,
        leaf=leaf_of(trial.original),
        present_rate=now,
        batches=len(trial.batches),
        training_steps=spent.taken,
        begin=begin,
    )


def _conclude(curve, found, note, *, f_star, begin, leaf, **known) -> Suggestion:
    """The record, from what was measured."""
    start, later = (*found, None, None)[:2]
    initial_loss = float(np.mean(curve.first_losses))
    chosen = recommend(
        curve.rates,
        curve.losses,
        initial_loss=initial_loss,
        f_star=f_star,
        stable_at_start=start and start.largest_stable_rate,
        stable_later=later and later.largest_stable_rate,
        normalised=not isinstance(leaf, keras.optimizers.SGD),
    )
    gap = initial_loss - f_star
    return Suggestion(
        base=chosen.base,
        C=C_SHARE * gap if gap > 0.0 else None,
        rho=chosen.rho,
        f_star=f_star,
        reasons=chosen.reasons + ((note,) if note else ()),
        initial_loss=initial_loss,
        rates=curve.rates,
        losses=curve.losses,
        batch_losses=curve.batch_losses,
        marks=chosen.marks,
        sharpness_at_start=start,
        sharpness_later=later,
        seconds=time.perf_counter() - begin,
        optimizer=type(leaf).__name__,
        **known,
    )


def _check_rates(rates) -> tuple[float, float]:
    try:
        low, high = rates
    except (TypeError, ValueError):
        raise TypeError(
            f"`rates` must be a pair, smallest and largest. Received: rates={rates!r}"
        ) from None
    low = check_number("rates[0]", low, low=0.0, strict=True)
    high = check_number("rates[1]", high, low=0.0, strict=True)
    if high < 10.0 * low:
        raise ValueError(f"`rates` must span a factor 10 at least. Received: rates={rates!r}")
    return low, high


def _why_not(model, sharpness) -> str | None:
    """Why the sharpness is not measured; `None` if it is to be."""
    if not sharpness:
        return "the sharpness was not measured, as asked for"
    leaf = leaf_of(model.optimizer)
    if momentum_of(leaf) is None:
        return f"no stability threshold is known for {type(leaf).__name__}"
    if _keras.has_own_train_step(model):
        return "the model has a `train_step` of its own: its curvature was not measured"
    return None


def _measure(
    trial: Trial,
    rates: np.ndarray,
    stop_factor: float,
    seed: int | None,
    quiet: bool,
    spent: Cost,
) -> tuple[RangeTest, list[Sharpness], str | None]:
    """The range test, the sharpness at its start and at its lowest loss, what went wrong there.

    Args:
        trial: The model's.
        rates: To test.
        stop_factor: As in `range_test`.
        seed: Of the eigenvalue iteration; `None`: no sharpness.
        quiet: Whether an error of that iteration is returned, not raised.
        spent: Where updates and products are counted.
    """
    found, errors = [], []
    states: dict = {}
    measure = None if seed is None else SharpnessOf(trial.model, _ITERATIONS, seed, spent.product)
    update = spent.update(trial.update)

    def look():
        try:
            found.append(measure(trial.batches[: trial.period]))
        except Exception as error:
            # Operations without a second derivative and the like end in errors of any class.
            if not quiet:
                raise
            lines = str(error).strip().splitlines() or [""]
            errors.append(f"{type(error).__name__}: {lines[0][:200]}")

    def before_update():
        if not states:
            look()
        states["last"] = trial.state()

    def on_lowest():
        states["lowest"] = states["last"]

    if measure is None:
        curve = range_test(update, rates, windows=_WINDOWS, stop_factor=stop_factor)
        return curve, [], None
    curve = range_test(
        update,
        rates,
        windows=_WINDOWS,
        stop_factor=stop_factor,
        before_update=before_update,
        on_lowest=on_lowest,
    )
    if "lowest" in states and not errors:
        put_back(states["lowest"])
        look()
    return curve, found, errors[0] if errors else None
