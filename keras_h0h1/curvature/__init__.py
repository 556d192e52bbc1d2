"""Curvature of a Keras model's loss: eigenvalues, trace, density, smoothness, and the fit of
(H0, H1) to what was measured.

The pieces compose. `Objective(model)` is the loss as a function of a flat vector;
`objective.hessian(batch)` is an `Operator`, a matrix known by its products; `lanczos`,
`power_iteration`, `hutchinson`, `hutchpp` and `spectral_density` take any operator and return a
`Measurement`. `fit_smoothness` takes losses and curvatures, from here or elsewhere.
`keras_h0h1.callbacks.SmoothnessProbe` does all of it during `fit`.
"""

from keras_h0h1.curvature.density import spectral_density
from keras_h0h1.curvature.differences import GradientDifference
from keras_h0h1.curvature.fit import fit_layers, fit_smoothness
from keras_h0h1.curvature.lanczos import lanczos
from keras_h0h1.curvature.objective import Objective
from keras_h0h1.curvature.operators import Operator
from keras_h0h1.curvature.power_iteration import power_iteration
from keras_h0h1.curvature.preconditioned import (
    adam_stability_threshold,
    preconditioned_sharpness,
    second_moment_scale,
)
from keras_h0h1.curvature.results import Measurement, Spectrum
from keras_h0h1.curvature.selection import blocks, select_variables
from keras_h0h1.curvature.smoothness_fit import (
    NotIdentified,
    NotIdentifiedError,
    SmoothnessFit,
)
from keras_h0h1.curvature.trace import hutchinson, hutchpp

__all__ = [
    "GradientDifference",
    "Measurement",
    "NotIdentified",
    "NotIdentifiedError",
    "Objective",
    "Operator",
    "SmoothnessFit",
    "Spectrum",
    "adam_stability_threshold",
    "blocks",
    "fit_layers",
    "fit_smoothness",
    "hutchinson",
    "hutchpp",
    "lanczos",
    "power_iteration",
    "preconditioned_sharpness",
    "second_moment_scale",
    "select_variables",
    "spectral_density",
]
