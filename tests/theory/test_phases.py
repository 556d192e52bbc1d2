"""Where the sharpness turns: closed forms against eigenvalues and against gradient flow."""

import numpy as np
import pytest

from keras_h0h1.theory import problems
from recipes.theory.phases import turning
from recipes.theory.sharpness import flow
from tests.backends import only_on

pytestmark = only_on("jax", reason="in NumPy alone: one backend is enough")


def on_the_line(problem, products):
    return np.repeat(products[:, None] ** (1 / problem.depth), problem.depth, axis=1)


@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_the_eigenvalues_and_turns_of_scalar_layers(depth):
    random = np.random.default_rng(depth)
    for sign in (1, -1):
        x, y = sign * np.exp(random.normal(size=2))
        problem, q = problems.LinearChain(depth, x, y), 1 - 2 / depth
        z = np.linspace(0, 2 * y, 2002)[1:]
        hessians = problem.hessian(on_the_line(problem, z / x))
        scale = 2 * x * (z / x) ** q
        once = scale * ((2 * depth - 1) * z - (depth - 1) * y)
        others = [scale * (y - z)] * (depth - 1)
        expected = np.sort(np.stack([once, *others], axis=-1), axis=-1)
        np.testing.assert_allclose(
            np.linalg.eigvalsh(hessians), expected, atol=1e-9 * np.max(np.abs(expected))
        )
        norm = np.max(np.abs(expected), axis=-1)
        np.testing.assert_allclose(problem.curvature(on_the_line(problem, z / x)), norm, rtol=1e-9)
        first, second = (x * p / y for p in problem.sharpness_turns())
        assert first == pytest.approx((depth - 2) / (2 * (2 * depth - 1)))
        assert second == pytest.approx(0.5)
        middle, rising = (z[1:] + z[:-1]) / (2 * y), np.diff(norm) > 0
        clear = (np.abs(middle - first) > 2e-3) & (np.abs(middle - second) > 2e-3)
        assert np.array_equal(rising[clear], ((middle < first) | (middle > second))[clear])


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_flow_of_a_linear_network_turns_there(depth):
    problem = problems.DeepLinearNet([[1.0]], [[1.0]], [1] * (depth - 1))
    first, second = problems.LinearChain(depth).sharpness_turns()
    starts = np.array([0.02, 0.3, 0.7])
    assert first < starts[1] < second < starts[2]
    _, points = flow(problem, on_the_line(problem, starts), 20.0, 0.01)
    sharpness, at = problem.curvature(points), np.prod(points, axis=-1)
    turns = [turning(sharpness[at[:, i] < 0.99, i]) for i in range(3)]
    found = [[float(at[k, i]) for k in turn] for i, turn in enumerate(turns)]
    expected = [[first, second] if depth > 2 else [second], [second], []]
    assert [len(turn) for turn in found] == [len(turn) for turn in expected]
    for given, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(given, wanted, atol=0.01)


def test_attention_has_two_phases_exactly_where_claimed():
    random, seen = np.random.default_rng(7), set()
    for share in (0.1, 0.3, 0.45, 0.55, 0.8, 1.2):
        sigma, n = np.exp(0.3 * random.normal()), int(random.integers(1, 10))
        target = sigma**2
        problem = problems.InContextAttention([[sigma]], n, share * target, share * target)
        tau = np.sqrt((1 + 2 / n) * sigma**3)
        # P = tau v^2 starts at a tenth of c = target / tau, and ends at c - ridge / tau.
        start = np.full(2, np.sqrt(0.1 * target) / tau)
        _, points = flow(problem, start, 25.0 / target, 0.02 / target)
        P, c = tau * points[:, 0] ** 2, target / tau
        np.testing.assert_allclose(points[:, 0], points[:, 1], rtol=1e-9)
        assert P[-1] == pytest.approx(max(c * (1 - share), 0), abs=0.01 * c)
        sharpness = problem.curvature(points)
        closed = problem.ridge_v + tau * np.maximum(c - P, 3 * P - c)
        np.testing.assert_allclose(sharpness, closed, rtol=1e-9)
        moving = np.abs(np.diff(sharpness)) > 1e-9 * sharpness[0]
        rising = np.diff(sharpness)[moving] > 0
        two = bool(rising[-1] and not rising[0] and np.sum(rising[1:] != rising[:-1]) == 1)
        if share < 1:  # above, the flow goes back to 0 and the sharpness rises alone
            assert rising[0] == (P[-1] < P[0])
        assert two == problem.has_two_phases()
        seen.add(two)
    assert seen == {True, False}


def test_a_balanced_line_needs_a_target_of_the_sign_of_the_input():
    with pytest.raises(ValueError, match=r"Received: x=1.0, y=-2.0"):
        problems.LinearChain(3, 1.0, -2.0).sharpness_turns()
