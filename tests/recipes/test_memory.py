"""The closed forms of memory against what the compilers for TPU and GPU found."""

import json

import keras
import pytest

from benchmarks.common import RESULTS
from recipes.compilers.deferred import deferred
from recipes.gpt.config import GPTConfig, resolve_without_data
from recipes.gpt.cost import training_memory
from recipes.gpt.model import SIZES
from recipes.vision.cost import training_cost
from recipes.vision.model import MODELS, build_classifier

ROWS = json.loads((RESULTS / "targets_jax.json").read_text("utf-8"))["rows"]
TOLERANCE = 0.15


def expected(row):
    """The closed form of a row, from its name."""
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
        ).total
    shape = MODELS[row["model"]]
    keras.config.set_dtype_policy(row["precision"])
    model = deferred(lambda: build_classifier(shape, 1000, (32, 32, 3)))
    try:
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
        keras.utils.clear_session()


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="models without values need JAX")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model']} {row['target']}")
def test_closed_forms_are_near_the_compilers_peak(row):
    assert expected(row) / row["peak_memory"] == pytest.approx(1, abs=TOLERANCE)
