"""Bad input: what was wrong, what is expected, what was received."""

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
from keras_h0h1.callbacks import LearningRateLogger, LossAdaptiveWarmup
from tests.core import problems

NAN, INF = float("nan"), float("inf")
SGD = keras.optimizers.SGD


def _practical(**changes):
    return LossAdaptiveLearningRate(**{"base": 0.1, "C": 1.0, **changes})


def _theory(**changes):
    return SmoothnessLearningRate(**{"H0": 1.0, "H1": 1.0, **changes})


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: _practical(C=0.0), ValueError),
        (lambda: _practical(C=-1.0), ValueError),
        (lambda: _practical(C=NAN), ValueError),
        (lambda: _practical(C=INF), ValueError),
        (lambda: _practical(C="4"), TypeError),
        (lambda: _practical(C=True), TypeError),
        (lambda: _practical(C=None), TypeError),
        (lambda: _practical(base="0.1"), TypeError),
        (lambda: _practical(base=-0.1), ValueError),
        (lambda: _practical(base=NAN), ValueError),
        (lambda: _practical(base=_practical()), TypeError),
        (lambda: _practical(f_star=INF), ValueError),
        (lambda: _practical(rho=0), ValueError),
        (lambda: _practical(smoothing=1.0), ValueError),
        (lambda: _practical(smoothing=-0.5), ValueError),
        (lambda: _practical(latch="yes"), TypeError),
        (lambda: _practical(min_factor=1.5), ValueError),
        (lambda: _theory(H0=-1.0), ValueError),
        (lambda: _theory(H0=0.0, H1=0.0), ValueError),
        (lambda: _theory(H1=NAN), ValueError),
        (lambda: _theory(rule="steep"), ValueError),
        (lambda: _theory(rule="alimisis", rho=0.5), ValueError),
        (lambda: _theory(rule="envelope", rho=2.0), ValueError),
        (lambda: AdaptiveGD(H0="1", H1=1.0), TypeError),
        (lambda: AdaptiveGD(H0=1.0, H1=-1.0), ValueError),
        (lambda: LossAware("adam"), TypeError),
        (lambda: LossAware(_practical()), TypeError),
        (lambda: LossAware(SGD(0.1)), ValueError),
        (lambda: LossAware(LossAware(SGD(_practical()))), TypeError),
        (lambda: LossAware(AdaptiveGD(1.0, 1.0)), TypeError),
        (lambda: LossAware(LossScaleOptimizer(SGD(_practical()))), ValueError),
        (lambda: LossAdaptiveWarmup(C=-1.0), ValueError),
        (lambda: LossAdaptiveWarmup(C="4"), TypeError),
        (lambda: LearningRateLogger(every=0), ValueError),
        (lambda: LearningRateLogger(every=1.5), TypeError),
    ],
)
def test_constructors(make, error):
    with pytest.raises(error, match=r"(?s)Received: \S"):
        make()


def test_numpy_numbers_are_numbers():
    import numpy as np

    assert LossAdaptiveLearningRate(np.float32(0.5), C=np.int64(2)).C == 2.0
    assert LossAdaptiveLearningRate(np.array(0.5), C=2).base == 0.5


def test_a_loss_driven_schedule_needs_an_optimizer_that_sees_the_loss():
    model = problems.mlp(SGD(_practical()))
    with pytest.raises(Exception, match=r"(?s)LossAware.*Received: "):
        problems.fit(model)


def test_no_loss_arrived():
    optimizer = LossAware(SGD(_practical()))
    variable = keras.Variable([1.0])
    # What to do comes first: most who read it wrote the step themselves.
    first = r"no loss reached it in this step\. Add one line .*`optimizer\.observe\(loss\)`"
    with pytest.raises(RuntimeError, match=first):
        optimizer.apply([keras.ops.ones((1,))], [variable])
    # A loss serves one step, not the next.
    optimizer.apply([keras.ops.ones((1,))], [variable], loss=1.0)
    with pytest.raises(RuntimeError, match="Received: loss=None"):
        optimizer.apply([keras.ops.ones((1,))], [variable])


class _Deaf(LossAware):
    """Does not hear of the loss until it is told to listen."""

    listens = False

    def scale_loss(self, loss):
        return super().scale_loss(loss) if _Deaf.listens else loss


@pytest.mark.parametrize("trained_before", [False, True])
def test_a_model_is_usable_after_the_error_that_no_loss_arrived(trained_before, monkeypatch):
    """On JAX `fit` has taken the values out of the variables; TensorFlow's function is spoilt."""
    model = problems.mlp(_Deaf(SGD(_practical(), momentum=0.9)))
    x = problems.data()[0].astype(keras.config.floatx())
    if trained_before:
        with monkeypatch.context() as patch:
            patch.setattr(_Deaf, "listens", True)
            problems.fit(model)
        # Traced anew; what was set in the meantime counts.
        model.make_train_function(force=True)
        model.optimizer.learning_rate = 0.05
    weights = model.get_weights()
    with pytest.raises(RuntimeError, match=r"no loss reached it.*Received: loss=None"):
        problems.fit(model)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    assert np.isfinite(model.predict(x, verbose=0)).all()
    monkeypatch.setattr(_Deaf, "listens", True)
    got = problems.fit(model)
    assert int(model.optimizer.iterations) == (16 if trained_before else 8)
    if not trained_before:
        expected = problems.fit(problems.mlp(LossAware(SGD(_practical(), momentum=0.9))))
        assert problems.largest_difference(got, expected) == 0.0
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(
        0.05 if trained_before else 0.1
    )


def test_a_model_is_usable_after_the_error_that_the_optimizer_does_not_see_the_loss():
    model = problems.mlp(SGD(_practical()))
    weights = model.get_weights()
    with pytest.raises(Exception, match=r"(?s)LossAware.*Received: "):
        problems.fit(model)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    model.compile(LossAware(SGD(_practical())), "sparse_categorical_crossentropy")
    problems.fit(model)


def test_a_vector_is_no_loss():
    with pytest.raises(ValueError, match=r"Received: loss of shape \(3,\)"):
        LossAware(SGD(_practical())).observe(keras.ops.ones((3,)))


def test_setting_a_rate_that_is_not_settable():
    scheduled = keras.optimizers.schedules.CosineDecay(0.1, 10)
    for optimizer in (LossAware(SGD(_practical(base=scheduled))), AdaptiveGD(1.0, 1.0)):
        with pytest.raises(TypeError, match="Received: learning_rate="):
            optimizer.learning_rate = 0.5
    with pytest.raises(ValueError, match="Received: learning_rate=nan"):
        LossAware(SGD(_practical())).learning_rate = NAN
    with pytest.raises(TypeError, match="Received: learning_rate="):
        LossAware(SGD(_practical())).learning_rate = scheduled


def test_apply_before_build_without_variables():
    with pytest.raises(ValueError, match="Received: trainable_variables=None"):
        LossAware(SGD(_practical())).apply([keras.ops.ones((1,))], loss=1.0)


def test_the_warm_up_callback_on_optimizers_it_cannot_serve():
    choice = keras.optimizers.OptimizerMap(SGD(0.1))
    choice[".*bias"] = SGD(0.2)
    for optimizer in (keras.optimizers.MultiOptimizer(choice), SGD(lambda: 0.1)):
        with pytest.raises(ValueError, match="Received: "):
            problems.fit(problems.mlp(optimizer), callbacks=[LossAdaptiveWarmup(C=1.0)])
    with pytest.raises(RuntimeError, match="Received: "):
        problems.fit(problems.mlp(SGD(_practical())), callbacks=[LossAdaptiveWarmup(C=1.0)])
