"""Everything that differs between backends or touches a private part of Keras, with the reason."""

import contextlib
import random
import sys

import keras
import numpy as np
from keras import ops


def state_dtype() -> str:
    """Dtype of the scalars that decide the rate.

    Never below float32: in bfloat16 a loss of 10.8 has steps of 1/16, and the rate would move in
    steps of half a percent. float64 only where the user asked for it with `set_floatx`.
    """
    return "float64" if keras.config.floatx() == "float64" else "float32"


def leaf_optimizers(optimizer) -> list:
    """The optimizers that hold a learning rate: `optimizer` itself, or those it delegates to.

    `MultiOptimizer` (Keras >= 3.15) lists them in `optimizers`; one built from a callable fills
    that list only when it is built.
    """
    if hasattr(optimizer, "optimizers"):
        return list(optimizer.optimizers)
    return [optimizer]


def gains_optimizers_when_built(optimizer) -> bool:
    """Whether `optimizer` is a MultiOptimizer made from a function of the variable."""
    return callable(getattr(optimizer, "_optimizer_map", None)) and not optimizer.built


def get_schedule(optimizer):
    """What `learning_rate=` was given: the public property evaluates a schedule instead."""
    return optimizer._learning_rate


def set_schedule(optimizer, schedule) -> None:
    """`optimizer.learning_rate = schedule`, without evaluating the schedule that is there.

    TensorFlow's `__setattr__` reads a property before it sets it, and reading means calling the
    old schedule, which has no state yet. The property's setter also untracks a rate's variable.
    """
    type(optimizer).learning_rate.fset(optimizer, schedule)
    _allow_checkpoints(optimizer)


def copy_weight_decay_exclusions(source, target) -> None:
    """What `source.exclude_from_weight_decay` was told; an optimizer's configuration lacks it."""
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if name in vars(source):
            setattr(target, name, vars(source)[name])


def get_iterations(optimizer):
    """The counter that Keras passes to schedules.

    The public `iterations` is divided by `gradient_accumulation_steps`; schedules are called
    with the undivided one.
    """
    return optimizer._iterations


def get_accumulated_gradients(optimizer) -> list:
    """The sums over the micro-batches so far; Keras has no public name for them."""
    return optimizer._accumulated_gradients


def built_variables(optimizer) -> list:
    """The model variables `optimizer` was built with, in its order."""
    return list(optimizer._trainable_variables)


def variable_index(optimizer, variable) -> int:
    """Where `variable` stands among those the optimizer was built with."""
    return optimizer._get_variable_index(variable)


def accumulated_gradients_of(optimizer, variables) -> list:
    """The sums over the micro-batches so far that belong to `variables`."""
    sums = optimizer._accumulated_gradients
    return [sums[optimizer._get_variable_index(v)] for v in variables]


def clip_gradients(optimizer, gradients) -> list:
    """What Keras makes of the gradients right before it calls `update_step`."""
    return optimizer._clip_gradients(gradients)


def is_set_by_its_gradient(variable) -> bool:
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

    def decays(self, variable) -> bool:
        """Whether `variable` is not excluded from weight decay."""
        return self._use_weight_decay(variable)


def state_of(optimizer, variable, variables):
    """The one of `variables`, from `add_optimizer_variables`, that belongs to `variable`."""
    return variables[optimizer._get_variable_index(variable)]


def replica_key() -> int:
    """Which replica the calling thread traces: 0 everywhere but in `tf.distribute`.

    `MirroredStrategy` traces each replica in a thread of its own on the same Python optimizer,
    so whatever is held on that object between two calls needs one place per replica.
    """
    if keras.backend.backend() != "tensorflow":
        return 0
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:
        return 0
    key = tf.get_static_value(context.replica_id_in_sync_group)
    # On a TPU the id is known on the device only; there one trace serves all replicas.
    return 0 if key is None else int(key)


def sum_over_replicas(loss):
    """The loss of the whole batch, on every replica.

    Under `tf.distribute` Keras divides the loss by the number of replicas and hands over the
    local part. With it each replica would take a rate of its own and the weights drift apart.
    JAX computes the loss of the global batch in the first place.
    """
    if num_replicas() == 1:
        return loss
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, loss)


def num_replicas() -> int:
    """Replicas of `tf.distribute` in sync; 1 on every other backend."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def global_norm(gradients):
    """Euclidean norm of all gradients together, in the dtype of the rate's state."""
    dtype = state_dtype()
    total = 0.0
    for gradient in gradients:
        if gradient is None:
            continue
        # tf.IndexedSlices, the gradient of an embedding, may repeat an index: its norm is only
        # that of the dense tensor.
        dense = ops.cast(ops.convert_to_tensor(gradient, sparse=False), dtype)
        total = total + ops.sum(ops.square(dense))
    return ops.sqrt(total)


def check_tracer_is_alive(loss) -> None:
    """Raises where JAX would end in a leaked-tracer error that does not say what to change.

    A tracer is alive while the trace it belongs to is the current one or encloses it. JAX has no
    public name for the current trace, and notices a dead one only once the step is compiled. Where
    a JAX version keeps it elsewhere, its own error has to do.
    """
    if keras.backend.backend() != "jax":
        return
    import jax

    if not isinstance(loss, jax.core.Tracer):
        return
    try:
        from jax._src.core import EvalTrace, trace_ctx

        trace, owner = trace_ctx.trace, loss._trace
    except (ImportError, AttributeError):
        return
    while not isinstance(trace, EvalTrace | None):
        if trace is owner or not hasattr(trace, "parent_trace"):
            # JAX 0.5 does not know what encloses the trace of a `cond`.
            return
        trace = trace.parent_trace
    keep_values_of_model()
    raise RuntimeError(
        "The loss that `LossAware` holds belongs to a JAX trace that has ended. This happens when "
        "the whole loss is computed inside `jax.checkpoint` (rematerialise layers instead, with "
        "`keras.RematScope`), or when `scale_loss` ran in one compiled function and `apply` in "
        "another (pass the loss along: `stateless_apply(..., loss=loss)`). "
        f"Received: loss={loss}"
    )


def keep_values_of_model() -> None:
    """Lets a Keras model keep its values though an error is about to end the trace of its step.

    Keras' JAX trainer takes the values out of the variables before it traces the step, and an
    error out of the trace loses them: the next `fit` says "'NoneType' object is not callable".
    They are in a local variable of `fit` alone, and nothing has been executed yet. From the place
    where they are put here `fit` itself gives them back to the variables on its way out. On every
    other backend the variables have kept them.
    """
    if keras.backend.backend() != "jax":
        return
    names = ("trainable", "non_trainable", "optimizer", "metrics")
    frame = sys._getframe(1)
    while frame is not None:
        # Not `f_locals` of every frame: it makes a dictionary each time.
        if frame.f_code.co_name == "fit" and isinstance(frame.f_locals.get("self"), keras.Model):
            model, state = frame.f_locals["self"], frame.f_locals.get("state")
            # In the frame of an override of `fit` there is no such state.
            if isinstance(state, tuple) and len(state) == len(names):
                state = {f"{n}_variables": v for n, v in zip(names, state, strict=True)}
                model._jax_state, model._jax_state_synced = state, False
                return
        frame = frame.f_back


def enclosing_optimizer(optimizer):
    """The Keras optimizer that takes `optimizer` in, when called from its `__init__` or `build`.

    `LossScaleOptimizer` and `MultiOptimizer` announce themselves to what they wrap in one way
    alone: they set its `loss_scale_factor`. Who set it is known to the calling frame only. It
    decides about an error, never about a value.
    """
    frame = sys._getframe(1)
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

    def __float__(self):
        return float(ops.convert_to_numpy(self))

    def __int__(self):
        return int(ops.convert_to_numpy(self))


def make_readable(variable) -> None:
    """Lets `float(variable)` and `int(variable)` work under `tf.distribute`.

    There Keras' variable hands on to TensorFlow's `MirroredVariable`, which is no number.
    """
    if keras.backend.backend() == "tensorflow" and type(variable) is keras.Variable:
        variable.__class__ = _ReadableVariable


def untrack_variable(optimizer, variable) -> None:
    """Takes `variable` out of the optimizer's variables, so that it can still be checkpointed.

    TensorFlow refuses to save a list from which an element was removed, lest its indices
    changed since an earlier checkpoint; before training there is none.
    """
    optimizer._untrack_variable(variable)
    _allow_checkpoints(optimizer)


def _allow_checkpoints(optimizer) -> None:
    if keras.backend.backend() == "tensorflow":
        variables = optimizer._variables
        variables._non_append_mutation_value = variables._external_modification_value = False
        variables._update_snapshot()


def replace_optimizer(model, optimizer) -> None:
    """Exchanges the optimizer of a compiled model, without losing metrics or weights.

    `compile` would reset the metrics. The train function has closed over the old optimizer, and
    the compile configuration is what `model.save` writes.
    """
    model.optimizer = optimizer
    model.train_function = None
    config = getattr(model, "_compile_config", None)
    if config is not None:
        config.config["optimizer"] = optimizer


def fit_is_beginning(model) -> bool:
    """Whether a callback's `set_model` is called by `fit`, not by `evaluate` or `predict`.

    Keras calls it in the same way in all three. Only `fit` has put a new `History` on the model
    just before, which does not know the run's parameters yet.
    """
    history = getattr(model, "history", None)
    return isinstance(history, keras.callbacks.History) and not history.params


def variable_scope(model):
    """Where variables for `model` have to be made; callbacks run outside `strategy.scope()`."""
    if keras.backend.backend() == "tensorflow":
        return model.distribute_strategy.scope()
    return contextlib.nullcontext()


def read_variables(model, variables) -> list[float]:
    """Current values of a few scalar variables of `model.optimizer`, in the midst of `fit`.

    On JAX the trainer keeps the state outside the variables while an epoch runs; asking for
    `callback.model` there brings the *whole* state back at every batch. This reads the few
    scalars out of the trainer's own list instead.
    """
    state = getattr(model, "_jax_state", None)
    if state is None or model._jax_state_synced:
        return [float(ops.convert_to_numpy(variable)) for variable in variables]
    position = {id(v): i for i, v in enumerate(model.optimizer.variables)}
    values = state["optimizer_variables"]
    return [float(values[position[id(variable)]]) for variable in variables]


def callback_model(callback):
    """`callback.model` without its side effect on JAX: a sync of the whole training state."""
    return callback._model


@contextlib.contextmanager
def random_state_kept():
    """Puts every global random generator back where it was when the block began.

    Keras' own is a `SeedGenerator` without a public name, made when it is first asked for; its
    seed comes from Python's generator. NumPy's global one may be drawn from by the user's data.
    On PyTorch dropout draws from PyTorch's. TensorFlow's ops in Keras are stateless.
    """
    from keras.src.backend.common import global_state

    name = "global_seed_generator"
    generator = global_state.get_global_attribute(name)
    seed = None if generator is None else ops.convert_to_numpy(generator.state).copy()
    python, numpy_state = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            import torch

            stack.enter_context(torch.random.fork_rng())
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
            if generator is None:
                global_state.set_global_attribute(name, None)
            else:
                generator.state.assign(seed)


@contextlib.contextmanager
def trained_with(model, optimizer):
    """Lets `model.train_on_batch` train with another optimizer while the block runs.

    The train function has closed over the optimizer, and on JAX the trainer keeps the last state.
    Several steps per execution would ask `train_on_batch` for several batches. All of it is put
    back: a `fit` afterwards, or the one that is about to begin, does not compile again.
    """
    names = (
        "optimizer", "train_function", "steps_per_execution", "_jax_state", "_jax_state_synced",
    )  # fmt: skip
    before = {name: getattr(model, name) for name in names if hasattr(model, name)}
    try:
        model.optimizer, model.train_function, model.steps_per_execution = optimizer, None, 1
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)


def public_class(optimizer) -> type:
    """The class of `keras.optimizers` that made `optimizer`, or its own class.

    On PyTorch `keras.optimizers.SGD(...)` is an instance of a subclass with fused updates.
    """
    kind = type(optimizer)
    if kind.__module__.startswith("keras.src.backend.torch.optimizers."):
        return getattr(keras.optimizers, kind.__name__, kind)
    return kind


def has_own_train_step(model) -> bool:
    """Whether the model's `train_step` is not Keras' own, so that its loss may be any."""
    return type(model).train_step is not keras.Model.train_step


def num_replicas_of(model) -> int:
    """Replicas of the strategy that the model was made under; 1 on every backend but TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return model.distribute_strategy.num_replicas_in_sync
