"""Bounds for rho above 1: a thousand random problems each, and every guard."""

import keras
import numpy as np
import pytest

from keras_h0h1.theory import Smoothness, bounds, bounds_power

COUNT = 1200
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="in NumPy alone: one backend is enough"
)


SQUARE = Smoothness(1, 1, rho=2)


class Barriers:
    """f = s ((1 - u^2)^-k - 1) + (mu/2) v^2, whose curvature is of the order f^(1 + 2/k).

    With F = (1 - u^2)^-k the second derivative of F is at most 4 k (k + 1) F^rho, rho = 1 + 2/k,
    and (1 + x)^rho <= 2^(rho - 1) (1 + x^rho). It is at least 2 k everywhere. The other half are
    parabolas, alike in value and with the same claim, on which every step is as slow as PL allows.
    """

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        k, self.s = np.exp(random.uniform(-0.6, 1.8, COUNT)), np.exp(random.uniform(-2, 2, COUNT))
        self.k, self.rho = k, 1 + 2 / k
        self.parabola = np.arange(COUNT) % 2 == 0
        self.mu = 2 * k * self.s * np.exp(random.uniform(-2.5, 0, COUNT))
        size = 4 * k * (k + 1) * 2 ** (self.rho - 1)
        self.K0, self.K = self.s * size, size * self.s ** (1 - self.rho)
        # A gap at which K gap^rho matters, a few hundred steps away.
        start = self.s * np.exp(random.uniform(-1, 0.6, COUNT))
        self.u = np.sqrt(1 - (1 + start / self.s) ** (-1 / k)) * ~self.parabola
        self.v = np.where(self.parabola, np.sqrt(2 * start / self.mu), random.normal(size=COUNT))
        self.gap0 = self.value(self.u, self.v)
        self.epsilon = self.gap0 * np.exp(random.uniform(-4, -0.5, COUNT))
        self.distance = np.hypot(self.u, self.v)

    def value(self, u, v):
        return self.s * ((1 - u * u) ** -self.k - 1) + self.mu / 2 * v * v

    def run(self, bound, limit=100_000):
        """Steps of 1 / bound(gap), with the gap checked never to rise."""
        u, v, steps = self.u.copy(), self.v.copy(), np.full(COUNT, -1)
        gap = self.gap0
        for k in range(limit):
            steps[(steps < 0) & (gap <= self.epsilon)] = k
            if np.all(steps >= 0):
                return steps
            slope = 2 * self.s * self.k * u * (1 - u * u) ** (-self.k - 1)
            size = np.where(steps < 0, 1 / bound(gap), 0.0)
            u, v = u - size * slope, v - size * self.mu * v
            previous, gap = gap, self.value(u, v)
            assert np.all(gap <= previous * (1 + 1e-12))
        raise AssertionError(f"{np.sum(steps < 0)} members did not arrive")

    def smoothness(self, i):
        return Smoothness(self.K0[i], self.K[i], rho=self.rho[i])


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
    family = Barriers(1)
    steps = family.run(lambda gap: family.K0 + family.K * gap**family.rho)
    tight = []
    for i in range(COUNT):
        smoothness, gap = family.smoothness(i), family.gap0[i]
        bound = bounds_power.pl_power(smoothness, family.mu[i], gap, family.epsilon[i])
        assert steps[i] <= bound
        tight.append(steps[i] / bound)
        assert steps[i] <= bounds_power.convex_power(
            smoothness, family.distance[i], gap, family.epsilon[i]
        )
        # The detour is never better by more than the steps it rounds.
        detour = bounds.pl_sharp(
            bounds_power.reduced(smoothness, gap), family.mu[i], gap, family.epsilon[i]
        )
        assert bound <= detour * 1.05 + 1
    assert max(tight) > 0.4  # parabolas: half of the bound


def test_aiming_bound_holds():
    family = Barriers(2)
    growth = np.maximum(2 / (family.rho + 1), 0.5) * family.K
    steps = family.run(lambda gap: 2 * family.K0 + growth * gap**family.rho)
    for i in range(COUNT):
        smoothness = family.smoothness(i)
        made = bounds_power.aiming_denominator(smoothness)
        assert made.H0 == 2 * family.K0[i] and made.H1 == pytest.approx(growth[i])
        given = (family.distance[i], family.gap0[i], family.epsilon[i])
        assert steps[i] <= np.ceil(bounds_power.aiming_power(smoothness, *given))
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
