"""The GPT recipe's options, and what each size means for those left open."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import option
from recipes.common.command_line.settings import Training
from recipes.gpt.architectures import ARCHITECTURES, describe_architectures
from recipes.gpt.model import SIZES, parameter_count
from recipes.gpt.scale import Scale
from recipes.text.sources import STREAM
from recipes.text.tokens import Corpus, brings_vocabulary

# What a size means besides the model's shape. The papers: batch 256 x 1024 tokens, 1.2 billion
# tokens for 70M and 3.2 billion for 160M. Their budget for 410M is not known: 20 tokens per
# parameter, the ratio of the 160M run.
_PAPER = {
    "vocabulary": 50280, "context": 1024, "batch_size": 8, "gradient_accumulation_steps": 32,
    "loss_block": 2048,
}  # fmt: skip
_SMALL = {
    "vocabulary": 2048, "context": 128, "batch_size": 16, "gradient_accumulation_steps": 1,
    "steps": 300, "loss_block": 0,
}  # fmt: skip
DEFAULTS = {
    "demo": _SMALL,
    "3m": _SMALL,
    "10m": _SMALL,
    "70m": {**_PAPER, "steps": 4578},
    "160m": {**_PAPER, "steps": 12207},
    "410m": {**_PAPER, "steps": 31280},
}  # fmt: skip


def defaults_of(size: str) -> dict[str, int]:
    """What a size of `SIZES` means for options that are left open.

    One that has no entry in `DEFAULTS` is trained as the papers' models, on 20 tokens for each
    parameter, so that a new size is a line in `SIZES` alone.

    Example:

    >>> defaults_of("demo")["steps"]
    300
    """
    if size in DEFAULTS:
        return DEFAULTS[size]
    update = _PAPER["batch_size"] * _PAPER["gradient_accumulation_steps"] * _PAPER["context"]
    parameters = parameter_count("llama", SIZES[size], _PAPER["vocabulary"], _PAPER["context"])
    return {**_PAPER, "steps": max(1, round(20 * parameters / update))}


@dataclasses.dataclass
class GPTConfig(Scale, Training):
    """GPT: model, data and training."""

    arch: Literal[tuple(ARCHITECTURES)] = option("gpt2", describe_architectures())
    size: Literal[tuple(SIZES)] = option(
        "demo",
        "demo: 4 layers of width 128, for two CPU cores; 3m and 10m: millions of weights,"
        " for the CPU as well; 70m, 160m, 410m: the paper's; 1.3b: 24 layers of width 2048",
    )
    vocabulary: int | None = option(
        None,
        "tokens of the tokenizer and rows of the embedding [default: demo 2048, else 50280]",
        low=2,
        high=2**22,
    )
    context: int | None = option(
        None, "tokens in a window [default: demo 128, else 1024]", low=2, high=2**20
    )
    dropout: float = option(
        0.0, "rate of dropout; 0 because text is seen about once", low=0, below=1
    )
    data: tuple[str, ...] = option(
        (),
        "text files, folders, separated by commas; or one token file (.bin, .u16, .u32, .npy), or"
        " one folder that recipes.tokenize wrote"
        " [default: the Python standard library's source]",
        kind="path",
    )
    token_dtype: Literal["uint16", "uint32"] = option("uint16", "of a .bin token file")
    validation_share: float = option(0.05, "share of the documents held out", above=0, below=1)
    eval_tokens: int = option(
        32768, "held-out tokens used at each evaluation, spread evenly", low=1, high=10**12
    )
    sample_tokens: int = option(
        96, "tokens in each sample of generated text; 0 for none", low=0, high=2**16
    )
    cache: str | None = option(
        None,
        "folder for tokenizers and tokens [default: the user's cache folder]",
        kind="folder",
    )

    @property
    def paths(self) -> tuple[str, ...]:
        """`data` with absolute paths, so that a resumed run finds it from any folder."""
        return tuple(
            path if path.startswith(STREAM) else str(Path(path).expanduser().resolve())
            for path in self.data
        )

    @property
    def defaults(self) -> dict[str, int]:
        """What the size means for options that are left open."""
        return defaults_of(self.size)


def resolve(config: GPTConfig, corpus: Corpus) -> GPTConfig:
    """The configuration with its defaults filled in.

    Args:
        config: As given.
        corpus: The data that it names; see `recipes.gpt.data.load_data`.

    Raises:
        InputError: If the data has more tokens than the model.
    """
    vocabulary = config.vocabulary or config.defaults["vocabulary"]
    if config.vocabulary is None and brings_vocabulary(config.paths):
        vocabulary = max(vocabulary, corpus.vocabulary_size)
    if corpus.vocabulary_size > vocabulary:
        raise InputError(
            f"The data has {corpus.vocabulary_size} different tokens, more than the model. "
            f"Received: vocabulary={vocabulary}, data={','.join(config.paths)}"
        )
    context = config.context or config.defaults["context"]
    config = dataclasses.replace(config, vocabulary=vocabulary, context=context, data=config.paths)
    windows = (len(corpus.training) - 1) // context
    return config.resolved(windows, config.defaults, initial_loss=math.log(vocabulary))


def resolve_without_data(config: GPTConfig) -> GPTConfig:
    """As `resolve`, for a dry run, which reads no data.

    Raises:
        InputError: If the length of the run depends on the data.
    """
    if config.epochs is not None:
        raise InputError(
            "A dry run reads no data, so it cannot tell how long an epoch is; give --steps. "
            f"Received: epochs={config.epochs}"
        )
    filled = {k: v for k, v in config.defaults.items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **filled)
    if config.schedule == "h0h1":
        config.C = config.C or math.log(config.vocabulary) / 2
    return config
