"""AdaptiveGD against the reference numbers and the closed forms of its step."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import AdaptiveGD, LossAware, SmoothnessLearningRate
from tests.core import problems

# Steps until f - f* <= 1e-6 on f = (cosh w1 - 1) + w2^2 / 20, from w2 = 1 and the w1 with
# cosh w1 - 1 = 10, 100, 1000, 10000: computed twice independently, in float64.
STEPS = {"alimisis": [580, 623, 669, 715], "sharp": [54, 56, 59, 61]}
HEIGHTS = [10.0, 100.0, 1000.0, 10000.0]


def _separation_steps(rule, height, backend):
    """Runs until the gap is at most 1e-6; the loop is compiled where that is worth it."""
    start = np.array([math.acosh(height + 1.0), 1.0])
    w = keras.Variable(start, dtype="float64")
    optimizer = AdaptiveGD(H0=1.0, H1=1.0, rule=rule)
    optimizer.build([w])

    def value_and_gradient(w):
        # Keras' cosh and sinh fall back to float32 outside TensorFlow; exp does not.
        up, down = ops.exp(w[0]), ops.exp(-w[0])
        value = 0.5 * (up + down) - 1.0 + 0.05 * w[1] ** 2
        return value, ops.stack([0.5 * (up - down), 0.1 * w[1]])

    def step(value, gradient):
        optimizer.apply([gradient], [w], loss=value)

    if backend == "jax":
        import jax

        @jax.jit
        def compiled(value, state):
            loss, gradient = value_and_gradient(value)
            (value,), state = optimizer.stateless_apply(state, [gradient], [value], loss=loss)
            return loss, value, state

        value, state, count = w.value, [v.value for v in optimizer.variables], 0
        while True:
            loss, value, state = compiled(value, state)
            if float(loss) <= 1e-6:
                return count
            count += 1
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def compiled():
            loss, gradient = value_and_gradient(ops.convert_to_tensor(w))
            step(loss, gradient)
            return loss

        count = 0
        while float(compiled()) > 1e-6:
            count += 1
        return count
    count = 0
    while True:
        loss, gradient = value_and_gradient(ops.convert_to_tensor(w))
        if float(loss) <= 1e-6:
            return count
        step(loss, gradient)
        count += 1


@pytest.mark.parametrize("rule", STEPS)
def test_separation_instance(rule, float64, backend):
    assert [_separation_steps(rule, height, backend) for height in HEIGHTS] == STEPS[rule]


@pytest.mark.parametrize(
    ("rule", "rho", "expected"),
    [
        ("alimisis", 1.0, lambda d, g: 1 / (5 + 40 * d)),
        ("sharp", 0.5, lambda d, g: 1 / (0.5 + 2 * d**0.5)),
        ("power", 2.0, lambda d, g: 0.5 * min(1 / 0.5, 1 / (9 * 2 * d**2))),
        ("envelope", 1.0, lambda d, g: math.atanh(2**0.5 * g / (0.5 + 2 * d)) / (2**0.5 * g)),
    ],
)
@pytest.mark.parametrize("accumulate", [None, 2])
def test_rules(rule, rho, expected, accumulate):
    """One update, the loss scaled and the gradient clipped, neither of which the rule may see."""
    optimizer = AdaptiveGD(
        H0=0.5, H1=2.0, f_star=-1.0, rho=rho, rule=rule, clipvalue=0.1, loss_scale_factor=4.0,
        gradient_accumulation_steps=accumulate,
    )  # fmt: skip
    variable = keras.Variable([1.0, 1.0])
    for _ in range(accumulate or 1):
        optimizer.scale_loss(ops.convert_to_tensor(2.0))
        optimizer.apply([4.0 * ops.convert_to_tensor([0.9, 1.2])], [variable])
    rate = expected(3.0, 1.5)
    assert float(optimizer.effective_learning_rate) == pytest.approx(rate, rel=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(variable), 1 - 0.1 * rate, rtol=1e-6)


def test_momentum_is_heavy_ball():
    optimizer = AdaptiveGD(1.0, 1.0, rule="sharp", momentum=0.5)
    variable = keras.Variable([1.0])
    for loss in (3.0, 1.0):
        optimizer.apply([ops.ones((1,))], [variable], loss=loss)
    # v1 = -1/4; v2 = v1/2 - 1/2; w = 1 + v1 + v2
    assert float(variable.numpy()[0] if hasattr(variable, "numpy") else variable[0]) == 0.125


def test_it_is_sgd_with_the_schedule():
    ours = problems.fit(problems.mlp(AdaptiveGD(1.0, 1.0, rule="sharp", momentum=0.5)))
    schedule = SmoothnessLearningRate(1.0, 1.0, rule="sharp")
    theirs = LossAware(keras.optimizers.SGD(schedule, momentum=0.5))
    assert problems.largest_difference(ours, problems.fit(problems.mlp(theirs))) == 0.0


def test_no_curvature_at_the_minimum():
    """H0 = 0: no rate before the first loss, none at the minimum, and no NaN anywhere."""
    optimizer = AdaptiveGD(H0=0.0, H1=6.0, rho=1 / 3, rule="sharp")
    assert float(optimizer.effective_learning_rate) == 0.0
    variable = keras.Variable([1.0])
    optimizer.apply([3.0 * ops.ones((1,))], [variable], loss=1.0)
    assert float(optimizer.effective_learning_rate) == pytest.approx(1 / 6)
    optimizer.apply([ops.zeros((1,))], [variable], loss=0.0)
    np.testing.assert_allclose(ops.convert_to_numpy(variable), [0.5], rtol=1e-6)
