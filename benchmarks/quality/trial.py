"""One trial: a training run through Keras' own train step and the library's optimizers, on JAX.

All updates are one `lax.scan` over the model's `train_step`, whatever the model does in it. The
peak rate, the seed's weights and batches, and what a method declares as its inputs are arguments
of the compiled program.
"""

import dataclasses
import functools
import hashlib
import math
import time
from typing import Any

import jax
import keras
import numpy as np

from benchmarks.quality.methods import Method
from benchmarks.quality.rates import decay
from benchmarks.quality.workload import Workload, load_workload
from recipes.common.results.environment import describe_environment

POINTS = 200
"""Points of a recorded curve."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a trial is.

    Args:
        workload: The name of the workload.
        method: How the rate behaves.
        rate: The peak rate.
        seed: Decides weights and batches: equal for all methods.
        updates: Their number; the workload's own unless stated.
    """

    workload: str
    method: Method
    rate: float
    seed: int
    updates: int | None = None

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, apart from the machine and the versions."""
        workload = load_workload(self.workload)
        return {
            "workload": self.workload,
            "version": workload.version,
            "method": self.method.family,
            "constants": self.method.constants,
            "rate": self.rate,
            "seed": self.seed,
            "updates": self.updates or workload.updates,
        }


class Program:
    """The compiled training and evaluation of a workload, for all methods of one form."""

    def __init__(self, workload: Workload, method: Method):
        self.workload = workload
        self.model = workload.model(0)
        self.optimizer = method.build(workload)
        self.model.compile(self.optimizer, **workload.compile())
        self.optimizer.build(self.model.trainable_variables)
        x, *y = (array[0, :1] for array in workload.held_out())
        if y:  # Keras makes the metrics' variables when it first sees what they are given.
            outputs = np.zeros((1, *self.model.output_shape[1:]), np.float32)
            self.model.compute_loss(x, *y, outputs)
            self.model.compute_metrics(x, *y, outputs)
            self.model.reset_metrics()
        self.names = [variable.name for variable in self.optimizer.variables]
        self.optimizer_values = [keras.ops.convert_to_numpy(v) for v in self.optimizer.variables]
        self.metrics_values = [np.zeros(v.shape, v.dtype) for v in self.model.metrics_variables]
        self.held_out = tuple(jax.numpy.asarray(array) for array in workload.held_out())
        self.other = None
        if workload.other_held_out is not None:
            self.other = tuple(map(jax.numpy.asarray, workload.other_held_out()))
        self.before: dict[int, dict] = {}  # By seed, the evaluation before training.
        self._train = jax.jit(self._train_all)
        self._evaluate = jax.jit(self._evaluate_all)

    def _train_all(self, state, batches):
        def update(state, batch):
            # From zero in each update: Keras' metrics are means over all that they have seen.
            logs, (*state, _) = self.model.train_step((*state, self.metrics_values), batch)
            optimizer_values = state[2]
            rate = np.float32(np.nan)
            if "last_rate" in self.names:
                rate = optimizer_values[self.names.index("last_rate")]
            return tuple(state), (logs["loss"], rate)

        return jax.lax.scan(update, state, batches)

    def _evaluate_all(self, state, batches):
        def step(state, batch):
            logs, state = self.model.test_step(state, batch)
            return state, logs

        _, logs = jax.lax.scan(step, state, batches)
        return {name: values[-1] for name, values in logs.items()}

    def initial_values(self, seed: int) -> tuple[list, list]:
        """The seed's values of the trainable and of the other variables of the model."""
        model = self.workload.model(seed)
        if self.workload.start is not None:
            model.set_weights(self.workload.start(seed))
        trainable = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
        return trainable, list(map(keras.ops.convert_to_numpy, model.non_trainable_variables))

    def _averaged(self, weights, optimizer_values):
        """The weights that are evaluated: those of the optimizer's averages where it has them."""
        if hasattr(self.optimizer, "averages"):
            return self.optimizer.averages(weights, optimizer_values)
        return weights

    def _train_and_evaluate(self, state, batches):
        """Trains on all batches, in stretches where the workload wants evaluations between them.

        Returns:
            The last state, the loss and the rate of each update, and `(update, held-out loss)` of
            each stretch's end.
        """
        updates = len(batches[0])
        wanted = self.workload.evaluations
        length = -(-updates // wanted) if wanted else updates
        losses, rates, evaluations = [], [], []
        for start in range(0, updates, length):
            stretch = tuple(array[start : start + length] for array in batches)
            state, loss, rate = self.advance(state, stretch)
            losses.append(loss)
            rates.append(rate)
            if wanted:
                weights, others, optimizer_values = state
                weights = self._averaged(weights, optimizer_values)
                logs = self._evaluate((weights, others, self.metrics_values), self.held_out)
                evaluations.append((start + len(loss), float(logs["loss"])))
        return state, np.concatenate(losses), np.concatenate(rates), evaluations

    def start(self, method: Method, rate: float, seed: int, updates: int) -> tuple:
        """The state before the first update: trainable and other variables, and the optimizer's."""
        inputs = method.inputs(self.optimizer, updates)
        inputs |= {"peak_rate": rate, "updates": updates}
        values = [
            np.asarray(inputs.pop(name, value), value.dtype)
            for name, value in zip(self.names, self.optimizer_values, strict=True)
        ]
        if inputs:
            raise ValueError(
                f"The optimizer must have variables of these names; it has {self.names}. "
                f"Received: {sorted(inputs)}"
            )
        return *self.initial_values(seed), values

    def advance(self, state: tuple, batches: tuple) -> tuple[tuple, np.ndarray, np.ndarray]:
        """Trains on the batches: the state after them, and the loss and the rate of each update.

        The rate is NaN where the optimizer does not keep it: see `rates`.
        """
        state, (losses, rates) = self._train(state, batches)
        return state, np.asarray(losses, np.float64), np.asarray(rates, np.float64)

    def rates(self, method: Method, start: tuple, updates: int, rates: np.ndarray) -> np.ndarray:
        """The effective rate of each update, from those that `advance` returned."""
        if not np.isnan(rates).all():
            return rates
        # No rule: the course with its warm-up, which the optimizer itself can tell.
        values = dict(zip(self.names, start[2], strict=True))
        warmup = max(float(values.get("warmup_updates", 0.0)), 1.0)
        ramp = np.minimum(np.arange(1, updates + 1) / warmup, 1.0)
        course = _course(float(values["peak_rate"]), updates)
        return course * ramp * method.factor(self.optimizer, updates)

    def run(self, method: Method, rate: float, seed: int, updates: int) -> dict[str, Any]:
        """Trains once and evaluates; the curves are those of all updates, as arrays."""
        batches = self.workload.training(seed, updates)
        start = self.start(method, rate, seed, updates)
        if seed not in self.before:
            first = *start[:2], self.metrics_values
            self.before[seed] = self._evaluate(first, self.held_out)
        state, losses, rates, evaluations = self._train_and_evaluate(start, batches)
        weights, others, optimizer_values = state
        weights = self._averaged(weights, optimizer_values)
        logs = self._evaluate((weights, others, self.metrics_values), self.held_out)
        other = None
        if self.other is not None:
            other = float(
                self._evaluate((weights, others, self.metrics_values), self.other)["loss"]
            )
        course = _course(rate, updates)
        return {
            "losses": losses,
            "evaluations": evaluations,
            # A peak rate of 0 has no factor.
            "factors": self.rates(method, start, updates, rates)
            / np.where(course > 0.0, course, np.nan),
            "initial": {name: float(value) for name, value in self.before[seed].items()},
            "other": other,
            "final": {name: float(value) for name, value in logs.items()},
            "weights": [np.asarray(value) for value in weights],
        }


def _course(rate: float, updates: int) -> np.ndarray:
    """The peak rate with its final decay, for each update."""
    return rate * np.asarray(decay(np.arange(updates, dtype=np.float32), float(updates)))


@functools.cache
def _environment() -> dict:
    return describe_environment()


def data_digest(workload: Workload) -> str:
    """Eight digits that change with the data: the standard library differs between Pythons."""
    digest = hashlib.sha256()
    for array in (*workload.training(0, 4), *workload.held_out()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:8]


def thin(values: np.ndarray, reduce) -> list[float]:
    """At most `POINTS` numbers, each `reduce` of a stretch, to five digits."""
    parts = np.array_split(values, min(POINTS, len(values)))
    return [float(f"{reduce(part):.5g}") for part in parts]


def record(trial: Trial, program: Program) -> dict[str, Any]:
    """Runs the trial and says all there is to keep, as JSON has it."""
    identity = trial.identity()
    start, cpu = time.perf_counter(), time.process_time()
    result = program.run(trial.method, trial.rate, trial.seed, identity["updates"])
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    final, initial = result["final"]["loss"], result["initial"]["loss"]
    trivial = program.workload.trivial_loss()
    diverged = not math.isfinite(final) or final > initial
    return {
        "identity": identity,
        "name": trial.method.name,
        "final_loss": final,
        "final_metric": result["final"].get(program.workload.metric),
        "metric": program.workload.metric,
        **({"held_out_losses": result["evaluations"]} if result["evaluations"] else {}),
        **({} if result["other"] is None else {"other_final_loss": result["other"]}),
        "initial_loss": initial,
        "trivial_loss": trivial,
        "diverged": diverged,
        "losses_mean": thin(result["losses"], np.mean),
        "losses_max": thin(result["losses"], np.max),
        "factors": thin(result["factors"], np.mean),
        "seconds": round(seconds, 2),
        "processor_seconds": round(cpu, 2),
        "data": data_digest(program.workload),
        "environment": _environment(),
    }
