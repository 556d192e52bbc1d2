"""A process with one program of one backend, which times a block whenever it is told to.

So many at once, each idle while another works, are timed in turn, and memory and compilation are
each program's own.
"""

import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys

_SCALE = 1 if sys.platform == "darwin" else 1024


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _SCALE


def _calls(made) -> float:
    """Calls of functions that Python makes in a step, without what a block does once."""

    def of(steps):
        with cProfile.Profile() as profile:
            made.block(steps)
        return pstats.Stats(profile).total_calls

    return (of(3) - of(1)) / 2


class Worker:
    """The handle of such a process.

    Args:
        backend: Of Keras.
        program: One of `programs.PROGRAMS`.
        case: A name of `cases.CASES` or `cases.TINY`.
    """

    def __init__(self, backend: str, program: str, case: str):
        self.backend, self.program = backend, program
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.steps.worker", program, case],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.backend}: {self.program}"

    def ask(self, question: str):
        """Sends a question and waits for the answer."""
        self.send(question)
        return self.answer()

    def send(self, question: str) -> None:
        """Sends a question."""
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()

    def answer(self):
        """Waits for the answer to the question that was sent.

        Raises:
            RuntimeError: If the process stopped without one.
        """
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} stopped with status {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


def main(program: str, case: str) -> None:
    """Answers `start`, a number of steps, `memory` and `calls`, a line each."""
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(2, 1)
    from benchmarks.steps.cases import CASES, TINY
    from benchmarks.steps.programs import PROGRAMS

    made = PROGRAMS[program]({**CASES, **TINY}[case])
    built = _peak()
    for line in sys.stdin:
        question = line.strip()
        if question == "start":
            answer = made.start()
        elif question == "memory":
            answer = {"when_built": built, "at_most": _peak()}
        elif question == "calls":
            answer = _calls(made)
        else:
            answer = made.block(int(question))
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
