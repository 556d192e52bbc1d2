"""The figure of a study."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_h0h1.callbacks.smoothness_probe import SmoothnessProbe
from recipes.common.files.writing import atomic
from recipes.smoothness.config import STUDIES


def draw(study: str, probes: dict[str, SmoothnessProbe], path: Path) -> None:
    """A panel for each case; under the initialisations, a panel for each one's blocks."""
    with_blocks = [name for name, probe in probes.items() if probe.blocks]
    rows = 2 if with_blocks else 1
    columns = len(probes)
    figure = Figure(figsize=(3.9 * columns, 3.7 * rows), dpi=130, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.suptitle(STUDIES[study], fontsize=12)
    for column, (name, probe) in enumerate(probes.items()):
        probe.plot(ax=axes[0, column], colorbar=column == columns - 1)
        axes[0, column].set_title(name, fontsize=10.5)
        axes[0, column].set_xlabel("loss on the probe's batch")
        if column:
            axes[0, column].set_ylabel("")
        if probe.blocks:
            draw_blocks(axes[1, column], probe)
    with atomic(path) as partial:
        figure.savefig(partial)


def draw_blocks(ax, probe: SmoothnessProbe) -> None:
    """Curvature of each block against the loss, with the fitted line where there is one."""
    from recipes.theory.experiment import style, tidy

    losses = probe.column("loss")
    order = np.argsort(losses)
    for index, name in enumerate(probe.blocks):
        look = style(index) | {"linewidth": 1.0, "markersize": 3}
        ax.plot(losses[order], probe.column(f"curvature/{name}")[order], label=name, **look)
    tidy(ax, "by block", "loss on the probe's batch", "spectral norm of the block")
    ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
