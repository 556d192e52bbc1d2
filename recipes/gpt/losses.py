"""Cross-entropy over a large vocabulary, without ever holding the logits of a whole batch."""

import keras
from keras import ops


def blocked_cross_entropy(
    hidden: keras.KerasTensor,
    kernel: keras.KerasTensor,
    targets: keras.KerasTensor,
    positions: int,
) -> keras.KerasTensor:
    r"""Cross-entropy of each token from hidden states, `positions` places at a time.

    The logits of 8 x 1024 tokens over 50,280 words are 1.6 GB in float32, and their gradient as
    much again: more than everything else in a small model's step. Here a loop makes the logits of
    a few positions of every row, keeps their loss and forgets them; the backward pass makes them
    again, and sums the gradient of the kernel in float32. That costs one more product of the head.

    It is cut along time and not along the batch, because that is what devices share out.

    Args:
        hidden: The last hidden states, shape `(batch, time, width)`, in the compute dtype.
        kernel: The head, shape `(width, vocabulary)`, float32.
        targets: Ids, shape `(batch, time)`, int32.
        positions: Places in a block; any number, `time` need not be a multiple.

    Returns:
        $\log \sum_v e^{z_v} - z_{target}$, shape `(batch, time)`, float32. It can be
        differentiated once, backwards, with respect to `hidden` and `kernel`.

    Example: with logits that are all equal, the loss is the logarithm of the vocabulary's size.

    >>> import numpy as np
    >>> hidden, kernel = np.zeros((1, 3, 4), "float32"), np.zeros((4, 10), "float32")
    >>> losses = blocked_cross_entropy(hidden, kernel, np.zeros((1, 3), "int32"), positions=2)
    >>> [round(float(loss), 4) for loss in losses[0]]
    [2.3026, 2.3026, 2.3026]
    """
    hidden, targets = ops.convert_to_tensor(hidden), ops.convert_to_tensor(targets)
    kernel = ops.convert_to_tensor(kernel)
    # TensorFlow traces some batches with open shapes; these are then tensors.
    batch, time, width = ops.shape(hidden)
    vocabulary = kernel.shape[-1]
    dtype = hidden.dtype
    if isinstance(time, int):
        positions = min(positions, time)
    blocks = -(-time // positions)
    padding = blocks * positions - time

    def padded(x):
        # Zeros at the end; their loss is cut off, so their gradient is zero.
        if isinstance(padding, int) and not padding:
            return x
        shape = (batch, padding, *x.shape[2:])
        return ops.concatenate([x, ops.zeros(shape, x.dtype)], axis=1)

    def cut(x, index):
        return ops.slice(
            x, (0, index * positions, *(0,) * (len(x.shape) - 2)), (batch, positions, *x.shape[2:])
        )

    def put(x, index, update):
        return ops.slice_update(x, (0, index * positions, *(0,) * (len(x.shape) - 2)), update)

    targets = padded(ops.cast(targets, "int32"))

    @ops.custom_gradient
    def losses(hidden, kernel):
        weights, states = ops.cast(kernel, dtype), padded(hidden)

        def logits_of(index):
            return ops.cast(ops.matmul(cut(states, index), weights), "float32")

        def forward(index, result):
            logits = logits_of(index)
            chosen = ops.take_along_axis(logits, cut(targets, index)[..., None], axis=-1)[..., 0]
            return put(result, index, ops.logsumexp(logits, axis=-1) - chosen)

        result = ops.zeros((batch, blocks * positions), "float32")
        result = ops.fori_loop(0, blocks, forward, result)

        def gradient(*args, upstream=None):
            # PyTorch hands over the arguments too, the others the upstream gradient alone.
            upstream = padded(args[0] if upstream is None else upstream)

            def backward(index, gradients):
                of_states, of_kernel = gradients
                chosen = cut(targets, index)[..., None] == ops.arange(vocabulary, dtype="int32")
                error = ops.softmax(logits_of(index)) - ops.cast(chosen, "float32")
                error = ops.cast(error * cut(upstream, index)[..., None], dtype)
                of_states = put(of_states, index, ops.matmul(error, ops.transpose(weights)))
                part = ops.matmul(
                    ops.transpose(ops.reshape(cut(states, index), (-1, width))),
                    ops.reshape(error, (-1, vocabulary)),
                )
                return of_states, of_kernel + ops.cast(part, "float32")

            start = ops.zeros_like(states), ops.zeros((width, vocabulary), "float32")
            of_states, of_kernel = ops.fori_loop(0, blocks, backward, start)
            return of_states[:, :time], ops.cast(of_kernel, kernel.dtype)

        return result[:, :time], gradient

    return losses(hidden, kernel)


@keras.saving.register_keras_serializable(package="keras_h0h1")
class TokenCrossEntropy(keras.losses.Loss):
    r"""Cross-entropy of each token from its logits, $\log \sum_v e^{z_v} - z_{target}$.

    Keras' `SparseCategoricalCrossentropy(from_logits=True)` has the same values. On a CPU it takes
    longer: on JAX it multiplies by an array of ones and zeros as large as the logits, on PyTorch it
    moves the classes to the second axis. TensorFlow has an operation of its own, which is used.

    Example: with logits that are all equal, the loss is the logarithm of the vocabulary's size.

    >>> import numpy as np
    >>> loss = TokenCrossEntropy()(np.zeros((1, 3), "int32"), np.zeros((1, 3, 10), "float32"))
    >>> round(float(loss), 4)
    2.3026
    """

    def call(self, y_true, y_pred):
        """Losses of shape `(batch, time)`.

        Args:
            y_true: Ids, shape `(batch, time)`.
            y_pred: Logits, shape `(batch, time, vocabulary)`.
        """
        # Keras has made them floats, as all targets.
        targets = ops.cast(y_true, "int32")
        if keras.backend.backend() == "tensorflow":
            # It has one operation for this.
            return ops.sparse_categorical_crossentropy(targets, y_pred, from_logits=True)
        chosen = targets[..., None]
        return ops.logsumexp(y_pred, axis=-1) - ops.take_along_axis(y_pred, chosen, axis=-1)[..., 0]


@keras.saving.register_keras_serializable(package="keras_h0h1")
class MeanOfLosses(keras.losses.Loss):
    """The mean of predictions that are losses already; targets are passed over."""

    def call(self, y_true, y_pred):
        return y_pred


@keras.saving.register_keras_serializable(package="keras_h0h1")
class BlockedTraining(keras.Model):
    """Trains and evaluates a language model by `blocked_cross_entropy`.

    `fit` and `evaluate` take tokens and the tokens that follow, as for the model itself. What it
    predicts are hidden states; for logits, and for saving, there is
    `language_model`, which shares all weights.

    Args:
        language_model: From `recipes.gpt.model.build_language_model`.
        positions: Places in a block.
        **kwargs: Keras' model arguments.

    Example:

    >>> import numpy as np
    >>> from recipes.gpt.model import SIZES, build_language_model
    >>> model = BlockedTraining(build_language_model("gpt2", SIZES["demo"], 50, 16), positions=8)
    >>> model.compile("adam", MeanOfLosses())
    >>> tokens = np.zeros((2, 16), "int32")
    >>> loss = model.evaluate(tokens, tokens, verbose=0)
    """

    def __init__(self, language_model: keras.Model, positions: int, **kwargs):
        super().__init__(**kwargs)
        self.language_model = language_model
        self.positions = positions
        # All weights are the language model's, which is built.
        self.built = True

    @property
    def _layer(self) -> keras.layers.Layer:
        return self.language_model.get_layer("next_token")

    def call(self, token_ids):
        return self._layer.hidden_states(token_ids)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self._layer.backbone.hidden_dim)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = blocked_cross_entropy(y_pred, self._layer.kernel, y, self.positions)
        return super().compute_loss(x, y, losses, sample_weight, training)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "language_model": keras.saving.serialize_keras_object(self.language_model),
            "positions": self.positions,
        }

    @classmethod
    def from_config(cls, config: dict) -> "BlockedTraining":
        language_model = keras.saving.deserialize_keras_object(config.pop("language_model"))
        return cls(language_model, **config)
