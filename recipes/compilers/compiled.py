"""A training step compiled for a target, and the limits that its compiler sets to its speed."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

import keras

from recipes.common.distribution.distribute import Layout
from recipes.compilers.account import account
from recipes.compilers.hlo import parse
from recipes.compilers.step import Placement, lower_step, placed
from recipes.compilers.targets import Target
from recipes.compilers.work import Account

# By which a kernel for attention is known, and how it is called in a report.
_ATTENTION = {"splash attention": "splash (Pallas)", "__cudnn$fmha": "fused (cuDNN)"}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a compiler says of one training step, on one device.

    Args:
        target: Compiled for it.
        placement: Of the step on its devices.
        error: Why it does not compile; then the rest is empty.
        peak: Bytes of memory at the worst moment.
        state: Bytes of the arguments: weights, optimizer state, the share of the batch.
        work: What the step does.
        flops: As XLA counts them, a loop's body once; `None` if it does not.
        bytes: Likewise.
        seconds: That tracing and compiling took here.
    """

    target: Target
    placement: Placement
    error: str | None = None
    peak: int = 0
    state: int = 0
    work: Account = dataclasses.field(default_factory=Account)
    flops: float | None = None
    bytes: float | None = None
    seconds: float = 0.0

    @property
    def attention(self) -> str:
        """Which kernel computes attention, with the number of its calls."""
        for part, name in _ATTENTION.items():
            calls = sum(n for kernel, n in self.work.kernels.items() if kernel.startswith(part))
            if calls:
                return f"{name}, {calls:.0f} calls"
        return "plain"

    @property
    def bounds(self) -> dict[str, float]:
        """Seconds that a step takes at least, by what limits it.

        `compute` at the peak of the matrix units, `memory` at the bandwidth of main memory,
        `network` at that of all links; `schedule` by the compiler's own estimate of cycles.
        """
        chip, work = self.target.chip, self.work
        found = {
            "compute": work.flops / chip.flops,
            "memory": work.bytes / chip.bandwidth,
            "network": work.sent / chip.network,
        }
        if work.cycles:
            found["schedule"] = work.cycles / chip.clock
        return found

    @property
    def limit(self) -> str:
        """Which of compute, memory and network takes longest."""
        return max(("compute", "memory", "network"), key=self.bounds.get)


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Inside, JAX's persistent cache is not used: it cannot read absent devices' programs back."""
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    # JAX remembers whether it uses the cache.
    reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        reset_cache()


def compile_for(
    target: Target,
    build: Callable[[Placement], keras.Model],
    batch: Sequence[tuple[tuple[int, ...], str]],
    *,
    distribute: str = "auto",
    model_shards: int | None = None,
    layout: Layout | None = None,
    accumulate: int = 1,
) -> Compiled:
    """Compiles a model's training step for a target, as `fit` would run it there.

    Args:
        target: Accelerators.
        build: Makes the model, compiled by Keras, its weights without values (`deferred`).
        batch: Shape and dtype of inputs and targets, over all devices.
        distribute: As of `--distribute`: `"none"`, `"data"`, `"model"` or `"auto"`.
        model_shards: Devices that share one copy of the model, for `"model"`.
        layout: Of the weights, for `"model"`.
        accumulate: Micro-batches for an update; the step is one of them.

    Raises:
        InputError: If there is no compiler for the target, or it has no such devices.
    """
    import jax

    start = time.perf_counter()
    with placed(target, distribute, model_shards, layout) as placement:
        lowered = lower_step(build(placement), batch, placement)
        try:
            with without_cache():
                compiled = lowered.compile(compiler_options=target.compiler_options)
        except jax.errors.JaxRuntimeError as error:
            said = next(line for line in str(error).splitlines() if line.strip())
            return Compiled(target, placement, error=said, seconds=time.perf_counter() - start)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    return Compiled(
        target,
        placement,
        peak=memory.peak_memory_in_bytes,
        state=memory.argument_size_in_bytes,
        work=account(parse(compiled.as_text()), placement.mesh, accumulate),
        flops=costs.get("flops"),
        bytes=costs.get("bytes accessed"),
        seconds=time.perf_counter() - start,
    )
