"""Stochastic depth: in training, each image skips some of the residual branches."""

import keras
import keras_hub
from keras import layers


def depth_rates(count: int, rate: float) -> list[float]:
    """Rates that grow with depth to `rate` at the last branch, as the method's authors have it.

    Args:
        count: Number of blocks.
        rate: The last one's.

    References:
        Gao Huang, Yu Sun, Zhuang Liu, Daniel Sedra, Kilian Weinberger, "Deep Networks with
            Stochastic Depth", ECCV 2016.

    Example:

    >>> depth_rates(4, 0.2)
    [0.05, 0.1, 0.15000000000000002, 0.2]
    """
    return [rate * (index + 1) / count for index in range(count)]


def _drop(rate: float, rank: int, name: str, dtype) -> layers.Dropout:
    # One draw for a whole image; what is kept is divided by the share that is kept, so that at
    # evaluation every branch counts once.
    return layers.Dropout(rate, noise_shape=(None, *[1] * (rank - 1)), name=name, dtype=dtype)


@keras.saving.register_keras_serializable(package="keras_h0h1")
class ResidualDrop(layers.Layer):
    """Adds a residual branch to the shortcut; in training, not for every image.

    Takes the place of `keras.layers.Add` in a ResNet: `[shortcut, branch]`, both
    `(batch, height, width, channels)`.

    Args:
        rate: Share of images for which the branch is left out, in [0, 1).
        **kwargs: Keras' layer arguments.
    """

    def __init__(self, rate: float, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.drop = _drop(rate, 4, "drop", self.dtype_policy)

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=None):
        shortcut, branch = inputs
        return shortcut + self.drop(branch, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate}


@keras.saving.register_keras_serializable(package="keras_h0h1")
class ViTEncoderWithDepth(layers.Layer):
    """KerasHub's ViT, run block by block so that branches can be left out in training.

    `ViTBackbone` has no stochastic depth and no place for it; its blocks' layers are public, and
    with rate 0 the result is the backbone's own.

    Args:
        backbone: A `keras_hub.models.ViTBackbone`.
        rate: Share of images that skip a branch of the last block, in [0, 1); less before it.
        **kwargs: Keras' layer arguments.
    """

    def __init__(self, backbone: keras.Model, rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.rate = rate
        # Two branches in each block, attention and MLP, with a draw each.
        rates = depth_rates(backbone.num_layers, rate)
        self.drops = [
            [_drop(r, 3, f"drop_{i}_{part}", self.dtype_policy) for part in ("attention", "mlp")]
            for i, r in enumerate(rates)
        ]

    def build(self, input_shape):
        # KerasHub builds its backbones when they are made.
        self.built = True

    def call(self, images, training=None):
        encoder = self.backbone.get_layer("vit_encoder")
        x = self.backbone.get_layer("vit_patching_and_embedding")(images)
        x = encoder.dropout(x, training=training)
        for block, drops in zip(encoder.encoder_layers, self.drops, strict=True):
            drop_attention, drop_mlp = drops
            y = block.layer_norm_1(x)
            y = block.dropout(block.mha(y, y, training=training), training=training)
            x = x + drop_attention(y, training=training)
            y = block.mlp(block.layer_norm_2(x), training=training)
            x = x + drop_mlp(y, training=training)
        return encoder.layer_norm(x)

    def task(self, **options) -> keras_hub.models.ImageClassifier:
        """KerasHub's classifier around the backbone, which it shares."""
        return keras_hub.models.ViTImageClassifier(self.backbone, pooling="gap", **options)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.backbone.output_shape[1:])

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "rate": self.rate,
        }

    @classmethod
    def from_config(cls, config: dict) -> "ViTEncoderWithDepth":
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)
