"""Keras' attention on TPU is causal and unscaled; runs on a CPU in Pallas' interpreter."""

import os
import types

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from jax.experimental.pallas import tpu

arrays = np.random.default_rng(0).standard_normal((3, 1, 128, 1, 64)).astype("float32")
attention = keras.ops.dot_product_attention
plain = attention(*arrays, flash_attention=False)
wrong = attention(*arrays, is_causal=True, scale=1.0, flash_attention=False)
jax.devices = lambda *_: [types.SimpleNamespace(platform="tpu")]
with tpu.force_tpu_interpret_mode():
    found = attention(*arrays, scale=64**-0.5)
print(f"Keras {keras.__version__}, JAX {jax.__version__}; largest difference from")
print(f"  plain attention:            {np.abs(found - plain).max():.2g}")
print(f"  causal, unscaled attention: {np.abs(found - wrong).max():.2g}")
