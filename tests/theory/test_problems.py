"""Every problem against finite differences, closed forms and its own constants."""

import keras
import numpy as np
import pytest
from scipy import optimize

from keras_h0h1.theory import bounds, problems
from tests.theory.instances import every_kind

KINDS = every_kind()
SCALES = 10.0 ** np.linspace(-3, 0.7, 40)[:, None]


def points(problem, count=40, seed=1):
    directions = np.random.default_rng(seed).normal(size=(count, problem.dimension))
    return directions * SCALES[:count]


@pytest.fixture(params=list(KINDS))
def problem(request):
    return KINDS[request.param]


def test_derivatives_are_those_of_the_value(problem):
    w, h = points(problem)[20:36], 1e-6
    steps = h * np.eye(problem.dimension)
    gradient = [(problem.value(w + e) - problem.value(w - e)) / (2 * h) for e in steps]
    hessian = [(problem.gradient(w + e) - problem.gradient(w - e)) / (2 * h) for e in steps]
    scale = 1 + np.max(np.abs(problem.value(w)))
    np.testing.assert_allclose(problem.gradient(w), np.stack(gradient, -1), atol=1e-8 * scale)
    np.testing.assert_allclose(problem.hessian(w), np.stack(hessian, -1), atol=3e-8 * scale)


METHODS = ("value", "gradient", "hessian", "curvature", "gap")


def evaluate(problem, tensor):
    """All five methods; on JAX in one compilation, because each operation alone is one too."""

    def everything(w):
        return [getattr(problem, method)(w) for method in METHODS]

    if keras.backend.backend() == "jax":
        import jax

        everything = jax.jit(everything)
    return everything(tensor)


def test_tensors_give_what_numpy_gives(problem, floatx):
    w = points(problem)[5:30]
    tensor = keras.ops.convert_to_tensor(w, dtype=floatx)
    rounded = keras.ops.convert_to_numpy(tensor).astype("float64")
    tolerance = 1e-11 if floatx == "float64" else 2e-4
    for method, result in zip(METHODS, evaluate(problem, tensor), strict=True):
        assert keras.backend.standardize_dtype(result.dtype) == floatx
        exact = getattr(problem, method)(rounded)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(result), exact, rtol=tolerance, atol=tolerance * 10
        )


def test_one_point_and_a_batch_agree(problem):
    w = points(problem)[20:26].reshape(2, 3, problem.dimension)
    for name, tail in (("value", 0), ("gradient", 1), ("hessian", 2), ("curvature", 0)):
        batch = getattr(problem, name)(w)
        assert batch.shape == (2, 3) + (problem.dimension,) * tail
        np.testing.assert_allclose(batch[1, 2], getattr(problem, name)(w[1, 2]), rtol=1e-12)


def test_the_curvature_is_the_largest_eigenvalue(problem):
    w = points(problem)
    spectrum = np.abs(np.linalg.eigvalsh(problem.hessian(w)))
    np.testing.assert_allclose(problem.curvature(w), spectrum.max(axis=-1), rtol=1e-9)


def test_the_constants_hold(problem):
    if problem.smoothness is None:
        pytest.skip("no constants hold on the whole space")
    w = points(problem)
    assert np.all(problem.curvature(w) <= problem.smoothness.bound(problem.value(w)) * (1 + 1e-9))
    assert np.all(problem.value(w) >= problem.f_star - 1e-12)


def test_pl_aiming_and_strong_convexity_hold(problem):
    w = points(problem)
    gap, gradient = problem.gap(w), problem.gradient(w)
    square = np.sum(gradient**2, axis=-1)
    if problem.mu:
        assert np.all(square >= 2 * problem.mu * gap * (1 - 1e-6) - 1e-12)
    if problem.theta is not None and problem.minimisers is not None:
        inner = np.sum(gradient * (w - problem.minimisers[0]), axis=-1)
        assert np.all(inner >= problem.theta * gap * (1 - 1e-6) - 1e-12)
    if problem.strong_convexity is not None:
        lowest = np.linalg.eigvalsh(problem.hessian(w))[:, 0]
        assert np.all(lowest >= problem.strong_convexity * (1 - 1e-9) - 1e-9)


def test_the_minimum_is_what_scipy_finds(problem):
    if problem.minimum is None or problem.name == "logistic regression":
        pytest.skip("the infimum is unknown or tested below")
    starts = points(problem)[[25, 30, 33]]
    found = min(optimize.minimize(problem.value, w, tol=1e-14).fun for w in starts)
    assert found == pytest.approx(problem.minimum, abs=1e-7)
    if problem.minimisers is not None:
        np.testing.assert_allclose(
            problem.value(problem.minimisers), problem.minimum, rtol=1e-12, atol=1e-14
        )
        assert np.max(np.abs(problem.gradient(problem.minimisers))) < 1e-9


def test_values_by_the_formulas_of_the_table():
    w = np.array([0.7, -1.3])
    assert problems.Cosh(2.0, 3.0).value(w[:1]) == pytest.approx(
        2 / 3 * (np.cosh(3**0.5 * 0.7) - 1)
    )
    assert problems.Separation(0.1).value(w) == pytest.approx(np.cosh(0.7) - 1 + 0.05 * 1.3**2)
    assert problems.NormPower(4.5, 2).value(w) == pytest.approx(np.hypot(0.7, 1.3) ** 4.5)
    assert problems.DoubleWell().value(w[:1]) == pytest.approx((1 - 0.49) ** 2)
    assert problems.HardFunction(4.0).value(w[1:]) == pytest.approx(np.exp(2 * 1.3 - 1))
    assert problems.HardFunction(0.25).value(w[1:]) == pytest.approx(0.125 * 1.69 + 0.5)
    assert problems.HardFamily(2.0, 4.0).value(w[1:]) == pytest.approx(0.5 * np.exp(1.6) - 0.25)
    assert problems.ScalarFactorisation(2.0, 3.0).value(w) == pytest.approx((3 + 2 * 0.91) ** 2)
    a = np.array([[1.0, 2.0], [0.5, -1.0]])
    expected = np.mean(np.exp(a @ w)) + 0.15 * (w @ w)
    assert problems.ExponentialMean(a, 0.3).value(w) == pytest.approx(expected)
    expected = np.mean(np.log(1 + np.exp(-np.array([1, -1]) * (a @ w))))
    assert problems.Logistic(a, [1, -1]).value(w) == pytest.approx(expected)


def test_the_two_layer_loss_is_that_of_a_keras_network(float64):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 3)), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
    problem = problems.TwoLayerNet(x, y, hidden=4, ridge_v=0.3, ridge_W=0.2)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, "tanh", use_bias=False),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    kernel, output = random.normal(size=(3, 4)), random.normal(size=(4, 1))
    model.set_weights([kernel, output])
    z = keras.ops.convert_to_numpy(model(x))[:, 0]
    expected = np.sum(np.log1p(np.exp(-y * z)))
    expected += 0.15 * np.sum(output**2) + 0.1 * np.sum(kernel**2)
    w = np.concatenate([output.ravel(), kernel.T.ravel()])
    # Keras computes tanh in float32 even for float64 inputs, outside TensorFlow.
    assert problem.value(w) == pytest.approx(expected, rel=1e-6)


def test_equality_of_the_worst_cases(float64):
    random = np.random.default_rng(0)
    for _ in range(3):
        H0, H1, p = np.exp(random.uniform(-2, 2, size=3))
        w = keras.ops.convert_to_tensor(random.normal(size=(500, 1)) * 3)
        for problem in (problems.Cosh(H0, H1), problems.NormPower(2.1 + p)):
            f, gradient, _, curvature, _ = map(keras.ops.convert_to_numpy, evaluate(problem, w))
            np.testing.assert_allclose(curvature, problem.smoothness.bound(f), rtol=1e-10)
            square = bounds.gradient_norm_squared(problem.smoothness, f)
            np.testing.assert_allclose(gradient[:, 0] ** 2, square, rtol=1e-10)


def test_equality_of_the_norm_power_in_every_dimension():
    w = np.random.default_rng(0).normal(size=(100, 7))
    problem = problems.NormPower(5.0, dimension=7)
    bound = problem.smoothness.bound(problem.value(w))
    np.testing.assert_allclose(problem.curvature(w), bound, rtol=1e-10)


def test_the_power_at_its_minimiser_is_finite():
    problem = problems.NormPower(3.0, dimension=2)
    zero = np.zeros(2)
    assert problem.value(zero) == 0 and not problem.gradient(zero).any()
    assert not problem.hessian(zero).any()


def test_logistic_knows_whether_the_data_can_be_separated():
    x = np.array([[1.0, 0.0], [2.0, 1.0], [-1.0, 0.5]])
    separable = problems.Logistic(x, [1, 1, -1])
    assert separable.minimum == 0.0 and separable.minimisers is None and separable.H0 == 0.0
    overlapping = problems.Logistic(np.concatenate([x, x[:1]]), [1, 1, -1, -1])
    assert overlapping.minimum is not None and overlapping.minimum > 0.1
    assert overlapping.H0 == pytest.approx(overlapping.H1 * overlapping.minimum)
    # Separable along the second coordinate alone: the infimum log(2)/2 is not attained.
    partly = problems.Logistic([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1, -1, 1])
    assert partly.minimum == pytest.approx(np.log(2) * 2 / 3, abs=1e-9)
    assert partly.minimisers is None and partly.theta is None


def test_constants_of_the_exponentials_by_hand():
    # f = e^w + w^2/2: f* at -0.567143..., H1 = 1, H0 = 1 + f*.
    problem = problems.ExponentialMean([[1.0]], mu=1.0)
    omega = 0.5671432904097838
    assert problem.minimum == pytest.approx(omega + omega**2 / 2, rel=1e-12)
    assert problem.H0 == pytest.approx(1 + problem.minimum, rel=1e-12)


def test_the_balanced_line_has_constants_and_the_plane_has_none():
    problem = problems.ScalarFactorisation(1.5, 2.0)
    line = np.repeat(np.linspace(-9, 9, 2001)[:, None], 2, axis=1)
    for rho in (0.5, 1.0):
        bound = problem.balanced_smoothness(rho).bound(problem.value(line))
        assert np.all(problem.curvature(line) <= bound * (1 + 1e-12))
    kink = np.full(2, (problem.y / problem.x / 2) ** 0.5)
    assert problem.curvature(kink) == pytest.approx(problem.flow_sharpness_minimum(), rel=1e-12)
    assert problem.curvature(line).min() >= problem.flow_sharpness_minimum()
    with pytest.raises(ValueError, match=r"x \* y > 0. Received: "):
        problems.ScalarFactorisation(1.0, -1.0).balanced_smoothness()


def test_sums_share_their_minimiser_or_look_for_it():
    shared = problems.Cosh(1.0, 2.0) + problems.HardFamily(3.0, 1.0)
    assert shared.minimum == 0.0 and shared.H0 == 4.0 and shared.mu == 4.0
    apart = problems.Cosh().affine([[1.0]], [1.5]) + problems.Cosh().affine([[1.0]], [-1.5])
    assert apart.minimum == pytest.approx(2 * np.cosh(1.5) - 2, rel=1e-12)
    assert apart.H0 == pytest.approx(2 * np.cosh(1.5), rel=1e-12)
    unknown = problems.DoubleWell() + problems.DoubleWell().affine([[1.0]], [0.3])
    assert unknown.minimum is None and unknown.f_star == 0.0


def test_affine_maps_that_lose_dimensions_keep_true_constants():
    random = np.random.default_rng(0)
    # Onto: g* = f*, and the minimisers are a subspace.
    onto = problems.Cosh(dimension=2).affine(random.normal(size=(2, 4)))
    assert onto.minimum == 0.0 and onto.minimisers is None and onto.strong_convexity == 0.0
    assert onto.mu > 0
    # Into: the minimum rises and is found by Newton's method.
    into = problems.Cosh(dimension=4).affine(random.normal(size=(4, 2)), np.ones(4))
    assert into.minimum > 0 and into.strong_convexity > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: problems.Cosh(0.0, 1.0),
        lambda: problems.Cosh(1.0, 1.0, dimension=0),
        lambda: problems.Separation(1.5),
        lambda: problems.NormPower(2.0),
        lambda: problems.DoubleWell("other"),
        lambda: problems.Quadratic([-1.0]),
        lambda: problems.HardFamily(1.0, -1.0),
        lambda: problems.ExponentialMean([[1.0]], mu=0.0),
        lambda: problems.Logistic([[1.0]], [2.0]),
        lambda: problems.TwoLayerNet([[1.0]], [1.0], ridge_v=0.0),
        lambda: problems.TwoLayerNet([[1.0]], [1.0]).certificate(omit=("B",)),
        lambda: problems.LinearChain(1),
        lambda: problems.LinearChain(2, x=0.0),
        lambda: problems.Cosh().affine(np.ones((2, 2))),
        lambda: problems.Cosh() + problems.Cosh(dimension=2),
        lambda: problems.Cosh() * -1.0,
        lambda: problems.Cosh().value(np.ones(2)),
        lambda: problems.LinearChain(3).distance(np.ones(3)),
    ],
)
def test_bad_arguments_say_what_was_received(make):
    with pytest.raises(ValueError, match=r"Received: "):
        make()
