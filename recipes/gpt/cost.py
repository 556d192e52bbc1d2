"""What training a language model costs, in closed form: operations, memory, time.

A product of an (m, k) and a (k, n) matrix is 2 m k n floating-point operations, as XLA counts
them. What is not a matrix product (norms, softmax, the optimizer) is left out: 1 to 3% of the whole
at the papers' sizes.
"""

import dataclasses

from recipes.gpt.architectures import ARCHITECTURES
from recipes.gpt.model import Size, parameter_count

# Peak bfloat16 FLOP/s of one chip, dense, from the makers' data sheets.
HARDWARE = {
    "a100": 312e12,
    "h100": 989e12,  # SXM
    "h200": 989e12,
    "tpu-v4": 275e12,
    "tpu-v5e": 197e12,
    "tpu-v5p": 459e12,
}

# Devices as they call themselves, for measurements.
DEVICE_NAMES = {
    "A100": "a100", "H100": "h100", "H200": "h200", "TPU v4": "tpu-v4",
    "TPU v5 lite": "tpu-v5e", "TPU v5e": "tpu-v5e", "TPU v5p": "tpu-v5p", "TPU v5": "tpu-v5p",
}  # fmt: skip


def known_hardware(device_name: str) -> str | None:
    """The row of `HARDWARE` for what a device calls itself, if there is one.

    Example:

    >>> known_hardware("NVIDIA H200")
    'h200'
    """
    return next((key for name, key in DEVICE_NAMES.items() if name in device_name), None)


@dataclasses.dataclass(frozen=True)
class Flops:
    """Floating-point operations per token of one training step.

    Args:
        forward: Of the blocks and the head.
        backward: Twice as many: one product for the weights, one for the inputs.
        recomputed: Made a second time to save memory.
    """

    forward: int
    backward: int
    recomputed: int

    @property
    def model(self) -> int:
        """Forward and backward: what the mathematics needs."""
        return self.forward + self.backward

    @property
    def total(self) -> int:
        """What the device does."""
        return self.model + self.recomputed


def training_flops(
    arch: str,
    size: Size,
    vocabulary_size: int,
    context: int,
    rematerialised: bool = False,
    blocked_loss: bool = False,
) -> Flops:
    """The matrix products of one training step, per token.

    Attention is counted as XLA's plain one computes it, the whole `context x context` square; flash
    attention does less than half of it, and is not credited.

    Args:
        arch: A name of `ARCHITECTURES`.
        size: The shape.
        vocabulary_size: Columns of the head.
        context: Tokens in a window.
        rematerialised: Whether blocks are computed again in the backward pass. Their last product
            is not: nothing inside the block depends on it.
        blocked_loss: Whether the head is, as by `recipes.gpt.losses.blocked_cross_entropy`.

    Example: the (H0, H1) paper's 70M model.

    >>> from recipes.gpt.model import SIZES
    >>> training_flops("llama", SIZES["70m"], 50280, 1024).model
    314892288
    """
    architecture, d = ARCHITECTURES[arch], size.width
    last = 2 * d * architecture.hidden_width(size)  # the last product of the feed-forward layers
    f = (3 if architecture.gated else 2) * last
    block = 8 * d * d + f + 4 * context * d
    head = 2 * d * vocabulary_size
    forward = size.layers * block + head
    recomputed = (size.layers * (block - last) if rematerialised else 0) + (
        head if blocked_loss else 0
    )
    return Flops(forward, 2 * forward, recomputed)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device while it trains.

    Copies of the weights in the compute dtype are not in it: the compilers convert each where it
    is used, one layer after the other.

    Args:
        weights: In float32, also under mixed precision.
        gradients: In float32, of all weights.
        optimizer: AdamW's two averages, float32.
        accumulation: The sum of gradients over micro-batches, if there are several.
        activations: What the backward pass of the blocks needs of the forward pass.
        logits: Of one micro-batch or of one block of tokens, with their gradient.
        head: The gradient of the head's weights, in float32.
        update: New weights and averages, where they are not written over the old ones.
    """

    weights: int
    gradients: int
    optimizer: int
    accumulation: int
    activations: int
    logits: int
    head: int
    update: int = 0

    @property
    def state(self) -> int:
        """What is there between steps."""
        return self.weights + self.optimizer + self.accumulation

    @property
    def during(self) -> int:
        """What a step needs besides, at the worst of three moments.

        Where the backward pass begins, all activations are there, the logits, and of the gradients
        only the head's. Where it ends, all gradients are there and no activations. Then comes the
        update.
        """
        return max(self.activations + self.logits + self.head, self.gradients, self.update)

    @property
    def total(self) -> int:
        """The peak: `tests/recipes/test_memory.py` compares it with what the compilers found."""
        return self.state + self.during


def training_memory(
    arch: str,
    size: Size,
    vocabulary_size: int,
    context: int,
    batch_size: int,
    *,
    gradient_accumulation_steps: int = 1,
    mixed: bool = False,
    rematerialised: bool = False,
    loss_block: int = 0,
    flash: bool = False,
    replicas: int = 1,
    model_shards: int = 1,
    tpu: bool = False,
) -> Memory:
    """An account of one device's memory, to see what will fit and what takes the room.

    Args:
        arch: A name of `ARCHITECTURES`.
        size: The shape.
        vocabulary_size: Columns of the head.
        context: Tokens in a window.
        batch_size: Windows in a micro-batch, over all replicas.
        gradient_accumulation_steps: Micro-batches for an update.
        mixed: Whether activations have two bytes, not four.
        rematerialised: Whether only the blocks' inputs are kept, and one block's inside.
        loss_block: Tokens whose logits are held at once; 0 for all.
        flash: Whether attention's weights are never written down.
        replicas: Copies of the model that share out the batch.
        model_shards: Devices that share one copy; weights, heads and hidden units are cut.
        tpu: Whether the compiler is the TPU's. Keras updates after the last micro-batch inside a
            conditional, and there that compiler does not write over the old weights and averages.
    """
    parameters = parameter_count(arch, size, vocabulary_size, context) // model_shards
    byte = 2 if mixed else 4
    tokens = batch_size * context // replicas
    d = size.width
    architecture = ARCHITECTURES[arch]
    # Before and after the activation; SwiGLU has a gate besides.
    hidden = (3 if architecture.gated else 2) * architecture.hidden_width(size)
    # Two norms with their inputs, the output of attention and the sums on the residual stream are
    # whole on each device; queries, keys, values and the mix of values are cut by heads.
    inside = 6 * d + (4 * d + hidden) // model_shards
    # The softmax's result, in float32 as every softmax is. Of it alone the backward pass needs
    # something: the scores are not needed, and its copy in the compute dtype is made again.
    square = 0 if flash else size.heads * context * 4 // model_shards
    block = tokens * (inside * byte + square)
    kept = tokens * d * byte
    columns = vocabulary_size // model_shards
    held = min(tokens, loss_block // replicas) if loss_block else tokens
    return Memory(
        weights=4 * parameters,
        gradients=4 * parameters,
        optimizer=8 * parameters,
        accumulation=4 * parameters if gradient_accumulation_steps > 1 else 0,
        activations=size.layers * kept + block if rematerialised else size.layers * block,
        # Logits in float32 for the softmax; their gradient in the compute dtype for the head.
        logits=held * columns * (4 + byte),
        head=4 * columns * d,
        update=12 * parameters if tpu and gradient_accumulation_steps > 1 else 0,
    )


def tokens_per_second(flops: Flops, peak: float, utilisation: float) -> float:
    """Of one device that does `utilisation` of its peak, recomputation counted as work.

    Example:

    >>> round(tokens_per_second(Flops(forward=10, backward=20, recomputed=10), 1000.0, 0.4))
    10
    """
    return peak * utilisation / flops.total
