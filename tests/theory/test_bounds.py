"""Every bound on at least a thousand random problems of its class, and every guard.

Most of the random problems are families with vector-valued constants, written here in NumPy
independently of `problems`, so that thousands run at once; others are `Problem` objects.
"""

import numpy as np
import pytest

from keras_h0h1 import AdaptiveGD
from keras_h0h1.theory import Smoothness, bounds, problems
from keras_h0h1.theory.descent import descend, rule
from tests.theory.instances import random_instance

COUNT = 1200


class Family:
    """f = (H0/H1)(cosh(sqrt(H1) u) - 1) + (mu/2) v^2 + bump (1 - cos u), one for each constant.

    Constants (H0 + bump, H1); without the bump convex and PL with mu.
    """

    def __init__(self, seed, bump=False, kind="cosh"):
        random = np.random.default_rng(seed)
        self.kind = kind
        self.h0 = np.exp(random.uniform(-1.5, 1.5, COUNT))
        self.H1 = np.exp(random.uniform(-2, 2, COUNT))
        self.mu = self.h0 * np.exp(random.uniform(-3, 0, COUNT))
        self.bump, self.H0 = np.zeros(COUNT), self.h0
        gap0 = self.h0 / self.H1 * np.exp(random.uniform(-3, 3, COUNT))
        self.u = np.arccosh(1 + self.H1 * gap0 / self.h0) / np.sqrt(self.H1)
        self.v = random.normal(size=COUNT)
        if bump:  # far enough out for the bump to matter, and steep enough that theta drops
            self.H1 = self.H1 * 0.05
            self.bump = self.h0 * random.uniform(1, 4.5, COUNT)
            self.H0 = self.h0 + self.bump
            self.u, self.v = random.uniform(2, 9, COUNT), np.zeros(COUNT)
        self.gap0 = self.value(self.u, self.v)
        self.epsilon = self.gap0 * np.exp(random.uniform(-9, -0.5, COUNT))

    def value(self, u, v):
        z = np.sqrt(self.H1) * np.abs(u)
        if self.kind == "cosh":
            steep = self.h0 / self.H1 * (np.cosh(z) - 1)
        else:  # paper A's hard family
            far = np.exp(np.maximum(z, 1) - 1) - 0.5
            steep = self.h0 / self.H1 * np.where(z <= 1, z * z / 2, far)
        return steep + self.mu / 2 * v * v + self.bump * (1 - np.cos(u))

    def gradient(self, u, v):
        z = np.sqrt(self.H1) * np.abs(u)
        slope = np.sinh(z) if self.kind == "cosh" else np.where(z <= 1, z, np.exp(z - 1))
        along = self.h0 / np.sqrt(self.H1) * np.sign(u) * slope + self.bump * np.sin(u)
        return along, self.mu * v

    def run(self, step, limit=30000):
        """Steps to epsilon for each member, with `step` of (gap)."""
        u, v, steps = self.u.copy(), self.v.copy(), np.full(COUNT, -1)
        for k in range(limit):
            gap = self.value(u, v)
            steps[(steps < 0) & (gap <= self.epsilon)] = k
            if np.all(steps >= 0):
                return steps
            along, across = self.gradient(u, v)
            size = step(gap)
            u, v = u - size * along, v - size * across
        raise AssertionError(f"{np.sum(steps < 0)} members did not arrive")

    def smoothness(self, i):
        return Smoothness(self.H0[i], self.H1[i])


@pytest.mark.parametrize("kind", ["cosh", "hard family"])
def test_pl_bounds_hold(kind):
    family = Family(0, kind=kind)
    paper = family.run(lambda gap: 1 / (10 * family.H0 + 20 * family.H1 * gap))
    sharp = family.run(lambda gap: 1 / (family.H0 + family.H1 * gap))
    printed = 0
    for i in range(COUNT):
        given = (family.smoothness(i), family.mu[i], family.gap0[i], family.epsilon[i])
        assert paper[i] <= bounds.pl_paper(*given)
        assert sharp[i] <= bounds.pl_sharp(*given)
        if family.epsilon[i] <= family.H0[i] / (2 * family.H1[i]):
            assert paper[i] <= bounds.pl_paper_printed(*given)
            printed += 1
    assert printed >= 500  # over both kinds more than a thousand inside the guard
    # The rates are not vacuous: some members come within a factor of 4.
    tight = [
        sharp[i] / bounds.pl_sharp(family.smoothness(i), *rest)
        for i, rest in enumerate(zip(family.mu, family.gap0, family.epsilon, strict=True))
    ]
    assert max(tight) > 0.25


def test_pl_sharp_holds_for_rho_below_1():
    # f = w^2/2 + |w|^p / (p (p - 1)): curvature 1 + |w|^(p-2) <= 1 + K f^rho, PL with mu = 1.
    random = np.random.default_rng(1)
    p = random.uniform(2.1, 8.0, COUNT)
    rho, K = (p - 2) / p, (p * (p - 1)) ** ((p - 2) / p)
    w = np.exp(random.uniform(-1, 3, COUNT))
    value = lambda w: w * w / 2 + np.abs(w) ** p / (p * (p - 1))  # noqa: E731
    gap0, epsilon = value(w), value(w) * np.exp(random.uniform(-9, -0.5, COUNT))
    steps = np.full(COUNT, -1)
    for k in range(5000):
        gap = value(w)
        steps[(steps < 0) & (gap <= epsilon)] = k
        gradient = w + np.sign(w) * np.abs(w) ** (p - 1) / (p - 1)
        assert np.all(gradient**2 >= 2 * gap * (1 - 1e-12))
        w = w - gradient / (1 + K * gap**rho)
        if np.all(steps >= 0):
            break
    for i in range(COUNT):
        smoothness = Smoothness(1.0, K[i], rho=rho[i])
        assert 0 <= steps[i] <= bounds.pl_sharp(smoothness, 1.0, gap0[i], epsilon[i])


@pytest.mark.parametrize("kind", ["cosh", "hard family"])
def test_aiming_bounds_hold_for_convex_functions(kind):
    family = Family(2, kind=kind)
    distance = np.hypot(family.u, family.v)
    paper = family.run(lambda gap: 1 / (10 * family.H0 + 20 * family.H1 * gap))
    steps = family.run(lambda gap: 1 / (2 * family.H0 + family.H1 * gap))
    for i in range(COUNT):
        given = (family.smoothness(i), distance[i], family.epsilon[i])
        assert paper[i] <= bounds.aiming_paper(*given)
        assert steps[i] <= bounds.aiming(*given)


def test_aiming_bound_holds_for_theta_below_1():
    family = Family(3, bump=True)
    # theta is the least ratio of u f'(u) to f(u) between the minimiser and the start.
    ratios = []
    for t in np.linspace(1e-3, 1.0, 2000):
        along, _ = family.gradient(t * family.u, 0 * family.v)
        ratios.append(t * family.u * along / family.value(t * family.u, 0 * family.v))
    theta = np.minimum(0.999 * np.min(ratios, axis=0), 1.0)
    inside = theta > 0.1
    assert np.sum(inside) >= 1000 and np.sum(inside & (theta < 0.9)) > 100
    safe = np.where(inside, theta, 1.0)
    family.epsilon = np.where(inside, family.epsilon, np.inf)
    steps = family.run(lambda gap: safe / (2 * family.H0 + family.H1 * gap))
    for i in np.flatnonzero(inside):
        given = (family.smoothness(i), abs(family.u[i]), family.epsilon[i], theta[i])
        assert steps[i] <= bounds.aiming(*given)


def test_stationarity_holds_without_convexity():
    family = Family(4, bump=True)
    random = np.random.default_rng(4)
    u, v = family.u, family.v
    gaps, steps, squares = [], [], []
    for _ in range(30):
        gap = family.value(u, v)
        along, across = family.gradient(u, v)
        size = random.uniform(0.1, 1.0, COUNT) / (family.H0 + family.H1 * gap)
        gaps.append(gap), steps.append(size), squares.append(along**2 + across**2)
        u, v = u - size * along, v - size * across
    gaps, steps, least = np.array(gaps), np.array(steps), np.min(squares, axis=0)
    for i in range(COUNT):
        bound = bounds.stationarity(family.smoothness(i), gaps[:, i], steps[:, i])
        assert least[i] <= bound


def test_descent_and_self_bound_hold_on_random_instances_of_every_kind():
    random = np.random.default_rng(5)
    tight_descent, tight_self = 0.0, 0.0
    for _ in range(1000):
        problem = random_instance(random)
        scale = 10.0 ** random.uniform(-2, 0.6, size=(8, 1))
        w = random.normal(size=(8, problem.dimension)) * scale
        f, gradient = problem.value(w), problem.gradient(w)
        smoothness, norm = problem.smoothness, np.linalg.norm(gradient, axis=1)
        gap = f - smoothness.f_star
        eta = random.uniform(0.01, 2.0, 8) / smoothness.bound(f)
        after = problem.value(w - eta[:, None] * gradient) - smoothness.f_star
        bound = bounds.descent(smoothness, gap, norm, eta)
        slack = 1e-9 * (1 + np.abs(gap))
        assert np.all(after <= bound + slack), problem
        square = bounds.gradient_norm_squared(smoothness, np.maximum(gap, 0))
        assert np.all(norm**2 <= square + 1e-9 * (1 + square)), problem
        tight_self = max(tight_self, float(np.max(norm**2 / square)))
        promised = bound < gap - 1e-6
        shares = (gap - bound)[promised] / (gap - after)[promised]
        tight_descent = max(tight_descent, float(np.max(shares, initial=0.0)))
    assert tight_self > 0.99 and tight_descent > 0.9


def test_bounds_hold_for_problem_objects_with_pl_or_aiming():
    random, checked = np.random.default_rng(6), 0
    while checked < 60:
        problem = random_instance(random)
        if problem.smoothness.rho != 1.0 or problem.minimum is None or not problem.mu:
            continue
        start = random.normal(size=problem.dimension) * random.uniform(0.2, 1.5)
        gap = float(problem.gap(start))
        epsilon = gap * 10.0 ** random.uniform(-2, -0.5)
        if problem.smoothness.bound(problem.value(start)) > 200 * problem.mu or gap < 1e-6:
            continue
        given = (problem.smoothness, problem.mu, gap, epsilon)
        for name, bound in (("alimisis", bounds.pl_paper), ("sharp", bounds.pl_sharp)):
            run = descend(problem, rule(problem.smoothness, name), start, epsilon, 30000)
            assert 0 <= run.steps <= bound(*given)
        if problem.theta and problem.minimisers is not None:
            distance = float(problem.distance(start))
            run = descend(problem, rule(problem.smoothness, "aiming"), start, epsilon, 30000)
            assert 0 <= run.steps <= bounds.aiming(problem.smoothness, distance, epsilon)
        checked += 1


def interpolated(random, dimension=4, count=6):
    """Convex f_i of one common minimiser."""
    w_star = random.normal(size=dimension)
    parts = []
    for _ in range(count):
        a = random.normal(size=(1, dimension))
        H0, H1 = np.exp(random.uniform(-1, 1, 2))
        base = problems.Cosh(H0, H1) if random.random() < 0.5 else problems.HardFamily(H0, H1)
        parts.append(base.affine(a, -a @ w_star))
    return parts, w_star


def test_mini_batches_of_interpolated_problems_approach_the_minimiser():
    random, tight = np.random.default_rng(7), 0.0
    for _ in range(1000):
        parts, w_star = interpolated(random)
        batch = [parts[i] for i in random.choice(6, size=int(random.integers(1, 6)), replace=False)]
        loss = problems.mean(batch)
        w = w_star + random.normal(size=4) * random.uniform(0.05, 1.5)
        value = float(loss.value(w))
        step = rule(loss.smoothness, "aiming")(value, 0.0, 0)
        before, after = np.sum((w - w_star) ** 2), w - step * loss.gradient(w) - w_star
        bound = float(bounds.interpolated_distance(loss.smoothness, before, value))
        assert np.sum(after**2) <= bound * (1 + 1e-12)
        tight = max(tight, float((before - bound) / (before - np.sum(after**2))))
    assert tight > 0.3


def test_adaptive_gd_on_mini_batches_never_moves_away(float64):
    # The rule sharp with 2 H0 in the place of H0 is the step of the inequality.
    import keras

    random = np.random.default_rng(8)
    parts, w_star = interpolated(random, count=4)
    batches = [problems.mean(parts[:2]), problems.mean(parts[2:]), problems.mean(parts)]
    H0 = max(batch.H0 for batch in batches)
    H1 = max(batch.H1 for batch in batches)
    w = keras.Variable(w_star + 0.5 * random.normal(size=4), dtype="float64")
    optimizer = AdaptiveGD(H0=2 * H0, H1=H1, rule="sharp")
    optimizer.build([w])
    distance = np.sum((keras.ops.convert_to_numpy(w.value) - w_star) ** 2)
    first = distance
    for k in range(60):
        batch = batches[k % 3]
        loss = float(keras.ops.convert_to_numpy(batch.value(w.value)))
        optimizer.apply([batch.gradient(w.value)], [w], loss=loss)
        after = np.sum((keras.ops.convert_to_numpy(w.value) - w_star) ** 2)
        bound = bounds.interpolated_distance(Smoothness(H0, H1), distance, loss)
        assert after <= bound * (1 + 1e-12)
        distance = after
    assert distance < 0.9 * first


def test_the_largest_stable_step_is_a_cycle_and_the_edge():
    random = np.random.default_rng(9)
    for _ in range(1000):
        H0, H1 = np.exp(random.uniform(-1, 1, 2))
        problem = problems.Cosh(H0, H1)
        gap = float(np.exp(random.uniform(-4, 6)))
        start, edge = problem.start(gap), bounds.largest_stable_step(problem.smoothness, gap)
        after = start - edge * problem.gradient(start)
        np.testing.assert_allclose(after, -start, rtol=1e-9)
        short = start - 0.99 * edge * problem.gradient(start)
        long = start - 1.01 * edge * problem.gradient(start)
        assert abs(short[0]) < abs(start[0]) < abs(long[0])


ONE = Smoothness(1.0, 1.0)
HALF = Smoothness(1.0, 1.0, rho=0.5)
GUARDS = [
    (lambda: bounds.descent(ONE, 1.0, 1.0, 1.1), "step_in_range"),
    (lambda: bounds.descent(ONE, 1.0, 1.0, 0.0), "step_in_range"),
    (lambda: bounds.descent(ONE, 1.0, 1.0, float("nan")), "step_in_range"),
    (lambda: bounds.gradient_norm_squared(ONE, -0.1), "gap_nonnegative"),
    (lambda: bounds.stationarity(ONE, [1.0, 0.5], [0.5, 0.7]), "step_at_most_sharp"),
    (lambda: bounds.stationarity(ONE, [1.0], [0.0]), "step_at_most_sharp"),
    (lambda: bounds.pl_paper_printed(ONE, 0.1, 2.0, 0.6), "epsilon_small"),
    (lambda: bounds.pl_paper_printed(Smoothness(1.0, 0.0), 0.1, 2.0, 0.1), "H1_positive"),
    (lambda: bounds.pl_paper_printed(HALF, 0.1, 2.0, 0.1), "rho_is_1"),
    (lambda: bounds.pl_paper(HALF, 0.1, 2.0, 0.1), "rho_is_1"),
    (lambda: bounds.pl_sharp(Smoothness(1.0, 1.0, rho=1.2), 0.1, 2.0, 0.1), "rho_at_most_1"),
    *[
        (lambda bound=bound, given=given: bound(ONE, *given), guard)
        for bound in (bounds.pl_paper_printed, bounds.pl_paper, bounds.pl_sharp)
        for given, guard in (
            ((0.0, 2.0, 0.1), "mu_positive"),
            ((1.1, 2.0, 0.1), "mu_at_most_H0"),
            ((0.1, 0.0, 0.1), "gap_positive"),
            ((0.1, float("inf"), 0.1), "gap_positive"),
            ((0.1, 2.0, 0.0), "epsilon_positive"),
            ((0.1, 0.2, 0.3), "epsilon_at_most_gap"),
        )
    ],
    (lambda: bounds.aiming_paper(ONE, 1.0, 0.1, theta=0.5), "theta_is_1"),
    (lambda: bounds.aiming(ONE, 1.0, 0.1, theta=0.0), "theta_in_range"),
    (lambda: bounds.aiming(ONE, 1.0, 0.1, theta=1.5), "theta_in_range"),
    *[
        (lambda bound=bound, args=args: bound(*args), guard)
        for bound in (bounds.aiming_paper, bounds.aiming)
        for args, guard in (
            ((HALF, 1.0, 0.1), "rho_is_1"),
            ((ONE, 0.0, 0.1), "distance_positive"),
            ((ONE, 1.0, -1.0), "epsilon_positive"),
        )
    ],
    (lambda: bounds.interpolated_distance(ONE, 1.0, -1.0), "gap_nonnegative"),
    (lambda: bounds.interpolated_distance(HALF, 1.0, 1.0), "rho_is_1"),
    (lambda: bounds.largest_stable_step(Smoothness(0.0, 1.0), 1.0), "H0_positive"),
    (lambda: bounds.largest_stable_step(Smoothness(1.0, 0.0), 1.0), "H1_positive"),
    (lambda: bounds.largest_stable_step(ONE, 0.0), "gap_positive"),
    (lambda: bounds.largest_stable_step(HALF, 1.0), "rho_is_1"),
]


@pytest.mark.parametrize(("make", "guard"), GUARDS)
def test_each_guard_raises_with_its_name(make, guard):
    with pytest.raises(
        bounds.GuardError, match=rf"guard '{guard}' failed\)\. Received: "
    ) as caught:
        make()
    assert caught.value.guard == guard
