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
# # How long should warm-up be? Measuring (H0, H1)
#
# **Description:** Measure the curvature of a network's loss during training, fit the smoothness
# constants to it, and read a warm-up from them.
#
# ## Introduction
#
# A gradient step is safe while the learning rate is below about one over the curvature. If the
# curvature obeys
#
# $$\|\nabla^2 f(w)\| \le H_0 + H_1 (f(w) - f^*)$$
#
# then the safe rate grows as the loss falls, and warm-up should be as long as the loss takes to
# fall to the gap $C = H_0 / H_1$, where both terms are equal. That can be measured. The condition
# need not hold: this example shows a network where the curvature falls with the loss all the way,
# and one where it rises again while the loss still falls.
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

from keras_h0h1.callbacks import SmoothnessProbe
from keras_h0h1.schedules import LossAdaptiveLearningRate, simulate

steps = int(os.environ.get("EXAMPLE_STEPS", 160))
batch_size = 32

# %% [markdown]
# ## Two networks
#
# The first predicts counts, with the Poisson loss and an exponential output. Its bias starts too
# high: the first predictions are about twenty where the counts are about one.

# %%
rng = np.random.default_rng(0)
features = rng.normal(size=(steps * batch_size, 8)).astype("float32")
intensity = np.exp(0.5 * np.tanh(features @ rng.normal(size=8)))
counts = rng.poisson(intensity).astype("float32")[:, None]

keras.utils.set_random_seed(0)
count_model = keras.Sequential(
    [
        keras.Input((8,)),
        layers.Dense(32, "tanh"),
        layers.Dense(1, "exponential", bias_initializer=keras.initializers.Constant(3.0)),
    ]
)
count_model.compile(keras.optimizers.SGD(0.02, global_clipnorm=1.0), loss="poisson")

# %% [markdown]
# The second is a Transformer with one block that reads characters of Python's standard library. Its
# weights start small.

# %%
library = Path(sysconfig.get_path("stdlib"))
text = (library / "argparse.py").read_text("utf-8") + (library / "ast.py").read_text("utf-8")
characters = sorted(set(text))
tokens = np.array([characters.index(c) for c in text], "int32")
context, width = 16, 32
starts = rng.integers(0, len(tokens) - context - 1, steps * batch_size)
index = starts[:, None] + np.arange(context + 1)
sequences, targets = tokens[index][:, :-1], tokens[index][:, 1:]


def normal(seed):
    return keras.initializers.RandomNormal(stddev=0.02, seed=seed)


inputs = keras.Input((context,), dtype="int32")
hidden = layers.Embedding(len(characters), width, embeddings_initializer=normal(1))(inputs)
attention = layers.MultiHeadAttention(2, width // 2, kernel_initializer=normal(2))
hidden = hidden + attention(hidden, hidden, use_causal_mask=True)
inner = layers.Dense(4 * width, "gelu", kernel_initializer=normal(3))(hidden)
hidden = hidden + layers.Dense(width, kernel_initializer=normal(4))(inner)
transformer = keras.Model(
    inputs, layers.Dense(len(characters), kernel_initializer=normal(5))(hidden)
)
transformer.compile(
    keras.optimizers.SGD(0.1, global_clipnorm=1.0),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)

# %% [markdown]
# ## Measure
#
# `SmoothnessProbe` measures on a batch of its own, by Lanczos iteration with Hessian-vector
# products, and leaves the training as it was. `max_share=None` lifts the limit on its time.


# %%
def measure(model, x, y, probe_size):
    # Close together at the start, where the loss falls fastest.
    at_steps = np.unique(np.geomspace(1, steps, 36).astype(int)) - 1
    batch = x[:probe_size], y[:probe_size]
    probe = SmoothnessProbe(batch, "hessian", at_steps=at_steps, max_share=None, tol=0.02)
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0, callbacks=[probe])
    return probe


probes = {
    "count model": measure(count_model, features, counts, probe_size=256),
    "Transformer": measure(transformer, sequences, targets, probe_size=16),
}

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, (name, probe) in zip(axes, probes.items(), strict=True):
    probe.plot(ax=ax, colorbar=ax is axes[-1])
    ax.set_title(name)
plt.show()

# %% [markdown]
# Each dot is one measurement, dark at the start of training and light at its end. Where the
# condition holds, the dots go down to the left: a smaller loss, a smaller curvature.
#
# ## Fit
#
# The fit leaves out the end of a run where the curvature rises while the loss still falls
# (progressive sharpening), refuses where the loss hardly moved, and its `note` says where the
# curvature did not grow with the loss. The intervals are those of the fit's noise, not of another
# seed. The infimum of the loss is not 0 here, so the lowest loss of each run stands for it.

# %%
fits = {}
for name, probe in probes.items():
    lowest = float(probe.column("loss").min())
    try:
        fits[name] = fit = probe.fit(f_star=lowest)
    except ValueError as error:
        print(f"{name}: refused. {error}")
        continue
    print(
        f"{name}: H0 = {fit.H0:.2f} {np.round(fit.H0_interval, 2)}, "
        f"H1 = {fit.H1:.2f} {np.round(fit.H1_interval, 2)}, R2 = {fit.r_squared:.2f}\n"
        f"    {fit.points} points used, {fit.points_outside} left out. {fit.note}"
    )

# %% [markdown]
# ## From the constants to a warm-up
#
# With the constants of the count model the theory suggests the peak rate $1 / H_0$ and the gap
# $C = H_0 / H_1$ at which it is reached. `simulate` shows what this rule does along the losses that
# were measured. Beside it stands the self-tuned rule, which knows no constant: its `C` comes from
# the first loss.

# %%
probe, fit = probes["count model"], fits.get("count model")
losses = np.interp(np.arange(steps), probe.column("step"), probe.column("loss"))
peak = 0.02
rules = {"self-tuned": LossAdaptiveLearningRate(peak)}
if fit is not None and 0 < fit.C < np.inf:
    peak = 1 / fit.H0
    rules = {
        "self-tuned": LossAdaptiveLearningRate(peak),
        f"measured, C = {fit.C:.2f}": LossAdaptiveLearningRate(peak, C=fit.C, f_star=fit.f_star),
    }

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for name, rule in rules.items():
    run = simulate(rule, losses)
    ax.plot(run.step, run.effective_learning_rate, label=name)
    reached = np.flatnonzero(run.learning_rate_factor >= 0.99)
    when = f"from update {run.step[reached[0]]} on" if len(reached) else "not in this run"
    print(f"{name}: at its peak rate of {peak:.2g} {when}")
ax.set(xlabel="update", ylabel="learning rate")
ax.legend()
plt.show()

# %% [markdown]
# These are the rates along *those* losses. With a higher rate the loss would have fallen faster,
# and the warm-up been shorter.
#
# ## Conclusion
#
# How long warm-up should be is a property of the network, its initialisation and its loss. Where
# the curvature falls with the loss, the fit gives the gap at which warm-up should be over. Where it
# does not, no warm-up follows from this theory, and figure and fit say so.
#
# The networks here are tiny, each run is one seed, and SGD's curvature is not what Adam sees: for
# Adam measure with `mode="preconditioned"`. `python -m recipes.smoothness` makes the study of
# several networks, losses and initialisations.
