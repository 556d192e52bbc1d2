"""The closed forms of memory again, without a compiler: `python -m benchmarks.closed_forms`.

`benchmarks.targets` records the closed form beside the compilers' peak. Where the closed form has
changed since, this sets it anew in each row of `results/targets_jax.json`; the compilers' figures
stay, and so do the date and the versions that belong to them. KERAS_BACKEND=jax.
"""

import json
import math

import keras

from benchmarks.common import RESULTS
from recipes.common.files.writing import write_json
from recipes.compilers.deferred import deferred
from recipes.gpt.config import GPTConfig, resolve_without_data
from recipes.gpt.cost import training_memory
from recipes.gpt.model import SIZES
from recipes.vision.cost import training_cost
from recipes.vision.model import MODELS, build_classifier

PATH = RESULTS / "targets_jax.json"


def closed_form(row: dict) -> float:
    """The closed form of a row's peak memory in bytes, from the row's name."""
    if row["model"].startswith("llama"):
        arch, size = row["model"].split()
        # As `benchmarks.targets` gives them.
        config = resolve_without_data(GPTConfig(arch=arch, size=size, precision=row["precision"]))
        return training_memory(
            arch,
            SIZES[size],
            config.vocabulary,
            config.context,
            config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            mixed=True,
            loss_block=config.loss_block,
            flash=row["attention"] != "plain",
            replicas=row["replicas"],
            tpu=row["target"].startswith("tpu"),
        ).total
    shape = MODELS[row["model"]]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(row["precision"])
    try:
        model = deferred(lambda: build_classifier(shape, 1000, (32, 32, 3)))
        return training_cost(
            model,
            shape,
            256 // row["replicas"],
            averages=1 if shape.optimizer == "sgd" else 2,
            mixed=True,
            fused_attention=row["attention"] != "plain",
            products_make_inputs=row["target"].startswith("tpu"),
        ).memory
    finally:
        keras.config.set_dtype_policy(before)
        keras.utils.clear_session()


def main() -> None:
    """The command line."""
    record = json.loads(PATH.read_text("utf-8"))
    for row in record["rows"]:
        row["closed_form_memory"] = math.ceil(closed_form(row))
        ratio = row["closed_form_memory"] / row["peak_memory"]
        print(f"{row['model']} {row['target']}: {ratio:.3f} of the compiler's peak")
    write_json(PATH, record)


if __name__ == "__main__":
    main()
