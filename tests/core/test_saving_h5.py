"""What Keras' own files lose, with `LossAware` as without it; the legacy `.h5` above all."""

import keras
import numpy as np
import pytest

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from tests.core import problems

BASES = {
    "float": lambda: 0.05,
    "schedule": lambda: keras.optimizers.schedules.CosineDecay(0.05, 20),
}


def _aware(base, **options):
    return LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(base, C=2.0), **options))


def _values(optimizer):
    return [keras.ops.convert_to_numpy(v) for v in optimizer.variables]


def _saved_and_loaded(model, path):
    model.save(path)
    return keras.models.load_model(path)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.filterwarnings("ignore")
def test_h5_keeps_the_weights_and_the_configuration(base, tmp_path):
    model = problems.mlp(_aware(base()))
    problems.fit(model, epochs=1)
    loaded = _saved_and_loaded(model, tmp_path / "model.h5")
    assert problems.largest_difference(loaded.get_weights(), model.get_weights()) == 0.0
    assert isinstance(loaded.optimizer, LossAware)
    assert keras.optimizers.serialize(loaded.optimizer) == keras.optimizers.serialize(
        model.optimizer
    )


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.filterwarnings("ignore")
def test_h5_goes_on_no_better_and_no_worse_than_plain_keras(base, tmp_path):
    """Keras 3.15 builds the loaded optimizer without variables: moments and rate are lost."""
    outcomes = []
    for name, optimizer in (("plain", keras.optimizers.Adam(base())), ("aware", _aware(base()))):
        model = problems.mlp(optimizer)
        problems.fit(model, epochs=1)
        loaded = _saved_and_loaded(model, tmp_path / f"{name}.h5")
        try:
            problems.fit(loaded, epochs=1)
            outcomes.append("goes on")
        except Exception as error:
            outcomes.append(type(error).__name__)
    assert outcomes[0] == outcomes[1]
    # What helps: the weights are there, so that the model is compiled again.
    fresh = keras.models.load_model(tmp_path / "aware.h5", compile=False)
    fresh.compile(_aware(base()), loss=model.loss)
    problems.fit(fresh, epochs=1)


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 3}, {"use_ema": True}])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_keras_keeps_every_variable_of_the_optimizer(base, options, tmp_path):
    """Moments, sums of a window of gradient accumulation, averages, and the rate's state."""
    model = problems.mlp(_aware(base(), **options))
    problems.fit(model, epochs=1)
    loaded = _saved_and_loaded(model, tmp_path / "model.keras")
    for ours, theirs in zip(_values(loaded.optimizer), _values(model.optimizer), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore")
def test_neither_file_keeps_the_states_of_seed_generators(tmp_path):
    dropout = keras.layers.Dropout(0.5, seed=1)
    model = keras.Sequential([keras.Input((4,)), dropout, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(_aware(0.05), loss=loss)
    problems.fit(model, epochs=1)
    state = keras.ops.convert_to_numpy(dropout.seed_generator.state)
    for suffix in ("keras", "h5"):
        loaded = _saved_and_loaded(model, tmp_path / f"model.{suffix}")
        generator = loaded.layers[0].seed_generator
        # The layer starts again from its seed.
        assert (keras.ops.convert_to_numpy(generator.state) != state).any()
