"""What XLA makes of a model's training step, without training: one way for each backend.

The only module of the language models that knows how a backend compiles.
"""

import dataclasses

import keras

from recipes.compilers.step import flops_before_optimisation, lower_step


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the compiler says of one step; `None` is what it does not say.

    Args:
        flops: Floating-point operations of the step before optimisation, each loop's body once.
        state_bytes: Weights, optimizer state and batch: the step's arguments.
        temporary_bytes: What else is needed while the step runs.
    """

    flops: float | None = None
    state_bytes: int | None = None
    temporary_bytes: int | None = None


def _lower_jax(model, batch_size, context):
    tokens = (batch_size, context), "int32"
    return lower_step(model, (tokens, tokens))


def count_flops(model: keras.Model, batch_size: int, context: int) -> float | None:
    """XLA's count for one training step of a compiled model; only JAX can ask for it.

    A loop's body counts once, however often it runs.
    """
    if keras.backend.backend() != "jax":
        return None
    return flops_before_optimisation(_lower_jax(model, batch_size, context))


def compile_step(model: keras.Model, batch_size: int, context: int) -> Counts:
    """Compiles one training step as `fit` would, and trains nothing."""
    backend = keras.backend.backend()
    if backend == "jax":
        lowered = _lower_jax(model, batch_size, context)
        memory = lowered.compile().memory_analysis()
        return Counts(
            flops_before_optimisation(lowered),
            memory.argument_size_in_bytes,
            memory.temp_size_in_bytes,
        )
    if backend == "tensorflow":
        import tensorflow as tf

        model.optimizer.build(model.trainable_variables)
        tokens = tf.TensorSpec((batch_size, context), "int32")

        @tf.function(jit_compile=model.jit_compile)
        def step(inputs, targets):
            return model.train_step((inputs, targets))

        if model.jit_compile:
            # The text is large and of no use, but making it compiles the step.
            step.experimental_get_compiler_ir(tokens, tokens)(stage="optimized_hlo")
        else:
            step.get_concrete_function(tokens, tokens)
    return Counts()
