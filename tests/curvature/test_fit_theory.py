"""`fit_smoothness` on descents of the theory's problems, every trial seeded.

Where the curvature is a function of the loss (`runs.EQUAL`), its constants have to lie within the
intervals. Where the theory only bounds it (`runs.BOUNDED`) there is no true line to recover; there
the upper envelope has to lie above all points, and not above the theory's line. Left out is the
deep linear chain, for which no constants hold everywhere.
"""

import numpy as np
import pytest

from keras_h0h1.curvature import fit_smoothness
from tests.curvature.runs import BOUNDED, EQUAL


def _holds(interval, truth):
    return interval[0] <= truth <= interval[1]


@pytest.mark.parametrize("name", EQUAL)
def test_recovers_the_constants_within_its_interval(name, backend):
    """With 5% of noise on every curvature."""
    if backend != "tensorflow":
        pytest.skip("NumPy alone, and slow: once is enough")
    hits, widths = 0, []
    for trial in range(100):
        rng = np.random.default_rng(trial)
        run = EQUAL[name](rng)
        losses, curvatures = run.measure(rng)
        fit = fit_smoothness(losses, curvatures, run.rho, run.bound.f_star, bootstrap=400)
        hits += _holds(fit.H0_interval, run.H0) and _holds(fit.H1_interval, run.H1)
        unit = run.H1 if run.H1 > 0 else run.H0 / np.ptp(losses)
        widths.append(np.ptp(fit.H1_interval) / unit)
    assert hits >= 90
    # An interval that holds because it is everything is worth nothing.
    assert np.median(widths) < 1.0


@pytest.mark.parametrize("name", EQUAL)
def test_without_noise_both_fits_are_the_line(name):
    run = EQUAL[name](np.random.default_rng(0))
    losses, curvatures = run.measure(np.random.default_rng(0), noise=0.0)
    fit = fit_smoothness(losses, curvatures, run.rho, run.bound.f_star, restrict=False)
    # Those two are bent by the ridge.
    tolerance = 0.02 if name in ("separation", "exponential") else 1e-6
    scale = tolerance * curvatures.max()
    for H0, H1 in ((fit.H0, fit.H1), (fit.H0_upper, fit.H1_upper)):
        assert np.isclose(H0, run.H0, rtol=0.0, atol=scale)
        assert np.isclose(H1, run.H1, rtol=tolerance, atol=scale / np.ptp(losses))


@pytest.mark.parametrize("name", BOUNDED)
def test_the_envelope_lies_between_the_points_and_the_theory(name):
    for trial in range(20):
        rng = np.random.default_rng(trial)
        run = BOUNDED[name](rng)
        losses, curvatures = run.measure(rng, noise=0.0)
        options = {"rho": run.rho, "f_star": run.bound.f_star, "restrict": False}
        fit = fit_smoothness(losses, curvatures, bootstrap=100, min_range=0.0, **options)
        assert np.all(fit.upper(losses) >= curvatures * (1 - 1e-9))
        # The theory's line is one above all points; the envelope is the lowest on average.
        assert np.all(run.bound.bound(losses) >= curvatures * (1 - 1e-9))
        assert fit.upper(losses).mean() <= run.bound.bound(losses).mean() * (1 + 1e-9)


def test_recovers_the_exponent_within_its_interval(backend):
    if backend != "jax":
        pytest.skip("NumPy alone, and slow: once is enough")
    kinds = ["cosh", "power", "double well", "factorisation"]
    exponents = together = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        run = EQUAL[kinds[trial % 4]](rng)
        losses, curvatures = run.measure(rng)
        fit = fit_smoothness(losses, curvatures, "fit", run.bound.f_star, restrict=False)
        exponent = _holds(fit.rho_interval, run.rho)
        exponents += exponent
        constants = _holds(fit.H0_interval, run.H0) and _holds(fit.H1_interval, run.H1)
        together += exponent and constants
    assert exponents >= 90 and together >= 90
