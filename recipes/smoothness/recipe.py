"""Curvature against loss on real networks: the papers' study, at the size of the machine.

    python -m recipes.smoothness --quick        # a few minutes on two cores
    python -m recipes.smoothness                # longer runs, a larger language model
    python -m recipes.smoothness --size 70m --context 1024 --batch-size 32   # the papers' model

Four studies, each with a figure, a table and its data: two initialisations of a GPT (whole
network and per block), its optimizers and rates, other architectures, other losses. Every point
is the spectral norm of the Hessian of a fixed batch, by Lanczos, not a proxy.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console

from keras_h0h1.callbacks.smoothness_probe import SmoothnessProbe
from keras_h0h1.curvature import NotIdentified, fit_smoothness
from recipes.common.command_line.console import make_console, one_line_errors
from recipes.common.command_line.options import build, check_options, option, parse
from recipes.common.command_line.settings import LARGEST_RATE, LARGEST_SEED, MOST_STEPS
from recipes.common.files.writing import atomic, make_folder, write_json
from recipes.common.results.environment import describe_environment
from recipes.common.results.tables import print_table, write_table
from recipes.gpt.config import DEFAULTS
from recipes.gpt.model import SIZES, Size, build_language_model
from recipes.smoothness import model as models
from recipes.smoothness.data import images
from recipes.text.batches import TokenBatches
from recipes.text.tokens import load_corpus

PROGRAM = "python -m recipes.smoothness"
STUDIES = {
    "initialisation": "GPT: depth-scaled against fixed initialisation, and its blocks",
    "rates": "GPT: optimizers and rates",
    "architectures": "Other architectures",
    "losses": "Other losses, one convolutional network",
}
_QUICK = Size(2, 64, 4, 192)


@dataclasses.dataclass
class Smoothness:
    """Smoothness: which studies, at what size, and where."""

    quick: bool = option(False, "a smaller GPT and shorter runs: minutes instead of an hour")
    only: tuple[Literal[tuple(STUDIES)], ...] = option(
        (), f"some of {', '.join(STUDIES)} [default: all]"
    )
    size: Literal[tuple(SIZES)] = option("demo", "of the GPT; 70m is the papers'")
    steps: int | None = option(
        None, "updates of each run [default: quick 150, else 1000]", low=1, high=MOST_STEPS
    )
    points: int | None = option(
        None, "measurements in each run [default: quick 32, else 80]", low=2, high=10**5
    )
    batch_size: int = option(16, "examples in a training batch", low=1, high=2**20)
    probe_size: int | None = option(
        None, "examples in the probe's batch [default: batch_size]", low=1, high=2**20
    )
    vocabulary: int | None = option(
        None, "tokens [default: quick 512, else by size]", low=2, high=2**22
    )
    context: int | None = option(
        None, "tokens in a window [default: quick 32, else by size]", low=2, high=2**20
    )
    rates: tuple[float, ...] = option(
        (0.05, 0.2, 0.8),
        "constant rates of SGD; the middle one is that of the other studies",
        above=0,
        high=LARGEST_RATE,
    )
    adam_rate: float = option(
        1e-3, "AdamW's rate; what the paper shows", above=0, high=LARGEST_RATE
    )
    clip: float = option(
        1.0, "global norm of the gradient under SGD, as in the paper", low=0, high=1e30
    )
    iterations: int = option(16, "Lanczos iterations at most; tolerance 2%", low=1, high=10**4)
    data: tuple[str, ...] = option(
        (), "text, as in recipes.gpt [default: the standard library]", kind="path"
    )
    cache: str | None = option(None, "folder for tokenizers and tokens", kind="folder")
    seed: int = option(0, "of weights and of the order of the data", low=0, high=LARGEST_SEED)
    out: str = option("runs/smoothness", "the folder for figures, tables and data", kind="folder")

    def __post_init__(self):
        check_options(self)

    def resolved(self) -> "Smoothness":
        defaults = DEFAULTS[self.size]
        quick = self.quick
        return dataclasses.replace(
            self,
            steps=self.steps or (150 if quick else 1000),
            points=self.points or (32 if quick else 80),
            probe_size=self.probe_size or self.batch_size,
            vocabulary=self.vocabulary or (512 if quick else defaults["vocabulary"]),
            context=self.context or (32 if quick else defaults["context"]),
        )

    @property
    def shape(self) -> Size:
        return _QUICK if self.quick else SIZES[self.size]


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: a model, its data, its loss, its optimizer.

    Args:
        name: Of the panel and of the files.
        model: Makes the model.
        loss: What is minimised.
        optimizer: Makes the optimizer.
        text: Whether it trains on text, else on images.
        blocks: From the model to named blocks that are measured beside the whole, or `None`.
    """

    name: str
    model: Callable[[], keras.Model]
    loss: Any
    optimizer: Callable[[], keras.optimizers.Optimizer]
    text: bool = True
    blocks: Callable[[keras.Model], dict] | None = None


def transformer_blocks(model: keras.Model) -> dict[str, list[str]]:
    """Embedding, each Transformer block, and head, by the paths of KerasHub's variables."""
    groups: dict[str, list[str]] = {}
    for variable in model.trainable_variables:
        parts = [p for p in variable.path.split("/") if p.startswith("transformer_layer_")]
        if parts:
            name = f"block {parts[0].rsplit('_', 1)[1]}"
        elif "embedding" in variable.path and "reverse" not in variable.path:
            name = "embedding"
        else:
            name = "head"
        groups.setdefault(name, []).append(variable.path)
    return groups


def cases(config: Smoothness, image: tuple[int, int]) -> dict[str, list[Case]]:
    """The runs of each study."""
    side, classes = image
    shape = config.shape
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def gpt(kind):
        def make():
            model = build_language_model("llama", shape, config.vocabulary, config.context)
            models.reinitialise(model, kind, shape.layers, config.seed)
            return model

        return make

    def sgd(rate):
        return lambda: keras.optimizers.SGD(rate, global_clipnorm=config.clip or None)

    def adam():
        return keras.optimizers.AdamW(config.adam_rate, beta_2=0.95, weight_decay=0.1)

    middle = config.rates[len(config.rates) // 2]
    width, depth = shape.width, shape.layers
    channels = 8 if config.quick else 16

    def resnet(outputs=classes):
        return models.resnet(side, outputs, channels, 2 if config.quick else 3)

    text_size = (config.vocabulary, config.context, width, depth)
    mse = models.on_one_hot(keras.losses.MeanSquaredError(), classes)
    huber = models.on_one_hot(keras.losses.Huber(0.5), classes)
    steady = sgd(middle)
    return {
        "initialisation": [
            Case("depth-scaled", gpt("depth"), cross_entropy, steady, blocks=transformer_blocks),
            Case("fixed variance", gpt("fixed"), cross_entropy, steady, blocks=transformer_blocks),
        ],
        "rates": [
            *(
                Case(f"SGD {rate:g}", gpt("depth"), cross_entropy, sgd(rate))
                for rate in config.rates
            ),
            Case(f"AdamW {config.adam_rate:g}", gpt("depth"), cross_entropy, adam),
        ],
        "architectures": [
            Case("LSTM", lambda: models.lstm(*text_size), cross_entropy, steady),
            Case(
                "linear attention", lambda: models.performer(*text_size, 4), cross_entropy, steady
            ),
            Case("ResNet", resnet, cross_entropy, sgd(0.5 * middle), text=False),
            Case(
                "ViT",
                lambda: models.vit(side, classes, width, depth, 7 if side % 7 == 0 else 2),
                cross_entropy,
                sgd(0.5 * middle),
                text=False,
            ),
        ],
        "losses": [
            Case("cross-entropy", resnet, cross_entropy, sgd(0.5 * middle), text=False),
            Case("MSE", resnet, mse, sgd(0.5 * middle), text=False),
            Case("Huber", resnet, huber, sgd(0.5 * middle), text=False),
            Case("triplet", lambda: resnet(16), models.triplet(), sgd(0.5 * middle), text=False),
        ],
    }


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
    model.fit(batches, steps_per_epoch=config.steps, epochs=1, verbose=0, callbacks=[probe])
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
    except NotIdentified as refusal:
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


def run(config: Smoothness, console: Console) -> list[dict]:
    """Runs the studies and returns the table."""
    config = config.resolved()
    began = time.perf_counter()
    folder = make_folder(Path(config.out))
    corpus = load_corpus(config.data, config.vocabulary, cache=config.cache)
    tokens = TokenBatches(corpus.training, config.context, config.batch_size, config.seed)
    held = TokenBatches(corpus.validation, config.context, config.probe_size, config.seed)
    x, y, source = images(2048 if config.quick else 20000)
    console.print(
        f"Text: {corpus.source}\nImages: {source}\nGPT: {config.shape}, {config.steps} updates, "
        f"{config.points} measurements a run, on {keras.backend.backend()}",
        highlight=False,
        soft_wrap=True,
    )

    def image_batches():
        rng = np.random.default_rng(config.seed)
        while True:
            chosen = rng.integers(0, len(x), config.batch_size)
            yield x[chosen], y[chosen]

    side = (x.shape[1], 10)
    table, seconds = [], {}
    for study, runs in cases(config, side).items():
        if config.only and study not in config.only:
            continue
        start = time.perf_counter()
        (folder / study).mkdir(parents=True, exist_ok=True)
        probes = {}
        for case in runs:
            clock = time.perf_counter()
            if case.text:
                data, batch = tokens.starting_at(0), held[0]
            else:
                data, batch = image_batches(), (x[-config.probe_size :], y[-config.probe_size :])
            probe = measure(case, config, data, batch, folder / study)
            probes[case.name] = probe
            losses = probe.column("loss")
            table.append(row_of(study, case.name, "all", losses, probe.column("curvature")))
            for name in probe.blocks:
                values = probe.column(f"curvature/{name}")
                table.append(row_of(study, case.name, name, losses, values))
            console.print(
                f"{study}, {case.name}: loss {losses[0]:.3f} to {losses[-1]:.3f}, "
                f"{time.perf_counter() - clock:.0f} s",
                highlight=False,
            )
        draw(study, probes, folder / f"{study}.png")
        seconds[study] = round(time.perf_counter() - start, 1)
    write_table(table, folder / "fits")
    columns = ("study", "case", "part", "H0", "H1", "R2", "C", "rho", "note")
    print_table([{c: row[c] for c in columns} for row in table], console, "curvature = H0 + H1 f")
    summary = {
        "command": " ".join([PROGRAM, *sys.argv[1:]]),
        "config": dataclasses.asdict(config),
        "data": {"text": corpus.source, "images": source},
        "seconds": seconds,
        "total_seconds": round(time.perf_counter() - began, 1),
        "fits": table,
        "environment": describe_environment(),
    }
    write_json(folder / "summary.json", summary)
    console.print(f"Figures, tables and data: {folder} ({summary['total_seconds']:.0f} s)")
    return table


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """The command line."""
    given = parse([Smoothness], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(Smoothness, given), make_console())
