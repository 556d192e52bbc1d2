"""`--dry-run`: what a run would need and cost, before anything is spent on it."""

import resource
import sys
import time

import keras
from rich.console import Console

from recipes.common.distribution.devices import ONE_DEVICE, Devices
from recipes.common.results.tables import print_table
from recipes.common.training.attention import flash_available, on_tpu
from recipes.common.training.optimizers import build_adamw, jit_compile
from recipes.common.training.products import compiled_for_cpu
from recipes.compilers.deferred import deferred
from recipes.gpt._xla import compile_step, count_flops
from recipes.gpt.cost import (
    HARDWARE,
    Flops,
    Memory,
    tokens_per_second,
    training_flops,
    training_memory,
)
from recipes.gpt.losses import BlockedTraining
from recipes.gpt.model import SIZES, parameter_count
from recipes.gpt.scale import UTILISATION, build_model, compile_for_training, head_dim


def _gigabytes(size: float | None) -> str:
    return "-" if size is None else f"{size / 1e9:.3f} GB"


def _millions(flops: float | None) -> str:
    return "-" if flops is None else f"{flops / 1e6:,.1f} M"


def _peak_memory() -> int:
    """Bytes that this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def dry_run(config, console: Console, devices: Devices = ONE_DEVICE) -> dict:
    """Builds and compiles the training step of a configuration and prints what it costs.

    Args:
        config: A `GPTConfig` with `vocabulary`, `context`, `batch_size`,
            `gradient_accumulation_steps`, `steps`, `loss_block` and `C` filled in.
        console: Where to print.
        devices: What the run would train on.

    Returns:
        The figures, in units: FLOPs per token, bytes on one device, seconds.

    Raises:
        ValueError: If the batch cannot be shared out over the devices.
    """
    start = time.perf_counter()
    if config.batch_size % devices.replicas:
        raise ValueError(
            f"`batch_size` must be a multiple of the {devices.replicas} replicas that share it. "
            f"Received: batch_size={config.batch_size}"
        )
    flops, memory = _closed_forms(config, devices)
    model = deferred(lambda: build_model(config))
    compile_for_training(model, build_adamw(config), jit_compile(config.jit, devices))
    parameters = model.count_params()
    local = config.batch_size // devices.replicas
    # One device's share of the batch; a model that is cut over devices, and TensorFlow's
    # strategies, are left to the closed forms.
    compiled = devices.model_shards == 1 and devices.strategy is None
    counts, counted = None, None
    if compiled:
        counts = compile_step(model, local, config.context)
        counted = counts.flops
        if isinstance(model, BlockedTraining) and counted is not None:
            # XLA counts the body of a loop once, so the blocks are counted as a single one.
            model.positions = config.context
            counted = count_flops(model, local, config.context)
        counted = counted and counted / (local * config.context)
    seconds = time.perf_counter() - start

    tokens = config.steps * config.batch_size * config.gradient_accumulation_steps * config.context
    _print_model(config, devices, parameters, flops, memory, counts, counted, console)
    rows = _print_time(config, devices, flops, tokens, console)
    _print_how(config, local, counts, counted, seconds, console)
    # Weights without values would be given some by whatever Keras does next.
    del model
    keras.utils.clear_session()
    return {
        "parameters": parameters,
        "flops_per_token": flops.total,
        "xla_flops_per_token": counted,
        "memory": memory.total,
        "xla_state": counts and counts.state_bytes,
        "xla_temporary": counts and counts.temporary_bytes,
        "tokens": tokens,
        "hardware": rows,
        "seconds": seconds,
    }


def _closed_forms(config, devices) -> tuple[Flops, Memory]:
    shape = (config.arch, SIZES[config.size], config.vocabulary, config.context)
    rematerialised = config.remat == "blocks"
    mixed = config.precision != "float32"
    flash = config.attention != "plain" and not flash_available(
        keras.config.dtype_policy().compute_dtype, config.context, head_dim(config.size)
    )
    flops = training_flops(*shape, rematerialised, bool(config.loss_block))
    memory = training_memory(
        *shape,
        config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        mixed=mixed,
        rematerialised=rematerialised,
        loss_block=config.loss_block,
        flash=flash,
        replicas=devices.replicas,
        model_shards=devices.model_shards,
        tpu=on_tpu(),
    )
    return flops, memory


def _print_how(config, local, counts, counted, seconds, console):
    if counts is None:
        said = "Nothing was compiled: only the step of a single device is"
    elif keras.backend.backend() == "torch":
        said = "Built; PyTorch runs the step without compiling it"
    else:
        said = f"Built and compiled the step of {local} x {config.context} tokens for this machine"
    console.print(
        f"{said}, in {seconds:.0f} s, with {_peak_memory() / 1e9:.1f} GB of this machine's memory."
        + (
            ""
            if counted
            else " XLA's count of operations is available on one device with KERAS_BACKEND=jax; "
            "TensorFlow and PyTorch give no count."
        ),
        highlight=False,
        soft_wrap=True,
    )
    if counts and counts.temporary_bytes and config.remat == "blocks" and compiled_for_cpu():
        console.print(
            "XLA for CPUs merges what is recomputed with what was computed first, so its memory "
            "during a step is that without --remat; on GPU and TPU it keeps the two apart.",
            highlight=False,
            soft_wrap=True,
        )


def _print_model(config, devices, parameters, flops, memory, counts, counted, console):
    state, temporary = (counts.state_bytes, counts.temporary_bytes) if counts else (None, None)
    shape = (config.arch, SIZES[config.size], config.vocabulary, config.context)
    expected = parameter_count(*shape)
    rows = [
        ("parameters", f"{expected:,}", f"{parameters:,}"),
        ("FLOPs per token", _millions(flops.total), _millions(counted)),
        ("    forward", _millions(flops.forward), "-"),
        ("    backward", _millions(flops.backward), "-"),
        ("    recomputed", _millions(flops.recomputed), "-"),
        ("memory per device, state", _gigabytes(memory.state), _gigabytes(state)),
        ("    weights, float32", _gigabytes(memory.weights), "-"),
        ("    AdamW's averages", _gigabytes(memory.optimizer), "-"),
        ("    sum of gradients over micro-batches", _gigabytes(memory.accumulation), "-"),
        ("memory per device, during a step", _gigabytes(memory.during), _gigabytes(temporary)),
        ("    at first: activations", _gigabytes(memory.activations), "-"),
        ("    at first: logits and their gradient", _gigabytes(memory.logits), "-"),
        ("    at first: gradient of the head", _gigabytes(memory.head), "-"),
        ("    or at last: gradients", _gigabytes(memory.gradients), "-"),
        ("    or new weights and averages", _gigabytes(memory.update), "-"),
    ]
    backend = keras.backend.backend()
    print_table(
        [dict(zip(("", "closed form", "as built here"), row, strict=True)) for row in rows],
        console,
        title=f"{config.arch} {config.size}, {config.precision}, {backend}, {devices}; micro-batch "
        f"{config.batch_size} x {config.context}, "
        f"{config.gradient_accumulation_steps} of them an update",
    )


def _print_time(config, devices, flops, tokens, console):
    utilisation = config.utilisation or UTILISATION
    number = devices.replicas * devices.model_shards
    rows = []
    for name in [config.hardware] if config.hardware else HARDWARE:
        speed = tokens_per_second(flops, HARDWARE[name], utilisation)
        device_hours = tokens / speed / 3600
        row = {
            "hardware": name,
            "peak TFLOP/s": f"{HARDWARE[name] / 1e12:.0f}",
            "tokens/s per device": f"{speed:,.0f}",
            "device-hours": f"{device_hours:,.2f}",
            f"hours on {number}": f"{device_hours / number:,.2f}",
        }
        if config.price is not None:
            row["price"] = f"{device_hours * config.price:,.2f}"
        rows.append(row)
    print_table(
        rows,
        console,
        title=f"{tokens:,} tokens ({config.steps:,} updates), if {utilisation:.0%} of the bfloat16 "
        "peak is reached",
    )
    return rows
