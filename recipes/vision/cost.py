"""What training an image classifier costs, in closed form: operations and memory."""

import dataclasses
import math

import keras

from recipes.vision.model import ResNet, ViT
from recipes.vision.stochastic_depth import ResidualDrop


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one device and one micro-batch.

    Args:
        flops: Of convolutions and matrix products, forward and twice as many backward.
        state: Bytes there between steps: weights and what the optimizer keeps, float32.
        during: Bytes there besides at the worse of two moments of a step: what the backward pass
            needs of the forward pass, where it begins; the gradients, where it ends.
    """

    flops: float
    state: int
    during: int

    @property
    def memory(self) -> int:
        """The peak: `tests/recipes/test_memory.py` compares it with what the compilers found."""
        return self.state + self.during


def training_cost(
    model: keras.Model,
    shape: ResNet | ViT,
    images: int,
    *,
    averages: int,
    accumulate: int = 1,
    mixed: bool = False,
    fused_attention: bool = False,
    products_make_inputs: bool = False,
) -> Cost:
    """The account of one device's work and memory.

    Args:
        model: From `build_classifier`.
        shape: What it was built from.
        images: Of a micro-batch, on one device.
        averages: Copies of the weights that the optimizer keeps: 1 for momentum, 2 for AdamW, and
            one more for the moving average of the weights.
        accumulate: Micro-batches for an update.
        mixed: Whether activations have two bytes, not four.
        fused_attention: Whether attention's weights are never written down.
        products_make_inputs: Whether convolutions and matrix products make their inputs again, from
            what stands before a normalisation or an activation, while they run. The compiler for
            TPU fuses so; on a GPU the libraries' products read them from memory.
    """
    parameters = model.count_params()
    byte = 2 if mixed else 4
    if isinstance(shape, ViT):
        products, kept = _vit(model, shape, byte, fused_attention, products_make_inputs)
    else:
        products, kept = _resnet(model, byte, products_make_inputs)
    head = model.layers[-1].kernel.shape
    copies = 1 + averages + (accumulate > 1)
    return Cost(
        flops=3 * images * (products + 2 * head[0] * head[1]),
        state=4 * parameters * copies,
        during=max(4 * parameters, images * kept),
    )


def _resnet(model, byte, fused):
    """Operations of a forward pass and bytes that it leaves, for one image."""
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    products = kept = 0
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, features = layer.output.shape
            kernel = layer.kernel.shape
            outputs = height * width * features
            products += 2 * outputs * kernel[0] * kernel[1] * kernel[2]
            # Its result, which normalisation goes back through, and the normalised one, which is
            # the next one's input.
            kept += outputs * byte * (1 if fused else 2)
        elif fused and isinstance(layer, (keras.layers.Add, ResidualDrop)):
            # Where inputs are made again, the sums at the ends of the blocks are what is made from.
            kept += math.prod(layer.output.shape[1:]) * byte
    return products, kept


def _vit(model, shape, byte, fused_attention, fused):
    height, width, channels = model.input.shape[1:]
    patches = (height // shape.patch) * (width // shape.patch)
    d, hidden = shape.width, shape.mlp_ratio * shape.width
    embedding = 2 * shape.patch**2 * channels * d
    products = patches * (embedding + shape.layers * (8 * d * d + 4 * d * hidden + 4 * patches * d))
    # As in `recipes.gpt.cost`: norms and residual stream; attention; the MLP before and after its
    # activation; the softmax of attention in float32. The derivative of the exact GELU takes two
    # more, its error function and its exponential, where they are not made again.
    inside = (10 * d + (2 if fused else 4) * hidden) * byte
    square = 0 if fused_attention else shape.heads * patches * 4
    return products, patches * shape.layers * (inside + square)
