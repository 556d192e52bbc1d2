"""A copy of the model's optimizer whose rate is a number that can be set."""

from collections.abc import Sequence

import keras

from keras_h0h1 import _autodiff, _keras
from keras_h0h1.optimizers import AdaptiveGD, LossAware, LossScaleOptimizer
from keras_h0h1.schedules import LossAdaptiveLearningRate

# A gap that no loss has: the factor is 1 and the rate is the one that is tested.
_NEVER = 1e30


def leaf_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer inside Keras' and the library's wrappers."""
    return _keras.wrapped_chain(optimizer)[-1]


def settable_copy(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> tuple[keras.optimizers.Optimizer, keras.Variable]:
    """An optimizer that moves weights as `optimizer` would, at a rate that is set from outside.

    It has the same options, the same wrappers (a `train_step` may call `observe`, float16 needs
    its loss scale) and the same state (moments, step count); a loss-driven factor is left out.

    Args:
        optimizer: The model's.
        variables: The model's trainable variables.

    Returns:
        The copy, built, and the variable that holds its rate.

    Raises:
        ValueError: For an optimizer that has no rate of its own to test, or several.
    """
    leaf = leaf_of(optimizer)
    if isinstance(optimizer, AdaptiveGD) or isinstance(
        getattr(optimizer, "inner_optimizer", None), AdaptiveGD
    ):
        raise ValueError(
            "`AdaptiveGD` takes its step from its constants: there is no rate to suggest. "
            f"Received: optimizer={optimizer!r}"
        )
    if hasattr(leaf, "optimizers"):
        raise ValueError(
            "A `MultiOptimizer` has several rates, and a range test varies one. Test the model "
            f"with one optimizer at a time. Received: optimizer={optimizer!r}"
        )
    config = leaf.get_config()
    config["learning_rate"] = 1.0
    twin = type(leaf).from_config(config)
    outer, wrapper = twin, optimizer
    aware = scaled = None
    while wrapper is not leaf:
        if isinstance(wrapper, keras.optimizers.LossScaleOptimizer):
            scaled = wrapper
        elif isinstance(wrapper, LossAware):
            aware = wrapper
        wrapper = wrapper.inner_optimizer
    if aware is not None:
        _keras.set_schedule(twin, LossAdaptiveLearningRate(1.0, C=_NEVER))
        outer = LossAware(twin)
    if scaled is not None:
        outer = LossScaleOptimizer(outer, scaled.initial_scale, scaled.dynamic_growth_steps)
    outer.build(variables)
    if leaf.built:
        _copy_state(leaf, twin)
    if scaled is not None and scaled.built:
        _assign_copy(outer.step_counter, scaled.step_counter)
        _assign_copy(outer.dynamic_scale, scaled.dynamic_scale)
    if aware is not None:
        inside = outer if scaled is None else outer.inner_optimizer
        return outer, inside.rate_states[0].variables["base"]
    return outer, _keras.get_schedule(twin)


def _copy_state(leaf, twin) -> None:
    """The moments and the step count, where the two were built for the same variables."""
    source, target = (
        [v for v in optimizer.variables if v is not _keras.get_schedule(optimizer)]
        for optimizer in (leaf, twin)
    )
    if [tuple(v.shape) for v in source] != [tuple(v.shape) for v in target]:
        return
    for variable, value in zip(target, source, strict=True):
        _assign_copy(variable, value)


def _assign_copy(variable, source) -> None:
    # On JAX two variables would share one buffer, and a step deletes those that it is given.
    variable.assign(_autodiff.copy(_autodiff.read(source)))


def present_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The base rate that the optimizer has now."""
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
