"""What happens around the steps: validation, non-finite losses, Keras' own callbacks."""

import csv
import json

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from tests.core import problems

C = 2.0


def _optimizer(base=0.05, **options):
    return LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(base, C=C, **options)))


def test_validation_never_moves_the_state():
    plain = problems.mlp(_optimizer(smoothing=0.9))
    expected = problems.fit(plain)
    x, y = problems.data(seed=9)
    validated = problems.mlp(_optimizer(smoothing=0.9))
    # A validation loss a hundred times as large as that of training.
    weights = problems.fit(validated, validation_data=(100 * x, y))
    assert problems.largest_difference(weights, expected) == 0.0
    before = [keras.ops.convert_to_numpy(v) for v in validated.optimizer.variables]
    validated.evaluate(100 * x, y, verbose=0)
    validated.predict(x, verbose=0)
    for variable, value in zip(validated.optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_the_rate_belongs_to_the_batch_it_is_applied_to():
    """Not to the previous batch, and not to the epoch's mean."""
    logger = LearningRateLogger()
    model = problems.mlp(_optimizer(base=0.0))  # the weights stand still
    problems.fit(model, epochs=1, callbacks=[logger])
    x, y = problems.data()
    batches = [slice(i, i + 8) for i in range(0, 32, 8)]
    each = [problems.reference_loss_and_gradients(problems.weights(), x[b], y[b])[0] / 8
            for b in batches]  # fmt: skip
    np.testing.assert_allclose(logger.history["batch_loss"], each, rtol=1e-5)
    factors = [1 / max(1.0, loss / C) for loss in each]
    np.testing.assert_allclose(logger.history["learning_rate_factor"], factors, rtol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("accumulate", [None, 2])
def test_a_non_finite_loss_changes_nothing(bad, accumulate):
    """The loss of one batch is not finite though its gradient is; later steps are as healthy."""

    class Spoiled(keras.layers.Layer):
        def call(self, x):
            # The third batch starts with a marker; the added constant has no gradient.
            marked = keras.ops.any(x[:, 0] > 1e3)
            self.add_loss(keras.ops.where(marked, bad, 0.0))
            return x * 0.01

    schedule = LossAdaptiveLearningRate(0.05, C=0.1, smoothing=0.5, latch=True, min_factor=0.01)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulate)
    model = keras.Sequential([keras.Input((2,)), Spoiled(), keras.layers.Dense(1)])
    logger = LearningRateLogger()
    model.compile(LossAware(optimizer), loss="mse")
    x = np.random.default_rng(0).normal(size=(24, 2)).astype("float32")
    x[8, 0] = 2e3
    model.fit(x, np.ones((24, 1)), batch_size=4, shuffle=False, verbose=0, callbacks=[logger])
    assert all(np.isfinite(w).all() for w in model.get_weights())
    for variable in model.optimizer.variables:
        assert np.isfinite(keras.ops.convert_to_numpy(variable)).all()
    history = logger.history
    assert np.isfinite(history["batch_loss"]).all()
    if accumulate is None:
        assert history["batch_loss"][2] == history["batch_loss"][1]
        assert history["effective_learning_rate"][2] == history["effective_learning_rate"][1]
        assert history["batch_loss"][3] != history["batch_loss"][2]
    else:
        # The window of batches 3 and 4 goes by the mean of its finite losses, that of batch 4.
        error = (keras.ops.convert_to_numpy(model(x)) - 1.0) ** 2
        assert history["batch_loss"][3] != history["batch_loss"][1]
        assert history["batch_loss"][3] < 2 * error.max()


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scaling"])
def test_reduce_lr_on_plateau_acts_on_the_base_and_the_factor_stays(scaled):
    class Frozen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["plateau"] = 1.0

    aware = _optimizer(base=1e-5)
    model = problems.mlp(LossScaleOptimizer(aware) if scaled else aware)
    plateau = keras.callbacks.ReduceLROnPlateau(
        monitor="plateau", factor=0.5, patience=1, mode="min"
    )
    problems.fit(model, epochs=4, callbacks=[Frozen(), plateau])
    # The first epoch sets the best value, each of the other three halves the base.
    assert float(aware.base_learning_rate) == pytest.approx(1e-5 / 8)
    factor = float(aware.learning_rate_factor)
    assert factor < 0.9
    assert float(aware.effective_learning_rate) == pytest.approx(1e-5 / 8 * factor)


@pytest.mark.parametrize("relative", [False, True])
def test_learning_rate_scheduler_acts_on_the_base(relative):
    rule = (lambda epoch, lr: lr * 0.5) if relative else (lambda epoch: 1e-5 * 0.5 ** (epoch + 1))
    model = problems.mlp(_optimizer(base=1e-5))
    problems.fit(model, epochs=3, callbacks=[keras.callbacks.LearningRateScheduler(rule)])
    assert float(model.optimizer.base_learning_rate) == pytest.approx(1e-5 / 8)
    factor = float(model.optimizer.learning_rate_factor)
    assert factor < 0.9
    assert float(model.optimizer.effective_learning_rate) == pytest.approx(1e-5 / 8 * factor)


def test_tensorboard_logs_the_effective_rate(tmp_path, backend):
    if backend != "tensorflow":
        pytest.importorskip("tensorflow")  # Keras' own callback writes with TensorFlow
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = problems.mlp(_optimizer())
    problems.fit(
        model, epochs=1, callbacks=[LearningRateLogger(), keras.callbacks.TensorBoard(tmp_path)]
    )
    accumulator = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    accumulator.Reload()
    (event,) = accumulator.Tensors("epoch_effective_learning_rate")
    value = event.tensor_proto.float_val[0] if event.tensor_proto.float_val else np.frombuffer(
        event.tensor_proto.tensor_content, "float32")[0]  # fmt: skip
    assert value == pytest.approx(float(model.optimizer.effective_learning_rate))
    assert value < 0.9 * 0.05


def test_logger_to_history_csv_and_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = problems.mlp(_optimizer())
    logger = LearningRateLogger(csv_path=tmp_path / "rates.csv", tensorboard_dir=tmp_path / "tb")
    x, y = problems.data()
    seen = []
    spy = keras.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(dict(logs)))
    history = model.fit(
        x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[logger, spy]
    ).history
    rows = list(csv.DictReader((tmp_path / "rates.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == logger.history["step"] == list(range(1, 9))
    for field in ("batch_loss", "learning_rate", "learning_rate_factor", "effective_learning_rate"):
        assert [float(row[field]) for row in rows] == logger.history[field]
    for row, logs in zip(rows, seen, strict=True):
        assert logs["effective_learning_rate"] == float(row["effective_learning_rate"])
        assert float(row["effective_learning_rate"]) == pytest.approx(
            float(row["learning_rate"]) * float(row["learning_rate_factor"])
        )
    assert history["effective_learning_rate"] == [
        logger.history["effective_learning_rate"][i] for i in (3, 7)
    ]
    accumulator = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0, "scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    assert "batch/effective_learning_rate" in tags["tensors"] + tags["scalars"]
    json.dumps(logger.history)  # plain numbers


def test_logger_appends_after_a_restart(tmp_path):
    path = tmp_path / "rates.csv"
    model = problems.mlp(_optimizer())
    problems.fit(model, epochs=1, callbacks=[LearningRateLogger(csv_path=path)])
    problems.fit(model, epochs=1, callbacks=[LearningRateLogger(csv_path=path, append=True)])
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 9))


def test_logger_refuses_to_append_to_other_columns(tmp_path):
    """Rows of other columns would be read under the wrong names."""
    path = tmp_path / "rates.csv"
    path.write_text("step,batch_loss,learning_rate,learning_rate_factor,base_learning_rate\n")
    model = problems.mlp(keras.optimizers.SGD(0.1))
    logger = LearningRateLogger(csv_path=path, append=True)
    with pytest.raises(ValueError, match=r"other columns.* Received: csv_path="):
        problems.fit(model, epochs=1, callbacks=[logger])
    path.write_text("")
    problems.fit(problems.mlp(keras.optimizers.SGD(0.1)), epochs=1, callbacks=[logger])
    assert path.read_text().startswith("step,batch_loss,learning_rate,")


def test_logger_records_a_plain_optimizer_too():
    cosine = keras.optimizers.schedules.CosineDecay(0.05, 8)
    for rate, expected in [(0.05, [0.05] * 4), (cosine, [float(cosine(k)) for k in range(4)])]:
        logger = LearningRateLogger()
        problems.fit(problems.mlp(keras.optimizers.Adam(rate)), epochs=1, callbacks=[logger])
        np.testing.assert_allclose(logger.history["effective_learning_rate"], expected, rtol=1e-6)
        assert logger.history["learning_rate_factor"] == [1.0] * 4


def test_logger_does_not_pull_the_state_to_the_host(backend, monkeypatch):
    if backend != "jax":
        pytest.skip("only JAX's trainer keeps the state outside the variables")
    model = problems.mlp(_optimizer())
    calls = []
    original = type(model).jax_state_sync
    monkeypatch.setattr(
        type(model), "jax_state_sync", lambda self: (calls.append(1), original(self))[1]
    )
    problems.fit(model, epochs=1)
    plain = len(calls)
    calls.clear()
    problems.fit(model, epochs=1, callbacks=[LearningRateLogger()])
    assert len(calls) == plain


def test_the_warm_up_callback_twice_and_with_a_schedule():
    cosine = keras.optimizers.schedules.CosineDecay(0.05, 100)
    model = problems.mlp(keras.optimizers.Adam(cosine))
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=C)])
    first = model.optimizer
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=C)])
    assert model.optimizer is first
    explicit = problems.mlp(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(cosine, C=C))))
    expected = problems.fit(explicit, epochs=2)
    assert problems.largest_difference(model.get_weights(), expected) == 0.0
    with pytest.raises(ValueError, match="driven by the loss already"):
        problems.fit(model, callbacks=[LossAdaptiveWarmup(C=3 * C)])


def test_the_warm_up_callback_takes_over_a_trained_optimizer():
    """Moments and step count of the compiled optimizer go on; only the rate changes."""
    model = problems.mlp(keras.optimizers.AdamW(0.05))
    problems.fit(model, epochs=1)
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=1e30)])
    expected = problems.fit(problems.mlp(keras.optimizers.AdamW(0.05)), epochs=2)
    assert problems.largest_difference(model.get_weights(), expected) == 0.0
    assert int(model.optimizer.iterations) == 8
