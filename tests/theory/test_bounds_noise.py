"""Noise that does not vanish: exact expectations, simulated hitting times, and a counterexample."""

import keras
import numpy as np
import pytest
from scipy import integrate

from keras_h0h1.theory import Smoothness, bounds, bounds_noise

COUNT = 1000
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="in NumPy alone: one backend is enough"
)


class Noisy:
    """(H0/H1)(cosh(sqrt(H1) u) - 1) + (mu/2) v^2 with a gradient that is off by a random sign.

    g = gradient + sign n e with a unit vector e and n^2 = a gap + b G^2 + s^2, so that always
    |g|^2 <= 2 a gap + (2 + 2 b) G^2 + 2 s^2.
    """

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.random = random
        self.H0, self.H1 = (
            np.exp(random.uniform(-1, 1, COUNT)),
            np.exp(random.uniform(-1, 1, COUNT)),
        )
        self.mu = self.H0 * np.exp(random.uniform(-1.5, 0, COUNT))
        self.a, self.b = self.mu * random.uniform(0, 1, COUNT), random.uniform(0, 1, COUNT)
        gap0 = self.H0 / self.H1 * np.exp(random.uniform(0, 2.5, COUNT))
        self.s = np.sqrt(self.mu * gap0) * np.exp(random.uniform(-5, -2.5, COUNT))
        self.base = np.exp(random.uniform(-4, 0, COUNT)) / self.H0
        self.u = np.arccosh(1 + self.H1 * gap0 / self.H0) / np.sqrt(self.H1)
        self.v = random.normal(size=COUNT) * np.sqrt(gap0 / self.mu)
        self.A, self.B, self.C = 2 * self.a, 2 + 2 * self.b, 2 * self.s**2
        self.smoothness = [Smoothness(*pair) for pair in zip(self.H0, self.H1, strict=True)]
        noise = list(zip(self.A, self.B, self.C, self.base, strict=True))
        self.scale = np.array(
            [
                bounds_noise.abc_scale(smoothness, mu, *abc)
                for smoothness, mu, abc in zip(self.smoothness, self.mu, noise, strict=True)
            ]
        )
        self.growth = np.array(
            [
                bounds_noise.abc_growth(smoothness, *abc[:3], scale, abc[3])
                for smoothness, abc, scale in zip(self.smoothness, noise, self.scale, strict=True)
            ]
        )

    def value(self, u, v):
        steep = self.H0 / self.H1 * (np.cosh(np.sqrt(self.H1) * u) - 1)
        return steep + self.mu / 2 * v * v

    def gradient(self, u, v):
        return self.H0 / np.sqrt(self.H1) * np.sinh(np.sqrt(self.H1) * u), self.mu * v

    def size(self, gap):
        return np.minimum(self.base, self.scale / (self.H0 + self.H1 * gap))

    def draws(self, u, v, angle):
        """Both stochastic gradients, each of probability 1/2."""
        along, across = self.gradient(u, v)
        noise = self.a * self.value(u, v) + self.b * (along**2 + across**2) + self.s**2
        off = np.sqrt(noise) * np.cos(angle), np.sqrt(noise) * np.sin(angle)
        return [(along + sign * off[0], across + sign * off[1]) for sign in (1, -1)]


def test_one_step_and_its_exact_expectation():
    family = Noisy(0)
    for share in np.linspace(0.05, 1, 12):
        u, v = share * family.u, share * family.v
        gap, (along, across) = family.value(u, v), family.gradient(u, v)
        eta, after = family.size(gap), []
        for g in family.draws(u, v, family.random.uniform(0, 7, COUNT)):
            norm = np.hypot(*g)
            limit = family.A * gap + family.B * (along**2 + across**2) + family.C
            assert np.all(norm**2 <= limit * (1 + 1e-12))
            moved = family.value(u - eta * g[0], v - eta * g[1])
            after.append(moved)
            inner = along * g[0] + across * g[1]
            for i in range(0, COUNT, 10):
                bound = bounds_noise.noisy_step(
                    family.smoothness[i], gap[i], eta[i], inner[i], norm[i]
                )
                assert moved[i] <= bound * (1 + 1e-12)
        curvature = family.H0 + family.H1 * gap
        noise = family.growth / 2 * eta * curvature * family.C
        bound = gap - eta * (family.mu * gap / 2 - noise)
        assert np.all(0.5 * (after[0] + after[1]) <= bound * (1 + 1e-12))


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
    family, runs = Noisy(2), 4
    floors = 2.001 * family.growth * family.C / family.mu
    floors = np.maximum(floors * family.scale, 1e-3 * family.value(family.u, family.v))
    gap0 = family.value(family.u, family.v)
    chosen = floors < 0.5 * gap0
    epsilon, limits = np.where(chosen, floors, gap0), np.zeros(COUNT)
    for i in np.flatnonzero(chosen):
        limits[i] = bounds_noise.abc_hitting_time(
            family.smoothness[i],
            family.mu[i],
            gap0[i],
            epsilon[i],
            A=family.A[i],
            B=family.B[i],
            C=family.C[i],
            scale=family.scale[i],
            base=family.base[i],
        )
    assert np.sum(chosen) > 900
    times = np.full((runs, COUNT), -1)
    u, v = np.tile(family.u, (runs, 1)), np.tile(family.v, (runs, 1))
    for k in range(60_000):
        gap = family.value(u, v)
        times[(times < 0) & (gap <= epsilon)] = k
        done = times >= 0
        if np.all(done):
            break
        draws = family.draws(u, v, family.random.uniform(0, 7, u.shape))
        sign = family.random.random(u.shape) < 0.5
        g = [np.where(sign, one, other) for one, other in zip(*draws, strict=True)]
        eta = np.where(done, 0.0, family.size(gap))
        u, v = u - eta * g[0], v - eta * g[1]
    assert np.all(times >= 0)
    ratio = np.mean(times, axis=0)[chosen] / limits[chosen]
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
