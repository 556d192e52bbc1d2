"""The studies of whether a rate that follows the loss helps: `evidence` and its situations."""

import dataclasses

from benchmarks.quality.methods import (
    ADAPTIVE_GD,
    LINEAR,
    MOMO_ADAM,
    NGN_MD,
    NONE,
    NORM_CONSTRAINED,
    PAPER,
    RADAM,
    SCHEDULE_FREE,
    UNTUNED,
    Method,
)
from benchmarks.quality.rounds import RoundStudy
from benchmarks.quality.variants import GPU

SELF_TUNED = Method("self-tuned")

CORE = (NONE, *LINEAR, UNTUNED, *PAPER, SELF_TUNED)
"""What the headlines compare, and `none`."""

HEADLINE = ((NONE,), LINEAR, (LINEAR[1],), (UNTUNED,), PAPER, (SELF_TUNED,))
"""Round C. A group of several is tuned: the best of it takes part."""

WORKLOADS = (
    "gpt_code",
    "post_ln_transformer",
    "lstm",
    "vit",
    "vae",
    "ctc",
    "regression",
    "contrastive",
    "resnet",
    "deep_plain",
)

OTHERS = (RADAM, SCHEDULE_FREE, MOMO_ADAM, NGN_MD, *NORM_CONSTRAINED, ADAPTIVE_GD)

EVIDENCE = RoundStudy(WORKLOADS, CORE, OTHERS, HEADLINE)

EVIDENCE_GPU = dataclasses.replace(EVIDENCE, workloads=tuple(f"{name}@{GPU}" for name in WORKLOADS))
"""The same with larger batches and more updates. The grids are those of the small scan."""

STUDIES = {"evidence": EVIDENCE, "evidence-gpu": EVIDENCE_GPU}
"""By the name of the folder of results."""
