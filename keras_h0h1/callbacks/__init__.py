"""Keras callbacks. A new one: a file of its own here, exported below."""

from keras_h0h1.callbacks.learning_rate_logger import LearningRateLogger
from keras_h0h1.callbacks.loss_adaptive_warmup import LossAdaptiveWarmup
from keras_h0h1.callbacks.smoothness_probe import SmoothnessProbe
from keras_h0h1.callbacks.suggest_learning_rate import SuggestLearningRate

__all__ = ["LearningRateLogger", "LossAdaptiveWarmup", "SmoothnessProbe", "SuggestLearningRate"]
