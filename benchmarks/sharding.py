"""Weights and optimizer state cut over replicas, by the compilers: `python -m benchmarks.sharding`.

The papers' Llama in bfloat16, one window for each device, compiled for many of them on shapes
alone: the model whole on each device (`data`), or cut by `recipes.gpt.layout.SHARDED` (`sharded`).
Of both: memory, and the bytes that a device sends, beside the least that the method has to send.

It adds a row to `results/sharding_jax.json` for each size, target and method, in place of an
earlier one. It needs KERAS_BACKEND=jax and the extras [aot-tpu] and [aot-gpu], no accelerator.
"""

import dataclasses

from benchmarks.common import write_row
from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, option, parse
from recipes.common.results.tables import print_table
from recipes.common.training.optimizers import build_adamw
from recipes.compilers.compiled import Compiled, compile_for
from recipes.compilers.deferred import deferred
from recipes.compilers.targets import Target
from recipes.gpt.config import GPTConfig, resolve_without_data
from recipes.gpt.layout import SHARDED
from recipes.gpt.model import SIZES, parameter_count
from recipes.gpt.scale import build_model, compile_for_training

PROGRAM = "python -m benchmarks.sharding"
METHODS = ("data", "sharded")
_NAME = "sharding"


@dataclasses.dataclass
class Sharding:
    """Sharding: what to compile."""

    sizes: tuple[str, ...] = option(("410m", "1.3b"), f"of {', '.join(SIZES)}")
    targets: tuple[str, ...] = option(("h100:8", "tpu-v5e:4x4"), "for which accelerators")
    methods: tuple[str, ...] = option(METHODS, f"of {', '.join(METHODS)}")

    def __post_init__(self):
        for target in self.targets:
            Target.parse(target)
        for name, known in (("sizes", SIZES), ("methods", METHODS)):
            for value in getattr(self, name):
                if value not in known:
                    raise InputError(f"One of {', '.join(known)}. Received: {name}={value}")


def least_sent(method: str, parameters: int, replicas: int, width: int = 2) -> float:
    """Bytes that each of some replicas sends at least in a step, by rings.

    A sum over all of them sends $2 P (n-1)/n$ numbers from each, a gathering or a sum into shards
    half of that; sharded weights are gathered for the forward and the backward pass.

    Args:
        method: Of `METHODS`.
        parameters: P.
        replicas: n.
        width: Bytes of a number. Defaults to bfloat16's.

    Example: a half more than without.

    >>> least_sent("data", 100, 4), least_sent("sharded", 100, 4)
    (300.0, 450.0)
    """
    return {"data": 2, "sharded": 3}[method] * (replicas - 1) / replicas * parameters * width


def compile_step(size: str, target: Target, method: str) -> tuple[Compiled, GPTConfig]:
    """One micro-batch of one window a device, accumulated to the papers' batch."""
    config = GPTConfig(
        arch="llama", size=size, precision="mixed_bfloat16", dry_run=True, batch_size=target.count
    )
    config = resolve_without_data(
        dataclasses.replace(config, gradient_accumulation_steps=256 // target.count)
    )

    def made(placement):
        model = deferred(lambda: build_model(config))
        compile_for_training(model, build_adamw(config), jit=True)
        return model

    tokens = (config.batch_size, config.context), "int32"
    compiled = compile_for(
        target,
        made,
        (tokens, tokens),
        distribute="data" if method == "data" else "model",
        model_shards=None if method == "data" else 1,
        layout=SHARDED,
        accumulate=config.gradient_accumulation_steps,
    )
    return compiled, config


def measure(size: str, target: Target, method: str) -> dict:
    """One row of the result."""
    compiled, config = compile_step(size, target, method)
    parameters = parameter_count("llama", SIZES[size], config.vocabulary, config.context)
    row = {
        "size": size,
        "parameters": parameters,
        "target": str(target),
        "method": method,
        "micro_batch": config.batch_size,
        "context": config.context,
        "accumulated": config.gradient_accumulation_steps,
        "error": compiled.error,
        "device_memory": target.chip.memory,
        "seconds_to_compile": round(compiled.seconds, 1),
    }
    if compiled.error:
        return row
    tokens = config.batch_size * config.context
    least = least_sent(method, parameters, target.count)
    return row | {
        "peak_memory": compiled.peak,
        "state_memory": compiled.state,
        "collectives": [vars(message) for message in compiled.work.messages],
        "sent_per_step": compiled.work.sent,
        "sent_per_token": compiled.work.sent * target.count / tokens,
        "least_sent_per_step": least,
        "sent_over_least": compiled.work.sent / least,
        "bounds_seconds": compiled.bounds,
        "limit": compiled.limit,
        "attention": compiled.attention,
    }


def main(argv: list[str] | None = None) -> list[dict]:
    """Compiles each, one after the other, and writes after each."""
    given = parse([Sharding], argv, program=PROGRAM, description=__doc__)
    console, rows = make_console(), []
    with one_line_errors(PROGRAM):
        config = build(Sharding, given)
        for size in config.sizes:
            for target in map(Target.parse, config.targets):
                for method in config.methods:
                    rows.append(measure(size, target, method))
                    write_row(_NAME, rows[-1], ("size", "target", "method"))
                    print_table([_shown(row) for row in rows], console)
    return rows


def _shown(row):
    shown = {name: str(row[name]) for name in ("size", "target", "method")}
    if row["error"]:
        return shown | {"peak": row["error"]}
    return shown | {
        "peak": f"{row['peak_memory'] / 1e9:.2f} GB",
        "state": f"{row['state_memory'] / 1e9:.2f} GB",
        "sent a step": f"{row['sent_per_step'] / 1e9:.2f} GB",
        "of the least": f"{row['sent_over_least']:.2f}",
        "limit": row["limit"],
    }


if __name__ == "__main__":
    main()
