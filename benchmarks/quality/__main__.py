"""Runs and reports the studies of quality: `python -m benchmarks.quality run STUDY`.

`run` works through the study's trials, one result file each under `benchmarks/quality/results/`;
it may be killed at any moment and goes on where it was. `report` makes the tables and figures
from the files alone. JAX only; one process uses one core: start a second one with `--backwards`.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# The trials are so small that threads cost more than they bring.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
).strip()


def main(argv: list[str] | None = None) -> int:
    """The command line; 0, or 3 where trials are left."""
    from recipes.common.command_line.errors import InputError

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, explanation in (
        ("run", "run the trials that have no result yet"),
        ("report", "tables and figures from the results"),
        ("choose", "the protocol's rule of choice, from the results"),
        ("list", "what there is to run, and what is done"),
    ):
        command = commands.add_parser(name, help=explanation)
        command.add_argument("study", help="such as scan, test, evidence")
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
    options = parser.parse_args(argv)

    import keras

    from benchmarks.quality import choice, evidence, records, report, studies

    known = [*studies.STUDIES, *evidence.STUDIES]
    if getattr(options, "subset", "cpu") == "gpu":
        options.study = f"{options.study}-gpu"
    if options.study not in known:
        parser.error(f"the studies are {', '.join(known)}. Received: {options.study}")
    if keras.backend.backend() != "jax":
        parser.error(f"the trials run on JAX alone. Received: {keras.backend.backend()}")
    folder = options.results or records.RESULTS / options.study
    if options.command == "report" and options.study in evidence.STUDIES:
        from benchmarks.quality import evidence_report

        print(evidence_report.write_report(folder))
        return 0
    if options.command == "report":
        print(report.write_report(options.study, folder))
        return 0
    if options.command == "choose":
        print(choice.ranking(folder))
        return 0
    if options.study.endswith("-gpu") and not _has_gpu():
        print("This study needs a GPU, and JAX sees none here; `--subset cpu` does without.")
        return 2
    names, methods = (
        [part for part in text.split(",") if part] if text else None
        for text in (options.workloads, options.methods)
    )
    if options.study in evidence.STUDIES:
        return _rounds(parser, options, evidence.STUDIES[options.study], folder, names, methods)
    try:
        study = studies.STUDIES[options.study]
        queue = list(studies.trials(study, names, methods, options.updates))
    except (InputError, ValueError) as error:
        parser.error(str(error))
    if options.command == "list":
        for trial in queue:
            done = records.path_of(trial, folder).exists()
            print("done" if done else "to do", studies.describe(trial))
        return 0
    left = studies.run(queue[::-1] if options.backwards else queue, folder, options.limit_minutes)
    print(f"{len(queue) - left} of {len(queue)} trials are in {folder}")
    return 3 if left else 0


def _has_gpu() -> bool:
    import jax

    return jax.devices()[0].platform == "gpu"


def _rounds(parser, options, study, folder, names, methods) -> int:
    """`run` and `list` of a study in rounds."""
    from benchmarks.quality import records, studies
    from recipes.common.command_line.errors import InputError

    try:
        if options.command == "list":
            for letter, queue in study.queues(folder, names, methods, options.updates):
                for trial in queue:
                    done = records.path_of(trial, folder).exists()
                    print("done" if done else "to do", letter, studies.describe(trial))
            return 0
        left = study.run(
            folder, names, methods, options.updates, options.limit_minutes, options.backwards
        )
    except (InputError, ValueError) as error:
        parser.error(str(error))
    print(f"{left} trials of this round are left" if left else "All rounds are done")
    return 3 if left else 0


if __name__ == "__main__":
    sys.exit(main())
