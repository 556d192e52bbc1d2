"""Learning-rate schedules that follow the loss. A new one: subclass `LossDrivenSchedule`."""

from keras_h0h1.schedules.base import LossDrivenSchedule
from keras_h0h1.schedules.loss_adaptive import LossAdaptiveLearningRate
from keras_h0h1.schedules.ngn import NGNLearningRate
from keras_h0h1.schedules.norm_constrained import NormConstrainedLearningRate
from keras_h0h1.schedules.polyak import PolyakLearningRate
from keras_h0h1.schedules.smoothness import SmoothnessLearningRate

__all__ = [
    "LossAdaptiveLearningRate",
    "LossDrivenSchedule",
    "NGNLearningRate",
    "NormConstrainedLearningRate",
    "PolyakLearningRate",
    "SmoothnessLearningRate",
]
