"""Small networks that several workloads share."""

import keras
from keras import layers, ops


def _mix(x, heads: int, causal: bool):
    width = x.shape[-1]
    attention = layers.MultiHeadAttention(heads, width // heads)
    return attention(x, x, use_causal_mask=causal)


def _feed_forward(x):
    return layers.Dense(x.shape[-1])(layers.Dense(4 * x.shape[-1], "gelu")(x))


def transformer(x, depth: int, heads: int, causal: bool, normalise: str):
    """Blocks of attention and feed-forward layers.

    Args:
        x: Tensor of shape `(batch, length, width)`, positions included.
        depth: Number of blocks.
        heads: Attention heads; they divide the width.
        causal: Whether a position sees only what is before it.
        normalise: `"pre"`: before each layer, inside the residual branch, and once at the end;
            `"post"`: after each residual sum, as in the first Transformer.
    """
    for _ in range(depth):
        for layer in (lambda x: _mix(x, heads, causal), _feed_forward):
            if normalise == "pre":
                x = x + layer(layers.LayerNormalization()(x))
            else:
                x = layers.LayerNormalization()(x + layer(x))
    return layers.LayerNormalization()(x) if normalise == "pre" else x


def language_model(
    seed: int, vocabulary: int, length: int, width: int, depth: int, normalise: str
) -> keras.Model:
    """A Transformer that predicts the next token; its output are logits.

    The vectors of the positions are random and stay as they are: Keras does not train a layer that
    is called on a constant. All methods of a seed have the same ones.
    """
    keras.utils.set_random_seed(seed)
    ids = keras.Input((length,), dtype="int32")
    x = layers.Embedding(vocabulary, width)(ids)
    x = x + layers.Embedding(length, width)(ops.arange(length))
    x = transformer(x, depth, heads=4, causal=True, normalise=normalise)
    return keras.Model(ids, layers.Dense(vocabulary)(x))


def papers_adamw(schedule) -> keras.optimizers.Optimizer:
    """AdamW as the papers use it for language models."""
    return keras.optimizers.AdamW(schedule, weight_decay=0.1, beta_2=0.95, global_clipnorm=1.0)


def classification_arguments() -> dict:
    """For `compile`: cross-entropy from logits, and accuracy."""
    return {
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    }
