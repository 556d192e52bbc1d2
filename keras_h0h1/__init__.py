"""Loss-driven learning rates for Keras 3, on TensorFlow, JAX and PyTorch.

schedule = LossAdaptiveLearningRate(1e-3)
model.compile(LossAware(keras.optimizers.AdamW(schedule)), loss=...)
model.fit(x, y)
"""

from keras_h0h1 import callbacks, curvature, optimizers, schedules, step_sizes, suggestion, theory
from keras_h0h1._version import __version__
from keras_h0h1.optimizers import AdaptiveGD, LossAware, LossScaleOptimizer
from keras_h0h1.schedules import LossAdaptiveLearningRate, SmoothnessLearningRate
from keras_h0h1.suggestion import Suggestion, suggest

__all__ = [
    "AdaptiveGD",
    "LossAdaptiveLearningRate",
    "LossAware",
    "LossScaleOptimizer",
    "SmoothnessLearningRate",
    "Suggestion",
    "__version__",
    "callbacks",
    "curvature",
    "optimizers",
    "schedules",
    "step_sizes",
    "suggest",
    "suggestion",
    "theory",
]
