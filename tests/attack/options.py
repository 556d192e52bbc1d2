"""Runs every program with absurd values for each of its options, one at a time.

    python -m tests.attack.options                         # 12 values for each option: an hour
    python -m tests.attack.options --short                 # no model is built: minutes
    python -m tests.attack.options gpt theory --count 3
    python -m tests.attack.options --every 20 --start 1    # each twentieth option

Each run is whole, from the command line to its first update, in a forked process with limits on
time and memory. It has to end with status 2 and one line, or go on and have the value that was
given, unchanged, in its `config.json`. Prints the counts; status 1 if a run did neither.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from recipes.common import recipe
from recipes.common.command_line.options import build, flag, parse
from recipes.gpt import recipe as gpt
from recipes.vision.data import load_images
from tests.attack.forked import in_child
from tests.attack.programs import (
    TINY,
    TINY_IMAGES,
    Enough,
    Program,
    programs,
    recorded,
    vision,
    write_inputs,
)
from tests.attack.values import absurd, meaning

SECONDS, MEMORY = 300, 2**33
# "refused", "ran" or "wrong", and what was said.
Outcome = tuple[str, str]


def argv_of(program: Program, name: str, text: str) -> list[str]:
    """The small run's command line, with the option under attack."""
    options = {**program.base, **program.needed.get(name, {}), name: text}
    given = [f"{flag(key)}={value}" for key, value in options.items() if value is not None]
    return [*program.words, *given]


def attack(program: Program, cls: type, field, text: str, built: list) -> Outcome:
    """What becomes of one value."""
    argv, folder = argv_of(program, field.name, text), Path.cwd()
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            program.main(argv)
            status = 0
        except Enough:
            status = 0
        except SystemExit as stopped:
            status = stopped.code
        except BaseException as error:
            return "wrong", "".join(traceback.format_exception(error)[-4:])
    said = errors.getvalue()
    if status == 2 or status in program.statuses:
        lines = [line for line in said.splitlines() if line.strip()]
        good = len(lines) == 1 and "Received: " in said and len(said) < 2000
        good = good and ("error:" in said or status != 2)
        return ("refused", said) if good else ("wrong", f"status {status}: {said[:2000]}")
    if status:
        return "wrong", f"status {status!r}: {said[:500]}"
    # A run that leaves no file, as a dry run does: there the configuration itself has to do.
    given = parse([cls], [f"{flag(field.name)}={text}"])[field.name]
    found = recorded(folder) or {}
    config = next((c for c in built if hasattr(c, field.name)), None)
    if config is not None:
        found.setdefault(field.name, getattr(config, field.name))
    wrong = meaning(program, field.name, text, given, found, folder)
    return ("wrong", wrong) if wrong else ("ran", json.dumps(given))


def _patch(program: Program, built: list, short: bool) -> None:
    """Tiny models, and an end after the first update or before; in the child alone."""
    from recipes.gpt import model as models
    from recipes.vision import model as image_models

    models.SIZES.update(dict.fromkeys(models.SIZES, TINY))
    image_models.MODELS.update(TINY_IMAGES)
    real = keras.Model.fit

    def first_update(model, x=None, *args, steps_per_epoch=None, callbacks=(), **kwargs):
        if steps_per_epoch is None:
            raise Enough
        steps_per_update = max(
            [getattr(c, "gradient_accumulation_steps", 1) for c in callbacks], default=1
        )
        steps = min(steps_per_epoch, steps_per_update, 2)
        real(model, x, *args, steps_per_epoch=steps, callbacks=callbacks, **kwargs)
        raise Enough

    keras.Model.fit = first_update

    def enough(*args, **kwargs):
        raise Enough

    for name in program.work:
        if name != "fit":
            setattr(program.module, name, enough)
    if short:
        for module in (gpt, vision, program.module):
            for name in ("build_training_model", "build_model", "dry_run"):
                if hasattr(module, name):
                    setattr(module, name, enough)

    def remembered(cls, options):
        built.append(build(cls, options))
        return built[-1]

    # A module may have a function of its own by this name.
    for module in (program.module, recipe):
        for name in ("build", "build_options"):
            if getattr(module, name, None) is build:
                setattr(module, name, remembered)


def attack_all(
    program: Program, cls: type, field, values: list[str], short: bool
) -> list[tuple[str, str]]:
    """`attack` with each value in turn, in one child; where that dies, in one child for each."""
    results = _forked(lambda: _in_turn(program, cls, field, values, short))
    if isinstance(results, str):
        if len(values) == 1:
            return [("wrong", results)]
        return [attack_all(program, cls, field, [value], short)[0] for value in values]
    return results


def _in_turn(
    program: Program, cls: type, field, values: list[str], short: bool
) -> list[tuple[str, str]]:
    built: list[Any] = []
    _patch(program, built, short)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # Compiling takes longer than the update. A custom gradient needs it.
        tf.config.run_functions_eagerly(field.name not in ("loss_block", "size"))
    results = []
    for value in values:
        built.clear()
        with tempfile.TemporaryDirectory(prefix="attack-options-") as folder:
            os.chdir(folder)
            os.environ["XDG_CACHE_HOME"] = folder
            results.append(attack(program, cls, field, value, built))
            os.chdir("/")
        keras.utils.clear_session()
        keras.config.set_dtype_policy("float32")
    return results


def _forked(work: Callable[[], Any]) -> Any:
    """What `work` returns in a child with limits of memory and time; a text if it dies of them."""

    def prepare():
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        # What the libraries' own C code says.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def guarded():
        try:
            return work()
        except BaseException as error:
            return f"the attack itself failed: {error!r}"

    result, died = in_child(guarded, prepare, MEMORY)
    if died is None:
        return result
    return f"more than {SECONDS} s" if died == signal.SIGALRM else f"died: {died}"


def texts(program: Program, cls: type, field, inputs: Path, count: int, seed: int) -> list[str]:
    """The values for one option, the same for the same seed."""
    hint = typing.get_type_hints(cls)[field.name]
    generator = random.Random(f"{seed}-{program.name}-{field.name}")
    return absurd(hint, field.metadata["allowed"], inputs, generator, count)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attack.options", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--count", type=int, default=12, help="values for each option")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th option,")
    parser.add_argument("--start", type=int, default=0, help="from this one on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--short", action="store_true", help="end where the model would be built: minutes"
    )
    parser.add_argument("--show", action="store_true", help="tell what each value led to")
    arguments = parser.parse_args()
    total: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="attack-inputs-") as folder:
        inputs = Path(folder)
        write_inputs(inputs)
        # Imported once, and not by each child.
        load_images("digits")
        known = programs(inputs)
        unknown = set(arguments.programs) - {program.name for program in known}
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}")
        for program in known:
            if arguments.programs and program.name not in arguments.programs:
                continue
            counts: collections.Counter = collections.Counter()
            for cls, field in program.options[arguments.start :: arguments.every]:
                own: collections.Counter = collections.Counter()
                values = texts(program, cls, field, inputs, arguments.count, arguments.seed)
                results = attack_all(program, cls, field, values, arguments.short)
                for text, (kind, said) in zip(values, results, strict=True):
                    own[kind] += 1
                    if arguments.show or kind == "wrong":
                        print(f"  {kind}: {flag(field.name)}={text!r:.80}: {said.strip()}")
                print(f"  {program.name} {flag(field.name)}: {_told(own)}", flush=True)
                counts += own
            total += counts
            print(f"{program.name}: {_told(counts)}", flush=True)
    print(f"all: {_told(total)}", flush=True)
    sys.exit(bool(total["wrong"]))


def _told(counts: collections.Counter) -> str:
    return (
        f"{counts.total()} runs, {counts['refused']} refused with one line, {counts['ran']} ran "
        f"with the value, {counts['wrong']} wrong"
    )


if __name__ == "__main__":
    main()
