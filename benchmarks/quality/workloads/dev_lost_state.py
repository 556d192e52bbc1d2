"""Development: the regression goes on from its weights alone, the optimizer anew."""

from benchmarks.quality.pretrained import trained
from benchmarks.quality.workload import FURTHER_DEVELOPMENT, Workload
from benchmarks.quality.workloads import dev_regression as before

RATE = 1e-2
"""The peak rate of the first part of the training, which `linear-20` warms up."""
_LATER = 1000
"""Added to the seed: other batches than those that the weights come from."""

WORKLOAD = Workload(
    name="dev_lost_state",
    kind=FURTHER_DEVELOPMENT,
    description="the trained network of dev_regression goes on with the same data, AdamW anew",
    version=1,
    updates=1000,
    rates=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    model=before.model,
    optimizer=before.WORKLOAD.optimizer,
    training=lambda seed, updates: before.training(seed + _LATER, updates),
    held_out=before.held_out,
    trivial_loss=before.trivial_loss,
    compile=before.WORKLOAD.compile,
    metric="mae",
    start=lambda seed: trained(before.WORKLOAD, RATE, seed),
)
