"""Trains a GPT language model on real text: `python -m recipes.gpt`.

With no options: a small GPT-2 on the Python standard library, with the loss-adaptive rate, in a
few minutes on two CPU cores. `--size 70m --arch llama` is the papers' model.
"""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from rich.console import Console

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.command_line.options import option
from recipes.common.command_line.settings import Training
from recipes.common.distribution import distribute
from recipes.common.files.fingerprint import update as update_fingerprint
from recipes.common.files.writing import atomic
from recipes.common.recipe import Recipe
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.loop import Task, run_training
from recipes.gpt.dry_run import dry_run
from recipes.gpt.generation import generate
from recipes.gpt.layout import LAYOUT
from recipes.gpt.model import SIZES, parameter_count
from recipes.gpt.scale import (
    Scale,
    build_training_model,
    choose_configured_attention,
    exported,
    language_model_of,
    prepare,
)
from recipes.text.batches import TokenBatches, validation_windows
from recipes.text.documents import SEPARATOR
from recipes.text.sources import STREAM
from recipes.text.tokens import Corpus, brings_vocabulary, load_corpus
from recipes.text.unigram import unigram_loss

# What a size means besides the model's shape. The papers: batch 256 x 1024 tokens, 1.2 billion
# tokens for 70M and 3.2 billion for 160M. Their budget for 410M is not known: 20 tokens per
# parameter, the ratio of the 160M run.
_PAPER = {
    "vocabulary": 50280, "context": 1024, "batch_size": 8, "accumulate": 32, "loss_block": 2048
}  # fmt: skip
DEFAULTS = {
    "demo": {
        "vocabulary": 2048, "context": 128, "batch_size": 16, "accumulate": 1, "steps": 300,
        "loss_block": 0,
    },
    "70m": {**_PAPER, "steps": 4578},
    "160m": {**_PAPER, "steps": 12207},
    "410m": {**_PAPER, "steps": 31280},
}  # fmt: skip


@dataclasses.dataclass
class GPTConfig(Scale, Training):
    """GPT: model, data and training."""

    arch: Literal["gpt2", "llama"] = option(
        "gpt2", "gpt2: KerasHub's GPT-2; llama: RoPE, RMSNorm, SwiGLU, untied, as in the paper"
    )
    size: Literal[tuple(SIZES)] = option(
        "demo", "demo: 4 layers of width 128, for two CPU cores; 70m, 160m, 410m: the paper's"
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


def fingerprint(corpus: Corpus) -> str:
    """A digest of the tokens; of blocks of them where they are many."""
    key = hashlib.sha256()
    for tokens in (corpus.training, corpus.validation):
        update_fingerprint(key, tokens)
    return key.hexdigest()[:20]


def resolve(config: GPTConfig) -> tuple[GPTConfig, Corpus]:
    """The configuration with its defaults filled in, and the data that they depend on."""
    defaults = DEFAULTS[config.size]
    vocabulary = config.vocabulary or defaults["vocabulary"]
    # Absolute, so that a resumed run finds its data from any folder.
    data = tuple(
        path if path.startswith(STREAM) else str(Path(path).expanduser().resolve())
        for path in config.data
    )
    corpus = load_corpus(
        data, vocabulary, config.validation_share, config.cache, config.token_dtype
    )
    if config.vocabulary is None and brings_vocabulary(data):
        vocabulary = max(vocabulary, corpus.vocabulary_size)
    if corpus.vocabulary_size > vocabulary:
        raise ValueError(
            f"The data has {corpus.vocabulary_size} different tokens, more than the model. "
            f"Received: vocabulary={vocabulary}, data={','.join(data)}"
        )
    context = config.context or defaults["context"]
    config = dataclasses.replace(config, vocabulary=vocabulary, context=context, data=data)
    windows = (len(corpus.training) - 1) // context
    return config.resolved(windows, defaults, initial_loss=math.log(vocabulary)), corpus


def preview(config: GPTConfig, console: Console) -> dict:
    """The dry run: no data, no folder."""
    if config.epochs is not None:
        raise ValueError(
            "A dry run reads no data, so it cannot tell how long an epoch is; give --steps. "
            f"Received: epochs={config.epochs}"
        )
    defaults = DEFAULTS[config.size]
    filled = {k: v for k, v in defaults.items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **filled)
    config.C = config.C or math.log(config.vocabulary) / 2
    return dry_run(config, console)


def train(config: GPTConfig, folder: RunFolder, console: Console) -> dict:
    """Trains one model; see `Recipe` for the contract."""
    config, corpus = resolve(config)
    folder.check_data(corpus.source, fingerprint(corpus))
    if not folder.config_path.exists():
        folder.write_config(config)
    batches = TokenBatches(corpus.training, config.context, config.batch_size, config.seed)
    validation = validation_windows(
        corpus.validation, config.context, config.batch_size, config.eval_tokens
    )
    unigram = unigram_loss(corpus.training, validation[1], config.vocabulary)
    size = SIZES[config.size]
    checkpoint = folder.latest_checkpoint()
    if checkpoint:
        choose_configured_attention(config)
        model = prepare(load_checkpoint(checkpoint[0]), config)
    else:
        model = build_training_model(config)
    parameters = parameter_count(config.arch, size, config.vocabulary, config.context)
    console.print(
        f"Data: {corpus.source}\n"
        f"Model: {config.arch} {config.size}, {parameters:,} parameters, "
        f"on {keras.backend.backend()}, {config.precision}, {distribute.current()}\n"
        f"Run: {config.steps} updates of {config.batch_size * config.accumulate} x "
        f"{config.context} tokens ({config.epochs:.2f} epochs), schedule {config.schedule}"
        + (f" with C = {config.C:.3g}" if config.schedule == "h0h1" else "")
        + f", peak {config.peak_lr:g}\n"
        f"A uniform guess has validation loss {math.log(config.vocabulary):.4f}, "
        f"the unigram model {unigram:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    devices = distribute.current()
    task = Task(
        batches=lambda start: batches.starting_at(start, devices.part, devices.parts),
        validation=validation,
        unit="tokens",
        units_per_update=config.batch_size * config.accumulate * config.context,
        baselines={"unigram": unigram},
        source=corpus.source,
        exported=exported,
    )
    summary = run_training(model, task, config, folder, console)
    console.print(
        f"Validation loss {summary['final_validation_loss']:.4f} (perplexity "
        f"{summary['perplexity']:.1f}); unigram {unigram:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    if config.sample_tokens and summary["finished"] and not summary["diverged"]:
        with atomic(folder.path / "sample.txt") as partial:
            partial.write_text(sample(language_model_of(model), corpus, config), "utf-8")
    return summary


_PROMPTS = ("def ", "import os\n", "class ", "The ")


def sample(model: keras.Model, corpus: Corpus, config: GPTConfig) -> str:
    """Text that the model continues from a few beginnings; ids where there is no tokenizer."""
    if corpus.tokenizer is None:
        ids = generate(model, corpus.validation[None, :1], config.context, config.sample_tokens)
        return " ".join(map(str, ids[0])) + "\n"
    separator = corpus.tokenizer.token_to_id(SEPARATOR)
    prompts = [[separator or 0, *corpus.tokenizer.encode(text).ids] for text in _PROMPTS]
    parts = []
    for index, prompt in enumerate(prompts):
        ids = generate(
            model,
            np.array([prompt[-config.context + 1 :]]),
            config.context,
            config.sample_tokens,
            seed=config.seed + index,
        )
        parts.append(corpus.tokenizer.decode(ids[0].tolist()).strip("\n"))
    rule = "\n" + "-" * 72 + "\n"
    return rule.join(parts) + "\n"


RECIPE = Recipe("gpt", GPTConfig, train, __doc__, layout=LAYOUT, preview=preview)
