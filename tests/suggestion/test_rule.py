"""The rule of choice on curves whose answer is known."""

import math

import keras
import numpy as np
import pytest

from keras_h0h1.suggestion import landmarks, largest_stable_rate, recommend, smooth

RATES = np.geomspace(1e-6, 10.0, 71)  # ten a decade


def valley(falls_at=1e-2, blows_up_at=1.0, depth=1.0, level=2.0):
    """Falls by `depth` around one rate and is back around another."""
    fallen = depth / (1.0 + (falls_at / RATES) ** 2)
    return level - fallen + depth * (RATES / blows_up_at) ** 2


def test_smoothing_keeps_straight_lines_and_weighs_five_points():
    line = np.arange(10.0)
    np.testing.assert_allclose(smooth(line)[2:-2], line[2:-2])
    spike = np.zeros(11)
    spike[5] = 9.0
    np.testing.assert_allclose(smooth(spike)[3:8], [1.0, 2.0, 3.0, 2.0, 1.0])
    np.testing.assert_allclose(smooth(np.ones(7)), 1.0)


def test_landmarks_of_a_valley():
    found = landmarks(RATES, valley(), 2.0)
    # The slope of 1 / (1 + (a / rate)^2) against log(rate) is steepest at a, a quarter at 3.7 a.
    assert found.steepest == pytest.approx(1e-2, rel=0.3)
    assert found.fast == pytest.approx(3.7e-2, rel=0.3)
    assert found.fast < found.lowest < found.blow_up
    assert found.blow_up == pytest.approx(1.0, rel=0.3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_the_rate_does_not_depend_on_the_unit_of_the_loss(scale, shift):
    expected = recommend(RATES, valley(), initial_loss=2.0)
    losses = scale * (valley() + shift)
    found = recommend(RATES, losses, initial_loss=scale * (2.0 + shift))
    assert found.base == pytest.approx(expected.base)


def test_the_rate_moves_with_the_valley():
    bases = [recommend(RATES, valley(at, 1e2 * at), initial_loss=2.0).base for at in (1e-4, 1e-2)]
    assert bases[1] / bases[0] == pytest.approx(100.0, rel=1e-6)


def test_noise_of_single_batches_does_not_decide():
    clean = recommend(RATES, valley(), initial_loss=2.0).base
    near = 0
    for seed in range(40):
        noise = 0.05 * np.random.default_rng(seed).normal(size=len(RATES))
        base = recommend(RATES, valley() + noise, initial_loss=2.0).base
        near += clean / 2 < base < 2 * clean
    assert near >= 38


def test_each_bound_can_decide():
    free = recommend(RATES, valley(), initial_loss=2.0)
    assert free.base == free.marks["fast"] and "falls fast" in free.reasons[0]
    narrow = recommend(RATES, valley(blows_up_at=3e-2), initial_loss=2.0)
    assert narrow.base == pytest.approx(0.25 * narrow.marks["blow_up"])
    assert "0.25 of that" in narrow.reasons[0]
    sharp = recommend(RATES, valley(), initial_loss=2.0, stable_later=0.01)
    assert sharp.base == pytest.approx(0.0025) and "curvature" in sharp.reasons[0]
    assert recommend(RATES, valley(), initial_loss=2.0, stable_later=math.inf).base == free.base


def test_optimizers_that_normalise_have_multiples_of_their_own():
    def of(stable=None, **arguments):
        return recommend(
            RATES, valley(**arguments), initial_loss=2.0, stable_later=stable, normalised=True
        )

    free = of(blows_up_at=3.0)
    assert free.base == pytest.approx(3.0 * free.marks["fast"])
    assert f"3 times that is {free.base:.2g}" in free.reasons[0]
    narrow = of(blows_up_at=0.3)
    assert narrow.base == pytest.approx(0.1 * narrow.marks["blow_up"])
    sharp = of(stable=1e-3, blows_up_at=3.0)
    # Said, and no bound.
    assert sharp.base == free.base and any("no bound" in reason for reason in sharp.reasons)


def test_a_loss_that_is_not_finite_counts_as_blown_up():
    losses = 2.0 - 1.0 / (1.0 + (1e-2 / RATES) ** 2)
    losses[RATES > 0.05] = np.inf
    found = recommend(RATES, losses, initial_loss=2.0)
    assert found.marks["blow_up"] == RATES[RATES > 0.05][0]
    assert found.base <= found.marks["blow_up"] / 4 + 1e-12


def test_a_range_that_ends_too_early_says_so():
    short = RATES < 0.1
    found = recommend(RATES[short], valley()[short], initial_loss=2.0)
    assert "did not rise" in found.reasons[-1]


def test_a_loss_that_only_rises():
    found = recommend(RATES, 2.0 + RATES**2, initial_loss=2.0)
    assert found.base < 0.25 and "upper bound" in found.reasons[-1]
    assert "fast" not in found.marks


def test_nothing_happened():
    with pytest.raises(ValueError, match=r"neither fell nor rose.*Received: rates from 1e-06"):
        recommend(RATES, np.full(71, 2.0), initial_loss=2.0)


def test_noise_alone_is_seldom_taken_for_something():
    refused = 0
    for seed in range(100):
        noise = 0.1 * np.random.default_rng(seed).normal(size=len(RATES))
        try:
            recommend(RATES, 2.0 + noise, initial_loss=2.0)
        except ValueError:
            refused += 1
    assert refused >= 85


@pytest.mark.parametrize(
    "rates, losses, message",
    [
        ([1.0, 2.0], [1.0, 2.0], "10 at least"),
        (RATES, np.ones(70), "one length"),
        (RATES[::-1], valley(), "positive and growing"),
        (RATES, np.full(71, np.nan), "begin with a lower rate"),
    ],
)
def test_unusable_curves(rates, losses, message):
    with pytest.raises(ValueError, match=message):
        recommend(rates, losses, initial_loss=2.0)


@pytest.mark.parametrize("stable", [0.0, -1.0, math.nan])
def test_unusable_stable_rates(stable):
    with pytest.raises(ValueError, match="stable_at_start"):
        recommend(RATES, valley(), initial_loss=2.0, stable_at_start=stable)


def test_the_exponent_is_that_of_the_two_measurements():
    # Where the curvature is K gap^2 exactly, the gap falls from 2 to about 1 and the stable rate
    # grows fourfold.
    low = smooth(valley()).min()
    found = recommend(
        RATES, valley(), initial_loss=2.0, stable_at_start=1.0, stable_later=(2.0 / low) ** 2
    )
    assert found.rho == pytest.approx(2.0, abs=0.11)
    # The same with a bound below the loss: gaps are larger, their ratio is smaller.
    higher = recommend(
        RATES, valley(), initial_loss=2.0, f_star=-2.0, stable_at_start=1.0, stable_later=4.0
    )
    assert higher.rho == 3.0


def test_the_exponent_makes_the_first_step_stable():
    found = recommend(RATES, valley(), initial_loss=2.0, stable_at_start=0.008)
    assert found.base * 0.5**found.rho <= 0.008 < found.base * 0.5 ** (found.rho - 0.2)
    assert recommend(RATES, valley(), initial_loss=2.0, stable_at_start=10.0).rho == 1.0
    extreme = recommend(RATES, valley(), initial_loss=2.0, stable_at_start=1e-6)
    assert extreme.rho == 3.0 and "may rise at first" in extreme.reasons[-1]


@pytest.mark.parametrize(
    "make, arguments",
    [
        (lambda rate: keras.optimizers.SGD(rate), {}),
        (lambda rate: keras.optimizers.SGD(rate, momentum=0.9), {"momentum": 0.9}),
        (
            lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
            {"momentum": 0.9, "nesterov": True},
        ),
    ],
)
def test_the_largest_stable_rate_of_keras_own_optimizers(make, arguments):
    # On w^2 * 4 / 2, with the optimizer itself.
    limit = largest_stable_rate(4.0, **arguments)
    for share, grows in ((0.98, False), (1.02, True)):
        optimizer, w = make(share * limit), keras.Variable([1.0])
        sizes = []
        for _ in range(150):
            optimizer.apply([4.0 * keras.ops.convert_to_tensor(w)], [w])
            sizes.append(abs(float(keras.ops.convert_to_numpy(w)[0])))
        assert (max(sizes[-5:]) > max(sizes[60:65])) == grows


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_largest_stable_rate_of_an_average(nesterov):
    # Adam's form with a preconditioner of 1, and Nadam's.
    limit, beta = largest_stable_rate(4.0, 0.9, averaged=True, nesterov=nesterov), 0.9
    for share, grows in ((0.98, False), (1.02, True)):
        w, m, sizes = 1.0, 0.0, []
        for _ in range(400):
            m = beta * m + (1 - beta) * 4.0 * w
            w -= share * limit * (beta * m + (1 - beta) * 4.0 * w if nesterov else m)
            sizes.append(abs(w))
        assert (max(sizes[-5:]) > max(sizes[100:105])) == grows


def test_a_curvature_that_is_not_positive_bounds_nothing():
    assert largest_stable_rate(0.0) == largest_stable_rate(-1.0) == math.inf
    with pytest.raises(ValueError, match="momentum"):
        largest_stable_rate(1.0, momentum=1.0)
