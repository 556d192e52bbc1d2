"""`--dry-run`: what training a classifier needs, here or on accelerators that are not here."""

import dataclasses

import keras
import numpy as np
from rich.console import Console

from recipes.common.command_line.errors import InputError
from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.results.tables import print_table
from recipes.compilers.compiled import compile_for
from recipes.compilers.deferred import deferred
from recipes.compilers.report import figures, print_report
from recipes.compilers.step import flops_before_optimisation, lower_step
from recipes.compilers.targets import Target
from recipes.vision.config import VisionConfig, resolve
from recipes.vision.cost import Cost, training_cost
from recipes.vision.data import ImageData, Split
from recipes.vision.model import build_classifier, parameter_count
from recipes.vision.recipe import choose_attention, compile_for_training, prepare

# Training images, their shape and the number of classes, as published; no file is read.
_SHAPES = {
    "digits": (1437, (8, 8, 1), 10),
    "fashion-mnist": (60_000, (28, 28, 1), 10),
    "cifar10": (50_000, (32, 32, 3), 10),
    "cifar100": (50_000, (32, 32, 3), 100),
    "imagenet32": (1_281_167, (32, 32, 3), 1000),
}


def data_without_pixels(name: str) -> ImageData:
    """A data set of the right sizes that takes no memory and was read from nowhere.

    Example:

    >>> data = data_without_pixels("cifar100")
    >>> data.shape, len(data.training), len(data.classes)
    ((32, 32, 3), 50000, 100)
    """
    if name not in _SHAPES:
        raise InputError(
            f"A dry run reads no data and knows the sizes of {', '.join(_SHAPES)}. "
            f"Received: data={name}"
        )
    count, shape, classes = _SHAPES[name]
    images = np.broadcast_to(np.uint8(0), (count, *shape))
    split = Split(images, np.broadcast_to(np.int64(0), (count,)))
    zeros = np.zeros(shape[-1], "float32")
    return ImageData(split, split, tuple(map(str, range(classes))), name, zeros, zeros)


def dry_run(config: VisionConfig, console: Console, devices: Devices = ONE_DEVICE) -> dict:
    """Builds and compiles the training step of a configuration and prints what it needs.

    Args:
        config: As given; the defaults are filled in here.
        console: Where to print.
        devices: What a run would train on, where no target is given.

    Returns:
        The figures, in bytes and operations of one device.
    """
    if config.initial_weights:
        raise InputError(
            "A dry run reads no weights; leave them out. "
            f"Received: initial_weights={config.initial_weights}"
        )
    data = data_without_pixels(config.data)
    config = resolve(config, data)
    classes, batch = len(data.classes), config.batch_size
    shapes = (((batch, *data.shape), "float32"), ((batch, classes), "float32"))
    kept = {}

    def build(placement=None):
        replicas = placement.plan.replicas if placement else 1
        if batch % replicas:
            raise InputError(
                f"`batch_size` must be a multiple of the {replicas} replicas that share it. "
                f"Received: batch_size={batch}"
            )
        if said := choose_attention(config.shape, data.shape):
            console.print(said, highlight=False, soft_wrap=True)
        model = deferred(
            lambda: build_classifier(
                config.shape, classes, data.shape, config.library, config.stochastic_depth
            )
        )
        prepare(model, config.shape, data.shape)
        kept["model"] = compile_for_training(model, config)
        return model

    def cost(images: int, fused: bool = False, tpu: bool = False) -> Cost:
        return training_cost(
            kept["model"],
            config.shape,
            images,
            averages=(1 if config.optimizer == "sgd" else 2) + bool(config.ema),
            accumulate=config.gradient_accumulation_steps,
            mixed=config.precision != "float32",
            fused_attention=fused,
            products_make_inputs=tpu,
        )

    title = (
        f"{config.library} {config.model}, {config.precision}, {config.optimizer}, {config.data}; "
        f"micro-batch of {batch} images, {config.gradient_accumulation_steps} of them an update"
    )
    try:
        if not config.target:
            return _here(config, data, build, shapes, cost, title, console, devices)
        compiled = compile_for(
            Target.parse(config.target),
            build,
            shapes,
            distribute=config.distribute,
            model_shards=config.model_shards,
            accumulate=config.gradient_accumulation_steps,
        )
        closed = cost(
            batch // compiled.placement.plan.replicas,
            compiled.attention != "plain",
            compiled.target.chip.platform == "tpu",
        )
        record = figures(compiled, batch, "images", closed.memory, closed.flops)
        print_report(record, "images", f"{title}; {compiled.placement.plan}", console)
        return {"model": config.model, "precision": config.precision} | record
    finally:
        # Weights without values would be given some by whatever Keras does next.
        kept.clear()
        keras.utils.clear_session()


def _here(config, data, build, shapes, cost, title, console, devices) -> dict:
    """The step on this machine: compiled where that is JAX on one device."""
    model, closed = build(), cost(config.batch_size)
    parameters = parameter_count(config.shape, len(data.classes), data.shape, config.library)
    found = {"parameters": model.count_params(), "flops": None, "state": None, "during": None}
    if keras.backend.backend() == "jax" and devices.kind == "none":
        lowered = lower_step(model, shapes)
        memory = lowered.compile().memory_analysis()
        found |= {
            "flops": flops_before_optimisation(lowered),
            "state": memory.argument_size_in_bytes,
            "during": memory.temp_size_in_bytes,
        }
    expected = {"parameters": parameters, **dataclasses.asdict(closed)}
    words = {
        "parameters": "parameters", "flops": "FLOPs of a micro-batch",
        "state": "bytes, state", "during": "bytes, during a step",
    }  # fmt: skip
    rows = [
        {
            "": words[key],
            "closed form": f"{expected[key]:,.0f}",
            "as built here": "-" if found[key] is None else f"{found[key]:,.0f}",
        }
        for key in words
    ]
    print_table(rows, console, title=title)
    return {"closed_form": expected, "here": found}
