"""Test functions whose smoothness constants are known, and operations that keep them known.

`base.Problem` says what a problem offers; each other module holds one problem. Every formula is
written once and serves NumPy arrays (float64) and tensors of any backend, one point `(n,)` or a
batch `(..., n)` of them.
"""

from keras_h0h1.theory.problems.base import Problem
from keras_h0h1.theory.problems.closures import Affine, Ridge, Scaled, Shifted, Sum, mean
from keras_h0h1.theory.problems.deep_linear import DeepLinearNet
from keras_h0h1.theory.problems.exponential import ExponentialMean
from keras_h0h1.theory.problems.factorisation import LinearChain, ScalarFactorisation
from keras_h0h1.theory.problems.hard import HardFamily, HardFunction
from keras_h0h1.theory.problems.hyperbolic import Cosh, Separation
from keras_h0h1.theory.problems.in_context import InContextAttention
from keras_h0h1.theory.problems.in_context_softmax import InContextSoftmaxAttention
from keras_h0h1.theory.problems.leaky_relu import LeakyReLUNet
from keras_h0h1.theory.problems.logistic import Logistic
from keras_h0h1.theory.problems.polynomial import DoubleWell, NormPower, Quadratic
from keras_h0h1.theory.problems.two_layer import TwoLayerNet

__all__ = [
    "Affine",
    "Cosh",
    "DeepLinearNet",
    "DoubleWell",
    "ExponentialMean",
    "HardFamily",
    "HardFunction",
    "InContextAttention",
    "InContextSoftmaxAttention",
    "LeakyReLUNet",
    "LinearChain",
    "Logistic",
    "NormPower",
    "Problem",
    "Quadratic",
    "Ridge",
    "ScalarFactorisation",
    "Scaled",
    "Separation",
    "Shifted",
    "Sum",
    "TwoLayerNet",
    "mean",
]
