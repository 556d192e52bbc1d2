"""From a recipe's options to a compiled-ready optimizer."""

import keras

import keras_h0h1
from keras_h0h1.schedules import WarmupStableDecay
from recipes.common.command_line.settings import Training
from recipes.common.distribution.devices import ONE_DEVICE, Devices

# A `C` that no loss reaches: the factor is 1 and the weights are those of the bare optimizer, bit
# for bit. So that plain schedules report the loss of each batch the same way as `auto` does, and
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
        steps_per_update=config.gradient_accumulation_steps,
    )
    C = {"h0h1": config.C, "auto": "auto"}.get(config.schedule, _NEVER)
    return keras_h0h1.LossAdaptiveLearningRate(base, C=C, f_star=config.f_star)


def _shared(config: Training, ema: float) -> dict:
    """The arguments that each of Keras' optimizers takes."""
    return {
        "learning_rate": build_schedule(config),
        "weight_decay": config.weight_decay,
        "global_clipnorm": config.global_clipnorm or None,
        # Keras counts 1 as accumulation too, and would keep a second copy of the gradients.
        "gradient_accumulation_steps": config.gradient_accumulation_steps
        if config.gradient_accumulation_steps > 1
        else None,
        "use_ema": bool(ema),
        # Keras averages after each micro-batch; per update it comes to `ema`.
        "ema_momentum": ema ** (1 / config.gradient_accumulation_steps) if ema else 0.99,
    }


def _loss_aware(
    optimizer: keras.optimizers.Optimizer, config: Training
) -> keras.optimizers.Optimizer:
    optimizer = keras_h0h1.LossAware(optimizer)
    if config.precision == "mixed_float16":
        optimizer = keras_h0h1.LossScaleOptimizer(optimizer)
    return optimizer


def build_adamw(config: Training, ema: float = 0.0) -> keras.optimizers.Optimizer:
    """AdamW with the options' schedule, clipping and accumulation, loss-aware; loss scaling
    outermost under `mixed_float16`.

    Args:
        config: The resolved options.
        ema: Momentum of an exponential moving average of the weights, per update; 0 for none.
            `run_training` evaluates with it.
    """
    optimizer = keras.optimizers.AdamW(
        beta_1=config.beta_1, beta_2=config.beta_2, **_shared(config, ema)
    )
    return _loss_aware(optimizer, config)


def build_sgd(config: Training, momentum: float, ema: float = 0.0) -> keras.optimizers.Optimizer:
    """SGD with momentum, in the same manner as `build_adamw`."""
    optimizer = keras.optimizers.SGD(momentum=momentum, **_shared(config, ema))
    return _loss_aware(optimizer, config)


def jit_compile(choice: str, devices: Devices = ONE_DEVICE) -> bool:
    """Keras' `jit_compile` for the option `--jit`.

    Raises:
        ValueError: If XLA is asked for under `tf.distribute`.
    """
    # XLA cannot compile a step that reads other devices' variables.
    mirrored = devices.strategy is not None and devices.kind != "tpu"
    if choice == "on" and mirrored:
        raise ValueError(
            "XLA cannot compile a training step under TensorFlow's MirroredStrategy; leave it "
            "`auto`. Received: jit=on"
        )
    if choice == "auto":
        return keras.backend.backend() != "torch" and not mirrored
    return choice == "on"
