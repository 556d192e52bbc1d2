"""The studies of whether a rate that follows the loss helps: `evidence` and its situations."""

from benchmarks.quality.methods import (
    ADAPTIVE_GD,
    LINEAR,
    LINEAR_AGAIN,
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
from benchmarks.quality.transfer import TransferStudy
from benchmarks.quality.variants import GPU

SELF_TUNED = Method("self-tuned")

RETREATING = Method("self-tuned-2")
"""A candidate of the second round of development; PROTOCOL.md says why it is not the rule."""

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

EVIDENCE = RoundStudy(WORKLOADS, CORE, (*OTHERS, RETREATING), (*HEADLINE, (RETREATING,)))

EVIDENCE_GPU = RoundStudy(tuple(f"{name}@{GPU}" for name in WORKLOADS), CORE, OTHERS, HEADLINE)
"""The same with larger batches and more updates. The grids are those of the small scan."""

GUARDED = Method("self-tuned", {"spike_threshold": 3.0})

CORRUPTED = ("corrupted_batches", "corrupted_labels")

SITUATIONS = RoundStudy(
    ("new_data", *CORRUPTED, "lost_state", "fine_tuning"),
    CORE,
    (RETREATING,),
    (*HEADLINE, (RETREATING,), (LINEAR_AGAIN,), (GUARDED,)),
    extra={"new_data": (LINEAR_AGAIN,), **dict.fromkeys(CORRUPTED, (GUARDED,))},
    scanned_as={
        "new_data": "dev_char_gpt",
        "corrupted_batches": "dev_char_gpt",
        "corrupted_labels": "vit",
        "lost_state": "fine_tuning",
    },
)

TRANSFER = TransferStudy("gpt_code", EVIDENCE)

STUDIES = {
    "evidence": EVIDENCE,
    "evidence-gpu": EVIDENCE_GPU,
    "situations": SITUATIONS,
    "transfer": TRANSFER,
}
"""By the name of the folder of results."""
