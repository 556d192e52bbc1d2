"""The closed forms against counts by hand, DESIGN.md's models and the size of real variables."""

import keras
import pytest

from recipes.gpt.cost import (
    HARDWARE,
    Flops,
    known_hardware,
    tokens_per_second,
    training_flops,
    training_memory,
)
from recipes.gpt.model import SIZES, Size, build_language_model, parameter_count


def test_flops_are_six_for_each_weight_in_a_product_and_twelve_for_attention():
    """The rule of thumb, exact here: 6 per weight, and 12 layers context width."""
    for name, parameters in (("70m", 71_940_608), ("160m", 162_183_936), ("410m", 411_304_960)):
        size = SIZES[name]
        assert parameter_count("llama", size, 50280, 1024) == parameters
        scales = (2 * size.layers + 1) * size.width
        # The embedding is looked up, not multiplied.
        multiplied = parameters - 50280 * size.width - scales
        square = 12 * size.layers * 1024 * size.width
        flops = training_flops("llama", size, 50280, 1024)
        assert flops.model == flops.total == 6 * multiplied + square


def test_what_is_recomputed():
    size = Size(layers=3, width=8, heads=2, intermediate=24)
    plain = training_flops("gpt2", size, 50, 16)
    both = training_flops("gpt2", size, 50, 16, rematerialised=True, blocked_loss=True)
    # The head, and the blocks without their last product.
    assert both.model == plain.model
    assert both.recomputed == plain.forward - 3 * 2 * 8 * 32


@pytest.mark.parametrize("mixed", [False, True])
def test_the_state_is_that_of_the_variables(mixed):
    size = Size(2, 16, 2, 24)
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    model = build_language_model("llama", size, 50, 8)
    optimizer = keras.optimizers.AdamW(1e-3, gradient_accumulation_steps=2)
    optimizer.build(model.trainable_variables)
    # Besides a few counters.
    arrays = [v for v in (*model.variables, *optimizer.variables) if len(v.shape) > 0]
    held = sum(keras.ops.convert_to_numpy(v).nbytes for v in arrays)
    memory = training_memory("llama", size, 50, 8, 4, gradient_accumulation_steps=2, mixed=mixed)
    assert memory.state == held


def test_what_memory_is_divided_by():
    arguments = ("llama", SIZES["70m"], 50280, 1024, 8)
    one = training_memory(*arguments)
    data = training_memory(*arguments, replicas=4)
    assert data.weights == one.weights and data.optimizer == one.optimizer
    assert data.activations * 4 == one.activations and data.logits * 4 == one.logits
    model = training_memory(*arguments, model_shards=4)
    assert model.weights * 4 == one.weights and model.logits * 4 == one.logits
    assert one.activations / 4 < model.activations < one.activations
    # Of 8 x 1024 tokens, one eighth.
    assert training_memory(*arguments, loss_block=1024).logits * 8 == one.logits
    assert training_memory(*arguments, rematerialised=True).activations < one.activations / 4
    # In six layers, for each of 8 x 1024 tokens, 8 heads with 1024 float32 weights.
    square = 6 * 8 * 1024 * 8 * 1024 * 4
    assert training_memory(*arguments, flash=True).activations == one.activations - square


def test_speed_and_devices():
    assert tokens_per_second(Flops(1, 2, 1), 40.0, 0.5) == 5.0
    assert known_hardware("NVIDIA H200") == "h200"
    assert known_hardware("NVIDIA A100-SXM4-80GB") == "a100"
    assert known_hardware("TPU v5 lite") == "tpu-v5e"
    assert known_hardware("NVIDIA GeForce RTX 4090") is None
    assert set(HARDWARE) >= {"h100", "tpu-v4", "tpu-v5p"}
