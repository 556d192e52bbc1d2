"""Small training problems that the core's tests share, and their float64 reference in NumPy."""

import keras
import numpy as np

NUM_FEATURES, NUM_HIDDEN, NUM_CLASSES = 4, 8, 3


def data(num_examples=32, seed=1):
    """Inputs scaled so that the first losses lie well above the C used in the tests."""
    rng = np.random.default_rng(seed)
    x = 3.0 * rng.normal(size=(num_examples, NUM_FEATURES))
    return x, rng.integers(0, NUM_CLASSES, size=num_examples)


def weights(seed=2):
    """Values for the four variables of `mlp`, in its order."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(NUM_FEATURES, NUM_HIDDEN)),
        np.zeros(NUM_HIDDEN),
        2.0 * rng.normal(size=(NUM_HIDDEN, NUM_CLASSES)),
        np.zeros(NUM_CLASSES),
    ]


def mlp(optimizer=None, reduction="sum_over_batch_size", **compile_arguments):
    """A two-layer classifier with the fixed weights, compiled if there is an optimizer.

    Made of operations that keep float64 everywhere: outside TensorFlow Keras 3.15 computes tanh,
    and on PyTorch matmul, in float32 whatever floatx says.
    """
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((NUM_FEATURES,)),
            layers.EinsumDense("bi,io->bo", NUM_HIDDEN, bias_axes="o", activation="relu"),
            layers.EinsumDense("bi,io->bo", NUM_CLASSES, bias_axes="o"),
        ]
    )
    model.set_weights(weights())
    if optimizer is not None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        model.compile(optimizer=optimizer, loss=loss, **compile_arguments)
    return model


def fit(model, batch_size=8, epochs=2, callbacks=(), seed=1, **arguments):
    """Trains without shuffling; returns the weights afterwards."""
    x, y = data(seed=seed)
    model.fit(
        x.astype(keras.config.floatx()),
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **arguments,
    )
    return model.get_weights()


def largest_difference(first, second):
    """Largest absolute difference between two lists of arrays."""
    return max(float(np.max(np.abs(a - b))) for a, b in zip(first, second, strict=True))


def reference_loss_and_gradients(values, x, y):
    """Summed cross-entropy of `mlp` and its gradient, by hand, in float64."""
    w1, b1, w2, b2 = values
    hidden = np.maximum(x @ w1 + b1, 0.0)
    logits = hidden @ w2 + b2
    logits = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = -log_probabilities[rows, y].sum()
    d_logits = np.exp(log_probabilities)
    d_logits[rows, y] -= 1.0
    d_hidden = (d_logits @ w2.T) * (hidden > 0)
    return loss, [x.T @ d_hidden, d_hidden.sum(0), hidden.T @ d_logits, d_logits.sum(0)]


# Numbers that float32 holds exactly: Keras turns an optimizer's constants into float32 tensors
# before it casts them to float64, and 0.9 would differ from the reference's in the eighth digit.
ADAMW = {
    "beta_1": 0.875,
    "beta_2": 1 - 2.0**-10,
    "epsilon": 2.0**-23,
    "weight_decay": 2.0**-8,
}


def reference_adamw(rate_of, steps, batch_size=8, accumulate=1):
    """AdamW on `mlp` in float64. Returns each update's loss, rate, and the final weights.

    The loss is summed over the batch; Keras averages in float32 on PyTorch.

    Args:
        rate_of: Function of (update's loss, step counter) to the learning rate.
        steps: Number of weight updates.
        batch_size: Examples in a (micro-)batch, taken in order, again from the start at the end.
        accumulate: Micro-batches per update.
    """
    beta_1, beta_2, epsilon, weight_decay = ADAMW.values()
    x, y = data()
    values = weights()
    first = [np.zeros_like(v) for v in values]
    second = [np.zeros_like(v) for v in values]
    losses, rates = [], []
    for k in range(steps):
        parts = []
        for j in range(accumulate):
            start = ((k * accumulate + j) * batch_size) % len(x)
            batch = slice(start, start + batch_size)
            parts.append(reference_loss_and_gradients(values, x[batch], y[batch]))
        loss = np.mean([part[0] for part in parts])
        gradients = [np.mean([part[1][i] for part in parts], axis=0) for i in range(4)]
        rate = rate_of(loss, k)
        t = k + 1
        scale = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
        for i, g in enumerate(gradients):
            # Decoupled, multiplied by the rate, on every variable, as in Keras.
            values[i] = values[i] * (1 - weight_decay * rate)
            first[i] = beta_1 * first[i] + (1 - beta_1) * g
            second[i] = beta_2 * second[i] + (1 - beta_2) * g**2
            values[i] = values[i] - scale * first[i] / (np.sqrt(second[i]) + epsilon)
        losses.append(loss)
        rates.append(rate)
    return np.array(losses), np.array(rates), values
