"""Trains an image classifier: `python -m recipes.vision`.

With no options: a ResNet-18 on scikit-learn's digits, with the loss-adaptive rate. `--quick` ends
in a few minutes on two CPU cores. `--model resnet50 --data imagenet32` and `--model vit-tiny` are
the (H0, H1) paper's.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from recipes.common.checkpoints.snapshot import load_checkpoint
from recipes.common.distribution import distribute
from recipes.common.recipe import Recipe
from recipes.common.results.run_folder import RunFolder
from recipes.common.training.attention import switch_off_where_wrong
from recipes.common.training.loop import Task, evaluation_batch, run_training
from recipes.common.training.optimizers import build_adamw, build_sgd, jit_compile
from recipes.vision.batches import ImageBatches, validation_arrays
from recipes.vision.config import VisionConfig, resolve
from recipes.vision.data import ImageArray, ImageData, load_images
from recipes.vision.data.folder import Decoded
from recipes.vision.model import ViT, build_classifier, parameter_count

# Images in memory are hashed whole up to this many bytes, which takes a few seconds; ImageNet at
# 32 x 32 has 3.9 GB. Of files that are decoded when they are needed, so many are read.
_WHOLE, _BLOCK, _PIECES = 2**32, 2**24, 4096


def fingerprint(data: ImageData) -> str:
    """A digest of all labels and all images.

    Of more than 4 GiB of images, blocks spread evenly. Of image files that are not kept decoded,
    the names and the sizes of all of them and the content of 4,096, spread evenly.
    """
    key = hashlib.sha256()
    for split in (data.training, data.validation):
        key.update(str(split.images.shape).encode())
        key.update(np.ascontiguousarray(split.labels).tobytes())
        if isinstance(split.images, Decoded):
            _update_by_files(key, split.images.paths)
        else:
            _update_by_images(key, split.images)
    return key.hexdigest()[:20]


def _update_by_images(key, images: ImageArray) -> None:
    row = math.prod(images.shape[1:])
    length = max(1, _BLOCK // row)
    starts = np.arange(0, len(images), length)
    if len(images) * row > _WHOLE:
        # The last block has to be among them.
        count = max(2, _WHOLE // _BLOCK)
        starts = np.linspace(0, len(images) - length, count).astype(int)
    for start in starts:
        block = images[np.arange(start, min(start + length, len(images)))]
        key.update(np.ascontiguousarray(block).tobytes())


def _update_by_files(key, paths: Sequence[Path]) -> None:
    for path in paths:
        # Without the folders above, which may be moved.
        name = os.fsencode(f"{path.parent.name}/{path.name}")
        key.update(name + f":{path.stat().st_size}\n".encode())
    count = min(len(paths), _PIECES)
    for index in np.arange(count) * len(paths) // max(count, 1):
        key.update(paths[index].read_bytes())


def build_model(config: VisionConfig, data: ImageData) -> keras.Model:
    """The compiled model of a resolved configuration."""
    model = build_classifier(
        config.shape, len(data.classes), data.shape, config.library, config.stochastic_depth
    )
    if config.initial_weights:
        load_weights(model, config.initial_weights)
    optimizer = (
        build_sgd(config, config.momentum, config.ema)
        if config.optimizer == "sgd"
        else build_adamw(config, config.ema)
    )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit_compile(config.jit),
    )
    return model


def choose_attention(shape, image_shape: tuple[int, int, int], console: Console) -> None:
    """Plain attention for a ViT where the fused one is wrong; before it is built or loaded."""
    # Another model of this process may have switched it off.
    keras.config.enable_flash_attention()
    if isinstance(shape, ViT):
        patches = (image_shape[0] // shape.patch) * (image_shape[1] // shape.patch)
        said = switch_off_where_wrong(patches, shape.width // shape.heads, causal=False)
        if said:
            console.print(said, highlight=False, soft_wrap=True)


def load_weights(model: keras.Model, path: str) -> None:
    """Reads a `.weights.h5` file or a `.keras` file of the same model."""
    try:
        model.load_weights(path)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"These are not the weights of this model: {str(error).splitlines()[0]} "
            f"Received: initial_weights={path}"
        ) from None


def train(config: VisionConfig, folder: RunFolder, console: Console) -> dict:
    """Trains one model; see `Recipe` for the contract."""
    data = load_images(config.data, config.data_dir, config.image_size)
    config = resolve(config, data)
    folder.check_data(data.source, fingerprint(data))
    if not folder.config_path.exists():
        folder.write_config(config)
    batches = ImageBatches(
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
    choose_attention(config.shape, data.shape, console)
    checkpoint = folder.latest_checkpoint()
    model = load_checkpoint(checkpoint[0]) if checkpoint else build_model(config, data)
    parameters = parameter_count(config.shape, len(data.classes), data.shape, config.library)
    console.print(
        f"Data: {data.source}; training images augmented by {config.augmentation.description}\n"
        f"Model: {config.library} {config.model}"
        + (f" with patches of {config.patch}" if config.patch else "")
        + f", {parameters:,} parameters, on {keras.backend.backend()}, {config.precision}, "
        f"{distribute.current()}\n"
        f"Run: {config.steps} updates of {config.batch_size * config.accumulate} images "
        f"({config.epochs:.2f} epochs{', --quick' if config.quick else ''}), {config.optimizer}, "
        f"schedule {config.schedule}"
        + (
            f" with C = {config.C:.3g}, f* = {config.f_star:.3g}"
            if config.schedule == "h0h1"
            else ""
        )
        + f", peak {config.peak_lr:g}\n"
        f"A uniform guess has validation loss {math.log(len(data.classes)):.4f}",
        highlight=False,
        soft_wrap=True,
    )
    task = Task(
        batches=lambda start: distribute.current().share(
            batches.starting_at(start), config.batch_size
        ),
        validation=validation,
        unit="images",
        units_per_update=config.batch_size * config.accumulate,
        baselines={"uniform": math.log(len(data.classes))},
        source=data.source,
        metrics=("accuracy",),
        evaluation_batch=evaluation_batch(len(validation[0]), config.batch_size),
        waiting=lambda: batches.waiting.share,
    )
    summary = run_training(model, task, config, folder, console)
    summary_accuracy = summary["final_validation_accuracy"]
    console.print(
        f"Validation accuracy {summary_accuracy:.2%}, loss {summary['final_validation_loss']:.4f}. "
        f"Waiting for data: {batches.waiting.share:.1%} of the time",
        highlight=False,
        soft_wrap=True,
    )
    return summary


RECIPE = Recipe(
    "vision",
    VisionConfig,
    train,
    __doc__,
    # A convolutional network with SGD and a Transformer with AdamW, of a size that a claim about
    # three schedules and three seeds fits into half an hour on two CPU cores.
    compared=("model", ("resnet8", "vit-micro")),
    seeds=(0, 1, 2),
)
