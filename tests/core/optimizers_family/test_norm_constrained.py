"""The rule of arXiv 2602.05813: its formula, its solver, its warm-up and its decay."""

import copy

import keras
import numpy as np
import pytest
from keras import ops
from scipy import integrate

from keras_h0h1 import LossAware
from keras_h0h1.polyak import (
    norm_constrained,
    norm_constrained_constants,
    norm_constrained_peak_gap,
)
from keras_h0h1.schedules import NormConstrainedLearningRate
from tests.backends import only_on
from tests.core.optimizers_family.test_reference import RTOL

# Losses above, at and below a peak at 3 (f_star = 0.5), far below f_star, and at the start again.
LOSSES = [8.5, 6.0, 3.5, 2.0, 0.75, 0.5, -3.0, 8.5, 12.0]


def _formula(loss, peak, first, first_gap, peak_gap, f_star=0.0, eps=1e-8):
    """As in the paper: the three constants, then the quotient."""
    div = peak / first
    K2 = first_gap * (div - 1) / (peak * (first_gap - peak_gap) ** 2)
    K0, K1 = K2 * peak_gap**2, 1 / peak - 2 * K2 * peak_gap
    gap = max(loss - f_star, eps)
    return gap / (K0 + K1 * gap + K2 * gap**2)


def _rates(schedule, losses=LOSSES):
    optimizer, weight, rates = LossAware(keras.optimizers.SGD(schedule)), keras.Variable([1.0]), []
    for loss in losses:
        optimizer.apply([ops.zeros((1,))], [weight], loss=loss)
        rates.append(float(optimizer.effective_learning_rate))
    return rates


@pytest.mark.parametrize("first_gap", [8.0, None], ids=["given", "measured"])
def test_rates(first_gap, float64):
    schedule = NormConstrainedLearningRate(0.25, 3.0, first_gap, first_factor=0.125, f_star=0.5)
    expected = [_formula(loss, 0.25, 0.25 / 8, 8.0, 3.0, f_star=0.5) for loss in LOSSES]
    np.testing.assert_allclose(_rates(schedule), expected, rtol=RTOL)
    assert max(expected) == pytest.approx(0.25) == expected[2]


@only_on("jax", reason="no backend: once is enough")
@pytest.mark.parametrize(
    ("first_gap", "first_factor"), [(10.8, 0.01), (2.0, 0.1), (100.0, 0.01), (7.0, 0.5)]
)
def test_the_peak_gap_is_that_of_the_warm_up_nearest_to_a_line(first_gap, first_factor):
    """Against adaptive quadrature of the definition, derivatives by differences, on a fine grid."""

    def cost(peak_gap):
        constants = norm_constrained_constants(1.0, first_factor, first_gap, peak_gap)
        slope = (first_factor - 1.0) / (first_gap - peak_gap)

        def rate(gap):
            return gap / (constants[0] + constants[1] * gap + constants[2] * gap**2)

        def distance(gap):
            h = 1e-5 * gap
            derivative = (rate(gap + h) - rate(gap - h)) / (2.0 * h)
            line = 1.0 + slope * (gap - peak_gap)
            return abs(rate(gap) - line) + abs(derivative - slope)

        whole = integrate.quad(distance, peak_gap, first_gap, limit=500, epsabs=1e-9)[0]
        return whole / (first_gap - peak_gap)

    found = norm_constrained_peak_gap(first_gap, first_factor)
    assert 0.0 < found < first_gap
    least = min(cost(share * first_gap) for share in np.linspace(0.01, 0.99, 99))
    assert cost(found) <= least * (1.0 + 1e-5)
    # Where it is, as well: to either side it is worse.
    assert cost(found) < min(cost(0.97 * found), cost(1.03 * found))


@pytest.mark.parametrize(
    ("peak", "first", "first_gap", "peak_gap"),
    [(1e-3, 1e-5, 10.8, 6.0), (0.3, 0.1, 2.0, 0.01), (1.0, 1.0, 5.0, 1.0), (5.0, 1e-2, 7.0, 6.9)],
)
def test_solver(peak, first, first_gap, peak_gap):
    K0, K1, K2 = norm_constrained_constants(peak, first, first_gap, peak_gap)
    assert float(norm_constrained(first_gap, K0, K1, K2)) == pytest.approx(first, rel=1e-6)
    assert float(norm_constrained(peak_gap, K0, K1, K2)) == pytest.approx(peak, rel=1e-6)
    gaps = np.linspace(1e-3, 2 * first_gap, 2001)
    rates = norm_constrained(gaps, K0, K1, K2)
    assert (rates > 0).all() and rates.max() <= peak * (1 + 1e-6)
    if first < peak:
        assert peak_gap == pytest.approx(np.sqrt(K0 / K2), rel=1e-9)
        assert (np.diff(rates[gaps < peak_gap]) > 0).all()
        assert (np.diff(rates[gaps > peak_gap]) < 0).all()


def test_without_decay():
    schedule = NormConstrainedLearningRate(0.25, 3.0, first_factor=0.125, f_star=0.5, decay=False)
    rates = _rates(schedule)
    expected = [_formula(loss, 0.25, 0.25 / 8, 8.0, 3.0, f_star=0.5) for loss in LOSSES]
    expected = [r if loss > 3.5 else 0.25 for r, loss in zip(expected, LOSSES, strict=True)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_a_start_below_the_peak_has_no_warm_up():
    rates = _rates(NormConstrainedLearningRate(0.25, 3.0, first_factor=0.125), [2.0, 3.0, 5.0, 1.0])
    assert rates[1:3] == pytest.approx([0.25, 0.25])
    assert rates[3] < rates[0] < 0.25


def test_a_first_loss_that_is_not_finite_is_not_the_first():
    schedule = NormConstrainedLearningRate(0.25, 3.0, first_factor=0.125)
    rates = _rates(schedule, [float("nan"), 8.0, 3.0])
    assert rates == pytest.approx([0.0, 0.25 / 8, 0.25])


def test_settable_scheduled_and_serialised():
    schedule = NormConstrainedLearningRate(0.25, 3.0, 8.0, 0.125, 0.5, 1e-6, False)
    decaying = NormConstrainedLearningRate(keras.optimizers.schedules.CosineDecay(0.25, 10), 3.0)
    for one in (schedule, decaying):
        config = keras.optimizers.schedules.serialize(one)
        twin = keras.optimizers.schedules.deserialize(copy.deepcopy(config))
        assert keras.optimizers.schedules.serialize(twin) == config
        assert _rates(twin) == _rates(one)
    optimizer = LossAware(keras.optimizers.Lion(schedule))
    optimizer.learning_rate = 0.5
    weight = keras.Variable([1.0])
    optimizer.apply([ops.ones((1,))], [weight], loss=3.5)
    np.testing.assert_allclose(ops.convert_to_numpy(weight), 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [
        {"peak": -1.0}, {"peak": "1"}, {"peak_gap": 0.0}, {"first_gap": 3.0}, {"first_factor": 0.0},
        {"first_factor": 2.0}, {"f_star": float("inf")}, {"eps": 0.0}, {"decay": 1},
    ],
)  # fmt: skip
def test_bad_arguments(arguments):
    with pytest.raises((TypeError, ValueError), match=r"(?s)Received: \S"):
        NormConstrainedLearningRate(**{"peak": 1.0, "peak_gap": 3.0, **arguments})
