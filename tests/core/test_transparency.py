"""What works on a Keras optimizer works on it inside LossAware, or raises."""

import inspect
from unittest import mock

import keras
import numpy as np
import pytest
from keras import ops

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from tests.core import problems

NEVER = 1e30  # a C that never bites
# Those that wrap others, or are abstract.
OTHERS = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
CLASSES = sorted(
    (
        cls
        for cls in vars(keras.optimizers).values()
        if inspect.isclass(cls)
        and issubclass(cls, keras.optimizers.Optimizer)
        and cls.__name__ not in OTHERS
    ),
    key=lambda cls: cls.__name__,
)
# The identity of the wrapper, and what differs by intention: its own variables come first.
IDENTITY = {"name", "variables", "iterations", "learning_rate"}


def _wrapped(cls, base=0.25, **options):
    return LossAware(cls(LossAdaptiveLearningRate(base, C=NEVER), **options))


def _public(optimizer):
    return [n for n in dir(optimizer) if not n.startswith("_")]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_public_attribute(cls):
    variable = keras.Variable([[1.0, 2.0], [3.0, 4.0]])
    bare, aware = cls(0.25), _wrapped(cls)
    for optimizer in (bare, aware):
        optimizer.build([variable])
    for name in _public(bare):
        theirs, ours = getattr(bare, name), getattr(aware, name)
        if callable(theirs):
            assert callable(ours), name
            if name not in vars(keras.optimizers.Optimizer) and not hasattr(LossAware, name):
                assert ours.__self__ is aware.inner_optimizer, name
            continue
        if isinstance(theirs, (int, float, str, bool, type(None))) and name != "name":
            assert ours == theirs, name
            value = 3 if isinstance(theirs, int) and not isinstance(theirs, bool) else 0.5
            if name == "built":
                continue
            if name == "gradient_accumulation_steps":
                with pytest.raises(ValueError, match="Received: gradient_accumulation_steps=3"):
                    aware.gradient_accumulation_steps = 3
                continue
            setattr(aware, name, value)
            assert getattr(aware.inner_optimizer, name) == getattr(aware, name) == value, name
        elif name not in IDENTITY:
            assert type(ours) is type(theirs), name
    assert float(aware.learning_rate) == float(bare.learning_rate) == 0.25
    assert int(aware.iterations) == int(bare.iterations) == 0
    assert cls.__name__ in repr(aware)


OPTIONS = [
    {"clipnorm": 0.5}, {"clipvalue": 0.25}, {"global_clipnorm": 0.5}, {"weight_decay": 0.25},
    {"gradient_accumulation_steps": 2}, {"loss_scale_factor": 4.0},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 1},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_option_set_later_acts_as_one_given_at_first(options):
    results = []
    for aware in (False, True):
        optimizer = _wrapped(keras.optimizers.SGD) if aware else keras.optimizers.SGD(0.25)
        for name, value in options.items():
            setattr(optimizer, name, value)
        variable = keras.Variable([1.0, 2.0])
        for _ in range(4):
            argument = {"loss": 1.0} if aware else {}
            optimizer.apply([ops.convert_to_tensor([2.0, -1.0])], [variable], **argument)
        results.append(ops.convert_to_numpy(variable))
    np.testing.assert_array_equal(*results)
    assert not np.array_equal(results[0], [-1.0, 3.0])  # where plain SGD ends


def test_exclude_from_weight_decay():
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer = _wrapped(keras.optimizers.SGD, base=0.5, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([ops.zeros((1,))] * 2, [kernel, bias], loss=1.0)
    assert [float(ops.convert_to_numpy(v)[0]) for v in (kernel, bias)] == [0.75, 1.0]


def test_set_weights_restores_every_variable():
    optimizer, variable = _wrapped(keras.optimizers.Adam), keras.Variable([1.0])
    optimizer.apply([ops.ones((1,))], [variable], loss=2.0)
    saved = [ops.convert_to_numpy(v).copy() for v in optimizer.variables]
    other = _wrapped(keras.optimizers.Adam)
    other.build([variable])
    other.set_weights(saved)
    for restored, value in zip(other.variables, saved, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(restored), value)
    with pytest.raises(ValueError, match="Received: weights of shapes"):
        other.set_weights(saved[:-1])


class _Plateau(keras.callbacks.ReduceLROnPlateau):
    pass


class _Scheduler(keras.callbacks.LearningRateScheduler):
    pass


class _Halve(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        optimizer.learning_rate = 0.5 * optimizer.learning_rate


class _Assign(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        rate = self.model.optimizer.learning_rate
        rate.assign(0.5 * rate)


CONTROLLERS = {
    "plateau": lambda cls=keras.callbacks.ReduceLROnPlateau: cls("loss", 0.5, 1, min_delta=1e9),
    "plateau subclass": lambda: CONTROLLERS["plateau"](_Plateau),
    "scheduler": lambda cls=keras.callbacks.LearningRateScheduler: cls(lambda epoch, lr: lr * 0.5),
    "scheduler subclass": lambda: CONTROLLERS["scheduler"](_Scheduler),
    "halving": _Halve,
    "assign": _Assign,
}


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_callbacks_leave_the_base_rate_that_they_leave_on_a_plain_optimizer(controller):
    rates = []
    for optimizer in (
        keras.optimizers.SGD(1e-2),
        LossAware(keras.optimizers.SGD(LossAdaptiveLearningRate(1e-2, C=0.1))),
    ):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(optimizer, loss="mse")
        logged = [CONTROLLERS[controller](), LearningRateLogger()]
        x = np.ones((4, 1))
        history = model.fit(x, 9 * x, epochs=3, verbose=0, callbacks=logged).history
        rates.append(float(model.optimizer.learning_rate))
        assert len(history["effective_learning_rate"]) == 3
    assert rates[0] == rates[1] < 1e-2
    assert history["effective_learning_rate"][-1] < 0.1 * rates[1]


def test_the_wrong_way_round_is_refused_when_it_is_written():
    with pytest.raises(ValueError, match=r"keras_h0h1\.LossScaleOptimizer\(LossAware"):
        keras.optimizers.LossScaleOptimizer(_wrapped(keras.optimizers.SGD))
    with pytest.raises(ValueError, match=r"LossAware\(MultiOptimizer"):
        choice = keras.optimizers.OptimizerMap(_wrapped(keras.optimizers.SGD))
        keras.optimizers.MultiOptimizer(choice)
    assert float(LossScaleOptimizer(_wrapped(keras.optimizers.SGD)).learning_rate) == 0.25


def test_the_logger_records_each_rate_of_a_multi_optimizer():
    choice = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(LossAdaptiveLearningRate(0.05, C=2.0), name="kernels")
    )
    choice[".*bias"] = keras.optimizers.SGD(0.025, name="biases")
    model = problems.mlp(LossAware(keras.optimizers.MultiOptimizer(choice)))
    logger = LearningRateLogger()
    problems.fit(model, epochs=1, callbacks=[logger])
    assert len(logger.history["step"]) == 4
    np.testing.assert_allclose(logger.history["learning_rate/biases"], 0.025)
    np.testing.assert_allclose(
        logger.history["effective_learning_rate/kernels"],
        np.multiply(0.05, logger.history["learning_rate_factor/kernels"]),
        rtol=1e-6,
    )


def test_what_was_set_on_the_wrapper_can_be_deleted_there():
    aware = _wrapped(keras.optimizers.SGD)
    with mock.patch.object(aware, "update_step", lambda *_: 2.0):
        assert aware.inner_optimizer.update_step() == 2.0
    assert "update_step" not in vars(aware.inner_optimizer)
    aware.momentum = 0.5
    del aware.momentum
    assert not hasattr(aware, "momentum") and not hasattr(aware.inner_optimizer, "momentum")
    with pytest.raises(AttributeError):
        del aware.momentum


RATES = ["learning_rate", "base_learning_rate", "effective_learning_rate", "learning_rate_factor"]


@pytest.mark.parametrize("scaled", [False, True])
def test_the_rates_around_a_multi_optimizer_say_where_they_are(scaled):
    kernels, biases = (
        keras.optimizers.SGD(LossAdaptiveLearningRate(rate, C=2.0)) for rate in (0.5, 0.25)
    )
    choice = keras.optimizers.MultiOptimizer(lambda v: biases if v.name == "bias" else kernels)
    optimizer = aware = LossAware(choice)
    if scaled:
        optimizer = LossScaleOptimizer(aware)
    for name in [*RATES, "observed_loss"]:
        with pytest.raises(AttributeError, match=r"once it is built: call .*Received: optimizer="):
            getattr(optimizer, name)
    optimizer.build([keras.Variable([1.0], name=name) for name in ("kernel", "bias")])
    for name in RATES:
        with pytest.raises(AttributeError, match=r"`rate_states`\. Received: 2 loss-driven"):
            float(getattr(optimizer, name))
        assert not hasattr(optimizer, name)
    with pytest.raises(AttributeError, match="Received: 2 loss-driven"):
        optimizer.learning_rate = 0.125
    assert float(optimizer.observed_loss) == 0.0
    assert [float(state.base_rate()) for state in aware.rate_states] == [0.5, 0.25]


def test_a_negative_loss_is_told_once():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(_wrapped(keras.optimizers.SGD), loss=lambda y, p: -ops.mean(ops.square(p)) - 1.0)
    with pytest.warns(UserWarning, match="Received: loss=-") as caught:
        model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=1, verbose=0,
                  callbacks=[LearningRateLogger()])  # fmt: skip
    assert sum("below `f_star`" in str(w.message) for w in caught) == 1


def test_a_negative_loss_is_told_at_the_end_of_fit_without_any_callback():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(_wrapped(keras.optimizers.SGD), loss=lambda y, p: -ops.mean(ops.square(p)) - 1.0)
    with pytest.warns(UserWarning, match="Received: loss=-"):
        model.fit(np.ones((4, 1)), np.ones((4, 1)), batch_size=1, verbose=0)


def test_the_warm_up_callback_in_evaluate_and_predict_leaves_the_optimizer():
    model = problems.mlp(keras.optimizers.SGD(0.05))
    before = model.optimizer
    x, y = problems.data()
    model.evaluate(x, y, verbose=0, callbacks=[LossAdaptiveWarmup(C=1.0)])
    model.predict(x, verbose=0, callbacks=[LossAdaptiveWarmup(C=1.0)])
    assert model.optimizer is before
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=1.0)])
    assert isinstance(model.optimizer, LossAware)
    warmed = model.optimizer
    model.evaluate(x, y, verbose=0, callbacks=[LossAdaptiveWarmup(C=1.0)])
    assert model.optimizer is warmed


def test_a_warmed_up_model_can_be_checkpointed(tmp_path, backend):
    if backend != "tensorflow":
        pytest.skip("tf.train.Checkpoint is TensorFlow's")
    import tensorflow as tf

    model = problems.mlp(keras.optimizers.AdamW(0.05))
    problems.fit(model, epochs=1, callbacks=[LossAdaptiveWarmup(C=1.0)])
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    path = checkpoint.save(str(tmp_path / "state"))
    expected = [ops.convert_to_numpy(v).copy() for v in model.optimizer.variables]
    for variable in model.optimizer.variables:
        variable.assign(ops.zeros_like(variable))
    checkpoint.restore(path).assert_consumed()
    for variable, value in zip(model.optimizer.variables, expected, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def test_what_is_read_is_a_number_under_mirrored_strategy(mirrored):
    with mirrored.scope():
        model = problems.mlp(_wrapped(keras.optimizers.SGD, base=0.05))
    problems.fit(model, epochs=1)
    optimizer = model.optimizer
    assert int(optimizer.iterations) == 4
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    assert float(optimizer.base_learning_rate) == pytest.approx(0.05)
    assert float(optimizer.effective_learning_rate) == pytest.approx(0.05)
    assert float(optimizer.learning_rate_factor) == 1.0
    assert float(optimizer.observed_loss) > 0.0
    optimizer.learning_rate = 0.5 * optimizer.learning_rate
    assert float(optimizer.learning_rate) == pytest.approx(0.025)
