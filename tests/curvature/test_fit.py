"""`fit_smoothness` against known constants, with noise of known size."""

import numpy as np
import pytest

from keras_h0h1.curvature import NotIdentified, fit_layers, fit_smoothness, lanczos
from tests.curvature.models import ONE, Function, value
from tests.curvature.models import objective as make_objective


@pytest.mark.parametrize("noise", ["none", "proportional", "constant"])
def test_recovers_the_constants_within_its_interval(noise):
    """On (H0/H1)(cosh(sqrt(H1) w) - 1), where curvature is H0 + H1 f exactly."""
    hits, widths = 0, []
    for trial in range(100):
        rng = np.random.default_rng(trial)
        H0, H1 = np.exp(rng.uniform(-2, 3, 2))
        w = rng.uniform(0.3, 3.0, 30) / np.sqrt(H1)
        loss = H0 / H1 * (np.cosh(np.sqrt(H1) * w) - 1)
        curvature = H0 * np.cosh(np.sqrt(H1) * w)
        if noise == "proportional":
            curvature = curvature * (1 + 0.05 * rng.standard_normal(30))
        if noise == "constant":
            curvature = curvature + 0.03 * curvature.mean() * rng.standard_normal(30)
        fit = fit_smoothness(loss, curvature, bootstrap=400)
        hits += (
            fit.H0_interval[0] <= H0 <= fit.H0_interval[1]
            and fit.H1_interval[0] <= H1 <= fit.H1_interval[1]
        )
        widths.append((fit.H1_interval[1] - fit.H1_interval[0]) / H1)
    assert hits >= 90
    # An interval that holds because it is everything is worth nothing.
    assert np.median(widths) < 0.5


def test_from_measurement_to_constants(double):
    """The whole way: Hessian by autodiff along a descent, then the fit."""
    from keras import ops

    H0, H1 = 3.0, 2.0
    model = Function(lambda w: H0 / H1 * (ops.cosh(H1**0.5 * w[0]) - 1), [2.5])
    objective = make_objective(model, value)
    losses, curvatures = [], []
    for _ in range(12):
        loss, gradient = objective.gradient(ONE)
        losses.append(float(loss))
        curvatures.append(lanczos(objective.hessian(ONE)).value[0])
        model.w.assign(model.w - gradient / (H0 + H1 * losses[-1]))
    fit = fit_smoothness(losses, curvatures)
    assert np.isclose(fit.H0, H0, rtol=1e-9) and np.isclose(fit.H1, H1, rtol=1e-9)
    assert np.isclose(fit.C, 1.5) and fit.r_squared > 1 - 1e-12
    assert fit.adaptive_gd["H0"] >= H0 * (1 - 1e-9)


def test_exponent_of_a_power():
    # |w|^p: rho = (p - 2)/p, K0 = 0, Krho = p (p - 1).
    w = np.linspace(0.2, 3, 40)
    for p in (3, 4, 6):
        fit = fit_smoothness(w**p, p * (p - 1) * w ** (p - 2), rho="fit")
        assert np.isclose(fit.rho, (p - 2) / p, atol=1e-4)
        assert np.isclose(fit.H1, p * (p - 1), rtol=1e-3) and fit.H0 < 1e-2
        assert fit.rho_interval[0] <= (p - 2) / p <= fit.rho_interval[1]
        assert fit.H1_interval[0] <= p * (p - 1) <= fit.H1_interval[1]


def test_infimum_and_exponent_together():
    gap = np.geomspace(0.05, 8, 60)
    fit = fit_smoothness(1.5 + gap, 2.0 + 3.0 * gap**2, rho="fit", f_star="fit")
    assert np.isclose(fit.rho, 2.0, atol=0.02) and np.isclose(fit.f_star, 1.5, atol=0.02)


def test_refusals():
    rng = np.random.default_rng(0)
    noise = 1e-3 * rng.standard_normal(50)
    with pytest.raises(NotIdentified, match="moved too little"):
        fit_smoothness(2.3 + noise, 5 + noise)
    with pytest.raises(NotIdentified, match="moved too little"):
        fit_smoothness(np.zeros(50), np.ones(50))
    with pytest.raises(NotIdentified, match="Received: 3"):
        fit_smoothness([1, 2, 3, np.nan], [1, 2, 3, 4])
    with pytest.raises(NotIdentified, match="f_star='fit'"):
        fit_smoothness(np.arange(20), np.arange(20), f_star="fit")
    with pytest.raises(ValueError, match=r"Received: losses\.shape"):
        fit_smoothness(np.arange(20), np.arange(19))
    with pytest.raises(ValueError, match="Received: rho='free'"):
        fit_smoothness(np.arange(20), np.arange(20), rho="free")


def test_upper_envelope_is_above_and_touches():
    rng = np.random.default_rng(0)
    for _ in range(50):
        loss = rng.uniform(0.1, 5, 40)
        curvature = 1 + 2 * loss + rng.exponential(1.0, 40)
        fit = fit_smoothness(loss, curvature, restrict=False)
        slack = fit.upper(loss) - curvature
        assert slack.min() >= -1e-12 and slack.min() < 1e-9
        # No line above all points is lower at the mean: check against many.
        slopes = np.linspace(0, 10, 400)
        intercepts = np.maximum(0, np.max(curvature - slopes[:, None] * loss, axis=1))
        best = np.min(intercepts + slopes * loss.mean())
        assert fit.upper(loss).mean() <= best + 1e-9


def test_progressive_sharpening_is_left_out_and_said():
    loss = np.linspace(0.5, 6, 80)
    rng = np.random.default_rng(0)
    curvature = np.where(loss > 2, 1 + 2 * loss, 5 + 6 * (2 - loss)) * (
        1 + 0.02 * rng.standard_normal(80)
    )
    fit = fit_smoothness(loss, curvature)
    assert abs(fit.valid_range[0] - 2) < 0.3 and fit.points_outside > 15
    assert abs(fit.H1 - 2) < 0.2 and fit.violations > 0.8
    whole = fit_smoothness(loss, curvature, restrict=False)
    assert whole.points_outside == 0 and whole.r_squared < 0.7 < fit.r_squared
    # A straight cloud is not cut.
    assert fit_smoothness(loss, 1 + 2 * loss + rng.standard_normal(80)).points_outside == 0


def test_layers_are_fitted_or_refused_one_by_one():
    loss = np.linspace(1, 4, 20)
    fits = fit_layers(loss, {"a": 1 + loss, "b": np.full(20, np.nan)})
    assert np.isclose(fits["a"].H1, 1.0) and isinstance(fits["b"], NotIdentified)
    flat = fit_smoothness(loss, np.full(20, 3.0))
    assert flat.H1 == 0.0 and flat.C == float("inf")


def test_the_interval_contains_the_estimate_where_a_bound_bites():
    """Curvature that rises as the loss falls: the best line with H1 >= 0 is flat."""
    losses = np.linspace(2.0, 6.0, 40)
    curvatures = 30.0 - 4.0 * losses + np.random.default_rng(0).normal(size=40)
    fit = fit_smoothness(losses, curvatures, restrict=False)
    assert fit.H1 == 0.0
    assert fit.H0 == pytest.approx(curvatures.mean())
    assert fit.H0_interval[0] <= fit.H0 <= fit.H0_interval[1]
    assert fit.H1_interval[0] <= fit.H1 <= fit.H1_interval[1]


def test_estimate_lies_in_its_interval_and_a_misfit_is_named():
    rng = np.random.default_rng(0)
    loss = np.linspace(5, 7, 30)
    for curvature, note in (
        (2 + loss, ""),
        (5 * (loss - 4.9), "falls faster"),
        (10 - loss, "does not grow"),
    ):
        curvature = curvature + 0.05 * rng.standard_normal(30)
        fit = fit_smoothness(loss, curvature, restrict=False)
        assert fit.H0_interval[0] <= fit.H0 <= fit.H0_interval[1]
        assert fit.H1_interval[0] <= fit.H1 <= fit.H1_interval[1]
        assert (note in fit.note) and bool(note) == bool(fit.note)
