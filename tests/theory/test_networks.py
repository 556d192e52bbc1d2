"""Deep networks: derivatives, constants on a thousand instances, guards, and descent."""

import itertools

import keras
import numpy as np
import pytest

import keras_h0h1
from benchmarks import network_instances as instances
from keras_h0h1.theory import bounds, certify, problems
from keras_h0h1.theory._autodiff import value_and_hessian
from tests.backends import only_on
from tests.theory import networks

INSTANCES = 1000
numpy_only = only_on("jax", reason="in NumPy alone: one backend is enough")
differentiable = pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="keras.ops.matmul is float32 on PyTorch"
)


def chain(random):
    return problems.LinearChain(int(random.integers(2, 6)), *np.exp(random.normal(size=2)))


def factorisation(random):
    return problems.ScalarFactorisation(*np.exp(random.normal(size=2)))


@differentiable
@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (instances.deep_linear, networks.network_loss),
        (instances.leaky_relu, networks.network_loss),
        (instances.two_layer, networks.two_layer_loss),
        (chain, networks.chain_loss),
        (factorisation, networks.chain_loss),
    ],
)
def test_hessians_are_those_of_automatic_differentiation(make, loss, float64):
    random = np.random.default_rng(5)
    for _ in range(3):
        problem = make(random)
        derivatives = value_and_hessian(lambda w, p=problem: loss(p, w))
        for w in instances.points(random, problem, 2):
            value, hessian = derivatives(w)
            assert float(problem.value(w)) == pytest.approx(value, rel=1e-11)
            error = np.max(np.abs(problem.hessian(w) - hessian))
            assert error <= 1e-9 * max(1.0, np.max(np.abs(hessian)))


@numpy_only
@pytest.mark.parametrize("make", [instances.deep_linear, instances.leaky_relu])
def test_gradients_are_those_of_the_value(make):
    random = np.random.default_rng(6)
    for _ in range(5):
        problem = make(random)
        w = instances.points(random, problem, 1)[0]
        steps = 1e-6 * np.maximum(1, np.abs(w)) * np.eye(problem.dimension)
        size = np.diag(steps)
        slope = np.array([problem.value(w + e) - problem.value(w - e) for e in steps]) / (2 * size)
        gradient = problem.gradient(w)
        np.testing.assert_allclose(gradient, slope, atol=1e-6 * (1 + np.max(np.abs(gradient))))


@numpy_only
def test_a_leaky_slope_of_1_is_the_linear_network():
    random = np.random.default_rng(7)
    for _ in range(20):
        X, Y, widths = instances.sizes(random)
        linear = problems.DeepLinearNet(X, Y, widths)
        leaky = problems.LeakyReLUNet(X, Y, widths, slope=1.0)
        w = instances.points(random, linear)
        np.testing.assert_allclose(leaky.gradient(w), linear.gradient(w), rtol=1e-9, atol=1e-9)
        scale = np.max(np.abs(linear.hessian(w)))
        np.testing.assert_allclose(leaky.hessian(w), linear.hessian(w), atol=1e-12 * scale)


@numpy_only
def test_deep_linear_constants_hold_on_and_off_the_balanced_set():
    random, ratios = np.random.default_rng(8), []
    for _ in range(INSTANCES):
        problem = instances.deep_linear(random)
        w = instances.points(random, problem, 2)
        level = problem.fit_size**2 * np.exp(random.normal())
        for point in (problem.balance(w), w):
            imbalance = 0.0 if point is not w else float(np.max(problem.imbalance(w)))
            loss, curvature = problem.value(point), problem.curvature(point)
            for rho in (1.0, 1.0 - 1.0 / problem.depth, 1.7):
                bound = problem.certificate(imbalance, level, rho).bound(loss)
                assert np.all(curvature <= bound * (1 + 1e-9))
                ratios.extend(curvature / bound)
    assert np.max(ratios) > 0.98  # scalar instances touch it


@numpy_only
def test_leaky_relu_constants_hold_where_aligned():
    random, ratios = np.random.default_rng(9), []
    for _ in range(INSTANCES):
        problem = instances.leaky_relu(random)
        w = instances.points(random, problem, 2)
        for point in (problem.balance(w), w):
            alignment = float(np.min(problem.alignment(point)))
            if alignment == 0:
                continue
            imbalance = float(np.max(problem.imbalance(point)))
            for rho in (1.0, 1.0 - 1.0 / problem.depth):
                bound = problem.certificate(alignment, imbalance, rho=rho).bound(
                    problem.value(point)
                )
                ratios.extend(problem.curvature(point) / bound)
    assert np.max(ratios) <= 1 + 1e-9 and np.max(ratios) > 0.3
    assert len(ratios) > 2 * INSTANCES


@numpy_only
def test_the_bound_is_attained_by_scalar_layers():
    for depth in (2, 3, 5):
        for make in (problems.DeepLinearNet, problems.LeakyReLUNet):
            problem = make([[1.0]], [[0.8]], [1] * (depth - 1))
            w = np.linspace(1.0, 4.0, 30)[:, None] * np.ones(depth)
            for point in w:
                level = float(problem.gap(point))
                given = {} if make is problems.DeepLinearNet else {"alignment": 1.0}
                bound = problem.certificate(level=level, **given).bound(level)
                assert float(problem.curvature(point)) == pytest.approx(float(bound), rel=1e-9)


@numpy_only
def test_the_bound_is_concave_in_the_power_of_the_gap():
    random = np.random.default_rng(10)
    for _ in range(200):
        problem = instances.deep_linear(random)
        bound = problem.curvature_bound(imbalance=np.exp(random.uniform(-8, 3)))
        rho = 1 - 1 / problem.depth
        u = np.linspace(0, 1, 400) * np.exp(random.uniform(-6, 6))
        values = bound(u ** (1 / rho))
        assert np.all(np.diff(values, 2) <= 1e-9 * values[-1])
        gap = float(u[200])
        slope = (bound(gap * (1 + 1e-6)) - bound(gap * (1 - 1e-6))) / (2e-6 * gap)
        assert bound.derivative(gap) == pytest.approx(slope, rel=1e-6)


@numpy_only
def test_alignment_follows_from_well_conditioned_layers_that_do_not_narrow():
    random = np.random.default_rng(11)
    for _ in range(200):
        X, _, _ = instances.sizes(random)
        widths = np.sort(random.integers(len(X), 7, size=3))
        Y = random.normal(size=(widths[-1], X.shape[1]))
        problem = problems.LeakyReLUNet(X, Y, widths[:-1].tolist(), random.uniform(0.05, 1))
        w = instances.points(random, problem)
        implied = problem.slope ** (problem.depth - 1)
        for matrix in problem.layers.split(np, w):
            smallest = np.linalg.svd(matrix, compute_uv=False)[:, -1]
            implied = implied * smallest / np.linalg.norm(matrix, axis=(1, 2))
        assert np.all(problem.alignment(w) >= implied * (1 - 1e-9))
        assert np.all(problem.alignment(w) <= 1 + 1e-12)


def _guard_of(call):
    with pytest.raises(bounds.GuardError, match=r"Received: ") as caught:
        call()
    return caught.value.guard


@numpy_only
def test_every_guard_raises_outside():
    few = problems.DeepLinearNet(np.ones((2, 1)), np.ones((1, 1)), [2])
    same = problems.DeepLinearNet(np.ones((2, 3)), np.ones((1, 3)), [2])
    full = problems.DeepLinearNet(np.eye(2), np.ones((1, 2)), [2])
    assert _guard_of(few.certificate) == _guard_of(same.certificate) == "full_row_rank"
    assert _guard_of(lambda: same.trajectory_certificate(np.ones(6))) == "full_row_rank"
    assert _guard_of(lambda: full.certificate(imbalance=-1.0)) == "imbalance_nonnegative"
    assert _guard_of(lambda: full.certificate(rho=0.4)) == "rho_at_least_1_minus_1_over_L"
    leaky = problems.LeakyReLUNet(np.eye(2), np.ones((1, 2)), [2])
    for alignment in (0.0, 1.1, np.nan):
        assert _guard_of(lambda k=alignment: leaky.certificate(k)) == "alignment_in_range"
    assert _guard_of(lambda: leaky.certificate(0.5, -1.0)) == "imbalance_nonnegative"
    for make in (
        lambda: problems.DeepLinearNet(np.eye(2), np.ones((1, 2)), []),
        lambda: problems.DeepLinearNet(np.eye(2), np.ones((1, 3)), [2]),
        lambda: problems.LeakyReLUNet(np.eye(2), np.ones((1, 2)), [2], slope=1.5),
        lambda: problems.LeakyReLUNet(np.zeros((2, 2)), np.ones((1, 2)), [2]),
    ):
        with pytest.raises(ValueError, match=r"Received: "):
            make()


@numpy_only
def test_gradient_descent_changes_the_imbalance_by_the_squares_of_its_steps():
    random = np.random.default_rng(12)
    for _ in range(50):
        problem = instances.deep_linear(random)
        w = problem.balance(instances.points(random, problem, 1))[0]
        gradient = problem.gradient(w)
        for step in (1e-3, 1e-2):
            moved = w - step * gradient
            G = problem.layers.split(np, gradient)
            expected = step**2 * sum(
                np.linalg.norm(after.T @ after - before @ before.T, 2)
                for before, after in itertools.pairwise(G)
            )
            scale = 1e-9 * (np.sum(moved**2) + np.sum(w**2))
            assert float(problem.imbalance(moved)) == pytest.approx(expected, rel=1e-6, abs=scale)


@numpy_only
def test_the_sharp_step_descends_and_stays_in_the_certified_set():
    random = np.random.default_rng(13)
    for k in range(60):
        problem = instances.deep_linear(random)
        w = instances.points(random, problem, 1)[0]
        w = problem.balance(w) if k % 2 else w
        smoothness = problem.trajectory_certificate(w)
        allowed = float(problem.imbalance(w))
        allowed += 2 * (1 if problem.depth == 2 else 2) * float(problem.gap(w)) / smoothness.H0
        loss = float(problem.value(w))
        for _ in range(40):
            w = w - problem.gradient(w) / smoothness.bound(loss)
            previous, loss = loss, float(problem.value(w))
            assert loss <= previous * (1 + 1e-12)
            assert problem.curvature(w) <= smoothness.bound(loss) * (1 + 1e-9)
            assert problem.imbalance(w) <= allowed * (1 + 1e-9) + 1e-9


def losses_of_adaptive_gd(problem, start, constants, inside=lambda w: True):
    """The losses of 20 steps of the sharp rule with these constants, which have to hold."""
    optimizer = keras_h0h1.AdaptiveGD(
        constants.H0, constants.H1, f_star=constants.f_star, rule="sharp"
    )
    weights = keras.Variable(start, dtype="float64")
    losses = []
    for _ in range(20):
        w = keras.ops.convert_to_numpy(weights.value)
        assert inside(w) and problem.curvature(w) <= constants.bound(problem.value(w)) * (1 + 1e-9)
        losses.append(float(problem.value(w)))
        gradient = keras.ops.convert_to_tensor(problem.gradient(w))
        optimizer.apply([gradient], [weights], loss=losses[-1])
    return np.array(losses)


def test_adaptive_gd_with_the_certified_constants_never_raises_the_loss(float64):
    random = np.random.default_rng(14)
    for make in (instances.deep_linear, instances.leaky_relu, instances.two_layer):
        for _ in range(3):
            problem = make(random)
            start = instances.points(random, problem, 1)[0]
            inside = lambda w: True  # noqa: E731
            if make is instances.deep_linear:
                constants = problem.trajectory_certificate(start)
            elif make is instances.two_layer:
                constants = problem.smoothness
            else:
                start = problem.balance(start)
                claim = 0.3 * float(problem.alignment(start)), 0.05 * float(np.sum(start**2))
                constants = problem.certificate(*claim)
                inside = lambda w, p=problem, c=claim: (  # noqa: E731
                    p.alignment(w) >= c[0] and p.imbalance(w) <= c[1]
                )
            losses = losses_of_adaptive_gd(problem, start, constants, inside)
            assert np.all(np.diff(losses) <= 1e-12 * np.abs(losses[:-1]))
            assert losses[-1] < losses[0]


@numpy_only
def test_leaky_relu_descends_while_it_is_aligned_and_crosses_no_kink():
    random, steps = np.random.default_rng(21), 0
    for _ in range(60):
        problem = instances.leaky_relu(random)
        w = problem.balance(instances.points(random, problem, 1))[0]
        alignment, imbalance = 0.5 * float(problem.alignment(w)), 0.05 * float(np.sum(w * w))
        if alignment < 1e-4:
            continue
        constants, loss = problem.certificate(alignment, imbalance), float(problem.value(w))
        for _ in range(25):
            moved = w - problem.gradient(w) / constants.bound(loss)
            after = float(problem.value(moved))
            inside = problem.alignment(w) >= alignment and problem.imbalance(w) <= imbalance
            signs = problem.signs(np.stack([w, 0.5 * (w + moved), moved]))
            if inside and np.all(signs == signs[0]) and problem.alignment(moved) >= alignment:
                steps += 1
                assert after <= loss * (1 + 1e-12)
            w, loss = moved, after
    assert steps > 200


@numpy_only
def test_a_leaky_relu_step_descends_unless_it_crosses_a_kink():
    random, crossed = np.random.default_rng(14), 0
    for _ in range(150):
        problem = instances.leaky_relu(random)
        w = problem.balance(instances.points(random, problem, 1))[0]
        alignment = 0.9 * float(problem.alignment(w))
        if alignment < 1e-3:
            continue
        smoothness = problem.certificate(alignment, 0.05 * float(np.sum(w * w)))
        moved = w - problem.gradient(w) / smoothness.bound(problem.value(w))
        path = w + np.linspace(0, 1, 50)[:, None] * (moved - w)
        signs = problem.signs(path)
        if np.any(signs != signs[0]):
            crossed += 1
        else:
            assert problem.value(moved) <= problem.value(w) * (1 + 1e-12)
    assert crossed > 0


@numpy_only
def test_the_descent_lemma_fails_at_a_corner():
    # w2 phi(w1 x) for x = +-1 and targets -1: in w1 the loss has a minimum that is a corner.
    problem = problems.LeakyReLUNet([[1.0, -1.0]], [[-1.0, -1.0]], [1], slope=0.1)
    w = np.array([1e-6, 1.0])
    alignment, imbalance = float(problem.alignment(w)), float(problem.imbalance(w))
    smoothness = problem.certificate(alignment, imbalance)
    step = 1.0 / smoothness.bound(problem.value(w))
    moved = w - step * problem.gradient(w)
    assert problem.value(moved) > problem.value(w)
    left, right = problem.gradient(np.array([-1e-9, 1.0])), problem.gradient(np.array([1e-9, 1.0]))
    jump = float(np.linalg.norm(right - left))
    # Two samples change their sign there.
    assert 0.1 < jump <= 2 * problem.kink_bound(alignment, problem.value(w), imbalance)


@numpy_only
def test_gradients_differ_by_the_bound_and_the_jumps():
    random = np.random.default_rng(15)
    for _ in range(100):
        problem = instances.leaky_relu(random)
        w = problem.balance(instances.points(random, problem, 1))[0]
        other = w + 0.2 * random.normal(size=w.shape)
        path = w + np.linspace(0, 1, 400)[:, None] * (other - w)
        alignment = float(np.min(problem.alignment(path)))
        if alignment < 1e-6:
            continue
        imbalance, loss = np.max(problem.imbalance(path)), np.max(problem.value(path))
        signs = problem.signs(path)
        kinks = int(np.sum(signs[1:] != signs[:-1]))
        allowed = problem.curvature_bound(alignment, imbalance)(loss) * np.linalg.norm(other - w)
        allowed = allowed + kinks * problem.kink_bound(alignment, loss, imbalance)
        change = np.linalg.norm(problem.gradient(other) - problem.gradient(w))
        assert change <= allowed * (1 + 1e-9)


SEARCH = {"samples": 128, "segments": 8, "ascent_steps": 20}


@numpy_only
def test_certify_finds_nothing_near_the_balanced_set():
    """What is found without each assumption is in `test_network_record`."""
    random = np.random.default_rng(16)
    problem = problems.DeepLinearNet(random.normal(size=(2, 3)), random.normal(size=(1, 3)), [2])
    near = problem.certificate(imbalance=0.5)
    inside = {"restrict": problem.restrict(imbalance=0.5), **SEARCH}
    assert not certify.find_violation(problem, near, **inside).violated
    leaky = problems.LeakyReLUNet(problem.X, problem.Y, [3], 0.2)
    # Neither balance nor alignment.
    assert certify.find_violation(leaky, leaky.certificate(0.2), **SEARCH).violated
