"""What a model keeps when its compiled step ends in an error of this library."""

import sys
from types import FrameType

import keras


def keep_model_usable() -> None:
    """Lets a Keras model be trained again after an error that is about to end its step's trace.

    Keras' JAX trainer takes the values out of the variables before it traces the step, and an
    error out of the trace loses them: the next `fit` says "'NoneType' object is not callable".
    They are in a local variable of `fit` alone, and nothing has been executed yet. From the place
    where they are put here `fit` itself gives them back to the variables on its way out.

    On TensorFlow the variables have kept them. But the train function counts the trace as its
    first call, after which it may make no variables, as those of an optimizer that is not built
    yet: the next `fit` says "Creating variables on a non-first call". It is to make another.
    """
    backend = keras.backend.backend()
    if backend not in ("jax", "tensorflow"):
        return
    names = ("trainable", "non_trainable", "optimizer", "metrics")
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        # Not `f_locals` of every frame: it makes a dictionary each time.
        if frame.f_code.co_name == "fit" and isinstance(frame.f_locals.get("self"), keras.Model):
            model, state = frame.f_locals["self"], frame.f_locals.get("state")
            if backend == "tensorflow":
                model.train_function = None
                return
            # In the frame of an override of `fit` there is no such state.
            if isinstance(state, tuple) and len(state) == len(names):
                state = {f"{n}_variables": v for n, v in zip(names, state, strict=True)}
                model._jax_state, model._jax_state_synced = state, False
                return
        frame = frame.f_back
