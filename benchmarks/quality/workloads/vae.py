"""Test: a variational autoencoder; its loss is summed over pixels, its `train_step` its own.

Diederik Kingma and Max Welling, "Auto-Encoding Variational Bayes", arXiv 1312.6114.
"""

import jax
import keras
import numpy as np
from keras import layers, ops

from benchmarks.quality import data
from benchmarks.quality.workload import TEST, Workload

CODE, HIDDEN, BATCH = 16, 128, 64


class Autoencoder(keras.Model):
    """Encoder, sampling and decoder, with the negative evidence lower bound as its loss."""

    def __init__(self, seed: int):
        super().__init__()
        self.encoder = keras.Sequential(
            [keras.Input((784,)), layers.Dense(HIDDEN, "relu"), layers.Dense(2 * CODE)]
        )
        self.decoder = keras.Sequential(
            [keras.Input((CODE,)), layers.Dense(HIDDEN, "relu"), layers.Dense(784)]
        )
        self.noise = keras.random.SeedGenerator(seed)
        self.trackers = [keras.metrics.Mean(name=n) for n in ("loss", "reconstruction", "kl")]

    @property
    def metrics(self):
        return self.trackers

    def call(self, pixels):
        """Logits of the pixels, mean and logarithmic variance of the code."""
        mean, log_variance = ops.split(self.encoder(pixels), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.noise)
        return self.decoder(mean + ops.exp(0.5 * log_variance) * noise), mean, log_variance

    def objective(self, trainable, others, images):
        """The loss, its two parts, and the new values of the other variables."""
        pixels = ops.reshape(ops.cast(images, "float32") / 255, (-1, 784))
        (logits, mean, log_variance), others = self.stateless_call(trainable, others, pixels)
        # Summed over pixels, as the bound is, and averaged over images.
        entropies = ops.softplus(logits) - pixels * logits
        reconstruction = ops.mean(ops.sum(entropies, axis=-1))
        gaps = ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance
        divergence = 0.5 * ops.mean(ops.sum(gaps, axis=-1))
        return reconstruction + divergence, (reconstruction, divergence, others)

    def _track(self, metrics_values, values):
        mapping = list(zip(self.metrics_variables, metrics_values, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            for tracker, value in zip(self.trackers, values, strict=True):
                tracker.update_state(value)
            logs = {tracker.name: tracker.result() for tracker in self.trackers}
        return logs, [scope.get_current_value(v) for v in self.metrics_variables]

    def train_step(self, state, batch):
        trainable, others, optimizer_values, metrics_values = state
        images, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        gradient = jax.value_and_grad(self.objective, has_aux=True)
        (loss, (*parts, others)), gradients = gradient(trainable, others, images)
        if hasattr(self.optimizer, "observe"):  # The line that a loss-driven rate asks for.
            self.optimizer.observe(loss)
        trainable, optimizer_values = self.optimizer.stateless_apply(
            optimizer_values, gradients, trainable
        )
        logs, metrics_values = self._track(metrics_values, (loss, *parts))
        return logs, (trainable, others, optimizer_values, metrics_values)

    def test_step(self, state, batch):
        trainable, others, metrics_values = state
        images, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        loss, (*parts, others) = self.objective(trainable, others, images)
        logs, metrics_values = self._track(metrics_values, (loss, *parts))
        return logs, (trainable, others, metrics_values)


def model(seed: int) -> keras.Model:
    """784, 128, 16, 128, 784."""
    keras.utils.set_random_seed(seed)
    autoencoder = Autoencoder(seed)
    autoencoder(np.zeros((1, 784), np.float32))
    return autoencoder


def trivial_loss() -> float:
    """The loss of the training images' mean for every pixel, and no code."""
    images = data.fashion()
    shares = images.training.images.reshape(-1, 784).mean(axis=0) / 255
    shares = np.clip(shares, 1e-6, 1 - 1e-6)
    held_out = images.validation.images.reshape(-1, 784).mean(axis=0) / 255
    entropies = -held_out * np.log(shares) - (1 - held_out) * np.log(1 - shares)
    return float(entropies.sum())


WORKLOAD = Workload(
    name="vae",
    kind=TEST,
    description="variational autoencoder, loss summed over 784 pixels, own train_step, AdamW",
    version=1,
    updates=1500,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule),
    training=lambda seed, updates: data.fashion_batches(seed, updates, BATCH)[:1],
    held_out=lambda: data.fashion_held_out(4)[:1],
    trivial_loss=trivial_loss,
    metric="reconstruction",
)
