"""What fits where, by the accelerators' own compilers: `python -m benchmarks.targets`.

It adds a row to `results/targets_jax.json` for each model and target, with its own command, in
place of an earlier one. It needs KERAS_BACKEND=jax and the extras [aot-tpu] and [aot-gpu], no
accelerator, and minutes of a CPU for each row.
"""

import dataclasses

from benchmarks.common import write_row
from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, option, parse
from recipes.compilers.targets import Target
from recipes.registry import load_recipe

# The papers' models as their recipes train them, with one micro-batch of 8 windows or 256 images.
_LLAMA = {"arch": "llama", "precision": "mixed_bfloat16"}
_IMAGES = {"data": "imagenet32", "batch_size": 256, "precision": "mixed_bfloat16"}
MODELS = {
    "gpt-70m": ("gpt", {**_LLAMA, "size": "70m"}),
    "resnet50": ("vision", {**_IMAGES, "model": "resnet50"}),
    "vit-tiny": ("vision", {**_IMAGES, "model": "vit-tiny"}),
    "gpt-410m": ("gpt", {**_LLAMA, "size": "410m"}),
}
_NAME = "targets"
PROGRAM = "python -m benchmarks.targets"


@dataclasses.dataclass
class Targets:
    """Targets: what to compile."""

    models: tuple[str, ...] = option(tuple(MODELS), "which models")
    targets: tuple[str, ...] = option(("h100:1", "tpu-v5e:2x2"), "for which accelerators")

    def __post_init__(self):
        for target in self.targets:
            Target.parse(target)
        for model in self.models:
            if model not in MODELS:
                raise InputError(f"A model is one of {', '.join(MODELS)}. Received: models={model}")


def main(argv: list[str] | None = None) -> list[dict]:
    """Compiles each model for each target, one after the other, and writes after each."""
    given = parse([Targets], argv, program=PROGRAM, description=__doc__)
    console, rows = make_console(), []
    with one_line_errors(PROGRAM):
        config = build(Targets, given)
        for model in config.models:
            name, options = MODELS[model]
            recipe = load_recipe(name)
            for target in config.targets:
                made = build(recipe.config, {**options, "dry_run": True, "target": target})
                row, _ = recipe.run(made, console)
                command = f"{PROGRAM} --models {model} --targets {target}"
                rows.append({**row, "command": command})
                write_row(_NAME, rows[-1], ("model", "target"))
    return rows


if __name__ == "__main__":
    main()
