"""Private parts of Keras' optimizers, with the reason for each."""

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import keras
from keras import ops

from keras_h0h1._types import Tensor


def leaf_optimizers(optimizer: keras.optimizers.Optimizer) -> list:
    """The optimizers that hold a learning rate: `optimizer` itself, or those it delegates to.

    `MultiOptimizer` (Keras >= 3.15) lists them in `optimizers`; one built from a callable fills
    that list only when it is built.
    """
    if hasattr(optimizer, "optimizers"):
        return list(optimizer.optimizers)
    return [optimizer]


def wrapped_chain(optimizer: keras.optimizers.Optimizer) -> list:
    """`optimizer` and what it wraps, from the outermost to the innermost.

    Wrappers, Keras' own and those of this library, name what they wrap `inner_optimizer`.
    """
    chain = [optimizer]
    while getattr(chain[-1], "inner_optimizer", None) is not None:
        chain.append(chain[-1].inner_optimizer)
    return chain


def without_loss_scaling(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside a `LossScaleOptimizer`, which is always outermost, or `optimizer`."""
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return optimizer.inner_optimizer if is_scaled else optimizer


def gains_optimizers_when_built(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `optimizer` is a MultiOptimizer made from a function of the variable."""
    return callable(getattr(optimizer, "_optimizer_map", None)) and not optimizer.built


def get_schedule(optimizer: keras.optimizers.Optimizer) -> Any:
    """What `learning_rate=` was given: the public property evaluates a schedule instead."""
    return optimizer._learning_rate


def set_schedule(optimizer: keras.optimizers.Optimizer, schedule: Any) -> None:
    """`optimizer.learning_rate = schedule`, without evaluating the schedule that is there.

    TensorFlow's `__setattr__` reads a property before it sets it, and reading means calling the
    old schedule, which has no state yet. The property's setter also untracks a rate's variable.
    """
    type(optimizer).learning_rate.fset(optimizer, schedule)
    _allow_checkpoints(optimizer)


def copy_weight_decay_exclusions(
    source: keras.optimizers.Optimizer, target: keras.optimizers.Optimizer
) -> None:
    """What `source.exclude_from_weight_decay` was told; an optimizer's configuration lacks it."""
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if name in vars(source):
            setattr(target, name, vars(source)[name])


def get_iterations(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """The counter that Keras passes to schedules.

    The public `iterations` is divided by `gradient_accumulation_steps`; schedules are called
    with the undivided one.
    """
    return optimizer._iterations


def get_accumulated_gradients(optimizer: keras.optimizers.Optimizer) -> list:
    """The sums over the micro-batches so far; Keras has no public name for them."""
    return optimizer._accumulated_gradients


def built_variables(optimizer: keras.optimizers.Optimizer) -> list:
    """The model variables `optimizer` was built with, in its order."""
    return list(optimizer._trainable_variables)


def variable_index(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> int:
    """Where `variable` stands among those the optimizer was built with."""
    return optimizer._get_variable_index(variable)


def accumulated_gradients_of(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> list:
    """The sums over the micro-batches so far that belong to `variables`."""
    sums = optimizer._accumulated_gradients
    return [sums[optimizer._get_variable_index(v)] for v in variables]


def clip_gradients(optimizer: keras.optimizers.Optimizer, gradients: Sequence[Tensor]) -> list:
    """What Keras makes of the gradients right before it calls `update_step`."""
    return optimizer._clip_gradients(gradients)


def is_set_by_its_gradient(variable: keras.Variable) -> bool:
    """Whether Keras writes the gradient into `variable`, as it does with the scales of float8."""
    return getattr(variable, "overwrite_with_gradient", False)


class OwnDecayOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer whose weight decay is part of its `update_step`.

    Keras decays every variable before it calls `update_step`; there is no public switch. Which
    variables are excluded (`exclude_from_weight_decay`) and where a variable stands in the lists
    of `add_optimizer_variables` is known to private methods alone.
    """

    def _apply_weight_decay(self, variables):
        pass

    def decays(self, variable: keras.Variable) -> bool:
        """Whether `variable` is not excluded from weight decay."""
        return self._use_weight_decay(variable)


def state_of(
    optimizer: keras.optimizers.Optimizer,
    variable: keras.Variable,
    variables: Sequence[keras.Variable],
) -> keras.Variable:
    """The one of `variables`, from `add_optimizer_variables`, that belongs to `variable`."""
    return variables[optimizer._get_variable_index(variable)]


def enclosing_optimizer(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer | None:
    """The Keras optimizer that takes `optimizer` in, when called from its `__init__` or `build`.

    `LossScaleOptimizer` and `MultiOptimizer` announce themselves to what they wrap in one way
    alone: they set its `loss_scale_factor`. Who set it is known to the calling frame only. It
    decides about an error, never about a value.
    """
    frame: FrameType | None = sys._getframe(1)
    # The property itself, and on TensorFlow the `__setattr__` of several base classes.
    while frame is not None and frame.f_locals.get("self") is optimizer:
        frame = frame.f_back
    if frame is None or frame.f_code.co_name not in ("__init__", "build"):
        return None
    outer = frame.f_locals.get("self")
    is_other = isinstance(outer, keras.optimizers.Optimizer) and outer is not optimizer
    return outer if is_other else None


class _ReadableVariable(keras.Variable):
    """A variable that is a number under `MirroredStrategy` too, where Keras' own is not."""

    def __float__(self) -> float:
        return float(ops.convert_to_numpy(self))

    def __int__(self) -> int:
        return int(ops.convert_to_numpy(self))


def make_readable(variable: keras.Variable) -> None:
    """Lets `float(variable)` and `int(variable)` work under `tf.distribute`.

    There Keras' variable hands on to TensorFlow's `MirroredVariable`, which is no number.
    """
    if keras.backend.backend() == "tensorflow" and type(variable) is keras.Variable:
        variable.__class__ = _ReadableVariable


def untrack_variable(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> None:
    """Takes `variable` out of the optimizer's variables, so that it can still be checkpointed.

    TensorFlow refuses to save a list from which an element was removed, because its
    indices may have changed since an earlier checkpoint; before training there is none.
    """
    optimizer._untrack_variable(variable)
    _allow_checkpoints(optimizer)


def _allow_checkpoints(optimizer) -> None:
    if keras.backend.backend() == "tensorflow":
        variables = optimizer._variables
        variables._non_append_mutation_value = variables._external_modification_value = False
        variables._update_snapshot()


def public_class(optimizer: keras.optimizers.Optimizer) -> type:
    """The class of `keras.optimizers` that made `optimizer`, or its own class.

    On PyTorch `keras.optimizers.SGD(...)` is an instance of a subclass with fused updates.
    """
    kind = type(optimizer)
    if kind.__module__.startswith("keras.src.backend.torch.optimizers."):
        return getattr(keras.optimizers, kind.__name__, kind)
    return kind
