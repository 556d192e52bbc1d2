"""The arithmetic of constants, against the inequalities that it has to imply."""

import numpy as np
import pytest

from keras_h0h1.theory import Smoothness
from keras_h0h1.theory.smoothness import mean, total


def test_the_sum_is_lemma_3():
    # H0 = sum H0_i + max H1_i (F* - sum f_i*), written out with numbers.
    parts = [Smoothness(1.0, 3.0, 0.5), Smoothness(2.0, 5.0, -1.0), Smoothness(0.5, 4.0, 2.0)]
    F_star = 4.0
    result = total(parts).with_minimum(F_star)
    assert result == Smoothness(3.5 + 5.0 * (4.0 - 1.5), 5.0, 4.0)
    assert (parts[0] + parts[1] + parts[2]).with_minimum(F_star) == result


def test_the_mean_is_lemma_3():
    parts = [Smoothness(1.0, 3.0, 0.5), Smoothness(2.0, 5.0, -1.0)]
    F_star = 1.0
    expected = Smoothness(1.5 + 5.0 * (1.0 - (-0.25)), 5.0, 1.0)
    assert mean(parts).with_minimum(F_star) == expected


def test_scaling_shift_affine_and_ridge_are_lemma_3():
    one = Smoothness(2.0, 3.0, f_star=1.0)
    assert 4.0 * one == Smoothness(8.0, 3.0, 4.0)
    assert one + 2.5 == Smoothness(2.0, 3.0, 3.5)
    # |A| = 3 and g* = 2: H0' = 9 (2 + 3 (2 - 1)), H1' = 27
    assert one.affine(3.0).with_minimum(2.0) == Smoothness(9 * (2 + 3), 27.0, 2.0)
    # F* = 1.5: H0 + s + H1 (F* - f*)
    assert one.ridge(0.25).with_minimum(1.5) == Smoothness(2 + 0.25 + 3 * 0.5, 3.0, 1.5)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.9, 1.0, 1.7])
def test_sums_bound_every_split_of_the_gap_and_are_tight(rho):
    random = np.random.default_rng(0)
    parts = [Smoothness(0.0, h, rho=rho) for h in random.uniform(0.5, 3.0, size=3)]
    H1 = np.array([part.H1 for part in parts])
    splits = np.concatenate([random.dirichlet(np.ones(3), size=20000), np.eye(3)])
    # The gap 1 split among the parts in every way: sum H1_i D_i^rho against H1 * 1^rho.
    largest = np.max(splits**rho @ H1)
    bound = total(parts).H1
    assert largest <= bound * (1 + 1e-12)
    assert largest >= 0.995 * bound


@pytest.mark.parametrize("rho", [0.4, 1.0, 2.5])
def test_a_statement_above_the_minimum_follows_from_one_below(rho):
    low = Smoothness(0.3, 2.0, f_star=-1.0, rho=rho)
    high = low.with_minimum(0.7)
    losses = np.linspace(0.7, 30.0, 1000)
    assert np.all(low.bound(losses) <= high.bound(losses) * (1 + 1e-12))
    assert high.with_minimum(0.7) == high


def test_sums_do_not_depend_on_order_or_brackets():
    a, b, c = Smoothness(1.0, 2.0, 0.1), Smoothness(3.0, 1.0), Smoothness(0.2, 7.0, -3.0)
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert sum([a, b, c], start=0.0) == total([a, b, c])


def test_l0_l1_constants_hold_for_a_sum_of_exponentials():
    # f = e^(aw) + e^(-aw) has f'' = a^2 f <= 2 a^2 + a |f'|, and f* = 2.
    a, w = 1.7, np.linspace(-8, 8, 4001)
    smoothness = Smoothness.from_l0_l1(2 * a**2, a, f_star=2.0)
    assert smoothness.H0 == 3 * a**2
    assert smoothness.H1 == pytest.approx(3 * a**2 / 0.567143, rel=1e-6)
    assert np.all(2 * a**2 * np.cosh(a * w) <= smoothness.bound(2 * np.cosh(a * w)))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Smoothness(-1.0, 1.0), ValueError),
        (lambda: Smoothness(1.0, float("nan")), ValueError),
        (lambda: Smoothness(1.0, 1.0, rho=0.0), ValueError),
        (lambda: Smoothness("1", 1.0), TypeError),
        (lambda: Smoothness(1.0, 1.0) + Smoothness(1.0, 1.0, rho=0.5), TypeError),
        (lambda: Smoothness(1.0, 1.0) + "a", TypeError),
        (lambda: Smoothness(1.0, 1.0) * -2.0, ValueError),
        (lambda: Smoothness(1.0, 1.0, 3.0).with_minimum(2.0), ValueError),
        (lambda: Smoothness(1.0, 1.0).ridge(-1.0), ValueError),
        (lambda: total([]), TypeError),
    ],
)
def test_bad_constants_say_what_was_received(make, error):
    with pytest.raises(error, match=r"Received: "):
        make()
