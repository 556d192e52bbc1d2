# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Loss-driven warm-up for a GPT
#
# **Description:** Train a small character-level GPT three times: without warm-up, with linear
# warm-up, and with a learning rate that follows the loss.
#
# ## Introduction
#
# Transformers are usually trained with a *warm-up*: the learning rate rises from almost nothing to
# its peak in the first steps. How many steps is a hyperparameter. `LossAdaptiveLearningRate` has
# none: the rate is the peak rate times a factor in (0, 1] that is computed from the loss of the
# current batch.
#
# This example uses a peak rate that is high for the model, because there the beginning matters.
#
# ## Setup

# %%
import os
import sysconfig
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import layers

from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from keras_h0h1.callbacks import LearningRateLogger

steps = int(os.environ.get("EXAMPLE_STEPS", 160))
context, batch_size, width, num_blocks = 32, 32, 64, 2
peak_rate = 1e-2

# %% [markdown]
# ## Data
#
# The source code of Python's standard library is on every machine that can run this. A character
# is a token.

# %%
library = Path(sysconfig.get_path("stdlib"))
names = ["argparse", "ast", "calendar", "datetime", "inspect", "pathlib", "random", "statistics"]
files = [path for name in names if (path := library / f"{name}.py").is_file()]
text = "".join(path.read_text("utf-8") for path in files)
characters = sorted(set(text))
tokens = np.array([characters.index(c) for c in text[:400_000]], "int32")
split = int(0.95 * len(tokens))
print(f"{len(files)} files, {len(tokens):,} characters, {len(characters)} different ones")


def windows(part, count, seed):
    starts = np.random.default_rng(seed).integers(0, len(part) - context - 1, count)
    index = starts[:, None] + np.arange(context + 1)
    return part[index][:, :-1], part[index][:, 1:]


x, y = windows(tokens[:split], steps * batch_size, seed=0)
validation = windows(tokens[split:], 512, seed=1)

# %% [markdown]
# ## Model
#
# A GPT of the post-LN kind, which is known to need warm-up: the normalisation comes after each
# residual connection.


# %%
def build_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((context,), dtype="int32")
    positions = layers.Embedding(context, width)(keras.ops.arange(context))
    hidden = layers.Embedding(len(characters), width)(inputs) + positions
    for _ in range(num_blocks):
        attention = layers.MultiHeadAttention(4, width // 4)
        hidden = layers.LayerNormalization()(
            hidden + attention(hidden, hidden, use_causal_mask=True)
        )
        mlp = layers.Dense(width)(layers.Dense(4 * width, "gelu")(hidden))
        hidden = layers.LayerNormalization()(hidden + mlp)
    return keras.Model(inputs, layers.Dense(len(characters))(hidden))


print(f"{build_model().count_params():,} parameters")

# %% [markdown]
# ## Three schedules
#
# Linear warm-up takes a fifth of the steps here, as in the paper. The loss-driven schedule is
# given the peak rate and nothing else.

# %%
optimizers = {
    "none": keras.optimizers.AdamW(peak_rate),
    "linear, 20%": keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(
            0.0, decay_steps=10**9, warmup_target=peak_rate, warmup_steps=max(1, steps // 5)
        )
    ),
    "loss-driven": LossAware(keras.optimizers.AdamW(LossAdaptiveLearningRate(peak_rate))),
}

# %% [markdown]
# `LearningRateLogger` records the loss and the rate of each batch. Every run has the same initial
# weights and the same batches in the same order.


# %%
class BatchLoss(keras.callbacks.Callback):
    """The loss of each batch; Keras reports the mean since the epoch began."""

    def on_train_begin(self, logs=None):
        self.losses, self.total = [], 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = logs["loss"] * (batch + 1)
        self.losses.append(total - self.total)
        self.total = total


runs, final = {}, {}
for name, optimizer in optimizers.items():
    model = build_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss)
    logger, batch_loss = LearningRateLogger(), BatchLoss()
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0, callbacks=[logger, batch_loss])
    runs[name] = batch_loss.losses, logger.history["effective_learning_rate"]
    final[name] = model.evaluate(*validation, batch_size=128, verbose=0)
    print(f"{name:12s} validation loss {final[name]:.3f}")

# %% [markdown]
# ## Result

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for name, (losses, rates) in runs.items():
    window = max(1, steps // 24)
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    left.plot(np.arange(len(smooth)) + window, smooth, label=name)
    right.plot(np.arange(1, len(rates) + 1), rates, label=name)
left.set(xlabel="update", ylabel="training loss")
right.set(xlabel="update", ylabel="learning rate")
left.legend()
plt.show()

best = min(final, key=final.get)
print(f"Lowest validation loss: {best}, {final[best]:.3f}")

# %% [markdown]
# The rate of the loss-driven run follows from its losses. Where they fall fast, it is the limit of
# 1/100 a step that shapes its rise; where a batch is much worse than those before, the rate falls.
#
# What to keep in mind: this is one seed, one model and one rate, and differences of a few
# hundredths mean nothing. A comparison needs several seeds and a range of rates; `python -m
# benchmarks.quality` is one.
#
# ## Next
#
# * Where does the rule come from? Measure it: *How long should warm-up be?*
# * Put it into your own training: *Train my own model with it*.
