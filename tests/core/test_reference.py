"""Training follows the float64 NumPy reference step for step, on every backend."""

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.callbacks import LearningRateLogger
from tests.core import problems

STEPS, C, BASE = 50, 16.0, 0.0625


def _train(schedule, accumulate=None):
    optimizer = keras.optimizers.AdamW(
        schedule, gradient_accumulation_steps=accumulate, **problems.ADAMW
    )
    logger = LearningRateLogger()
    model = problems.mlp(LossAware(optimizer), reduction="sum")
    steps = STEPS * (accumulate or 1)
    x, y = problems.data()
    repeats = -(-steps * 8 // len(x))
    x = np.tile(x, (repeats, 1))[: steps * 8].astype(keras.config.floatx())
    y = np.tile(y, repeats)[: steps * 8]
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[logger])
    return logger.history, model.get_weights()


def _check(history, final, expected, tolerance, every=1):
    losses, rates, weights = expected
    assert rates.min() <= 0.5 * BASE  # the rule bites at first
    assert rates.max() > 1.5 * rates.min()  # and lets go later
    np.testing.assert_allclose(history["batch_loss"][every - 1 :: every], losses, rtol=tolerance)
    np.testing.assert_allclose(
        history["effective_learning_rate"][every - 1 :: every], rates, rtol=tolerance
    )
    for ours, theirs in zip(final, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=100 * tolerance)


@pytest.fixture
def tolerance(floatx, backend):
    if floatx == "float32":
        return 1e-4
    # On PyTorch Keras' own optimizers multiply by the rate, and raise beta to a power, in float32.
    return 1e-5 if backend == "torch" else 1e-9


def test_adamw_with_the_practical_rule(tolerance):
    history, final = _train(LossAdaptiveLearningRate(BASE, C=C))
    expected = problems.reference_adamw(lambda f, k: BASE / max(1.0, f / C), STEPS)
    _check(history, final, expected, tolerance)


def test_every_option_at_once(tolerance):
    steps_down = keras.optimizers.schedules.PiecewiseConstantDecay([20], [BASE, BASE / 2])
    schedule = LossAdaptiveLearningRate(
        steps_down, C=C, f_star=0.5, rho=0.5, smoothing=0.75, latch=True, min_factor=0.5
    )
    memory = {"average": 0.0, "weight": 0.0, "latched": False, "floored": 0}

    def rate(loss, step):
        memory["average"] = 0.75 * memory["average"] + 0.25 * loss
        memory["weight"] = 0.75 * memory["weight"] + 0.25
        gap = max(memory["average"] / memory["weight"] - 0.5, 0.0)
        factor = min(1.0, (C / gap) ** 0.5 if gap else 1.0)
        memory["floored"] += factor < 0.5
        factor = max(0.5, factor)
        memory["latched"] = memory["latched"] or factor >= 1.0
        factor = 1.0 if memory["latched"] else factor
        return factor * (BASE if step <= 20 else BASE / 2)

    expected = problems.reference_adamw(rate, STEPS)
    assert memory["latched"] and memory["floored"]
    history, final = _train(schedule)
    _check(history, final, expected, tolerance)


def test_gradient_accumulation_is_driven_by_the_mean_loss_of_the_window(tolerance):
    history, final = _train(LossAdaptiveLearningRate(BASE, C=C), accumulate=2)
    expected = problems.reference_adamw(lambda f, k: BASE / max(1.0, f / C), STEPS, accumulate=2)
    _check(history, final, expected, tolerance, every=2)


def test_gradient_descent(tolerance):
    logger = LearningRateLogger()
    optimizer = LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(2.0**-6, C=C)))
    problems.fit(problems.mlp(optimizer, reduction="sum"), epochs=12, callbacks=[logger])
    x, y = problems.data()
    values, losses, rates = problems.weights(), [], []
    for k in range(48):
        batch = slice(8 * k % 32, 8 * k % 32 + 8)
        loss, gradients = problems.reference_loss_and_gradients(values, x[batch], y[batch])
        losses.append(loss)
        rates.append(2.0**-6 / max(1.0, loss / C))
        values = [v - rates[-1] * g for v, g in zip(values, gradients, strict=True)]
    assert min(rates) < 0.5 * max(rates)
    np.testing.assert_allclose(logger.history["batch_loss"], losses, rtol=tolerance)
    np.testing.assert_allclose(logger.history["effective_learning_rate"], rates, rtol=tolerance)
