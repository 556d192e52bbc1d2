"""The three ways to hand the loss over in a loop of one's own agree with `fit`."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from tests.core import problems


def _optimizer():
    return LossAware(keras.optimizers.AdamW(LossAdaptiveLearningRate(0.05, C=2.0)))


def _batches():
    x, y = problems.data()
    return [(x[i : i + 8].astype("float32"), y[i : i + 8]) for i in range(0, 32, 8)] * 2


@pytest.fixture
def expected():
    return problems.fit(problems.mlp(_optimizer()))


def _loss(model, x, y):
    logits = model(x, training=True)
    return ops.mean(ops.sparse_categorical_crossentropy(y, logits, from_logits=True))


@pytest.mark.parametrize("way", ["observe", "scale_loss", "argument"])
def test_eager_loop(way, expected, backend):
    model, optimizer = problems.mlp(), _optimizer()
    variables = model.trainable_variables
    for x, y in _batches():
        if backend == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = _loss(model, x, y)
                if way == "scale_loss":
                    loss = optimizer.scale_loss(loss)
            gradients = tape.gradient(loss, variables)
        elif backend == "torch":
            import torch

            model.zero_grad()
            loss = _loss(model, x, y)
            if way == "scale_loss":
                loss = optimizer.scale_loss(loss)
            loss.backward()
            gradients = [v.value.grad for v in variables]
        else:
            import jax

            def loss_of(values, x=x, y=y):
                return ops.mean(
                    ops.sparse_categorical_crossentropy(
                        y, model.stateless_call(values, [], x)[0], from_logits=True
                    )
                )

            loss, gradients = jax.value_and_grad(loss_of)([v.value for v in variables])
            if way == "scale_loss":
                loss = optimizer.scale_loss(loss)
        if way == "observe":
            optimizer.observe(loss)
        argument = {"loss": loss} if way == "argument" else {}
        if backend == "torch":
            with torch.no_grad():
                optimizer.apply(gradients, variables, **argument)
        else:
            optimizer.apply(gradients, variables, **argument)
    assert problems.largest_difference(model.get_weights(), expected) < 1e-5


def test_apply_gradients_pairs(backend, expected):
    """The `tf.keras` spelling."""
    optimizer, variable = _optimizer(), keras.Variable([1.0])
    optimizer.observe(8.0)
    optimizer.apply_gradients([(ops.ones((1,)), variable)])
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05 / 4)
    assert int(optimizer.iterations) == 1


def test_stateless_twin(backend, expected):
    model, optimizer = problems.mlp(), _optimizer()
    optimizer.build(model.trainable_variables)
    if backend == "tensorflow":
        with pytest.raises(ValueError, match="stateless_apply is not supported"):
            optimizer.stateless_apply([], [], [], loss=1.0)
        return
    if backend == "torch":
        pytest.skip("the stateless twin is for JAX")
    import jax

    def loss_of(values, x, y):
        logits = model.stateless_call(values, [], x)[0]
        return ops.mean(ops.sparse_categorical_crossentropy(y, logits, from_logits=True))

    traces = []

    @jax.jit
    def step(trainable, state, x, y):
        traces.append(1)
        loss, gradients = jax.value_and_grad(loss_of)(trainable, x, y)
        return optimizer.stateless_apply(state, gradients, trainable, loss=loss)

    trainable = [v.value for v in model.trainable_variables]
    state = [v.value for v in optimizer.variables]
    for x, y in _batches():
        trainable, state = step(trainable, state, x, y)
    assert len(traces) == 1  # dtypes and shapes of the state never change
    final = [np.asarray(v) for v in trainable]
    assert problems.largest_difference(final, expected) < 1e-5


def test_a_custom_train_step_that_forgets_the_loss_is_told_so(backend):
    if backend != "tensorflow":
        pytest.skip("a train_step of this form is TensorFlow's")
    import tensorflow as tf

    class Forgetful(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    model = Forgetful([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(_optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    line = r"no loss reached it in this step\. Add one line .*`optimizer\.observe\(loss\)`"
    with pytest.raises(RuntimeError, match=line):
        model.fit(*problems.data(), verbose=0)


def test_rematerialised_loss_is_explained(backend):
    if backend != "jax":
        pytest.skip("jax.checkpoint is JAX's")
    import jax

    optimizer, variable = _optimizer(), keras.Variable([1.0])
    optimizer.build([variable])

    @jax.checkpoint
    def loss_of(w):
        loss = ops.sum(ops.square(w))
        return optimizer.scale_loss(loss)

    @jax.jit
    def step(w, state):
        gradient = jax.grad(loss_of)(w)
        return optimizer.stateless_apply(state, [gradient], [w])

    with pytest.raises(RuntimeError, match=r"(?s)jax\.checkpoint.*Received: loss="):
        step(variable.value, [v.value for v in optimizer.variables])
    # Rematerialising a layer, not the loss, is fine.
    with keras.RematScope(mode="full"):
        model = problems.mlp(_optimizer())
        problems.fit(model)
    assert 0 < float(model.optimizer.learning_rate_factor) <= 1


def test_setting_and_reading_the_rate():
    optimizer, variable = _optimizer(), keras.Variable([1.0])
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05)  # before the first step
    optimizer.apply([ops.ones((1,))], [variable], loss=8.0)
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05 / 4)
    optimizer.learning_rate = 0.5
    assert float(optimizer.base_learning_rate) == pytest.approx(0.5)
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.5 / 4)
    optimizer.base_learning_rate = np.float32(0.25)
    assert float(optimizer.learning_rate_factor) == pytest.approx(1 / 4)
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.25 / 4)


def test_the_rate_read_afterwards_is_that_of_the_last_step():
    """With a base schedule too, whose next value is another one."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.125])
    optimizer = LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(schedule, C=1.0)))
    variable = keras.Variable([1.0])
    optimizer.apply([ops.ones((1,))], [variable], loss=2.0)
    assert float(optimizer.effective_learning_rate) == 0.25
    np.testing.assert_allclose(ops.convert_to_numpy(variable), [0.75])
    optimizer.apply([ops.ones((1,))], [variable], loss=2.0)
    assert float(optimizer.effective_learning_rate) == 0.0625


def test_one_schedule_for_two_optimizers():
    schedule = LossAdaptiveLearningRate(1.0, C=1.0)
    first = LossAware(keras.optimizers.SGD(schedule))
    second = LossAware(keras.optimizers.SGD(schedule))
    first.apply([ops.ones((1,))], [keras.Variable([1.0])], loss=2.0)
    second.apply([ops.ones((1,))], [keras.Variable([1.0])], loss=4.0)
    assert float(first.effective_learning_rate) == 0.5
    assert float(second.effective_learning_rate) == 0.25
