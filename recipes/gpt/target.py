"""`--dry-run --target`: a language model's training step by the compiler of the accelerators."""

from rich.console import Console

from recipes.common.command_line.errors import InputError
from recipes.common.training.optimizers import build_adamw, jit_compile
from recipes.compilers.compiled import Compiled, compile_for
from recipes.compilers.deferred import deferred
from recipes.compilers.report import figures, print_report
from recipes.compilers.targets import Target
from recipes.gpt.cost import training_flops, training_memory
from recipes.gpt.layout import LAYOUT
from recipes.gpt.model import SIZES
from recipes.gpt.scale import build_model, compile_for_training


def compile_step(config) -> Compiled:
    """One micro-batch of a resolved configuration, compiled for its target.

    Raises:
        InputError: If the target cannot be compiled for, or the batch cannot be shared out.
    """

    def build(placement):
        replicas = placement.plan.replicas
        if config.batch_size % replicas:
            raise InputError(
                f"`batch_size` must be a multiple of the {replicas} replicas that share it. "
                f"Received: batch_size={config.batch_size}"
            )
        model = deferred(lambda: build_model(config))
        compile_for_training(model, build_adamw(config), jit_compile(config.jit))
        return model

    tokens = (config.batch_size, config.context), "int32"
    return compile_for(
        Target.parse(config.target),
        build,
        (tokens, tokens),
        distribute=config.distribute,
        model_shards=config.model_shards,
        layout=LAYOUT,
        accumulate=config.gradient_accumulation_steps,
    )


def dry_run_for_target(config, console: Console) -> dict:
    """Compiles the training step for the target and prints what its compiler says.

    Args:
        config: A `GPTConfig` with nothing left open.
        console: Where to print.

    Returns:
        `recipes.compilers.report.figures`.
    """
    compiled = compile_step(config)
    devices = compiled.placement.plan
    shape = (config.arch, SIZES[config.size], config.vocabulary, config.context)
    memory = training_memory(
        *shape,
        config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        mixed=config.precision != "float32",
        rematerialised=config.remat == "blocks",
        loss_block=config.loss_block,
        flash=compiled.attention != "plain",
        replicas=devices.replicas,
        model_shards=devices.model_shards,
        tpu=compiled.target.chip.platform == "tpu",
    )
    flops = training_flops(*shape, config.remat == "blocks", bool(config.loss_block))
    tokens = config.batch_size * config.context
    record = figures(
        compiled,
        tokens,
        "tokens",
        memory.total,
        flops.total * tokens / (devices.replicas * devices.model_shards),
    )
    title = (
        f"{config.arch} {config.size}, {config.precision}, {devices}; micro-batch "
        f"{config.batch_size} x {config.context}, "
        f"{config.gradient_accumulation_steps} of them an update"
    )
    print_report(record, "tokens", title, console)
    return {"model": f"{config.arch} {config.size}", "precision": config.precision} | record
