"""What XLA makes of a model's training step, without training: one way for each backend.

The only module of the language models that knows how a backend compiles.
"""

import dataclasses

import keras


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


def cpu_only() -> bool:
    """Whether JAX compiles for a CPU."""
    import jax

    return jax.default_backend() == "cpu"


def _lower_jax(model, batch_size, context):
    import jax

    if not model.optimizer.built:
        with keras.StatelessScope(initialize_variables=False):
            model.optimizer.build(model.trainable_variables)

    def shapes(variables):
        return [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in variables]

    state = tuple(
        map(
            shapes,
            (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            ),
        )
    )
    tokens = jax.ShapeDtypeStruct((batch_size, context), "int32")
    # As Keras' trainer compiles it: the state is given away.
    return jax.jit(model.train_step, donate_argnums=0).lower(state, (tokens, tokens))


def count_flops(model: keras.Model, batch_size: int, context: int) -> float | None:
    """XLA's count for one training step of a compiled model; only JAX can ask for it.

    A loop's body counts once, however often it runs.
    """
    if keras.backend.backend() != "jax":
        return None
    return _lower_jax(model, batch_size, context).cost_analysis()["flops"]


def compile_step(model: keras.Model, batch_size: int, context: int) -> Counts:
    """Compiles one training step as `fit` would, and trains nothing."""
    backend = keras.backend.backend()
    if backend == "jax":
        lowered = _lower_jax(model, batch_size, context)
        memory = lowered.compile().memory_analysis()
        return Counts(
            lowered.cost_analysis()["flops"],
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
