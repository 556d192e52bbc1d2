"""What takes part in the comparison: each trains a case's model, a block of steps at a time."""

import importlib
import itertools
import time

import keras
import numpy as np

from benchmarks.steps.cases import CLASSES, OPTIMIZER, Case
from benchmarks.steps.weights import take
from keras_h0h1 import LossAdaptiveLearningRate, LossAware
from recipes.common.training.optimizers import jit_compile

# Steps whose losses are compared: three updates, and the loss after them.
COMPARED = 4


class Hand:
    """A step written in the backend's own functions.

    Args:
        case: Model and batch.
        compiled: Whether `torch.compile` compiles it; steps on JAX and TensorFlow always are.
    """

    def __init__(self, case: Case, compiled: bool = False):
        model = case.model()
        weights, stats = take(case, model)
        del model
        keras.utils.clear_session()
        module = importlib.import_module(f"benchmarks.steps.by_{keras.backend.backend()}")
        options = {"compiled": True} if compiled else {}
        self.step = module.Step(case, weights, stats, **options)
        self.batches = itertools.cycle(case.batches())

    def start(self) -> dict:
        """The first steps: seconds of the very first, which compiles, and the losses."""
        begin = time.perf_counter()
        losses = [float(self.step(*next(self.batches)))]
        first = time.perf_counter() - begin
        losses += [float(self.step(*next(self.batches))) for _ in range(COMPARED - 1)]
        return {"first_step_seconds": first, "losses": losses}

    def block(self, steps: int) -> float:
        """Seconds for so many steps, after one that is not counted."""
        float(self.step(*next(self.batches)))
        begin = time.perf_counter()
        for _ in range(steps):
            found = self.step(*next(self.batches))
        float(found)
        return time.perf_counter() - begin


class _Marks(keras.callbacks.Callback):
    """Time and mean loss after the first batch and after the last, or after each."""

    def __init__(self, batches):
        super().__init__()
        self.batches, self.times, self.means = batches, [], []

    def on_train_batch_end(self, batch, logs=None):
        if batch in self.batches:
            # Reading the loss waits for the step.
            self.means.append(float(logs["loss"]))
            self.times.append(time.perf_counter())


class Keras:
    """The recipe's model in `fit`, from a generator, as a recipe trains it.

    Args:
        case: Model and batch.
        rule: Whether the rate follows the loss.
        suited: Whether products, attention and loss are the recipe's, and not KerasHub's and
            Keras' own.
        jit: Keras' `jit_compile` [default: as the recipe has it].
    """

    def __init__(
        self, case: Case, rule: bool = False, suited: bool = True, jit: bool | None = None
    ):
        given = dict(OPTIMIZER)
        if rule:
            given["learning_rate"] = LossAdaptiveLearningRate(given["learning_rate"])
        optimizer = keras.optimizers.AdamW(**given)
        self.model = case.model()
        if suited:
            case.suit(self.model)
        self.model.compile(
            LossAware(optimizer) if rule else optimizer,
            case.loss(own=not suited),
            jit_compile=jit_compile("auto") if jit is None else jit,
        )
        self.batches = itertools.cycle(case.batches())

    def _fit(self, steps, marked):
        marks = _Marks(marked)
        # Keras takes a generator, and no other iterator.
        batches = (batch for batch in itertools.islice(self.batches, steps))
        self.model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[marks])
        return marks

    def start(self) -> dict:
        """As of `Hand`."""
        begin = time.perf_counter()
        marks = self._fit(COMPARED, range(COMPARED))
        sums = np.arange(1, COMPARED + 1) * marks.means
        losses = np.diff(sums, prepend=0.0).tolist()
        return {"first_step_seconds": marks.times[0] - begin, "losses": losses}

    def block(self, steps: int) -> float:
        """As of `Hand`."""
        marks = self._fit(steps + 1, (0, steps))
        return marks.times[1] - marks.times[0]


class Input:
    """The recipe's input pipeline alone, each batch made when it is asked for."""

    def __init__(self, case: Case):
        random = np.random.default_rng(0)
        count = 8 * case.batch_size
        if case.is_text:
            from recipes.text.batches import TokenBatches

            tokens = random.integers(0, case.vocabulary, count * case.context + 1, "uint16")
            self.batches = TokenBatches(tokens, case.context, case.batch_size)
        else:
            from recipes.vision.augment import Augmentation
            from recipes.vision.batches import ImageBatches
            from recipes.vision.data.images import Split

            images = random.integers(0, 256, (count, *case.image), "uint8")
            channels = np.full(case.image[-1], 0.5, "float32")
            self.batches = ImageBatches(
                Split(images, random.integers(0, CLASSES, count)),
                classes=CLASSES,
                batch_size=case.batch_size,
                mean=channels,
                std=channels,
                augment=Augmentation(crop=4, flip=True),
            )
        self.step = 0

    def start(self) -> dict:
        """As of `Hand`; there is no loss."""
        return {"first_step_seconds": self.block(1), "losses": None}

    def block(self, steps: int) -> float:
        """Seconds for so many batches."""
        begin = time.perf_counter()
        for _ in range(steps):
            self.batches[self.step]
            self.step += 1
        return time.perf_counter() - begin


PROGRAMS = {
    "hand-written": Hand,
    "keras": Keras,
    "keras, loss-driven": lambda case: Keras(case, rule=True),
    "keras, as built": lambda case: Keras(case, suited=False),
    "hand-written, torch.compile": lambda case: Hand(case, compiled=True),
    "keras, torch.compile": lambda case: Keras(case, jit=True),
    "input": Input,
}
