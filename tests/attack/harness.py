"""Feeds mutated inputs to a reader and counts what becomes of them.

A target says how to write a sound input and how to read it. Each mutated copy is read in a forked
process with a limit on memory and on time, so that a reader that takes the machine down is
counted, not felt.

    python -m tests.attack            # every target, 2,000 inputs each, prints the counts
    python -m tests.attack idx zst --count 200 --seed 1
"""

import collections
import dataclasses
import io
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.common.command_line.console import user_error
from tests.attack.forked import in_child
from tests.attack.mutations import mutate

SECONDS = 10
# Of the clock, for a reader that waits rather than computes; other programs may take the cores.
WAITING = 120
MEMORY = 2**30

# Readers of damaged data catch every error of the libraries, also that of the limit here.
_NO_MEMORY = re.compile("MemoryError|bad_alloc|alloc of size|allocat|out of memory", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader under attack.

    Args:
        name: For the command line.
        write: Writes a sound input into an empty folder and returns the files to mutate.
        read: Reads that folder; returns what was read in a comparable, picklable form (a digest,
            counts). It must raise what the program prints as one line, or succeed.
        acceptable: Whether a result that differs from the sound one may still be right: a format
            without checksums cannot notice another pixel, but must notice a missing image. By
            default no other result is.
        mends: Whether the reader makes a damaged file again, so that no input is refused.
    """

    name: str
    write: Callable[[Path], list[Path]]
    read: Callable[[Path], Any]
    acceptable: Callable[[Any, Any], bool] = lambda sound, other: False
    mends: bool = False


@dataclasses.dataclass
class Counts:
    """What became of the inputs.

    Args:
        refused: One clear error.
        unchanged: Read as the sound input is (the mutation did not matter).
        acceptable: Read differently, as far as the format cannot tell.
        wrong: Each that is a fault: its seed and what happened.
    """

    refused: int = 0
    unchanged: int = 0
    acceptable: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)

    @property
    def tried(self) -> int:
        return self.refused + self.unchanged + self.acceptable + len(self.wrong)

    def record(self) -> dict[str, int]:
        """The numbers as data."""
        return {
            "tried": self.tried,
            "refused": self.refused,
            "read unchanged": self.unchanged,
            "read differently": self.acceptable,
            "wrong": len(self.wrong),
        }

    def __str__(self) -> str:
        return (
            f"{self.tried} tried, {self.refused} refused with one error, {self.unchanged} read "
            f"unchanged, {self.acceptable} read differently, {len(self.wrong)} wrong"
        )


def attack(target: Target, count: int, seed: int = 0, batch: int = 50) -> Counts:
    """Reads `count` mutated inputs, the same for the same seed."""
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="attack-") as scratch:
        sound = Path(scratch) / "sound"
        sound.mkdir()
        files = [path.relative_to(sound) for path in target.write(sound)]
        kind, truth = _forked(lambda: _read(target, sound))
        assert kind == "read", f"the sound input of {target.name} is not read: {truth}"
        numbers = collections.deque(range(count))
        while numbers:
            chunk = [numbers.popleft() for _ in range(min(batch, len(numbers)))]
            results = _batch(target, sound, files, Path(scratch), seed, chunk)
            for number, (kind, value) in results:
                if kind == "refused":
                    counts.refused += 1
                elif kind == "read" and value == truth:
                    counts.unchanged += 1
                elif kind == "read" and target.acceptable(truth, value):
                    counts.acceptable += 1
                else:
                    shown = value if kind != "read" else f"read as {value!r:.200}"
                    counts.wrong.append(f"{target.name} seed={seed} input={number}: {shown}")
    return counts


def attempt(target: Target, folder: Path) -> tuple[str, Any]:
    """What becomes of one input as it lies there: a kind such as `"refused"`, and its message."""
    return _forked(lambda: _read(target, folder))


def damaged_copy(sound: Path, files: list[Path], folder: Path, seed: int, number: int) -> None:
    """Copies the sound input to `folder` with one of its files mutated."""
    shutil.copytree(sound, folder, symlinks=True)
    generator = random.Random(f"{seed}-{number}")
    path = folder / generator.choice(files)
    path.write_bytes(mutate(path.read_bytes(), generator))


def _batch(target, sound, files, scratch, seed, numbers):
    """Results of several inputs; a batch that dies is taken apart into single inputs."""

    def work():
        results = []
        for number in numbers:
            folder = scratch / f"input-{number}"
            damaged_copy(sound, files, folder, seed, number)
            begin = time.process_time()
            try:
                result = _read(target, folder)
                # In a batch there is time for one slow input among quick ones.
                if time.process_time() - begin > SECONDS:
                    result = "hang", f"took {time.process_time() - begin:.0f} s"
                results.append((number, result))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return "results", results

    kind, results = _forked(work, len(numbers))
    for number in numbers:
        shutil.rmtree(scratch / f"input-{number}", ignore_errors=True)
    if kind == "results":
        return results
    if len(numbers) == 1:
        return [(numbers[0], (kind, results))]
    return [r for n in numbers for r in _batch(target, sound, files, scratch, seed, [n])]


def _read(target: Target, folder: Path) -> tuple[str, Any]:
    try:
        return "read", target.read(folder)
    except MemoryError:
        return "memory", f"more than {MEMORY:,} bytes were asked for"
    except BaseException as error:
        message = user_error(error)
        if _for_memory(error):
            return "memory", message or repr(error)
        if message is not None:
            return "refused", message
        return "traceback", "".join(traceback.format_exception(error)[-3:])


def _for_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised in place of, is that of the limit."""
    while error is not None:
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            return True
        error = error.__context__
    return False


def _forked(work: Callable[[], tuple[str, Any]], inputs: int = 1) -> tuple[str, Any]:
    """Runs `work` in a child with limits of memory and of the processors' time."""
    seconds = SECONDS if inputs == 1 else 6 * SECONDS

    def prepare():
        # What a reader says of a file it makes again, two thousand times.
        sys.stdout = sys.stderr = io.StringIO()
        for alarm in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(alarm, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, max(WAITING, 10 * seconds))

    def guarded():
        try:
            return work()
        except BaseException as error:
            return "traceback", repr(error)

    result, died = in_child(guarded, prepare, MEMORY)
    if died is None:
        return result
    if died in (signal.SIGPROF, signal.SIGALRM):
        return "hang", "took longer than allowed"
    return "crash", f"died of {died}"
