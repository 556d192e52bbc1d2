"""Llama, the papers' architecture."""

import keras
import keras_nlp

from recipes.gpt.architectures.base import Architecture, Size, causal_attention_layers


class Llama(Architecture):
    """RoPE, RMSNorm, SwiGLU, no biases; a head of its own. The context has no limit."""

    name = "llama"
    label = "RoPE, RMSNorm, SwiGLU, untied, as in the paper"
    gated = True

    def hidden_width(self, size: Size) -> int:
        return size.intermediate

    def parameter_count(self, size: Size, vocabulary_size: int, context: int) -> int:
        d, f = size.width, size.intermediate
        # Attention and SwiGLU have no biases, RMSNorm has one scale; embedding and head differ.
        return 2 * vocabulary_size * d + size.layers * (4 * d * d + 3 * d * f + 2 * d) + d

    def build_backbone(
        self, size: Size, vocabulary_size: int, context: int, dropout: float
    ) -> keras.Model:
        return keras_nlp.models.LlamaBackbone(
            vocabulary_size=vocabulary_size,
            num_layers=size.layers,
            hidden_dim=size.width,
            num_query_heads=size.heads,
            num_key_value_heads=size.heads,
            intermediate_dim=size.intermediate,
            dropout=dropout,
            name="backbone",
        )

    def attention_layers(self, backbone: keras.Model) -> list[keras.layers.Layer]:
        return causal_attention_layers(backbone, keras_nlp.models.LlamaBackbone)

    def task(self) -> tuple[type, type]:
        return keras_nlp.models.LlamaCausalLM, keras_nlp.models.LlamaCausalLMPreprocessor
