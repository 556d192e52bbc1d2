"""Language models of the papers' sizes, from KerasHub through the `keras_nlp` name."""

import keras

from recipes.gpt.architectures import ARCHITECTURES, Size

SIZES = {
    "demo": Size(4, 128, 4, 384),
    "3m": Size(5, 192, 4, 512),
    "10m": Size(7, 320, 5, 896),
    "70m": Size(6, 512, 8, 1536),
    "160m": Size(12, 768, 12, 2048),
    "410m": Size(24, 1024, 16, 2816),
    # Depth and width of GPT-3 XL (Brown et al., arXiv 2005.14165), about 2.75 times as wide inside.
    "1.3b": Size(24, 2048, 16, 5632),
}


def parameter_count(arch: str, size: Size, vocabulary_size: int, context: int) -> int:
    """The number of weights, in closed form.

    Example: the (H0, H1) paper's 70M model.

    >>> parameter_count("llama", SIZES["70m"], 50280, 1024)
    71940608
    """
    return ARCHITECTURES[arch].parameter_count(size, vocabulary_size, context)


@keras.saving.register_keras_serializable(package="keras_h0h1")
class NextToken(keras.layers.Layer):
    """Logits of the next token: KerasHub's backbone, and its embedding used backwards.

    KerasHub's own tasks (`GPT2CausalLM`, `LlamaCausalLM`) compute the same, but train through
    `tf.data` and ask for a padding mask. Packed windows have no padding, and a plain Keras layer
    trains from NumPy without TensorFlow. For their `generate` one can still write
    `keras_nlp.models.GPT2CausalLM(model.get_layer("next_token").backbone)`.

    Args:
        backbone: A KerasHub backbone with a `ReversibleEmbedding`, tied or not.
        **kwargs: Keras' layer arguments.
    """

    def __init__(self, backbone: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone

    def build(self, input_shape):
        # KerasHub builds its backbones when they are made.
        self.built = True

    def hidden_states(self, token_ids):
        """What the head is multiplied with, shape `(batch, time, width)`."""
        # Where nothing is compiled, JAX may hand NumPy arrays over; Keras does not mix the two.
        token_ids = keras.ops.convert_to_tensor(token_ids)
        inputs = {"token_ids": token_ids, "padding_mask": keras.ops.ones_like(token_ids)}
        return self.backbone(inputs)

    @property
    def kernel(self):
        """The head, shape `(width, vocabulary)`, as a tensor in the weights' own dtype."""
        embedding = self.backbone.token_embedding
        if embedding.tie_weights:
            return keras.ops.transpose(embedding.embeddings)
        return keras.ops.convert_to_tensor(embedding.reverse_embeddings)

    def call(self, token_ids):
        return self.backbone.token_embedding(self.hidden_states(token_ids), reverse=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.backbone.vocabulary_size)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
        }

    @classmethod
    def from_config(cls, config: dict) -> "NextToken":
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)


def build_language_model(
    arch: str, size: Size, vocabulary_size: int, context: int, dropout: float = 0.0
) -> keras.Model:
    """A Keras model from token ids to the logits of the next token.

    Args:
        arch: A name of `ARCHITECTURES`: `"gpt2"` (learned positions, LayerNorm, GELU, tied head),
            `"llama"` (RoPE, RMSNorm, SwiGLU, untied head, no biases; the papers' architecture).
        size: The shape.
        vocabulary_size: Number of tokens.
        context: Longest input, for GPT-2's positions. Llama's have no limit.
        dropout: Rate of dropout. Defaults to 0: text is seen about once.

    Returns:
        A functional model, `(batch, time)` int32 to `(batch, time, vocabulary_size)`.
    """
    backbone = ARCHITECTURES[arch].build_backbone(size, vocabulary_size, context, dropout)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    logits = NextToken(backbone, name="next_token")(token_ids)
    return keras.Model(token_ids, logits, name=f"{arch}_language_model")
