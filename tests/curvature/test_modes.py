"""The three ways to measure, on a linear regression, whose curvature is known everywhere."""

import keras
import numpy as np
import pytest

from keras_h0h1.callbacks.smoothness_probe import SmoothnessProbe

N, D, BATCH = 512, 10, 32


def regression():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)).astype("float32")
    X[:, 0] *= 2.0
    y = (X @ rng.standard_normal((D, 1)) + rng.standard_normal((N, 1))).astype("float32")
    return X, y


def run(mode, rate, data):
    keras.utils.set_random_seed(0)
    X, y = regression()
    model = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), loss=lambda t, p: 0.5 * (p - t) ** 2)
    probe = SmoothnessProbe(data, mode, every=4, max_share=None, tol=1e-5)
    model.fit(X, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[probe])
    return probe, model


@pytest.mark.parametrize("rate", [1e-1, 1e-3])
def test_hessian_and_gradient_difference_are_right(rate):
    X, y = regression()
    spectrum = np.linalg.eigvalsh(X.T @ X / N)
    exact, _ = run("hessian", rate, (X, y))
    np.testing.assert_allclose(exact.column("curvature"), spectrum[-1], rtol=1e-4)
    assert len(exact.history) == 9 and exact.column("converged").all()
    along, _ = run("gradient_difference", rate, (X, y))
    values = along.column("curvature")
    # Between the extreme eigenvalues, whatever the rate.
    assert np.all(values <= spectrum[-1] * 1.001) and np.all(values >= spectrum[0] * 0.999)
    # It is a definite number: that of this step, from the weights alone.
    assert np.all(along.column("residual") < 1e-2 * values)


def test_trajectory_mode_measures_noise_not_curvature():
    """Its value is sqrt(2) sigma / (rate G), which does not shrink with the step."""
    X, y = regression()
    top = np.linalg.eigvalsh(X.T @ X / N)[-1]
    batches = [(X[i : i + BATCH], y[i : i + BATCH]) for i in range(0, N, BATCH)]
    medians = {}
    for rate in (1e-2, 1e-4):
        probe, model = run("trajectory", rate, batches)
        medians[rate] = np.median(probe.column("curvature"))
    w = model.get_weights()[0]
    gradients = [x.T @ (x @ w - t) / BATCH for x, t in batches]
    mean = np.mean(gradients, axis=0)
    sigma = np.sqrt(np.mean([np.sum((g - mean) ** 2) for g in gradients]))
    step = np.mean([np.linalg.norm(g) for g in gradients])
    predicted = np.sqrt(2) * sigma / (1e-4 * step)
    assert medians[1e-4] > 100 * top
    assert 0.5 * predicted < medians[1e-4] < 2 * predicted
    assert 30 < medians[1e-4] / medians[1e-2] < 300  # 100 times the rate, a hundredth of the value


def test_trajectory_needs_two_batches():
    X, y = regression()
    with pytest.raises(ValueError, match="Received: data with 1 batch"):
        SmoothnessProbe((X, y), "trajectory")
