"""Runs and reports the studies of quality: `python -m benchmarks.quality run STUDY`.

`run` works through the study's trials, one result file each under `benchmarks/quality/results/`;
it may be killed at any moment and goes on where it was. `pack` folds these files into one, at any
time. `report` makes the tables and figures from the files alone. JAX only; one process uses one
core: start a second one with `--backwards`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The trials are so small that threads cost more than they bring.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
).strip()

COMMANDS = {
    "run": "run the trials that have no result yet",
    "pack": "fold the result files of single trials into one file",
    "report": "tables and figures from the results",
    "choose": "the protocol's rule of choice, from the results",
    "list": "what there is to run, and what is done",
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, explanation in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation)
        command.add_argument("study", help="such as scan, develop, test or evidence")
        command.add_argument("--results", type=Path, help="folder instead of the study's own")
        if name in ("run", "list"):
            command.add_argument("--workloads", help="names, with commas; default: the study's")
            command.add_argument("--methods", help="names or families, with commas; default: all")
            command.add_argument("--updates", type=int, help="instead of each workload's own")
            command.add_argument(
                "--subset",
                choices=("cpu", "gpu"),
                default="cpu",
                help="of evidence: gpu has larger batches and more updates",
            )
        if name == "run":
            command.add_argument("--limit-minutes", type=float, help="stop after so long")
            command.add_argument("--backwards", action="store_true", help="from the queue's end")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 3 where trials are left."""
    parser = make_parser()
    options = parser.parse_args(argv)

    import keras

    from benchmarks.quality import choice, evidence, records, sizes, studies
    from recipes.common.command_line.errors import InputError

    every = {**studies.STUDIES, **evidence.STUDIES, **sizes.STUDIES}
    if getattr(options, "subset", "cpu") == "gpu":
        options.study = f"{options.study}-gpu"
    if options.study not in every:
        parser.error(f"the studies are {', '.join(every)}. Received: {options.study}")
    if keras.backend.backend() != "jax":
        parser.error(f"the trials run on JAX alone. Received: {keras.backend.backend()}")
    folder = options.results or records.RESULTS / options.study
    try:
        if options.command == "pack":
            print(f"{records.pack(folder)} files are now lines of {folder / records.PACKED}")
        elif options.command == "report":
            print(_report(options, folder))
        elif options.command == "choose":
            study = every[options.study]
            if not isinstance(study, studies.Study):
                raise InputError(
                    "The rule of choice is for studies of one round, such as develop. "
                    f"Received: {options.study}"
                )
            print(choice.ranking(folder, study.places))
        else:
            return _work(options, every[options.study], folder)
    except InputError as error:
        parser.error(str(error))
    return 0


def _report(options: argparse.Namespace, folder: Path) -> Path:
    from benchmarks.quality import evidence, evidence_report, records, report, sizes, sizes_report
    from benchmarks.quality.measures import Measures

    if options.study in sizes.STUDIES:
        return sizes_report.write_report(folder, folder / "REPORT.md")
    if options.study not in evidence.STUDIES:
        return report.write_report(options.study, folder)
    # One report for the study and its situations, beside the protocol.
    study = "evidence-gpu" if options.study.endswith("-gpu") else "evidence"
    if options.results is not None:
        return evidence_report.write_report(study, folder, folder / "RESULTS.md")
    folder, root = records.RESULTS / study, Path(__file__).parents[2]
    name = study.replace("evidence", "RESULTS") + ".md"
    path = evidence_report.write_report(study, folder, records.RESULTS.parent / name)
    if study == "evidence":
        measures = Measures(evidence.EVIDENCE, folder).finished()
        evidence_report.write_summary(measures, root)
    return path


def _work(options: argparse.Namespace, study, folder: Path) -> int:
    """`run` and `list`."""
    from benchmarks.quality import records, studies
    from benchmarks.quality.rounds import QueueStudy
    from recipes.common.command_line.errors import InputError

    if options.study.endswith("-gpu") and not _has_gpu():
        raise InputError(
            "This study needs a GPU, and JAX sees none here; `--subset cpu` does without. "
            "Received: --subset gpu"
        )
    names, methods = (
        [part for part in text.split(",") if part] if text else None
        for text in (options.workloads, options.methods)
    )
    try:
        if isinstance(study, QueueStudy):
            queues = study.queues(folder, names, methods, options.updates)
        else:
            queues = [("", list(studies.trials(study, names, methods, options.updates)))]
        if options.command == "list":
            for letter, queue in queues:
                for trial in queue:
                    done = "done" if records.exists(trial, folder) else "to do"
                    print(*filter(None, (done, letter, studies.describe(trial))))
            return 0
        if isinstance(study, QueueStudy):
            left = study.run(
                folder, names, methods, options.updates, options.limit_minutes, options.backwards
            )
            print(f"{left} trials of this round are left" if left else "All rounds are done")
            return 3 if left else 0
        ((_, queue),) = queues
    except ValueError as error:
        raise InputError(str(error)) from error
    left = studies.run(queue[::-1] if options.backwards else queue, folder, options.limit_minutes)
    print(f"{len(queue) - left} of {len(queue)} trials are in {folder}")
    return 3 if left else 0


def _has_gpu() -> bool:
    import jax

    return jax.devices()[0].platform == "gpu"


if __name__ == "__main__":
    sys.exit(main())
