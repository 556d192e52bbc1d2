"""Learning-rate schedules: those that follow the loss, and those they are compared with.

A new one that follows the loss: subclass `LossDrivenSchedule`.
"""

from keras_h0h1.schedules.auto_c import AutoC
from keras_h0h1.schedules.base import LossDrivenSchedule
from keras_h0h1.schedules.gradient_norm import (
    GradientNormAdaptiveLearningRate,
    GradientNormLearningRate,
)
from keras_h0h1.schedules.loss_adaptive import LossAdaptiveLearningRate
from keras_h0h1.schedules.ngn import NGNLearningRate
from keras_h0h1.schedules.norm_constrained import NormConstrainedLearningRate
from keras_h0h1.schedules.online_smoothness import OnlineSmoothnessLearningRate
from keras_h0h1.schedules.polyak import PolyakLearningRate
from keras_h0h1.schedules.scaled import ScaledLearningRate
from keras_h0h1.schedules.simulation import Simulation, plot, simulate
from keras_h0h1.schedules.smoothness import SmoothnessLearningRate
from keras_h0h1.schedules.untuned_warmup import (
    RectifiedWarmup,
    UntunedExponentialWarmup,
    UntunedLinearWarmup,
)
from keras_h0h1.schedules.warmup_stable_decay import WarmupStableDecay

__all__ = [
    "AutoC",
    "GradientNormAdaptiveLearningRate",
    "GradientNormLearningRate",
    "LossAdaptiveLearningRate",
    "LossDrivenSchedule",
    "NGNLearningRate",
    "NormConstrainedLearningRate",
    "OnlineSmoothnessLearningRate",
    "PolyakLearningRate",
    "RectifiedWarmup",
    "ScaledLearningRate",
    "Simulation",
    "SmoothnessLearningRate",
    "UntunedExponentialWarmup",
    "UntunedLinearWarmup",
    "WarmupStableDecay",
    "plot",
    "simulate",
]
