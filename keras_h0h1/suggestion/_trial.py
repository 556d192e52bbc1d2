"""Training steps after which nothing is different."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence

import keras

from keras_h0h1 import _autodiff, _keras
from keras_h0h1.suggestion._optimizer import leaf_of, settable_copy


class Trial:
    """Training steps of a compiled model at rates that are set from outside.

    The model's own `train_step`, loss and weights are used, with a copy of its optimizer.
    `trial_of` puts everything back.

    Args:
        model: A built, compiled model.
        batches: Iterator of `(x, y, sample_weight)`.
        windows: Updates after which the batches come again.

    Attributes:
        original: The model's optimizer.
        optimizer: The copy of the model's optimizer.
        period: Batches for one update; more than 1 under gradient accumulation.
        batches: Those that are used, a list.
    """

    def __init__(self, model: keras.Model, batches: Iterator[tuple], windows: int) -> None:
        self.model, self.original = model, model.optimizer
        with _keras.variable_scope(model):
            self.optimizer, self._rate = settable_copy(model.optimizer, model.trainable_variables)
        self.period = leaf_of(self.optimizer).gradient_accumulation_steps or 1
        self.batches = list(itertools.islice(batches, windows * self.period))
        self._windows, self._updates = windows, 0

    def update(self, rate: float) -> float:
        """One update of the weights; returns the mean loss of its batches before it.

        Update `k` takes the same batches as update `k - windows`.
        """
        self._rate.assign(rate)
        first = self._updates % self._windows * self.period
        self._updates += 1
        batches = self.batches[first : first + self.period]
        losses = [self._train_on_batch(batch) for batch in batches]
        return math.fsum(losses) / self.period if all(map(math.isfinite, losses)) else math.nan

    def _train_on_batch(self, batch) -> float:
        x, y, sample_weight = batch
        # It resets the metrics first, so the loss is that of this batch.
        logs = self.model.train_on_batch(x, y, sample_weight=sample_weight, return_dict=True)
        try:
            return float(logs["loss"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                "The model's `train_step` must return a dictionary whose 'loss' is the loss of "
                f"the batch. Received: {logs!r}"
            ) from None

    def state(self) -> list:
        """Copies of all that an update moves."""
        model = self.model
        variables = (
            model.trainable_variables + model.non_trainable_variables + self.optimizer.variables
        )
        return copies(variables)


def copies(variables: Sequence[keras.Variable]) -> list:
    """Pairs of a variable and a copy of its value."""
    return [(variable, _autodiff.copy(_autodiff.read(variable))) for variable in variables]


def put_back(state: list) -> None:
    """Gives variables the values of `copies` back, whatever is pressed meanwhile."""
    interrupted = None
    while True:
        try:
            for variable, value in state:
                # Again each time: JAX gives the variable's buffer to the next step.
                variable.assign(_autodiff.copy(value))
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted


@contextlib.contextmanager
def trial_of(model: keras.Model, batches: Iterator[tuple], windows: int) -> Iterator[Trial]:
    """A `Trial` of `model`; afterwards the model and every generator are as they were.

    Also when the block ends with an exception or Ctrl-C.

    Args:
        model: A compiled model. One that is not built is built, as `fit` would.
        batches: As for `Trial`.
        windows: As for `Trial`.
    """
    if getattr(model, "optimizer", None) is None or not getattr(model, "compiled", False):
        raise ValueError(
            "`model` must be compiled with an optimizer and a loss. "
            f"Received: model={model!r}, compiled={getattr(model, 'compiled', False)}"
        )
    if _keras.num_replicas_of(model) > 1:
        raise ValueError(
            "A range test does not run under a `tf.distribute` strategy of several replicas. Make "
            "the model outside its scope for the test. "
            f"Received: replicas={_keras.num_replicas_of(model)}"
        )
    if not model.built:
        batch = next(batches)
        batches = itertools.chain([batch], batches)
        model(batch[0])
    kept = copies(
        model.trainable_variables + model.non_trainable_variables + model.metrics_variables
    )
    with _keras.random_state_kept():
        trial = Trial(model, batches, windows)
        try:
            # On JAX a step deletes the buffers of what it is given. After `fit` with an average of
            # the weights, these share theirs with the optimizer that stays behind.
            put_back(kept)
            with _keras.trained_with(model, trial.optimizer):
                yield trial
        finally:
            # Metrics that the first step has made start from 0 again.
            model.reset_metrics()
            put_back(kept)
