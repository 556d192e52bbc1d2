"""Trains a GPT language model on real text: `python -m recipes.gpt`.

With no options: a small GPT-2 on the Python standard library, with the loss-adaptive rate, in a
few minutes on two CPU cores. `--size 70m --arch llama` is the papers' model.
"""

import math
from pathlib import Path

import keras
from rich.console import Console

from recipes.common.distribution.devices import Devices
from recipes.common.files.writing import atomic, replace_folder
from recipes.common.recipe import Recipe
from recipes.common.training.experiment import Experiment, save_model
from recipes.common.training.task import Task
from recipes.gpt.config import GPTConfig, resolve, resolve_without_data
from recipes.gpt.data import fingerprint, load_data
from recipes.gpt.dry_run import dry_run
from recipes.gpt.export import export_task
from recipes.gpt.generation import sample
from recipes.gpt.layout import LAYOUT
from recipes.gpt.model import SIZES, parameter_count
from recipes.gpt.scale import (
    build_training_model,
    choose_configured_attention,
    language_model_of,
    prepare,
    unprepare,
)
from recipes.gpt.target import dry_run_for_target
from recipes.text.batches import TokenBatches, validation_windows
from recipes.text.tokens import Corpus
from recipes.text.unigram import unigram_loss


class GPTExperiment(Experiment):
    """One language model."""

    config: GPTConfig
    data: Corpus

    def load_data(self) -> Corpus:
        return load_data(self.config)

    def resolve(self) -> GPTConfig:
        return resolve(self.config, self.data)

    def fingerprint(self) -> str:
        return fingerprint(self.data)

    def task(self) -> Task:
        config, corpus, devices = self.config, self.data, self.devices
        batches = TokenBatches(corpus.training, config.context, config.batch_size, config.seed)
        validation = validation_windows(
            corpus.validation, config.context, config.batch_size, config.eval_tokens
        )
        self.unigram = unigram_loss(corpus.training, validation[1], config.vocabulary)
        return Task(
            batches=lambda start: batches.starting_at(start, devices.part, devices.parts),
            validation=validation,
            unit="tokens",
            units_per_update=config.batch_size
            * config.gradient_accumulation_steps
            * config.context,
            baselines={"unigram": self.unigram},
            source=corpus.source,
            export=self.export,
        )

    def before_model(self) -> None:
        _, said = choose_configured_attention(self.config)
        if said:
            self.say(said)

    def build_model(self) -> keras.Model:
        return build_training_model(self.config, self.devices)

    def load_model(self, checkpoint: Path) -> keras.Model:
        return prepare(super().load_model(checkpoint), self.config)

    def export(self, model: keras.Model) -> None:
        """Writes `model.keras` and `preset/`, both with the tokenizer."""
        language_model = language_model_of(model)
        unprepare(language_model, self.config.arch)
        task = export_task(
            self.devices.unshard(language_model),
            self.config.arch,
            self.data.tokenizer,
            self.config.context,
        )
        save_model(task, self.folder.path / "model.keras")
        replace_folder(self.folder.path / "preset", task.save_to_preset)
        if task.preprocessor is None and self.data.tokenizer is not None:
            self.say(
                "KerasHub has no tokenizer of this kind: model.keras and preset/ take token ids, "
                "not text"
            )

    def introduction(self) -> str:
        config = self.config
        size = SIZES[config.size]
        parameters = parameter_count(config.arch, size, config.vocabulary, config.context)
        update = (
            f"{config.batch_size * config.gradient_accumulation_steps} x {config.context} tokens"
        )
        return (
            f"Data: {self.data.source}\n"
            f"{self.describe_model(f'{config.arch} {config.size}', parameters)}\n"
            f"{self.describe_run(update)}\n"
            f"A uniform guess has validation loss {math.log(config.vocabulary):.4f}, "
            f"the unigram model {self.unigram:.4f}"
        )

    def report(self, model: keras.Model, summary: dict) -> None:
        config = self.config
        self.say(
            f"Validation loss {summary['final_validation_loss']:.4f} (perplexity "
            f"{summary['perplexity']:.1f}); unigram {self.unigram:.4f}"
        )
        if config.sample_tokens and summary["finished"] and not summary["diverged"]:
            text = sample(
                language_model_of(model),
                self.data,
                config.context,
                config.sample_tokens,
                config.seed,
            )
            with atomic(self.folder.path / "sample.txt") as partial:
                partial.write_text(text, "utf-8")


def preview(config: GPTConfig, console: Console, devices: Devices) -> dict:
    """The dry run: no data, no folder."""
    config = resolve_without_data(config)
    if config.target:
        return dry_run_for_target(config, console)
    return dry_run(config, console, devices)


RECIPE = Recipe(
    "gpt",
    GPTConfig,
    GPTExperiment,
    __doc__,
    not_compared=("dry_run", "target", "hardware", "utilisation", "price"),
    layout=LAYOUT,
    preview=preview,
)
