"""The optimizers under test; a new one is one entry here and its reference beside it."""

from typing import NamedTuple

from keras_h0h1 import optimizers
from tests.core.optimizers_family import reference

# Held exactly by float32, by way of which TensorFlow casts a Python number.
DECAY = 2.0**-5


class Case(NamedTuple):
    """One configuration of one optimizer."""

    make: type
    reference: type
    arguments: dict
    # Whether the rule sees the clipped gradient; else that before clipping.
    sees_clipping: bool = False


def _case(name, sees_clipping=False, **arguments):
    make, written = getattr(optimizers, name), getattr(reference, name)
    return Case(make, written, arguments, sees_clipping)


CASES = {
    "PolyakSGD": _case("PolyakSGD", max_learning_rate=4.0),
    "PolyakSGD sps+": _case(
        "PolyakSGD", max_learning_rate=4.0, scaling=0.5, f_min=0.09375, eps=0.125, variant="sps+",
        c=0.5,
    ),
    "ALIG": _case("ALIG", max_learning_rate=0.75, momentum=0.875, eps=1e-5),
    "NGN": _case("NGN", learning_rate=0.5),
    "NGNM": _case("NGNM", learning_rate=0.5, momentum=0.875),
    "NGNMD": _case("NGNMD", True, learning_rate=0.25, beta_1=0.75, beta_2=0.96875),
    "MoMo": _case("MoMo", True, learning_rate=0.5, beta=0.75),
    "MoMo adaptive": _case("MoMo", True, learning_rate=0.5, beta=0.75, adapt_lower_bound=True),
    "MoMoAdam": _case("MoMoAdam", True, learning_rate=0.25, beta_1=0.75, beta_2=0.96875),
    "MoMoAdam adaptive": _case(
        "MoMoAdam", True, learning_rate=0.25, beta_1=0.75, beta_2=0.96875, lower_bound=-0.5,
        adapt_lower_bound=True,
    ),
}  # fmt: skip
