"""What training an image classifier costs, in closed form: operations and memory."""

import dataclasses

import keras

from recipes.vision.families import Shape


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
    shape: Shape,
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
    products, kept = shape.forward_cost(model, byte, fused_attention, products_make_inputs)
    head = model.layers[-1].kernel.shape
    copies = 1 + averages + (accumulate > 1)
    return Cost(
        flops=3 * images * (products + 2 * head[0] * head[1]),
        state=4 * parameters * copies,
        during=max(4 * parameters, images * kept),
    )
