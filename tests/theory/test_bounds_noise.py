"""Noise that does not vanish: exact expectations, simulated hitting times, and a counterexample."""

import numpy as np
import pytest
from scipy import integrate

from benchmarks.step_families import NOISY, Noisy
from keras_h0h1.theory import Smoothness, bounds, bounds_noise
from tests.backends import only_on

pytestmark = only_on("jax", reason="in NumPy alone: one backend is enough")


def test_one_step_and_its_exact_expectation():
    family = Noisy(0)
    for share in np.linspace(0.05, 1, 6):
        u, v = share * family.u, share * family.v
        gap, (along, across) = family.value(u, v), family.gradient(u, v)
        for g in family.draws(u, v, family.random.uniform(0, 7, NOISY)):
            limit = family.A * gap + family.B * (along**2 + across**2) + family.C
            assert np.all(np.hypot(*g) ** 2 <= limit * (1 + 1e-12))
        pairs = family.step_bounds(share)
        for moved, bound in pairs:
            assert bound.shape == (NOISY,) and np.all(moved <= bound * (1 + 1e-12))
        eta, curvature = family.size(gap), family.H0 + family.H1 * gap
        noise = family.growth / 2 * eta * curvature * family.C
        bound = gap - eta * (family.mu * gap / 2 - noise)
        assert np.all(0.5 * (pairs[0][0] + pairs[1][0]) <= bound * (1 + 1e-12))


def test_noisy_steps_of_any_length_are_bounded():
    random = np.random.default_rng(1)
    for _ in range(1000):
        H0, H1 = np.exp(random.uniform(-1, 1, 2))
        w, g = random.normal(size=2) * np.exp(random.uniform(-2, 1, 2))
        smoothness, root = Smoothness(H0, H1), np.sqrt(H1)
        value = lambda x: H0 / H1 * (np.cosh(root * x) - 1)  # noqa: B023, E731
        inner = H0 / root * np.sinh(root * w) * g
        bound = bounds_noise.noisy_step(smoothness, value(w), 1.0, inner, abs(g))
        assert value(w - g) <= bound * (1 + 1e-9)


def test_expected_hitting_times():
    chosen, times, limits = Noisy(2).hitting_times()
    assert np.sum(chosen) > 900
    ratio = times[chosen] / limits[chosen]
    assert np.max(ratio) <= 1 and np.max(ratio) > 0.1


def test_the_integral_is_what_quadrature_gives():
    random = np.random.default_rng(3)
    for _ in range(100):
        H0, H1, base = np.exp(random.uniform(-1, 1, 3))
        H1 = H1 * (random.random() < 0.9)
        mu, scale, epsilon, gap = 0.3 * H0, 0.2, 0.1, 0.1 * np.exp(random.uniform(0, 5))
        found = bounds_noise.abc_hitting_time(
            Smoothness(H0, H1), mu, gap, epsilon, A=0, B=1, C=0, scale=scale, base=base
        )
        rate = lambda x: mu / 4 * min(base, scale / (H0 + H1 * x)) * x  # noqa: B023, E731
        kink = [(scale / base - H0) / H1] if H1 else []
        kink = [x for x in kink if epsilon < x < gap] or None
        time = integrate.quad(lambda x: 1 / rate(x), epsilon, gap, points=kink)[0]  # noqa: B023
        assert found == pytest.approx(epsilon / rate(epsilon) + time, rel=1e-6)


def test_noise_bounded_in_expectation_alone_is_not_enough():
    # Every M has the same A, B, C; after one step the expected loss exceeds any number.
    smoothness, w = Smoothness(1.0, 1.0), 1.0
    gap = np.cosh(w) - 1
    eta = min(0.5, 0.5 / float(smoothness.bound(gap)))
    expected = []
    for M in (10.0, 100.0, 300.0, 1000.0):
        outcomes, chances = np.array([M, -M, 0.0]), np.array([0.5, 0.5, 0.0]) / M**2
        chances[2] = 1 - chances[:2].sum()
        gradients = np.sinh(w) + outcomes
        assert chances @ gradients == pytest.approx(np.sinh(w))
        assert chances @ gradients**2 == pytest.approx(np.sinh(w) ** 2 + 1)
        expected.append(chances @ (np.cosh(w - eta * gradients) - 1))
        assert expected[-1] >= (np.cosh(eta * M) - 1) / (2 * M**2)
    assert np.all(np.diff(expected[1:]) > 0) and expected[-1] > 1e50


GIVEN = {"A": 0.1, "B": 2.0, "C": 0.001, "scale": 0.2, "base": 0.1}


@pytest.mark.parametrize(
    ("guard", "smoothness", "changes"),
    [
        ("rho_is_1", Smoothness(1, 1, rho=2), {}),
        ("scale_small", Smoothness(1, 1), {"scale": 0.9}),
        ("scale_small", Smoothness(1, 1), {"A": 10.0}),
        ("epsilon_above_noise", Smoothness(1, 1), {"C": 10.0}),
        ("A_nonnegative", Smoothness(1, 1), {"A": -1.0}),
        ("C_nonnegative", Smoothness(1, 1), {"C": -1.0}),
        ("B_positive", Smoothness(1, 1), {"B": 0.0}),
        ("scale_positive", Smoothness(1, 1), {"scale": 0.0}),
        ("base_positive", Smoothness(1, 1), {"base": np.nan}),
        ("mu_at_most_H0", Smoothness(0.1, 1), {}),
    ],
)
def test_guards(guard, smoothness, changes):
    assert bounds_noise.abc_hitting_time(Smoothness(1, 1), 0.5, 5.0, 0.1, **GIVEN) > 0
    with pytest.raises(bounds.GuardError, match=r"Received: ") as caught:
        bounds_noise.abc_hitting_time(smoothness, 0.5, 5.0, 0.1, **(GIVEN | changes))
    assert caught.value.guard == guard


def test_guards_of_one_step():
    for guard, smoothness, gap, step in (
        ("H0_positive", Smoothness(0, 1), 1.0, 1.0),
        ("rho_is_1", Smoothness(1, 1, rho=0.5), 1.0, 1.0),
        ("gap_nonnegative", Smoothness(1, 1), -1.0, 1.0),
        ("step_nonnegative", Smoothness(1, 1), 1.0, -1.0),
    ):
        with pytest.raises(bounds.GuardError) as caught:
            bounds_noise.noisy_step(smoothness, gap, step, 1.0, 1.0)
        assert caught.value.guard == guard
