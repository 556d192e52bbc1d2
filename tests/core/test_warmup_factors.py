"""The factors against exact rational arithmetic and closed forms, in NumPy and on the backend."""

import math
from fractions import Fraction

import numpy as np
import pytest
from keras import ops

from keras_h0h1 import warmup_factors

TIMES = [1, 2, 5, 6, 7, 40, 333, 2500]


def _length(t, beta_2):
    """RAdam's rho_t without rounding; the naive formula in float32 is wrong in the first digit."""
    beta_2 = Fraction(beta_2)
    power = beta_2**t
    return 2 / (1 - beta_2) - 1 - 2 * t * power / (1 - power)


def _rectification(t, beta_2):
    """As PyTorch's documentation writes it, with its threshold of 5."""
    limit = 2 / (1 - Fraction(beta_2)) - 1
    length = max(_length(t, beta_2), Fraction(5))
    square = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    return math.sqrt(square)


@pytest.mark.parametrize("beta_2", [0.7, 0.95, 0.999, 0.99999])
@pytest.mark.parametrize("kind", ["NumPy", "tensor"])
def test_follows_the_published_formulas(beta_2, kind, floatx, backend):
    t = np.array(TIMES, dtype=floatx)
    if kind == "tensor":
        t = ops.convert_to_tensor(t)
    precision = 2e-6 if floatx == "float32" or backend == "torch" else 1e-9
    for function, expected in [
        (warmup_factors.untuned_linear, lambda t: min(1.0, (1 - beta_2) * t / 2)),
        (warmup_factors.untuned_exponential, lambda t: -math.expm1(-(1 - beta_2) * t)),
        (warmup_factors.approximated_length, lambda t: float(_length(t, beta_2))),
        (warmup_factors.rectification, lambda t: _rectification(t, beta_2)),
    ]:
        got = function(t, beta_2)
        assert ops.is_tensor(got) == (kind == "tensor")
        got = ops.convert_to_numpy(got)
        assert got.dtype == floatx or backend == "torch"
        np.testing.assert_allclose(got, [expected(k) for k in TIMES], rtol=precision)


def test_decay_goes_from_one_to_zero_and_stays_there():
    for kind in warmup_factors.DECAY_TYPES:
        assert warmup_factors.decay(np.array([-3.0, 0.0]), kind).tolist() == [1.0, 1.0]
        np.testing.assert_allclose(warmup_factors.decay(np.array([1.0, 9.0]), kind), 0.0, atol=0)
    u = np.linspace(0, 1, 11)
    np.testing.assert_allclose(warmup_factors.decay(u, "1-sqrt"), 1 - u**0.5, rtol=1e-15)
    # Half a turn of cos**2 is the same curve.
    half = np.cos(np.pi * u / 2) ** 2
    np.testing.assert_allclose(warmup_factors.decay(u, "cosine"), half, atol=1e-15)
    with pytest.raises(ValueError, match="Received: decay_type='steep'"):
        warmup_factors.decay(0.5, "steep")


def test_gradient_norm_rate_is_within_a_factor_of_two_of_clipping():
    norms = np.logspace(-4, 4, 50)
    rate = warmup_factors.gradient_norm_rate(norms, L0=4.0, L1=0.5)
    np.testing.assert_allclose(rate, 1 / (4 + norms / 2), rtol=1e-15)
    clipped = 0.25 / np.maximum(1, norms / 8)
    assert np.all(rate <= clipped) and np.all(clipped <= 2 * rate)
    assert warmup_factors.gradient_norm_rate(0.0, L0=0.0, L1=1.0) == 0.0
