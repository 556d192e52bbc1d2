"""What models of the papers' sizes need: options, and a model that is compiled as they say."""

import dataclasses
from typing import Literal

import keras

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import option
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.training.attention import choose, flash_available
from recipes.common.training.attention_layers import restore_attention, suit_attention
from recipes.common.training.optimizers import build_adamw, jit_compile
from recipes.common.training.products import on_all_axes, suit_compiler
from recipes.compilers.options import ForTarget
from recipes.gpt.architectures import ARCHITECTURES
from recipes.gpt.cost import HARDWARE
from recipes.gpt.losses import BlockedTraining, MeanOfLosses, TokenCrossEntropy
from recipes.gpt.model import SIZES, build_language_model

# A usual share of the peak for dense Transformers of this size on one device.
UTILISATION = 0.4


@dataclasses.dataclass
class Scale(ForTarget):
    """Scale: memory, speed and what a run will cost."""

    loss_block: int | None = option(
        None,
        "tokens whose logits are held at a time; they are recomputed in the backward pass, which"
        " saves most of the memory of a large vocabulary. 0: all at once [default: demo 0, else"
        " 2048]",
        low=0,
        high=2**30,
    )
    remat: Literal["none", "blocks"] = option(
        "none",
        "blocks: store no activations inside the Transformer blocks, compute them again in the"
        " backward pass; about a third more work, the memory of one block instead of all",
    )
    attention: Literal["auto", "flash", "plain"] = option(
        "auto",
        "auto: fused attention where there is one (GPU and TPU, on JAX and PyTorch); flash: an"
        " error where it is not; plain: never",
    )
    dry_run: bool = option(
        False,
        "build and compile, train nothing, read no data; print parameters, FLOPs, memory and how"
        " long the run would take",
    )
    hardware: Literal[tuple(HARDWARE)] | None = option(
        None, "dry run: the accelerator to assume [default: each that is known]"
    )
    utilisation: float | None = option(
        None,
        f"dry run: share of the accelerator's peak, an assumption [default: {UTILISATION}]",
        above=0,
        high=1,
    )
    price: float | None = option(
        None,
        "dry run: the price of an hour of one --hardware, in any currency [default: hours only]",
        low=0,
        high=1e12,
    )

    def __post_init__(self):
        super().__post_init__()
        if self.price is not None and self.hardware is None:
            raise InputError(f"A price is that of one --hardware. Received: price={self.price}")
        for name in ("hardware", "utilisation", "price"):
            if getattr(self, name) is not None and not self.dry_run:
                raise InputError(
                    f"`{name}` is of --dry-run. Received: {name}={getattr(self, name)}"
                )
        if self.remat == "blocks" and self.dropout:
            # The blocks would draw their dropout inside the recomputation, where Keras cannot
            # keep the state of its generators.
            raise InputError(
                "Rematerialised blocks cannot have dropout. "
                f"Received: remat=blocks, dropout={self.dropout}"
            )


def head_dim(size: str) -> int:
    """Dimensions of one attention head of a model size."""
    return SIZES[size].width // SIZES[size].heads


def choose_attention(
    choice: str, length: int = 64, head_dim: int = 64
) -> tuple[bool | None, str | None]:
    """What `--attention` asks for, and Keras' switch; before a model is built or loaded.

    Args:
        choice: `"auto"`, `"flash"` or `"plain"`.
        length: Tokens of an example.
        head_dim: Dimensions of one head.

    Returns:
        As of `recipes.common.training.attention.choose`.

    Raises:
        ValueError: If fused attention is asked for and there is none.
    """
    dtype = keras.config.dtype_policy().compute_dtype
    if choice == "flash" and (missing := flash_available(dtype, length, head_dim)):
        raise ValueError(
            f"There is no flash attention here ({missing}); it needs a GPU or TPU, JAX or PyTorch,"
            " and --precision mixed_bfloat16 or mixed_float16. Received: attention=flash"
        )
    return choose(choice, length, head_dim, causal=True)


def rematerialise(language_model: keras.Model) -> None:
    """Makes each Transformer block compute its inside again in the backward pass.

    `keras.RematScope` would do, but on JAX it makes a traced value of the flag `training`, at which
    the blocks' dropout layers stop. Here only the hidden states are an argument.

    Args:
        language_model: As built or as loaded; nothing of this is saved with it.
    """
    for block in language_model.get_layer("next_token").backbone.transformer_layers:
        block.call = _Rematerialised(block.call)


def undo_rematerialise(language_model: keras.Model) -> None:
    """Gives the blocks their own `call` again."""
    for block in language_model.get_layer("next_token").backbone.transformer_layers:
        if isinstance(block.call, _Rematerialised):
            block.call = block.call.call


class _Rematerialised:
    def __init__(self, call):
        self.call = call

    def __call__(self, decoder_sequence, **kwargs):
        return keras.remat(lambda x: self.call(x, **kwargs))(decoder_sequence)


def choose_configured_attention(config) -> tuple[bool | None, str | None]:
    """`choose_attention` for a resolved configuration; before its model is made or loaded."""
    return choose_attention(config.attention, config.context, head_dim(config.size))


def build_model(config) -> keras.Model:
    """The model that `--loss-block`, `--attention` and `--remat` ask for, not yet compiled."""
    choose_configured_attention(config)
    model = build_language_model(
        config.arch, SIZES[config.size], config.vocabulary, config.context, config.dropout
    )
    if config.loss_block:
        # At least one position of each row of the batch.
        positions = max(1, config.loss_block // config.batch_size)
        model = BlockedTraining(model, positions, name=model.name)
    return prepare(model, config)


def build_training_model(config, devices: Devices = ONE_DEVICE) -> keras.Model:
    """The language model of a resolved configuration, compiled for training."""
    model = build_model(config)
    compile_for_training(model, build_adamw(config), jit_compile(config.jit, devices))
    return model


def compile_for_training(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, jit: bool
) -> None:
    """Compiles a language model, or the model that trains one, with its cross-entropy."""
    loss = MeanOfLosses() if isinstance(model, BlockedTraining) else TokenCrossEntropy()
    model.compile(optimizer, loss, jit_compile=jit)


def prepare(model: keras.Model, config) -> keras.Model:
    """What is not saved with a model: to be done after it was built and after it was loaded."""
    language_model = language_model_of(model)
    flash, _ = choose_configured_attention(config)
    suit_layers(language_model, config.arch, flash)
    if config.remat == "blocks":
        rematerialise(language_model)
    return model


def suit_layers(language_model: keras.Model, arch: str, flash: bool | None = None) -> None:
    """Arranges products and attention as this device and its compiler handle them best.

    Args:
        language_model: As built or as loaded; nothing of this is saved with it.
        arch: Its architecture.
        flash: As of `attend`.
    """
    suit_compiler(language_model)
    suit_attention(_attention_layers(language_model, arch), causal=True, flash=flash)


def unprepare(language_model: keras.Model, arch: str) -> None:
    """Undoes `prepare`, before the backbone is put into another model."""
    undo_rematerialise(language_model)
    restore_attention(_attention_layers(language_model, arch))
    on_all_axes(language_model)


def _attention_layers(language_model, arch):
    backbone = language_model.get_layer("next_token").backbone
    return ARCHITECTURES[arch].attention_layers(backbone)


def language_model_of(model: keras.Model) -> keras.Model:
    """The model from tokens to logits, of a model that trains it."""
    return model.language_model if isinstance(model, BlockedTraining) else model
