"""The dtype of the scalars that decide the rate, and what is computed in it."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_h0h1._keras.usable_model import keep_model_usable
from keras_h0h1._types import Tensor


def state_dtype() -> str:
    """Dtype of the scalars that decide the rate.

    Never below float32: in bfloat16 a loss of 10.8 has steps of 1/16, and the rate would move in
    steps of half a percent. float64 only where the user asked for it with `set_floatx`.
    """
    return "float64" if keras.config.floatx() == "float64" else "float32"


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
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


def check_tracer_is_alive(loss: Tensor) -> None:
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
    keep_model_usable()
    raise RuntimeError(
        "The loss that `LossAware` holds belongs to a JAX trace that has ended. This happens when "
        "the whole loss is computed inside `jax.checkpoint` (rematerialise layers instead, with "
        "`keras.RematScope`), or when `scale_loss` ran in one compiled function and `apply` in "
        "another (pass the loss along: `stateless_apply(..., loss=loss)`). "
        f"Received: loss={loss}"
    )
