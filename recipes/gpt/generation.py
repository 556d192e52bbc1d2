"""Sampling text from a model: plain, the same on every backend, no compilation of a loop."""

import keras
import numpy as np

from recipes.text.documents import SEPARATOR
from recipes.text.tokens import Corpus

_PROMPTS = ("def ", "import os\n", "class ", "The ")


def generate(
    model: keras.Model,
    prompts: np.ndarray,
    context: int,
    length: int,
    temperature: float = 0.8,
    top_k: int = 40,
    seed: int = 0,
) -> np.ndarray:
    """Continues each prompt by `length` tokens.

    Args:
        model: From ids `(batch, context)` to logits `(batch, context, vocabulary)`.
        prompts: Ids, shape `(batch, p)` with `1 <= p < context`.
        context: The window that the model sees; older tokens fall out of it.
        length: Tokens to add.
        temperature: Below 1 the likely tokens gain. Defaults to 0.8.
        top_k: Only so many of the likeliest tokens are drawn from; 1 is greedy. Defaults to 40.
        seed: Of the draws.

    Returns:
        Ids, shape `(batch, p + length)`.
    """
    rng = np.random.default_rng(seed)
    ids = np.asarray(prompts, np.int32)
    for _ in range(length):
        seen = ids[:, -context:]
        # Padded on the right to one shape, so that the model compiles once; it is causal, so
        # the padding does not change what comes before it.
        window = np.pad(seen, ((0, 0), (0, context - seen.shape[1])))
        logits = np.asarray(model.predict_on_batch(window), np.float64)
        logits = logits[:, seen.shape[1] - 1] / temperature
        k = min(top_k, logits.shape[-1])
        threshold = np.partition(logits, -k, axis=-1)[:, -k, None]
        logits = np.where(logits >= threshold, logits, -np.inf)
        # The largest of logit + Gumbel noise is a draw from the softmax.
        choice = np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)
        ids = np.concatenate([ids, choice[:, None].astype(np.int32)], axis=1)
    return ids


def sample(model: keras.Model, corpus: Corpus, context: int, length: int, seed: int = 0) -> str:
    """Continuations of a few prompts; ids where there is no tokenizer.

    Args:
        model: As for `generate`.
        corpus: Its tokenizer, and the first held-out token as a prompt where there is none.
        context: The window that the model sees.
        length: Tokens to add to each prompt.
        seed: Of the draws; each prompt has a seed of its own.
    """
    if corpus.tokenizer is None:
        ids = generate(model, corpus.validation[None, :1], context, length)
        return " ".join(map(str, ids[0])) + "\n"
    separator = corpus.tokenizer.token_to_id(SEPARATOR)
    prompts = [[separator or 0, *corpus.tokenizer.encode(text).ids] for text in _PROMPTS]
    parts = []
    for index, prompt in enumerate(prompts):
        ids = generate(
            model,
            np.array([prompt[-context + 1 :]]),
            context,
            length,
            seed=seed + index,
        )
        parts.append(corpus.tokenizer.decode(ids[0].tolist()).strip("\n"))
    rule = "\n" + "-" * 72 + "\n"
    return rule.join(parts) + "\n"
