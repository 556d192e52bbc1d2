"""Attention layers on in-context regression: derivatives, constants, guards, phases."""

import keras
import numpy as np
import pytest

import keras_h0h1
from benchmarks import network_instances as instances
from keras_h0h1.theory import bounds, certify, problems
from keras_h0h1.theory._autodiff import value_and_hessian
from tests.backends import only_on
from tests.theory import networks

numpy_only = only_on("jax", reason="in NumPy alone: one backend is enough")
MAKERS = [instances.linear_attention, instances.softmax_attention]


# A drawn task may have one token.
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="matmul is float32 on PyTorch")
@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (instances.linear_attention, networks.linear_attention_loss),
        (instances.softmax_attention, networks.softmax_attention_loss),
    ],
)
def test_hessians_are_those_of_automatic_differentiation(make, loss, float64):
    random = np.random.default_rng(0)
    for _ in range(3):
        problem = make(random)
        derivatives = value_and_hessian(lambda w, p=problem: loss(p, w))
        for w in instances.points(random, problem, 2):
            value, hessian = derivatives(w)
            assert float(problem.value(w)) == pytest.approx(value, rel=1e-11)
            error = np.max(np.abs(problem.hessian(w) - hessian))
            assert error <= 1e-9 * max(1.0, np.max(np.abs(hessian)))


@numpy_only
@pytest.mark.parametrize("make", MAKERS)
def test_gradients_are_those_of_the_value(make):
    random = np.random.default_rng(1)
    for _ in range(5):
        problem = make(random)
        w = instances.points(random, problem, 1)[0]
        steps = 1e-6 * np.eye(problem.dimension)
        slope = np.array([problem.value(w + e) - problem.value(w - e) for e in steps]) / 2e-6
        gradient = problem.gradient(w)
        np.testing.assert_allclose(gradient, slope, atol=1e-6 * (1 + np.max(np.abs(gradient))))


@numpy_only
def test_the_closed_form_is_the_mean_over_drawn_tasks():
    random = np.random.default_rng(2)
    sigma, n, count = instances.covariance(random, 2), 5, 400_000
    problem = problems.InContextAttention(sigma, n, 0.3, 0.2)
    w = np.array([0.7, 0.5, -0.2, 0.1, 0.4])
    root = np.linalg.cholesky(sigma)
    x, query = random.normal(size=(count, n, 2)) @ root.T, random.normal(size=(count, 2)) @ root.T
    beta = random.normal(size=(count, 2))
    y = np.einsum("tnd,td->tn", x, beta)
    keys = np.einsum("tn,tnd->td", y, x) / n
    predicted = w[0] * np.einsum("td,de,te->t", keys, w[1:].reshape(2, 2), query)
    losses = 0.5 * (predicted - np.sum(query * beta, axis=1)) ** 2
    ridge = 0.15 * w[0] ** 2 + 0.1 * np.sum(w[1:] ** 2)
    error = 5 * np.std(losses) / np.sqrt(count)
    assert float(problem.value(w)) == pytest.approx(np.mean(losses) + ridge, abs=error)


@numpy_only
@pytest.mark.parametrize("make", MAKERS)
def test_the_constants_hold_on_a_thousand_instances(make):
    random, ratios = np.random.default_rng(3), []
    for _ in range(1000):
        problem = make(random)
        w = instances.points(random, problem, 4)
        value = problem.value(w)
        assert np.all(value >= problem.f_star - 1e-12)
        ratios.extend(problem.curvature(w) / problem.smoothness.bound(value))
    assert np.max(ratios) <= 1 + 1e-9 and np.max(ratios) > 0.4


@numpy_only
def test_the_linear_bound_is_attained_in_one_dimension():
    for sigma, n, ridge in ((1.0, 4, 0.5), (2.0, 1, 0.1), (0.3, 10, 2.0)):
        problem = problems.InContextAttention([[sigma]], n, ridge, ridge)
        tau = np.sqrt((1 + 2 / n) * sigma**3)
        # v = Q, and a residual of ridge / (2 tau) above the target.
        v = np.sqrt((ridge / (2 * tau) + sigma**2 / tau) / tau)
        w = np.array([v, v])
        bound = problem.smoothness.bound(problem.value(w))
        assert float(problem.curvature(w)) == pytest.approx(float(bound), rel=1e-9)


SEARCH = {"samples": 128, "segments": 8, "ascent_steps": 30}


@numpy_only
def test_certify_needs_the_ridge():
    problem = problems.InContextAttention(np.diag([1.0, 0.5]), 8, 0.2, 0.2)
    bare = problems.InContextAttention(np.diag([1.0, 0.5]), 8, 0.0, 0.0)
    assert bare.smoothness is None
    assert not certify.find_violation(problem, **SEARCH).violated
    claimed = bare.certificate(ridge=problem.ridge_v)
    assert certify.find_violation(bare, claimed, radius=1e3, **SEARCH).violated


@numpy_only
def test_certify_needs_the_ridge_on_the_value_of_the_softmax_layer():
    """Targets of mean 0 in each task: at Q = 0 the error is the same for every v."""
    for seed in range(5):
        sample = problems.InContextSoftmaxAttention.sample(2, 4, 2, seed)
        y = sample.y - sample.y.mean(axis=1, keepdims=True)
        tasks = sample.x, y, sample.query, sample.target
        problem = problems.InContextSoftmaxAttention(*tasks, ridge_v=0.1, ridge_Q=0.0)
        bare = problems.InContextSoftmaxAttention(*tasks, ridge_v=0.0, ridge_Q=0.0)
        w = np.zeros((2, problem.dimension))
        w[1, 0] = 1e6
        np.testing.assert_allclose(bare.value(w), bare.value(w)[0])
        assert not certify.find_violation(problem, radius=1e3, **SEARCH).violated
        claimed = bare.certificate(ridge=0.1)
        assert certify.find_violation(bare, claimed, radius=1e3, **SEARCH).violated


@numpy_only
def test_the_softmax_layer_needs_no_ridge_on_the_queries():
    problem = problems.InContextSoftmaxAttention.sample(2, 4, 3, ridge_Q=0.0)
    assert not certify.find_violation(problem, radius=100.0, **SEARCH).violated


@pytest.mark.parametrize("make", MAKERS)
def test_adaptive_gd_with_the_constants_never_raises_the_loss(make, float64):
    random = np.random.default_rng(5)
    for _ in range(3):
        problem = make(random)
        constants = problem.smoothness
        optimizer = keras_h0h1.AdaptiveGD(
            constants.H0, constants.H1, f_star=constants.f_star, rule="sharp"
        )
        weights = keras.Variable(instances.points(random, problem, 1)[0], dtype="float64")
        losses = []
        for _ in range(20):
            w = keras.ops.convert_to_numpy(weights.value)
            losses.append(float(problem.value(w)))
            gradient = keras.ops.convert_to_tensor(problem.gradient(w))
            optimizer.apply([gradient], [weights], loss=losses[-1])
        assert np.all(np.diff(losses) <= 1e-12 * np.abs(losses[:-1])) and losses[-1] < losses[0]


@numpy_only
def test_guards_raise_outside():
    bare = problems.InContextAttention([[1.0]], 2, 0.0, 0.1)
    softmax = problems.InContextSoftmaxAttention.sample(1, 2, 2, ridge_v=0.0)
    plane = problems.InContextAttention(np.eye(2), 2)
    apart = problems.InContextAttention([[1.0]], 2, 0.2, 0.1)
    for guard, call in (
        ("ridge_positive", bare.certificate),
        ("ridge_positive", softmax.certificate),
        ("one_dimension", plane.has_two_phases),
        ("equal_ridges", apart.has_two_phases),
    ):
        with pytest.raises(bounds.GuardError, match=r"Received: ") as caught:
            call()
        assert caught.value.guard == guard
    for make in (
        lambda: problems.InContextAttention([[1.0, 2.0], [2.0, 1.0]], 3),
        lambda: problems.InContextAttention(np.ones(3), 3),
        lambda: problems.InContextSoftmaxAttention(np.ones((2, 3, 1)), np.ones(2), 1, 1),
    ):
        with pytest.raises(ValueError, match=r"Received: "):
            make()


@numpy_only
@pytest.mark.parametrize("make", MAKERS)
def test_the_sharp_step_descends(make):
    random = np.random.default_rng(4)
    for _ in range(40):
        problem = make(random)
        w = instances.points(random, problem, 1)[0]
        loss = float(problem.value(w))
        for _ in range(60):
            w = w - problem.gradient(w) / problem.smoothness.bound(loss)
            previous, loss = loss, float(problem.value(w))
            assert loss <= previous * (1 + 1e-12)
