"""Sampling text from a model: plain, the same on every backend, no compilation of a loop."""

import keras
import numpy as np


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
