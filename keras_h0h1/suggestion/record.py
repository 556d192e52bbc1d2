"""What `suggest` returns."""

import dataclasses
import os
from typing import Any

import numpy as np

from keras_h0h1._types import Axes
from keras_h0h1.schedules import LossAdaptiveLearningRate
from keras_h0h1.suggestion.plot import plot_range_test
from keras_h0h1.suggestion.sharpness import Sharpness


@dataclasses.dataclass(frozen=True, eq=False)
class Suggestion:
    r"""What to set, why, and the measurements behind it. `print` shows it in words.

    Attributes:
        base: The recommended peak rate.
        C: Half the initial gap, in units of the loss; `None` where that is not positive. For the
            plain rule: `schedule()` has `C="auto"`, the self-tuned rule, which is the one that was
            measured against tuned linear warm-up (`benchmarks/quality`).
        rho: The exponent that goes with `C`. The self-tuned rule has its own.
        f_star: The lower bound on the loss that was given.
        reasons: Sentences, the one that decided about `base` first.
        optimizer: Name of the optimizer's class.
        present_rate: The optimizer's rate before; it was not changed.
        initial_loss: Mean loss over the batches used, at the start.
        rates: The rates tested, shape `(n,)`.
        losses: After the update at each rate: that of the batch, less the same batch's at the
            start, plus `initial_loss`; not finite at the end if it blew up. Shape `(n,)`.
        batch_losses: The losses as they were, shape `(n,)`.
        marks: Rates that bear on the choice, by name: see `suggestion.Recommendation`.
        sharpness_at_start: `suggestion.Sharpness` at the initial weights, or `None`.
        sharpness_later: The same where the loss was lowest, or `None`.
        batches: Number of batches taken from the data.
        seconds: Wall time, compilation included.
        training_steps: What updates and Hessian products took, in the median time of an update,
            with the compiler left out. It depends on the machine and what else runs there.
    """

    base: float
    C: float | None
    rho: float
    f_star: float
    reasons: tuple[str, ...]
    optimizer: str
    present_rate: float
    initial_loss: float
    rates: np.ndarray = dataclasses.field(repr=False)
    losses: np.ndarray = dataclasses.field(repr=False)
    batch_losses: np.ndarray = dataclasses.field(repr=False)
    marks: dict[str, float] = dataclasses.field(repr=False)
    sharpness_at_start: Sharpness | None
    sharpness_later: Sharpness | None
    batches: int
    seconds: float
    training_steps: float | None = None

    def __post_init__(self) -> None:
        for name in ("rates", "losses", "batch_losses"):
            array = np.array(getattr(self, name), "float64")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def schedule(self, **options: Any) -> LossAdaptiveLearningRate:
        """The self-tuned `LossAdaptiveLearningRate` with this base, for `LossAware`.

        `schedule(C=suggestion.C)` is the plain rule with the suggested constants.

        Args:
            **options: Take the place of the suggested ones, or add to them. With a number for `C`
                `rho` is the suggested exponent unless stated.

        Raises:
            ValueError: If `C=None`, which is what `suggestion.C` is where the initial loss was not
                above `f_star`.
        """
        settings = {"base": self.base, "C": "auto", "f_star": self.f_star, **options}
        if isinstance(settings["C"], int | float):
            settings.setdefault("rho", self.rho)
        elif settings["C"] is None:
            raise ValueError(
                "The initial loss is not above `f_star`, so there is no `C`: give `suggest` a "
                f"lower bound on the loss as `f_star`. Received: initial_loss={self.initial_loss}, "
                f"f_star={self.f_star}"
            )
        return LossAdaptiveLearningRate(**settings)

    def plot(self, path: str | os.PathLike | None = None, ax: Axes | None = None) -> Axes:
        """Draws the range test with matplotlib; saves it to `path` if given; returns the axes."""
        return plot_range_test(
            self.rates,
            self.losses,
            self.batch_losses,
            self.initial_loss,
            self.base,
            self.marks,
            title=f"Learning-rate range test, {self.optimizer}",
            path=path,
            ax=ax,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, numbers and text, for JSON; losses that are not finite are `None`."""
        values = dataclasses.asdict(self)
        for name in ("rates", "losses", "batch_losses"):
            values[name] = [float(v) if np.isfinite(v) else None for v in values[name]]
        values["reasons"] = list(self.reasons)
        return values

    def __str__(self) -> str:
        plain = "there is none: the initial loss is not above f_star"
        if self.C is not None:
            plain = f"C = {self.C:.3g}, half of the initial loss above f_star, rho = {self.rho:g}"
        lines = [
            f"Suggestion for {self.optimizer}, loss {self.initial_loss:.4g} at the start",
            f"  base  {self.base:<9.2g} peak learning rate; now {self.present_rate:.2g}",
            f"  C     {'auto':<9} the self-tuned rule; a number for the plain rule: {plain}",
            "Why:",
            *(f"  - {reason}" for reason in self.reasons),
        ]
        return "\n".join(lines)
