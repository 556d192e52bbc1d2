"""The study's options, and its parts by name."""

import dataclasses
from typing import Literal

from recipes.common.command_line.options import check_options, option
from recipes.common.command_line.settings import LARGEST_RATE, LARGEST_SEED, MOST_STEPS
from recipes.gpt.config import defaults_of
from recipes.gpt.model import SIZES, Size

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
    global_clipnorm: float = option(
        1.0,
        "gradients are scaled down to this global norm under SGD, as in the paper",
        low=0,
        high=1e30,
        formerly="clip",
    )
    blocks: bool = option(
        True, "under the initialisations, each block of the GPT is measured beside the whole"
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
        defaults = defaults_of(self.size)
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
