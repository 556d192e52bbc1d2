"""A suggestion leaves no trace, however it ends."""

import keras
import numpy as np
import pytest

from keras_h0h1.suggestion import _trial, suggest

from .models import classifier, data, fingerprint, optimizers


def trained(name):
    """A model in the midst of training, whose generators have all been used."""
    keras.utils.set_random_seed(1)
    model = classifier(optimizers()[name]())
    x, y = data()
    model.fit(x, y, batch_size=16, epochs=1, verbose=0)
    return model, x, y


@pytest.mark.parametrize("name", optimizers())
def test_everything_is_what_it_was(name):
    model, x, y = trained(name)
    before = fingerprint(model)
    # Curvature is compiled for each model: once is enough.
    sharpness = "auto" if name in ("adam", "scaled") else False
    suggestion = suggest(
        model, x, y, batch_size=16, steps=61, rates=(1e-4, 100.0), sharpness=sharpness
    )
    assert fingerprint(model) == before
    assert 1e-4 <= suggestion.base <= 100.0
    assert (suggestion.sharpness_at_start is not None) == (sharpness == "auto")


@pytest.mark.parametrize("name", ["adam", "keras-scaled"])
def test_training_goes_on_as_if_nothing_had_been(name):
    losses = []
    for looks in (False, True):
        model, x, y = trained(name)
        if looks:
            suggest(model, x, y, batch_size=16, steps=50, sharpness=False)
        losses.append(model.fit(x, y, batch_size=16, epochs=2, verbose=0).history["loss"])
    # TensorFlow's threads do not always add in the same order.
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("kind", [_Stop, KeyboardInterrupt])
@pytest.mark.parametrize("at", [0, 20])
def test_also_when_it_is_interrupted(monkeypatch, kind, at):
    model, x, y = trained("loss-aware")
    before = fingerprint(model)
    original, count = type(model).train_on_batch, [0]

    def interrupted(self, *args, **kwargs):
        logs = original(self, *args, **kwargs)
        count[0] += 1
        if count[0] > at:
            # After the step: the weights have moved.
            raise kind
        return logs

    monkeypatch.setattr(type(model), "train_on_batch", interrupted)
    with pytest.raises(kind):
        suggest(model, x, y, batch_size=16, sharpness=False)
    monkeypatch.undo()
    assert count[0] == at + 1
    assert fingerprint(model) == before


def test_a_second_interrupt_while_it_puts_things_back(monkeypatch):
    model, x, y = trained("adam")
    before = fingerprint(model)
    original, count = _trial._autodiff.copy, [0]

    def copy(value):
        count[0] += 1
        if count[0] in (1, 4):
            raise KeyboardInterrupt
        return original(value)

    def update(self, rate):
        self._train_on_batch(self.batches[0])
        monkeypatch.setattr(_trial._autodiff, "copy", copy)
        raise KeyboardInterrupt

    monkeypatch.setattr(_trial.Trial, "update", update)
    with pytest.raises(KeyboardInterrupt):
        suggest(model, x, y, batch_size=16, sharpness=False)
    monkeypatch.undo()
    assert count[0] > 4
    assert fingerprint(model) == before


def test_a_model_that_was_never_trained():
    keras.utils.set_random_seed(1)
    x, y = data()
    model = classifier("adam")
    weights = [keras.ops.convert_to_numpy(v) for v in model.variables]
    suggest(model, x, y, batch_size=16, steps=50, sharpness=False)
    for value, variable in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    assert not model.optimizer.built
    assert all(not keras.ops.convert_to_numpy(v).any() for v in model.metrics_variables)


def test_an_unbuilt_model_is_built_as_fit_would():
    x, y = data()
    keras.utils.set_random_seed(1)
    reference = classifier("adam", built=False)
    reference(x[:1])
    keras.utils.set_random_seed(1)
    model = classifier("adam", built=False)
    suggest(model, x, y, batch_size=16, steps=50, sharpness=False)
    for expected, variable in zip(reference.variables, model.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(expected), keras.ops.convert_to_numpy(variable)
        )
