"""SmoothnessProbe inside `fit`: it measures, and training does not notice."""

import csv
import time

import keras
import numpy as np
import pytest
from keras import layers

from keras_h0h1.callbacks.smoothness_probe import MODES, SmoothnessProbe
from keras_h0h1.curvature import NotIdentified, Objective, blocks, lanczos
from tests.curvature.models import host

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((96, 8)).astype("float32"), RNG.integers(0, 5, 96)
PARTS = [(X[:32], Y[:32]), (X[32:64], Y[32:64])]


def make(**compile_options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, activation="gelu", name="body"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.3),
            layers.Dense(5, name="head"),
        ]
    )
    model.compile(
        keras.optimizers.AdamW(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        **compile_options,
    )
    return model


def train(callbacks, epochs=2, **compile_options):
    model = make(**compile_options)
    history = model.fit(
        X,
        Y,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=callbacks,
        validation_data=(X[:32], Y[:32]),
    )
    # Weights, statistics, seeds, moments: everything.
    state = [host(v) for v in model.variables] + [host(v) for v in model.optimizer.variables]
    return state, history.history, model


@pytest.fixture(scope="module")
def plain():
    return train([])


@pytest.mark.parametrize("mode", MODES)
def test_training_is_bit_for_bit_unchanged(mode, plain, backend):
    probe = SmoothnessProbe(
        PARTS if mode == "trajectory" else PARTS[0], mode, every=5, max_share=None
    )
    state, history, _ = train([probe])
    for a, b in zip(plain[0], state, strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == plain[1]
    steps = [5, 10] if mode == "preconditioned" else [0, 5, 10]
    assert probe.column("step").tolist() == steps
    assert np.all(probe.column("curvature") > 0)
    # A gradient; or the loss and a Hessian product.
    expected = 1 if mode in ("gradient_difference", "trajectory") else 2
    assert probe.objective.compilations == (0 if backend == "torch" else expected)


def test_measures_the_weights_of_that_moment():
    """At the last step the probe agrees with a measurement afterwards; layer by layer too."""
    model_blocks = blocks(make())
    probe = SmoothnessProbe(
        PARTS[0], "hessian", at_steps=[12], layers=model_blocks, tol=1e-4, iterations=80
    )
    _, _, model = train([probe])
    row = probe.history[-1]
    objective = Objective(model)
    assert row["step"] == 12
    assert np.isclose(row["loss"], objective.loss(PARTS[0]), rtol=1e-6)
    options = {"which": "magnitude", "tol": 1e-4, "max_iterations": 80}
    truth = abs(lanczos(objective.hessian(PARTS[0]), **options).value[0])
    assert np.isclose(row["curvature"], truth, rtol=1e-3)
    assert set(model_blocks) == {"body", "norm", "head"}
    for name, paths in model_blocks.items():
        part = Objective(model, layers=paths).hessian(PARTS[0])
        truth = abs(lanczos(part, **options).value[0])
        assert np.isclose(row[f"curvature/{name}"], truth, rtol=1e-3)


def test_steps_per_execution_and_several_fits(backend):
    probe = SmoothnessProbe(PARTS[0], every=4, max_share=None)
    if backend == "torch":
        with pytest.raises(ValueError, match="must be 1 with the PyTorch backend"):
            train([probe], epochs=1, steps_per_execution=2)
        return
    _, _, model = train([probe], epochs=1, steps_per_execution=2)
    assert probe.column("step").tolist() == [0, 4]
    model.fit(X, Y, batch_size=16, epochs=1, verbose=0, callbacks=[probe])
    assert probe.column("step").tolist() == [0, 4, 8]


def test_beside_a_callback_that_reads_the_model():
    """On JAX such a callback writes the state back in the middle of an epoch."""
    from keras.callbacks import LambdaCallback

    class Reads(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.get_weights()

    alone = SmoothnessProbe(PARTS[0], every=3, max_share=None)
    train([alone], epochs=1)
    beside = SmoothnessProbe(PARTS[0], every=3, max_share=None)
    callbacks = [Reads(), beside, LambdaCallback(on_train_batch_end=lambda batch, logs: None)]
    train(callbacks, epochs=1)
    np.testing.assert_array_equal(alone.column("curvature"), beside.column("curvature"))


def test_cap_puts_measurements_off():
    class Slow(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            time.sleep(0.01)

    capped = SmoothnessProbe(PARTS[0], every=1, max_share=1e-4)
    train([capped, Slow()], epochs=3)
    # The first one compiles and is free; the second shows the price.
    assert 1 <= len(capped.history) <= 3 and capped.postponed > 5


def test_files(tmp_path):
    pytest.importorskip("tensorboard")
    probe = SmoothnessProbe(
        PARTS[0],
        every=2,
        max_share=None,
        layers={"head": ["head"]},
        csv_path=tmp_path / "probe.csv",
        tensorboard_dir=tmp_path / "board",
    )
    train([probe])
    with open(tmp_path / "probe.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["curvature"]) for r in rows] == probe.column("curvature").tolist()
    assert [r["mode"] for r in rows] == ["gradient_difference"] * len(rows)
    assert [float(r["curvature/head"]) for r in rows] == probe.column("curvature/head").tolist()
    assert list((tmp_path / "board").glob("*tfevents*"))


def test_fit_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    probe = SmoothnessProbe(PARTS[0], layers={"head": ["head"]})
    for loss in np.linspace(3, 1, 20):
        row = {"step": int(60 - 20 * loss), "loss": loss, "curvature": 2 + loss}
        probe.history.append({**row, "curvature/head": 1.0 + 0.5 * loss})
    assert np.isclose(probe.fit().C, 2.0)
    assert np.isclose(probe.fit_blocks()["head"].H1, 0.5)
    axes = probe.plot(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert "gradient difference" in axes.get_ylabel() and axes.get_legend() is not None
    probe.history = probe.history[:3]
    with pytest.raises(NotIdentified):
        probe.fit()
    assert probe.plot().get_legend() is None


def test_preconditioned_by_hand():
    """With the second moment read off the optimizer and the full matrix."""
    from keras_h0h1.curvature import preconditioned_sharpness
    from tests.curvature.models import dense_matrix

    _, _, model = train([], epochs=1)
    objective = Objective(model)
    matrix = dense_matrix(objective.hessian(PARTS[0]))
    optimizer = model.optimizer
    v = np.concatenate([np.ravel(host(m)) for m in optimizer._velocities])
    v_hat = v / (1 - optimizer.beta_2 ** int(host(optimizer.iterations)))
    p = (np.sqrt(v_hat) + optimizer.epsilon) ** -0.5
    truth = np.linalg.eigvalsh(p[:, None] * matrix * p).max()
    result = preconditioned_sharpness(objective, PARTS[0], tol=1e-5)
    assert np.isclose(result.value[0], truth, rtol=1e-3)


def test_preconditioned_needs_a_second_moment():
    from keras_h0h1.curvature import second_moment_scale

    model = make()
    with pytest.raises(ValueError, match="Received: optimizer=AdamW"):
        second_moment_scale(Objective(model))
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="Received: steps=0"):
        second_moment_scale(Objective(model))


def test_bad_input():
    with pytest.raises(ValueError, match="Received: mode='exact'"):
        SmoothnessProbe(PARTS[0], "exact")
    with pytest.raises(ValueError, match="Received: every=2"):
        SmoothnessProbe(PARTS[0], every=2, at_steps=[1])
    with pytest.raises(ValueError, match="Received: max_share=0"):
        SmoothnessProbe(PARTS[0], max_share=0)
