"""`results/SPEED.md`, made of the results of `speed`."""

import json
import pathlib
import statistics

from benchmarks.steps.cases import CASES


def ratios(result: dict, program: str, reference: str) -> list[float]:
    """Time of the reference over that of a program, in each round: above 1 the program is faster.

    Example:

    >>> programs = {"a": {"block_seconds": [1.0, 2.0]}, "b": {"block_seconds": [2.0, 2.0]}}
    >>> ratios({"programs": programs}, "a", "b")
    [2.0, 1.0]
    """
    of = result["programs"]
    pairs = zip(of[program]["block_seconds"], of[reference]["block_seconds"], strict=True)
    return [other / own for own, other in pairs]


def quartiles(values: list[float]) -> str:
    """Median and quartiles.

    Example:

    >>> quartiles([1.0, 1.0, 1.0])
    '1.000 (1.000 to 1.000)'
    """
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def write_report(folder: pathlib.Path) -> None:
    """Writes the report of all results in a folder."""
    results = [
        json.loads(path.read_text("utf-8"))
        for name in CASES
        if (path := folder / f"speed_{name}.json").exists()
    ]
    lines = [
        "# Speed of the training steps",
        "",
        "Made by `python -m benchmarks.speed` of `speed_*.json`, which have each block's time. All"
        " programs of a case report the same losses after three updates. A ratio is that of the"
        " times in one round: its median, and in brackets its quartiles. Above 1 is faster. The"
        " times are medians and hold for this machine and its load alone. Python calls are of"
        " functions, Python's and others, that Python makes in a step. All programs of a case"
        " compile at once: the times of first steps compare with nothing else.",
    ]
    for result in results:
        lines += ["", *_section(result)]
    (folder / "SPEED.md").write_text("\n".join(lines) + "\n", "utf-8")


def _calls(row):
    # The first results have none.
    return f"{row['python_calls']:,.0f}" if "python_calls" in row else "-"


def _section(result):
    environment = result["environment"]
    versions = environment["versions"]
    names = ("keras", "jax", "tensorflow", "torch")
    versions = ", ".join(f"{name} {versions[name]}" for name in names if name in versions)
    yield f"## {result['case']}"
    yield ""
    yield (
        f"{result['units']} {result['unit']} in a step; {result['blocks']} rounds with"
        f" {result['steps_in_a_block']} steps of each program. {environment['cores']} cores"
        f" ({environment['processor']}), load average before they started"
        f" {result['load_average_before']:.1f}. {versions}; {result['date']}."
    )
    if "note" in result:
        yield ""
        yield result["note"]
    yield ""
    yield (
        "| program | against the hand-written step of its backend | against Keras on TensorFlow |"
        " ms a step | Python calls a step | first step, s | memory, MB |"
    )
    yield "|---|---|---|---|---|---|---|"
    programs = result["programs"]
    for name, row in programs.items():
        own = f"{row['backend']}: hand-written"
        compared = row["program"] != "input"
        against = [
            quartiles(ratios(result, name, other))
            if compared and other in programs and other != name
            else "-"
            for other in (own, "tensorflow: keras")
        ]
        seconds = statistics.median(row["block_seconds"]) / result["steps_in_a_block"]
        yield (
            f"| {name} | {against[0]} | {against[1]} | {1e3 * seconds:,.1f} |"
            f" {_calls(row)} | {row['first_step_seconds']:,.1f} |"
            f" {row['memory_bytes']['at_most'] / 1e6:,.0f} |"
        )
    for backend in dict.fromkeys(row["backend"] for row in programs.values()):
        driven, plain = f"{backend}: keras, loss-driven", f"{backend}: keras"
        if driven in programs and plain in programs:
            found = ratios(result, plain, driven)
            yield ""
            yield f"Time with the loss-driven rate over without, {backend}: {quartiles(found)}."
        built = f"{backend}: keras, as built"
        if built in programs and plain in programs:
            yield ""
            yield (
                f"The recipe's step against KerasHub's layers and Keras' loss, {backend}:"
                f" {quartiles(ratios(result, plain, built))}."
            )
