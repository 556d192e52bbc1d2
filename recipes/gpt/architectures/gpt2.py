"""GPT-2."""

import keras
import keras_nlp

from recipes.gpt.architectures.base import Architecture, Size, causal_attention_layers


class GPT2(Architecture):
    """Learned positions, LayerNorm, GELU, biases; the head is the embedding."""

    name = "gpt2"
    label = "KerasHub's GPT-2"
    gated = False

    def hidden_width(self, size: Size) -> int:
        return 4 * size.width

    def parameter_count(self, size: Size, vocabulary_size: int, context: int) -> int:
        d = size.width
        # Biases everywhere, two parameters a LayerNorm.
        block = 4 * (d * d + d) + (8 * d * d + 5 * d) + 4 * d
        return (vocabulary_size + context) * d + size.layers * block + 2 * d

    def build_backbone(
        self, size: Size, vocabulary_size: int, context: int, dropout: float
    ) -> keras.Model:
        return keras_nlp.models.GPT2Backbone(
            vocabulary_size=vocabulary_size,
            num_layers=size.layers,
            hidden_dim=size.width,
            num_heads=size.heads,
            intermediate_dim=self.hidden_width(size),
            max_sequence_length=context,
            dropout=dropout,
            name="backbone",
        )

    def attention_layers(self, backbone: keras.Model) -> list[keras.layers.Layer]:
        return causal_attention_layers(backbone, keras_nlp.models.GPT2Backbone)

    def task(self) -> tuple[type, type]:
        return keras_nlp.models.GPT2CausalLM, keras_nlp.models.GPT2CausalLMPreprocessor
