"""Gradient descent on the theory's problems, measured as a user would, with noise of known size."""

import dataclasses

import numpy as np

from keras_h0h1.curvature import Operator, lanczos
from keras_h0h1.theory import problems


@dataclasses.dataclass
class Run:
    """A problem, where to start, and the line on which its curvature lies from there down."""

    problem: problems.Problem
    start: np.ndarray
    H0: float
    H1: float
    rho: float = 1.0
    least: float = 0.0  # The line holds above this gap.
    rate: float = 0.3  # Of the proved step; smaller where the line is left soon.

    @property
    def bound(self):
        """The theory's constants, on the balanced line where none hold everywhere."""
        return self.problem.smoothness or self.problem.balanced_smoothness(0.5)

    def measure(self, rng, noise=0.05, points=30):
        """`(losses, curvatures)` at every step, down to `least`, by Lanczos."""
        w, losses, curvatures = self.start, [], []
        while len(losses) < points and self.problem.gap(w) > self.least:
            hessian = Operator.from_matrix(self.problem.hessian(w))
            losses.append(float(self.problem.value(w)))
            curvatures.append(abs(lanczos(hessian, which="magnitude").value[0]))
            w = w - self.rate / self.bound.bound(losses[-1]) * self.problem.gradient(w)
        losses, curvatures = np.array(losses), np.array(curvatures)
        return losses, curvatures * (1 + noise * rng.standard_normal(len(losses)))


def _cosh(rng):
    H0, H1 = np.exp(rng.uniform(-2, 3, 2))
    problem = problems.Cosh(H0, H1, dimension=int(rng.integers(1, 4)))
    return Run(problem, problem.start(H0 / H1 * np.exp(rng.uniform(0, 4))), H0, H1)


def _separation(rng):
    problem = problems.Separation(0.01)
    return Run(problem, problem.start(np.exp(rng.uniform(0, 4))), 1.0, 1.0)


def _exponential(rng):
    a = rng.standard_normal(2) * np.exp(rng.uniform(-1, 1))
    # The ridge bends the line by mu a^2 w^2 / 2: too little to see.
    problem = problems.ExponentialMean([a], mu=1e-5)
    start = a / (a @ a) * rng.uniform(1, 4)
    return Run(problem, start, problem.H0, problem.H1)


def _hard(rng):
    # H1 f + mu / 2 beyond the parabola: below the constants (mu, H1), which have to hold in it too.
    mu, H1 = np.exp(rng.uniform(-2, 2, 2))
    problem = problems.HardFamily(mu, H1)
    return Run(
        problem, np.array([rng.uniform(2.5, 5) / H1**0.5]), mu / 2, H1, 1.0, mu / (2 * H1), 0.1
    )


def _hard_function(rng):
    H = np.exp(rng.uniform(-2, 2))
    start = np.array([rng.uniform(2.5, 5) / H**0.5])
    return Run(problems.HardFunction(H), start, H / 2, H, 1.0, 0.5, 0.1)


def _composed(rng):
    H0, H1, A, scale, shift = np.exp(rng.uniform(-1, 1, 5))
    inner = problems.Cosh(H0, H1)
    problem = scale * inner.affine([[A]], [rng.standard_normal()]) + shift
    start = problem.minimisers[0] + rng.choice([-1, 1]) * rng.uniform(1.5, 4) / (A * H1**0.5)
    return Run(problem, start, scale * A**2 * H0, A**2 * H1)


def _power(rng):
    p = rng.uniform(2.5, 6)
    problem = problems.NormPower(p, dimension=int(rng.integers(1, 4)))
    start = rng.standard_normal(problem.dimension)
    return Run(problem, 3 * start / np.linalg.norm(start), 0.0, p * (p - 1), (p - 2) / p)


def _double_well(rng):
    # Outside of its minima 12 w^2 - 4 is 8 + 12 sqrt(f).
    return Run(problems.DoubleWell("power"), rng.uniform(1.5, 4, 1), 8.0, 12.0, 0.5)


def _factorisation(rng):
    # On the balanced line, from above.
    x, y = np.exp(rng.uniform(-1, 1, 2))
    start = np.full(2, rng.uniform(1.5, 4) * (y / x) ** 0.5)
    return Run(problems.ScalarFactorisation(x, y), start, 4 * x * y, 6 * x, 0.5)


def _quadratic(rng):
    entries = np.exp(rng.uniform(-2, 2, 3))
    return Run(problems.Quadratic(entries), rng.standard_normal(3), entries.max(), 0.0)


EQUAL = {
    "cosh": _cosh,
    "separation": _separation,
    "exponential": _exponential,
    "hard family": _hard,
    "hard function": _hard_function,
    "scaled, shifted and affine": _composed,
    "power": _power,
    "double well": _double_well,
    "factorisation": _factorisation,
    "quadratic": _quadratic,
}


def _bounded(problem, start):
    return Run(problem, start, problem.H0, problem.H1, problem.rho)


def _logistic(rng):
    x, y = rng.standard_normal((12, 3)), rng.choice([-1.0, 1.0], 12)
    return _bounded(problems.Logistic(x, y), 2 * rng.standard_normal(3))


def _exponentials(rng):
    problem = problems.ExponentialMean(rng.standard_normal((5, 3)), mu=0.2)
    return _bounded(problem, 2 * rng.standard_normal(3))


def _two_layers(rng):
    x, y = rng.standard_normal((6, 2)), rng.choice([-1.0, 1.0], 6)
    problem = problems.TwoLayerNet(x, y, 2, ridge_v=0.5, ridge_W=0.5)
    return _bounded(problem, 2 * rng.standard_normal(problem.dimension))


def _cosh_sum(rng):
    parts = [problems.Cosh(2.0, h, 2).affine(np.eye(2), rng.standard_normal(2)) for h in (1.0, 2.0)]
    return _bounded(problems.mean(parts).ridge(0.3), 2 * rng.standard_normal(2))


def _inside_the_well(rng):
    return _bounded(problems.DoubleWell(), rng.uniform(0.01, 0.5, 1))


# The theory's line lies above the curvature, which is no function of the loss.
BOUNDED = {
    "logistic": _logistic,
    "exponentials": _exponentials,
    "two layers": _two_layers,
    "sum with ridge": _cosh_sum,
    "inside the double well": _inside_the_well,
}
