"""Optimizers that see the loss. A new one: subclass `LossAware`, or wrap with it."""

from keras_h0h1.optimizers.adaptive_gd import AdaptiveGD
from keras_h0h1.optimizers.layerwise import Layerwise
from keras_h0h1.optimizers.loss_aware import LossAware
from keras_h0h1.optimizers.loss_scale_optimizer import LossScaleOptimizer

__all__ = ["AdaptiveGD", "Layerwise", "LossAware", "LossScaleOptimizer"]
