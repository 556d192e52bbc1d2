"""A pytest plugin that puts each optimizer that a test of Keras makes into `LossAware`.

The threshold C is far above every loss, so that the factor is 1 and each step has to be the one
of the optimizer alone. The tests that call `apply` without a loss get a loss of 1.
"""

import inspect
import pkgutil
import sys

import keras
from keras import ops
from keras.src import optimizers

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer, _keras
from keras_h0h1.optimizers import loss_aware

NEVER = 1e30


class _Factory(type):
    """Stands in for a class: called it returns the wrapped optimizer, else it is the class."""

    def __call__(cls, *args, **kwargs):
        return LossAware(_make(cls.original, args, kwargs))

    def __getattr__(cls, name):
        return getattr(cls.original, name)

    def __instancecheck__(cls, instance):
        return isinstance(_inside(instance), cls.original)

    def __subclasscheck__(cls, other):
        return issubclass(getattr(other, "original", other), cls.original)


def _inside(value):
    return value.inner_optimizer if isinstance(value, LossAware) else value


def _make(original, args, kwargs):
    """The optimizer alone, with its rate in a loss-driven schedule."""
    if original is optimizers.MultiOptimizer.original:
        # `LossAware` goes around it, not into it.
        return original(*map(_inside, args), **{k: _inside(v) for k, v in kwargs.items()})
    # An error of the constructor is its own.
    original(*args, **kwargs)
    bound = inspect.signature(original).bind(*args, **kwargs)
    bound.apply_defaults()
    base = bound.arguments["learning_rate"]
    bound.arguments["learning_rate"] = LossAdaptiveLearningRate(base, C=NEVER)
    return original(*bound.args, **bound.kwargs)


def _take_optimizers_out_of_maps():
    """`LossAware` goes around a MultiOptimizer, so that the map holds what is inside."""
    init, set_item = optimizers.OptimizerMap.__init__, optimizers.OptimizerMap.__setitem__

    def new_init(self, default_optimizer, optimizer_map=None):
        if isinstance(optimizer_map, dict):
            optimizer_map = {k: _inside(v) for k, v in optimizer_map.items()}
        init(self, _inside(default_optimizer), optimizer_map)

    optimizers.OptimizerMap.__init__ = new_init
    optimizers.OptimizerMap.__setitem__ = lambda self, k, v: set_item(self, k, _inside(v))


def _replace():
    modules = [keras.optimizers, optimizers]
    for found in pkgutil.iter_modules(optimizers.__path__, "keras.src.optimizers."):
        if found.name in sys.modules:
            modules.append(sys.modules[found.name])
    names = {}
    for module in modules:
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, keras.optimizers.Optimizer):
                if value.__module__ not in (optimizers.optimizer.__name__, "keras.src.backend"):
                    names[name] = value
    for name in ("Optimizer", "BaseOptimizer", "LossScaleOptimizer"):
        names.pop(name, None)
    new = {n: _Factory(n, (), {"original": c}) for n, c in names.items() if "ptimizer" not in n}
    for name, replacement in new.items():
        # Where pickle finds the class now.
        replacement.original.__qualname__ = f"{name}.original"
    new["MultiOptimizer"] = _Factory("MultiOptimizer", (), {"original": optimizers.MultiOptimizer})
    new["LossScaleOptimizer"] = LossScaleOptimizer
    for module in modules:
        for name, replacement in new.items():
            # `keras.optimizers` is where Keras looks for Lamb when it reads a configuration.
            if name in vars(module) and (name != "Lamb" or module is not keras.optimizers):
                setattr(module, name, replacement)


def _feed_a_loss():
    take = loss_aware._Inbox.take

    def take_or_one(self):
        loss = take(self)
        return ops.ones((), _keras.state_dtype()) if loss is None else loss

    loss_aware._Inbox.take = take_or_one


_take_optimizers_out_of_maps()
_replace()
_feed_a_loss()
