"""Stopping and going on equals never having stopped, bit for bit."""

import copy

import keras
import numpy as np
import pytest

from keras_h0h1 import (
    AdaptiveGD,
    LossAdaptiveLearningRate,
    LossAware,
    LossScaleOptimizer,
    SmoothnessLearningRate,
)
from tests.core import problems


def _stateful():
    """Every piece of state there is: average, latch, settable base, accumulated losses."""
    schedule = LossAdaptiveLearningRate(0.05, C=2.0, smoothing=0.9, latch=True, min_factor=0.1)
    return LossAware(keras.optimizers.AdamW(schedule, gradient_accumulation_steps=3))


OPTIMIZERS = {
    "every option": _stateful,
    "base schedule": lambda: LossAware(
        keras.optimizers.Adam(
            LossAdaptiveLearningRate(keras.optimizers.schedules.CosineDecay(0.05, 20), C=2.0)
        )
    ),
    "theory": lambda: LossAware(keras.optimizers.SGD(SmoothnessLearningRate(1.0, 2.0))),
    "AdaptiveGD": lambda: AdaptiveGD(1.0, 2.0, rule="envelope", momentum=0.9, clipnorm=3.0),
    "loss scaling": lambda: LossScaleOptimizer(_stateful()),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_save_load_continue(make, tmp_path):
    straight = problems.mlp(make())
    problems.fit(straight, epochs=1)
    expected = problems.fit(straight, epochs=2)
    # 4 batches an epoch and windows of 3: the save falls into the midst of a window.
    model = problems.mlp(make())
    problems.fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    for ours, theirs in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(ours), keras.ops.convert_to_numpy(theirs)
        )
    assert problems.largest_difference(problems.fit(loaded, epochs=2), expected) == 0.0


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_config_round_trip(make):
    optimizer = make()
    config = keras.optimizers.serialize(optimizer)
    assert config["registered_name"].startswith("keras_h0h1>")
    # Keras' deserialize writes into the configuration it is given.
    twin = keras.optimizers.deserialize(copy.deepcopy(config))
    assert type(twin) is type(optimizer)
    assert keras.optimizers.serialize(twin) == config
    assert (
        problems.largest_difference(
            problems.fit(problems.mlp(make())), problems.fit(problems.mlp(twin))
        )
        == 0.0
    )


def test_the_configuration_and_the_text_show_what_is_inside():
    optimizer = LossAware(keras.optimizers.AdamW(LossAdaptiveLearningRate(0.25, C=2.0), beta_1=0.5))
    assert optimizer.get_config()["learning_rate"] == 0.25
    text = repr(optimizer)
    assert all(part in text for part in ("LossAware", "AdamW", "beta_1=0.5", "base=0.25", "C=2.0"))


@pytest.mark.parametrize(
    "schedule",
    [
        LossAdaptiveLearningRate(0.1, 2.0, 0.5, 0.75, 0.5, True, 0.25),
        LossAdaptiveLearningRate(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), 2.0),
        SmoothnessLearningRate(1.0, 2.0, 0.5, 0.75, "power"),
    ],
)
def test_schedule_config_round_trip(schedule):
    config = keras.optimizers.schedules.serialize(schedule)
    twin = keras.optimizers.schedules.deserialize(copy.deepcopy(config))
    assert type(twin) is type(schedule)
    assert keras.optimizers.schedules.serialize(twin) == config


def test_a_changed_base_survives_saving(tmp_path):
    model = problems.mlp(_stateful())
    problems.fit(model, epochs=1)
    model.optimizer.learning_rate = 0.015625
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.base_learning_rate) == 0.015625


def test_model_checkpoint(tmp_path):
    path = str(tmp_path / "{epoch}.keras")
    straight = problems.mlp(_stateful())
    expected = problems.fit(straight, epochs=3, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    loaded = keras.models.load_model(tmp_path / "1.keras")
    assert problems.largest_difference(problems.fit(loaded, epochs=2), expected) == 0.0


def test_backup_and_restore(tmp_path):
    expected = problems.fit(problems.mlp(_stateful()), epochs=4)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        problems.fit(
            problems.mlp(_stateful()),
            epochs=4,
            callbacks=[keras.callbacks.BackupAndRestore(backup), Interrupt()],
        )
    resumed = problems.mlp(_stateful())
    weights = problems.fit(resumed, epochs=4, callbacks=[keras.callbacks.BackupAndRestore(backup)])
    assert problems.largest_difference(weights, expected) == 0.0


def test_a_model_warmed_up_by_the_callback_is_saved_with_its_wrapper(tmp_path):
    from keras_h0h1.callbacks import LossAdaptiveWarmup

    def start():
        model = problems.mlp(keras.optimizers.AdamW(0.05))
        problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=2.0)])
        return model

    model = start()
    expected = problems.fit(start(), epochs=2, callbacks=[LossAdaptiveWarmup(C=2.0)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.optimizer, LossAware)
    assert problems.largest_difference(problems.fit(loaded, epochs=2), expected) == 0.0
