"""Evidence: text recognition, strings of three to five digits, with CTC.

Alex Graves et al., "Connectionist Temporal Classification: Labelling Unsegmented Sequence Data with
Recurrent Neural Networks", ICML 2006. The network has the parts of the example "OCR model for
reading Captchas" of keras.io: convolutions, a recurrent layer in both directions, one answer for
each column.
"""

import functools

import keras
import numpy as np
from keras import layers, ops

from benchmarks.quality import digit_strings
from benchmarks.quality.workload import EVIDENCE, Workload

BATCH, LONGEST, SHORTEST = 16, 5, 3
CLASSES = 11
"""The blank, which is 0, and ten digits; in the labels 0 stands behind a string's end."""


def _examples(part: str, generator, shape: tuple[int, int]):
    digits = generator.integers(0, 10, size=(*shape, LONGEST))
    lengths = generator.integers(SHORTEST, LONGEST + 1, size=(*shape, 1))
    digits = np.where(np.arange(LONGEST) < lengths, digits, -1)
    return digit_strings.row_of_images(part, digits, generator), (digits + 1).astype(np.int32)


def training(seed: int, updates: int):
    """Pictures of strings, and their digits plus 1."""
    return _examples("training", np.random.default_rng([seed, 8]), (updates, BATCH))


def held_out():
    """512 strings of digits that training does not show."""
    return _examples("held out", np.random.default_rng(9), (8, 64))


def model(seed: int) -> keras.Model:
    """Logits of the classes for each of 20 columns."""
    keras.utils.set_random_seed(seed)
    picture = keras.Input((8, 8 * LONGEST, 1))
    x = layers.Rescaling(1 / 16)(picture)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D((2, 1))(x)
    columns = layers.Reshape((4 * LONGEST, 32))(layers.Permute((2, 1, 3))(x))
    x = layers.Bidirectional(layers.LSTM(32, return_sequences=True))(columns)
    return keras.Model(picture, layers.Dense(CLASSES)(x))


def ctc_loss(labels, logits):
    """The negative logarithm of the string's probability, summed over all alignments."""
    labels = ops.cast(labels, "int32")
    lengths = ops.sum(ops.cast(labels > 0, "int32"), axis=-1)
    columns = ops.full((ops.shape(logits)[0],), logits.shape[1], dtype="int32")
    return ops.ctc_loss(labels, logits, lengths, columns, mask_index=0)


@functools.cache
def trivial_loss() -> float:
    """The loss of the same logits for each picture, fitted to 512 strings of training.

    They differ between columns; Adam finds them, and the loss is that of the held-out strings.
    """
    import jax

    labels = training(0, 32)[1].reshape(-1, LONGEST)

    def loss(logits, labels):
        return ops.mean(ctc_loss(labels, ops.broadcast_to(logits, (len(labels), *logits.shape))))

    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.3, 300))
    logits = keras.Variable(np.zeros((4 * LONGEST, CLASSES), np.float32))
    optimizer.build([logits])

    @jax.jit
    def fit(values, state):
        def update(carry, _):
            gradient = jax.grad(loss)(carry[0], labels)
            (values,), state = optimizer.stateless_apply(carry[1], [gradient], [carry[0]])
            return (values, state), None

        return jax.lax.scan(update, (values, state), None, 300)[0]

    values, _ = fit(logits.value, [variable.value for variable in optimizer.variables])
    return float(loss(values, held_out()[1].reshape(-1, LONGEST)))


WORKLOAD = Workload(
    name="ctc",
    kind=EVIDENCE,
    description="text recognition with CTC, convolutions and an LSTM, strings of 3 to 5 digits, "
    "AdamW",
    version=1,
    updates=500,
    rates=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    model=model,
    optimizer=lambda schedule: keras.optimizers.AdamW(schedule, global_clipnorm=1.0),
    training=training,
    held_out=held_out,
    trivial_loss=trivial_loss,
    compile=lambda: {"loss": ctc_loss},
)
