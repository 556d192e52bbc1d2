"""With a C that never bites, LossAware around any Keras optimizer changes nothing at all."""

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from tests.core import problems

NAMES = [
    "SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam",
    "Ftrl", "Lion", "Lamb", "Muon", "ScheduleFreeAdamW",
]  # fmt: skip
OPTIONS = {
    "weight decay": {"weight_decay": 0.01},
    "clipnorm": {"clipnorm": 0.05},
    "clipvalue": {"clipvalue": 0.01},
    "global clipnorm": {"global_clipnorm": 0.05},
    "EMA": {"use_ema": True, "ema_momentum": 0.5},
    "EMA overwritten": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "accumulation": {"gradient_accumulation_steps": 2},
    "fixed loss scale": {"loss_scale_factor": 8.0},
}


def _never_bites(rate):
    return LossAdaptiveLearningRate(rate, C=1e30)


def test_the_list_of_optimizers_is_complete():
    shipped = {
        name
        for name in dir(keras.optimizers)
        if isinstance(getattr(keras.optimizers, name), type)
        and issubclass(getattr(keras.optimizers, name), keras.optimizers.Optimizer)
    }
    assert shipped - {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_same_weights_as_the_bare_optimizer(name):
    make = getattr(keras.optimizers, name)
    bare = problems.fit(problems.mlp(make(0.01)))
    wrapped = problems.fit(problems.mlp(LossAware(make(_never_bites(0.01)))))
    assert problems.largest_difference(bare, problems.weights()) > 1e-4
    assert problems.largest_difference(bare, wrapped) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_configuration(name):
    optimizer = LossAware(getattr(keras.optimizers, name)(_never_bites(0.25)))
    copies = [
        LossAware.from_config(optimizer.get_config()),
        keras.optimizers.deserialize(keras.optimizers.serialize(optimizer)),
    ]
    for copy in copies:
        assert type(copy.inner_optimizer) is type(optimizer.inner_optimizer)
        assert copy.get_config() == optimizer.get_config()
        assert copy.get_config()["learning_rate"] == 0.25


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_weights_with_every_option(options):
    bare = problems.fit(problems.mlp(keras.optimizers.AdamW(0.01, **options)))
    wrapped = keras.optimizers.AdamW(_never_bites(0.01), **options)
    wrapped = problems.fit(problems.mlp(LossAware(wrapped)))
    assert problems.largest_difference(bare, problems.weights()) > 1e-4
    assert problems.largest_difference(bare, wrapped) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_the_rule_reaches_every_optimizer(name):
    """A factor held at 1/4 is the same as a base rate a quarter as long."""
    make = getattr(keras.optimizers, name)
    floor = LossAdaptiveLearningRate(0.04, C=1e-9, min_factor=0.25)
    wrapped = problems.fit(problems.mlp(LossAware(make(floor))))
    bare = problems.fit(problems.mlp(make(0.01)))
    assert problems.largest_difference(bare, wrapped) < 1e-6


def test_loss_scaling_changes_nothing():
    bare = keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(0.01))
    ours = LossScaleOptimizer(LossAware(keras.optimizers.AdamW(_never_bites(0.01))))
    plain = LossScaleOptimizer(keras.optimizers.AdamW(0.01))
    expected = problems.fit(problems.mlp(bare))
    assert problems.largest_difference(expected, problems.fit(problems.mlp(ours))) == 0.0
    assert problems.largest_difference(expected, problems.fit(problems.mlp(plain))) == 0.0
    # Powers of two scale without rounding: the loss that comes through is the unscaled one.
    aware = LossAware(keras.optimizers.AdamW(_never_bites(0.01)))
    problems.fit(problems.mlp(aware))
    assert float(ours.inner_optimizer.observed_loss) == float(aware.observed_loss)


@pytest.mark.parametrize("mapping", ["map", "function"])
def test_multi_optimizer(mapping):
    def build(schedule):
        adam, sgd = keras.optimizers.Adam(schedule(0.01)), keras.optimizers.SGD(schedule(0.1))
        if mapping == "map":
            choice = keras.optimizers.OptimizerMap(adam)
            choice[".*bias"] = sgd
        else:

            def choice(variable):
                return sgd if "bias" in variable.path else adam

        return keras.optimizers.MultiOptimizer(choice)

    bare = problems.fit(problems.mlp(build(float)))
    wrapped = problems.fit(problems.mlp(LossAware(build(_never_bites))))
    assert problems.largest_difference(bare, wrapped) == 0.0
    floor = LossAware(build(lambda r: LossAdaptiveLearningRate(4 * r, C=1e-9, min_factor=0.25)))
    slowed = problems.fit(problems.mlp(floor))
    assert problems.largest_difference(bare, slowed) < 1e-6


def test_a_built_optimizer_keeps_its_state():
    model = problems.mlp(keras.optimizers.AdamW(0.01))
    problems.fit(model)
    uninterrupted = problems.mlp(keras.optimizers.AdamW(0.01))
    problems.fit(uninterrupted, epochs=2)
    expected = problems.fit(uninterrupted, epochs=2)
    optimizer = model.optimizer
    optimizer.learning_rate = _never_bites(0.01)
    model.compile(LossAware(optimizer), loss=model.loss)
    assert int(model.optimizer.iterations) == 8
    assert problems.largest_difference(expected, problems.fit(model)) == 0.0
    assert np.isfinite(expected[0]).all()
