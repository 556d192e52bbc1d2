"""Work in a child process with a limit of memory, whose death is an answer like any other."""

import os
import pickle
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_child(
    work: Callable[[], Any], prepare: Callable[[], None], memory: int
) -> tuple[Any, int | None]:
    """What `work` returns in a child that may take `memory` bytes more than this process has.

    Args:
        work: Its result is pickled. It must not raise.
        prepare: Called in the child before `work`: timers, signals, redirections.
        memory: In bytes.

    Returns:
        The result and `None`; or `None` and the signal, or status, that the child died of.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # JAX and Python 3.12 warn of threads, whose locks the child may find taken. A child that
        # waits for one is ended by the timer of `prepare`, and counts as a hang.
        warnings.filterwarnings("ignore", ".*fork", RuntimeWarning)
        warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(reading)
        try:
            prepare()
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(pickle.dumps(work()))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if not content:
        return None, os.WTERMSIG(status) if os.WIFSIGNALED(status) else status
    return pickle.loads(content), None
