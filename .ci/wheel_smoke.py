"""Imports and trains from the installed wheel, where JAX is the only backend there is."""

import importlib.metadata
import importlib.util
import pathlib
import tempfile

import keras
import numpy as np

import keras_h0h1
from keras_h0h1 import AdaptiveGD, LossAdaptiveLearningRate, LossAware

assert keras.backend.backend() == "jax"
for absent in ("tensorflow", "torch"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is installed: the check is void"
assert "site-packages" in keras_h0h1.__file__, keras_h0h1.__file__
assert (pathlib.Path(keras_h0h1.__file__).parent / "py.typed").exists()
files = importlib.metadata.files("keras-h0h1")
packages = {file.parts[0] for file in files if not file.parts[0].endswith(".dist-info")}
assert packages == {"keras_h0h1"}, f"the wheel has other top-level packages: {packages}"

x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
y = np.tanh(x[:, :1] - 2 * x[:, 1:2])
schedule = LossAdaptiveLearningRate(0.01, C=0.5)
for optimizer in (LossAware(keras.optimizers.AdamW(schedule)), AdaptiveGD(1.0, 1.0, rule="sharp")):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer, loss="mse")
    losses = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0], losses
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/model.keras")
        again = keras.models.load_model(f"{folder}/model.keras")
    assert type(again.optimizer) is type(optimizer)
print(f"keras_h0h1 {keras_h0h1.__version__} trains from its wheel with JAX alone")
