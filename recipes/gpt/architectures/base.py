"""What the recipe has to know of an architecture."""

import abc
import dataclasses
from typing import ClassVar

import keras


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


def causal_attention_layers(backbone: keras.Model, kind: type) -> list[keras.layers.Layer]:
    """Those of a backbone that is of this class exactly: a subclass may attend otherwise."""
    if type(backbone) is not kind:
        return []
    return [block._self_attention_layer for block in backbone.transformer_layers]


class Architecture(abc.ABC):
    """A decoder of KerasHub.

    Its backbone has a `token_embedding`, KerasHub's `ReversibleEmbedding`, and its blocks in
    `transformer_layers`. `--distribute model` cuts the weights that `recipes.gpt.layout` names;
    others are copied to every device.

    Attributes:
        name: For `--arch`.
        label: What `--help` says of it.
        gated: Whether the feed-forward layers have a gate, as SwiGLU.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    gated: ClassVar[bool]

    @abc.abstractmethod
    def hidden_width(self, size: Size) -> int:
        """The width of the feed-forward layers' hidden layer."""

    @abc.abstractmethod
    def parameter_count(self, size: Size, vocabulary_size: int, context: int) -> int:
        """The number of weights, in closed form."""

    @abc.abstractmethod
    def build_backbone(
        self, size: Size, vocabulary_size: int, context: int, dropout: float
    ) -> keras.Model:
        """KerasHub's backbone: token ids to hidden states, named `"backbone"`."""

    def attention_layers(self, backbone: keras.Model) -> list[keras.layers.Layer]:
        """The layers whose attention is causal and nothing else: no window, bias or soft cap.

        Where there are fused kernels these compute by them; others as KerasHub has it. None by
        default, so that an architecture gets no other attention than its own without a word.
        """
        return []

    @abc.abstractmethod
    def task(self) -> tuple[type, type]:
        """KerasHub's task and its preprocessor, which a trained backbone is exported as."""
