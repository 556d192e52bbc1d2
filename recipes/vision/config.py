"""The vision recipe's options, and what each model and data set means for those left open."""

import dataclasses
import math
from typing import Literal

from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import option
from recipes.common.command_line.settings import LARGEST_LOSS, LARGEST_RATE, Training
from recipes.compilers.options import ForTarget
from recipes.vision.augment import Augmentation
from recipes.vision.data import DATASETS, ImageData, find_dataset
from recipes.vision.families import Shape
from recipes.vision.model import LIBRARIES, MODELS, entropy_of_smoothed

# By optimizer. Keras' weight decay is decoupled: 5e-3 times the rate is what the ResNets' customary
# 5e-4, added to the gradient, comes to under a momentum of 0.9. With SGD clipping is off, as in the
# ResNet paper, and the peak rate is for 256 images an update, in proportion for others.
_OPTIMIZERS = {
    "sgd": {"peak_lr": 0.1, "weight_decay": 5e-3, "global_clipnorm": 0.0},
    "adamw": {"peak_lr": 1e-3, "weight_decay": 0.05, "global_clipnorm": 1.0},
}
# With fewer passes than these nothing is overfitted, and augmentation would only slow down.
_AUGMENTED_FROM = 20.0


@dataclasses.dataclass
class VisionConfig(ForTarget, Training):
    """Vision: model, data and training."""

    peak_lr: float | None = option(
        None,
        "the peak learning rate [default: 1e-3 for AdamW, 0.1 for SGD with 256 images an update"
        " and in proportion with others; 2e-3 and 0.4 for vit-micro and resnet8 on Fashion-MNIST]",
        above=0,
        high=LARGEST_RATE,
    )
    f_star: float | None = option(
        None,
        "h0h1, auto: a lower bound on the loss [default: the entropy of the smoothed labels; 0, the"
        " paper's choice, without smoothing]",
        low=-LARGEST_LOSS,
        high=LARGEST_LOSS,
    )
    weight_decay: float | None = option(
        None,
        "decoupled; Keras multiplies it by the rate [default: 0.05 for AdamW; 5e-3 for SGD, as"
        " 5e-4 added to the gradient under momentum 0.9]",
        low=0,
        high=1e6,
    )
    global_clipnorm: float | None = option(
        None,
        "gradients are scaled down to this global norm; 0 switches clipping off [default: 1 for"
        " AdamW, 0 for SGD]",
        low=0,
        high=1e30,
        formerly="clip",
    )
    model: Literal[tuple(MODELS)] = option(
        "resnet18",
        "resnet50 and vit-tiny are the paper's (3x3 stem, no pooling; patch 4, width 192, 12"
        " layers, 3 heads, MLP ratio 3); resnet8 (16, 32, 64 filters) and vit-micro (width 64, 4"
        " layers) are small enough for comparisons on a CPU",
    )
    library: Literal[LIBRARIES] = option(
        "keras_hub", "keras_cv: its ResNetV2 (extra [cv]); it has no ViT of this kind"
    )
    patch: int | None = option(
        None,
        "ViT: side of a patch in pixels [default: 4, as the paper; vit-micro on Fashion-MNIST 7]",
        low=1,
        high=1024,
    )
    data: Literal[DATASETS] = option(
        "digits",
        "digits are part of scikit-learn; for the others, a message says where to get the files",
    )
    data_dir: str | None = option(
        None, "folder of the data's files [default: the usual places]", kind="path"
    )
    image_size: int | None = option(
        None,
        "--data folder: height and width that images are resized to [default: 32]",
        low=1,
        high=4096,
    )
    optimizer: Literal["sgd", "adamw"] | None = option(
        None, "[default: sgd, with momentum, for ResNets; adamw for ViTs]"
    )
    momentum: float = option(0.9, "sgd's", low=0, below=1)
    label_smoothing: float = option(
        0.0,
        "share of each training label that is spread over all classes; evaluation has none",
        low=0,
        below=1,
    )
    stochastic_depth: float = option(
        0.0,
        "rate at which the last block is skipped in training; less for those before it",
        low=0,
        below=1,
    )
    ema: float = option(
        0.0,
        "evaluate and save the weights' moving average, with this momentum per update",
        low=0,
        below=1,
    )
    crop: int | None = option(
        None,
        "largest shift of training images, in pixels [default: by data set, 1 to 4; 0 below 20"
        " epochs]",
        low=0,
        high=1024,
    )
    flip: bool | None = option(
        None,
        "mirror half of the training images [default: by data set, never digits; not below 20"
        " epochs]",
    )
    mixup: float = option(
        0.0,
        "blends pairs of images and their labels, weight from Beta(a, a); 0.2 on ImageNet",
        low=0,
        high=1,
    )
    cutmix: float = option(
        0.0,
        "puts a rectangle of another image in, area from Beta(a, a); its paper has 1",
        low=0,
        high=1,
    )
    rand_augment: float = option(
        0.0,
        "strength of RandAugment, 0 to 1, two operations for each image; 0.9 on ImageNet",
        low=0,
        high=1,
    )
    initial_weights: str | None = option(
        None,
        "start from the weights in this .weights.h5 or .keras file, of the same model",
        kind="path",
    )
    dry_run: bool = option(
        False,
        "build and compile, train nothing, read no data; print parameters, operations and memory",
    )
    workers: int = option(
        2, "threads that prepare batches; 0 prepares them in between", low=0, high=256
    )
    quick: bool = option(
        False,
        "fewer passes over the data: on the digits 6 for ResNets and 12 for ViTs, a few minutes on"
        " two CPU cores; on ImageNet a tenth, elsewhere 1. The model stays the one named",
    )

    @property
    def shape(self) -> Shape:
        """The model's, with the patch of a resolved configuration."""
        return MODELS[self.model].with_patch(self.patch)

    @property
    def augmentation(self) -> Augmentation:
        """What is done to the training images, of a resolved configuration."""
        names = ("crop", "flip", "mixup", "cutmix", "rand_augment")
        return Augmentation(**{name: getattr(self, name) for name in names})


def resolve(config: VisionConfig, data: ImageData) -> VisionConfig:
    """The configuration with its defaults filled in."""
    shape, dataset = MODELS[config.model], find_dataset(config.data)
    optimizer = config.optimizer or shape.optimizer
    _check_effect(config, optimizer)
    classes = len(data.classes)
    floor = entropy_of_smoothed(config.label_smoothing, classes)
    f_star = floor if config.f_star is None else config.f_star
    short = dict(dataset.short_runs.get(config.model, {}))
    peak = short.pop("peak_lr", {}).get(optimizer)
    defaults = {
        **_OPTIMIZERS[optimizer],
        "optimizer": optimizer,
        "patch": shape.patch_size,
        "f_star": f_star,
        "batch_size": dataset.batch_size,
        "gradient_accumulation_steps": 1,
    }
    images = len(data.training)
    update = (config.batch_size or dataset.batch_size) * (config.gradient_accumulation_steps or 1)
    defaults["peak_lr"] = peak or defaults["peak_lr"]
    if optimizer == "sgd":
        defaults["peak_lr"] *= update / 256
    epochs = dataset.quick[shape.long] if config.quick else dataset.epochs
    defaults |= {"steps": max(1, round(epochs * images / update)), **short}
    planned = config.epochs or (config.steps or defaults["steps"]) * update / images
    augmented = planned >= _AUGMENTED_FROM
    defaults |= {
        "crop": dataset.crop if augmented else 0,
        "flip": dataset.flip and augmented,
    }
    # C counts from f_star, as the rule does: half of the first gap.
    return config.resolved(images, defaults, initial_loss=math.log(classes) - f_star)


def _check_effect(config: VisionConfig, optimizer: str) -> None:
    """Refuses options that were given and have no effect."""
    sgd, patches = optimizer == "sgd", MODELS[config.model].patch_size is not None
    effects = {"patch": patches, "momentum": sgd, "beta_1": not sgd, "beta_2": not sgd}
    for name, sound in effects.items():
        default = next(f.default for f in dataclasses.fields(config) if f.name == name)
        value = getattr(config, name)
        if not sound and value != default:
            raise InputError(
                f"`{name}` has no effect on {config.model} with {optimizer}; leave it out. "
                f"Received: {name}={value}"
            )
