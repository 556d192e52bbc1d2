"""Estimated constants, in NumPy float64: the rule, its goal and its guarantees."""

import math

import numpy as np
import pytest

from keras_h0h1 import online_constants
from keras_h0h1.theory import descent, problems
from tests.core.online_reference import Reference, descend, rises_in_a_row
from tests.theory.instances import every_kind, random_instance

KINDS = {name: problem for name, problem in every_kind().items() if problem.smoothness is not None}
CONVEX = {name: problem for name, problem in KINDS.items() if problem.convex}


class Rule:
    """`online_constants.advance` as a function of the loss and the norm."""

    def __init__(self, f_star=0.0, rho=1.0, H0="auto", H1="auto", safeguard=True):
        self.state = online_constants.initial_state(H0, H1, safeguard)
        self.arguments = {"f_star": f_star, "rho": rho, "safeguard": safeguard}
        self.arguments["free"] = (H0 == "auto", H1 == "auto")

    def __call__(self, loss, norm):
        self.state = online_constants.advance(self.state, loss, norm, **self.arguments)
        return float(self.state["rate"]), bool(self.state["taken_back"])


def start_at(problem, gap, random):
    """A point in a random direction from the minimiser where the gap is `gap`, or `None`."""
    base = np.zeros(problem.dimension)
    if problem.minimisers is not None:
        base = problem.minimisers[0]
    if problem.gap(base) >= gap:
        return None
    for _ in range(20):
        direction = random.normal(size=problem.dimension)
        with np.errstate(all="ignore"):
            far = 1.0
            while far < 1e9 and problem.gap(base + far * direction) < gap:
                far *= 2.0
            if far >= 1e9:
                continue
            near = 0.0
            for _ in range(40):
                middle = 0.5 * (near + far)
                below = problem.gap(base + middle * direction) < gap
                near, far = (middle, far) if below else (near, middle)
        return base + far * direction
    return None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "options",
    [{}, {"rho": 0.5}, {"H0": 2.0}, {"H1": 1.0}, {"safeguard": False}],
    ids=["both", "rho", "H0 given", "H1 given", "no safeguard"],
)
def test_the_rule_is_its_reference(name, options):
    problem = KINDS[name]
    start = start_at(problem, 50.0, np.random.default_rng(2))
    arguments = dict(options)
    noisy = not arguments.pop("safeguard", True)
    reference = Reference(problem.f_star, noisy=noisy, **arguments)
    expected = descend(problem, start, reference, max_steps=60)
    received = descend(problem, start, Rule(problem.f_star, **options), max_steps=60)
    # Rounding is amplified along a trajectory; the first steps have to agree to the last digits.
    np.testing.assert_allclose(received[2][:12], expected[2][:12], rtol=1e-7)
    assert abs(received[0] - expected[0]) <= 3


def test_the_rule_is_its_reference_on_any_numbers():
    """Losses and norms that no function has: rises, infinities, values below f_star."""
    random = np.random.default_rng(0)
    backs = switched = 0
    for trial in range(200):
        options = {"f_star": float(random.normal()), "rho": float(random.choice([0.5, 1.0, 2.0]))}
        given = [{}, {"H0": 1.5}, {"H1": 0.5}][trial % 3]
        safeguard = trial % 4 > 0
        rule = Rule(**options, **given, safeguard=safeguard)
        reference = Reference(**options, **given, noisy=not safeguard)
        kept = 3.0
        for _ in range(40):
            loss, norm = kept * math.exp(random.normal(scale=0.5)), math.exp(random.normal())
            loss = [loss, math.inf, math.nan, kept, -loss][
                random.choice(5, p=[0.5, 0.05, 0.05, 0.3, 0.1])
            ]
            rate, back = reference(loss, norm)
            received = rule(loss, norm)
            estimates = [float(rule.state["H0"]), float(rule.state["H1"])]
            assert estimates == pytest.approx(reference.H, rel=1e-9)
            assert received[1] == back
            assert received[0] == pytest.approx(rate, rel=1e-9)
            assert bool(rule.state["noisy"]) == reference.noisy
            if not back and math.isfinite(loss):
                kept = loss
            backs += back
        switched += safeguard and reference.noisy
    assert backs > 100 and switched > 20


@pytest.mark.parametrize("name", CONVEX)
def test_a_gap_of_1e_6_in_at_most_three_times_the_steps_of_the_true_constants(name):
    problem = CONVEX[name]
    start = start_at(problem, 1e4, np.random.default_rng(1))
    if name == "separation":
        start = problem.start(1e4)
    assert problem.gap(start) == pytest.approx(1e4, rel=1e-3)
    sharp = descent.descend(problem, descent.rule(problem.smoothness), start, 1e-6, max_steps=2000)
    steps, losses, _, _ = descend(problem, start, Rule(problem.f_star))
    assert 0 < steps <= 3 * (int(sharp.steps) if sharp.reached else sharp.max_steps)
    assert rises_in_a_row(losses) <= 1


def random_problem(random):
    """Any class, from 1 to 20 dimensions, with conditions up to 1e6, and where to start from."""
    kind = random.integers(4)
    if kind == 0:
        problem = random_instance(random)
    elif kind == 1:
        chain = {"x": float(random.normal()), "y": float(random.normal())}
        problem = problems.LinearChain(int(random.integers(2, 5)), **chain)
    else:
        n = int(random.integers(1, 21))
        scales = 10.0 ** random.uniform(-1.5, 1.5, size=n)
        A = np.linalg.qr(random.normal(size=(n, n)))[0] * scales
        H0, H1 = 10.0 ** random.uniform(-2, 2, size=2)
        inner = [
            lambda: problems.Cosh(H0, H1, n),
            lambda: problems.Quadratic(10.0 ** random.uniform(-3, 3, size=n)),
            lambda: problems.NormPower(2.1 + 4 * random.random(), n),
            lambda: problems.Logistic(
                random.normal(size=(3 * n, n)), random.choice([-1.0, 1.0], size=3 * n)
            ),
        ]
        problem = inner[int(random.integers(len(inner)))]().affine(A)
    start = start_at(problem, 10.0 ** random.uniform(-2, 5), random)
    return problem, random.normal(size=problem.dimension) if start is None else start


@pytest.mark.parametrize("seed", range(4))
def test_no_divergence_on_1000_random_instances(seed):
    """250 for each of four seeds: every loss that is kept is at most the one before."""
    random = np.random.default_rng(seed)
    reached = 0
    for _ in range(250):
        problem, start = random_problem(random)
        rule = Rule(problem.f_star)
        steps, losses, _, last = descend(problem, start, rule, max_steps=60)
        assert np.all(np.isfinite(last)) and rises_in_a_row(losses) <= 1, problem
        assert min(losses) < losses[0] or steps == 0
        assert float(rule.state["previous_loss"]) <= losses[0] and not rule.state["noisy"]
        reached += steps >= 0
    assert reached > 80


def test_a_quadratic_on_which_scalars_alone_cannot_know_the_next_step():
    """Two rises in a row without taking back: the steep direction is hidden in the gradient."""
    problem = problems.Quadratic([1.0, 1000.0])
    start = np.array([1.0, 1e-6])

    def forward(rule):
        return lambda loss, norm: (rule(loss, norm)[0] or 1.0 / float(rule.state["H0"]), False)

    # A far too low f_star makes the first step too long.
    _, blind, _, _ = descend(problem, start, forward(Rule(-1.0)), max_steps=40)
    _, losses, _, _ = descend(problem, start, Rule(-1.0), max_steps=40)
    assert rises_in_a_row(blind) >= 2
    assert rises_in_a_row(losses) == 1


class Hostile(problems.Problem):
    """A loss without structure: a hash of the point, not a number for a tenth of all points."""

    def __init__(self, seed):
        super().__init__("hostile", 1, None, minimum=-10.0)
        self.seed = seed

    def _random(self, w):
        return np.random.default_rng(abs(hash((self.seed, float(w[0])))))

    def _value(self, xp, w):
        random = self._random(w)
        return np.array(np.nan if random.random() < 0.1 else random.normal())

    def _gradient(self, xp, w):
        return self._random(w).normal(size=1) * 10.0

    def _hessian(self, xp, w):
        raise NotImplementedError


@pytest.mark.parametrize("seed", range(10))
def test_never_two_rises_in_a_row_on_any_function(seed):
    problem = Hostile(seed)
    for start in np.linspace(-1.0, 1.0, 10):
        if np.isfinite(problem.value(np.array([start]))):
            _, losses, _, _ = descend(problem, np.array([start]), Rule(-10.0), max_steps=100)
            assert rises_in_a_row(losses) <= 1


def test_mini_batches_of_an_interpolated_problem():
    """The distance to the common minimiser never grows, and the batches are told apart."""
    random = np.random.default_rng(4)
    for trial in range(9):
        n = int(random.integers(1, 5))
        parts = [
            problems.Cosh(*np.exp(random.uniform(-1.5, 1.5, size=2)), 1).affine(
                random.normal(size=(1, n))
            )
            for _ in range(4)
        ]
        for safeguard in (True, False):
            rule, w = Rule(safeguard=safeguard), random.normal(size=n) * 3.0
            copy, distances = w, []
            for _ in range(200):
                part = parts[int(random.integers(4))]
                gradient = part.gradient(w)
                loss, norm = float(part.value(w)), float(np.linalg.norm(gradient))
                was_noisy = bool(rule.state["noisy"])
                rate, back = rule(loss, norm)
                if rule.state["noisy"]:
                    assert not back
                    assert rate <= loss / norm**2 * (1 + 1e-9)
                if was_noisy:
                    distances.append(np.linalg.norm(w))
                w, copy = (copy, copy) if back else (w - rate * gradient, w)
            assert rule.state["noisy"], trial
            assert np.all(np.diff(distances) <= 1e-12)


def test_rounding_is_neither_a_rise_nor_another_batch():
    """4 units in the last place, and half of the digits at weights that were restored."""
    for excess, rises in ((3e-16, False), (2e-15, True)):
        rule = Rule()
        rule(1.0, 1.0)
        assert rule(1.0 + excess, 1.0)[1] == rises
    for excess, noisy in ((1e-9, False), (1e-7, True)):
        rule = Rule()
        for loss in (1.0, 2.0, 1.0 + excess):
            rule(loss, 1.0)
        assert bool(rule.state["noisy"]) == noisy
