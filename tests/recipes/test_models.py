import dataclasses

import keras
import numpy as np
import pytest

from recipes.gpt.architectures import ARCHITECTURES
from recipes.gpt.generation import generate
from recipes.gpt.model import (
    SIZES,
    Size,
    build_language_model,
    parameter_count,
)
from tests.recipes.conftest import TINY

# The counts that the papers' models have, from DESIGN: with 50,280 words, untied.
PAPER = {"70m": 71_940_608, "160m": 162_183_936, "410m": 411_304_960}


def built_count(size):
    """Counted by Keras on the layers that KerasHub makes, without allocating a weight."""
    with keras.StatelessScope():
        return ARCHITECTURES["llama"].build_backbone(size, 50280, 1024, 0.0).count_params()


@pytest.mark.parametrize(("name", "count"), PAPER.items())
def test_llama_has_the_papers_parameter_counts(name, count):
    size = SIZES[name]
    assert parameter_count("llama", size, 50280, 1024) == count
    # Blocks are all alike: one and two of them give the rest, in a tenth of the time.
    one, two = (built_count(dataclasses.replace(size, layers=n)) for n in (1, 2))
    assert one + (size.layers - 1) * (two - one) == count


def test_the_whole_70m_model_has_its_parameters():
    assert built_count(SIZES["70m"]) == PAPER["70m"]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
@pytest.mark.parametrize("size", [TINY, Size(2, 24, 3, 40)])
def test_closed_form_counts_what_keras_counts(arch, size):
    model = build_language_model(arch, size, 50, 12)
    assert model.count_params() == parameter_count(arch, size, 50, 12)


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_a_token_is_predicted_from_those_before_it(arch):
    model = build_language_model(arch, TINY, 50, 12)
    rng = np.random.default_rng(0)
    # Larger weights than at the start of training, so that a leak would show.
    for weight in model.trainable_variables:
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    ids = rng.integers(0, 50, (1, 12)).astype("int32")
    before = model.predict_on_batch(ids)
    assert before.shape == (1, 12, 50)
    ids[0, 7] = (ids[0, 7] + 1) % 50
    after = model.predict_on_batch(ids)
    np.testing.assert_allclose(after[:, :7], before[:, :7], atol=1e-5)
    assert np.all(np.max(np.abs(after - before), axis=-1)[0, 7:] > 1e-3)


class Counting:
    """A "model" that is sure that the next token is the last one plus one."""

    def predict_on_batch(self, ids):
        return np.eye(20)[(ids + 1) % 20] * 50.0


def test_generation_continues_past_the_window():
    ids = generate(Counting(), np.array([[3], [15]]), context=4, length=10, top_k=5)
    np.testing.assert_array_equal(ids, (np.array([[3], [15]]) + np.arange(11)) % 20)


class Uniform:
    def predict_on_batch(self, ids):
        return np.log(np.tile([0.1, 0.2, 0.7], (*ids.shape, 1)))


def test_generation_draws_from_the_softmax_and_top_k():
    prompt = np.zeros((200, 1), int)
    drawn = generate(Uniform(), prompt, 4, 20, temperature=1.0, top_k=3)[:, 1:]
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / drawn.size, [0.1, 0.2, 0.7], atol=0.03)
    assert set(generate(Uniform(), prompt, 4, 5, top_k=1)[:, 1:].ravel()) == {2}
    assert set(generate(Uniform(), prompt, 4, 20, top_k=2)[:, 1:].ravel()) == {1, 2}
