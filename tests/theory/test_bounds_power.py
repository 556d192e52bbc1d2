"""Bounds for rho above 1: a thousand random problems each, and every guard."""

import numpy as np
import pytest

from benchmarks.step_families import BARRIERS, Barriers
from keras_h0h1.theory import Smoothness, bounds, bounds_power
from tests.backends import only_on

pytestmark = only_on("jax", reason="in NumPy alone: one backend is enough")


SQUARE = Smoothness(1, 1, rho=2)


def test_the_barriers_are_as_smooth_as_claimed():
    family = Barriers(0)
    for share in np.linspace(0, 1, 30):
        u = share * family.u
        F = (1 - u * u) ** -family.k
        second = 2 * family.k * F ** (1 + 1 / family.k)
        second = second + 4 * family.k * (family.k + 1) * u * u * F**family.rho
        curvature = np.maximum(family.s * second, family.mu)
        gap = family.value(u, 0 * u)
        assert np.all(curvature <= (family.K0 + family.K * gap**family.rho) * (1 + 1e-9))
        assert np.all(family.s * second >= family.mu * (1 - 1e-12))


def test_pl_and_convex_bounds_hold():
    steps, limits = Barriers(1).sharp_steps()
    assert steps.shape == (BARRIERS,)
    assert np.all(steps <= limits["pl_power"]) and np.all(steps <= limits["convex_power"])
    # The detour is never better by more than the steps it rounds.
    assert np.all(limits["pl_power"] <= limits["pl_sharp of reduced"] * 1.05 + 1)
    assert np.max(steps / limits["pl_power"]) > 0.4  # parabolas: half of the bound


def test_aiming_bound_holds():
    family = Barriers(2)
    steps, limits = family.aiming_steps()
    assert np.all(steps <= np.ceil(limits))
    for i in range(BARRIERS):
        smoothness = family.smoothness(i)
        made = bounds_power.aiming_denominator(smoothness)
        growth = max(2 / (family.rho[i] + 1), 0.5) * family.K[i]
        assert made.H0 == 2 * family.K0[i] and made.H1 == pytest.approx(growth)
        given = (family.distance[i], family.gap0[i], family.epsilon[i])
        # Convex functions have Aiming 1, hence any smaller theta too: its step is shorter.
        assert bounds_power.aiming_power(smoothness, *given, theta=0.5) == pytest.approx(
            4 * bounds_power.aiming_power(smoothness, *given)
        )


def test_the_recursion_of_the_proof_stays_below_the_bound():
    # The slowest gaps that descent and PL allow: gap <- gap (1 - mu / l(gap)).
    random, ratios = np.random.default_rng(3), []
    for _ in range(1000):
        K0, K, rho = *np.exp(random.uniform(-1, 1, 2)), random.uniform(1.01, 5)
        mu, gap = K0 * np.exp(random.uniform(-2, 0)), np.exp(random.uniform(-1, 1.2))
        smoothness, epsilon = Smoothness(K0, K, rho=rho), gap * np.exp(random.uniform(-5, -0.1))
        bound, x, steps = bounds_power.pl_power(smoothness, mu, gap, epsilon), gap, 0
        while x > epsilon:
            x, steps = x * (1 - mu / (K0 + K * x**rho)), steps + 1
        assert steps <= bound
        ratios.append(steps / bound)
    assert np.median(ratios) > 0.7


def test_the_direct_bound_is_shorter_by_rho_at_large_gaps():
    for rho in (1.5, 2.0, 3.0):
        smoothness = Smoothness(1.0, 1.0, rho=rho)
        given = (0.01, 1e4, 1.0)
        direct = bounds_power.pl_power(smoothness, *given)
        detour = bounds.pl_sharp(bounds_power.reduced(smoothness, 1e4), *given)
        assert detour / direct == pytest.approx(rho, rel=0.02)


@pytest.mark.parametrize(
    ("guard", "call"),
    [
        ("rho_above_1", lambda: bounds_power.pl_power(Smoothness(1, 1), 0.1, 1, 0.1)),
        ("rho_above_1", lambda: bounds_power.convex_power(Smoothness(1, 1), 1, 1, 0.1)),
        ("rho_above_1", lambda: bounds_power.aiming_power(Smoothness(1, 1), 1, 1, 0.1)),
        ("rho_at_least_1", lambda: bounds_power.reduced(Smoothness(1, 1, rho=0.5), 1.0)),
        ("gap_positive", lambda: bounds_power.reduced(SQUARE, 0.0)),
        ("mu_at_most_H0", lambda: bounds_power.pl_power(SQUARE, 2, 1, 0.1)),
        ("mu_positive", lambda: bounds_power.pl_power(SQUARE, 0, 1, 0.1)),
        ("epsilon_at_most_gap", lambda: bounds_power.pl_power(SQUARE, 1, 1, 2)),
        (
            "epsilon_at_most_gap",
            lambda: bounds_power.convex_power(SQUARE, 1, 1, 2),
        ),
        (
            "epsilon_at_most_gap",
            lambda: bounds_power.aiming_power(SQUARE, 1, 1, 2),
        ),
        (
            "distance_positive",
            lambda: bounds_power.convex_power(SQUARE, 0, 1, 0.1),
        ),
        (
            "theta_in_range",
            lambda: bounds_power.aiming_power(SQUARE, 1, 1, 0.1, 2),
        ),
    ],
)
def test_guards(guard, call):
    with pytest.raises(bounds.GuardError, match=r"Received: ") as caught:
        call()
    assert caught.value.guard == guard
