"""Trains an image classifier: `python -m recipes.vision`.

With no options: a ResNet-18 on scikit-learn's digits, with the loss-adaptive rate. `--quick` ends
in a few minutes on two CPU cores. `--model resnet50 --data imagenet32` and `--model vit-tiny` are
the (H0, H1) paper's.
"""

import math
from pathlib import Path

import keras
import keras_hub
from rich.console import Console

from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.files.writing import replace_folder
from recipes.common.recipe import Recipe
from recipes.common.training.attention import choose
from recipes.common.training.attention_layers import suit_attention
from recipes.common.training.experiment import Experiment, save_model
from recipes.common.training.optimizers import build_adamw, build_sgd, jit_compile
from recipes.common.training.products import suit_compiler
from recipes.common.training.task import Task, evaluation_batch
from recipes.vision.batches import ImageBatches, validation_arrays
from recipes.vision.config import VisionConfig, resolve
from recipes.vision.data import ImageData, load_images
from recipes.vision.data.fingerprint import fingerprint
from recipes.vision.export import export_task, load_weights
from recipes.vision.model import Shape, build_classifier, parameter_count


def build_model(
    config: VisionConfig, data: ImageData, devices: Devices = ONE_DEVICE
) -> keras.Model:
    """The compiled model of a resolved configuration."""
    model = build_classifier(
        config.shape, len(data.classes), data.shape, config.library, config.stochastic_depth
    )
    if config.initial_weights:
        load_weights(model, config.initial_weights, data)
    prepare(model, config.shape, data.shape)
    return compile_for_training(model, config, devices)


def compile_for_training(
    model: keras.Model, config: VisionConfig, devices: Devices = ONE_DEVICE
) -> keras.Model:
    """The same model with the optimizer of a resolved configuration."""
    optimizer = (
        build_sgd(config, config.momentum, config.ema)
        if config.optimizer == "sgd"
        else build_adamw(config, config.ema)
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile(config.jit, devices),
    )
    return model


def choose_attention(shape: Shape, image_shape: tuple[int, int, int]) -> str | None:
    """Which attention the model takes; before it is built or loaded.

    Returns:
        A sentence to print if fused attention was expected and is not used.
    """
    sizes = shape.attention(image_shape)
    return choose("auto", *sizes, causal=False)[1] if sizes else None


def prepare(model: keras.Model, shape: Shape, image_shape: tuple[int, int, int]) -> keras.Model:
    """What is not saved with a model: to be done after it was built and after it was loaded."""
    suit_compiler(model)
    if sizes := shape.attention(image_shape):
        flash, _ = choose("auto", *sizes, causal=False)
        suit_attention(shape.attention_layers(model), causal=False, flash=flash)
    return model


class VisionExperiment(Experiment):
    """One image classifier."""

    config: VisionConfig
    data: ImageData

    def load_data(self) -> ImageData:
        return load_images(self.config.data, self.config.data_dir, self.config.image_size)

    def resolve(self) -> VisionConfig:
        return resolve(self.config, self.data)

    def fingerprint(self) -> str:
        return fingerprint(self.data)

    def task(self) -> Task:
        config, data = self.config, self.data
        self.batches = ImageBatches(
            data.training,
            classes=len(data.classes),
            batch_size=config.batch_size,
            mean=data.mean,
            std=data.std,
            seed=config.seed,
            augment=config.augmentation,
            label_smoothing=config.label_smoothing,
            workers=config.workers,
        )
        validation = validation_arrays(data, 1)
        return Task(
            batches=lambda start: self.devices.share(
                self.batches.starting_at(start), config.batch_size
            ),
            validation=validation,
            unit="images",
            units_per_update=config.batch_size * config.gradient_accumulation_steps,
            baselines={"uniform": math.log(len(data.classes))},
            source=data.source,
            metrics=("accuracy",),
            evaluation_batch=evaluation_batch(len(validation[0]), config.batch_size),
            export=self.export,
            waiting=lambda: self.batches.waiting.share,
        )

    def before_model(self) -> None:
        if said := choose_attention(self.config.shape, self.data.shape):
            self.say(said)

    def build_model(self) -> keras.Model:
        return build_model(self.config, self.data, self.devices)

    def load_model(self, checkpoint: Path) -> keras.Model:
        model = super().load_model(checkpoint)
        return prepare(model, self.config.shape, self.data.shape)

    def export(self, model: keras.Model) -> None:
        """Writes `model.keras`, and `preset/` of a vision Transformer."""
        task = export_task(self.devices.unshard(model), self.data)
        save_model(task, self.folder.path / "model.keras")
        if isinstance(task, keras_hub.models.ViTImageClassifier):
            replace_folder(self.folder.path / "preset", task.save_to_preset)

    def introduction(self) -> str:
        config, data = self.config, self.data
        parameters = parameter_count(config.shape, len(data.classes), data.shape, config.library)
        patches = f" with patches of {config.patch}" if config.patch else ""
        quick = ", --quick" if config.quick else ""
        return (
            f"Data: {data.source}; training images augmented by "
            f"{config.augmentation.description}\n"
            f"{self.describe_model(f'{config.library} {config.model}{patches}', parameters)}\n"
            + self.describe_run(
                f"{config.batch_size * config.gradient_accumulation_steps} images",
                f"{quick}, {config.optimizer}",
            )
            + f"\nA uniform guess has validation loss {math.log(len(data.classes)):.4f}"
        )

    def report(self, model: keras.Model, summary: dict) -> None:
        self.say(
            f"Validation accuracy {summary['final_validation_accuracy']:.2%}, "
            f"loss {summary['final_validation_loss']:.4f}. "
            f"Waiting for data: {self.batches.waiting.share:.1%} of the time"
        )


def preview(config: VisionConfig, console: Console, devices: Devices) -> dict:
    """The dry run: no data, no folder."""
    from recipes.vision.dry_run import dry_run

    return dry_run(config, console, devices)


RECIPE = Recipe(
    "vision",
    VisionConfig,
    VisionExperiment,
    __doc__,
    # A convolutional network with SGD and a Transformer with AdamW, of a size that a claim about
    # three schedules and three seeds fits into half an hour on two CPU cores.
    compared=("model", ("resnet8", "vit-micro")),
    seeds=(0, 1, 2),
    not_compared=("dry_run", "target"),
    preview=preview,
)
