"""Attention in a model's layers, by what the recipe knows: causal or not, never padded.

KerasHub's language models hand their causal mask over as an array, with which no kernel on TPU, and
on GPU only one that reads the array, computes. On a CPU, JAX takes a shorter step with attention
that is written for its compiler. What touches Keras' internals for this is `_compute_attention`
alone, which Keras and KerasHub call with projected queries, keys and values.
"""

from collections.abc import Iterable

import keras

from recipes.common.training.attention import attend, on_tpu, products_are_faster


class _Attend:
    """A layer's `_compute_attention` by `attend`."""

    def __init__(self, layer: keras.layers.Layer, causal: bool, flash: bool | None):
        self.layer, self.compute = layer, layer._compute_attention
        self.causal, self.flash = causal, flash

    def __call__(self, query, key, value, *args, **kwargs):
        # After these: the mask, and in Keras' layer `training` and whether scores are returned.
        scores = kwargs.get("return_attention_scores", args[2] if len(args) > 2 else False)
        # A cache of keys, as while text is generated, has another length than the queries.
        if scores or query.shape[1] != key.shape[1]:
            return self.compute(query, key, value, *args, **kwargs)
        found = attend(query, key, value, self.causal, self.flash)
        return (found, None) if isinstance(self.layer, keras.layers.MultiHeadAttention) else found


def has_kernels() -> bool:
    """Whether this backend computes on a device that has fused attention."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return on_tpu() or jax.devices()[0].platform == "gpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return False


def suit_attention(layers: Iterable[keras.layers.Layer], causal: bool, flash: bool | None) -> None:
    """Makes attention layers compute by `attend`.

    That is done where there are fused kernels, and on JAX on a CPU; elsewhere nothing. Layers that
    drop attention's weights out stay as they are: no kernel does that.

    Args:
        layers: Of Keras or KerasHub, as built or as loaded; nothing of this is saved with them.
        causal: Whether their attention is causal.
        flash: As of `attend`.

    Raises:
        ValueError: If the kernel is asked for, and there is a layer, or no layer, to refuse it.
    """
    if not has_kernels() and (flash or not products_are_faster()):
        return
    layers = list(layers)
    able = [layer for layer in layers if not getattr(layer, "_dropout", 0)]
    if flash and len(able) < max(1, len(layers)):
        raise ValueError(
            "There is no flash attention with dropout, nor for an architecture that names no "
            "`attention_layers`; use auto. Received: attention=flash"
        )
    for layer in able:
        if not isinstance(layer._compute_attention, _Attend):
            layer._compute_attention = _Attend(layer, causal, flash)


def restore_attention(layers: Iterable[keras.layers.Layer]) -> None:
    """Gives the layers their own `_compute_attention` again."""
    for layer in layers:
        if isinstance(layer._compute_attention, _Attend):
            layer._compute_attention = layer._compute_attention.compute
