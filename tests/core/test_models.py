"""The loss that drives the rate is the total objective, for every kind of model.

The independent truth is `evaluate` on the same batch: with a base rate of 0 the weights stand
still, so the loss observed in training and the loss evaluated afterwards are of the same weights.
"""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_h0h1 import LossAdaptiveLearningRate, LossAware

X = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def _standing_still():
    return LossAware(keras.optimizers.AdamW(LossAdaptiveLearningRate(0.0, C=1.0)))


def _observed_and_evaluated(model, x=X, y=Y, sample_weight=None):
    model.fit(x, y, sample_weight=sample_weight, batch_size=16, verbose=0)
    evaluated = model.evaluate(
        x, y, sample_weight=sample_weight, batch_size=16, verbose=0, return_dict=True
    )
    observed = float(model.optimizer.observed_loss)
    assert observed > 0
    return observed, evaluated["loss"]


def _sequential():
    return keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(2)])


def _functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(8, "relu")(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = layers.Dense(8, "relu"), layers.Dense(2)

    def call(self, x):
        return self.out(self.hidden(x))


@pytest.mark.parametrize("build", [_sequential, _functional, Subclassed])
def test_kinds_of_models(build):
    model = build()
    model.compile(_standing_still(), loss="mse")
    observed, evaluated = _observed_and_evaluated(model)
    assert observed == pytest.approx(evaluated, rel=1e-6)
    prediction = ops.convert_to_numpy(model(X))
    assert observed == pytest.approx(np.mean((prediction - Y) ** 2), rel=1e-5)


def test_several_outputs_and_loss_weights():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"a": layers.Dense(2)(inputs), "b": layers.Dense(2)(inputs)})
    model.compile(
        _standing_still(), loss={"a": "mse", "b": "mae"}, loss_weights={"a": 0.25, "b": 3.0}
    )
    observed, evaluated = _observed_and_evaluated(model, y={"a": Y, "b": 2 * Y})
    assert observed == pytest.approx(evaluated, rel=1e-6)
    out = {k: ops.convert_to_numpy(v) for k, v in model(X).items()}
    by_hand = 0.25 * np.mean((out["a"] - Y) ** 2) + 3.0 * np.mean(np.abs(out["b"] - 2 * Y))
    assert observed == pytest.approx(by_hand, rel=1e-5)


def test_regularisers_and_add_loss():
    class Penalty(layers.Layer):
        def call(self, x):
            self.add_loss(0.5 * ops.mean(ops.square(x)))
            return x

    model = keras.Sequential(
        [keras.Input((4,)), Penalty(), layers.Dense(2, kernel_regularizer=keras.regularizers.L2(3))]
    )
    model.compile(_standing_still(), loss="mse")
    observed, evaluated = _observed_and_evaluated(model)
    assert observed == pytest.approx(evaluated, rel=1e-6)
    kernel = ops.convert_to_numpy(model.layers[-1].kernel)
    prediction = ops.convert_to_numpy(model(X))
    by_hand = np.mean((prediction - Y) ** 2) + 3 * np.sum(kernel**2) + 0.5 * np.mean(X**2)
    assert observed == pytest.approx(by_hand, rel=1e-5)


def test_sample_weights():
    model = _sequential()
    model.compile(_standing_still(), loss="mse")
    sample_weight = np.linspace(0.0, 2.0, 16)
    observed, evaluated = _observed_and_evaluated(model, sample_weight=sample_weight)
    assert observed == pytest.approx(evaluated, rel=1e-6)
    errors = np.mean((ops.convert_to_numpy(model(X)) - Y) ** 2, axis=1)
    assert observed == pytest.approx(np.mean(sample_weight * errors), rel=1e-5)


def test_class_weights():
    labels = np.arange(16) % 2
    model = _sequential()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(_standing_still(), loss=loss)
    class_weight = {0: 0.5, 1: 4.0}
    model.fit(X, labels, batch_size=16, class_weight=class_weight, verbose=0)
    logits = ops.convert_to_numpy(model(X)).astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    by_hand = np.mean([-class_weight[c] * log_p[i, c] for i, c in enumerate(labels)])
    assert float(model.optimizer.observed_loss) == pytest.approx(by_hand, rel=1e-5)


def test_weight_decay_is_warmed_up_with_the_rate():
    """Documented: Keras multiplies decoupled decay by the rate, so the factor scales it as well."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, use_bias=False)])
    schedule = LossAdaptiveLearningRate(0.5, C=1e-9, min_factor=0.25)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.1)
    model.compile(LossAware(optimizer), loss="mse")
    model.optimizer.build(model.trainable_variables)
    before = model.get_weights()[0]
    # With a zero gradient decay is all that moves the weights.
    model.optimizer.apply([ops.zeros(before.shape)], model.trainable_variables, loss=7.0)
    np.testing.assert_allclose(model.get_weights()[0], before * (1 - 0.5 * 0.25 * 0.1), rtol=1e-6)


def test_layers_frozen_after_compile():
    model = _sequential()
    model.compile(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.01, C=0.5))), "mse")
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    model.layers[0].trainable = False
    model.compile(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.01, C=0.5))), "mse")
    frozen, free = model.layers[0].get_weights(), model.layers[1].get_weights()
    model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen[0])
    assert np.abs(model.layers[1].get_weights()[0] - free[0]).max() > 0
    assert 0 < float(model.optimizer.learning_rate_factor) < 1


def test_layers_frozen_without_a_second_compile(backend):
    """Keras says such a change has no effect before `compile`; bare and wrapped must agree."""

    def run(optimizer):
        model = _sequential()
        model.set_weights([w * 0 + 0.1 for w in model.get_weights()])
        model.compile(optimizer, "mse")
        model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        model.layers[0].trainable = False
        try:
            model.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        except Exception as error:
            return type(error), str(error).split("Received")[0][:60]
        return model.get_weights()

    bare = run(keras.optimizers.Adam(0.01))
    wrapped = run(LossAware(keras.optimizers.Adam(LossAdaptiveLearningRate(0.01, C=1e30))))
    if isinstance(bare, tuple):
        # JAX: Keras' own error about the number of variables, with either optimizer.
        assert backend == "jax" and bare[0] is wrapped[0]
    else:
        for a, b in zip(bare, wrapped, strict=True):
            np.testing.assert_array_equal(a, b)
