"""The probe's modes. A new one: a file of its own here with a `ProbeMode`, and its name below."""

from keras_h0h1.callbacks.probe_modes.base import ProbeMode, column_of
from keras_h0h1.callbacks.probe_modes.gradient_difference import (
    GradientDifferenceMode,
    TrajectoryMode,
)
from keras_h0h1.callbacks.probe_modes.hessian import HessianMode, PreconditionedMode

MODES: dict[str, type[ProbeMode]] = {
    mode.name: mode
    for mode in (GradientDifferenceMode, HessianMode, TrajectoryMode, PreconditionedMode)
}

__all__ = ["MODES", "ProbeMode", "column_of"]
