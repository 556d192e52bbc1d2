"""Trains one case with the probe on, and fits what it measured."""

from pathlib import Path

import keras
import numpy as np

from keras_h0h1.callbacks.smoothness_probe import SmoothnessProbe
from keras_h0h1.curvature import NotIdentifiedError, fit_smoothness
from recipes.smoothness.cases import Case
from recipes.smoothness.config import Smoothness


def measure(case: Case, config: Smoothness, batches, probe_batch, folder: Path) -> SmoothnessProbe:
    """Trains one case with the probe on."""
    keras.utils.set_random_seed(config.seed)
    model = case.model()
    model.compile(case.optimizer(), case.loss, jit_compile=keras.backend.backend() != "torch")
    # Denser in the beginning, where the loss moves fastest.
    at = np.unique(np.round(np.linspace(0, 1, config.points) ** 2.5 * config.steps).astype(int))
    name = case.name.replace(" ", "-").replace(".", "p")
    probe = SmoothnessProbe(
        probe_batch,
        "hessian",
        at_steps=at.tolist(),
        layers=case.blocks(model) if case.blocks else None,
        max_share=None,
        iterations=config.iterations,
        tol=0.02,
        csv_path=folder / f"{name}.csv",
    )
    model.fit(batches, steps_per_epoch=config.steps, shuffle=False, verbose=0, callbacks=[probe])
    return probe


def row_of(study: str, case: str, part: str, losses, curvatures) -> dict:
    """One line of the table: the affine fit with its intervals, and the fitted exponent."""
    row = {"study": study, "case": case, "part": part}
    empty = dict.fromkeys(
        ("H0", "H0_low", "H0_high", "H1", "H1_low", "H1_high", "R2", "C", "valid_from", "rho"),
        float("nan"),
    )
    start = {"first_loss": float(losses[0]), "last_loss": float(losses[-1])}
    try:
        fit = fit_smoothness(losses, curvatures)
    except NotIdentifiedError as refusal:
        return {**row, **start, **empty, "note": str(refusal).split(".")[0]}
    power = fit_smoothness(losses, curvatures, rho="fit", bootstrap=100)
    note = fit.note
    if fit.points_outside:
        note = f"sharpens below {fit.valid_range[0]:.3g}" + (f"; {note}" if note else "")
    return {
        **row,
        **start,
        "H0": fit.H0,
        "H0_low": fit.H0_interval[0],
        "H0_high": fit.H0_interval[1],
        "H1": fit.H1,
        "H1_low": fit.H1_interval[0],
        "H1_high": fit.H1_interval[1],
        "R2": fit.r_squared,
        "C": fit.C,
        "valid_from": fit.valid_range[0],
        "rho": power.rho if power.H1 > 0 else float("nan"),
        "note": note,
    }
