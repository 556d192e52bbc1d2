"""What fits where, by the accelerators' own compilers: `python -m benchmarks.targets`.

It adds a row to `results/targets_jax.json` for each model and target,
in place of an earlier one. It needs KERAS_BACKEND=jax and the extras [aot-tpu] and [aot-gpu], no
accelerator, and minutes of a CPU for each row.
"""

import dataclasses
import json

from benchmarks.common import RESULTS, write_result
from recipes.common.command_line.console import make_console
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
                raise ValueError(f"A model is one of {', '.join(MODELS)}. Received: models={model}")


def main(argv: list[str] | None = None) -> list[dict]:
    """Compiles each model for each target, one after the other, and writes after each."""
    config = build(
        Targets, parse([Targets], argv, program="python -m benchmarks.targets", description=__doc__)
    )
    console, rows = make_console(), []
    for model in config.models:
        for target in config.targets:
            name, options = MODELS[model]
            recipe = load_recipe(name)
            made = build(recipe.config, {**options, "dry_run": True, "target": target})
            row, _ = recipe.run(made, console)
            rows.append(row)
            _add(row)
    return rows


def _add(row: dict) -> None:
    path = RESULTS / f"{_NAME}_jax.json"
    known = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    others = [r for r in known if (r["model"], r["target"]) != (row["model"], row["target"])]
    write_result(_NAME, {"rows": [*others, row]})


if __name__ == "__main__":
    main()
