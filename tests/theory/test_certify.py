"""The search for violations: it finds the known ones and no others."""

import time

import keras
import numpy as np
import pytest

from keras_h0h1.theory import Smoothness, certify, problems
from tests.theory.instances import random_instance


def timed(*arguments, **options):
    start = time.perf_counter()
    result = certify.find_violation(*arguments, **options)
    assert time.perf_counter() - start < 10.0
    return result


def assert_is_a_violation(result, problem, smoothness):
    """Recomputes the report from scratch."""
    assert result.violated
    hessian = problem.hessian(result.point)
    curvature = np.linalg.norm(np.atleast_2d(hessian), 2)
    loss = float(problem.value(result.point))
    bound = smoothness.H0 + smoothness.H1 * (loss - smoothness.f_star) ** smoothness.rho
    assert curvature > bound
    assert result.curvature == pytest.approx(curvature, rel=1e-9)
    assert result.bound == pytest.approx(bound, rel=1e-9)
    assert result.ratio == pytest.approx(curvature / bound, rel=1e-9)
    assert result.loss == pytest.approx(loss)


@pytest.mark.parametrize("H1", ["sum", "max"])
@pytest.mark.parametrize("dimension", [1, 3])
def test_it_finds_the_naive_sum_of_constants(dimension, H1):
    eye, shift = np.eye(dimension), np.full(dimension, 1.5)
    left = problems.Cosh(1.0, 1.0, dimension).affine(eye, shift)
    right = problems.Cosh(2.0, 1.5, dimension).affine(eye, -shift)
    both = left + right
    naive = Smoothness(3.0, {"sum": 2.5, "max": 1.5}[H1], f_star=both.minimum)
    assert_is_a_violation(timed(both, naive), both, naive)
    assert not timed(both).violated


def test_it_finds_the_factorisation_off_its_balanced_line():
    problem = problems.ScalarFactorisation(1.0, 1.0)
    claimed = problem.balanced_smoothness()
    assert_is_a_violation(timed(problem, claimed), problem, claimed)
    line = timed(problem, claimed, restrict=lambda w: np.repeat(w[:, :1], 2, axis=1))
    assert not line.violated and line.ratio > 0.3


def two_layers(ridge_v=1.0, ridge_W=1.0, scale=1.0, samples=4):
    random = np.random.default_rng(0)
    signs = np.where(np.arange(samples) % 2, -1.0, 1.0)
    x = scale * random.choice([-1.0, 1.0], size=(samples, 2))
    return problems.TwoLayerNet(x, signs, 2, ridge_v, ridge_W)


LARGE = {"ridge_v": 5e3, "ridge_W": 8e3, "scale": 6e3, "samples": 1}
SMALL = {"ridge_v": 9e3, "ridge_W": 0.1, "scale": 0.01}


@pytest.mark.parametrize(("missing", "options"), [("Bmix", LARGE), ("ridge", SMALL)])
def test_it_finds_the_two_layer_bound_without_a_term(missing, options):
    problem = two_layers(**options)
    without = problem.certificate(omit=(missing,))
    assert_is_a_violation(timed(problem, without, radius=1.0), problem, without)
    assert not timed(problem, radius=1.0).violated


def test_the_two_layer_bound_needs_the_largest_row_where_the_data_are_large():
    # B_mix with ||X|| alone is right for rows of norm at most 1, and wrong here.
    problem = two_layers(**LARGE)
    row = float(np.max(np.linalg.norm(problem.x, axis=1)))
    full, none = problem.certificate(), problem.certificate(omit=("Bmix",))
    normalised = Smoothness(full.H0, none.H1 + (full.H1 - none.H1) / row)
    assert_is_a_violation(timed(problem, normalised, radius=1.0), problem, normalised)


def test_it_finds_nothing_on_200_true_instances():
    random, largest = np.random.default_rng(11), 0.0
    for seed in range(200):
        problem = random_instance(random)
        result = certify.find_violation(
            problem,
            radius=random.uniform(0.5, 5),
            samples=128,
            segments=8,
            ascent_steps=20,
            seed=seed,
        )
        assert not result.violated, (problem, str(result))
        largest = max(largest, result.ratio)
    assert largest > 0.999  # it comes right up to the equality cases


def test_it_finds_constants_that_are_a_little_too_small():
    random, found = np.random.default_rng(12), 0
    for seed in range(20):
        H0, H1 = np.exp(random.uniform(-1, 1, 2))
        problem = problems.Cosh(H0, H1, dimension=3)
        for factors in ((0.98, 1.0), (1.0, 0.98)):
            claimed = Smoothness(factors[0] * H0, factors[1] * H1)
            found += timed(problem, claimed, seed=seed).violated
    assert found == 40


def test_the_ascent_finds_what_samples_miss():
    # A narrow violation: a bump of width 0.05 in five dimensions.
    problem = problems.ExponentialMean(8.0 * np.eye(5)[:1], mu=1.0).affine(np.eye(5))
    claimed = Smoothness(problem.H0, 0.999 * problem.H1, f_star=problem.f_star)
    options = {"samples": 20, "segments": 0, "radius": 0.05}
    without = certify.find_violation(problem, claimed, ascent_steps=0, **options)
    assert not without.violated and without.search == "samples"
    with_ascent = certify.find_violation(problem, claimed, ascent_steps=200, **options)
    assert with_ascent.violated and with_ascent.search == "ascent"


def test_segments_reach_beyond_the_samples():
    problem, claimed = problems.Cosh(1.0, 1.0), Smoothness(1.0, 0.0)
    far = certify.find_violation(problem, claimed, radius=1.0, ascent_steps=0)
    assert far.search == "segments" and abs(far.point[0]) > 1.0


def test_the_same_seed_gives_the_same_report():
    problem = problems.Cosh(dimension=3).affine(np.eye(3), np.ones(3)).ridge(1.0)
    first, second = (certify.find_violation(problem, seed=5) for _ in range(2))
    assert first.ratio == second.ratio and np.array_equal(first.point, second.point)
    assert not np.array_equal(certify.find_violation(problem, seed=6).point, first.point)


def test_a_function_is_differentiated_by_the_backend(float64):
    def function(w):
        return keras.ops.sum(keras.ops.exp(w) + keras.ops.exp(-w))

    # Each coordinate's curvature is its own part of f, so at most f - 2; exactly so on the axes.
    options = {"dimension": 2, "samples": 32, "segments": 2, "ascent_steps": 5, "radius": 2.0}
    true = certify.find_violation(function, Smoothness(2.0, 1.0, f_star=4.0), **options)
    assert not true.violated and true.ratio == pytest.approx(1.0, abs=1e-6)
    false = certify.find_violation(function, Smoothness(2.0, 0.97, f_star=4.0), **options)
    assert false.violated
    w = false.point
    assert false.loss == pytest.approx(np.sum(2 * np.cosh(w)), rel=1e-12)
    assert false.curvature == pytest.approx(np.max(2 * np.cosh(w)), rel=1e-12)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3, "softplus", kernel_regularizer=keras.regularizers.L2(0.05)),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    return model, x, (x[:, :1] > 0).astype("float32")


def test_a_keras_model_with_a_loss_and_data(network):
    model, x, y = network
    before = [weight.copy() for weight in model.get_weights()]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    few = {"samples": 32, "segments": 1, "ascent_steps": 2}
    small = certify.find_model_violation(model, loss, x, y, Smoothness(1e-3, 1e-3), **few)
    assert small.violated
    large = certify.find_model_violation(model, loss, x, y, Smoothness(1e4, 1e4), **few)
    assert not large.violated
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    # The loss of the report, by the model itself with the weights of the report.
    def total(w):
        parts = np.split(w.astype("float32"), np.cumsum(sizes)[:-1])
        for variable, part in zip(model.trainable_variables, parts, strict=True):
            variable.assign(part.reshape(variable.shape))
        value = loss(y, model(x, training=False)) + sum(model.losses)
        return float(keras.ops.convert_to_numpy(value))

    sizes = [int(np.prod(variable.shape)) for variable in model.trainable_variables]
    start = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    start = keras.ops.convert_to_numpy(start)
    assert total(small.point) == pytest.approx(small.loss, rel=1e-4)
    total(start)


def test_a_quadratic_model_has_the_curvature_of_its_data(network, float64):
    # Mean squared error of a linear layer: the Hessian is 2 X^T X / m with a column of ones.
    x = np.random.default_rng(1).normal(size=(30, 3))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    design = np.concatenate([x, np.ones((30, 1))], axis=1)
    exact = np.linalg.norm(2 * design.T @ design / 30, 2)
    options = {"samples": 4, "segments": 1, "ascent_steps": 1}
    for factor, violated in ((0.999, True), (1.001, False)):
        result = certify.find_model_violation(
            model, "mse", x, np.zeros((30, 1)), Smoothness(factor * exact, 0.0), **options
        )
        assert result.violated == violated
        assert result.curvature == pytest.approx(exact, rel=1e-6)


def test_the_report_can_be_read():
    problem = problems.Cosh(1.0, 1.0)
    text = str(certify.find_violation(problem, Smoothness(0.5, 0.5), samples=8, ascent_steps=1))
    assert text.startswith("VIOLATED: curvature ") and " found by " in text


def test_bad_arguments_say_what_was_received():
    chain = problems.LinearChain(3)
    for make in (
        lambda: certify.find_violation(chain),
        lambda: certify.find_violation(lambda w: w[0], Smoothness(1.0, 1.0)),
        lambda: certify.find_violation(chain, Smoothness(1.0, 1.0), radius=0.0),
        lambda: certify.find_violation(chain, Smoothness(1.0, 1.0), samples=1),
        lambda: certify.find_violation(
            chain, Smoothness(1.0, 1.0), restrict=lambda w: np.full_like(w, np.inf)
        ),
    ):
        with pytest.raises(ValueError, match=r"Received: "):
            make()
