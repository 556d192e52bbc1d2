"""How fast the recipes' training steps are: `python -m benchmarks.speed`.

Each case is trained by Keras as a recipe trains it, with plain AdamW and with the loss-driven rate,
and by a step written by hand in the backend's own functions: the same mathematics, which the losses
of the first steps show. A Transformer is also trained as KerasHub and Keras make it ("as built"),
without the products, attention and loss that the recipes have for a CPU. Each program is a process
of its own, idle while another is timed. They are timed in turn, a block of steps at a time,
and compared by the ratio of their times in one round, so that whatever else the machine does falls
on all alike.

Written to `results/speed_CASE.json`; `results/SPEED.md` is made of all of them.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence

from rich.progress import track

from benchmarks.common import RESULTS, write_result
from benchmarks.speed_report import write_report
from benchmarks.steps.cases import CASES, TINY, Case
from benchmarks.steps.mathematics import same
from benchmarks.steps.worker import Worker
from recipes.common.command_line.console import one_line_errors
from recipes.common.command_line.errors import InputError
from recipes.common.command_line.options import build, option, parse

PROGRAM = "python -m benchmarks.speed"
BACKENDS = ("jax", "tensorflow", "torch")
STEPS = ("hand-written", "keras", "keras, loss-driven")
AS_BUILT = "keras, as built"
COMPILED = ("hand-written, torch.compile", "keras, torch.compile")


@dataclasses.dataclass
class Speed:
    """Speed: what to compare, and how long."""

    cases: tuple[str, ...] = option(tuple(CASES), f"of {', '.join(CASES)}")
    backends: tuple[str, ...] = option(
        (), "those whose programs take part [default: those that are installed]"
    )
    blocks: int = option(20, "rounds, in which each program runs a block of steps", low=2, high=999)
    torch_compile: bool = option(
        False, "on PyTorch, compiled programs as well: minutes until they start"
    )
    report_only: bool = option(False, "make the report of the results that are there")

    def __post_init__(self):
        for case in self.cases:
            if case not in {**CASES, **TINY}:
                raise InputError(f"A case is one of {', '.join(CASES)}. Received: cases={case}")
        for backend in self.backends:
            if backend not in BACKENDS:
                raise InputError(
                    f"A backend is one of {', '.join(BACKENDS)}. Received: backends={backend}"
                )


def programs(backend: str, case: Case, torch_compile: bool = False) -> tuple[str, ...]:
    """The programs of a backend that a case compares.

    `AS_BUILT` is one of its own where the recipes change something: a language model's loss, and
    layers that XLA compiles for a CPU.
    """
    on_torch = backend == "torch"
    changed = case.is_text or (case.has_products and not on_torch)
    built = (AS_BUILT,) if changed else ()
    return STEPS + built + (COMPILED if on_torch and torch_compile else ())


def compare(name: str, backends: Sequence[str], blocks: int, torch_compile: bool = False) -> dict:
    """Times all programs of one case in turn.

    Returns:
        The settings, and for each program: seconds of its first step, losses of its first steps,
        seconds of each block, bytes of memory, calls of functions in a step.

    Raises:
        RuntimeError: If two programs of a backend do not do the same work.
    """
    case = {**CASES, **TINY}[name]
    load = os.getloadavg()[0]
    workers = [
        Worker(backend, step, name)
        for backend in backends
        for step in programs(backend, case, torch_compile)
    ]
    workers.append(Worker(backends[0], "input", name))
    try:
        # All compile at once, so the seconds of first steps compare with nothing else.
        for worker in workers:
            worker.send("start")
        found = {
            worker.name: {
                "backend": worker.backend,
                "program": worker.program,
                **worker.answer(),
                "block_seconds": [],
            }
            for worker in workers
        }
        _check(found)
        for index in track(range(blocks), description=name):
            # The order turns: whichever follows a large program finds colder caches.
            turned = workers[index % len(workers) :] + workers[: index % len(workers)]
            for worker in turned if index % 2 else turned[::-1]:
                found[worker.name]["block_seconds"].append(worker.ask(str(case.steps)))
        for worker in workers:
            row = found[worker.name]
            row["memory_bytes"] = worker.ask("memory")
            row["python_calls"] = worker.ask("calls")
    finally:
        for worker in workers:
            worker.close()
    return {
        "case": name,
        "batch_size": case.batch_size,
        "units": case.units,
        "unit": "tokens" if case.is_text else "images",
        "steps_in_a_block": case.steps,
        "blocks": blocks,
        # What other programs did, or the case before this one: these programs' own threads would
        # raise it from here on. Near the number of cores, times mean little and ratios remain.
        "load_average_before": load,
        "programs": found,
    }


def _check(found: dict) -> None:
    """All hand-written steps and Keras with plain AdamW report the same losses."""
    same_rate = ("hand-written", "keras", AS_BUILT, *COMPILED)
    plain = {n: r["losses"] for n, r in found.items() if r["program"] in same_rate}
    first, losses = next(iter(plain.items()))
    for name, others in plain.items():
        if not same(losses, others):
            raise RuntimeError(
                f"These do not do the same work: {first}, losses {losses}; {name}, losses {others}"
            )


def run(config: Speed) -> list[dict]:
    """Runs the comparison and writes its results and the report."""
    results = []
    installed = [b for b in BACKENDS if importlib.util.find_spec(b)]
    backends = config.backends or installed
    if config.torch_compile and "torch" not in backends:
        raise InputError(
            "`torch.compile` needs PyTorch among the backends. "
            f"Received: torch_compile=True, backends={','.join(backends)}"
        )
    for name in () if config.report_only else config.cases:
        results.append(compare(name, backends, config.blocks, config.torch_compile))
        write_result(f"speed_{name}", results[-1], of_backend=False)
    write_report(RESULTS)
    return results


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """The command line."""
    given = parse([Speed], argv, program=PROGRAM, description=__doc__)
    with one_line_errors(PROGRAM):
        return run(build(Speed, given))


if __name__ == "__main__":
    main()
