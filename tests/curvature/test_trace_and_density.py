"""Random estimates against exact traces and spectra, with their own stated errors."""

import numpy as np
import pytest

from keras_h0h1.curvature import Operator, hutchinson, hutchpp, spectral_density


def decaying(size=120, seed=0):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return basis @ np.diag(100.0 / np.arange(1, size + 1) ** 2) @ basis.T


@pytest.mark.parametrize("estimate", [hutchinson, hutchpp])
def test_stated_error_is_the_error(estimate):
    matrix = decaying()
    operator, truth = Operator.from_matrix(matrix), np.trace(matrix)
    name = "samples" if estimate is hutchinson else "products"
    results = [estimate(operator, **{name: 60}, seed=seed) for seed in range(60)]
    errors = np.array([r.value - truth for r in results])
    stated = np.sqrt(np.mean([r.residual**2 for r in results]))
    spread = np.sqrt(np.mean(errors**2))
    assert abs(errors.mean()) < 4 * spread / np.sqrt(60)  # unbiased
    assert 0.6 * stated < spread < 1.6 * stated
    assert all(r.iterations == 60 for r in results)


def test_hutchpp_beats_hutchinson_where_the_spectrum_decays():
    operator = Operator.from_matrix(decaying())
    plain = np.mean([hutchinson(operator, samples=60, seed=s).residual for s in range(20)])
    better = np.mean([hutchpp(operator, products=60, seed=s).residual for s in range(20)])
    assert better < 0.2 * plain


def test_hutchinson_stops_early():
    operator = Operator.from_matrix(decaying() + 10 * np.eye(120))
    result = hutchinson(operator, samples=10_000, tol=0.05)
    assert result.converged and 10 <= result.iterations < 1000


def test_hutchpp_of_a_matrix_of_low_rank_is_exact():
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((50, 3))
    matrix = factor @ factor.T
    result = hutchpp(Operator.from_matrix(matrix), products=12)
    assert np.isclose(result.value, np.trace(matrix), rtol=1e-9)


def test_density_of_a_known_spectrum():
    rng = np.random.default_rng(0)
    eigenvalues = np.concatenate([np.full(150, 1.0), np.full(50, 4.0)])
    basis = np.linalg.qr(rng.standard_normal((200, 200)))[0]
    matrix = basis @ np.diag(eigenvalues) @ basis.T
    spectrum = spectral_density(Operator.from_matrix((matrix + matrix.T) / 2), probes=20, steps=10)
    step = spectrum.grid[1] - spectrum.grid[0]
    assert np.isclose(spectrum.value.sum() * step, 1.0, rtol=1e-3)
    low = spectrum.value[spectrum.grid < 2.5].sum() * step
    assert abs(low - 0.75) < 0.05
    assert abs(spectrum.moment(1) - eigenvalues.mean()) < 0.15
    # A Gauss quadrature: the moments of one probe are those of its own vector.
    assert np.isclose(spectrum.weights.sum(), 1.0)


def test_semicircle():
    # Eigenvalues of a random symmetric matrix fill a half-circle of radius 2 (Wigner).
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((400, 400))
    matrix = (matrix + matrix.T) / np.sqrt(2 * 400)
    spectrum = spectral_density(Operator.from_matrix(matrix), probes=8, steps=60, width=0.03)
    inside = np.abs(spectrum.grid) < 1.8
    truth = np.sqrt(4 - spectrum.grid[inside] ** 2) / (2 * np.pi)
    assert np.abs(spectrum.value[inside] - truth).max() < 0.06
