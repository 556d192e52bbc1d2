"""The weights of a Keras model as a hand-written step keeps them."""

import keras
import numpy as np

from benchmarks.steps.cases import Case
from recipes.vision.model import ViT


def _array(variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).copy()


def _scale(layer) -> dict:
    return {"scale": _array(layer.gamma), "shift": _array(layer.beta)}


def _dense(layer) -> dict:
    return {"kernel": _array(layer.kernel), "bias": _array(layer.bias)}


def _attention(layer) -> dict:
    """Keys, queries and values by one product, as (width, 3 width)."""
    parts = [layer.query_dense, layer.key_dense, layer.value_dense]
    width = parts[0].kernel.shape[0]
    return {
        "kernel": np.concatenate([_array(p.kernel).reshape(width, width) for p in parts], axis=1),
        "bias": np.concatenate([_array(p.bias).reshape(width) for p in parts]),
        "out_kernel": _array(layer.output_dense.kernel).reshape(width, width),
        "out_bias": _array(layer.output_dense.bias),
    }


def take(case: Case, model: keras.Model) -> tuple[dict, dict]:
    """Trainable weights and moving statistics, as nested dictionaries of arrays."""
    if case.is_text:
        return _gpt(model.get_layer("next_token").backbone), {}
    if isinstance(case.shape, ViT):
        return _vit(model), {}
    return _resnet(case, model)


def _gpt(backbone):
    return {
        "tokens": _array(backbone.token_embedding.embeddings),
        "positions": _array(backbone.position_embedding.position_embeddings),
        "blocks": [
            {
                "norm_1": _scale(block._self_attention_layer_norm),
                "attention": _attention(block._self_attention_layer),
                "norm_2": _scale(block._feedforward_layer_norm),
                "up": _dense(block._feedforward_intermediate_dense),
                "down": _dense(block._feedforward_output_dense),
            }
            for block in backbone.transformer_layers
        ],
        "norm": _scale(backbone.layer_norm),
    }


def _vit(model):
    backbone = model.get_layer("vit").backbone
    embedding = backbone.get_layer("vit_patching_and_embedding")
    encoder = backbone.get_layer("vit_encoder")
    patches = _dense(embedding.patch_embedding)
    patches["kernel"] = patches["kernel"].reshape(-1, patches["kernel"].shape[-1])
    return {
        "patches": patches,
        "positions": _array(embedding.position_embedding.embeddings),
        "blocks": [
            {
                "norm_1": _scale(block.layer_norm_1),
                "attention": _attention(block.mha),
                "norm_2": _scale(block.layer_norm_2),
                "up": _dense(block.mlp.dense_1),
                "down": _dense(block.mlp.dense_2),
            }
            for block in encoder.encoder_layers
        ],
        "norm": _scale(encoder.layer_norm),
        "head": _dense(model.get_layer("head")),
    }


def _resnet(case, model):
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    known = {layer.name: layer for layer in backbone.layers}

    def unit(conv, norm):
        moving = known[norm]
        return (
            {"kernel": _array(known[conv].kernel), **_scale(moving)},
            {"mean": _array(moving.moving_mean), "variance": _array(moving.moving_variance)},
        )

    weights, stats = {}, {}
    weights["stem"], stats["stem"] = unit("conv1_conv", "conv1_bn")
    for stack, blocks in enumerate(case.shape.blocks):
        for block in range(blocks):
            for part in range(3):
                name = f"stack{stack}_block{block}_{part}"
                if f"{name}_conv" in known:
                    weights[name], stats[name] = unit(f"{name}_conv", f"{name}_bn")
    return {**weights, "head": _dense(model.get_layer("head"))}, stats
