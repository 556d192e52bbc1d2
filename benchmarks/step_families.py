"""Families of problems on which steps are counted, all of their members at once.

A member is an entry of an array, so that a thousand descents cost hardly more than one. The tests
and `benchmarks.networks` use the same.
"""

import numpy as np

from keras_h0h1.theory import Smoothness, bounds, bounds_noise, bounds_power

BARRIERS, NOISY = 1200, 1000


class Barriers:
    """f = s ((1 - u^2)^-k - 1) + (mu/2) v^2, whose curvature is of the order f^(1 + 2/k).

    With F = (1 - u^2)^-k the second derivative of F is at most 4 k (k + 1) F^rho, rho = 1 + 2/k,
    and (1 + x)^rho <= 2^(rho - 1) (1 + x^rho). It is at least 2 k everywhere. The other half are
    parabolas, alike in value and with the same claim, on which every step is as slow as PL allows.
    """

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        k, self.s = (
            np.exp(random.uniform(-0.6, 1.8, BARRIERS)),
            np.exp(random.uniform(-2, 2, BARRIERS)),
        )
        self.k, self.rho = k, 1 + 2 / k
        self.parabola = np.arange(BARRIERS) % 2 == 0
        self.mu = 2 * k * self.s * np.exp(random.uniform(-2.5, 0, BARRIERS))
        size = 4 * k * (k + 1) * 2 ** (self.rho - 1)
        self.K0, self.K = self.s * size, size * self.s ** (1 - self.rho)
        # A gap at which K gap^rho matters, a few hundred steps away.
        start = self.s * np.exp(random.uniform(-1, 0.6, BARRIERS))
        self.u = np.sqrt(1 - (1 + start / self.s) ** (-1 / k)) * ~self.parabola
        self.v = np.where(self.parabola, np.sqrt(2 * start / self.mu), random.normal(size=BARRIERS))
        self.gap0 = self.value(self.u, self.v)
        self.epsilon = self.gap0 * np.exp(random.uniform(-4, -0.5, BARRIERS))
        self.distance = np.hypot(self.u, self.v)

    def value(self, u, v):
        """$f$, the minimum being 0."""
        return self.s * ((1 - u * u) ** -self.k - 1) + self.mu / 2 * v * v

    def run(self, bound, limit=100_000):
        """Steps of 1 / bound(gap), with the gap checked never to rise."""
        u, v, steps = self.u.copy(), self.v.copy(), np.full(BARRIERS, -1)
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

    def smoothness(self, i) -> Smoothness:
        """The constants of member `i`."""
        return Smoothness(self.K0[i], self.K[i], rho=self.rho[i])

    def sharp_steps(self):
        """Steps of 1/l(gap), and the bounds `pl_power`, `convex_power` and the reduced one."""
        steps = self.run(lambda gap: self.K0 + self.K * gap**self.rho)
        limits = {"pl_power": [], "convex_power": [], "pl_sharp of reduced": []}
        for i in range(BARRIERS):
            smoothness, gap, epsilon = self.smoothness(i), self.gap0[i], self.epsilon[i]
            given = smoothness, self.mu[i], gap, epsilon
            limits["pl_power"].append(bounds_power.pl_power(*given))
            convex = bounds_power.convex_power(smoothness, self.distance[i], gap, epsilon)
            limits["convex_power"].append(convex)
            detour = bounds_power.reduced(smoothness, gap)
            limits["pl_sharp of reduced"].append(bounds.pl_sharp(detour, *given[1:]))
        return steps, {name: np.array(values) for name, values in limits.items()}

    def aiming_steps(self):
        """Steps of the rule of `aiming_power`, and its bound."""
        growth = np.maximum(2 / (self.rho + 1), 0.5) * self.K
        steps = self.run(lambda gap: 2 * self.K0 + growth * gap**self.rho)
        given = zip(self.distance, self.gap0, self.epsilon, strict=True)
        limits = [bounds_power.aiming_power(self.smoothness(i), *g) for i, g in enumerate(given)]
        return steps, np.array(limits)


class Noisy:
    """(H0/H1)(cosh(sqrt(H1) u) - 1) + (mu/2) v^2 with a gradient that is off by a random sign.

    g = gradient + sign n e with a unit vector e and n^2 = a gap + b G^2 + s^2, so that always
    |g|^2 <= 2 a gap + (2 + 2 b) G^2 + 2 s^2.
    """

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        self.random = random
        self.H0, self.H1 = (
            np.exp(random.uniform(-1, 1, NOISY)),
            np.exp(random.uniform(-1, 1, NOISY)),
        )
        self.mu = self.H0 * np.exp(random.uniform(-1.5, 0, NOISY))
        self.a, self.b = self.mu * random.uniform(0, 1, NOISY), random.uniform(0, 1, NOISY)
        gap0 = self.H0 / self.H1 * np.exp(random.uniform(0, 2.5, NOISY))
        self.s = np.sqrt(self.mu * gap0) * np.exp(random.uniform(-5, -2.5, NOISY))
        self.base = np.exp(random.uniform(-4, 0, NOISY)) / self.H0
        self.u = np.arccosh(1 + self.H1 * gap0 / self.H0) / np.sqrt(self.H1)
        self.v = random.normal(size=NOISY) * np.sqrt(gap0 / self.mu)
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
        """$f$, the minimum being 0."""
        steep = self.H0 / self.H1 * (np.cosh(np.sqrt(self.H1) * u) - 1)
        return steep + self.mu / 2 * v * v

    def gradient(self, u, v):
        """The two parts of the gradient of the full loss."""
        return self.H0 / np.sqrt(self.H1) * np.sinh(np.sqrt(self.H1) * u), self.mu * v

    def size(self, gap):
        """The step size."""
        return np.minimum(self.base, self.scale / (self.H0 + self.H1 * gap))

    def draws(self, u, v, angle):
        """Both stochastic gradients, each of probability 1/2."""
        along, across = self.gradient(u, v)
        noise = self.a * self.value(u, v) + self.b * (along**2 + across**2) + self.s**2
        off = np.sqrt(noise) * np.cos(angle), np.sqrt(noise) * np.sin(angle)
        return [(along + sign * off[0], across + sign * off[1]) for sign in (1, -1)]

    def hitting_times(self, runs: int = 4, limit: int = 60_000):
        """Members with a gap above the noise, their mean number of steps to it, and the bounds."""
        gap0 = self.value(self.u, self.v)
        floors = 2.001 * self.growth * self.C / self.mu
        floors = np.maximum(floors * self.scale, 1e-3 * gap0)
        chosen = floors < 0.5 * gap0
        epsilon, limits = np.where(chosen, floors, gap0), np.zeros(NOISY)
        for i in np.flatnonzero(chosen):
            limits[i] = bounds_noise.abc_hitting_time(
                self.smoothness[i],
                self.mu[i],
                gap0[i],
                epsilon[i],
                A=self.A[i],
                B=self.B[i],
                C=self.C[i],
                scale=self.scale[i],
                base=self.base[i],
            )
        times = np.full((runs, NOISY), -1)
        u, v = np.tile(self.u, (runs, 1)), np.tile(self.v, (runs, 1))
        for k in range(limit):
            gap = self.value(u, v)
            times[(times < 0) & (gap <= epsilon)] = k
            done = times >= 0
            if np.all(done):
                return chosen, np.mean(times, axis=0), limits
            draws = self.draws(u, v, self.random.uniform(0, 7, u.shape))
            sign = self.random.random(u.shape) < 0.5
            g = [np.where(sign, one, other) for one, other in zip(*draws, strict=True)]
            eta = np.where(done, 0.0, self.size(gap))
            u, v = u - eta * g[0], v - eta * g[1]
        raise AssertionError(f"{np.sum(times < 0)} runs did not arrive")

    def step_bounds(self, share: float):
        """Both possible gaps after a step from a share of the start, and the bound for each."""
        u, v = share * self.u, share * self.v
        gap, (along, across) = self.value(u, v), self.gradient(u, v)
        eta, pairs = self.size(gap), []
        for g in self.draws(u, v, self.random.uniform(0, 7, NOISY)):
            norm, inner = np.hypot(*g), along * g[0] + across * g[1]
            bound = [
                float(bounds_noise.noisy_step(*given))
                for given in zip(self.smoothness, gap, eta, inner, norm, strict=True)
            ]
            pairs.append((self.value(u - eta * g[0], v - eta * g[1]), np.array(bound)))
        return pairs
