"""Small models, and a fingerprint of everything that a suggestion might have changed."""

import hashlib
import pickle
import random

import keras
import numpy as np
from keras.src.backend.common import global_state

from keras_h0h1 import LossAdaptiveLearningRate, LossAware, LossScaleOptimizer

CLASSES = 3


def data(examples=96, features=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, features)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0.5)


def optimizers():
    """One of each structure, from a name to a function that makes it."""
    return {
        "adam": lambda: keras.optimizers.Adam(1e-3),
        "sgd-schedule": lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(0.1, 100), momentum=0.9, nesterov=True
        ),
        "loss-aware": lambda: LossAware(
            keras.optimizers.AdamW(LossAdaptiveLearningRate(1e-3, C=0.5), use_ema=True)
        ),
        "accumulating": lambda: keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2),
        "keras-scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)),
        "scaled": lambda: LossScaleOptimizer(
            LossAware(keras.optimizers.Nadam(LossAdaptiveLearningRate(1e-3, C=0.5)))
        ),
        "lion": lambda: keras.optimizers.Lion(1e-3),
        "schedule-free": lambda: keras.optimizers.ScheduleFreeAdamW(1e-3),
    }


def classifier(optimizer, *, built=True):
    """Statistics, seeds, metrics: all that can move besides the weights."""
    model = keras.Sequential(
        [
            *([keras.Input((6,))] if built else []),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(1e-3)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        optimizer,
        loss,
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
        # TensorFlow runs it sooner than XLA compiles it.
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def regression(X, optimizer, start=None):
    """$\\frac{1}{2n} \\|X w\\|^2$, whose Hessian is $X^T X / n$: a model, its data, the Hessian."""
    start = np.ones(X.shape[1]) if start is None else start
    dense = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((X.shape[1],)), dense])
    dense.kernel.assign(np.asarray(start)[:, None])
    model.compile(optimizer, loss=lambda y, p: 0.5 * (p - y) ** 2, jit_compile=False)
    X = X.astype("float32")
    return model, (X, np.zeros((len(X), 1), "float32")), X.T.astype(float) @ X / len(X)


def fingerprint(model):
    """A digest of every variable, its identity, and every global generator."""
    key = hashlib.sha256()
    optimizer = model.optimizer
    for variable in (*model.variables, *model.metrics_variables, *optimizer.variables):
        key.update(f"{id(variable)} {variable.path}".encode())
        key.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    key.update(pickle.dumps(random.getstate()))
    key.update(pickle.dumps(np.random.get_state()))
    generator = global_state.get_global_attribute("global_seed_generator")
    if generator is not None:
        key.update(keras.ops.convert_to_numpy(generator.state).tobytes())
    if keras.backend.backend() == "torch":
        import torch

        key.update(torch.get_rng_state().numpy().tobytes())
    for name in ("optimizer", "train_function", "steps_per_execution", "stop_training"):
        key.update(f"{name} {id(getattr(model, name))}".encode())
    return key.hexdigest(), generator is None
