"""Language models of the papers' sizes, from KerasHub through the `keras_nlp` name."""

import dataclasses

import keras
import keras_nlp


@dataclasses.dataclass(frozen=True)
class Size:
    """The shape of a Transformer.

    Args:
        layers: Number of blocks.
        width: Size of the hidden states.
        heads: Attention heads; each has `width / heads` dimensions.
        intermediate: Width of SwiGLU's hidden layer. GPT-2's own is `4 * width`.
    """

    layers: int
    width: int
    heads: int
    intermediate: int


SIZES = {
    "demo": Size(4, 128, 4, 384),
    "3m": Size(5, 192, 4, 512),
    "10m": Size(7, 320, 5, 896),
    "70m": Size(6, 512, 8, 1536),
    "160m": Size(12, 768, 12, 2048),
    "410m": Size(24, 1024, 16, 2816),
}


def parameter_count(arch: str, size: Size, vocabulary_size: int, context: int) -> int:
    """The number of weights, in closed form.

    Example: the (H0, H1) paper's 70M model.

    >>> parameter_count("llama", SIZES["70m"], 50280, 1024)
    71940608
    """
    d, f = size.width, size.intermediate
    if arch == "llama":
        # Attention and SwiGLU have no biases, RMSNorm has one scale; embedding and head differ.
        return 2 * vocabulary_size * d + size.layers * (4 * d * d + 3 * d * f + 2 * d) + d
    # GPT-2: biases everywhere, two parameters a LayerNorm; the head is the embedding.
    block = 4 * (d * d + d) + (8 * d * d + 5 * d) + 4 * d
    return (vocabulary_size + context) * d + size.layers * block + 2 * d


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


def build_backbone(
    arch: str, size: Size, vocabulary_size: int, context: int, dropout: float = 0.0
) -> keras.Model:
    """KerasHub's backbone: token ids to hidden states; all weights of the model are in it."""
    common = {
        "vocabulary_size": vocabulary_size,
        "num_layers": size.layers,
        "hidden_dim": size.width,
        "dropout": dropout,
        "name": "backbone",
    }
    if arch == "llama":
        return keras_nlp.models.LlamaBackbone(
            num_query_heads=size.heads,
            num_key_value_heads=size.heads,
            intermediate_dim=size.intermediate,
            **common,
        )
    return keras_nlp.models.GPT2Backbone(
        num_heads=size.heads,
        intermediate_dim=4 * size.width,
        max_sequence_length=context,
        **common,
    )


def build_language_model(
    arch: str, size: Size, vocabulary_size: int, context: int, dropout: float = 0.0
) -> keras.Model:
    """A Keras model from token ids to the logits of the next token.

    Args:
        arch: `"gpt2"` (learned positions, LayerNorm, GELU, tied head) or `"llama"` (RoPE, RMSNorm,
            SwiGLU, untied head, no biases; the papers' architecture).
        size: The shape.
        vocabulary_size: Number of tokens.
        context: Longest input, for GPT-2's positions. Llama's have no limit.
        dropout: Rate of dropout. Defaults to 0: text is seen about once.

    Returns:
        A functional model, `(batch, time)` int32 to `(batch, time, vocabulary_size)`.
    """
    backbone = build_backbone(arch, size, vocabulary_size, context, dropout)
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    logits = NextToken(backbone, name="next_token")(token_ids)
    return keras.Model(token_ids, logits, name=f"{arch}_language_model")
