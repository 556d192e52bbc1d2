"""From a recipe's options to a compiled-ready optimizer."""

import keras

import keras_h0h1
from recipes.common.distribute import current
from recipes.common.schedules import WarmupStableDecay
from recipes.common.settings import Training

# A `C` that no loss reaches: the factor is 1 and the weights are those of the bare optimizer, bit
# for bit. So that plain schedules report the loss of each batch the same way as `h0h1` does, and
# all pay the same for it.
_NEVER = 1e30


def build_schedule(config: Training) -> keras_h0h1.LossAdaptiveLearningRate:
    """The rate of `config.schedule`, for `config.steps` updates, as a loss-driven schedule."""
    base = WarmupStableDecay(
        config.peak_lr,
        total_steps=config.steps,
        warmup_steps=round(config.warmup * config.steps) if config.schedule == "linear" else 0,
        decay_steps=round(config.decay * config.steps),
        final_learning_rate=min(config.final_lr, config.peak_lr),
        steps_per_update=config.accumulate,
    )
    C = config.C if config.schedule == "h0h1" else _NEVER
    return keras_h0h1.LossAdaptiveLearningRate(base, C=C, f_star=config.f_star)


def build_adamw(config: Training) -> keras.optimizers.Optimizer:
    """AdamW with the options' schedule, clipping and accumulation, loss-aware; loss scaling
    outermost under `mixed_float16`.
    """
    optimizer = keras_h0h1.LossAware(
        keras.optimizers.AdamW(
            build_schedule(config),
            weight_decay=config.weight_decay,
            beta_1=config.beta_1,
            beta_2=config.beta_2,
            global_clipnorm=config.clip or None,
            # Keras counts 1 as accumulation too, and would keep a second copy of the gradients.
            gradient_accumulation_steps=config.accumulate if config.accumulate > 1 else None,
        )
    )
    if config.precision == "mixed_float16":
        optimizer = keras_h0h1.LossScaleOptimizer(optimizer)
    return optimizer


def jit_compile(choice: str) -> bool:
    """Keras' `jit_compile` for the option `--jit`.

    Raises:
        ValueError: If XLA is asked for under `tf.distribute`.
    """
    # XLA cannot compile a step that reads other devices' variables.
    mirrored = current().strategy is not None and current().kind != "tpu"
    if choice == "on" and mirrored:
        raise ValueError(
            "XLA cannot compile a training step under TensorFlow's MirroredStrategy; leave it "
            "`auto`. Received: jit=on"
        )
    if choice == "auto":
        return keras.backend.backend() != "torch" and not mirrored
    return choice == "on"
