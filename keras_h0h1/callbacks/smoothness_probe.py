"""Curvature measured during `fit`, and (H0, H1) fitted to it."""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_h0h1 import _keras
from keras_h0h1._types import Axes, Data, Logs
from keras_h0h1._validation import check_choice, check_integer, check_number
from keras_h0h1.callbacks import probe_modes
from keras_h0h1.callbacks.probe_modes import column_of
from keras_h0h1.callbacks.scalar_writer import ScalarWriter
from keras_h0h1.curvature.fit import fit_layers, fit_smoothness
from keras_h0h1.curvature.objective import Objective
from keras_h0h1.curvature.smoothness_fit import NotIdentifiedError, SmoothnessFit

MODES = tuple(probe_modes.MODES)
FIELDS = ("step", "mode", "loss", "curvature", "residual", "iterations", "converged", "seconds")


class SmoothnessProbe(keras.callbacks.Callback):
    r"""Measures curvature against loss while a model trains, and fits $(H_0, H_1)$ to it.

    $$\|\nabla^2 f(w_k)\| \approx H_0 + H_1 (f(w_k) - f^*)^\rho$$

    Every measurement is taken on the probe's own batch, with dropout off and BatchNorm on its
    moving averages, so the losses here are not those of the progress bar. Training is left exactly
    as it was: the weights after `fit` are bit for bit those without the probe. On JAX the
    probe reads the trainer's state where it is and does not bring it to the host.

    | `mode` | what | gradients for one |
    |---|---|---|
    | `"gradient_difference"` | the Hessian along the step, at most its norm | 2 |
    | `"hessian"` | $\|\nabla^2 f_b(w_k)\|$ by Lanczos: the ground truth | 2 a product |
    | `"preconditioned"` | that of $P^{-1/2} \nabla^2 f_b P^{-1/2}$, Adam's $P$ | 2 a product |
    | `"trajectory"` | the paper's proxy, two *different* batches | 2 |

    where the gradient difference is $\|\nabla f_b(w_{k+1}) - \nabla f_b(w_k)\| / \|w_{k+1} - w_k\|$
    and the proxy $\|\nabla f_k(w_{k+1}) - \nabla f_{k-1}(w_k)\| / \|w_{k+1} - w_k\|$.
    `"trajectory"` is there to compare with the paper. Its noise does not shrink with the step: at a
    small rate it measures $\sqrt2 \sigma / (\eta \|g\|)$, not curvature.

    A gradient difference ends with the next update of the weights: under
    `gradient_accumulation_steps` several steps later. Under `MirroredStrategy` and `DataParallel`
    the figures are those of one device.

    Args:
        data: The fixed batch, `(x, y)` or `(x, y, sample_weight)`, or several as a list, a dataset
            or a function that returns an iterator; several are averaged, one in memory at a time.
            `"trajectory"` goes through them in turn and needs two. A batch of an eighth of the
            training batch keeps the cost small; a larger one has less noise.
        mode: See the table.
        every: Measure at steps 0 (before the first), `every`, `2 * every`, ... Default: 50.
        at_steps: Measure at these steps instead.
        layers: Which weights, as in `curvature.select_variables`; or a mapping from names to such
            selections: then each block is measured beside the whole, in columns of its own.
            `curvature.blocks(model)` makes one. Hessian modes pay for each block.
        loss: As in `curvature.Objective`; default: what the model was compiled with.
        max_share: Cap on the time spent, as a share of the time spent training. A measurement that
            would exceed it is put off until it fits. Compilation, once, is reported apart
            (`compile_seconds`) and does not count. `None`: no cap.
        iterations: Largest number of Lanczos iterations, in the Hessian modes.
        tol: Their tolerance, relative to the eigenvalue.
        csv_path: CSV file to write, one row a measurement, flushed at once.
        tensorboard_dir: Folder for scalars `smoothness/...`; needs the package `tensorboard`.

    Attributes:
        history: List of dictionaries with the keys `step`, `mode`, `loss`, `curvature`, `residual`,
            `iterations`, `converged`, `seconds`, and `curvature/<name>` for each block.
        seconds: Time spent measuring, compilation left out.
        compile_seconds: Time of the measurements that compiled something.
        share: `seconds` as a share of the training time so far.
        postponed: Number of times a measurement was put off by the cap.
        procedure: The `ProbeMode` that measures.

    References:
        Foivos Alimisis, Rustem Islamov, Aurelien Lucchi, "Why Do We Need Warm-up?
            A Theoretical Perspective", arXiv 2510.03164 (2025).
        Yuxing Liu, Yuze Ge, Rui Pan, An Kang, Tong Zhang, "Theoretical Analysis on how
            Learning Rate Warmup Accelerates Convergence", arXiv 2509.07972 (2025).

    Example: the loss $\frac12 (2 w)^2$ has curvature 4.

    >>> dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    >>> model = keras.Sequential([keras.Input((1,)), dense])
    >>> model.compile(keras.optimizers.SGD(0.1), loss=lambda y, p: 0.5 * (p - y) ** 2)
    >>> x, y = np.full((8, 1), 2.0), np.zeros((8, 1))
    >>> probe = SmoothnessProbe((x, y), every=1, max_share=None)
    >>> _ = model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[probe])
    >>> [(row["step"], round(row["curvature"], 4)) for row in probe.history]
    [(0, 4.0), (1, 4.0), (2, 4.0), (3, 4.0)]
    """

    # Keras may then go on dispatching the other callbacks' `on_train_batch_end` without waiting:
    # ours only notes the batch's number.
    async_safe = True

    def __init__(
        self,
        data: Data,
        mode: str = "gradient_difference",
        every: int | None = None,
        at_steps: Sequence[int] | None = None,
        layers: Mapping | Sequence | Callable | None = None,
        *,
        loss: str | Callable | keras.losses.Loss | None = None,
        max_share: float | None = 0.05,
        iterations: int = 20,
        tol: float = 0.01,
        csv_path: str | os.PathLike | None = None,
        tensorboard_dir: str | os.PathLike | None = None,
    ) -> None:
        super().__init__()
        self.mode = check_choice("mode", mode, MODES)
        if every is not None and at_steps is not None:
            raise ValueError(
                "Give `every` or `at_steps`, not both. "
                f"Received: every={every!r}, at_steps={at_steps!r}"
            )
        self.every = check_integer("every", 50 if every is None else every, low=1)
        self.at_steps = None
        if at_steps is not None:
            self.at_steps = sorted({check_integer("at_steps", s, low=0) for s in at_steps})
        self.max_share = None
        if max_share is not None:
            self.max_share = check_number("max_share", max_share, low=0.0, strict=True)
        self.iterations = check_integer("iterations", iterations, low=1)
        self.tol = check_number("tol", tol, low=0.0)
        self.blocks = dict(layers) if isinstance(layers, Mapping) else {}
        self.layers: Any = None if self.blocks else layers
        self.loss = loss
        self.csv_path = csv_path
        self.tensorboard_dir = tensorboard_dir
        self.procedure = probe_modes.MODES[mode](data, iterations=self.iterations, tol=self.tol)
        self._scalars = None if tensorboard_dir is None else ScalarWriter(tensorboard_dir)

        self.history: list[dict] = []
        self.seconds = 0.0
        self.compile_seconds = 0.0
        self.postponed = 0
        self.objective: Any = None
        self._started: Any = None  # Its step, and the one that ends it.
        self._first_step = 0  # Of this epoch.
        self._ended: list[int] = []  # Batches done in this epoch.
        self._next = 0  # Step, or index into at_steps, of the next measurement.
        self._cost = 0.0  # Of the last measurement, as far as it did not compile.
        self._training_seconds = 0.0
        self._clock: float | None = None
        self._paused_before = 0.0
        self._file: Any = None
        self._csv: Any = None

    @property
    def share(self) -> float:
        """Time spent measuring as a share of the time spent training, compilation apart."""
        training = self._training_time()
        return self.seconds / training if training > 0.0 else 0.0

    # Keras' hooks.

    def on_train_begin(self, logs: Logs = None) -> None:
        model = _keras.callback_model(self)
        if self.objective is None or self.objective.model is not model:
            self.objective = Objective(model, self.loss, layers=self.layers)
            masks = {name: self.objective.mask(which) for name, which in self.blocks.items()}
            self.procedure.prepare(self.objective, masks)
        self._clock = None
        if self.csv_path is not None and self._file is None:
            new = not self.history
            self._file = open(self.csv_path, "w" if new else "a", newline="", encoding="utf-8")
            self._csv = csv.DictWriter(self._file, [*FIELDS, *map(column_of, self.blocks)])
            if new:
                self._csv.writeheader()
        if self._scalars is not None:
            self._scalars.open()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._visit(self._first_step + batch)
        if self._clock is None and batch > 0:
            # From the second execution on: the first one compiled the training step.
            self._clock = time.perf_counter()
            self._paused_before = self.seconds + self.compile_seconds

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        # Possibly in another thread, and not in order.
        self._ended.append(batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        # Here, not at the end of training, after which Keras may overwrite weights (EMA).
        self._first_step += max(self._ended, default=0)
        self._ended = []
        self._visit(self._first_step)

    def on_train_end(self, logs: Logs = None) -> None:
        self._training_seconds = self._training_time()
        self._clock = None
        self._started = None
        if self._file is not None:
            self._file.close()
            self._file = self._csv = None
        if self._scalars is not None:
            self._scalars.close()

    # Measuring.

    def _training_time(self):
        if self._clock is None:
            return self._training_seconds
        paused = self.seconds + self.compile_seconds - self._paused_before
        return self._training_seconds + time.perf_counter() - self._clock - paused

    def _visit(self, step):
        if self._started is not None and step >= self._started[1]:
            self._timed(self._finish)
        if self._started is None and self._due(step):
            if self._affordable():
                self._advance(step)
                self._cost = 0.0
                self._timed(self._start, step)
            else:
                self.postponed += 1

    def _due(self, step):
        if self.at_steps is None:
            return step >= self._next
        return self._next < len(self.at_steps) and step >= self.at_steps[self._next]

    def _advance(self, step):
        if self.at_steps is None:
            self._next = (step // self.every + 1) * self.every
            return
        while self._due(step):
            self._next += 1

    def _affordable(self):
        if self.max_share is None or not self.history:
            return True
        return self.seconds + self._cost <= self.max_share * self._training_time()

    def _timed(self, function, *args):
        self.objective.wait()
        compiled, begin = self.objective.compilations, time.perf_counter()
        function(*args)
        spent = time.perf_counter() - begin
        if self.objective.compilations > compiled:
            self.compile_seconds += spent
        else:
            self.seconds += spent
            self._cost += spent

    def _start(self, step):
        wait = self.procedure.start(step)
        if wait is None:
            return
        self._started = step, step + wait
        if wait == 0:
            self._finish()

    def _finish(self):
        step, _ = self._started
        self._started = None
        row = self.procedure.finish()
        names = [*FIELDS[2:], *map(column_of, self.blocks)]
        self._record({"step": step, "mode": self.mode, **{name: row[name] for name in names}})

    def _record(self, row):
        self.history.append(row)
        if self._csv is not None:
            self._csv.writerow(row)
            self._file.flush()
        if self._scalars is not None:
            scalars = {
                f"smoothness/{self.mode}/{name}": value
                for name, value in row.items()
                if name not in ("step", "mode")
            }
            self._scalars.write(scalars, row["step"])
            self._scalars.flush()

    # What came of it.

    def column(self, key: str) -> np.ndarray:
        """One column of `history` as a NumPy array."""
        return np.array([row[key] for row in self.history])

    def fit(
        self, rho: float | str = 1.0, f_star: float | str = 0.0, **options: Any
    ) -> SmoothnessFit:
        """`curvature.fit_smoothness` of what was measured so far.

        Raises:
            NotIdentifiedError: If it cannot be told; see there.
        """
        return fit_smoothness(self.column("loss"), self.column("curvature"), rho, f_star, **options)

    def fit_blocks(self, **options: Any) -> dict[str, SmoothnessFit | NotIdentifiedError]:
        """`curvature.fit_layers` of the blocks named in `layers`."""
        curvatures = {name: self.column(column_of(name)) for name in self.blocks}
        return fit_layers(self.column("loss"), curvatures, **options)

    def plot(
        self,
        path: str | os.PathLike | None = None,
        *,
        ax: Axes | None = None,
        rho: float | str = 1.0,
        f_star: float | str = 0.0,
        colorbar: bool = True,
    ) -> Axes:
        """Curvature against loss, coloured by step, with the fit where there is one.

        Args:
            path: Where to save the figure; the suffix decides the format.
            ax: Matplotlib axes to draw on; default: a new figure. Needs the package `matplotlib`.
            rho: As in `fit`.
            f_star: As in `fit`.
            colorbar: Whether to add the bar that explains the colours.

        Returns:
            The axes.
        """
        from keras_h0h1.curvature.plot import plot_smoothness

        try:
            fit = self.fit(rho, f_star)
        except NotIdentifiedError:
            fit = None
        return plot_smoothness(
            self.column("step"),
            self.column("loss"),
            self.column("curvature"),
            fit,
            ylabel=self.procedure.label,
            path=path,
            ax=ax,
            colorbar=colorbar,
        )
