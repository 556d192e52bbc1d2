"""The formulas against closed forms typed out a second time, in NumPy and on the backend."""

import math

import numpy as np
import pytest
from keras import ops

from keras_h0h1 import step_sizes

LOSSES = [0.0, 0.3, 1.0, 2.5, 40.0]


@pytest.mark.parametrize("loss", LOSSES)
def test_numpy_in_gives_float64_numpy_out(loss):
    d = max(loss - 0.5, 0.0)
    constants = {"H0": 0.7, "H1": 1.9, "f_star": 0.5}
    assert step_sizes.alimisis(loss, **constants) == pytest.approx(1 / (7 + 38 * d), rel=1e-15)
    assert step_sizes.sharp(loss, **constants, rho=0.5) == pytest.approx(
        1 / (0.7 + 1.9 * math.sqrt(d)), rel=1e-15
    )
    assert step_sizes.practical_factor(loss, 2.0, 0.5, rho=2.0) == pytest.approx(
        min(1.0, (2.0 / d) ** 2 if d else 1.0), rel=1e-15
    )
    expected = 0.5 / 0.7 if d == 0 else 0.5 * min(1 / 0.7, d**-1.5 / (3**1.5 * 1.9))
    assert step_sizes.power(loss, **constants, rho=1.5) == pytest.approx(expected, rel=1e-15)
    x = min(math.sqrt(1.9) * 0.4 / (0.7 + 1.9 * d), 1 - 1e-6)
    bound = math.atanh(x) / x / (0.7 + 1.9 * d)
    assert step_sizes.envelope(loss, 0.4, **constants) == pytest.approx(bound, rel=1e-12)


def test_tensors_give_the_same_numbers(float64, backend):
    # On PyTorch Keras' maximum answers in float32 whatever floatx says.
    exact = backend != "torch"
    tolerance = 1e-12 if exact else 1e-6
    losses = np.array(LOSSES)
    tensor = ops.convert_to_tensor(losses)
    for rule, arguments in [
        (step_sizes.alimisis, {"H0": 0.7, "H1": 1.9}),
        (step_sizes.sharp, {"H0": 0.7, "H1": 1.9, "rho": 0.5}),
        (step_sizes.power, {"H0": 0.7, "H1": 1.9, "rho": 1.5}),
        (step_sizes.practical_factor, {"C": 2.0, "f_star": 0.5, "rho": 2.0}),
    ]:
        ours = ops.convert_to_numpy(rule(tensor, **arguments))
        assert ours.dtype == (np.float64 if exact else np.float32)
        np.testing.assert_allclose(ours, rule(losses, **arguments), rtol=tolerance)
    norms = np.array([0.0, 1e-6, 1e-3, 0.5, 30.0])
    ours = step_sizes.envelope(tensor, ops.convert_to_tensor(norms), 0.7, 1.9)
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours), step_sizes.envelope(losses, norms, 0.7, 1.9), rtol=tolerance
    )


def test_envelope_is_never_shorter_than_sharp_and_exact_on_cosh():
    # On cosh w - 1 the worst function is the function itself: the step lands on the minimum.
    for w in (0.01, 0.5, 2.0, 6.0):
        step = step_sizes.envelope(math.cosh(w) - 1, math.sinh(w), 1.0, 1.0)
        assert w - step * math.sinh(w) == pytest.approx(0.0, abs=1e-6 * w + 1e-12)
        assert step >= step_sizes.sharp(math.cosh(w) - 1, 1.0, 1.0)


def test_the_minimum_of_a_function_without_curvature_there_takes_no_infinite_step():
    assert step_sizes.sharp(0.0, H0=0.0, H1=6.0, rho=1 / 3) == 0.0
    assert step_sizes.power(0.0, H0=0.0, H1=6.0, rho=1 / 3) == 0.0


@pytest.mark.parametrize("rho", [0.5, 100.0, 1000.0, 1e38])
def test_power_without_H1_is_a_constant_step_whatever_the_exponent(rho):
    for loss in (0.0, 3.0, 1e30):
        assert step_sizes.power(loss, H0=4.0, H1=0.0, rho=rho) == 0.125
