"""Optimizers that see the loss. A new one: subclass `LossAware`, or wrap with it."""

from keras_h0h1.optimizers.adaptive_gd import AdaptiveGD
from keras_h0h1.optimizers.alig import ALIG
from keras_h0h1.optimizers.layerwise import Layerwise
from keras_h0h1.optimizers.loss_aware import LossAware
from keras_h0h1.optimizers.loss_scale_optimizer import LossScaleOptimizer
from keras_h0h1.optimizers.momo import MoMo
from keras_h0h1.optimizers.momo_adam import MoMoAdam
from keras_h0h1.optimizers.ngn import NGN
from keras_h0h1.optimizers.ngnm import NGNM
from keras_h0h1.optimizers.ngnmd import NGNMD
from keras_h0h1.optimizers.polyak_sgd import PolyakSGD

__all__ = [
    "ALIG",
    "NGN",
    "NGNM",
    "NGNMD",
    "AdaptiveGD",
    "Layerwise",
    "LossAware",
    "LossScaleOptimizer",
    "MoMo",
    "MoMoAdam",
    "PolyakSGD",
]
