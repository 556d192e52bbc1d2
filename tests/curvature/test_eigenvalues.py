"""Lanczos and power iteration against numpy.linalg."""

import numpy as np
import pytest

from keras_h0h1.curvature import Operator, lanczos, power_iteration


def symmetric(size, seed=0):
    matrix = np.random.default_rng(seed).standard_normal((size, size))
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("size", [5, 50, 200, 500])
@pytest.mark.parametrize("which", ["largest", "smallest", "magnitude"])
def test_top_five_of_random_symmetric_matrices(size, which):
    matrix = symmetric(size, size)
    truth = np.linalg.eigvalsh(matrix)
    order = {"largest": -truth, "smallest": truth, "magnitude": -np.abs(truth)}[which]
    truth = truth[np.argsort(order)][:5]
    result = lanczos(Operator.from_matrix(matrix), 5, which=which, tol=1e-7, max_iterations=size)
    np.testing.assert_allclose(result.value, truth, rtol=1e-5)
    assert result.converged
    # At 500 it must not have needed the whole space.
    assert size < 500 or result.iterations < 300


def test_on_the_device_in_float32_too():
    from keras import ops

    matrix = symmetric(100).astype("float32")
    tensor = ops.convert_to_tensor(matrix)
    operator = Operator(100, lambda v: ops.matmul(tensor, v))
    result = lanczos(operator, 5, tol=1e-5, max_iterations=100)
    np.testing.assert_allclose(result.value, np.linalg.eigvalsh(matrix)[::-1][:5], rtol=1e-5)


def test_residuals_are_true_and_bound_the_error():
    matrix = symmetric(100)
    operator = Operator.from_matrix(matrix)
    # Far from converged, where a wrong residual would show.
    result = lanczos(operator, 3, tol=0.0, max_iterations=20, vectors=True)
    assert not result.converged
    truth = np.linalg.eigvalsh(matrix)
    for value, residual, vector in zip(result.value, result.residual, result.vectors, strict=True):
        assert np.isclose(np.linalg.norm(vector), 1.0)
        assert np.isclose(np.linalg.norm(matrix @ vector - value * vector), residual, rtol=1e-6)
        assert np.min(np.abs(truth - value)) <= residual


def test_invariant_subspace_is_left_by_a_restart():
    # A start inside the space of the two small eigenvalues never sees 9 without a restart.
    matrix = np.diag([1.0, 2.0, 9.0, 5.0])
    result = lanczos(
        Operator.from_matrix(matrix), 4, tol=1e-9, start=np.array([1.0, 1.0, 0.0, 0.0])
    )
    np.testing.assert_allclose(result.value, [9, 5, 2, 1], rtol=1e-9)


def test_zero_and_nan():
    assert lanczos(Operator.from_matrix(np.zeros((4, 4)))).value[0] == 0.0
    result = lanczos(Operator.from_matrix(np.full((4, 4), np.nan)))
    assert np.isnan(result.value[0]) and not result.converged
    assert power_iteration(Operator.from_matrix(np.zeros((4, 4)))).value == 0.0


def test_power_iteration_agrees_and_follows():
    matrix = symmetric(60)
    matrix += 30 * np.outer(np.ones(60), np.ones(60)) / 60
    operator = Operator.from_matrix(matrix)
    truth = np.linalg.eigvalsh(matrix)[-1]
    first = power_iteration(operator, tol=1e-6, max_iterations=500)
    assert first.converged and np.isclose(first.value, truth, rtol=1e-6)
    again = power_iteration(operator, tol=1e-6, start=first.vectors[0])
    assert again.iterations == 1


def test_power_iteration_admits_a_tie():
    result = power_iteration(Operator.from_matrix(np.diag([3.0, -3.0])), max_iterations=50)
    assert not result.converged
    assert abs(lanczos(Operator.from_matrix(np.diag([3.0, -3.0])), which="magnitude").value[0]) == 3


def test_bad_input():
    operator = Operator.from_matrix(np.eye(3))
    with pytest.raises(ValueError, match="Received: k=0"):
        lanczos(operator, 0)
    with pytest.raises(ValueError, match="Received: k=4"):
        lanczos(operator, 4)
    with pytest.raises(ValueError, match="Received: which='top'"):
        lanczos(operator, which="top")
    with pytest.raises(ValueError, match="Received: shape="):
        Operator.from_matrix(np.ones((2, 3)))
